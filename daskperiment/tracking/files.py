"""Files that a step opens to read, as far as Python opens them, and whether they have changed.

They are named as the code names them: one with a relative path is looked for in the working
directory of who asks.

Python tells of each file that it opens by an audit event.  What a library opens below Python is not
seen, nor what other threads than that of the step open: hand such a file to the step as a
:class:`pathlib.Path`, which counts by its content.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from daskperiment.fingerprint.values import try_digest

MOST = 1000
"""Files of one call that are looked at again; a call that opens more is taken from nowhere."""
_CODE = (".py", ".pyc", ".so", ".pyd")
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")


class Opened:
    """A block in which it is noted which files this thread opens to read, and none to write.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "data")
    ...     with open(path, "w") as file:
    ...         _ = file.write("1")
    ...     with Opened() as opened, open(path) as file:
    ...         _ = file.read()
    ...     list(opened.digests()) == [path]
    True
    """

    def __init__(self) -> None:
        self._read: dict[str, str] = {}
        self._written: set[str] = set()

    def __enter__(self) -> Opened:
        _listen()
        self._token: Token[Opened | None] = _here.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _here.reset(self._token)

    def note(self, path: Any, mode: Any, flags: Any) -> None:
        """Note that a file is opened."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return  # a descriptor of what was opened before
        name = os.fsdecode(path)
        place = os.path.realpath(name)
        if _is_written(mode, flags):
            self._written.add(place)
        elif not (place.endswith(_CODE) or place.startswith(_system())):
            self._read[name] = place

    @property
    def read(self) -> list[str]:
        """Paths of the files that were read and not written, as the code names them."""
        return [name for name, place in self._read.items() if place not in self._written]

    def digests(self) -> dict[str, str | None]:
        """Digest of the content of each, by path; None where it cannot be read."""
        return {name: _digest(name) for name in self.read[:MOST]}

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
    """A block in which nothing is noted: what is opened there is of the record."""

    def __enter__(self) -> None:
        self._token = _here.set(None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _here.reset(self._token)


def changed(files: Mapping[str, str | None]) -> str | None:
    """The first file whose content is not that of its digest; None where all are the same."""
    return next((name for name, digest in files.items() if _digest(name) != digest), None)


def _digest(name: str) -> str | None:
    return try_digest(Path(name))[0]


_here: ContextVar[Opened | None] = ContextVar("daskperiment_opened", default=None)


@lru_cache(maxsize=1)
def _listen() -> None:
    sys.addaudithook(_heard)  # for ever, as Python has no way to remove it


def _heard(event: str, arguments: Any) -> None:
    if event == "open" and (opened := _here.get()) is not None:
        opened.note(*arguments)


def _is_written(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else False


@lru_cache(maxsize=1)
def _system() -> tuple[str, ...]:
    own = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")}
    return (*_SYSTEM, *(f"{os.path.realpath(folder)}{os.sep}" for folder in own))
