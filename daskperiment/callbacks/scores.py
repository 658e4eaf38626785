"""What trials are compared by: the result, or the last value of a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskperiment.errors import CallbackError
from daskperiment.history import ranking
from daskperiment.history.ranking import Direction
from daskperiment.serializers.preview import preview

if TYPE_CHECKING:
    from daskperiment.trial import Trial


def check_direction(direction: Any) -> Direction:
    """Return which end is best, or raise CallbackError.

    Examples
    --------
    >>> check_direction("maximize")
    'maximize'
    """
    if direction == "minimize" or direction == "maximize":
        return direction  # type: ignore[no-any-return]
    raise CallbackError(f"direction is 'minimize' or 'maximize', not {preview(direction, 80)}")


def check_number(name: str, value: Any, least: float | None = None) -> float:
    """Return a number that is not NaN and not below ``least``, or raise CallbackError.

    Examples
    --------
    >>> check_number("seconds", 3, least=0)
    3.0
    """
    try:
        number = float("nan" if isinstance(value, (str, bool)) else value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if number == number and (least is None or number >= least):
        return number
    from_on = "" if least is None else f" from {least:g} on"
    raise CallbackError(f"{name} is a number{from_on}, not {preview(value, 80)}")


def check_count(name: str, value: Any) -> int:
    """Return an integer from 1 on, or raise CallbackError.

    Examples
    --------
    >>> check_count("n", 3)
    3
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CallbackError(f"{name} is an integer from 1 on, not {preview(value, 80)}")
    return value


def score(trial: Trial, metric: str | None) -> float | None:
    """What a trial is compared by; None unless it is COMPLETE and that is a number."""
    return ranking.score(trial._trials, trial._row, metric)


def is_better(value: float, than: float, direction: Direction, delta: float = 0.0) -> bool:
    """Whether a value is better than another by more than ``delta``.

    Examples
    --------
    >>> is_better(0.5, 0.4, "maximize"), is_better(0.5, 0.4, "maximize", delta=0.2)
    (True, False)
    """
    return value - than > delta if direction == "maximize" else than - value > delta


def shown(value: float) -> str:
    """A score as people read it.

    Examples
    --------
    >>> shown(0.9649122807017544), shown(3)
    ('0.96491', '3')
    """
    return f"{value:.5g}"
