"""Curves are those of the whole log, though each point is read once."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from daskperiment.backends import Clear
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard.series import Curves
from daskperiment.history import paths
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
    curves, revision = Curves(backend), 0
    for _ in range(12):
        if draw.random() < 0.2:  # as forgetting does
            backend.apply(Clear(LOG))
            entries.clear()
            revision += 1
        names = draw.sample(["loss", "accuracy"], draw.choice([1, 2]))
        entry = {name: columns(draw, draw.choice([1, 2, 30, 100])) for name in names}
        backend.append(LOG, [entry])
        entries.append(entry)

        drawn = curves.read("example", {"uid": "uid", "revision": str(revision)})

        whole = series_of(entries)
        assert drawn.keys() == whole.keys()
        for name, points in whole.items():
            expected = zip(*sorted(points, key=lambda point: point.epoch), strict=True)
            for column, values in zip(drawn[name], expected, strict=True):
                np.testing.assert_array_equal(column, values)


def test_a_second_look_reads_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, asked = MemoryBackend(), []
    read = backend.read

    def watched(path: str, start: int = 0) -> list[Any]:
        asked.append(start)
        return read(path, start)

    monkeypatch.setattr(backend, "read", watched)
    curves = Curves(backend)
    for number in range(3):
        backend.append(LOG, [{"loss": [[number], [0.5], [0.0]]}])
        assert len(curves.read("example", {"uid": "uid"})["loss"]) == number + 1

    assert asked == [0, 1, 2]
