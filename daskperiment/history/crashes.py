"""Crashes: trials whose process is gone, so that nobody will end them."""

from __future__ import annotations

from daskperiment.platform import is_alive
from daskperiment.records import TrialState
from daskperiment.typing import Document

CRASH: Document = {
    "state": TrialState.CRASHED.value,
    "ended_by": "owner gone",
    "description": "CRASHED(the process that ran the trial is gone)",
}
"""What the row of such a trial says."""


def presumed(row: Document) -> Document:
    """The row, CRASHED where its process on this host is gone and nobody has written so yet.

    Examples
    --------
    >>> presumed({"state": "COMPLETE"})
    {'state': 'COMPLETE'}
    """
    running = row.get("state") == TrialState.RUNNING and "owner" in row
    return {**row, **CRASH} if running and not is_alive(row["owner"]) else row
