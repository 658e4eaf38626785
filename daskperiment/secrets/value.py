"""A value that steps use and nothing records."""

from __future__ import annotations

import os
import weakref
from base64 import b64encode
from collections.abc import Iterable, Iterator
from json import dumps
from typing import Any, NoReturn, TypeGuard
from urllib.parse import quote

from daskperiment.errors import SecretError
from daskperiment.secrets.leaves import leaves, text_of

MASK = "***"
"""What stands in place of a secret."""

_SHORTEST = 4  # of a text that can be told from other text
_SHORTEST_LINE = 12


class Secret:
    """A value that is never recorded: steps get this object and call :meth:`reveal`.

    It stays in the process that made it; pickling it raises SecretError.  Worker processes
    take a secret from their own environment, see :meth:`from_env`.  As long as it lives, its
    text (of 4 characters or more) is masked in what this process records.

    Parameters
    ----------
    value : Any
        The value, mostly text.

    Examples
    --------
    >>> password = Secret("hunter2")
    >>> password
    Secret(***)
    >>> f"login: {password}"
    'login: Secret(***)'
    >>> password.reveal()
    'hunter2'
    """

    __slots__ = ("__weakref__", "_texts", "_value", "_variable")

    def __init__(self, value: Any) -> None:
        self._value = value
        self._variable: str | None = None
        self._texts = forms(_spelled(value))
        _alive[id(self)] = self

    @classmethod
    def from_env(cls, name: str) -> Secret:
        """A secret that is read from an environment variable where it is revealed.

        It travels to other processes as the name alone.

        Parameters
        ----------
        name : str
            Name of the variable; it need not be set yet.

        Examples
        --------
        >>> Secret.from_env("SERVICE_TOKEN")
        Secret(***)
        """
        secret = cls(None)
        secret._variable = name
        return secret

    def reveal(self) -> Any:
        """The value.

        Raises
        ------
        SecretError
            The environment variable is not set in this process.
        """
        if self._variable is None:
            return self._value
        try:
            return os.environ[self._variable]
        except KeyError:
            raise SecretError(
                f"The secret cannot be revealed: the environment variable {self._variable} is "
                "not set in this process. Set it wherever the trial runs, also for its workers"
            ) from None

    @property
    def stays(self) -> bool:
        """Whether it may not leave this process."""
        return self._variable is None

    def texts(self) -> Iterable[str]:
        """The forms in which it may show up in text; those too short to tell are left out."""
        if self._variable is None:
            return self._texts
        return forms([os.environ.get(self._variable, "")])

    def _identity(self) -> Any:
        return self._value if self._variable is None else os.environ.get(self._variable)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._identity() == other._identity())

    def __hash__(self) -> int:
        return hash((Secret, self._identity()))

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __format__(self, form: str) -> str:
        return format(repr(self), form)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._variable is None:
            refuse()
        return Secret.from_env, (self._variable,)


def refuse() -> NoReturn:
    """Raise SecretError: a secret is not pickled."""
    raise SecretError(
        "A secret stays in this process and cannot be pickled; workers take it from their "
        'environment: Secret.from_env("NAME"). A parameter that only has the name of a secret '
        "is declared with secret=False"
    )


_alive: weakref.WeakValueDictionary[int, Secret] = weakref.WeakValueDictionary()


def alive() -> list[str]:
    """Texts of the secrets that live in this process, the longest first."""
    if not _alive:
        return []
    secrets = [reference() for reference in _alive.valuerefs()]
    known = {text for secret in secrets if secret is not None for text in secret.texts()}
    return sorted(known, key=len, reverse=True)


def forms(found: Iterable[str]) -> tuple[str, ...]:
    """Each text, and each longer line of it, as it is, in literals of Python and JSON, in a URL."""
    known = [
        form
        for text in found
        for part in (text, *_lines(text))
        if len(part) >= _SHORTEST
        for form in (
            part, repr(part)[1:-1], dumps(part)[1:-1], dumps(part, ensure_ascii=False)[1:-1],
            quote(part, safe="", errors="replace"),
        )
    ]  # fmt: skip
    return tuple(dict.fromkeys(known))


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if len(line) >= _SHORTEST_LINE] if len(lines) > 1 else []


def is_secret(value: Any) -> TypeGuard[Secret]:
    """Whether a value is a Secret; unlike isinstance it asks the value nothing."""
    return issubclass(type(value), Secret)


def texts(value: Any) -> list[str]:
    """All text in a value."""
    return [text_of(leaf) for leaf, _ in leaves(value, marked=True)]


def _spelled(value: Any) -> Iterator[str]:
    for leaf, _ in leaves(value, marked=True):
        yield text_of(leaf)
        if type(leaf) is bytes:
            yield from (repr(leaf)[2:-1], leaf.hex(), b64encode(leaf).decode())
