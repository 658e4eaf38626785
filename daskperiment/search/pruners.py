"""Pruners: whether a trial is worth going on with, by its own reports and those of others.

A pruner is a plain value.  It knows neither trials nor a store: it is asked with the reports that
there are, numbers by epoch, and says yes or no.  NaN in the reports of others is passed over; what
becomes of a trial that reports NaN itself is told by each pruner.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from daskperiment.errors import PrunerError
from daskperiment.search.values import nearest
from daskperiment.serializers.preview import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.history.ranking import Direction


class Other(NamedTuple):
    """Another trial of the same search.

    Parameters
    ----------
    trial : str
        Its name: its uid, or its place where its search goes by places.
    reports : mapping of int to float
        What it has reported so far, by epoch.
    complete : bool
        Whether it has run to its end, and is not pruned, failed or running.
    """

    trial: str
    reports: Mapping[int, float]
    complete: bool


class _Asked(NamedTuple):
    """What a pruner is asked; of :meth:`cost` less is better."""

    epoch: int
    value: float
    own: Mapping[int, float]
    others: Iterable[Other]
    direction: Direction
    trial: str
    since: int

    def cost(self, value: float) -> float:
        return -value if self.direction == "maximize" else value

    def costs(self, values: Iterable[float]) -> list[float]:
        """Costs of those that are numbers."""
        return [self.cost(value) for value in values if value == value]


class Pruner:
    """Base of pruners."""

    @property
    def running(self) -> bool:
        """Whether it compares with trials that have not completed, too."""
        return False

    def prunes(
        self,
        epoch: int,
        value: float,
        own: Mapping[int, float],
        others: Iterable[Other] = (),
        *,
        direction: Direction = "minimize",
        trial: str = "",
        since: int | None = None,
    ) -> bool:
        """Whether a trial should end here.

        Parameters
        ----------
        epoch, value : int, float
            Its latest report.
        own : mapping of int to float
            All its reports by epoch.
        others : iterable of Other
            The other trials of its search; only looked at where that may matter.
        direction : {"minimize", "maximize"}
            Which values are good.
        trial : str
            Its name, by which :class:`Hyperband` puts trials into brackets.
        since : int, optional
            The epoch for which it was asked last; default that of the report before, if any.

        Raises
        ------
        PrunerError
            There is no such direction.

        Examples
        --------
        >>> others = [Other(name, {1: loss}, True) for name, loss in [("a", 0.1), ("b", 0.3)]]
        >>> pruner = MedianPruner(startup_trials=2)
        >>> pruner.prunes(1, 0.5, {1: 0.5}, others), pruner.prunes(1, 0.2, {1: 0.2}, others)
        (True, False)
        >>> pruner.prunes(1, 0.5, {1: 0.5}, others, direction="maximize")
        False
        """
        check_direction(direction)
        if own.get(epoch) != value:
            own = {**own, epoch: value}
        if since is None:
            since = max((each for each in own if each != epoch), default=min(epoch, 0) - 1)
        return self._prunes(_Asked(epoch, value, own, others, direction, trial, since))

    def _prunes(self, asked: _Asked) -> bool:
        raise NotImplementedError

    def document(self) -> Document:
        """It as JSON; :func:`pruner_of` makes it again.

        Examples
        --------
        >>> SuccessiveHalving().document()
        {'name': 'SuccessiveHalving', 'min_resource': 1, 'reduction': 4}
        """
        options = {name: getattr(self, name) for name in _options(type(self))}
        return {
            "name": type(self).__name__,
            **{k: v.document() if isinstance(v, Pruner) else v for k, v in options.items()},
        }


@dataclass(frozen=True)
class PercentilePruner(Pruner):
    """Prunes a trial whose best report so far is worse than a percentile of the others.

    These are the reports of the trials that are COMPLETE, at the same epoch.  It is Optuna's
    ``PercentilePruner``, https://optuna.readthedocs.io/en/stable/reference/pruners.html.

    Parameters
    ----------
    percentile : float
        Which part goes on, from 0 to 100: of 25, the best quarter.
    startup_trials : int
        Nothing is pruned before as many trials are COMPLETE.
    warmup_epochs : int
        Nothing is pruned before this epoch.
    interval : int
        Every how many epochs is looked, from ``warmup_epochs`` on; where nothing is reported
        just then, at the next report.

    Raises
    ------
    PrunerError
        An argument is out of its range.

    Notes
    -----
    A trial that has reported nothing but NaN is pruned.

    Examples
    --------
    >>> others = [Other(str(n), {0: float(n)}, True) for n in range(1, 6)]
    >>> PercentilePruner(25).prunes(0, 2.0, {0: 2.0}, others)
    False
    >>> PercentilePruner(25).prunes(0, 2.5, {0: 2.5}, others)
    True
    """

    percentile: float
    startup_trials: int = 5
    warmup_epochs: int = 0
    interval: int = 1

    def __post_init__(self) -> None:
        _check_number("percentile", self.percentile, 0, 100)
        _check_count("startup_trials", self.startup_trials, 0)
        _check_count("warmup_epochs", self.warmup_epochs, 0)
        _check_count("interval", self.interval, 1)

    def _prunes(self, asked: _Asked) -> bool:
        if not self._is_due(asked):
            return False
        complete = [other.reports for other in asked.others if other.complete]
        if len(complete) < max(1, self.startup_trials):
            return False
        best = min(asked.costs(asked.own.values()), default=None)
        if best is None:
            return True
        there = asked.costs(reports[asked.epoch] for reports in complete if asked.epoch in reports)
        return bool(there) and best > _percentile(there, self.percentile)

    def _is_due(self, asked: _Asked) -> bool:
        behind = asked.epoch - self.warmup_epochs
        return behind >= 0 and asked.since < asked.epoch - behind % self.interval


def _percentile(values: list[float], percentile: float) -> float:
    """A percentile, between two values in proportion, as NumPy has it."""
    values.sort()
    position = percentile / 100 * (len(values) - 1)
    before = math.floor(position)
    one, other = values[before], values[min(before + 1, len(values) - 1)]
    if one == other:  # perhaps infinite
        return one
    part = position - before
    return one + (other - one) * part if part < 0.5 else other - (other - one) * (1 - part)


class MedianPruner(PercentilePruner):
    """Prunes a trial whose best report so far is worse than the median of the others.

    :class:`PercentilePruner` at 50, which has the other arguments, too: Optuna's
    ``MedianPruner``, after the median stopping rule of Golovin and others, `Google Vizier
    <https://doi.org/10.1145/3097983.3098043>`_, 2017.

    Parameters
    ----------
    startup_trials, warmup_epochs, interval : int
        As for :class:`PercentilePruner`.

    Examples
    --------
    >>> MedianPruner(warmup_epochs=10)
    MedianPruner(startup_trials=5, warmup_epochs=10, interval=1)
    """

    def __init__(self, startup_trials: int = 5, warmup_epochs: int = 0, interval: int = 1) -> None:
        super().__init__(50, startup_trials, warmup_epochs, interval)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)}" for name in _options(MedianPruner))
        return f"MedianPruner({given})"


@dataclass(frozen=True)
class SuccessiveHalving(Pruner):
    """Prunes at some epochs all trials but the best part of those that have come so far.

    These epochs, the rungs, are ``min_resource``, ``min_resource * reduction``, ``min_resource *
    reduction**2`` and so on, and the part is one in ``reduction``; of fewer it is the best one.  It
    is the asynchronous form: each trial is compared with what is there when it arrives.
    Li and others, `A System for Massively Parallel Hyperparameter Tuning
    <https://arxiv.org/abs/1810.05934>`_, 2018, as in Optuna's ``SuccessiveHalvingPruner``.

    Parameters
    ----------
    min_resource : int
        The first rung.  Count epochs from 1, so that they say how many have run.
    reduction : int
        Of how many one goes on.

    Raises
    ------
    PrunerError
        An argument is out of its range.

    Notes
    -----
    What counts on a rung is the first report at its epoch or later.  Where that is NaN, the trial
    is pruned.

    Examples
    --------
    >>> others = [Other(str(n), {1: float(n)}, False) for n in range(1, 8)]
    >>> SuccessiveHalving().prunes(1, 1.5, {1: 1.5}, others)
    False
    >>> SuccessiveHalving().prunes(1, 2.5, {1: 2.5}, others)
    True
    """

    min_resource: int = 1
    reduction: int = 4

    def __post_init__(self) -> None:
        _check_count("min_resource", self.min_resource, 1)
        _check_count("reduction", self.reduction, 2)

    @property
    def running(self) -> bool:
        """Whether it compares with trials that have not completed, too: it does."""
        return True

    def _prunes(self, asked: _Asked) -> bool:
        rungs = list(self._rungs(asked))
        others = [other.reports for other in asked.others] if rungs else []
        return any(self._ends_at(rung, others, asked) for rung in rungs)

    def _rungs(self, asked: _Asked) -> Iterator[int]:
        """Those that it has come to since it was asked last."""
        rung = self.min_resource
        while rung <= asked.epoch:
            if rung > asked.since:
                yield rung
            rung *= self.reduction

    def _ends_at(self, rung: int, others: list[Mapping[int, float]], asked: _Asked) -> bool:
        mine = _arrived(asked.own, rung)
        if mine is None or mine != mine:
            return True
        there = (_arrived(reports, rung) for reports in others)
        costs = sorted(asked.costs([mine, *(each for each in there if each is not None)]))
        return asked.cost(mine) > costs[max(len(costs) // self.reduction - 1, 0)]


def _arrived(reports: Mapping[int, float], rung: int) -> float | None:
    """What counts on a rung; None where the trial has not come to it."""
    epoch = min((epoch for epoch in reports if epoch >= rung), default=None)
    return None if epoch is None else reports[epoch]


@dataclass(frozen=True)
class Hyperband(Pruner):
    """Puts trials into brackets that prune by :class:`SuccessiveHalving`, one later than the other.

    The first bracket begins at ``min_resource``, and each next one a rung later, as long as that is
    not behind ``max_resource``; it gets the fewer trials.  To which one a trial belongs follows
    from its name, and it is compared within it.  Li and others, `Hyperband
    <https://www.jmlr.org/papers/v18/16-558.html>`_, 2018, as in Optuna's ``HyperbandPruner``.

    Parameters
    ----------
    min_resource : int
        As for :class:`SuccessiveHalving`.
    max_resource : int
        For how many epochs a trial runs that is not pruned.
    reduction : int
        Of how many one goes on.

    Raises
    ------
    PrunerError
        An argument is out of its range.

    Examples
    --------
    >>> for bracket, weight in Hyperband(1, 9).brackets:
    ...     print(bracket, weight)
    SuccessiveHalving(min_resource=1, reduction=3) 9
    SuccessiveHalving(min_resource=3, reduction=3) 5
    SuccessiveHalving(min_resource=9, reduction=3) 3
    """

    min_resource: int
    max_resource: int
    reduction: int = 3

    def __post_init__(self) -> None:
        _check_count("min_resource", self.min_resource, 1)
        _check_count("max_resource", self.max_resource, self.min_resource)
        _check_count("reduction", self.reduction, 2)

    @property
    def running(self) -> bool:
        """Whether it compares with trials that have not completed, too: it does."""
        return True

    @cached_property
    def brackets(self) -> list[tuple[SuccessiveHalving, int]]:
        """Each bracket, with its share of the trials."""
        firsts = [self.min_resource]
        while firsts[-1] * self.reduction <= self.max_resource:
            firsts.append(firsts[-1] * self.reduction)
        found = []
        for place, first in enumerate(firsts):
            rungs = len(firsts) - place
            share = -(-len(firsts) * self.reduction ** (rungs - 1) // rungs)  # rounded up
            found.append((SuccessiveHalving(first, self.reduction), share))
        return found

    def bracket(self, trial: str) -> int:
        """Which bracket a trial of this name belongs to, from 0."""
        place = zlib.crc32(trial.encode()) % sum(share for _, share in self.brackets)
        for index, (_, share) in enumerate(self.brackets):
            place -= share
            if place < 0:
                return index
        raise AssertionError

    def _prunes(self, asked: _Asked) -> bool:
        index = self.bracket(asked.trial)
        others = (other for other in asked.others if self.bracket(other.trial) == index)
        return self.brackets[index][0]._prunes(asked._replace(others=others))


@dataclass(frozen=True)
class Threshold(Pruner):
    """Prunes a trial whose report lies outside of two bounds, whatever the direction.

    Parameters
    ----------
    lower, upper : float, optional
        The bounds, which are inside.

    Raises
    ------
    PrunerError
        Neither is given, one is no number, or they are the wrong way round.

    Notes
    -----
    A report that is NaN is pruned.  It is Optuna's ``ThresholdPruner``.

    Examples
    --------
    >>> [Threshold(upper=10).prunes(0, value, {0: value}) for value in (10.0, 10.5, float("nan"))]
    [False, True, True]
    """

    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise PrunerError("Threshold takes lower=, upper= or both")
        for name, value in (("lower", self.lower), ("upper", self.upper)):
            if value is not None:
                _check_number(name, value)
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise PrunerError(f"lower={self.lower} is above upper={self.upper}")

    def _prunes(self, asked: _Asked) -> bool:
        lower = -math.inf if self.lower is None else self.lower
        upper = math.inf if self.upper is None else self.upper
        return not lower <= asked.value <= upper


@dataclass(frozen=True)
class Patience(Pruner):
    """Prunes a trial that has got worse and has not recovered for some epochs.

    That is: the best of its last ``patience + 1`` reports is worse than its best before by more
    than ``delta``; a plateau is not pruned.  With another pruner, that one is asked then.  It is
    Optuna's ``PatientPruner``.

    Parameters
    ----------
    patience : int
        For how many reports it may be worse.
    delta : float
        By how much.
    pruner : Pruner, optional
        Who has the last word.

    Raises
    ------
    PrunerError
        An argument is out of its range.

    Notes
    -----
    NaN is passed over, so that a trial with nothing else goes on: combine it with
    :class:`Threshold`.

    Examples
    --------
    >>> losses = {0: 0.5, 1: 0.3, 2: 0.4}
    >>> Patience(1).prunes(2, 0.4, losses)
    False
    >>> Patience(1).prunes(3, 0.35, losses | {3: 0.35})
    True
    """

    patience: int
    delta: float = 0
    pruner: Pruner | None = None

    def __post_init__(self) -> None:
        _check_count("patience", self.patience, 0)
        _check_number("delta", self.delta, 0)
        if self.pruner is not None:
            check_pruner(self.pruner)

    @property
    def running(self) -> bool:
        """Whether it compares with trials that have not completed, too: as its pruner does."""
        return self.pruner is not None and self.pruner.running

    def _prunes(self, asked: _Asked) -> bool:
        epochs = sorted(asked.own)
        before, after = (
            min(asked.costs(map(asked.own.__getitem__, part)), default=math.nan)
            for part in (epochs[: -self.patience - 1], epochs[-self.patience - 1 :])
        )
        if not before + self.delta < after:
            return False
        return self.pruner is None or self.pruner._prunes(asked)


_KINDS: dict[str, type[Pruner]] = {
    kind.__name__: kind
    for kind in (
        MedianPruner, PercentilePruner, SuccessiveHalving, Hyperband, Threshold, Patience,
    )
}  # fmt: skip


def _options(kind: type[Pruner]) -> list[str]:
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return names[1:] if issubclass(kind, MedianPruner) else names


def pruner_of(document: Any) -> Pruner:
    """The pruner that a document describes, whose ``direction`` and ``before`` are passed over.

    Raises
    ------
    PrunerError
        There is no such pruner in this version, or not with these options.

    Examples
    --------
    >>> pruner_of({"name": "Threshold", "upper": 2.0, "direction": "minimize"})
    Threshold(lower=None, upper=2.0)
    """
    given = dict(document) if isinstance(document, Mapping) else {}
    kind = _KINDS.get(str(given.pop("name", None)))
    if kind is None:
        raise PrunerError(
            f"{preview(document, 200)} describes no pruner; there are {', '.join(_KINDS)}"
        )
    for beside in ("direction", "before"):
        given.pop(beside, None)
    for option in given:
        if option not in _options(kind):
            hint = nearest(option, _options(kind))
            raise PrunerError(f"{kind.__name__} takes no {preview(option, 80)}: {hint}")
    if given.get("pruner") is not None:
        given["pruner"] = pruner_of(given["pruner"])
    try:
        return kind(**given)
    except TypeError as error:
        raise PrunerError(f"{preview(document, 200)} describes no pruner: {error}") from None


def check_pruner(pruner: object) -> Pruner:
    """Return a pruner of these, or raise PrunerError."""
    if type(pruner) in _KINDS.values():
        return pruner  # type: ignore[return-value]
    made = f"{pruner.__name__}()" if isinstance(pruner, type) else "a pruner"
    raise PrunerError(
        f"{preview(pruner, 80)} is no pruner: give {made}; there are {', '.join(_KINDS)}"
    )


def check_direction(direction: object) -> Direction:
    """Return which values are good, or raise PrunerError."""
    if direction == "minimize" or direction == "maximize":
        return direction
    raise PrunerError(f"direction is 'minimize' or 'maximize', not {preview(direction, 80)}")


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PrunerError(f"{name} is an integer from {least} on, not {preview(value, 80)}")


def _check_number(
    name: str, value: object, least: float = -math.inf, most: float = math.inf
) -> None:
    wrong = isinstance(value, bool) or not isinstance(value, (int, float))
    if wrong or not least <= value <= most:  # type: ignore[operator]
        bounds = "" if least == -math.inf else f" from {least:g} on"
        bounds = bounds if most == math.inf else f" from {least:g} to {most:g}"
        raise PrunerError(f"{name} is a number{bounds}, not {preview(value, 80)}")
