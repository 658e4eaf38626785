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
        if plain and type(value) not in ATOMS and _is_small(value):
            now, _ = try_digest(value, argument.name)
            if now != argument.digest:
                found.append(argument.name)
    return found


def _is_small(value: Any) -> bool:
    """Whether a value is worth the time of looking at it again."""
    left, waiting, seen = LARGEST, [value], set()
    while waiting and left >= 0:
        value = waiting.pop()
        try:
            if issubclass(type(value), (list, tuple, set, frozenset, dict)):
                if id(value) in seen:
                    continue
                seen.add(id(value))
                parts = value.values() if issubclass(type(value), dict) else value
                left -= len(value)
                waiting += (part for part in parts if type(part) not in ATOMS) if left >= 0 else ()
            else:
                left -= _bytes(value)
        except Exception:  # of a value that answers no question
            return False
    return left >= 0


def _bytes(value: Any) -> int:
    size = getattr(value, "nbytes", None)
    if not isinstance(size, int) and callable(usage := getattr(value, "memory_usage", None)):
        size = int(_total(usage()))
    return size if isinstance(size, int) else 1


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
