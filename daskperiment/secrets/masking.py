"""Nested plain data with its secrets masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daskperiment.secrets.hiding import parts
from daskperiment.secrets.names import is_secret_under
from daskperiment.secrets.scrubbing import scrub
from daskperiment.secrets.value import MASK, texts


class Masking:
    """A nested mapping of plain data with secrets masked, and what they were.

    Parameters
    ----------
    values : Mapping
        Text is scrubbed; what a name marks is masked.
    shown : callable
        What stands for a part that is neither text nor secret.
    secret : mapping of str to bool, optional
        Dotted names that are declared to be secrets, or to be none.

    Attributes
    ----------
    values : dict
        The mapping without secrets.
    found : list of str
        Texts of the secrets.

    Examples
    --------
    >>> masking = Masking({"db": {"user": "me", "password": "hunter2"}}, shown=str)
    >>> masking.values, masking.found
    ({'db': {'user': 'me', 'password': '***'}}, ['hunter2'])
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        shown: Callable[[Any], Any],
        secret: Mapping[str, bool] | None = None,
    ) -> None:
        self.found: list[str] = []
        self._shown, self._secret = shown, secret or {}
        self.values: dict[Any, Any] = self._mapping(values, "", named=True)

    def _mapping(self, values: Mapping[Any, Any], before: str, named: bool) -> dict[Any, Any]:
        return {
            key: self._part(part, f"{before}{key}", named and is_secret_under(key, part), named)
            for key, part in values.items()
        }

    def _part(self, value: Any, name: str, marked: bool, named: bool) -> Any:
        declared = self._secret.get(name)
        if declared or (marked and declared is None):
            self.found += texts(value)
            return MASK
        if isinstance(value, Mapping):
            return self._mapping(value, f"{name}.", named and declared is None)
        if type(value) in (list, tuple):
            return type(value)(self._part(part, f"{name}[]", False, named) for part in value)
        if type(value) is str:
            return scrub(value)
        return MASK if any(True for _ in parts(value, named)) else self._shown(value)
