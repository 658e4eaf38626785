"""References: short texts that name trials, for people who type.

=================  ===============================================================
``7``              trial 7
``latest``         the trial with the highest number
``-1``, ``-2``     the last one, the one before
``best``           the best result, by the direction that is given; without one, what the
                   last search of the experiment calls the best, in all trials
``3:7``            from trial 3 to trial 7, both included; an end may be left out,
                   and may be any of the above
=================  ===============================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from daskperiment.errors import TrialReferenceError
from daskperiment.history.ranking import Direction, best
from daskperiment.history.searches import Searches
from daskperiment.history.trials import Trials
from daskperiment.search.objective import Objective

FORMS = "a number such as 7, latest, -1, best, or a range such as 3:7"
_NUMBER = re.compile(r"-?[0-9]{1,15}")


def resolve(
    references: str | Iterable[str], trials: Trials, direction: Direction | None = None
) -> list[int]:
    """Numbers of the trials that texts refer to, each once, in the order of the texts.

    Parameters
    ----------
    references : str or iterable of str
        One reference or several.
    trials : Trials
        The rows of the experiment.
    direction : {"minimize", "maximize"}, optional
        Which result is ``best``; default the metric and direction of the last search.

    Raises
    ------
    TrialReferenceError
        A text is no reference, or names no trial; the message says what to write.
    TrialIDNotFoundError
        There is no trial of this number, or none has a number as its result.

    Examples
    --------
    >>> import daskperiment
    >>> ex = daskperiment.Experiment("doc_references", backend="memory://")
    >>> @ex.result
    ... def score(a):
    ...     return 10 / a
    >>> s = score(ex.parameter("a"))
    >>> for a in (4, 2, 5):
    ...     _ = s.compute(parameters={"a": a})
    >>> trials = Trials(ex.backend, ex.id)
    >>> resolve("2:", trials), resolve(["-1", "best"], trials, "maximize")
    ([2, 3], [3, 2])
    """
    texts = [references] if isinstance(references, str) else references
    named = [number for text in texts for number in _named(text, trials, direction)]
    return list(dict.fromkeys(named))


def resolve_one(reference: str, trials: Trials, direction: Direction | None = None) -> int:
    """Number of the one trial that a text refers to; errors as for :func:`resolve`."""
    if len(numbers := resolve(reference, trials, direction)) == 1:
        return numbers[0]
    raise TrialReferenceError(
        f"{reference!r} names {len(numbers)} trials where one is needed: choose one of "
        f"{numbers[0]} to {numbers[-1]}"
    )


def _named(text: str, trials: Trials, direction: Direction | None) -> list[int]:
    first, colon, last = text.partition(":")
    if not colon:
        return [_single(text, trials, direction)]
    low = _end(first, trials, direction) if first else 1
    high = _end(last, trials, direction) if last else trials.last()
    found = [number for number, _ in trials.find(fields=[]) if low <= number <= high]
    if not found:
        raise TrialReferenceError(
            f"There is no trial from {low} to {high} in experiment {trials.name!r}, whose last "
            f"one is {trials.last()}"
        )
    return found


def _end(text: str, trials: Trials, direction: Direction | None) -> int:
    """An end of a range; the trial of this number need not be there."""
    if _NUMBER.fullmatch(text) and int(text) > 0:
        return int(text)
    return _single(text, trials, direction)


def _single(text: str, trials: Trials, direction: Direction | None) -> int:
    if text == "best":
        return _best(trials, direction)
    if text == "latest":
        return _from_the_end(1, trials)
    if not _NUMBER.fullmatch(text) or int(text) == 0:
        raise TrialReferenceError(f"{text!r} names no trial: write {FORMS}")
    number = int(text)
    if number < 0:
        return _from_the_end(-number, trials)
    trials.get(number)
    return number


def _best(trials: Trials, direction: Direction | None) -> int:
    if direction is not None:
        return best(trials, direction)
    known = Searches(trials.backend, trials.name).find()
    if not known:
        raise TrialReferenceError(
            "'best' needs to know which result is best: give the direction, minimize or maximize"
        )
    name, document = known[0]
    sought = Objective.from_document(document).sought
    if len(sought) > 1:
        raise TrialReferenceError(
            f"The last search, {name!r}, has several metrics and no main_metric, so that it does "
            "not say which trial is best: give the direction, minimize or maximize"
        )
    return best(trials, sought[0].direction, sought[0].name)


def _from_the_end(position: int, trials: Trials) -> int:
    newest = trials.find(fields=[], newest=True, limit=position)
    for number, _ in islice(newest, position - 1, None):
        return number
    count = sum(1 for _ in trials.find(fields=[]))
    known = f"only {count} trial{'s' * (count > 1)}" if count else "no trial yet"
    raise TrialReferenceError(f"Experiment {trials.name!r} has {known}")
