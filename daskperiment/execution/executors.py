"""Executors: where the trials of a batch run."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any

from daskperiment.backends.server import masked
from daskperiment.errors import ExecutorError, ResourceError
from daskperiment.execution import gpus as gpu
from daskperiment.execution import stopping
from daskperiment.execution.workers import Pool, ProcessWorker, Worker
from daskperiment.platform import usable_cpus
from daskperiment.serializers import preview

Resources = Mapping[str, float]

_MANY = 1000
"""Trials that are handed to an executor which says nothing of its workers."""
_START_METHODS = ("spawn", "fork", "forkserver")
_LOST = 20.0
"""Seconds without a connection to a scheduler after which it is taken to be gone."""


class Place:
    """Where the trials of a batch run while it is open.

    Parameters
    ----------
    width : int
        How many of them are handed over at a time.
    elsewhere : bool
        Whether that is in other processes, so that what is submitted must be pickled.
    repeats : bool
        Whether it may run what was submitted twice, as a scheduler does whose worker has died.
    """

    def __init__(self, width: int, elsewhere: bool, repeats: bool = False) -> None:
        self.width = width
        self.elsewhere = elsewhere
        self.repeats = repeats

    def submit(
        self, uid: str, limit: float | None, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        """Have a function called for the trial of this uid.

        ``limit`` is for how many seconds a process of its own is waited for.
        """
        raise NotImplementedError

    def interrupt(self, uids: Iterable[str]) -> None:
        """Ask trials to end, as far as they can be reached."""
        for uid in uids:
            stopping.request(uid, KeyboardInterrupt())

    def kill(self, uid: str) -> bool:
        """End the process of a trial; False where it has none of its own."""
        return False

    def lost(self, cancelled: bool = False) -> str | None:
        """Why nothing that was submitted will ever come back; None as long as it may.

        ``cancelled`` is whether something was, by nobody here, or could not be submitted.
        """
        return None

    def close(self) -> None:
        """Let go of what was made here."""


class _Threads(Place):
    def __init__(self, width: int) -> None:
        super().__init__(width, elsewhere=False)
        self._pool = Pool([Worker] * width)
        self.close = self._pool.close  # type: ignore[method-assign]
        self.submit = self._pool.submit  # type: ignore[method-assign]


class _Processes(Place):
    def __init__(self, context: Any, environments: Sequence[Mapping[str, str]]) -> None:
        super().__init__(len(environments), elsewhere=True)
        self._pool = Pool([partial(ProcessWorker, context, each) for each in environments])

    def submit(
        self, uid: str, limit: float | None, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        return self._pool.submit(uid, limit, function, *arguments)

    def interrupt(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._pool.interrupt(uid)

    def kill(self, uid: str) -> bool:
        return self._pool.kill(uid)

    def close(self) -> None:
        self._pool.close()


class _Given(Place):
    """An executor of the user's, which stays open."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(_MANY, elsewhere=not isinstance(executor, ThreadPoolExecutor))
        self._executor = executor

    def submit(
        self, uid: str, limit: float | None, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        return self._executor.submit(function, *arguments)


class _Cluster(Place):
    """The workers of a Dask cluster."""

    def __init__(self, client: Any, resources: Resources, owned: bool = False) -> None:
        super().__init__(_MANY, elsewhere=True, repeats=True)
        _check_workers(client, resources)
        self._client = client
        self._owned = owned
        self._options = {"resources": dict(resources)} if resources else {}
        self._since: float | None = None

    def submit(
        self, uid: str, limit: float | None, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        # An executor of the client would wait for ever where a result is lost with its worker and
        # the call fails when it is repeated.
        future = self._client.submit(function, *arguments, pure=False, retries=0, **self._options)
        promised: Future[Any] = Future()
        promised.add_done_callback(lambda done: future.cancel() if done.cancelled() else None)
        self._client.loop.add_callback(_pass_on, future, promised)
        return promised

    def interrupt(self, uids: Iterable[str]) -> None:
        # The calling thread must not wait for workers that hang.
        asked = partial(self._client.run, _stop_here, list(uids), on_error="ignore")
        threading.Thread(target=_quietly, args=(asked,), daemon=True).start()

    def lost(self, cancelled: bool = False) -> str | None:
        if self._client.status == "running":
            self._since = None
            return None
        now = time.monotonic()
        self._since = self._since or now
        # A client that loses its scheduler cancels all, also where it finds another one later.
        if cancelled or self._client.status == "closed" or now - self._since > _LOST:
            return "the connection to the scheduler is lost"
        return None

    def close(self) -> None:
        if self._owned:
            self._client.close(timeout=5)


async def _pass_on(future: Any, promised: Future[Any]) -> None:
    """Wait for what a cluster gives, and promise it in any case."""
    result, error = None, None
    try:
        result = await future
    except BaseException as raised:  # also an interrupt of the worker, which would end this loop
        error = raised
    if not promised.set_running_or_notify_cancel():
        return
    if error is None:
        promised.set_result(result)
    else:
        promised.set_exception(error)


def _stop_here(uids: Sequence[str]) -> None:
    for uid in uids:
        stopping.request(uid, KeyboardInterrupt())


def _quietly(function: Callable[[], Any]) -> None:
    with suppress(Exception):
        function()


def _check_workers(client: Any, resources: Resources) -> None:
    """Refuse resources that no worker offers, as the scheduler would wait for one for ever."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values() if resources else ()
    if workers and not any(
        all(worker["resources"].get(name, 0) >= amount for name, amount in resources.items())
        for worker in workers
    ):
        asked = ", ".join(f"{name}: {amount:g}" for name, amount in resources.items())
        raise ResourceError(
            f"A step needs {asked}, and none of the {len(workers)} workers of the cluster offers "
            "that: start workers with it, as by  dask worker --resources "
            + '"' + " ".join(f"{name}={amount:g}" for name, amount in resources.items()) + '"'
        )  # fmt: skip


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
    if _is_multiprocessing(executor):
        return
    raise ExecutorError(
        f"There is no executor {preview(executor)}: give 'threads', 'processes', 'processes:' with "
        f"{' or '.join(m for m in _START_METHODS if m in methods)}, a module like "
        "torch.multiprocessing, an executor of concurrent.futures, a distributed.Client, or the "
        "address of a scheduler such as 'tcp://host:8786'"
    )


def check_gpus(gpus: Any, executor: Any) -> list[str] | None:
    """Return what each worker is to see of the GPUs; errors as ResourceError."""
    seen = gpu.check_gpus(gpus)
    if seen is not None and not _has_processes(executor):
        raise ResourceError(
            "gpus is for worker processes, each of which sees its own: add executor='processes'; "
            "the workers of a cluster get theirs when they are started"
        )
    return seen


def on_client(executor: Any) -> bool:
    """Whether it is, or is the address of, a Dask cluster."""
    return _is_client(executor) or (isinstance(executor, str) and "://" in executor)


def describe_executor(executor: Any) -> str:
    """The executor in a word or two.

    Examples
    --------
    >>> describe_executor(None), describe_executor(ThreadPoolExecutor(1))
    ('threads', 'ThreadPoolExecutor')
    """
    if isinstance(executor, str):
        return masked(executor)
    if executor is None:
        return "threads"
    return getattr(executor, "__name__", type(executor).__name__)


def kept(executor: Any, resources: Resources) -> Place:
    """A place that stays open as long as this process; one for equal executors."""
    named = executor if executor is None or isinstance(executor, str) else id(executor)
    key = (os.getpid(), named, *sorted(resources.items()))
    with _keeping:
        if key not in _kept:
            _kept[key] = _place(executor, None, resources, None)
        return _kept[key]


_keeping = threading.Lock()
_kept: dict[Any, Place] = {}


@contextmanager
def opened(
    executor: Any,
    max_workers: int | None,
    resources: Resources,
    gpus: Sequence[str] | None = None,
) -> Iterator[Place]:
    """A place that is left when the block ends; an executor of the user's stays open.

    Raises
    ------
    ResourceError
        It cannot offer the resources.
    """
    if isinstance(executor, Place):
        yield executor
        return
    place = _place(executor, max_workers, resources, gpus)
    try:
        yield place
    finally:
        place.close()


def _place(
    executor: Any, max_workers: int | None, resources: Resources, gpus: Sequence[str] | None
) -> Place:
    width = max_workers or usable_cpus()
    if _has_processes(executor):
        return _Processes(_context(executor), _environments(width, max_workers, resources, gpus))
    if on_client(executor):
        if not isinstance(executor, str):
            return _Cluster(executor, resources)
        from distributed import Client

        return _Cluster(Client(executor, set_as_default=False), resources, owned=True)
    if resources:
        raise ResourceError(
            f"A step needs {', '.join(resources)}, which threads cannot be given: take "
            "executor='processes' for GPUs, or a cluster whose workers offer it"
        )
    return _Given(executor) if isinstance(executor, Executor) else _Threads(width)


def _environments(
    width: int, asked: int | None, resources: Resources, gpus: Sequence[str] | None
) -> list[dict[str, str]]:
    """Variables of each worker process, one for each."""
    if unknown := [name for name in resources if name != "GPU"]:
        raise ResourceError(
            f"A step needs {', '.join(unknown)}, and processes of this machine are only given "
            "GPUs: take a cluster whose workers offer it"
        )
    each = int(resources.get("GPU", 0))
    if gpus is None and each:
        gpus = gpu.shared_out(each)
    if gpus is None:
        return [{}] * width
    if few := [seen for seen in gpus if seen.count(",") + 1 < each]:
        raise ResourceError(f"A step needs {each} GPUs, and gpus gives a worker only {few[0]}")
    return [{gpu.VARIABLE: seen} for seen in gpus[: asked or len(gpus)]]


def _has_processes(executor: Any) -> bool:
    if isinstance(executor, str):
        return executor.partition(":")[0] == "processes"
    return _is_multiprocessing(executor)


def _is_multiprocessing(executor: Any) -> bool:
    """Whether it is a library such as `multiprocessing`, or one of its contexts."""
    return hasattr(executor, "get_context") and hasattr(executor, "Process")


def _context(executor: Any) -> Any:
    # Not forked unless asked for: other threads may hold locks, for ever in the child.
    if isinstance(executor, str):
        return multiprocessing.get_context(executor.partition(":")[2] or "spawn")
    if isinstance(executor, (multiprocessing.context.DefaultContext, ModuleType)):
        return executor.get_context("spawn")
    return executor


def _is_client(executor: Any) -> bool:
    return hasattr(executor, "scheduler_info") and hasattr(executor, "submit")
