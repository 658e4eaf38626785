"""Ids and names of configurations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from daskperiment.fingerprint.values import digest
from daskperiment.search.values import canonical, plain

_ID = 12
_LONGEST = 120
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+=,-]")


def configuration_id(configuration: Mapping[str, Any]) -> str:
    """The id of a configuration: 12 hexadecimal characters, the same on every machine.

    It is the beginning of the digest that is kept with a trial of exactly these parameters.  The
    order of keys is not part of it; ``1``, ``1.0`` and ``True`` differ.

    Examples
    --------
    >>> configuration_id({"a": 1, "b": "x"}) == configuration_id({"b": "x", "a": 1})
    True
    """
    return digest(plain(configuration)).rpartition(":")[2][:_ID]


def configuration_names(configurations: Iterable[Mapping[str, Any]]) -> list[str]:
    """A name for each configuration, of the keys whose values are not the same in all.

    Names are different also where letters have no case, at most 120 characters long, and safe as
    names of files.  Where that does not leave enough of the values, the id is part of the name.

    Examples
    --------
    >>> configuration_names([{"rate": 0.1, "loss": "l1"}, {"rate": 0.2, "loss": "l1"}])
    ['rate=0.1', 'rate=0.2']
    """
    given = [plain(configuration) for configuration in configurations]
    texts = [{key: canonical(one[key]) for key in one} for one in given]
    keys = dict.fromkeys(key for text in texts for key in text)
    differing = [key for key in keys if len({text.get(key) for text in texts}) > 1]
    bases = [_base(one, differing) for one in given]
    distinct = {canonical(one): base.casefold() for one, base in zip(given, bases, strict=True)}
    common = Counter(distinct.values())
    taken: dict[str, int] = {}
    names = []
    for one, base in zip(given, bases, strict=True):
        name = base
        if not base or len(base) > _LONGEST or common[base.casefold()] > 1:
            name = f"{base[: _LONGEST - 2 * _ID]}-{configuration_id(one)}".lstrip("-")
        names.append(_numbered(name, taken))
    return names


def _base(configuration: Mapping[str, Any], keys: list[str]) -> str:
    parts = [f"{key}={_shown(configuration[key])}" for key in keys if key in configuration]
    # A leading dot hides a file, a leading dash is an option, a last dot is lost on Windows.
    return _UNSAFE.sub("_", ",".join(parts)).lstrip(".-").rstrip(".")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value).replace('"', "")


def _numbered(name: str, taken: dict[str, int]) -> str:
    """The name, with a number where it is taken; ``taken`` has the last number of each."""
    found, number = name, taken.get(name.casefold(), 0)
    while found.casefold() in taken:
        number += 1
        found = f"{name}-{number}"
    taken[name.casefold()] = max(number, 1)
    taken.setdefault(found.casefold(), 1)
    return found
