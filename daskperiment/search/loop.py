"""The loop of a search: which trial comes next, and when there are no more.

It runs nothing and knows no graph.  Whoever runs the trials asks :meth:`Loop.take` for the next one
and tells :meth:`Loop.tell` how it has ended.
"""

from __future__ import annotations

import logging
import math
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from daskperiment.errors import SamplerError, SearchError, SearchSpaceError
from daskperiment.history.claims import Claims
from daskperiment.history.searches import QUEUED, Searches, SearchRows, Tried
from daskperiment.history.spooling import AWAY, is_away
from daskperiment.records import TrialState
from daskperiment.search.objective import Objective
from daskperiment.search.places import Places
from daskperiment.search.queue import Queue
from daskperiment.search.rules import Rules, Watch
from daskperiment.search.samplers import Sampler, Samples
from daskperiment.search.space import Configuration, SearchSpace
from daskperiment.search.trials import SearchTrial, SearchTrials
from daskperiment.search.values import canonical, plain
from daskperiment.serializers import preview
from daskperiment.tracking import seeds

logger = logging.getLogger(__name__)

_SHARE = 0.01
"""The part of its time that a search may spend with looking for what other processes do."""


@dataclass(frozen=True)
class Terms:
    """What a search is.

    Parameters
    ----------
    uid : str
        What the rows of its trials call it.
    space : SearchSpace
        Where it searches.
    objective : Objective
        What it compares by.
    sampler : Samples
        Who suggests.
    seed : int
        From what all chance follows.
    n_trials : int, optional
        How many trials it has in the end.
    batch_size : int, optional
        How many are begun before all of them are waited for; default none is waited for.
    window : int, optional
        How many are suggested without knowing of each other; None where that depends on how long
        trials take.  A search that has one is the same on any number of workers.
    rules : Rules
        When it ends before.
    """

    uid: str
    space: SearchSpace
    objective: Objective
    sampler: Samples
    seed: int
    n_trials: int | None = None
    batch_size: int | None = None
    window: int | None = None
    rules: Rules = field(default_factory=Rules)

    def known(self, place: int) -> int | None:
        """Of how many of the first places a suggestion knows; None for whatever is there.

        Examples
        --------
        >>> space, objective = SearchSpace({"a": [1]}), Objective((), None)
        >>> terms = Terms("", space, objective, None, 0, window=3)
        >>> [terms.known(place) for place in range(6)]
        [0, 0, 0, 1, 2, 3]
        """
        if self.window is None:
            return None
        if self.batch_size is not None:
            return self.batch_size * (place // self.batch_size)
        return max(0, place - self.window + 1)


class Suggestion(NamedTuple):
    """The next trial.

    Parameters
    ----------
    place : int
        Its place.
    parameters : dict
        Its configuration.
    seed : int
        Its seed.
    before : str or None
        Uid of the attempt that was interrupted, and is repeated.
    queued : int or None
        Position in the queue that it has come from.
    """

    place: int
    parameters: Configuration
    seed: int
    before: str | None = None
    queued: int | None = None


class Course:
    """What a sampler was told and has suggested so far.

    Parameters
    ----------
    terms : Terms
        The search.
    warm : sequence of SearchTrial
        Trials that it begins from.
    resumed : int
        How many trials were there before, where what the sampler has learned is not repeated.

    Raises
    ------
    SamplerError
        The sampler cannot search like that.
    """

    def __init__(self, terms: Terms, warm: Sequence[SearchTrial] = (), resumed: int = 0) -> None:
        self.terms = terms
        self.trials = SearchTrials(warm)
        self.sampler = terms.sampler
        self.learns = isinstance(self.sampler, Sampler) and self.sampler.learns
        self._queued: list[int] = []
        if isinstance(self.sampler, Sampler):
            seed = seeds.derive(terms.seed, "resumed", resumed) if resumed else terms.seed
            self.sampler = self.sampler.begun(terms.space, seed, len(terms.objective.sought))

    def suggest(self, place: int) -> Configuration:
        """What the sampler suggests for a place; SamplerError where that is no configuration."""
        import numpy as np

        self.trials.suggested = place - bisect_left(self._queued, place)
        rng = np.random.default_rng(seeds.derive(self.terms.seed, "sampler", place))
        suggested = self.sampler.sample(self.terms.space, self.trials, rng)
        try:
            self.terms.space.check(suggested)
        except SearchSpaceError as error:
            raise SamplerError(
                f"The sampler has suggested {preview(suggested, 200)}, which is no configuration "
                f"of the space: {error}"
            ) from None
        return dict(suggested)

    def begin(self, suggestion: Suggestion) -> None:
        """Let it know what begins."""
        self.leave_out(suggestion.place, suggestion.queued is not None)
        self.trials.begin(SearchTrial(suggestion.place, suggestion.parameters))

    def leave_out(self, place: int, queued: bool) -> None:
        """Leave a place out of its suggestions if what is tried there is from the queue."""
        if queued and place not in self._queued:
            insort(self._queued, place)

    def parameters(self, tried: Tried) -> Configuration:
        """The configuration of a trial that was there."""
        found = self.terms.space.within(tried.parameters)
        return dict(tried.parameters) if found is None else found

    def seen(self, tried: Tried, parameters: Mapping[str, Any] | None = None) -> SearchTrial:
        """A trial as samplers see it."""
        objective = self.terms.objective
        losses = objective.losses(tried.values) if tried.state is TrialState.COMPLETE else None
        loss = objective.sought[0].loss
        reports = {epoch: loss(value) for epoch, value in tried.reports.items()}
        given = self.parameters(tried) if parameters is None else parameters
        return SearchTrial(tried.place, given, tried.state, losses, reports)


def differing(terms: Terms, tried: Sequence[Tried], warm: Sequence[SearchTrial]) -> list[int]:
    """The places of a deterministic search for which its sampler suggests something else now."""
    course, found = Course(terms, warm), []
    by_place = {each.place: each for each in tried}
    told = 0
    for place in sorted(by_place):
        for known in range(told, min(terms.known(place) or 0, place)):
            if known in by_place:
                course.trials.end(course.seen(by_place[known]))
            told = known + 1
        one = by_place[place]
        parameters, queued = course.parameters(one), one.row.get(QUEUED)
        if queued is None and not _same(course.suggest(place), parameters):
            found.append(place)
        course.begin(Suggestion(place, parameters, 0, queued=queued))
    return found


def is_queued(tried: Tried) -> bool:
    """Whether its configuration has come from the queue."""
    return tried.row.get(QUEUED) is not None


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return canonical(plain(one)) == canonical(plain(other))


class Loop:
    """A search that goes on.

    Parameters
    ----------
    terms : Terms
        What it is.
    searches : Searches
        The searches of its experiment.
    rows : SearchRows
        What the store has of its trials.
    claims : Claims
        What is taken of its places and of its queue, as others may run it, too.
    warm : sequence of SearchTrial
        Trials that it begins from.

    Raises
    ------
    SearchError
        It is deterministic, and another process runs it.
    SamplerError
        The sampler cannot search like that.
    """

    def __init__(
        self,
        terms: Terms,
        searches: Searches,
        rows: SearchRows,
        claims: Claims,
        warm: Sequence[SearchTrial] = (),
    ) -> None:
        self.terms = terms
        self._searches = searches
        self._rows = rows
        self._queue = Queue(searches, terms.uid, terms.space)
        self._places = Places(claims, self._queue)
        self._watch = Watch(terms.rules, terms.objective)
        self._place = 0
        self._mine: dict[int, Suggestion] = {}
        self._own: set[int] = set()
        self._known: dict[int, Tried] = {}
        self._ended: dict[int, SearchTrial] = {}
        self._released = 0
        self._in_batch = 0
        self._left: deque[int] = deque()
        self._refused: set[int] = set()
        self._over: set[str] = set()
        self._differs = False
        self._due = 0.0
        found = list(rows.look())
        self._course = Course(terms, warm, 0 if terms.window is not None else len(found))
        self._load(found)
        self.limit = self._limit()

    # -- what whoever runs the trials asks

    @property
    def reason(self) -> str | None:
        """Why it has ended before all trials were there; None if it has not."""
        return self._watch.reason

    @property
    def there(self) -> list[Tried]:
        """The trials that were there before, or are of other processes, and have ended."""
        known = (tried for place, tried in self._known.items() if place not in self._own)
        return [each for each in known if each.state.ended and not each.interrupted]

    def take(self) -> Suggestion | None:
        """The next trial; None where none can begin, until one has ended or for good.

        Raises
        ------
        SamplerError
            There is nothing more to suggest, or what was is no configuration of the space.
        """
        shared = self.terms.window is None
        if shared:
            self._look()
        suggestion = self._first()
        if suggestion is None and shared and not self._mine:  # others may have left something
            self._look(at_once=True)
            suggestion = self._first()
            if suggestion is None and self._refused and self.reason is None:
                logger.info(
                    "%s trials of the search are left to other processes that run it; what these "
                    "leave, resume=True runs",
                    len(self._refused),
                )
        if suggestion is not None:
            self._course.begin(suggestion)
            self._mine[suggestion.place] = suggestion
            self._own.add(suggestion.place)
            self._in_batch += 1
        return suggestion

    def tell(
        self, place: int, number: int | None, state: TrialState, value: float | None = None
    ) -> None:
        """Take in how a trial has ended.

        Parameters
        ----------
        place : int
            Its place.
        number : int or None
            Its number, by which its values are read; None where the store does not have it now.
        state : TrialState
            How it has ended.
        value : float, optional
            Its result, where that is known and a number.
        """
        suggestion = self._mine.pop(place)
        if state is TrialState.CANCELLED:
            return  # a search that goes on repeats it
        self._places.ended()
        if number is not None:
            self._rows.pass_over(number)
        alone = self.terms.objective.names == (None,)
        if state is TrialState.COMPLETE and alone and value is not None:
            losses = self.terms.objective.losses((value,))
            ended = SearchTrial(place, suggestion.parameters, state, losses)
        else:
            ended = self._read(number, SearchTrial(place, suggestion.parameters, state))
        self._end(ended)

    # -- places

    def _first(self) -> Suggestion | None:
        while self.reason is None and (self._left or self._place < self.limit):
            if not self._may_begin():
                return None
            try:
                suggestion = self._next()
            except AWAY as error:  # not past a place of which is not known what is tried there
                logger.debug("Whose the next place is, is not known: %s", error)
                return None
            if suggestion is not None:
                return suggestion
        return None

    def _may_begin(self) -> bool:
        terms, known = self.terms, self.terms.known(self._place)
        if known is not None:
            self._release(known)
            return self._released >= known and self.reason is None
        if terms.batch_size is not None and self._in_batch >= terms.batch_size:
            if self._mine:
                return False
            self._in_batch = 0
        return True

    def _next(self) -> Suggestion | None:
        """What begins at the next place; None where that has begun before, or elsewhere."""
        if self._left:  # by another process, since this one has passed it
            found = self._free(self._left[0])
            self._left.popleft()
            return found
        found = (self._free if self.terms.window is None else self._in_order)(self._place)
        self._place += 1
        return found

    def _in_order(self, place: int) -> Suggestion | None:
        """What is tried at a place that no other process wants; None where that has ended."""
        known = self._known.get(place)
        if known is None:
            return self._new(place, self._queue.next)
        again = self._repeated(known)
        if known.interrupted:
            return again
        self._course.begin(again)
        return None

    def _free(self, place: int) -> Suggestion | None:
        """What this process tries at a place, which it takes; None where another one has it."""
        if place in self._own or self._has_begun(place):
            return None
        taken = self._places.take(place, self.limit, again=place in self._known)
        queued = taken.said.get(QUEUED)
        if not taken.mine:
            self._course.leave_out(place, queued is not None)
            self._refused.add(place)
            return None
        if taken.before is not None and taken.before not in self._over:
            self._look_now()  # after its end, so that this is all that it has run
            self._over.add(taken.before)
        if self._has_begun(place):
            return None
        known = self._known.get(place)
        return self._new(place, queued) if known is None else self._repeated(known)

    def _has_begun(self, place: int) -> bool:
        """Whether a place need not be run, as far as is known."""
        known = self._known.get(place)
        if known is None or known.interrupted:
            return False
        self._course.leave_out(place, is_queued(known))
        return True

    def _new(self, place: int, position: object) -> Suggestion:
        """What is tried at a place for the first time, from the queue or as it is suggested."""
        seed = seeds.derive(self.terms.seed, "trial", place)
        if isinstance(position, int):  # and not what others have written
            queued = self._queue.take(position)
            if queued is not None:
                return Suggestion(place, queued, seed, queued=position)
        return Suggestion(place, self._course.suggest(place), seed)

    def _repeated(self, known: Tried) -> Suggestion:
        """What was suggested before; samplers that learn are asked again, to learn the same."""
        parameters, queued = self._course.parameters(known), known.row.get(QUEUED)
        if queued is None and self.terms.window is not None and self._course.learns:
            anew = self._course.suggest(known.place)
            if not _same(anew, parameters) and not self._differs:
                self._differs = True
                logger.warning(
                    "The sampler does not suggest again what it has suggested as place %s, perhaps "
                    "as its library is another version: the search goes on from there",
                    known.place,
                )
        return Suggestion(known.place, parameters, int(known.row["seed"]), known.uid, queued)

    # -- what is known

    def _read(self, number: int | None, ended: SearchTrial) -> SearchTrial:
        """A trial that has ended with its values, as far as the store can be asked for them."""
        if number is None or is_away(self._searches.backend):
            return ended
        try:
            return self._course.seen(self._rows.read(number), ended.parameters)
        except AWAY as error:
            logger.debug("The values of trial %s are not known: %s", number, error)
            return ended

    def _end(self, ended: SearchTrial) -> None:
        if self.terms.window is not None:
            self._ended[ended.place] = ended
            return
        self._course.trials.end(ended)
        self._watch.tell(ended.losses)

    def _release(self, known: int) -> None:
        """Let the sampler know how the first places have ended, in their order."""
        while self._released < known and self.reason is None:
            ended = self._ended.get(self._released)
            if ended is None:
                return
            self._course.trials.end(ended)
            self._watch.tell(ended.losses)
            self._released += 1

    def _load(self, found: Iterable[Tried]) -> None:
        """What was there before this process."""
        for tried in found:
            self._known[tried.place] = tried  # of several attempts the last one counts
        for place in sorted(self._known):
            tried = self._known[place]
            if tried.interrupted:
                continue
            if not tried.state.ended and self.terms.window is not None:
                raise SearchError(
                    f"Trial {tried.number} of this search runs in another process, and a "
                    "deterministic search is run by one at a time: wait for it, or end it"
                )
            self._take_in(tried)
        self._queue.look({tried.row.get(QUEUED) for tried in self._known.values()})

    def _take_in(self, tried: Tried) -> None:
        seen = self._course.seen(tried)
        if tried.state.ended:
            self._end(seen)
        else:
            self._course.trials.begin(seen)

    def _look(self, at_once: bool = False) -> None:
        """What other processes have done meanwhile, and put into the queue."""
        begun = time.monotonic()
        if (begun < self._due and not at_once) or is_away(self._searches.backend):
            return
        try:
            self._look_now()
        except AWAY as error:
            logger.debug("What other processes do is not known: %s", error)
        ended = time.monotonic()
        self._due = ended + (ended - begun) / _SHARE

    def _look_now(self) -> None:
        for tried in self._rows.look():
            before = self._known.get(tried.place)
            self._known[tried.place] = tried
            same = before is not None and before.state is tried.state
            if same or tried.place in self._own:
                continue
            if not tried.interrupted:
                self._refused.discard(tried.place)
                self._take_in(tried)
            elif tried.place < self._place:
                self._left.append(tried.place)
        self._queue.look()
        self.limit = self._limit()
        if self._place >= self.limit:  # whoever has taken these may be gone
            self._left.extend(sorted(self._refused))
            self._refused.clear()

    def _limit(self) -> float:
        terms, limit = self.terms, math.inf
        if isinstance(self._course.sampler, Sampler):
            size = self._course.sampler.size(terms.space)
            limit = math.inf if size is None else size + len(self._queue)
        return limit if terms.n_trials is None else min(limit, terms.n_trials)
