"""Reader of studies of Optuna."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from blake3 import blake3

from daskperiment.errors import SearchError
from daskperiment.history.reports import REPORT, SEARCH
from daskperiment.importers.past import NOTHING, Past, Reading, canonical
from daskperiment.records import TrialState
from daskperiment.typing import Document

if TYPE_CHECKING:
    import optuna

    from daskperiment.search.studies import StudyTrial


def read_study(study: optuna.Study, experiment: str) -> tuple[Reading, Document]:
    """The trials of a study as past runs, and the document of the search that they are.

    The result of a trial is its value; with several it is a mapping, by ``study.metric_names``
    or ``value_0`` and so on.  Trials that have not ended are left out.

    Parameters
    ----------
    study : optuna.Study
        Of any storage.
    experiment : str
        Id of the experiment that they become trials of.

    Raises
    ------
    SearchError
        Optuna is not installed, or the study has no trial that has ended.
    SearchSpaceError
        Its parameters are none for a search space; the message says which.
    """
    try:
        from daskperiment.search.studies import from_study
    except ImportError as error:
        raise SearchError('Studies need optuna: pip install "daskperiment[search]"') from error
    space, directions, trials = from_study(study)
    names = _names(study, len(directions))
    ended = [(n, trial) for n, trial in enumerate(trials) if trial.state.ended]
    if not ended:
        raise SearchError(f"Study {study.study_name!r} has no trial that has ended")
    first = min(trial.started.timestamp() for _, trial in ended if trial.started is not None)
    uid = blake3(canonical("optuna", study.study_name, first).encode()).hexdigest(16)
    document: Document = {
        "uid": uid,
        "started": first,
        "space": space.document(),
        "sampler": {"name": f"optuna.{type(study.sampler).__name__}", "own": True},
        "pruner": None,
        "metrics": [list(each) for each in zip(names, directions, strict=True)],
        "main": 0 if len(names) == 1 else None,
        "seed": 0,
        "n_trials": len(ended),
        "batch_size": None,
        "window": None,
        "stop": {},
        "warm": [],
        "code": None,
        "imported": True,
        "description": f"Imported from study {study.study_name} of Optuna",
    }
    pasts = [_past(study.study_name, uid, n, trial, names) for n, trial in ended]
    return Reading(experiment, pasts, []), document


def _names(study: optuna.Study, count: int) -> list[str | None]:
    named = getattr(study, "metric_names", None)
    if count == 1:
        return [None]
    return list(named) if named else [f"value_{index}" for index in range(count)]


def _past(study: str, uid: str, number: int, trial: StudyTrial, names: list[str | None]) -> Past:
    place = number if trial.place is None else trial.place
    started = time.time() if trial.started is None else trial.started.timestamp()
    finished = None if trial.finished is None else trial.finished.timestamp()
    past = Past(
        place=f"trial {number}",
        identity=canonical("optuna", uid, number),
        origin=f"study {study} of Optuna, trial {number}",
        state=trial.state,
        started=started,
        finished=finished,
        seconds=None if finished is None else finished - started,
        parameters=dict(trial.parameters),
        result=NOTHING,
        about={SEARCH: uid, "place": place},
    )
    if trial.state is TrialState.COMPLETE and trial.values is not None:
        values = dict(zip(names, trial.values, strict=True))
        past.result = trial.values[0] if len(names) == 1 else values
    points = [(epoch, value, started) for epoch, value in sorted(trial.reports.items())]
    past.add_points(REPORT, points)
    return past
