"""Configurations without the secrets in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from daskperiment.secrets import MASK, Secret, marks_secret, scrub
from daskperiment.serializers import NotPlain, preview, to_json

_SHORTEST = 4  # of a secret that can be told from other text


class Masking:
    """A nested mapping of plain data with secrets masked, and what they were.

    Parameters
    ----------
    values : Mapping
        Values under a name that marks a secret are secrets, and so are tokens by their
        shape.  What is not plain data is shown by its preview.

    Attributes
    ----------
    values : dict
        The mapping without secrets.
    found : list of str
        Texts of the secrets, those too short to be told from other text left out.

    Examples
    --------
    >>> masking = Masking({"db": {"user": "me", "password": "hunter2"}})
    >>> masking.values, masking.found
    ({'db': {'user': 'me', 'password': '***'}}, ['hunter2'])
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.found: list[str] = []
        self.values: dict[Any, Any] = self._masked(values, False)

    def _masked(self, value: Any, marked: bool) -> Any:
        if isinstance(value, Mapping):
            return {
                key: self._masked(part, marked or (isinstance(key, str) and marks_secret(key)))
                for key, part in value.items()
            }
        if type(value) in (list, tuple):
            return type(value)([self._masked(part, marked) for part in value])
        if isinstance(value, Secret) or (marked and value is not None and value is not True):
            return self._secret(value)
        return scrub(value) if type(value) is str else _plain(value)

    def _secret(self, value: Any) -> str:
        if isinstance(value, str) and len(value) >= _SHORTEST:
            self.found.append(value)
        return MASK


def _plain(value: Any) -> Any:
    try:
        to_json(value)
    except NotPlain:
        return preview(value)
    return value


def masked_text(text: str, secrets: Iterable[str]) -> str:
    """The text of a file without these secrets; nothing of it if one cannot be found in it.

    Examples
    --------
    >>> masked_text('password = "hunter2"  # hunter2', ["hunter2"])
    'password = "***"  # ***'
    """
    masked = text
    for secret in sorted(secrets, key=len, reverse=True):
        spellings = [spelling for spelling in _spellings(secret) if spelling in text]
        if not spellings:
            return MASK
        for spelling in spellings:
            masked = masked.replace(spelling, MASK)
    return scrub(masked)


def _spellings(secret: str) -> list[str]:
    literals = (json.dumps(secret, ensure_ascii=False), json.dumps(secret), repr(secret))
    return list(dict.fromkeys([secret, *(literal[1:-1] for literal in literals)]))
