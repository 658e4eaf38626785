"""Several processes run one search: each place is run once, whoever stops, stays or dies."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.search import Float, Search

SCRIPT = """
import json, sys, time
import daskperiment
from daskperiment.search import Float

ex = daskperiment.Experiment("shared", backend=sys.argv[1])
options = json.loads(sys.argv[2])
interrupted = options.pop("interrupted", -1)
pause = options.pop("pause", 0)

@ex.result
def double(x):
    time.sleep(pause)
    if ex.current_trial_id == interrupted:
        raise KeyboardInterrupt
    return 2 * x

space = options.pop("space", None) or {"x": Float(0, 1)}
try:
    ex.search(
        double(ex.parameter("x")), space, seed=1, name="s", resume=True, max_workers=1,
        progress=False, **options,
    )
except KeyboardInterrupt:
    pass
print("over", flush=True)
sys.stdin.read()
"""


@contextmanager
def begun(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that does something, and stays when that is over."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def another(store: Path, **options: Any) -> AbstractContextManager[subprocess.Popen[str]]:
    """A process that runs the search, too."""
    return begun(SCRIPT, str(store), json.dumps(options))


def until_over(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "over\n"


def search(store: Path, n_trials: int = 20, meanwhile: Any = None) -> Search:
    """The same search, by this process."""
    ex = Experiment("shared", backend=str(store))

    @ex.result
    def double(x: float) -> float:
        if meanwhile is not None:
            meanwhile()
        return 2 * x

    return ex.search(
        double(ex.parameter("x")), {"x": Float(0, 1)}, n_trials, sampler="random", seed=1,
        name="s", resume=True, max_workers=1, executor="threads", progress=False,
    )  # fmt: skip


def expected(n_trials: int = 20) -> list[float]:
    """Its parameters where one process runs it alone."""
    ex = Experiment("alone", backend="memory://")

    @ex.result
    def double(x: float) -> float:
        return 2 * x

    found = ex.search(double(ex.parameter("x")), {"x": Float(0, 1)}, n_trials, sampler="random",
                      seed=1, progress=False)  # fmt: skip
    return list(found.history()["x"])


pytestmark = pytest.mark.filterwarnings("ignore::daskperiment.errors.CodeChangedWarning")


def test_a_trial_that_was_interrupted_is_repeated_by_another_process(tmp_path: Path) -> None:
    with another(tmp_path, sampler="random", n_trials=20, interrupted=8) as first:
        until_over(first)
        found = search(tmp_path)

        assert first.poll() is None
    assert list(found.history()["x"]) == expected()
    assert set(found.history()["State"]) == {"COMPLETE"}


def test_what_a_process_has_not_begun_when_it_stops_is_left_to_others(tmp_path: Path) -> None:
    with another(tmp_path, sampler="random", n_trials=40, target=0.5) as first:
        until_over(first)
        assert 0 < len(Experiment("shared", backend=str(tmp_path)).get_search("s").trials) < 40
        found = search(tmp_path, 40)

        assert first.poll() is None
    assert list(found.history()["x"]) == expected(40)


HOLDER = """
import sys
from daskperiment import Experiment
from daskperiment.history.claims import Claims
from daskperiment.tracking import environment

ex = Experiment("shared", backend=sys.argv[1])
claims = Claims(ex.backend, ex.id, ex.get_search("s").uid, environment.process())
assert claims.take_all(map(str, range(5, 9)))
print("over", flush=True)
sys.stdin.read()
"""


def test_what_a_process_had_taken_when_it_died_is_run_by_one_that_runs(tmp_path: Path) -> None:
    search(tmp_path, 1)
    with begun(HOLDER, str(tmp_path)) as dying:
        until_over(dying)
        count = iter(range(1000))

        def meanwhile() -> None:
            if next(count) == 10:  # this search has passed the places that the other one holds
                dying.kill()
                dying.wait()

        found = search(tmp_path, 20, meanwhile)

    assert list(found.history()["x"]) == expected()
    assert found.trials[5].number > 15


def test_a_queue_is_run_once_and_so_is_the_grid_behind_it(tmp_path: Path) -> None:
    grid, queue = [i / 30 for i in range(30)], [0.5, 0.1, 0.5]
    options = {
        "sampler": "grid",
        "space": {"x": grid},
        "pause": 0.01,
        "enqueue": [{"x": x} for x in queue],
    }
    with another(tmp_path, **options) as one, another(tmp_path, **options) as other:
        until_over(one)
        until_over(other)

    ex = Experiment("shared", backend=str(tmp_path))
    assert sorted(ex.get_search("s").history()["x"]) == sorted(grid + queue)
    assert len({trial._row["owner"]["pid"] for trial in ex.trials}) == 2


TAKER = HOLDER.replace(
    "claims.take_all(map(str, range(5, 9)))", 'claims.take_all(["6", "queue-0"], queued=0)'
)


def test_what_a_process_had_taken_from_the_queue_when_it_died_is_tried(tmp_path: Path) -> None:
    search(tmp_path, 1).enqueue({"x": 0.75}, {"x": 0.25})
    with begun(TAKER, str(tmp_path)) as dying:
        until_over(dying)
        count = iter(range(1000))

        def meanwhile() -> None:
            if next(count) == 10:
                dying.kill()
                dying.wait()

        found = search(tmp_path, 20, meanwhile)

    wanted = expected()
    wanted[1], wanted[6] = 0.25, 0.75
    assert list(found.history()["x"]) == wanted
