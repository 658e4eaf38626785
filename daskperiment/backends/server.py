"""What the backends on a server share: addresses without passwords in them, and patience."""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

from daskperiment.backends.base import Backend, Finding
from daskperiment.errors import (
    BackendError,
    BackendLostDataError,
    BackendUnreachableError,
    BackendUnsafeError,
    BackendURIError,
    DaskperimentError,
    DaskperimentWarning,
)
from daskperiment.secrets.variables import VARIABLE

PATIENCE = 5.0
"""Seconds for which a call is repeated while the server cannot be reached."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_KNOWN_AWAY = 30.0
"""Seconds after a call was given up during which others try once and do not wait."""

_checked: set[str] = set()
"""Ids of the stores whose servers were checked in this process."""

C = TypeVar("C")
T = TypeVar("T")


class ServerBackend(Backend, Generic[C]):
    """A backend whose store is kept by a server.

    A subclass makes the client and says what its errors mean.  It is pickled as its address
    and the id of its store: where that leads to another store, as ``localhost`` does on
    another machine, nothing is read or written.

    Parameters
    ----------
    address : str or client object
        A URI, in which ``${NAME}`` stands for an environment variable of the machine that
        connects; or a live object of the client library, which stays the caller's to close.
    expected : str, optional
        Id of the store that must be found there.
    """

    def __init__(self, address: str | Any, expected: str | None = None) -> None:
        self.address = address if isinstance(address, str) else None
        self._given = None if isinstance(address, str) else address
        self._expected = expected
        self._connecting = threading.Lock()
        self._connected: tuple[int, C] | None = None
        self._store_id: str | None = None
        self._given_up: float | None = None
        self._here = threading.local()

    def __repr__(self) -> str:
        """Return the call that makes it, without passwords."""
        shown = self._described() if self.address is None else masked(self.address)
        return f"{type(self).__name__}({shown!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the address, unless a password would travel with it.

        Raises
        ------
        BackendURIError
            If the address holds a password, or is a live object that does.
        """
        address = self._travelling() if self.address is None else self.address
        if address is None or holds_password(address):
            raise BackendURIError(
                f"the address of {self!r} holds a password, which would travel to other processes "
                "in the task graph: put it into an environment variable of each machine, and open "
                'the backend as "scheme://:${NAME}@host", with the name of that variable'
            )
        return type(self), (address, self.known_id or self.store_id)

    @property
    def store_id(self) -> str:
        """Random text made with the store; asking for it makes a store that is absent."""
        self._client()
        assert self._store_id is not None
        return self._store_id

    @property
    def known_id(self) -> str | None:
        """Id of the store, as far as it is known without asking the server."""
        return self._store_id or self._expected

    @contextmanager
    def hurried(self, patience: float) -> Iterator[None]:
        """A block in which this thread repeats calls for so many seconds only."""
        self._here.patience = patience
        try:
            yield
        finally:
            del self._here.patience

    @contextmanager
    def named(self, group: str) -> Iterator[None]:
        """A block in which the group that this thread applies has a name.

        A server that has carried out a group of this name within ten minutes does not do so again,
        also where the first one has waited somewhere on its way and arrives behind the second one.
        """
        self._here.group = group
        try:
            yield
        finally:
            del self._here.group

    def _group(self) -> str:
        return str(getattr(self._here, "group", None) or uuid4().hex)

    def locate(self, path: str) -> str:
        """Return the address, without its password, and the path."""
        return f"{repr(self)[:-1]}, {path!r})"

    def close(self) -> None:
        """Let go of the connections; those of a live object are its owner's."""
        with self._connecting:
            connected, self._connected = self._connected, None
        if connected is not None and self._given is None and connected[0] == os.getpid():
            self._disconnect(connected[1])

    def check(self, strict: bool = False) -> None:
        """Warn, once in this process, where the server is set up to lose what it is given.

        Parameters
        ----------
        strict : bool
            Whether that is an error.

        Raises
        ------
        BackendUnsafeError
            If it is, and the server is set up so.
        BackendUnreachableError
            If the server is away.
        """
        first = self.store_id not in _checked
        _checked.add(self.store_id)
        for risk in self._risks() if first or strict else ():
            text = f"{self!r}: {risk.what}; {risk.advice}, or see `daskperiment doctor`"
            if strict:
                raise BackendUnsafeError(text)
            warnings.warn(text, DaskperimentWarning, stacklevel=4)

    # -- what a subclass knows

    def _risks(self) -> Sequence[Finding]:
        """Return how the server is set up to lose what it is given."""
        return ()

    @abstractmethod
    def _connect(self, uri: str) -> C:
        """Make a client for a URI whose variables are filled in; need not reach the server."""

    @abstractmethod
    def _identify(self, client: C, make: bool) -> str | None:
        """Return the id of the store; an absent one is made, or None is returned."""

    @abstractmethod
    def _disconnect(self, client: C) -> None:
        """Close a client that :meth:`_connect` has made."""

    @abstractmethod
    def _failure(self, error: Exception) -> BackendError | None:
        """Say what an error of the client library means; None where trying again may help."""

    @abstractmethod
    def _described(self) -> str:
        """Say where a live object leads to, without passwords."""

    @abstractmethod
    def _travelling(self) -> str | None:
        """Return a URI that leads to where a live object leads; None where it has a password."""

    # -- what it uses

    def _call(self, work: Callable[[C], T]) -> T:
        """Return what ``work`` makes of the client; repeated while the server is away.

        ``work`` may have been carried out when it is repeated: it must be idempotent.

        Raises
        ------
        BackendUnreachableError
            If the server could not be reached for `PATIENCE` seconds.
        BackendError
            For other trouble, at once.
        """
        return self._patiently(lambda: work(self._client()))

    def _client(self) -> C:
        """The client of this process, connected to the store that is expected."""
        connected = self._connected
        if connected is not None and connected[0] == os.getpid():
            return connected[1]
        with self._connecting:
            connected = self._connected
            if connected is None or connected[0] != os.getpid():
                made = self._given
                if made is None:
                    assert self.address is not None
                    made = self._connect(filled_in(self.address))
                self._store_id = self._patiently(lambda: self._identified(made))
                self._connected = connected = (os.getpid(), made)
        return connected[1]

    def _identified(self, client: C) -> str:
        wanted = self.known_id
        found = self._identify(client, make=wanted is None)
        if found is None and self._store_id is not None:
            raise self._lost()
        if wanted not in (None, found):
            raise BackendUnreachableError(
                f"{self!r} leads to another store than in the process that sent it here: use an "
                "address that means the same on every machine"
            )
        assert found is not None
        return found

    def _patiently(self, attempt: Callable[[], T]) -> T:
        began, pause = time.monotonic(), _FIRST_PAUSE
        away = self._given_up is not None and began - self._given_up < _KNOWN_AWAY
        deadline = began + getattr(self._here, "patience", PATIENCE)
        while True:
            try:
                result = attempt()
            except DaskperimentError:
                raise
            except Exception as error:
                failure = self._failure(error)
                if failure is None and not away and time.monotonic() + pause < deadline:
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                if failure is None:
                    self._given_up = time.monotonic()
                    failure = self._unreachable(error)
                raise failure from error
            self._given_up = None
            return result

    def _lost(self) -> BackendLostDataError:
        return BackendLostDataError(
            f"{self!r} has lost its store: the server was started without its data. Restore them, "
            "or begin a new store there, with a new Experiment in a new process"
        )

    def _unreachable(self, error: Exception) -> BackendError:
        return BackendUnreachableError(
            f"{self!r} cannot be reached ({type(error).__name__}): start the server, or check the "
            "address and the network"
        )


def client_library(name: str, extra: str) -> ModuleType:
    """Import a client library.

    Raises
    ------
    BackendURIError
        If it is not installed; the message names the extra that brings it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise BackendURIError(
            f'the backend needs the library {name}: pip install "daskperiment[{extra}]"'
        ) from error


def filled_in(uri: str) -> str:
    """A URI with the values of this machine's environment variables, percent-encoded.

    Raises
    ------
    BackendURIError
        If a variable is not set here.

    Examples
    --------
    >>> os.environ["PASSWORD_OF_DOC"] = "a/b@c"
    >>> filled_in("redis://:${PASSWORD_OF_DOC}@host")
    'redis://:a%2Fb%40c@host'
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise BackendURIError(
                f"the backend {masked(uri)} needs the environment variable {match[1]}, which is "
                "not set on this machine"
            )
        return quote(found, safe=":,")

    return VARIABLE.sub(value, uri)


def holds_password(uri: str) -> bool:
    """Whether a password stands in a URI itself, not in a variable that it names.

    Examples
    --------
    >>> holds_password("redis://:pa55@host"), holds_password("redis://:${PASSWORD}@host")
    (True, False)
    >>> holds_password("mongodb://me:not/encoded@host/name")
    True
    """
    return any(not VARIABLE.fullmatch(unquote(each)) for each in _passwords(uri))


def masked(uri: str) -> str:
    """A URI with ``***`` in place of passwords; the names of variables stay.

    Examples
    --------
    >>> masked("redis://me:pa55@host/0"), masked("redis://me:${PASSWORD}@host?password=x")
    ('redis://me:***@host/0', 'redis://me:${PASSWORD}@host?password=***')
    """
    for each in _passwords(uri):
        if not VARIABLE.fullmatch(each):
            uri = re.sub(rf"(?<=[:=]){re.escape(each)}(?=[@&#]|$)", "***", uri)
    return uri


def _passwords(uri: str) -> Iterator[str]:
    """Texts of a URI that are passwords, as they stand there."""
    rest = uri.partition("://")[2]
    try:
        parts = urlsplit(uri)
    except ValueError:  # of a password that is not percent-encoded
        parts = urlsplit("")
    user, separator, _ = parts.netloc.rpartition("@")
    if not separator:
        user, separator, _ = rest.rpartition("@")
    if separator and ":" in user:
        yield user.partition(":")[2]
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if value and ("passw" in name.lower() or "token:" in unquote(value).lower()):
            yield value
