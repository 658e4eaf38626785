"""A three-step trial over bare dask of the same graph, early and after ten thousand trials."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import Any

import dask

from benchmarks import records, work
from benchmarks.measure import Pairs, Row, compared, fresh, in_turns, joined, ratios, took
from daskperiment import Experiment
from daskperiment.backends.local import LocalBackend

_BARE = "bare dask.compute"
_VARIED = "s.compute(), new values each time"
_LATE = 10_000


def around(scheduler: str, folder: str, late: int) -> list[Pairs]:
    """Seconds of each way of computing from trial 100 on, and from trial ``late`` on."""
    # Each way has a store of its own, so that each is at the same trial.
    stores = {name: f"{folder}/{name}" for name in ("compute", "varied", "dask", "power")}
    backends: dict[str, Any] = {
        name: LocalBackend(place, durability="power" if name == "power" else "process")
        for name, place in stores.items()
    }
    plain = work.bare()
    values = itertools.count(1)
    s, v, d, p = (work.recorded(Experiment("bench", backend=b)) for b in backends.values())
    functions = {
        _BARE: lambda: dask.compute(plain, scheduler=scheduler),
        "s.compute()": lambda: s.compute(scheduler=scheduler),
        _VARIED: lambda: v.compute(scheduler=scheduler, parameters={"a": next(values)}),
        "dask.compute(s)": lambda: dask.compute(d, scheduler=scheduler),
        'durability="power"': lambda: p.compute(scheduler=scheduler),
        "WAL FULL insert": work.disk_insert(f"{folder}/insert", "full"),
    }
    in_turns(functions, 99)
    early = in_turns(functions, 60)
    only = {name: functions[name] for name in (_BARE, "s.compute()")}
    if late:
        for _ in range(late - 160):
            functions["s.compute()"]()
        in_turns(only, 10)
    after = in_turns(only, 60) if late else early
    for name, place in stores.items():
        more = late - 160 + 70 if late and name == "compute" else 0
        records.check(place, "bench", 159 + more)
    return [early, after]


def measure(folder: str) -> list[Row]:
    rows = []
    for scheduler in ("synchronous", "threads"):
        places = [f"{folder}/{scheduler}{n}" for n in range(3)]
        lates = (_LATE, 0, 0)
        found = [
            fresh(around, scheduler, place, late, folder=_made(place))
            for place, late in zip(places, lates, strict=True)
        ]
        rows += _rows(scheduler, joined([early for early, _ in found]), found[0])
    return rows


def _made(place: str) -> str:
    Path(place).mkdir(parents=True)
    return place


def _rows(scheduler: str, early: Pairs, same: list[Pairs]) -> list[Row]:
    trial = f"three-step trial, {scheduler}"
    first, last = (ratios(pairs, "s.compute()", _BARE) for pairs in same)
    growth = [ratio / statistics.median(first) for ratio in last]
    synced = early['durability="power"'], early["WAL FULL insert"]
    return [
        compared(f"{trial}, s.compute(), trial 100", early, "s.compute()", _BARE, 1.0),
        compared(f"{trial}, s.compute(), trial {_LATE:,}", same[1], "s.compute()", _BARE, None),
        Row(
            f"{trial}, trial {_LATE:,} over trial 100",
            took(same[1], "s.compute()"),
            f"at trial 100 of the same process: {took(same[0], 's.compute()')}",
            growth,
            1.1,
            note="each late ratio to bare dask over the median of the early ones",
        ),
        compared(f"{trial}, {_VARIED}, trial 100", early, _VARIED, _BARE, None),
        compared(f"{trial}, dask.compute(s), trial 100", early, "dask.compute(s)", _BARE, 2.0),
        compared(f'{trial}, durability="power"', early, 'durability="power"', _BARE, None),
        Row(
            f'{trial}, durability="power", beside the disk',
            took(early, 'durability="power"'),
            f"WAL FULL insert: {took(early, 'WAL FULL insert')}",
            [a / b for a, b in zip(*synced, strict=True)],
        ),
    ]


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    s = work.recorded(Experiment("bench", backend=f"{folder}/profiled"))
    for _ in range(1000):
        s.compute(scheduler="synchronous")
