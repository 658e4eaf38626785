"""One thread's connection to a local store, closed whenever the process forks.

SQLite books its file locks by process and inode, in memory that ``fork`` copies.  A child
that opens a file which its parent has open therefore takes no lock of its own; when the
parent then closes the file, it deletes the log that the child still writes to, and what
the child commits is lost.  So nothing is open at the moment of a fork.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from weakref import WeakSet

from daskperiment import platform
from daskperiment.backends.sqlite import Store
from daskperiment.backends.tables import Connection
from daskperiment.errors import StoreFullError, StoreIOError, StoreReadOnlyError
from daskperiment.platform import sync_directory

_sessions: WeakSet[Session] = WeakSet()
_paused: list[Session] = []
_opening = threading.RLock()
_forking = False
_NOT_TRUSTED = (StoreFullError, StoreIOError, StoreReadOnlyError)
"""Errors after which a connection is opened anew: what it holds of the file in memory may
never have reached the disk, and what this user may do may have changed."""


class Session:
    """A context that gives the connection, or None where there is no store yet.

    It is opened when first entered, and again after a fork, after :meth:`close`, and when
    the file has been removed or replaced (a notebook's user deletes the directory: what is
    written afterwards must not vanish with it).  The driver's errors leave it as
    :class:`~daskperiment.errors.BackendError`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file = str(store.file)
        self._inode = 0
        self._connection: Connection | None = None
        self._lock = threading.RLock()
        with _opening:
            _sessions.add(self)

    def __enter__(self) -> Connection | None:
        """Open the store if it exists and is not open."""
        self._lock.acquire()
        try:
            return self._current()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Translate what SQLite and the file system raise."""
        failure = None if error is None else self._store.failure(error)
        if isinstance(failure, _NOT_TRUSTED):
            self.close()
        self._lock.release()
        if _forking:
            # Locks are not fair: threads that write without a pause would take theirs again
            # before the fork, and on a busy machine it would wait for minutes.
            time.sleep(0.001)
        if failure is not None:
            raise failure from error

    def create(self) -> Connection:
        """Make the store and its directory where they are absent, and open it.

        A directory that is made here is its user's alone, and git ignores it.
        """
        directory = self._store.file.parent
        try:
            directory.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            if not directory.is_dir():
                raise
        else:
            (directory / ".gitignore").write_text("*\n")
            sync_directory(directory.parent)
        self._store.create()
        connection = self._current()
        assert connection is not None
        return connection

    def close(self) -> None:
        """Close the connection as soon as it is not in use; entering opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def pause(self) -> None:
        """Close the connection and let nobody open it until :meth:`resume`."""
        self._lock.acquire()
        self.close()

    def resume(self) -> None:
        """Let the session be used again."""
        self._lock.release()

    def _current(self) -> Connection | None:
        try:
            inode = os.stat(self._file).st_ino  # noqa: PTH116
        except FileNotFoundError:
            self._store.check_may_be_absent()
            return None
        if self._connection is None or inode != self._inode:
            self.close()
            self._connection = self._store.open()
            self._inode = inode
        return self._connection


def _before_fork() -> None:
    global _forking
    _forking = True
    _opening.acquire()
    for session in list(_sessions):
        session.pause()
        _paused.append(session)


def _after_fork() -> None:
    global _forking
    _forking = False
    while _paused:
        _paused.pop().resume()
    _opening.release()


platform.at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
