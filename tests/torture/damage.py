"""Damaged files and missing permissions: errors are typed, and what is undamaged is saved."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from blake3 import blake3

from daskperiment import Experiment
from daskperiment.backends import pages, rows, salvage
from daskperiment.backends.local import LocalBackend
from daskperiment.errors import DaskperimentError
from daskperiment.history.doctor import examine
from tests.torture.harness import ROOT, Outcome, scenario

PAGE = 4096
LARGE = "large" * 20_000
_LOGS = ("steps", "metrics", "artifacts")
Facts = dict[str, Any]


def record(store: Path, trials: int = 8) -> None:
    """Make a store with trials, metrics, artifacts, and payloads in rows and in files."""
    with LocalBackend(store) as backend:
        ex = Experiment("damaged", backend=backend)

        def score(a: int) -> Any:
            ex.save_artifact("notes", f"notes {a}" * 100)
            ex.save_metric("loss", 0, a / 7)
            return LARGE + str(a) if a == 0 else {"text": str(a) * 3000}

        result = ex.result(score, name="score")(ex.parameter("a"))
        for a in range(trials):
            result.compute(parameters={"a": a})


def questions(store: Path) -> dict[str, Callable[[LocalBackend], Any]]:
    """Everything that a sound store can be asked, by what it is."""
    asked: dict[str, Callable[[LocalBackend], Any]] = {}
    with LocalBackend(store) as backend:
        for path in ("experiments", "snapshots", "experiment/damaged/trials"):
            for key, row in backend.find(path):
                asked[f"{path} {key}"] = partial(LocalBackend.get, path=path, key=key)
                for log in _LOGS if "uid" in row else ():
                    at = f"experiment/damaged/{log}/{row['uid']}"
                    asked[at] = partial(LocalBackend.read, path=at)
        for digest, _ in backend.blobs():
            asked[f"payload {digest}"] = partial(_payload, digest=digest)
    return asked


def _payload(backend: LocalBackend, digest: str) -> bytes | None:
    data = backend.fetch(digest)
    return data if blake3(data).hexdigest() == digest else None  # as whoever decodes it compares


def answers(store: Path, asked: dict[str, Callable[[LocalBackend], Any]]) -> Facts:
    """What a store answers; typed errors and what is absent count as no answer."""
    told: Facts = {}
    with LocalBackend(store) as backend:
        for what, ask in asked.items():
            try:
                found = ask(backend)
            except DaskperimentError:
                continue
            if found not in (None, []):
                told[what] = found
    return told


Damage = Callable[[Path], object]


def _flip(at: int, bit: int, store: Path) -> None:
    _change(store, lambda content: content.__setitem__(at, content[at] ^ 1 << bit))


def _cut(at: int, store: Path) -> None:
    _change(store, lambda content: content.__delitem__(slice(at, None)))


def _change(store: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray((store / "store.sqlite").read_bytes())
    change(content)
    (store / "store.sqlite").write_bytes(content)


def _only_file(store: Path) -> Path:
    return next(iter(sorted((store / "blobs").glob("??/*"))))


def _swap(store: Path) -> None:
    """Let the rows of two trials stand in each other's places."""
    with closing(sqlite3.connect(store / "store.sqlite")) as connection, connection:
        (one, first), (other, second) = connection.execute(
            "SELECT key, document FROM documents WHERE key IN (2, 3) ORDER BY key"
        ).fetchall()
        for key, row in ((one, second), (other, first)):
            connection.execute("UPDATE documents SET document = ? WHERE key = ?", (row, key))


def _tear(content: bytearray) -> None:
    """Overwrite the end of the first page of rows behind the schema."""
    at = next(at for at in range(PAGE, len(content), PAGE) if content[at] == 13)
    content[at + PAGE // 2 : at + PAGE] = b"\xff" * (PAGE // 2)


def _kinds() -> Iterator[tuple[str, Damage]]:
    """Damage other than bits and lengths."""
    yield "swapped rows", _swap
    yield "torn page", lambda store: _change(store, _tear)
    yield "zero length", lambda store: (store / "store.sqlite").write_bytes(b"")
    yield "text file", lambda store: (store / "store.sqlite").write_text("no database\n" * 500)
    yield "stale memory", lambda store: (store / "store.sqlite-shm").write_bytes(b"\xff" * 32768)
    yield "foreign log", lambda store: (store / "store.sqlite-wal").write_bytes(b"log" * 9000)
    yield "missing payload", lambda store: _only_file(store).unlink()
    yield "short payload", lambda store: os.truncate(_only_file(store), 1000)


def _schedule(chance: random.Random, size: int, flips: int) -> Iterator[tuple[str, Damage]]:
    yield from _kinds()
    cuts = list(range(0, size, PAGE))
    for at in chance.sample(cuts, min(len(cuts), max(1, flips // 8))):
        yield f"cut at {at}", partial(_cut, at)
    for _ in range(flips):
        at, bit = chance.randrange(size), chance.randrange(8)
        yield f"bit {bit} of byte {at}", partial(_flip, at, bit)


def _planted(plant: str | None) -> ExitStack:
    stack = ExitStack()
    if plant == "no-checksum":

        def unpack(self: rows.Rows, place: int, row: bytes) -> bytes:
            return self.text(row)

        stack.enter_context(mock.patch.object(rows.Rows, "unpack", unpack))
    if plant == "salvage-stops":  # at the first page that it cannot read

        def stopping(file: Path, read: Any = pages.rows) -> Iterator[pages.Row]:
            for row in read(file):
                if row.values is None:
                    return
                yield row

        stack.enter_context(mock.patch.object(pages, "rows", stopping))
    return stack


@scenario(
    "F35",
    "changed bits, cut and foreign files; doctor and salvage",
    plants=("no-checksum", "salvage-stops"),
    short={"flips": 12},
    long={"flips": 2000},
    planted={"flips": 1},
)
def damaged_files(seed: int, folder: Path, plant: str | None, *, flips: int) -> Outcome:
    """What is read is what was written or an error; what one bit takes is one thing at most."""
    outcome, chance = Outcome("F35", seed), random.Random(seed)
    record(folder / "sound")
    asked = questions(folder / "sound")
    sound = answers(folder / "sound", asked)
    outcome.figures.update({"facts": len(sound), "unread": 0, "saved": 0, "lost": 0})
    size = (folder / "sound" / "store.sqlite").stat().st_size
    for what, damage in _schedule(chance, size, flips):
        store = folder / "damaged"
        shutil.copytree(folder / "sound", store)
        damage(store)
        with _planted(plant):
            found = list(_damaged(what, store, sound, asked, outcome))
        outcome.add(what, found)
        outcome.rounds += 1
        outcome.faults += 1
        shutil.rmtree(store)
        shutil.rmtree(folder / "new", ignore_errors=True)
    return outcome


def _damaged(
    what: str, store: Path, sound: Facts, asked: dict[str, Any], outcome: Outcome
) -> Iterator[str]:
    try:
        told = answers(store, asked)
        yield from (f"I1: {name} is another than was written" for name in _wrong(told, sound))
        outcome.count("unread", len(sound) - len(told))
        with LocalBackend(store) as backend:
            problems = [f for f in examine(backend, deep=True) if f.level == "problem"]
        if len(told) < len(sound) and not problems:
            yield "I5: something cannot be read and the doctor finds no problem"
        done = salvage.salvage(store, store.parent / "new")
        saved = answers(store.parent / "new", asked)
        with LocalBackend(store.parent / "new") as backend:
            after = [f for f in examine(backend, deep=True) if f.level == "problem"]
    except Exception as error:
        yield f"I7: {error!r}"
        return
    lost = len(sound) - len(saved)
    outcome.count("saved", len(saved))
    outcome.count("lost", lost)
    yield from (f"I1: salvage has made another {name}" for name in _wrong(saved, sound))
    if lost and not done.lost and not after:
        yield "I6: salvage has lost something and does not say so"
    if lost > 1 and what.startswith("bit"):
        yield f"I1: one bit has cost salvage {lost} things"
    if told.keys() - saved.keys():
        yield "I1: salvage lost what can be read"


def _wrong(told: Facts, sound: Facts) -> list[str]:
    return [name for name, value in told.items() if value != sound[name]]


# -- permissions ----------------------------------------------------------------------------

USER = """
import os, sys, warnings
from daskperiment import Experiment
from daskperiment.errors import BackendError

warnings.simplefilter("ignore")
store, mode, plant = sys.argv[1:]
os.umask(int(mode, 8))
if plant == "buries-anyway":
    from daskperiment.history.trials import Trials
    from daskperiment.platform import is_alive

    def bury(self):
        for uid, owner in self.backend.find(self._running):
            if not is_alive(owner):
                self._bury(str(uid))

    Trials.bury = bury
ex = Experiment("damaged", backend=store)
ran = []
try:
    print("rows", len(ex.get_history()))
except BackendError as error:
    print("unread", type(error).__name__)
try:
    ex.result(lambda: ran.append(1), name="s")().compute()
    print("wrote", len(ran))
except BackendError as error:
    print("refused", len(ran), type(error).__name__)
"""

LOCKING = """
import os, sys, warnings
from pathlib import Path
from daskperiment import Experiment

store = Path(sys.argv[1])
ex = Experiment("damaged", backend=store)
value = os.urandom(300_000)

def lock():
    change(0o555)
    return value

def change(mode):
    for place in (store, *store.rglob("*")):
        place.chmod(mode if place.is_dir() else mode & 0o666)

node = ex.result(lock, name="s")()
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    print("returned", node.compute() is value)
print("told", sum("Permission denied" in str(each.message) for each in told))
change(0o755)
ex.result(lambda: 1, name="other")().compute()
print("then", ex.latest.number, ex.latest.result)
"""
LOCKED = "returned True told 1 then 5 1"


@scenario(
    "F36",
    "folders that cannot be written, odd names, links, odd umasks",
    plants=("buries-anyway",),
    short={"rounds": 1},
    long={"rounds": 10},
)
def permissions(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Reading works; writing works or is refused before the step runs."""
    outcome = Outcome("F36", seed)
    if os.getuid() == 0 and not shutil.which("setpriv"):
        outcome.not_run = "root ignores permissions, and setpriv is not installed"
        return outcome
    record(folder / "sound", 3)
    _kill_last(folder / "sound")
    for n in range(rounds):
        for name, umask, mode, owner, writes in _PLACES:
            if owner and os.getuid() != 0:
                continue
            store = folder / f"{n}" / name
            shutil.copytree(folder / "sound", store)
            if name == "linked":
                store.rename(store.with_name("target"))
                store.symlink_to("target")
            for file in (*store.rglob("*"), store):
                if mode is not None:
                    file.chmod(mode if file.is_dir() else mode & 0o666)
                if owner:
                    os.chown(file, owner, owner)
            said = _as_user(USER, store, umask, plant)
            expected = "rows 3 wrote 1" if writes else "rows 3 refused 0 StoreReadOnlyError"
            if said != expected:
                outcome.add(name, [f"I6: {said!r} instead of {expected!r}"])
            outcome.faults += not writes
            outcome.rounds += 1
        store = folder / f"{n}" / "locked"
        shutil.copytree(folder / "sound", store)
        if (said := _as_user(LOCKING, store)) != LOCKED:
            outcome.add("locked while a step runs", [f"I6: {said!r} instead of {LOCKED!r}"])
        with LocalBackend(store) as backend:
            states = [str(trial.state) for trial in Experiment("damaged", backend=backend).trials]
        if states[3:] != ["CRASHED", "COMPLETE"]:
            outcome.add("locked while a step runs", [f"I3: the trials are {states}"])
        outcome.faults += 1
        outcome.rounds += 1
    return outcome


def _kill_last(store: Path) -> None:
    """Let the third trial be one that runs, of a process that is gone."""
    with LocalBackend(store) as backend:
        row = backend.get("experiment/damaged/trials", 3)
        assert row is not None
        owner = {**row["owner"], "pid": 2**22 + 1}
        changes = {"state": "RUNNING", "owner": owner}
        backend.update("experiment/damaged/trials", 3, changes)
        backend.insert("experiment/damaged/running", owner, row["uid"])


_NOBODY = 65534
_PLACES: list[tuple[str, str, int | None, int, bool]] = [
    ("plain", "022", None, 0, True),
    ("with spaces and ünïcödé ☃ %41 ?a=1#b", "022", None, 0, True),
    ("linked", "022", None, 0, True),
    ("mine alone", "077", None, 0, True),
    ("open to all", "000", None, 0, True),
    ("read only", "022", 0o555, 0, False),
    ("another's", "022", 0o755, _NOBODY, False),
    ("another's, open to all", "022", 0o777, _NOBODY, True),
]


def _as_user(program: str, store: Path, *arguments: object) -> str:
    lost = "-dac_override,-dac_read_search,-fowner"
    bound = ["setpriv", "--bounding-set", lost, "--inh-caps", lost] if os.getuid() == 0 else []
    done = subprocess.run(
        [*bound, sys.executable, "-c", program, str(store), *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "HOME": "/nonexistent"},
    )  # fmt: skip
    return " ".join(done.stdout.split()) if done.returncode == 0 else done.stderr[-300:]
