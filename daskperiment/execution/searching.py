"""Around a search: the jobs of a batch, as the loop of a search suggests them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daskperiment.errors import SearchError
from daskperiment.execution.attempt import Ended
from daskperiment.execution.jobs import Job
from daskperiment.execution.pruning import PRUNER
from daskperiment.history.searches import QUEUED, Searches, SearchRows
from daskperiment.history.trials import Trials
from daskperiment.names import check_name
from daskperiment.records import TrialState
from daskperiment.search.loop import Course, Loop, Terms
from daskperiment.search.rules import Watch, check_count
from daskperiment.search.samplers import Sampler, Samples, sampler_of
from daskperiment.search.space import Configuration, SearchSpace
from daskperiment.serializers import preview
from daskperiment.typing import Document

logger = logging.getLogger(__name__)


class Suggested:
    """The jobs of a search.

    Parameters
    ----------
    loop : Loop
        The search.
    row : dict
        What the row of each of its trials says of it.
    check : callable
        Raises where parameters cannot be used.
    timeout : float, optional
        Seconds after which no more trials begin.
    cancels : bool
        Whether trials that run when the search is over are ended, too.
    """

    def __init__(
        self,
        loop: Loop,
        row: Document,
        check: Callable[[Mapping[str, Any]], object],
        timeout: float | None,
        cancels: bool,
    ) -> None:
        self.cancels = cancels
        self._loop = loop
        self._row = row
        self._check = check
        self._timeout = timeout
        self._started = time.monotonic()

    @property
    def total(self) -> int | None:
        """How many trials there will be; None if nobody knows."""
        return None if self._loop.limit == math.inf else int(self._loop.limit)

    def take(self) -> Job | None:
        """The next job; None where none can begin, until one has ended or for good."""
        suggestion = self._loop.take()
        if suggestion is None:
            return None
        self._check(suggestion.parameters)
        place, parameters, seed, before, queued = suggestion
        row = dict(self._row)
        if queued is not None:
            row[QUEUED] = queued
        known = self._loop.terms.known(place)
        if PRUNER in row and known is not None:
            row[PRUNER] = {**row[PRUNER], "before": known}
        repeats = getattr(self._loop.terms.sampler, "repeats", 1)
        if repeats > 1 and queued is None:
            return Job(place, parameters, seed, place % repeats, repeats, before, row)
        return Job(place, parameters, seed, before=before, row=row)

    def tell(self, job: Job, ended: Ended) -> None:
        """Take in how one has ended."""
        state = TrialState.PRUNED if ended.pruned else TrialState.COMPLETE
        if ended.error is not None:
            interrupted = isinstance(ended.error, KeyboardInterrupt)
            state = TrialState.CANCELLED if interrupted else TrialState.FAILED
        number = ended.number if isinstance(ended.number, int) else None
        self._loop.tell(job.place, number, state, ended.value)

    def over(self) -> str | None:
        """Why no more are to begin, and None as long as some are."""
        if self._timeout is not None and time.monotonic() - self._started >= self._timeout:
            return f"the time of {self._timeout:g} s is over"
        return self._loop.reason


def space_of(own: Mapping[str, Any], space: Any, sampler: Any) -> tuple[SearchSpace, Samples]:
    """The space of a search and its sampler, as they are asked for.

    Parameters
    ----------
    own : mapping of str to Any
        What the parameters of the graph say themselves; None of those that say nothing.
    space, sampler : Any
        As :meth:`Experiment.search` takes them.

    Raises
    ------
    SearchError, SearchSpaceError, SamplerError
        There is none, or it cannot be so.
    """
    if space is None:
        space = {name: values for name, values in own.items() if values is not None}
        if not space:
            raise SearchError(
                "There is nothing to search in: give a space, such as {'rate': Float(0, 1)}, "
                "or parameters with space="
            )
    if sampler == "list" and not isinstance(space, (SearchSpace, Mapping)):
        configurations = [dict(each) for each in space]
        return SearchSpace.of(configurations), sampler_of("list", configurations=configurations)
    chosen = space if isinstance(space, SearchSpace) else SearchSpace(space)
    return chosen, sampler_of(sampler)


WINDOW = 8
"""How many trials a deterministic search suggests without knowing of each other, if not told."""


def check_window(deterministic: bool | int) -> int | None:
    """Return how many trials do not know of each other, None for any; or raise SearchError.

    Examples
    --------
    >>> check_window(True), check_window(16), check_window(False)
    (8, 16, None)
    """
    if isinstance(deterministic, bool):
        return WINDOW if deterministic else None
    return check_count("deterministic", deterministic)


def check_on_stop(on_stop: str, window: int | None) -> bool:
    """Return whether trials are ended when the search is over, or raise SearchError."""
    if on_stop not in ("finish", "cancel"):
        raise SearchError(f"on_stop is 'finish' or 'cancel', not {preview(on_stop, 80)}")
    if on_stop == "cancel" and window is not None:
        raise SearchError(
            "Which trials on_stop='cancel' ends depends on how long they take, so that a search "
            "with it cannot be deterministic: leave out one of the two"
        )
    return on_stop == "cancel"


def check_terms(terms: Terms, timeout: float | None) -> None:
    """Raise SearchError or SamplerError where a search could not begin, or would never end."""
    Watch(terms.rules, terms.objective)
    sampler = Course(terms).sampler
    size = sampler.size(terms.space) if isinstance(sampler, Sampler) else None
    rules = terms.rules
    if all(each is None for each in (size, terms.n_trials, timeout, rules.target, rules.patience)):
        raise SearchError(
            "The search has no end: give n_trials=, such as n_trials=50, or timeout=, target= or "
            "patience="
        )


def kept(searches: Searches, name: str | None, document: Document, resume: bool) -> str:
    """Keep a search that begins, or find the one that goes on; its name.

    Parameters
    ----------
    searches : Searches
        Those of the experiment.
    name : str, optional
        Its name; default a new one, or that of the last search of the same kind.
    document : dict
        What it is.
    resume : bool
        Whether one that is there goes on.

    Raises
    ------
    SearchError
        There is one of this name, and it is another one or is not asked to go on.
    """
    if name is not None:
        check_name(name, "Search")
        if searches.begin(name, document):
            return name
        return _gone_on(searches, name, document, resume)
    known = searches.find()
    if resume:
        for each, there in known:
            if not _differences(there, document):
                return _gone_on(searches, each, document, resume)
    number = len(known) + 1
    while not searches.begin(f"search-{number}", document):
        number += 1
    return f"search-{number}"


_SAME = ("space", "sampler", "metrics", "main", "batch_size", "window", "pruner")
"""What must be equal where a search goes on."""


def _differences(there: Document, asked: Document) -> list[str]:
    named = {"window": "deterministic", "main": "main_metric"}
    return [named.get(each, each) for each in _SAME if there.get(each) != asked.get(each)]


def _gone_on(searches: Searches, name: str, asked: Document, resume: bool) -> str:
    there = searches.get(name)
    if there is None:
        raise SearchError(f"Search {name!r} was removed meanwhile")
    if not resume:
        raise SearchError(
            f"There is a search {name!r} already: resume=True goes on with it, another name "
            "begins a new one"
        )
    if different := _differences(there, asked):
        raise SearchError(
            f"Search {name!r} cannot go on, as it is asked for with another "
            f"{' and '.join(different)}: begin a new one under another name"
        )
    if asked["code"] != there["code"]:
        logger.warning("Search %r goes on with other code than its trials so far", name)
    changes = {each: asked[each] for each in ("n_trials", "stop", "code")}
    if asked["description"]:
        changes["description"] = asked["description"]
    searches.update(name, changes)
    return name


def sampler_document(sampler: Samples) -> Document:
    """What describes a sampler; of one that is not of this package its class."""
    if isinstance(sampler, Sampler):
        return sampler.document()
    kind = type(sampler)
    return {"name": f"{kind.__module__}.{kind.__qualname__}", "own": True}


def example(space: SearchSpace, seed: int) -> Configuration:
    """Some configuration of a search, by which its parameters are checked before it begins."""
    import numpy as np

    return space.sample(np.random.default_rng(seed))


def check_used(configuration: Mapping[str, Any], used: Mapping[str, Any]) -> None:
    """Raise SearchError where a configuration has a parameter that trials would not use."""
    unused = [name for name in configuration if name not in used]
    if unused:
        raise SearchError(
            f"The graph does not use {', '.join(unused)}, so that there is nothing to search: "
            "leave it out of the space, or pass the parameter to a step"
        )


def ended(loop: Loop) -> list[Job]:
    """The jobs of a search whose trials are there."""
    jobs = []
    for tried in loop.there:
        job = Job(tried.place, tried.parameters, None)
        job.end(tried.number)
        jobs.append(job)
    return jobs


def warm(trials: Trials, numbers: Sequence[int], terms: Terms) -> list[Document]:
    """What a search learns from these trials, as far as they are COMPLETE and lie in its space."""
    rows = SearchRows(trials, "", terms.objective.names)
    found = []
    for number in numbers:
        tried = rows.read(number)
        losses = terms.objective.losses(tried.values)
        parameters = terms.space.within(tried.parameters)
        if parameters is not None and losses is not None:
            found.append({"uid": tried.uid, "parameters": parameters, "losses": list(losses)})
    return found
