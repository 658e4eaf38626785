"""Large histories: many trials, many points, large payloads, many parameters."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import daskperiment
from daskperiment import Experiment
from daskperiment.backends.base import Append, Insert, Write
from daskperiment.backends.local import LocalBackend
from daskperiment.history import paths
from daskperiment.history.metrics import Metrics
from tests.torture.harness import ROOT, Outcome, scenario

GROUP = 500
PARAMETERS = 500
MEMORY = 300.0
"""Megabytes that a process may take to read a history; reliability.md, G15."""
OPENING, PAGE = 2.0, 0.3

# Not ru_maxrss, which begins with what the parent had.
PEAK = """
from pathlib import Path

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
"""

READER = """
import json, sys, time
from daskperiment import Experiment
from daskperiment.backends.local import LocalBackend
import pandas

empty, began = resident(), time.perf_counter()
ex = Experiment("large", backend=LocalBackend(sys.argv[1]))
count, last = len(ex.trials), ex.latest.number
opened = time.perf_counter() - began
began = time.perf_counter()
first = ex.get_history(limit=50)
shown = time.perf_counter() - began
began = time.perf_counter()
ex.get_history(order_by="-Started", limit=50)
sorting = time.perf_counter() - began
began = time.perf_counter()
page = ex.get_history(order_by="-Started", limit=50, columns=["p0", "Result", "State"])
paged = time.perf_counter() - began
best = ex.get_history(where="p0 > 0 and Success", order_by="-p0", limit=1)
history = resident()
points = {name: len(series) for name, series in ex.latest.metrics.items()}
print(json.dumps({
    "count": count, "last": last, "page": len(page), "first": list(map(int, first.index)),
    "columns": first.shape[1], "best": int(best.index[0]), "points": points, "open s": opened,
    "first page s": shown, "first sort s": sorting, "page s": paged,
    "empty MB": empty, "MB": history, "MB with all points": resident(),
}))
"""

SAVER = """
import sys, warnings
from daskperiment import Experiment
from daskperiment.backends.local import LocalBackend
warnings.simplefilter("ignore")
ex = Experiment("large", backend=LocalBackend(sys.argv[1]))

def save(file):
    ex.save_artifact("payload", Path(file))

node = ex.result(save)(ex.parameter("file"))
tiny = Path(sys.argv[2]).with_name("tiny")
tiny.write_bytes(b"x" * 100_000)
node.compute(parameters={"file": str(tiny)})
before = resident()
node.compute(parameters={"file": sys.argv[2]})
ex.latest.artifacts["payload"].save(sys.argv[3])
print(resident() - before)
"""


def trained(**values: Any) -> float:
    """A trial with many parameters and some points."""
    for epoch in range(3):
        daskperiment.current().log_metric("loss", epoch / 2, epoch)
    return float(values["p0"])


def _record_one(backend: LocalBackend, name: str, parameters: int) -> Experiment:
    ex = Experiment(name, backend=backend)
    nodes = {f"p{n}": ex.parameter(f"p{n}", default=n) for n in range(parameters)}
    ex.result(trained)(**nodes).compute(scheduler="synchronous")
    return ex


def _copies(backend: LocalBackend, count: int, many: int) -> None:
    """Add trials as recorded ones are: their documents and logs under new uids."""
    row = backend.get(paths.trials("large"), 1)
    assert row is not None
    few = row["parameters"]
    steps = backend.read(paths.steps("large", row["uid"]))
    points = backend.read(paths.metrics("large", row["uid"]))
    for first in range(1, count, GROUP):
        writes: list[Write] = []
        for number in range(first, min(first + GROUP, count)):
            uid = uuid4().hex
            result = {**row["result"], "json": f"{number}.5", "preview": f"{number}.5"}
            parameters = [
                ["p0", {**few[0][1], "json": str(number), "preview": str(number)}],
                *few[1:],
            ]
            copy = {**row, "uid": uid, "parameters": parameters, "result": result,
                    "started": row["started"] + number}  # fmt: skip
            writes.append(Insert(paths.trials("large"), copy))
            writes.append(Append(paths.steps("large", uid), steps))
            writes.append(Append(paths.metrics("large", uid), points))
        backend.apply(*writes)
    _many_points(backend, uid, many)


def _many_points(backend: LocalBackend, uid: str, many: int) -> None:
    for first in range(0, many, 1000):
        points = [(epoch, epoch / 7, 1.0) for epoch in range(first, min(first + 1000, many))]
        backend.apply(Metrics(backend, "large").writing(uid, {"many": points}))


@scenario(
    "F38",
    "scale: trials, points, parameters and payloads",
    plants=("read-at-once", "pages-miss-one"),
    short={"trials": 2000, "points": 10_000, "megabytes": 32, "strict": False},
    long={"trials": 100_000, "points": 1_000_000, "megabytes": 1024, "strict": True},
    planted={"trials": 1200, "points": 1000, "megabytes": 96, "strict": False},
)
def large(
    seed: int, folder: Path, plant: str | None, *,
    trials: int, points: int, megabytes: int, strict: bool,
) -> Outcome:  # fmt: skip
    """A large store gives right answers, and in the long form within its bounds."""
    outcome = Outcome("F38", seed, rounds=1, faults=trials)
    store = folder / "store"
    began = time.monotonic()
    with warnings.catch_warnings(), closing(LocalBackend(store)) as backend:
        warnings.simplefilter("ignore")
        wide, ex = _record_one(backend, "wide", PARAMETERS), _record_one(backend, "large", 3)
        _copies(backend, trials, points)
        outcome.figures["fill s"] = round(time.monotonic() - began, 1)
        outcome.add("parameters", _wide(wide))
        outcome.figures["ms per trial"] = _per_trial(ex)
    outcome.add("reading", _read(outcome, store, plant, trials, points, strict))
    outcome.add("payload", _stream(outcome, folder, plant, megabytes))
    return outcome


def _wide(ex: Experiment) -> Iterator[str]:
    if dict(ex[1].parameters) != {f"p{n}": n for n in range(PARAMETERS)}:
        yield "I1: parameters read back as others"
    if ex.get_history(limit=1).shape != (1, PARAMETERS + 5):
        yield "I1: the history has other columns"


def _per_trial(ex: Experiment) -> float:
    """Milliseconds of a small trial behind all the others."""
    other = Experiment("small", backend=ex.backend)
    node = other.result(abs)(other.parameter("a", default=1))
    node.compute(scheduler="synchronous")
    began = time.perf_counter()
    for _ in range(20):
        node.compute(scheduler="synchronous")
    return round(1000 * (time.perf_counter() - began) / 20, 2)


def _read(
    outcome: Outcome, store: Path, plant: str | None, trials: int, points: int, strict: bool
) -> Iterator[str]:
    planted = _PAGES if plant == "pages-miss-one" else ""
    seen = json.loads(_python(planted + READER, str(store)))
    for name in (
        "open s",
        "first page s",
        "first sort s",
        "page s",
        "empty MB",
        "MB",
        "MB with all points",
    ):
        outcome.figures[name] = round(seen[name], 2)
    if (seen["count"], seen["last"], seen["page"]) != (trials, trials, 50):
        yield f"I1: {seen['count']} trials to number {seen['last']}, {seen['page']} on a page"
    if seen["first"] != list(range(1, 51)) or seen["best"] != trials:
        yield f"I1: the history begins {seen['first'][:5]} and the best is {seen['best']}"
    if seen["points"] != {"loss": 3, "many": points}:
        yield f"I4: there are {seen['points']} points"
    if strict and seen["open s"] > OPENING:
        yield f"G15: the store took {seen['open s']:.1f} s to open"
    for name in ("first page s", "page s"):
        if strict and seen[name] > PAGE:
            yield f"G15: the {name.removesuffix(' s')} took {seen[name]:.2f} s"
    if strict and seen["MB"] > MEMORY:
        yield f"G15: a reader took {seen['MB']:.0f} MB"


def _stream(outcome: Outcome, folder: Path, plant: str | None, megabytes: int) -> Iterator[str]:
    """A file goes into the store and out of it without being in memory as a whole."""
    source, copy = folder / "source", folder / "copy"
    with source.open("wb") as file:
        for n in range(megabytes):
            file.write(n.to_bytes(4, "big") * (256 * 1024))
    planted = _AT_ONCE if plant == "read-at-once" else ""
    more = float(_python(planted + SAVER, str(folder / "payloads"), str(source), str(copy)))
    outcome.figures["payload MB in memory"] = round(more, 1)
    if more > max(16, megabytes / 4):
        yield f"F38: a file of {megabytes} MB took {more:.0f} MB of memory"
    if not _same(source, copy):
        yield "I1: the file reads back as another one"


def _same(one: Path, other: Path) -> bool:
    with ExitStack() as stack:
        left, right = (stack.enter_context(path.open("rb")) for path in (one, other))
        while part := left.read(1 << 20):
            if right.read(1 << 20) != part:
                return False
        return not right.read(1)


def _python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PEAK + code, *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-1000:])
    return done.stdout


# A large file is read as a whole before it is written.
_AT_ONCE = """
from daskperiment.backends.files import PayloadFiles
import io
write = PayloadFiles.write
def at_once(self, source):
    source.seek(0)
    return write(self, io.BytesIO(source.read()))
PayloadFiles.write = at_once
"""

# The row at the border of two pages is lost.
_PAGES = """
from daskperiment.backends.local import LocalBackend
find = LocalBackend.find
def missing(self, path, *args, **options):
    for at, found in enumerate(find(self, path, *args, **options), 1):
        if at % 1000:
            yield found
LocalBackend.find = missing
"""
