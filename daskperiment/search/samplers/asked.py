"""A study of Optuna whose trials are those of a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, create_trial

from daskperiment.records import TrialState
from daskperiment.search.choices import Constant
from daskperiment.search.optuna import coded, muted
from daskperiment.search.values import canonical

if TYPE_CHECKING:
    from daskperiment.search.space import Axis, Configuration, SearchSpace
    from daskperiment.search.trials import SearchTrial

State = optuna.trial.TrialState

_SOURCES = 10  # it looks at the best tenth of them


class AskedStudy:
    """A study in memory, which is asked for suggestions and told of trials.

    It suggests what the sampler does for somebody who calls ``study.ask``, the methods
    ``trial.suggest_...`` in the order of the axes, by their addresses, and ``study.tell``.

    Parameters
    ----------
    space : SearchSpace
        What there is to choose from; constants take no part.
    sampler : optuna.samplers.BaseSampler
        What chooses.
    metrics : int
        How many losses each trial has.
    warm : callable, optional
        Gives a sampler that begins from trials; for the first suggestion, where ten or more are
        COMPLETE before it and all axes are always active.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: optuna.samplers.BaseSampler,
        metrics: int,
        warm: Callable[[list[FrozenTrial]], optuna.samplers.BaseSampler] | None = None,
    ) -> None:
        self.space = space
        self._codes = {
            axis.address: coded(axis.distribution)
            for axis in space.axes
            if not isinstance(axis.distribution, Constant)
        }
        self._metrics, self._warm = metrics, warm
        self._storage = optuna.storages.InMemoryStorage()
        with muted():
            self._study = optuna.create_study(
                storage=self._storage, sampler=sampler, directions=["minimize"] * metrics
            )
        self._ident = self._storage.get_study_id_from_name(self._study.study_name)
        self._told = 0
        self._unseen: dict[int, str] = {}  # suggestions by number that no trial has had so far
        self._running: dict[int, int | None] = {}  # numbers by place; None beyond the space

    def ask(self, trials: Sequence[SearchTrial]) -> Configuration:
        """What the sampler suggests after these trials, of which those before are not told again.

        See :class:`~daskperiment.search.samplers.Samples`.
        """
        import numpy as np

        self._tell(trials)
        if self._warm:
            self._begin_from(self._warm)
        with np.errstate(all="ignore"):  # Optuna means the infinities that it gets
            trial = self._study.ask()
            configuration = self.space.build(lambda axis: self._suggested(trial, axis))
        self._unseen[trial.number] = canonical(configuration)
        return configuration

    def _suggested(self, trial: optuna.Trial, axis: Axis) -> Any:
        code = self._codes.get(axis.address)
        if code is None:
            return axis.distribution.quantile(0.5)
        return code.suggest(trial, axis.address)

    def _begin_from(self, warm: Callable[[list[FrozenTrial]], Any]) -> None:
        self._warm = None
        numbers = {
            address: code.distribution
            for address, code in self._codes.items()
            if not isinstance(code.distribution, CategoricalDistribution)
            and not code.distribution.single()
        }
        conditional = any("/" in address for address in self._codes)
        found = self._study.get_trials(deepcopy=False, states=(State.COMPLETE,))
        if len(found) >= _SOURCES and numbers and not conditional:
            self._study.sampler = warm([_part(trial, numbers) for trial in found])

    # -- what the trials say --

    def _tell(self, trials: Sequence[SearchTrial]) -> None:
        for trial in trials[self._told :]:
            if trial.state.ended:
                self._told += 1
                self._end(trial)
            elif trial.place not in self._running:
                number = self._seen(trial)
                self._running[trial.place] = self._added(trial) if number is None else number

    def _seen(self, trial: SearchTrial) -> int | None:
        """The number of the suggestion that the trial has got."""
        if not self._unseen:
            return None
        wanted = canonical(dict(trial.parameters))
        number = next((n for n, text in self._unseen.items() if text == wanted), None)
        if number is not None:
            del self._unseen[number]
        return number

    def _end(self, trial: SearchTrial) -> None:
        number = self._running.pop(trial.place, None)
        if number is None:
            number = self._seen(trial)
        if number is None:
            self._added(trial)
            return
        state, values, reports = self._outcome(trial)
        ident = self._storage.get_trial_id_from_study_id_trial_number(self._ident, number)
        for epoch, value in reports.items():
            self._storage.set_trial_intermediate_value(ident, epoch, value)
        self._study.tell(number, values if state == State.COMPLETE else None, state=state)
        for skipped in [n for n in self._unseen if n < number]:  # nobody will run it any more
            del self._unseen[skipped]
            self._study.tell(skipped, state=State.FAIL)

    def _added(self, trial: SearchTrial) -> int | None:
        """The number of a trial that was not suggested here; None where it is beyond the space."""
        state, values, reports = self._outcome(trial)
        try:
            known = self.space.by_address(trial.parameters)
            params = {at: code.encode(known[at]) for at, code in self._codes.items() if at in known}
            added = create_trial(
                state=state,
                values=values,
                params=params,
                distributions={at: self._codes[at].distribution for at in params},
                intermediate_values=dict(reports),
            )
        except ValueError:  # also SearchSpaceError
            return None
        self._study.add_trial(added)
        return len(self._study.get_trials(deepcopy=False)) - 1

    def _outcome(
        self, trial: SearchTrial
    ) -> tuple[State, Sequence[float] | None, Mapping[int, float]]:
        """State, losses and reports, as Optuna takes them."""
        if not trial.state.ended:
            return State.RUNNING, None, {}
        losses = trial.losses or ()
        if trial.state == TrialState.COMPLETE and len(losses) == self._metrics:
            if all(map(math.isfinite, losses)):
                return State.COMPLETE, losses, {}
        elif trial.state == TrialState.PRUNED and self._metrics == 1:
            reports = {at: one for at, one in sorted(trial.reports.items()) if math.isfinite(one)}
            last = list(reports.values())[-1:]
            return State.PRUNED, last or None, reports
        return State.FAIL, None, {}


def _part(trial: FrozenTrial, numbers: Mapping[str, Any]) -> FrozenTrial:
    """A trial of these parameters only, as the sampler takes it for its beginning."""
    params = {address: trial.params[address] for address in numbers}
    return create_trial(values=trial.values, params=params, distributions=dict(numbers))
