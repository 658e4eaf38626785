"""Taints: calls whose outputs nobody should use any more, each with the reason."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from daskperiment.errors import OptionError
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.history.trials import Trials

_LONGEST = 500
"""Characters of a reason."""
_FIELD = "taint_"
_MOST_SECONDS = 1e11


class Taint(NamedTuple):
    """Why some calls of a trial should not be used any more.

    Parameters
    ----------
    reason : str
        As somebody has written it.
    calls : tuple of (str, int)
        Steps, and which call of each.
    by : str or None
        Who has said so.
    time : float
        Unix time at which.
    """

    reason: str
    calls: tuple[tuple[str, int], ...]
    by: str | None
    time: float


def taints_of(row: Document) -> list[Taint]:
    """The taints of a trial by its row; what others wrote in another form is passed over."""
    found: list[Taint] = []
    if not row.get("tainted"):
        return found
    for field in row:
        try:
            if field.startswith(_FIELD) and (each := row[field]):
                calls = tuple((str(step), int(call)) for step, call in each["calls"])
                by, said = each.get("by"), float(each["time"])
                if abs(said) < _MOST_SECONDS:
                    found.append(Taint(str(each["reason"]), calls, by, said))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return sorted(found, key=lambda each: each.time)


def tainted(row: Document) -> str | None:
    """All reasons in one line; None where there is none."""
    return "; ".join(each.reason for each in taints_of(row)) or None


def taint_of(row: Document, place: tuple[str, int]) -> str | None:
    """The reason why a call should not be used; None where there is none.

    Examples
    --------
    >>> mark = {"reason": "off by one", "calls": [["clean", 0]], "time": 0.0}
    >>> row = {"tainted": True, "taint_0f": mark}
    >>> taint_of(row, ("clean", 0)), taint_of(row, ("load", 0))
    ('off by one', None)
    """
    return next((each.reason for each in taints_of(row) if place in each.calls), None)


def check_reason(reason: object) -> str:
    """A reason as it is kept.

    Raises
    ------
    OptionError
        It is no text, or has none.
    """
    if isinstance(reason, str) and reason.strip():
        return " ".join(reason.split())[:_LONGEST]
    raise OptionError(
        f"A taint needs a reason, such as reason='off by one', not {preview(reason, 80)}"
    )


def taint(
    trials: Trials, number: int, calls: Iterable[tuple[str, int]], reason: str, by: str | None
) -> bool:
    """Mark calls of a trial; False where they are marked for this reason already.

    Taints that others add at the same time are kept.
    """
    marked = tuple(calls)
    for each in taints_of(trials.get(number)):
        if (each.reason, each.calls) == (reason, marked):
            return False
    added = {
        "reason": reason, "calls": [list(call) for call in marked],
        "by": by, "time": time.time(),
    }  # fmt: skip
    # A field of its own: what is set at the same time stands beside it.
    trials.change(number, {"tainted": True, f"{_FIELD}{uuid.uuid4().hex}": added})
    return True


def untaint(trials: Trials, number: int) -> None:
    """Take all marks from a trial."""
    row = trials.get(number)
    if marks := dict.fromkeys(field for field in row if field.startswith(_FIELD)):
        trials.change(number, {"tainted": None, **marks})
