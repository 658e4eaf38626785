"""Crashes: trials whose process is gone, so that nobody will end them."""

from __future__ import annotations

from collections.abc import Callable

from daskperiment.records import TrialState
from daskperiment.typing import Document

CRASH: Document = {
    "state": TrialState.CRASHED.value,
    "ended_by": "owner gone",
    "description": "CRASHED(the process that ran the trial is gone)",
}
"""What the row of such a trial says."""


def presumed(row: Document, is_gone: Callable[[Document], bool]) -> Document:
    """The row, CRASHED where its process is gone and nobody has written so yet.

    ``is_gone`` tells whether the process of an owner is gone.

    Examples
    --------
    >>> presumed({"state": "RUNNING", "owner": {}}, lambda owner: True)["state"]
    'CRASHED'
    >>> presumed({"state": "COMPLETE"}, lambda owner: True)
    {'state': 'COMPLETE'}
    """
    running = row.get("state") == TrialState.RUNNING and "owner" in row
    return {**row, **CRASH} if running and is_gone(row["owner"]) else row
