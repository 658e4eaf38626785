"""Hostile content: changed payloads, names that climb, pickles that run code."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest import mock

from blake3 import blake3
from click import ClickException

from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend, tables
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.salvage import salvage
from daskperiment.cli.main import run
from daskperiment.errors import DaskperimentError, PayloadError
from daskperiment.history import payloads
from daskperiment.history.doctor import examine
from tests.torture.harness import ROOT, Outcome, scenario


class Thing:
    """What only a pickle can hold."""

    def __init__(self, text: str) -> None:
        self.text = text


def record(place: Path | Backend) -> None:
    """Make a store with results of each encoding, in rows and in files."""
    import numpy

    values: dict[str, Any] = {
        "json": {"text": "x" * 30_000},
        "array": numpy.arange(500.0),
        "pickle": Thing("y" * 500),
        "file": Thing("z" * 100_000),
    }
    with open_backend(place) as backend:
        ex = Experiment("trusted", backend=backend)
        result = ex.result(values.__getitem__, name="s")(ex.parameter("kind"))
        for kind in values:
            result.compute(parameters={"kind": kind})


def _payload(store: Path, number: int) -> tuple[str, bytes]:
    with LocalBackend(store) as backend:
        row = backend.get("experiment/trusted/trials", number)
        assert row is not None
        digest = row["result"]["digest"]
        return digest, backend.fetch(digest)


def _replace(store: Path, digest: str, data: bytes) -> None:
    file = store / "blobs" / digest[:2] / digest
    if file.exists():
        file.write_bytes(data)
    else:
        with closing(sqlite3.connect(store / "store.sqlite")) as connection, connection:
            connection.execute("UPDATE payloads SET data = ? WHERE digest = ?", (data, digest))


@scenario(
    "S4",
    "payloads with changed bits, cut and swapped",
    plants=("decoded-first", "not-compared"),
    short={"flips": 10},
    long={"flips": 1000},
)
def changed_payloads(seed: int, folder: Path, plant: str | None, *, flips: int) -> Outcome:
    """Nothing is loaded, and no decoder sees bytes of another digest."""
    outcome, chance = Outcome("S4", seed), random.Random(seed)
    record(folder / "store")
    store = folder / "store"
    known = [_payload(store, number) for number in range(1, 5)]
    with LocalBackend(store) as backend:
        trials = list(Experiment("trusted", backend=backend).trials)
    for number, (digest, data) in enumerate(known, 1):
        changed = [data[:-1], data[: len(data) // 2], b"", known[number % 4][1]]
        for at in [*range(64), *(chance.randrange(len(data)) for _ in range(flips))]:
            changed.append(
                data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
            )
        for bad in changed:
            _replace(store, digest, bad)
            outcome.add(f"trial {number}", _loaded(store, number, plant))
            outcome.rounds += 1
            outcome.faults += 1
        _replace(store, digest, data)
    outcome.figures["trials"] = len(trials)
    return outcome


def _loaded(store: Path, number: int, plant: str | None) -> Iterator[str]:
    seen: list[bytes] = []
    decode = payloads.decode

    def spy(codec: str, data: bytes, **options: Any) -> Any:
        seen.append(data)
        return decode(codec, data, **options) if plant is None else None

    with ExitStack() as stack, LocalBackend(store) as backend:
        stack.enter_context(mock.patch.object(payloads, "decode", spy))
        if plant == "decoded-first":
            stack.enter_context(mock.patch.object(payloads, "load", _decoding_first(spy)))
        if plant == "not-compared":
            stack.enter_context(mock.patch.object(payloads, "blake3", Agreeing))
        row = backend.get("experiment/trusted/trials", number)
        assert row is not None
        try:
            payloads.load(backend, row["result"], pickles=True)
            yield "I1: changed bytes were loaded"
        except PayloadError:
            pass
        except Exception as error:
            yield f"I7: {error!r}"
    if seen:
        yield "I1: a decoder saw changed bytes"


def _decoding_first(spy: Any) -> Any:
    def load(backend: Any, kept: Any, **options: Any) -> Any:
        data = backend.fetch(kept["digest"])
        value = spy(kept["codec"], data)
        if blake3(data).hexdigest() != kept["digest"]:
            raise PayloadError("changed")
        return value

    return load


class Agreeing:
    def __init__(self, *data: bytes, **options: Any) -> None:
        pass

    def update(self, data: bytes) -> None:
        """See a piece."""

    def hexdigest(self) -> Any:
        """Equal anything."""
        return mock.ANY


# -- names that climb -------------------------------------------------------------------------

_SHAPES = (
    "..", "../x", "../../etc/passwd", "/etc/passwd", "a/../../x", "..\\x", "%2e%2e/x",
    "%252e%252e%252fx", "..%2fx", "x\0y", "file:///etc/passwd", "C:\\x", "CON", "NUL", "#x", "?x",
    "~", "~root", "$HOME", "a/b", ".", "", " ", "\n", "blobs/../../x", "....//x", "..;/x",
    "\u2025/x", "\uff0e\uff0e/x", "con.txt", "-x",
)  # fmt: skip

CLIMBER = """
import json, os, sys, warnings

store, names, plant = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
warnings.simplefilter("ignore")
from daskperiment import Experiment
from daskperiment.backends.local import LocalBackend
from daskperiment.cli.main import run
from daskperiment.errors import DaskperimentError

if plant == "digest-unchecked":
    from daskperiment.backends import local
    local.is_digest = lambda digest: True

base = os.path.dirname(store)
ex = Experiment("climbing", backend=store)
ex.parameter("name")
def step(name):
    tried = [lambda: ex.save_artifact(name, b"x"), lambda: ex.log_metric(name, 1.0)]
    for attempt in tried:
        try:
            attempt()
        except DaskperimentError:
            pass
result = ex.result(step, name="s")(ex.parameter("name"))
result.compute(parameters={"name": "plain"})
ex.get_history()
run(["history", "--backend", store])
opened = []
def watch(event, arguments):
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "sqlite3.connect"):
        opened.append((event, str(arguments[0])))
sys.addaudithook(watch)

backend = LocalBackend(store)
def quietly(attempt):
    try:
        attempt()
    except DaskperimentError:
        pass
for name in names:
    quietly(lambda: Experiment(name, backend=backend))
    quietly(lambda: backend.fetch(name))
    quietly(lambda: backend.fetch(name.ljust(64, "a")[:64]))
    quietly(lambda: backend.insert(name, {}, name))
    quietly(lambda: result.compute(parameters={"name": name}))
    run(["history", "--backend", store, "-e", name])
    run(["artifacts", "latest", name, "--backend", store, "-e", "climbing"])
    run(["code", name, "--backend", store])
outside = sorted({
    (event, path) for event, path in opened
    if path.startswith("/") is False and not path.isdigit() and "store.sqlite" not in path
    or path.startswith((base, "/etc/")) and not path.startswith((store, "/etc/localtime"))
})
print(json.dumps(outside), file=sys.__stderr__)
"""


@scenario(
    "S5",
    "names that climb out of the store",
    plants=("digest-unchecked",),
    short={"rounds": 1},
    long={"rounds": 40},
)
def climbing_names(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Ids, names and digests are hostile, in Python and on the command line."""
    outcome, chance = Outcome("S5", seed), random.Random(seed)
    for n in range(rounds):
        made = [
            "".join(chance.choices(["..", "/", "%2f", "\\", "x", "\0", "~"], k=6))
            for _ in range(19)
        ]
        names = [*_SHAPES, *made]
        done = subprocess.run(
            [sys.executable, "-c", CLIMBER, str(folder / f"{n}" / "store"), json.dumps(names),
             str(plant)],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        lines = done.stderr.splitlines()
        if done.returncode:
            outcome.add(f"round {n}", [f"I7: {done.stderr[-500:]}"])
        else:
            outcome.add(f"round {n}", [f"I10: opened {each}" for each in json.loads(lines[-1])])
        outcome.faults += len(names)
        outcome.rounds += 1
    return outcome


# -- pickles that run code --------------------------------------------------------------------


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        """Run code."""
        return (os.mkdir, (self.marker,))


@scenario(
    "S8",
    "pickles that run code in every column and payload",
    plants=("listing-loads", "not-compared"),
    short={"rounds": 1},
    long={"rounds": 20},
)
def planted_pickles(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Looking at a store runs nothing; loading by name is refused."""
    outcome = Outcome("S8", seed)
    record(folder / "sound")
    marker = folder / "marker"
    bomb = pickle.dumps(Bomb(str(marker)))
    for n in range(rounds):
        for what in _columns(folder / "sound"):
            store = folder / f"store{n}"
            shutil.copytree(folder / "sound", store)
            _plant(store, what, bomb)
            with ExitStack() as stack:
                if plant == "not-compared":
                    stack.enter_context(mock.patch.object(payloads, "blake3", Agreeing))
                if plant == "listing-loads":
                    stack.enter_context(mock.patch.object(tables, "_load", _loading(tables._load)))
                found = list(look(store, folder / "new"))
            if plant is None:
                outcome.add(what, found)
            if marker.exists():
                outcome.add(what, ["I6: code of the store has run"])
                marker.rmdir()
            shutil.rmtree(store)
            shutil.rmtree(folder / "new", ignore_errors=True)
            outcome.rounds += 1
            outcome.faults += 1
    return outcome


def _loading(load: Any) -> Any:
    def loaded(connection: Any, at: int, row: bytes) -> Any:
        if row[:1] == b"\x80":
            return pickle.loads(row)
        return load(connection, at, row)

    return loaded


def _columns(store: Path) -> list[str]:
    with closing(sqlite3.connect(store / "store.sqlite")) as connection:
        names = [name for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        )]  # fmt: skip
        return ["files", *(
            f"{name}.{column[1]}"
            for name in names
            for column in connection.execute(f"PRAGMA table_info({name})").fetchall()
        )]  # fmt: skip


def _plant(store: Path, what: str, bomb: bytes) -> None:
    if what == "files":
        for file in (store / "blobs").glob("??/*"):
            file.write_bytes(bomb)
        return
    table, _, column = what.partition(".")
    with closing(sqlite3.connect(store / "store.sqlite")) as connection, connection:
        connection.execute(f"UPDATE OR REPLACE {table} SET {column} = ?", (bomb,)) if not _is_id(
            connection, table, column
        ) else None


def _is_id(connection: sqlite3.Connection, table: str, column: str) -> bool:
    kinds = {row[1]: (row[2], row[5]) for row in connection.execute(f"PRAGMA table_info({table})")}
    return kinds[column] == ("INTEGER", 1)


_VERBS = (
    "ls", "history", "history --csv", "history --json --verbose", "show 1", "metrics 1:4",
    "artifacts 1", "code 1", "env 1", "logs 1", "diff 1 2", "tag 1 seen", "note 1 seen", "rm 2",
    "restore 2", "forget 3 result --yes", "doctor --deep", "gc --yes",
)  # fmt: skip


def look(place: Path | str, new: Path | None = None) -> Iterator[str]:
    """Look at a store in every way, and load what can be loaded; what is no typed error is told."""
    with open_backend(place) as backend:

        def opened() -> Experiment:
            return Experiment("trusted", backend=backend)

        looks: list[Callable[[], object]] = [
            lambda: opened().get_history(verbose=True),
            lambda: examine(backend, deep=True),
            lambda: [repr(trial) for trial in opened().trials],
            lambda: [opened().get_code(n) for n in range(1, 5)],
            lambda: opened().gc(),
            *([lambda: salvage(Path(place), new)] if new else []),
            *(lambda n=n: opened()[n].result for n in range(1, 5)),  # type: ignore[misc]
        ]
        for look in looks:
            try:
                look()
            except DaskperimentError:
                continue
            except Exception as error:
                yield f"I7: {error!r}"
    with (
        Path(os.devnull).open("w") as nothing,
        mock.patch("sys.stdout", nothing),
        mock.patch("sys.stderr", nothing),
    ):
        noting = {"_complain": lambda error, arguments: told.append(error)}
        for verb in _VERBS:
            told: list[Exception] = []
            with mock.patch.dict(run.__globals__, noting):
                run([*verb.split(), "--backend", str(place), "-e", "trusted"])
            if any(not isinstance(each, (DaskperimentError, ClickException)) for each in told):
                yield f"I7: daskperiment {verb}: {told}"
