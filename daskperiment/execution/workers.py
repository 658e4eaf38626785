"""Workers: threads and processes of our own in which trials run."""

from __future__ import annotations

import atexit
import multiprocessing.connection
import multiprocessing.process
import multiprocessing.util
import os
import pickle
import queue
import select
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from daskperiment import platform
from daskperiment.errors import BatchError, TrialTimeoutError
from daskperiment.execution import stopping

_PARTING = 5.0
"""Seconds that a process has for ending when nothing more is asked of it."""

Environment = Mapping[str, str]


class WorkerDiedError(BatchError):
    """A worker process has died; the message says of which signal or with which exit code."""


class Common(NamedTuple):
    """An argument of many calls, which a process of ours is sent with the first of them only.

    Parameters
    ----------
    key : str
        Tells it from others.
    content : bytes
        What it is, empty where the process has it.
    """

    key: str
    content: bytes


class Worker:
    """What one thread of a pool serves calls with: here by calling in this very thread."""

    def call(
        self, function: Callable[..., Any], arguments: Sequence[Any], limit: float | None
    ) -> Any:
        """Return what the function returns."""
        return function(*arguments)

    def interrupt(self) -> None:
        """Ask what is being called to end."""

    def kill(self) -> bool:
        """End at once whatever is being called; False where that is not possible."""
        return False

    def close(self) -> None:
        """Let go of it; nothing is being called."""


class Pool:
    """Threads that serve what is submitted, each one call at a time.

    None of them keeps the interpreter from ending, as those of :mod:`concurrent.futures` do: a
    trial that does not react to Ctrl-C is abandoned.

    Parameters
    ----------
    workers : sequence of callable
        Makes the worker of each thread; a thread is started when there is work for it.
    """

    def __init__(self, workers: Sequence[Callable[[], Worker]]) -> None:
        self._unstarted = list(reversed(workers))
        self._work: queue.SimpleQueue[tuple[str, float | None, Future[Any], Any, Any] | None] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._busy: dict[str, Worker] = {}

    def submit(
        self, uid: str, limit: float | None, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        """Have a function called; ``uid`` names the call for :meth:`interrupt` and `kill`.

        ``limit`` is for how many seconds a process of its own is waited for.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._unstarted:
                self._start(self._unstarted.pop())
        self._work.put((uid, limit, future, function, arguments))
        return future

    def _start(self, make: Callable[[], Worker]) -> None:
        name = f"daskperiment-trial_{len(self._threads)}"
        thread = threading.Thread(target=self._serve, args=(make(),), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _serve(self, worker: Worker) -> None:
        try:
            while (work := self._work.get()) is not None:
                self._perform(worker, *work)
                del work  # its values would stay until the next one
                with self._lock:
                    self._idle += 1
        finally:
            worker.close()

    def _perform(
        self,
        worker: Worker,
        uid: str,
        limit: float | None,
        future: Future[Any],
        function: Any,
        arguments: Any,
    ) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._busy[uid] = worker
        try:
            value = worker.call(function, arguments, limit)
        except BaseException as error:
            self._busy.pop(uid, None)
            future.set_exception(error)
        else:
            self._busy.pop(uid, None)
            future.set_result(value)

    def interrupt(self, uid: str) -> None:
        """Ask a call to end."""
        if (worker := self._busy.get(uid)) is not None:
            worker.interrupt()

    def kill(self, uid: str) -> bool:
        """End a call together with its process; False where it has none of its own."""
        worker = self._busy.get(uid)
        return worker is not None and worker.kill()

    def close(self) -> None:
        """End the threads that are idle, and wait for their workers to be let go of."""
        for _ in self._threads:
            self._work.put(None)
        if not self._busy:
            for thread in self._threads:
                thread.join(2 * _PARTING)


class ProcessWorker(Worker):
    """A process that is started for the first call, and anew when it has died.

    Each has a pipe of its own, so that one that dies takes no other one along, as it does in
    a :class:`~concurrent.futures.ProcessPoolExecutor`.

    Parameters
    ----------
    context : BaseContext
        How processes are started, of :mod:`multiprocessing` or ``torch.multiprocessing``.
    environment : mapping of str to str
        Variables that are set in it.
    """

    def __init__(self, context: Any, environment: Environment | None = None) -> None:
        self._context = context
        self._environment = dict(environment or {})
        self._process: Any = None
        self._unwanted = False
        self._pipe: Any = None
        self._has: set[str] = set()  # keys of what calls have in common

    def call(
        self, function: Callable[..., Any], arguments: Sequence[Any], limit: float | None
    ) -> Any:
        """Return what the function returns there.

        Raises
        ------
        WorkerDiedError
            The process has died.
        TrialTimeoutError
            It has not answered within the limit, and was ended.
        """
        fresh, self._unwanted = self._process is None, False
        if fresh:
            self._start()
            if self._unwanted:
                raise CancelledError
        try:
            if fresh:
                self._pipe.recv_bytes()  # what the script imports is not of the trial's time
            self._pipe.send_bytes(_encoded((function, [self._short(each) for each in arguments])))
            # To poll makes a selector each time.
            there = limit is None or self._pipe.poll(limit)
            answer = self._pipe.recv_bytes() if there else None
        except (EOFError, OSError) as error:
            process = self._process
            self._let_go()
            raise WorkerDiedError(f"The worker process died of {_cause(process)}") from error
        if answer is None:
            self._process.kill()
            self._let_go()
            raise TrialTimeoutError(
                f"The trial did not react to its timeout within {limit:g} s, and its process was "
                "ended."
            )
        value, raised, last = pickle.loads(answer)
        if last:
            self._let_go(patience=0.0)
        if raised is not None:
            raise raised
        self._has = {each.key for each in arguments if isinstance(each, Common)}
        return value

    def _short(self, argument: Any) -> Any:
        if isinstance(argument, Common) and argument.key in self._has:
            return argument._replace(content=b"")
        return argument

    def _start(self) -> None:
        # One at a time: a process that is forked while another one's pipe has both its ends in
        # here keeps a copy of the far one, and nobody would see when that other one has died.
        with _starting, _set(self._environment):
            self._pipe, theirs = self._context.Pipe()
            _ends.add(self._pipe)
            process = self._context.Process(
                target=_serve, args=(theirs, self._environment), name="daskperiment-trial"
            )
            process.start()
            self._process = process
            theirs.close()
        self._has.clear()
        _processes.add(self)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the call."""
        self._unwanted = True  # a process that starts just now is not told
        if (process := self._process) is not None:
            process.terminate()

    def kill(self) -> bool:
        """End the process at once."""
        if (process := self._process) is not None:
            process.kill()
        return True

    def close(self) -> None:
        """End the process, which is idle."""
        if self._process is not None:
            self._let_go()

    def _let_go(self, patience: float = _PARTING) -> None:
        process, self._process = self._process, None
        self._pipe.close()
        process.join(patience)
        if process.exitcode is None:
            process.kill()
            process.join()


@contextmanager
def _set(environment: Environment) -> Iterator[None]:
    """Variables for a process that is started meanwhile: its imports look at them already."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_starting = threading.Lock()
_processes: weakref.WeakSet[ProcessWorker] = weakref.WeakSet()
_ends: weakref.WeakSet[Any] = weakref.WeakSet()
"""Our ends of the pipes: a forked child holds copies, and then another one would never see that
this process has let go of it."""


def _close_copies() -> None:
    for pipe in list(_ends):
        with suppress(OSError):
            pipe.close()
    _ends.clear()
    _processes.clear()


platform.at_fork(after_in_child=_close_copies)


def end_all() -> None:
    """End all worker processes at once: multiprocessing would wait for them at exit."""
    for worker in list(_processes):
        worker.kill()


atexit.register(end_all)


def _encoded(message: Any) -> bytes:
    import cloudpickle

    return cloudpickle.dumps(message)  # type: ignore[no-any-return]


def _serve(pipe: multiprocessing.connection.Connection, environment: Environment) -> None:
    """What a worker process does until its pipe is closed, or the process at its other end dies."""
    os.environ.update(environment)
    stopping.in_worker = True
    busy = False

    def interrupted(*_: object) -> None:
        nonlocal busy
        if not busy:
            os._exit(0)
        raise KeyboardInterrupt

    # Ctrl-C reaches every process of a terminal: the one that runs the batch decides.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, interrupted)
    alone = _end_with(pipe, lambda: busy)
    with suppress(OSError):
        pipe.send_bytes(b"ready")
    while True:
        try:
            function, arguments = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        busy = True
        if alone.is_set():
            return
        answer = _answer(function, arguments)
        busy = False
        with suppress(OSError):  # nobody waits any more
            pipe.send_bytes(answer)


def _end_with(
    pipe: multiprocessing.connection.Connection, busy: Callable[[], bool]
) -> threading.Event:
    """Let this process not outlive the one at the other end of its pipe.

    As nobody waits for its trial any more, and who resumes the batch runs it again.  What is
    returned is set when it is alone; what it was sent before may still wait in the pipe.
    """
    alone = threading.Event()

    def watch() -> None:
        if hasattr(select, "poll"):
            end = select.poll()
            end.register(pipe.fileno(), 0)  # of no event but that it hangs up
            end.poll()
        else:
            parent = multiprocessing.process.parent_process()
            multiprocessing.connection.wait([] if parent is None else [parent.sentinel])
        alone.set()
        if busy():  # or it ends by itself
            os._exit(1)

    threading.Thread(target=watch, name="daskperiment-driver", daemon=True).start()
    return alone


def _answer(function: Callable[..., Any], arguments: Sequence[Any]) -> bytes:
    try:
        return _encoded((function(*arguments), None, stopping.abandoned.is_set()))
    except BaseException as error:
        try:
            return _encoded((None, error, False))
        except Exception:
            return _encoded((None, BatchError(f"{type(error).__name__}: {error}"), False))


def _cause(process: Any) -> str:
    process.join(_PARTING)
    code = process.exitcode
    if code is None:
        return "an unknown cause"
    if code == 1:
        return "exit code 1, as of a step that does not react to its timeout"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    shortage = ", which also the system sends when memory is short" if name == "SIGKILL" else ""
    return f"signal {-code} ({name}{shortage})"
