"""Executors: where the trials of a batch run."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from typing import Any, NamedTuple

from daskperiment.errors import ExecutorError
from daskperiment.platform import usable_cpus
from daskperiment.serializers import preview

Submit = Callable[..., "Future[Any]"]

_MANY = 1000
"""Trials that are handed to an executor which says nothing of its workers."""
_START_METHODS = ("spawn", "fork", "forkserver")


class Place(NamedTuple):
    """Where the trials of a batch run while it is open.

    Parameters
    ----------
    submit : callable
        Takes a function and its arguments; returns a :class:`concurrent.futures.Future`.
    elsewhere : bool
        Whether that is in other processes, so that what is submitted must be pickled.
    width : int
        How many of them are handed over at a time.
    """

    submit: Submit
    elsewhere: bool
    width: int


def check_executor(executor: Any, max_workers: int | None) -> None:
    """Refuse what is no executor.

    Raises
    ------
    ExecutorError
        The message lists what can be given.
    """
    if max_workers is not None and (
        isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1
    ):
        raise ExecutorError(
            f"max_workers is a number of workers from 1 on, not {preview(max_workers)}"
        )
    if executor is None or isinstance(executor, Executor) or _is_client(executor):
        if executor is not None and max_workers is not None:
            raise ExecutorError(
                "max_workers is for executors that are made here: give yours as many as you want"
            )
        return
    kind, _, method = executor.partition(":") if isinstance(executor, str) else ("", "", "")
    methods = multiprocessing.get_all_start_methods()
    if kind == "threads" and not method:
        return
    if kind == "processes" and (not method or method in methods):
        return
    if isinstance(executor, str) and "://" in executor:
        return
    raise ExecutorError(
        f"There is no executor {preview(executor)}: give 'threads', 'processes', 'processes:' with "
        f"{' or '.join(m for m in _START_METHODS if m in methods)}, an executor of "
        "concurrent.futures, a distributed.Client, or the address of a scheduler such as 'tcp://host:8786'"
    )


@contextmanager
def opened(executor: Any, max_workers: int | None) -> Iterator[Place]:
    """A place that is left when the block ends; an executor of the user's stays open."""
    width = max_workers or usable_cpus()
    if isinstance(executor, Executor):
        yield Place(executor.submit, not isinstance(executor, ThreadPoolExecutor), _MANY)
    elif executor is None or executor == "threads":
        with ThreadPoolExecutor(width, "daskperiment-trial") as pool:
            yield Place(pool.submit, elsewhere=False, width=width)
    elif isinstance(executor, str) and executor.partition(":")[0] == "processes":
        with _Processes(executor.partition(":")[2] or "spawn") as processes:
            yield Place(processes.submit, elsewhere=True, width=width)
    elif isinstance(executor, str):
        from distributed import Client

        with Client(executor, set_as_default=False) as client:
            yield Place(_on_cluster(client), elsewhere=True, width=_MANY)
    else:
        yield Place(_on_cluster(executor), elsewhere=True, width=_MANY)


class _Processes:
    """Worker processes, of which each can die without the others.

    A :class:`~concurrent.futures.ProcessPoolExecutor` ends all of its processes when one has
    died, and all that they were running is lost.  So each process has a pool of its own.
    """

    def __init__(self, method: str) -> None:
        # Not forked unless asked for: other threads may hold locks, for ever in the child.
        self._context = multiprocessing.get_context(method)
        self._idle: list[ProcessPoolExecutor] = []
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function in a process that does nothing else meanwhile."""
        with self._lock:
            pool = self._idle.pop() if self._idle else None
        if pool is None:
            pool = ProcessPoolExecutor(1, mp_context=self._context)
        future = pool.submit(function, *arguments)
        future.add_done_callback(lambda done: self._free(pool, done))
        return future

    def _free(self, pool: ProcessPoolExecutor, done: Future[Any]) -> None:
        if done.cancelled() or isinstance(done.exception(), BrokenExecutor):
            pool.shutdown(wait=False)
            return
        with self._lock:
            self._idle.append(pool)

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for pool in idle:
            pool.shutdown(wait=True)


def _is_client(executor: Any) -> bool:
    return hasattr(executor, "scheduler_info") and hasattr(executor, "submit")


def _on_cluster(client: Any) -> Submit:
    executor = client.get_executor(pure=False, retries=0)
    return executor.submit  # type: ignore[no-any-return]
