"""Reproductions: which trial has run which one again, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.history.trials import Trials

VERDICTS = ("bitwise", "tolerance", "different")


class Link(NamedTuple):
    """The other trial of a reproduction.

    Parameters
    ----------
    trial : int or None
        Its number; None where it was removed, or is not in this store.
    verdict : str or None
        One of `VERDICTS`; None where none was kept.
    """

    trial: int | None
    verdict: str | None


def verdict_of(row: Document) -> str | None:
    """How a trial compares with the one that it has run again; None where nothing is known.

    Examples
    --------
    >>> verdict_of({"reproduces": "0f", "verdict": "bitwise"}), verdict_of({"verdict": "bitwise"})
    ('bitwise', None)
    """
    verdict = row.get("verdict")
    known = isinstance(row.get("reproduces"), str) and verdict in VERDICTS
    return str(verdict) if known else None


def reproduced(trials: Trials, row: Document) -> Link | None:
    """The trial that one has run again, by its row."""
    uid = row.get("reproduces")
    if not isinstance(uid, str):
        return None
    return Link(next(iter(_with(trials, "Uid", "uid", uid)), (None,))[0], verdict_of(row))


def reproductions(trials: Trials, uid: str) -> list[Link]:
    """The trials that have run the one of this uid again, in the order of their numbers."""
    return [Link(*found) for found in _with(trials, "Reproduces", "reproduces", uid)]


def _with(trials: Trials, column: str, field: str, uid: str) -> list[tuple[int, str | None]]:
    """Numbers and verdicts of the trials with a uid in a field; from memory if they are there."""
    if trials.mirror.filled:
        with trials.mirror.columns() as columns:
            verdicts = columns.standard["Verdict"]
            return [(columns.numbers[at], verdicts.get(at)) for at in columns.having(column, uid)]
    fields = ["reproduces", "verdict"]
    return [(number, verdict_of(row)) for number, row in trials.find({field: uid}, fields)]
