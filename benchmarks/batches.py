"""Many trials at a time, over pools and a cluster that run the bare functions; their memory."""

from __future__ import annotations

import functools
import gc
import importlib.util
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask

from benchmarks import records, work
from benchmarks.measure import Pairs, Row, compared, duration, fresh, resident, timed
from daskperiment import Experiment, Trial
from daskperiment.callbacks import BatchView, Callback

KINDS = {"threads": 2.22, "processes": 2.22, "cluster": 1.43}
"""Where trials run, and how much longer than the bare functions they should take there: 0.45 and
0.7 of their speed."""
WIDTH = 2
_TRIALS, _WARM, _TURNS = 1000, 300, 5
_SLEEPERS, _SLEEPING, _SECONDS = 1000, 50, 1.0
_MEMORY, _STEP = 10_000, 1000

OURS, BARE, GRAPH = "ex.map", "the three functions", "the dask graph"
CHAIN, JOBLIB = "three client.submit", "joblib.Parallel"
_PLACES = {
    "threads": "2 threads",
    "processes": "2 processes",
    "cluster": "a LocalCluster of 2 workers",
}

Values = dict[str, float]


# -- what runs beside trials ----------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _plain() -> Any:
    return work.bare()


def graph(a: float, b: float) -> float:
    """Compute the bare graph, which a process makes once."""
    (value,) = dask.compute(_plain(), scheduler="synchronous")
    return float(value)


Call = Callable[[float, float], float]


def _called(executor: Executor, function: Call, given: Sequence[Values]) -> list[float]:
    """What the calls return that are handed to an executor all at once."""
    futures = [executor.submit(function, values["a"], values["b"]) for values in given]
    return [future.result() for future in futures]


def _chained(client: Any, given: Sequence[Values]) -> list[float]:
    """The three functions of each trial as three tasks."""
    submit = functools.partial(client.submit, pure=False)
    futures = [
        submit(work.score, submit(work.train, submit(work.prepare, values["a"], values["b"])))
        for values in given
    ]
    return list(client.gather(futures))


def _by_joblib(kind: str, given: Sequence[Values]) -> list[float]:
    from joblib import Parallel, delayed

    backend = "threading" if kind == "threads" else "loky"
    calls = (delayed(work.expected)(values["a"], values["b"]) for values in given)
    return list(Parallel(WIDTH, backend=backend)(calls))


Way = Callable[[Sequence[Values]], list[float]]


@contextmanager
def _beside(kind: str) -> Iterator[tuple[Any, dict[str, Way]]]:
    """The executor for trials, and what stands beside them."""
    with _pool(kind) as pool:
        ways: dict[str, Way] = {
            BARE: functools.partial(_called, pool, work.expected),
            GRAPH: functools.partial(_called, pool, graph),
        }
        if kind == "cluster":
            ways = {CHAIN: functools.partial(_chained, pool.client), **ways}
        elif importlib.util.find_spec("joblib") is not None:
            ways[JOBLIB] = functools.partial(_by_joblib, kind)
        yield pool.client if kind == "cluster" else kind, ways


@contextmanager
def _cluster() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WIDTH, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield _Cluster(client)


class _Cluster(Executor):
    """A cluster as a pool."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self.client.submit(function, *args, **kwargs, pure=False)  # type: ignore[no-any-return]


def _pool(kind: str) -> AbstractContextManager[Any]:
    if kind == "threads":
        return ThreadPoolExecutor(WIDTH)
    if kind == "processes":
        return ProcessPoolExecutor(WIDTH, mp_context=get_context("spawn"))
    return _cluster()


# -- trials that do nothing -----------------------------------------------------------------


class Clock(Callback):
    """Tells how long a batch took from the end of its first trials on, in which workers start."""

    def __init__(self, warm: int) -> None:
        self.warm = warm
        self.begun = 0.0

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Begin to count."""
        assert batch is not None
        if batch.done == self.warm:
            self.begun = time.perf_counter()


def _given(numbers: Iterator[int], trials: int) -> list[Values]:
    return [{"a": n, "b": n + 0.5} for n in itertools.islice(numbers, trials)]


def rates(kind: str, folder: str, trials: int, warm: int, turns: int) -> Pairs:
    """Seconds for each trial of a batch, and for each call of what stands beside it."""
    s, numbers = work.recorded(Experiment("bench", backend=f"{folder}/store")), itertools.count(1)
    width = None if kind == "cluster" else WIDTH
    seconds: Pairs = {}

    def recorded(given: Sequence[Values]) -> float:
        clock = Clock(warm)
        ended = s._owner.map(s, given, executor, width, progress=False, callbacks=[clock])
        took = time.perf_counter() - clock.begun
        check_batch(ended, given)
        return took

    def plain(way: Way, given: Sequence[Values]) -> float:
        answers: list[float] = []
        took = timed(lambda: answers.extend(way(given)))
        assert len(answers) == len(given)
        return took

    with _beside(kind) as (executor, ways):
        for way in ways.values():  # workers start and import
            way(_given(itertools.count(1), warm))
        names = [OURS, *ways]
        for turn in range(turns):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                if name == OURS:
                    took = recorded(_given(numbers, trials))
                else:
                    took = plain(ways[name], _given(itertools.count(1), trials - warm))
                seconds.setdefault(name, []).append(took / (trials - warm))
    records.check(f"{folder}/store", "bench", trials * turns)
    return seconds


def check_batch(trials: Sequence[Trial], given: Sequence[Values]) -> None:
    """Check that a batch has returned the trials of the values that were given, in their order.

    Raises
    ------
    RecordError
        It has not.
    """
    found = [(trial.parameters, trial.result) for trial in trials]
    wanted = [(values, work.expected(**values)) for values in given]
    if found != wanted:
        raise records.RecordError(f"the {len(found)} trials returned are not those of the batch")


def _rates(kind: str, folder: str) -> list[Row]:
    python = sys.executable
    if kind == "cluster" and importlib.util.find_spec("distributed") is None:
        from benchmarks import peers

        # Elsewhere, as importing Dask takes longer where it is installed.
        cluster = peers.Peer("", "", [f"{peers.ROOT}[distributed]"], environment="cluster")
        try:
            python = peers.interpreter(cluster)
        except peers.AbsentError as error:
            return [Row(f"batch on {_PLACES[kind]}", f"not measured: {error}", "", [])]
    found: Pairs = fresh(rates, kind, folder, _TRIALS, _WARM, _TURNS, folder=folder, python=python)
    return rows_of(kind, found)


def rows_of(kind: str, found: Pairs) -> list[Row]:
    """The rows of what :func:`rates` has found."""
    trial, call = (f"{what} on {_PLACES[kind]}" for what in ("batch of no-op trials", "a call"))
    bare = CHAIN if kind == "cluster" else BARE
    second = f"{1 / statistics.median(found[OURS]):,.0f} trials a second"
    rows = [
        compared(f"{trial}, ex.map()", found, OURS, bare, KINDS[kind], f"{second}; {_WITHOUT}"),
        compared(f"{trial}, ex.map()", found, OURS, GRAPH, None),
    ]
    others = [name for name in found if name not in (OURS, bare)]
    return rows + [compared(f"{call}, {name}", found, name, bare, None) for name in others]


_WITHOUT = "without the first trials of each batch, in which its workers start"


# -- trials that sleep ----------------------------------------------------------------------


def sleeping(seconds: float) -> Callable[[float], float]:
    """The second step, which waits."""

    def train(data: float) -> float:
        time.sleep(seconds)
        return data * 2

    return train


def slept(folder: str, trials: int, width: int, seconds: float) -> float:
    """Seconds of a batch of trials that sleep, on threads."""
    ex = Experiment("bench", backend=f"{folder}/sleeping")
    s, given = work.recorded(ex, sleeping(seconds)), _given(itertools.count(1), trials)
    ended: list[Trial] = []
    took = timed(lambda: ended.extend(ex.map(s, given, "threads", width, progress=False)))
    check_batch(ended, given)
    records.check(f"{folder}/sleeping", "bench", trials)
    return took


def _slept(folder: str) -> Row:
    took = fresh(slept, folder, _SLEEPERS, _SLEEPING, _SECONDS, folder=folder)
    ideal = _SLEEPERS * _SECONDS / _SLEEPING
    return Row(
        f"{_SLEEPERS:,} trials that sleep {_SECONDS:g} s, on {_SLEEPING} threads",
        duration(took),
        f"ideal: {duration(ideal)}",
        [took / ideal],
        1.15,
    )


# -- memory ---------------------------------------------------------------------------------


class Memory(Callback):
    """Looks at the memory of this process each time that so many trials have ended."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.found: list[int] = []

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Look."""
        assert batch is not None
        if batch.done % self.step == 0:
            gc.collect()
            self.found.append(resident())


def grown(kind: str, folder: str, trials: int, step: int) -> list[int]:
    """Memory of the process that runs a batch, after each so many of its trials."""
    store, memory = f"{folder}/memory-{kind}", Memory(step)
    ex = Experiment("bench", backend=store)
    given = _given(itertools.count(1), trials)
    ended = ex.map(work.recorded(ex), given, kind, WIDTH, progress=False, callbacks=[memory])
    check_batch(ended, given)
    records.check(store, "bench", trials, every=10)
    return memory.found


def _grown(kind: str, folder: str) -> Row:
    found = fresh(grown, kind, folder, _MEMORY, _STEP, folder=folder)
    second, last = found[1], found[-1]
    each = (last - second) / (_MEMORY - 2 * _STEP)
    return Row(
        f"memory of what runs {_MEMORY:,} trials on {_PLACES[kind]}",
        f"{last / 1e6:.1f} MB after {_MEMORY:,}",
        f"{second / 1e6:.1f} MB after {2 * _STEP:,}",
        [last / second],
        1.05,
        note=f"{each:.0f} bytes a trial, of which the batch keeps a handle for callbacks",
    )


def measure(folder: str) -> list[Row]:
    rows = []
    for kind in KINDS:
        rows += _rates(kind, _made(folder, kind))
    rows.append(_slept(folder))
    return rows + [_grown(kind, folder) for kind in ("threads", "processes")]


def _made(folder: str, name: str) -> str:
    place = Path(folder, name)
    place.mkdir()
    return str(place)


def profiled(folder: str) -> None:
    """The work that a profile shows: of the process that runs a batch, not of its workers."""
    ex = Experiment("bench", backend=f"{folder}/profiled")
    given = _given(itertools.count(1), 1000)
    ex.map(work.recorded(ex), given, "processes", WIDTH, progress=False)
