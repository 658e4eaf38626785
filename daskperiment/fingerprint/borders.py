"""Installed distributions as part of what a step computes with: how exactly they count."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias, cast, get_args

from daskperiment.errors import OptionError
from daskperiment.fingerprint.syntax import combine

Packages: TypeAlias = Literal["exact", "major", "ignore"]
"""How much of a version counts."""

# A version may begin with an epoch, as "1!2.0" does.
_MAJOR = re.compile(r"v?(?:\d+!)?\d+")


def check_packages(level: object) -> Packages:
    """How much of a version counts, as an argument says it.

    Raises
    ------
    OptionError
        It says nothing of the kind; the message lists what is possible.

    Examples
    --------
    >>> check_packages("major")
    'major'
    """
    if isinstance(level, str) and level in get_args(Packages):
        return cast(Packages, level)
    raise OptionError(
        f'packages must be "exact" (another version of a package that a step calls is another '
        f'step), "major" (another first number of it is) or "ignore", not {str(level)[:80]!r}'
    )


def packages_digest(borders: Mapping[str, str], level: Packages) -> str:
    """The digest of the distributions that some code calls.

    Parameters
    ----------
    borders : mapping of str to str
        Distributions and their versions, as `daskperiment.fingerprint.code.Closure.borders`.
    level : {"exact", "major", "ignore"}
        Whether versions count as they are, by their first number, or no distribution at all.
        Python counts by its first two numbers at most: those of bug fixes are not in `borders`.

    Examples
    --------
    >>> old, new = {"numpy": "2.3.1", "python": "3.11"}, {"numpy": "2.4.0", "python": "3.12"}
    >>> packages_digest(old, "exact") == packages_digest(new, "exact")
    False
    >>> packages_digest(old, "major") == packages_digest(new, "major")
    True
    >>> packages_digest(old, "ignore") == packages_digest({}, "ignore")
    True
    """
    if level == "ignore":
        return combine()
    read = _major if level == "major" else str
    return combine(*(f"{name} {read(borders[name])}" for name in sorted(borders)))


def _major(version: str) -> str:
    found = _MAJOR.match(version)
    return found.group() if found else version
