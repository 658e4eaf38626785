"""Checkout: the files of the user around recorded code, as git had them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daskperiment.history import signatures
from daskperiment.history.forgetting import check_kept
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.trials import Trials
from daskperiment.lineage.request import Request
from daskperiment.tracking.checkout import restore
from daskperiment.typing import Document


def checked_out(request: Request, folder: Path, trials: Trials, row: Document) -> Request:
    """The request, to be run among the files of the recorded commit and its changes.

    Parameters
    ----------
    request : Request
        The request.
    folder : Path
        Where to put the files; it is made.
    trials : Trials
        The trials of the experiment.
    row : dict
        The row of the trial.

    Raises
    ------
    RebuildError, PayloadError, ValueNotKeptError, BackendError
        The files cannot be had as they were, or may not be run.
    """
    check_kept(row, "session", "git")
    signatures.check(trials.place(row["uid"]), row, "session")
    snapshots = Snapshots(trials.backend)
    session = snapshots.checked(row["session"])
    folder.mkdir()
    top = restore(session.get("git"), snapshots.text, folder)
    directory = _moved(session.get("working_directory"), top, folder)
    script = _moved((session.get("script") or {}).get("path"), top, folder)
    beside = script.parent if script and script.is_file() else None
    places = (beside, directory, folder, folder / "src")
    return request._replace(
        directory=str(directory if directory and directory.is_dir() else folder),
        script=str(script or ""),
        places=tuple(dict.fromkeys(str(place) for place in places if place and place.is_dir())),
    )


def _moved(path: Any, top: Path, folder: Path) -> Path | None:
    """Where a path of then lies now; None where it lay elsewhere."""
    if not isinstance(path, str):
        return None
    for each in (Path(path), Path(path).resolve()):
        if each.is_relative_to(top):
            return folder / each.relative_to(top)
    return None
