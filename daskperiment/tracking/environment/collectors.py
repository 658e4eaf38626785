"""Collectors: functions that each capture one part of the environment, once in a process."""

from __future__ import annotations

import inspect
import pickle
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from daskperiment.backends.documents import check_json
from daskperiment.errors import CollectorError
from daskperiment.fingerprint import values
from daskperiment.importing import by_value
from daskperiment.secrets import Masking, scrub
from daskperiment.typing import JSON, Document

Collector = Callable[[], Any]


class Snapshot(NamedTuple):
    """A capture, ready to be kept.

    Parameters
    ----------
    digest : str
        Digest of the document.
    document : dict
        JSON by category; long texts are named by their digests.
    texts : dict
        These texts, by digest.
    """

    digest: str
    document: Document
    texts: dict[str, str]


class Collectors:
    """Collectors by category; what each has found is kept until the process forks.

    May be used from several threads.

    Parameters
    ----------
    own : callable
        The collectors that are always there, by category.

    Examples
    --------
    >>> rooms = Collectors(room=lambda: "B 12")
    >>> rooms.document() is rooms.document()
    True
    """

    def __init__(self, **own: Collector) -> None:
        self._collectors = own
        self._origins: dict[str, object] = {}  # of the users' collectors
        self._lock = threading.RLock()
        self._found: dict[str, JSON] = {}
        self._snapshot: Snapshot | None = None

    def __contains__(self, category: object) -> bool:
        return category in self._collectors

    def add(self, category: str, function: Collector) -> None:
        """Add a collector, or replace one that was defined at the same place."""
        _check(category, function)
        origin = function.__module__, function.__qualname__
        with self._lock:
            if category in self and self._origins.get(category) != origin:
                raise taken(category)
            self._put(category, function, origin)

    def _put(self, category: str, function: Collector, origin: object) -> None:
        self._origins[category] = origin
        self._collectors = {**self._collectors, category: function}
        self._found.pop(category, None)
        self._snapshot = None

    def snapshot(self) -> Snapshot:
        """What all have found, each asked once; the same object until one is added."""
        known = self._snapshot
        if known is not None:
            return known
        with self._lock:
            for category in self._collectors:
                if category not in self._found:
                    self._found[category] = self._ask(category)
            document = dict(self._found)
            self._snapshot = Snapshot(values.digest(document), document, {})
            return self._snapshot

    def document(self) -> Document:
        """The document of the snapshot."""
        return self.snapshot().document

    def capture(self) -> Document:
        """Ask all of them now, and keep nothing."""
        return {category: self._ask(category) for category in self._collectors}

    def _ask(self, category: str) -> JSON:
        found = collected(self._collectors[category])
        if category not in self._origins:
            return found
        masked: JSON = Masking({category: found}, shown=lambda value: value).values[category]
        return masked

    def forget(self) -> None:
        """Forget what was found: a forked process is another one."""
        self._lock = threading.RLock()
        self._found = {}
        self._snapshot = None

    def sent(self) -> tuple[tuple[str, bytes | str], ...]:
        """The collectors of users, pickled; the error as text where that is impossible."""
        return tuple((name, _pickled(self._collectors[name])) for name in self._origins)

    def receive(self, collectors: Iterable[tuple[str, bytes | str]]) -> None:
        """Add collectors that another process has sent, unless this one has its own."""
        for category, content in collectors:
            with self._lock:
                known = self._origins.get(category)
                sent_before = isinstance(known, (bytes, str)) and known != content
                if category not in self or sent_before:
                    self._put(category, partial(_unpickled, content), content)


def _pickled(function: Collector) -> bytes | str:
    try:
        return by_value(function)
    except Exception as error:
        return f"The collector cannot be sent to this process: {type(error).__name__}: {error}"


def _unpickled(content: bytes | str) -> JSON:
    if isinstance(content, str):
        raise CollectorError(content)
    found: JSON = pickle.loads(content)()
    return found


def taken(category: str) -> CollectorError:
    """The error for a name that is a category already."""
    return CollectorError(
        f"There is a category {category!r} of the environment already: "
        "give the function another name"
    )


def _check(category: str, function: Collector) -> None:
    if not category.isidentifier():
        raise CollectorError(f"{function!r} has no name for a category: write a function with def")
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError) as error:
        raise CollectorError(
            f"{category!r} cannot be a collector: it is called without arguments, but {error}"
        ) from error


def collected(function: Collector) -> JSON:
    """What a collector gives; when it fails, the text of its error.

    Examples
    --------
    >>> collected(lambda: 1 / 0)
    {'error': 'ZeroDivisionError: division by zero'}
    """
    try:
        found: JSON = function()
        check_json(found)
    except Exception as error:
        return {"error": scrub(f"{type(error).__name__}: {error}")}
    return found
