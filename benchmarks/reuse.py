"""Reused calls, over joblib's cache and over one pass of the hash; large inputs and outputs."""

from __future__ import annotations

import functools
import itertools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from benchmarks.measure import Pairs, Row, duration, fresh, in_turns
from benchmarks.records import RecordError
from daskperiment import Experiment

_CALLS = 20
_SMALL, _SIZES = 1_000, (10_000_000, 100_000_000)
_TURNS = {_SMALL: 60, 10_000_000: 20, 100_000_000: 8}
_array: Any = None
REUSED, GIVEN, CACHED, PASS = "reused", "given", "joblib.Memory", "a pass of the hash"


def make(number: int, size: int) -> Any:
    """An array of so many bytes."""
    return np.arange(size // 8, dtype=float) + number


def tell(arrays: list[Any]) -> float:
    """Something of each of them, so that they are read."""
    return float(sum(array[-1] for array in arrays))


def here() -> Any:
    """This module; what is looked up in it while a step runs is no part of the step's code."""
    return sys.modules[__name__]


def _hash(data: Any) -> str:
    return blake3(data.view(np.uint8), max_threads=blake3.AUTO).hexdigest()


def hits(folder: str, size: int, calls: int, turns: int) -> Pairs:
    """Seconds of a trial whose calls are reused and read, and of what stands beside it."""
    from joblib import Memory

    ex = Experiment("bench", backend=f"{folder}/store", seed=1)
    made, told = ex(make, reuse=True), ex.result(tell)
    reused = told([made(number, size) for number in range(calls)])
    nothing = [np.zeros(1)] * calls
    given = ex.result(lambda few: tell(nothing), name="given")(ex.parameter("few", default=0))
    cached = Memory(f"{folder}/joblib", verbose=0).cache(make)
    array = make(0, size)
    functions: dict[str, Callable[[], Any]] = {
        REUSED: functools.partial(reused.compute, scheduler="synchronous"),
        GIVEN: functools.partial(given.compute, scheduler="synchronous"),
        CACHED: lambda: tell([cached(number, size) for number in range(calls)]),
        PASS: lambda: _hash(array),
    }
    answers = [functions[name]() for name in (REUSED, GIVEN, CACHED) for _ in range(3)]
    if len(set(answers[:3] + answers[6:])) != 1:
        raise RecordError(f"reused calls gave {answers}")
    pairs = in_turns(functions, turns)
    for trial in itertools.islice(ex.trials, 1, None):
        outcomes = set(trial.steps["outcome"][trial.steps["step"] == "make"])
        if not outcomes <= {"reused"}:
            raise RecordError(f"calls of trial {trial.number} were not reused")
    return pairs


def large(folder: str, size: int, turns: int) -> Pairs:
    """Seconds of a trial of two steps with one large array, and of a pass of the hash."""
    ex = Experiment("bench", backend=f"{folder}/store")
    here()._array = array = make(0, size)
    first = ex(lambda few: here()._array, name="first")(ex.parameter("few", default=0))
    s = ex.result(lambda found: float(found[-1]), name="last")(first)
    trial = functools.partial(s.compute, scheduler="synchronous")
    trial()
    return in_turns({REUSED: trial, PASS: lambda: _hash(array)}, turns)


def _of_each(pairs: Pairs, calls: int) -> list[float]:
    """Seconds that each reused call adds to a trial."""
    both = zip(pairs[REUSED], pairs[GIVEN], strict=True)
    return [(with_them - without) / calls for with_them, without in both]


def _small(folder: str) -> Row:
    pairs: Pairs = fresh(hits, folder, _SMALL, _CALLS, _TURNS[_SMALL], folder=folder)
    ours, theirs = _of_each(pairs, _CALLS), [took / _CALLS for took in pairs[CACHED]]
    return Row(
        "reused call, 1 kB, read, of 20 in a trial",
        duration(statistics.median(ours)),
        f"joblib.Memory: {duration(statistics.median(theirs))}",
        [one / other for one, other in zip(ours, theirs, strict=True)],
        1.0,
    )


def _large(folder: str, size: int) -> list[Row]:
    pairs: Pairs = fresh(hits, folder, size, 1, _TURNS[size], folder=folder)
    ours, passes = _of_each(pairs, 1), pairs[PASS]
    name = f"reused call, {size // 1_000_000} MB, read"
    beside = statistics.median(pairs[CACHED])
    return [
        Row(
            name,
            duration(statistics.median(ours)),
            f"a pass of the hash: {duration(statistics.median(passes))}",
            [max(0.0, one - 0.001) / other for one, other in zip(ours, passes, strict=True)],
            1.3,
            note="less 1 ms",
        ),
        Row(
            name,
            duration(statistics.median(ours)),
            f"joblib.Memory: {duration(beside)}, which compares no digest",
            [one / other for one, other in zip(ours, pairs[CACHED], strict=True)],
        ),
    ]


def _handed(folder: str) -> Row:
    size = _SIZES[-1]
    pairs: Pairs = fresh(large, folder, size, _TURNS[size], folder=folder)
    passes = [trial / (2 * other) for trial, other in zip(*pairs.values(), strict=True)]
    return Row(
        "step with an array of 100 MB, in passes of the hash",
        f"two such: {duration(statistics.median(pairs[REUSED]))}",
        f"a pass: {duration(statistics.median(pairs[PASS]))}",
        passes,
        2.0,
    )


def measure(folder: str) -> list[Row]:
    places = (Path(folder, str(number)) for number in itertools.count())

    def place() -> str:
        made = next(places)
        made.mkdir()
        return str(made)

    rows = [_small(place())]
    for size in _SIZES:
        rows += _large(place(), size)
    return [*rows, _handed(place())]


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    ex = Experiment("bench", backend=f"{folder}/profiled", seed=1)
    made, told = ex(make, reuse=True), ex.result(tell)
    s = told([made(number, _SMALL) for number in range(_CALLS)])
    for _ in range(100):
        s.compute(scheduler="synchronous")
