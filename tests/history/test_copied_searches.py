"""Searches come along with their trials, once, and go on where they have arrived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, copy_trials
from daskperiment.backends import Backend, Insert, open_backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.cli.main import run
from daskperiment.errors import BackendError
from daskperiment.history import paths
from daskperiment.search import Float


def halves(backend: Any, name: str = "example") -> tuple[Experiment, Any]:
    ex = Experiment(name, backend=backend, seed=1)

    @ex.result
    def half(x: float) -> float:
        return x / 2

    return ex, half(ex.parameter("x"))


def search(backend: Any, n_trials: int = 4, **options: Any) -> Any:
    ex, s = halves(backend)
    given = {"sampler": "random", "progress": False, **options}
    return ex.search(s, {"x": Float(0, 1)}, n_trials, **given)


@pytest.fixture
def other(tmp_path: Path) -> Backend:
    return open_backend(tmp_path / "other")


def test_a_copied_search_reads_as_the_original_does(every_backend: Backend, other: Backend) -> None:
    original = search(every_backend, name="rates", enqueue=[{"x": 0.25}], description="what for")

    copy_trials(every_backend, other)

    copied = Experiment("example", backend=other).get_search("rates")
    assert copied.history().equals(original.history())
    assert copied.document() == original.document()
    assert (copied.uid, copied.seed, copied.space, copied.sampler, copied.description) == (
        original.uid, original.seed, original.space, original.sampler, "what for",
    )  # fmt: skip
    assert copied.best.parameters == original.best.parameters


def test_a_search_goes_on_in_the_copy_with_its_queue(backend: Backend, other: Backend) -> None:
    expected = search("memory://", 9, deterministic=True, enqueue=[{"x": 0.25}])
    search(backend, 4, deterministic=True, enqueue=[{"x": 0.25}])
    copy_trials(backend, other)

    found = search(other, 9, deterministic=True, resume=True)

    columns = ["x", "result", "Seed"]
    assert found.history()[columns].equals(expected.history()[columns])
    assert len(Experiment("example", backend=other).searches) == 1


def test_a_repeated_copy_adds_nothing_but_what_is_new(backend: Backend, other: Backend) -> None:
    found = search(backend, name="rates")
    copy_trials(backend, other)
    before = list(other.find(paths.searches("example")))
    copy_trials(backend, other)

    assert list(other.find(paths.searches("example"))) == before
    assert list(other.read(paths.queue("example", found.uid))) == []
    found.enqueue({"x": 0.5})
    for _ in range(2):
        copy_trials(backend, other)
        assert list(other.read(paths.queue("example", found.uid))) == [{"parameters": {"x": 0.5}}]


def test_another_search_of_the_name_stays_as_it_is(backend: Backend, other: Backend) -> None:
    there = [search(other, 2, name="rates", seed=3), search(other, 2, name="rates-2", seed=4)]
    copied = search(backend, 3, name="rates", seed=5)

    for _ in range(2):
        copy_trials(backend, other)

    ex = Experiment("example", backend=other)
    assert {each.name: each.uid for each in ex.searches} == {
        "rates": there[0].uid, "rates-2": there[1].uid, "rates-3": copied.uid,
    }  # fmt: skip
    assert len(ex.get_search("rates-3").trials) == 3
    assert len(ex.get_search("rates").trials) == 2


def test_only_searches_of_copied_trials_come_along(backend: Backend, other: Backend) -> None:
    first, second = search(backend, 2, name="first"), search(backend, 2, name="second")

    copy_trials(backend, other, "example", trials=[second.trials[0].number])

    ex = Experiment("example", backend=other)
    assert [each.name for each in ex.searches] == ["second"]
    assert len(ex.get_search().trials) == 1
    assert first.uid not in str(list(other.find(paths.searches("example"))))


def test_a_copy_of_before_gets_the_searches_that_it_lacks(backend: Backend, other: Backend) -> None:
    from daskperiment.backends import Remove

    search(backend, name="rates")
    copy_trials(backend, other)
    other.apply(Remove(paths.searches("example"), "rates"))

    copy_trials(backend, other)

    assert [each.name for each in Experiment("example", backend=other).searches] == ["rates"]


class Dying(MemoryBackend):
    """Fails at the n-th group of writes."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def apply(self, *writes: Any) -> list[Any]:
        self.left -= 1
        if self.left == 0:
            raise BackendError("gone")
        return super().apply(*writes)


def test_a_copy_that_fails_anywhere_is_completed_by_the_next_one(backend: Backend) -> None:
    found, at, complete = search(backend, 2, enqueue=[{"x": 0.25}]), 0, False
    while not complete:
        at += 1
        target = Dying(at)
        try:
            copy_trials(backend, target)
            complete = True
        except BackendError:
            copy_trials(backend, target)
        copied = Experiment("example", backend=target).get_search()
        assert copied.history().equals(found.history())
        assert len(target.read(paths.queue("example", found.uid))) == 1
    assert at > 3


def test_what_is_no_search_stays_where_it_is(backend: Backend, other: Backend) -> None:
    found = search(backend, 2, name="rates")
    backend.apply(Insert(paths.searches("example"), {"uid": found.uid, "space": 3}, "worse"))

    copy_trials(backend, other)

    assert [key for key, _ in other.find(paths.searches("example"))] == ["rates"]


def test_the_command_copies_searches(tmp_path: Path) -> None:
    search(tmp_path / "here", name="rates")

    assert run(["copy", str(tmp_path / "here"), str(tmp_path / "there")]) == 0

    copied = Experiment("example", backend=tmp_path / "there").get_search("rates")
    assert len(copied.trials) == 4
