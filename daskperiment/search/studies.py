"""Studies of Optuna: searches as it has them, and back.

>>> from daskperiment.search import Float, SearchSpace
>>> space = SearchSpace({"rate": Float(0, 1)})
>>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
>>> tried = StudyTrial({"rate": 0.5}, (0.25,), TrialState.COMPLETE, noon, noon)
>>> study = to_study(space, ["minimize"], [tried])
>>> study.best_params, study.best_value
({'rate': 0.5}, 0.25)
>>> from_study(study) == (space, ["minimize"], [tried])
True
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from daskperiment.errors import SearchSpaceError
from daskperiment.records import TrialState
from daskperiment.search.distribution import Distribution
from daskperiment.search.levels import told_of
from daskperiment.search.optuna import Coded, from_optuna, muted, shown
from daskperiment.search.space import Axis, Configuration, SearchSpace
from daskperiment.search.values import plain

Direction: TypeAlias = Literal["minimize", "maximize"]

_SPACE, _PLACE = "daskperiment:space", "place"
_DONE = ("COMPLETE", "PRUNED")
_STATES = {
    TrialState.WAITING: optuna.trial.TrialState.WAITING,
    TrialState.RUNNING: optuna.trial.TrialState.RUNNING,
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
    TrialState.CANCELLED: optuna.trial.TrialState.FAIL,
    TrialState.CRASHED: optuna.trial.TrialState.FAIL,
}
_OURS = {theirs: ours for ours, theirs in reversed(_STATES.items())}


@dataclass(frozen=True)
class StudyTrial:
    """One trial, as a study has it.

    Parameters
    ----------
    parameters : dict
        Its configuration of the search space.
    values : tuple of float, optional
        One number for each direction, as the trial gave it; None where it gave none.
    state : TrialState
        Optuna has one word for FAILED, CANCELLED and CRASHED: of a study it is FAILED.
    started, finished : datetime, optional
        In UTC; None where it has not.
    reports : mapping of int to float
        What it has reported, by epoch.
    place : int, optional
        Its place in the search; the attribute ``place`` of the study's trial.
    """

    parameters: Configuration
    values: tuple[float, ...] | None
    state: TrialState
    started: datetime | None = None
    finished: datetime | None = None
    reports: Mapping[int, float] = field(default_factory=dict)
    place: int | None = None


def to_study(
    space: SearchSpace, directions: Sequence[Direction], trials: Iterable[StudyTrial]
) -> optuna.Study:
    """A study of Optuna, in memory, with these trials.

    Parameters have their names, or, where branches or blocks have several of one name, the
    addresses of :class:`~daskperiment.search.Axis`.  Numbers are themselves, and so are choices
    that Optuna tells apart; others are JSON text.  Integers from 2**53 on, which Optuna keeps as
    floats, are fractions of their range.  The study keeps the space itself as an attribute, for
    :func:`from_study`.

    Parameters
    ----------
    space : SearchSpace
        What the parameters are of.
    directions : sequence of str
        ``minimize`` or ``maximize``, for each value of a trial.
    trials : iterable of StudyTrial
        In this order.  One that is COMPLETE, but has not a finite number for each direction, is
        FAIL for Optuna.

    Raises
    ------
    SearchSpaceError
        A trial is not of the space.
    """
    with muted():
        study = optuna.create_study(directions=list(directions))
    study.set_user_attr(_SPACE, space.document())
    trials, known = list(trials), []
    for number, trial in enumerate(trials):
        with told_of(f"trial {number}"):
            known.append(space.by_address(trial.parameters))
    codes = _codes(space, known)
    for trial, active in zip(trials, known, strict=True):
        study.add_trial(_frozen(trial, active, codes, len(directions)))
    return study


def from_study(study: optuna.Study) -> tuple[SearchSpace, list[Direction], list[StudyTrial]]:
    """The space, the directions and the trials of a study of Optuna.

    The space is that of which :func:`to_study` has made the study, or follows from the
    distributions: of ranges that differ it has all between their ends, and where trials have
    different parameters, a block for each set of them.  A trial that has not COMPLETE, and lacks
    parameters of those that have, is left out.

    Parameters
    ----------
    study : optuna.Study
        Of any storage.

    Raises
    ------
    SearchSpaceError
        There are no parameters, or they are none for a :class:`~daskperiment.search.SearchSpace`;
        the message says which.
    """
    trials = study.get_trials(deepcopy=False)
    document = study.user_attrs.get(_SPACE)
    directions: list[Direction] = [
        "maximize" if d.name == "MAXIMIZE" else "minimize" for d in study.directions
    ]
    if document is None:
        space, trials = _space_of(trials)
        return space, directions, [_thawed(trial, _configuration(trial)) for trial in trials]
    space = SearchSpace.from_document(document)
    return space, directions, list(_known(trials, space))


# -- a space that is known --


def _codes(
    space: SearchSpace, configurations: Sequence[Mapping[str, Any]] = ()
) -> dict[str, tuple[str, Coded]]:
    """The parameter of the study that each axis is, by its address."""
    often = Counter(axis.name for axis in space.axes)
    values = defaultdict(list)
    for active in configurations:
        for address, value in active.items():
            values[address].append(value)
    return {
        axis.address: (
            axis.name if often[axis.name] == 1 else axis.address,
            shown(axis.distribution, values[axis.address]),
        )
        for axis in space.axes
    }


def _frozen(
    trial: StudyTrial,
    active: Mapping[str, Any],
    codes: Mapping[str, tuple[str, Coded]],
    metrics: int,
) -> FrozenTrial:
    state, values = _STATES[trial.state], _values(trial.values, metrics)
    if state.name == "COMPLETE" and values is None:
        state = optuna.trial.TrialState.FAIL
    given = {codes[at][0]: (codes[at][1], value) for at, value in active.items()}
    frozen = create_trial(
        state=state,
        values=values if state.name in _DONE else None,
        params={name: code.encode(value) for name, (code, value) in given.items()},
        distributions={name: code.distribution for name, (code, _) in given.items()},
        user_attrs={} if trial.place is None else {_PLACE: trial.place},
        intermediate_values=dict(trial.reports),
    )
    if frozen.datetime_start and trial.started:
        frozen.datetime_start = _here(trial.started)
    if frozen.datetime_complete and (ended := trial.finished or trial.started):
        frozen.datetime_complete = _here(ended)
    return frozen


def _values(values: Sequence[float] | None, metrics: int) -> list[float] | None:
    if values is None or len(values) != metrics or not all(map(math.isfinite, values)):
        return None
    return list(values)


def _known(trials: Iterable[FrozenTrial], space: SearchSpace) -> Iterator[StudyTrial]:
    codes = _codes(space)
    for trial in trials:
        try:
            yield _thawed(trial, _decoded(trial, space, codes))
        except SearchSpaceError:
            if trial.state.name in _DONE:
                raise


def _decoded(
    trial: FrozenTrial, space: SearchSpace, codes: Mapping[str, tuple[str, Coded]]
) -> Configuration:
    def choose(axis: Axis) -> Any:
        name, code = codes[axis.address]
        if name not in trial.params:
            raise SearchSpaceError(f"{name}: the value is missing")
        return code.decode(trial.params[name])

    with told_of(f"trial {trial.number}"):
        return space.build(choose)


# -- a space that follows from the trials --


def _space_of(trials: Sequence[FrozenTrial]) -> tuple[SearchSpace, list[FrozenTrial]]:
    """The space, and the trials that have all the parameters of one of its blocks."""
    done = [trial for trial in trials if trial.state.name in _DONE]
    blocks: dict[frozenset[str], list[str]] = {}
    for trial in done or trials:
        blocks.setdefault(frozenset(trial.params), list(trial.params))
    if not blocks:
        raise SearchSpaceError("the study has no trials: nobody knows what its parameters are")
    kept = [trial for trial in trials if frozenset(trial.params) in blocks]
    names = dict.fromkeys(name for block in blocks.values() for name in block)
    found = {name: _distribution(name, kept) for name in names}
    return SearchSpace([{name: found[name] for name in block} for block in blocks.values()]), kept


def _distribution(name: str, trials: Sequence[FrozenTrial]) -> Distribution:
    having = [trial for trial in trials if name in trial.params]
    with told_of(name):
        return from_optuna(
            [trial.distributions[name] for trial in having],
            [trial.params[name] for trial in having],
        )


def _configuration(trial: FrozenTrial) -> Configuration:
    return {
        name: float(value) if isinstance(trial.distributions[name], FloatDistribution) else value
        for name, value in plain(trial.params).items()
    }


# -- trials --


def _thawed(trial: FrozenTrial, parameters: Configuration) -> StudyTrial:
    return StudyTrial(
        parameters,
        None if trial.values is None else tuple(trial.values),
        _OURS[trial.state],
        _everywhere(trial.datetime_start),
        _everywhere(trial.datetime_complete),
        dict(trial.intermediate_values),
        trial.user_attrs.get(_PLACE),
    )


def _here(moment: datetime) -> datetime:
    """The time of clocks here, as Optuna keeps it."""
    return moment.astimezone().replace(tzinfo=None)


def _everywhere(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
