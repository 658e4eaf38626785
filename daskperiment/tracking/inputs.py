"""What a step touches beside its arguments: files, and if asked for variables, sockets, programs.

Files are named as the code names them: one with a relative path is looked for in the working
directory of who asks.

Python tells of each file that it opens, of each connection and of each program by an audit event;
of environment variables see :mod:`daskperiment.tracking.variables`.  What a library does below
Python is not seen, nor what other threads than that of the step do: hand such a file to the step
as a :class:`pathlib.Path`, which counts by its content.
"""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from daskperiment.fingerprint.values import try_digest
from daskperiment.secrets import Hidden, hide, holds_living, scrub, scrub_arguments
from daskperiment.tracking import variables
from daskperiment.typing import Document

MOST = 1000
"""Files of one call that are looked at again; a call that opens more is taken from nowhere."""
_LONGEST = 200
_OF_MULTIPROCESSING = "/pymp-"
_CODE = (".py", ".pyc", ".so", ".pyd")
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")


class Touched:
    """A block in which it is noted what this thread touches.

    Files that it opens to read, and none to write, are always noted.

    Parameters
    ----------
    audited : bool
        Whether environment variables, sockets and programs are noted, too.

    Attributes
    ----------
    audited : bool
        As given.
    walked : deque of str
        Names of variables that were handed out to who goes through all of them.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "data")
    ...     with open(path, "w") as file:
    ...         _ = file.write("1")
    ...     with Touched() as touched, open(path) as file:
    ...         _ = file.read()
    ...     list(touched.files()) == [path]
    True
    """

    def __init__(self, audited: bool = False) -> None:
        self.audited = audited
        self._read: dict[str, str] = {}
        self._written: set[str] = set()
        self._variables: dict[str, str | None] = {}
        self._own_variables: set[str] = set()
        self.walked: deque[str] = deque()
        self._hosts: dict[Any, str] = {}
        self._sockets: dict[str, None] = {}
        self._processes: dict[str, None] = {}

    def __enter__(self) -> Touched:
        _listen()
        if self.audited:
            variables.watch(_audited)
        self._token: Token[Touched | None] = _here.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _here.reset(self._token)

    # -- what is told

    def opened(self, path: Any, mode: Any, flags: Any) -> None:
        """Note that a file is opened."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return  # a descriptor of what was opened before
        name = os.fsdecode(path)
        place = os.path.realpath(name)
        if _is_written(mode, flags):
            self._written.add(place)
        elif mode is None and not os.path.isfile(place):  # noqa: PTH113 - of each that is opened
            return  # a folder, as when it is removed
        elif not (place.endswith(_CODE) or place.startswith(_system()) or name in sys.path):
            self._read.setdefault(name, place)

    def renamed(self, old: Any, new: Any, *_: Any) -> None:
        """Note that a file or a folder has another name."""
        before, now = (os.path.realpath(os.fsdecode(name)) for name in (old, new))
        own = [each for each in self._written if f"{each}{os.sep}".startswith(f"{before}{os.sep}")]
        self._written.update(f"{now}{each[len(before) :]}" for each in own)

    def resolved(self, host: Any, port: Any, *_: Any) -> None:
        """Note that the address of a host is asked for, under which it is connected to then."""
        if self.audited and host:
            self._hosts[port] = host if isinstance(host, str) else host.decode()

    def connected(self, _: Any, address: Any) -> None:
        """Note that a socket is connected, or sends without that."""
        if not self.audited:
            return
        if isinstance(address, tuple):
            host, port = address[:2]
            address = f"{self._hosts.get(port, host)}:{port}"
        text = os.fsdecode(address)
        if _OF_MULTIPROCESSING not in text:
            self._sockets[_short(scrub(text))] = None

    def ran(self, arguments: Any) -> None:
        """Note that a program is started."""
        if not self.audited:
            return
        if isinstance(arguments, (str, bytes)):
            text = os.fsdecode(arguments)
        else:
            text = shlex.join(scrub_arguments([os.fsdecode(each) for each in arguments]))
        self._processes[_short(scrub(text))] = None

    def variable_read(self, name: str, value: str | None) -> None:
        """Note that an environment variable was read."""
        if name not in self._own_variables:
            self._variables.setdefault(name, value)

    def variable_written(self, name: str) -> None:
        """Note that an environment variable was set or deleted: it is the step's own from then."""
        self._own_variables.add(name)

    # -- what is asked

    @property
    def read(self) -> dict[str, str]:
        """Real paths of the files that were read and not written, as the code names them."""
        return {name: place for name, place in self._read.items() if place not in self._written}

    def files(self) -> dict[str, str | None]:
        """Digest of the content of each of them, by name; None where it cannot be read."""
        return {name: _digest(name) for name in islice(self.read, MOST)}

    def document(self, given: Iterable[str]) -> Document:
        """What else was touched, by kind: digests of variables by name, and names of the others.

        ``given`` are real paths of files and folders; the files that are or are in one of them are
        named, too.
        """
        known = tuple(f"{place.rstrip(os.sep)}{os.sep}" for place in given)
        found = {
            "given": [n for n, place in self.read.items() if f"{place}{os.sep}".startswith(known)],
            "environment": {n: digest_of_variable(n, v) for n, v in self._variables.items()},
            "socket": list(self._sockets),
            "process": list(self._processes),
        }
        return {kind: each for kind, each in found.items() if each}

    def doubt(self, started: float) -> str | None:
        """Why its digests may not tell what was read since a Unix time; None where they do."""
        if len(self._read) > MOST:
            return f"it opened more than {MOST} files"
        for name in self.read:
            with suppress(OSError):
                if Path(name).stat().st_mtime >= started:
                    return f"the file {name} was changed while it ran"
        return None


class Unseen:
    """A block in which nothing is noted: what is touched there is of the record."""

    def __enter__(self) -> None:
        self._token = _here.set(None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _here.reset(self._token)


def paths_in(values: Iterable[Any]) -> list[str]:
    """Real paths of the files and folders that arguments name, also in containers.

    Examples
    --------
    >>> len(paths_in([{"data": [Path("a"), "b"]}, 3, Path("c")]))
    2
    """
    found, seen, waiting = [], set(), list(values)
    while waiting:
        value = waiting.pop()
        if type(value) is type(Path()):  # what counts by its content
            found.append(os.path.realpath(value))
        elif issubclass(type(value), (list, tuple, set, frozenset, dict)) and id(value) not in seen:
            seen.add(id(value))
            with suppress(Exception):  # of a container that answers no question
                waiting += value.values() if issubclass(type(value), dict) else value
    return found


def changed(files: Mapping[str, str | None]) -> str | None:
    """The first file whose content is not that of its digest; None where all are the same."""
    return next((name for name, digest in files.items() if _digest(name) != digest), None)


def changed_variable(environment: Mapping[str, str | None]) -> str | None:
    """The first variable whose value here is not that of its digest; None where all are."""
    return next(
        (
            name
            for name, digest in environment.items()
            if digest_of_variable(name, os.environ.get(name)) != digest
        ),
        None,
    )


def digest_of_variable(name: str, value: str | None) -> str | None:
    """Digest of the value of a variable, keyed for a secret; None where there is no value."""
    if value is None:
        return None
    return try_digest(Hidden(value) if holds_living(value) else hide(name, value), name)[0]


def _digest(name: str) -> str | None:
    return try_digest(Path(name))[0]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


_here: ContextVar[Touched | None] = ContextVar("daskperiment_touched", default=None)


def _audited() -> Touched | None:
    touched = _here.get()
    return touched if touched is not None and touched.audited else None


@lru_cache(maxsize=1)
def _listen() -> None:
    sys.addaudithook(_heard)  # for ever, as Python has no way to remove it


def _heard(event: str, arguments: Sequence[Any]) -> None:
    note = _NOTES.get(event)
    if note is not None and (touched := _here.get()) is not None:
        with suppress(Exception):  # what comes from here would be raised in the step
            note(touched, *arguments)


_NOTES: Mapping[str, Callable[..., None]] = {
    "open": Touched.opened,
    "os.rename": Touched.renamed,
    "socket.getaddrinfo": Touched.resolved,
    "socket.connect": Touched.connected,
    "socket.sendto": Touched.connected,
    "subprocess.Popen": lambda touched, _program, arguments, *_: touched.ran(arguments),
    "os.posix_spawn": lambda touched, _program, arguments, *_: touched.ran(arguments),
    "os.exec": lambda touched, _program, arguments, *_: touched.ran(arguments),
    "os.spawn": lambda touched, _mode, _program, arguments, *_: touched.ran(arguments),
    "os.system": Touched.ran,
    "os.startfile": lambda touched, program, *_: touched.ran(program),
}


def _is_written(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else False


@lru_cache(maxsize=1)
def _system() -> tuple[str, ...]:
    own = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")}
    return (*_SYSTEM, *(f"{os.path.realpath(folder)}{os.sep}" for folder in own))
