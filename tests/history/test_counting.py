"""Trials are counted once, and as they are now all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daskperiment import Experiment
from daskperiment.backends import Backend, Insert, Remove
from daskperiment.backends.memory import MemoryBackend
from daskperiment.backends.reading import ReadOnlyBackend
from daskperiment.history import paths
from daskperiment.history.trials import Trials


class Watched(ReadOnlyBackend):
    """A backend that counts the rows that are read of it."""

    rows = 0

    def find(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Iterate over documents."""
        for found in super().find(*args, **kwargs):
            self.rows += 1
            yield found


def run(ex: Experiment, times: int) -> None:
    s = ex.result(lambda a: a, name="same")(ex.parameter("a", default=1))
    for _ in range(times):
        s.compute(scheduler="synchronous")


def filled(times: int) -> tuple[Experiment, Watched, Trials]:
    ex = Experiment("example", backend=MemoryBackend())
    run(ex, times)
    watched = Watched(ex.backend)
    return ex, watched, Trials(watched, "example")


def test_only_trials_that_came_since_are_counted_again() -> None:
    ex, watched, trials = filled(20)
    assert trials.count() == 20

    run(ex, 3)
    watched.rows = 0

    assert (trials.count(), watched.rows) == (23, 4)


def test_removed_trials_do_not_count_until_they_are_restored() -> None:
    ex, _, trials = filled(6)
    counts = [trials.count()]
    for change in (ex[2].remove, ex[5].remove, lambda: ex.restore(2), ex.gc, lambda: run(ex, 1)):
        change()
        counts.append(trials.count())

    assert counts == [6, 5, 4, 5, 5, 6]


def test_another_experiment_of_the_same_name_is_counted_anew() -> None:
    ex, _, trials = filled(6)
    ex[2].remove()
    assert trials.count() == 5

    ex.backend.drop(paths.experiment("example"))
    assert trials.count() == 0
    ex.backend.apply(*[Insert(paths.trials("example"), {"uid": f"u{n}"}) for n in range(6)])
    ex.backend.apply(Remove(paths.trials("example"), 3))

    assert trials.count() == 5


def test_the_next_trial_is_found_without_reading_all_of_them() -> None:
    ex, watched, trials = filled(40)
    for number in range(12, 20):
        ex[number].remove()

    assert trials.neighbours(11) == (10, 20)
    assert trials.neighbours(1) == (None, 2)
    assert trials.neighbours(40) == (39, None)
    assert watched.rows < 40


def test_keys_that_are_no_numbers_are_counted_too() -> None:
    backend: Backend = MemoryBackend()
    trials = Trials(backend, "example")
    backend.apply(Insert(paths.trials("example"), {}, "text"), Insert(paths.trials("example"), {}))

    assert trials.count() == trials.count() == 2
    backend.apply(Insert(paths.trials("example"), {}))
    assert trials.count() == 3
