"""Curves and metrics in short are those of the whole log, though each point is read once."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from daskperiment.backends import Clear
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard.series import Curves
from daskperiment.history import metric_summaries, paths
from daskperiment.history.metric_summaries import Summaries
from daskperiment.history.metrics import series_of

LOG = paths.metrics("example", "uid")


def columns(draw: random.Random, number: int) -> list[list[Any]]:
    """Points: epochs in any order, counted ones among them, and values that may be NaN."""
    return [
        [draw.choice([None, None, n, draw.randrange(100)]) for n in range(number)],
        [draw.choice([float("nan"), draw.random()]) for _ in range(number)],
        [draw.random() for _ in range(number)],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_log_that_grows_is_read_as_one_that_is_read_at_once(seed: int) -> None:
    draw, backend, entries = random.Random(seed), MemoryBackend(), list[Any]()
    curves, summaries = Curves(backend), Summaries(backend, "example")
    for _ in range(12):
        if draw.random() < 0.1:
            backend.apply(Clear(LOG))
            entries.clear()
        names = draw.sample(["loss", "accuracy"], draw.choice([1, 2]))
        entry = {name: columns(draw, draw.choice([1, 2, 30, 100])) for name in names}
        backend.append(LOG, [entry])
        entries.append(entry)

        drawn, short, whole = (
            curves.read("example", "uid"),
            summaries.summary("uid"),
            series_of(entries),
        )

        assert drawn.keys() == short.keys() == whole.keys()
        for name, points in whole.items():
            expected = zip(*sorted(points, key=lambda point: point.epoch), strict=True)
            for column, values in zip(drawn[name], expected, strict=True):
                np.testing.assert_array_equal(column, values)
            values = [point.value for point in points]
            known = [value for value in values if value == value]
            found = short[name]
            assert (found.points, found.epoch) == (len(points), points[-1].epoch)
            assert (found.min, found.max) == (min(known, default=None), max(known, default=None))
            assert repr(found.last) == repr(values[-1])
            assert repr(found.spark) == repr(values[:: found.step])
            assert min(20, len(points)) <= len(found.spark) <= 40


def test_what_comes_after_the_end_of_a_trial_is_seen_a_while_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = MemoryBackend()
    summaries = Summaries(backend, "example")

    def points(ended: bool) -> int:
        return summaries.summary("uid", ended)["loss"].points

    backend.append(LOG, [{"loss": [[0], [1.0], [0.0]]}])
    assert points(ended=False) == 1
    backend.append(LOG, [{"loss": [[1], [1.0], [0.0]]}])
    assert points(ended=True) == 2
    backend.append(LOG, [{"loss": [[2], [1.0], [0.0]]}])
    assert points(ended=True) == 2

    monkeypatch.setattr(metric_summaries.time, "monotonic", lambda: 1e12)
    assert points(ended=True) == 3
