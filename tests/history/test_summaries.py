"""Summaries of metrics: equal to all that was saved, and nothing is read twice."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskperiment import Experiment
from daskperiment.backends import Backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.history import paths, summaries
from daskperiment.history.metrics import Metrics
from daskperiment.history.summaries import Summaries, Summary, stamp
from daskperiment.spark import Spark

UID = "0f" * 16
Points = list[tuple[int | None, float, float]]

values = st.floats() | st.integers(-(2**63) + 1, 2**63 - 1)
batches = st.lists(
    st.dictionaries(
        st.sampled_from(["loss", "acc", "lr"]),
        st.lists(
            st.tuples(st.none() | st.integers(-5, 5), values, st.just(0.0)), min_size=1, max_size=60
        ),
    ),
    max_size=8,
)


def expected(metrics: Metrics, uid: str = UID) -> str:
    """What a summary of all points is, as text, in which NaN is equal to itself."""
    found = {}
    for name, points in metrics.read(uid).items():
        numbers = [p.value for p in points if not math.isnan(p.value)]
        spark = Spark()
        spark.extend(p.value for p in points)
        low, high = (min(numbers), max(numbers)) if numbers else (None, None)
        last = points[-1]
        found[name] = Summary(len(points), last.epoch, last.value, low, high, spark.values())
    return repr(found)


@given(batches, st.lists(st.booleans(), max_size=8))
def test_a_summary_is_that_of_all_points_whenever_it_was_asked_for(
    saved: list[dict[str, Points]], asked: list[bool]
) -> None:
    backend = MemoryBackend()
    metrics, looks = Metrics(backend, "ex"), Summaries(backend, "ex")
    for batch, ask in zip(saved, [*asked, *[False] * 8], strict=False):
        backend.apply(metrics.writing(UID, batch))
        if ask:
            assert repr(looks.summary(UID)) == expected(metrics)

    assert repr(looks.summary(UID)) == expected(metrics)


@given(st.lists(st.floats(), max_size=500))
def test_a_spark_keeps_the_highest_and_the_lowest_value(series: list[float]) -> None:
    spark = Spark()
    spark.extend(series)
    shown = spark.values()
    finite = [value for value in series if math.isfinite(value)]

    assert len(shown) <= 40
    assert {v for v in shown if v is not None} <= set(finite)
    if finite:
        kept = [v for v in shown if v is not None]
        assert (min(kept), max(kept)) == (min(finite), max(finite))
    if len(series) <= 40:
        assert shown == [v if math.isfinite(v) else None for v in series]


class Counting(MemoryBackend):
    """Counts the entries that are read."""

    entries = 0

    def read(self, path: str, start: int = 0) -> list[Any]:
        found = super().read(path, start)
        self.entries += len(found)
        return found


def test_a_second_look_reads_only_what_is_new() -> None:
    backend = Counting()
    metrics, looks = Metrics(backend, "ex"), Summaries(backend, "ex")
    for i in range(10):
        backend.apply(metrics.writing(UID, {"loss": [(i, 1.0 / (i + 1), 0.0)]}))

    assert looks.summary(UID)["loss"].points == 10
    assert backend.entries == 10
    assert looks.summary(UID)["loss"].points == 10
    assert backend.entries == 10
    backend.apply(metrics.writing(UID, {"loss": [(None, 7, 0.0)]}))
    summary = looks.summary(UID)["loss"]
    assert (summary.points, summary.epoch, summary.last, summary.max) == (11, 10, 7, 7)
    assert backend.entries == 11


def trial(ex: Experiment) -> Any:
    """A trial with two metrics; both are in the first batch, and only one is in the last."""

    @ex.result
    def run() -> int:
        ex.log_metrics({"loss": 1.0, "acc": 0.5})
        return 1

    run().compute(scheduler="synchronous")
    return ex.latest


def row(ex: Experiment, number: int) -> Any:
    return ex.backend.get(paths.trials(ex.id), number)


@pytest.mark.parametrize(("part", "left"), [("metrics", set()), ("metrics.loss", {"acc"})])
def test_forgotten_metrics_vanish(ex: Experiment, part: str, left: set[str]) -> None:
    one = trial(ex)
    looks = Summaries(ex.backend, ex.id)
    assert set(looks.summary(one.uid, stamp(row(ex, 1)))) == {"loss", "acc"}

    one.forget(part)

    assert set(looks.summary(one.uid, stamp(row(ex, 1)))) == left
    assert set(looks.summary(one.uid, stamp(row(ex, 1)))) == left


def test_a_note_makes_nothing_be_read_again(ex: Experiment) -> None:
    one = trial(ex)
    before = stamp(row(ex, 1))

    one.note, one.tags = "good", ["a"]

    assert stamp(row(ex, 1)) == before


def test_only_so_many_trials_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "_MOST_TRIALS", 3)
    monkeypatch.setattr(summaries, "_MOST_SERIES", 6)
    backend = Counting()
    metrics, looks = Metrics(backend, "ex"), Summaries(backend, "ex")
    for uid in "abcde":
        backend.apply(metrics.writing(uid, {"loss": [(0, 1, 0.0)]}))
    wide = {f"m{i}": [(0, 1, 0.0)] for i in range(9)}
    backend.apply(metrics.writing("wide", wide))  # type: ignore[arg-type]

    for uid in "abcdeb":
        looks.summary(uid)
    assert backend.entries == 6  # the first b was dropped
    looks.summary("b")
    assert backend.entries == 6
    assert len(looks.summary("wide")) == 9
    assert not looks._known
    assert looks._series == 0


def test_many_threads_see_every_point_once(backend: Backend) -> None:
    metrics, looks = Metrics(backend, "ex"), Summaries(backend, "ex")
    seen: list[list[int]] = [[] for _ in range(8)]
    done = threading.Event()

    def look(counts: list[int]) -> None:
        while not done.is_set():
            counts.append(looks.summary(UID)["loss"].points if looks.summary(UID) else 0)

    threads = [threading.Thread(target=look, args=(counts,)) for counts in seen]
    for thread in threads:
        thread.start()
    for i in range(50):
        backend.apply(metrics.writing(UID, {"loss": [(None, i, 0.0)]}))
    done.set()
    for thread in threads:
        thread.join()

    assert all(counts == sorted(counts) for counts in seen)
    assert repr(looks.summary(UID)) == expected(metrics)


@pytest.mark.parametrize(
    "junk",
    [None, 7, "x", [], {"a": 1}, {"a": []}, {"a": [[0]]}, {"a": ["xy", [1]]}, {"a": [[0], None]},
     {"a": [[0, "x", 1.5], [None, 2, 3]]}, {"a": [[0], ["text"]]}, {"a": [[0], [True]]}],
    ids=repr,
)  # fmt: skip
def test_what_others_wrote_into_the_log_hides_nothing_else(junk: Any) -> None:
    backend = MemoryBackend()
    metrics, looks = Metrics(backend, "ex"), Summaries(backend, "ex")
    backend.append(paths.metrics("ex", UID), [junk])
    backend.apply(metrics.writing(UID, {"loss": [(0, 1, 0.0)]}))

    assert looks.summary(UID)["loss"].points == 1
    assert "a" not in looks.summary(UID)


def test_what_is_saved_behind_the_end_is_seen_a_while_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = MemoryBackend()
    reader = Summaries(backend, "example")
    log = paths.metrics("example", UID)

    def points(ended: bool, stamp: str | None = None) -> int:
        return reader.summary(UID, stamp, ended)["loss"].points

    seen = []
    for look in ({"ended": False}, {"ended": True}, {"ended": True}, {"ended": False}):
        backend.append(log, [{"loss": [[None], [1.0], [0.0]]}])
        seen.append(points(**look))
    assert seen == [1, 2, 2, 4]

    backend.append(log, [{"loss": [[None], [1.0], [0.0]]}])
    assert points(ended=True) == 5
    backend.append(log, [{"loss": [[None], [1.0], [0.0]]}])
    assert (points(ended=True), points(ended=True, stamp="forgotten since")) == (5, 6)
    backend.append(log, [{"loss": [[None], [1.0], [0.0]]}])
    monkeypatch.setattr(summaries.time, "monotonic", lambda: 1e12)
    assert points(ended=True, stamp="forgotten since") == 7
