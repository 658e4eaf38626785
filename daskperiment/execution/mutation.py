"""Mutation: steps that change an argument in place, which others may use too."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from daskperiment.errors import MutationWarning
from daskperiment.fingerprint.plain import ATOMS
from daskperiment.fingerprint.values import is_keyed, try_digest
from daskperiment.records import Argument, StepRecord
from daskperiment.secrets import scrub
from daskperiment.tracebacks import users_frame

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext

logger = logging.getLogger(__name__)

LARGEST = 1_000_000
"""Bytes of arrays and frames, and parts of containers, up to which an argument is looked at."""


def changed(arguments: Iterable[Argument], values: Iterable[Any]) -> list[str]:
    """Names of the arguments whose digests are not those of before.

    Large ones are passed over, and so are those that had none.

    Examples
    --------
    >>> from daskperiment.fingerprint.values import digest
    >>> items = [1, 2]
    >>> before = Argument("items", digest(items), "[1, 2]", (), False)
    >>> items.append(3)
    >>> changed([before], [items])
    ['items']
    """
    found = []
    for argument, value in zip(arguments, values, strict=True):
        # One with a secret in it was digested by the user's key.
        plain = argument.digest is not None and not is_keyed(argument.digest)
        if plain and type(value) not in ATOMS and _left(value, LARGEST) >= 0:
            now, _ = try_digest(value, argument.name)
            if now != argument.digest:
                found.append(argument.name)
    return found


def _left(value: Any, left: int) -> int:
    """What is left of a budget behind a value; negative where it is larger."""
    try:
        size = getattr(value, "nbytes", None)
    except Exception:  # of a value that answers no question
        return -1
    if isinstance(size, int):
        return left - size
    if issubclass(type(value), (list, tuple, set, frozenset)):
        return _parts(value, len(value), left)
    if issubclass(type(value), dict):
        return _parts(value.values(), len(value), left)
    if callable(usage := getattr(value, "memory_usage", None)):
        try:
            return left - int(_total(usage()))
        except Exception:  # of something else that has a method of this name
            return -1
    return left - 1


def _parts(values: Iterable[Any], count: int, left: int) -> int:
    left -= count
    for value in values if left >= 0 else ():
        if type(value) not in ATOMS and (left := _left(value, left)) < 0:
            break
    return left


def _total(usage: Any) -> Any:
    return usage.sum() if hasattr(usage, "sum") else usage


def warn(trial: TrialContext, records: Sequence[StepRecord]) -> None:
    """Tell of each step that has changed arguments, once for each of them.

    Raises
    ------
    MutationWarning
        Only where warnings are made errors.
    """
    told: dict[tuple[str, str], str] = {}
    for record in records:
        for name in record.mutated or ():
            told.setdefault((record.step, name), _text(trial, record, name, records))
    for text in told.values():
        logger.warning("%s", text)
        warnings.warn(text, MutationWarning, stacklevel=users_frame())


def _text(trial: TrialContext, record: StepRecord, name: str, records: Sequence[StepRecord]) -> str:
    origins = next(a.origins for a in record.inputs if a.name == name)
    also = sorted({f"{step!r}" for step in _users(record, origins, records)})
    what = " and ".join(f"the {'output of ' if kind == 'step' else ''}{kind} {source!r}"
                        for kind, source, _ in origins)  # fmt: skip
    shared = f", which {', '.join(also)} use{'s' if len(also) == 1 else ''} too" if also else ""
    return scrub(
        f"Step {record.step!r} of trial {trial.number} has changed its argument {name!r} in place"
        f"{f': {what}' if what else ''}{shared}. What others get then depends on the order in "
        "which they run: let it change a copy"
    )


def _users(
    record: StepRecord, origins: tuple[Any, ...], records: Sequence[StepRecord]
) -> Iterator[str]:
    for other in records:
        if other.place != record.place:
            for argument in other.inputs:
                if origins and set(argument.origins) & set(origins):
                    yield other.step
