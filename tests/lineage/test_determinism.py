"""What the output of a step depends on, found by calling it again with one thing varied."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskperiment import Experiment, OptionError, StepNotFoundError


def prepare(n: int) -> Any:
    return np.arange(n, dtype=float) + random.random()


def pure(rows: Any) -> float:
    return float(rows.sum())


def seeded(rows: Any) -> float:
    return float(rows.sum()) + random.random()


def by_hash(rows: Any) -> list[str]:
    return list({f"feature {n}" for n in range(len(rows))})


def by_threads(rows: Any) -> int:
    import threadpoolctl

    return sum(each["num_threads"] for each in threadpoolctl.threadpool_info())


def by_clock(rows: Any) -> int:
    return time.perf_counter_ns()


def by_process(rows: Any) -> bool:
    import multiprocessing.process

    return multiprocessing.process.parent_process() is not None


def in_system(rows: Any) -> bytes:
    return os.urandom(8)


@pytest.mark.parametrize(
    ("function", "depends_on"),
    [
        (pure, set()), (seeded, {"seed"}), (by_hash, {"hash seed"}), (by_threads, {"threads"}),
        (by_process, {"scheduler"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_what_a_step_depends_on_is_named_and_nothing_else(
    tmp_path: Path, function: Any, depends_on: set[str]
) -> None:
    if function is by_threads:
        pytest.importorskip("threadpoolctl")
    ex = Experiment("checked", backend=tmp_path / "store", seed=1)
    rows = ex(prepare)(ex.parameter("n", default=6))
    ex.result(lambda x: 0, name="last")(ex(function, name="step")(rows)).compute()

    found = ex.check_determinism("step", n=2)

    assert set(found.depends_on) == depends_on, str(found)
    assert bool(found) is (depends_on <= {"seed"})
    assert len(found.frame) == 2 + 2 + 2 + 2 + 2
    assert len(ex.trials) == 1


@pytest.mark.parametrize("function", [by_clock, in_system])
def test_a_step_that_changes_by_itself_says_so(tmp_path: Path, function: Any) -> None:
    ex = Experiment("checked", backend=tmp_path / "store", seed=1)
    ex.result(function, name="step")(ex.parameter("n", default=6)).compute()

    found = ex.check_determinism("step", n=2)

    assert "nothing" in found.depends_on
    assert "gives another output although nothing is varied" in str(found)


def test_a_step_that_nobody_has_called_is_told() -> None:
    ex = Experiment("checked", backend="memory://")

    with pytest.raises(StepNotFoundError, match="has called a step 'gone'"):
        ex.check_determinism("gone")
    with pytest.raises(OptionError, match="from 2 on"):
        ex.check_determinism("gone", n=1)
