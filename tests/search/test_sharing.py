"""Several processes run one search: each place is run once, whoever stops, stays or dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.backends import Update
from daskperiment.errors import BackendUnreachableError, StoreFullError
from daskperiment.history import paths, ranking
from daskperiment.history.batches import Batches
from daskperiment.history.claims import Claims
from daskperiment.history.searches import SearchRows
from daskperiment.search import Float, Search, loop
from daskperiment.tracking import environment

SCRIPT = """
import json, os, pathlib, sys, time
import daskperiment
from daskperiment.search import Float

ex = daskperiment.Experiment("shared", backend=sys.argv[1])
options = json.loads(sys.argv[2])
interrupted = options.pop("interrupted", -1)
pause = options.pop("pause", 0)
meeting = options.pop("meeting", None)

def meet():
    folder = pathlib.Path(meeting)
    (folder / f"here-{os.getpid()}").touch()
    while len(list(folder.glob("here-*"))) < 2:
        time.sleep(0.01)

@ex.result
def double(x):
    if meeting:
        meet()
    until = time.monotonic() + pause
    while time.monotonic() < until:  # in which an interrupt may come
        time.sleep(0.001)
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
from daskperiment.history.batches import Batches
from daskperiment.history.claims import Claims
from daskperiment.history.searches import SearchRows
from daskperiment.tracking import environment

ex = Experiment("shared", backend=sys.argv[1])
claims = Claims(ex.backend, ex.id, ex.get_search("s").uid, "held", environment.process())
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
        "meeting": str(tmp_path),
    }
    store = tmp_path / "store"
    with another(store, **options) as one, another(store, **options) as other:
        until_over(one)
        until_over(other)

    ex = Experiment("shared", backend=str(store))
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


def test_an_attempt_that_another_process_has_repeated_is_not_repeated(tmp_path: Path) -> None:
    options = {"sampler": "random", "n_trials": 6}
    with another(tmp_path, pause=60, **options) as dying:
        while not Experiment("shared", backend=str(tmp_path)).trials:
            assert dying.poll() is None
        count = iter(range(100))

        def meanwhile() -> None:
            if next(count) == 0:  # it has passed the first place, and looks again when this is over
                dying.kill()
                dying.wait()
                with another(tmp_path, **options) as third:
                    until_over(third)

        search(tmp_path, 6, meanwhile)

    ex = Experiment("shared", backend=str(tmp_path))
    assert complete(ex) == list(range(6))


def test_what_another_process_had_run_when_it_died_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SHARE", 1e-6)  # it looks no more by itself
    count = iter(range(100))

    def meanwhile() -> None:
        if next(count) == 0:
            with another(tmp_path, sampler="random", n_trials=6) as dying:
                until_over(dying)

    search(tmp_path, 6, meanwhile)

    assert complete(Experiment("shared", backend=str(tmp_path))) == list(range(6))


def test_what_is_interrupted_while_others_run_is_repeated_by_them(tmp_path: Path) -> None:
    with another(tmp_path, sampler="random", n_trials=20, pause=60) as first:
        while not Experiment("shared", backend=str(tmp_path)).trials:
            assert first.poll() is None
        count = iter(range(100))

        def meanwhile() -> None:
            if next(count) == 3:
                first.send_signal(signal.SIGINT)
                until_over(first)

        found = search(tmp_path, 20, meanwhile)

    assert list(found.history()["x"]) == expected()
    assert complete(Experiment("shared", backend=str(tmp_path))) == list(range(20))


def complete(ex: Experiment) -> list[int]:
    """The places that were run to their end."""
    return sorted(trial._row["place"] for trial in ex.trials if trial.state == "COMPLETE")


# -- beside a process that holds places, and runs nothing


@dataclass
class Holder:
    """A batch of another process, on another machine, that has taken places."""

    batches: Batches

    def end(self) -> None:
        """Let it end."""
        self.batches.update("held", {"state": "CANCELLED"})


def holder(ex: Experiment, found: Search, *places: int, queue: Sequence[int] = ()) -> Holder:
    elsewhere = {**environment.process(), "host": "elsewhere"}
    batches = Batches(ex.backend, ex.id)
    batches.begin("held", {"state": "RUNNING", "started": 1.0, "owner": elsewhere})
    claims = Claims(ex.backend, ex.id, found.uid, "held", elsewhere)
    if queue:
        ((place, position),) = zip(places, queue, strict=True)
        assert claims.take_all([str(place), f"queue-{position}"], queued=position)
    else:
        assert claims.take_all(map(str, places))
    return Holder(batches)


def grid(ex: Experiment, n_trials: int | None = None, **options: Any) -> Search:
    """A search of six configurations."""

    @ex.result
    def same(x: int) -> int:
        return x

    return ex.search(
        same(ex.parameter("x")), {"x": range(6)}, n_trials, sampler="grid", seed=1, name="s",
        resume=True, progress=False, **options,
    )  # fmt: skip


def test_what_is_left_to_a_grid_stays_of_the_grid(
    memory_ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    held = holder(memory_ex, grid(memory_ex, 1), 2, 3)
    with caplog.at_level("INFO", "daskperiment"):
        assert list(grid(memory_ex).history()["x"]) == [0, 1, 4, 5]
    assert "2 trials of the search are left to other processes" in caplog.text
    held.end()
    memory_ex.get_search("s").enqueue({"x": 0})

    assert list(grid(memory_ex).history()["x"]) == [0, 1, 2, 3, 4, 5, 0]


def test_what_is_repeated_leaves_the_queue_as_it_is(memory_ex: Experiment) -> None:
    found = grid(memory_ex)
    number = found.trials[2].number
    memory_ex.backend.apply(Update(paths.trials(memory_ex.id), number, {"state": "CANCELLED"}))
    memory_ex.backend.drop(paths.claims(memory_ex.id))  # as in a copy of the store
    found.enqueue({"x": 4})

    assert list(grid(memory_ex).history()["x"]) == [0, 1, 2, 3, 4, 5, 4]


def test_what_is_left_during_the_last_trial_is_run(tmp_path: Path) -> None:
    found = search(tmp_path, 1)
    ex = Experiment("shared", backend=str(tmp_path))
    held, count = holder(ex, found, *range(5, 9)), iter(range(100))

    def meanwhile() -> None:
        if next(count) == 14:
            held.end()

    assert list(search(tmp_path, 20, meanwhile).history()["x"]) == expected()


def test_an_attempt_is_not_repeated_while_its_process_may_do_so(memory_ex: Experiment) -> None:
    held = holder(memory_ex, grid(memory_ex, 1), 2)
    last = grid(memory_ex).trials[-1]
    crashed = {"state": "CRASHED", "place": 2}
    memory_ex.backend.apply(Update(paths.trials(memory_ex.id), last.number, crashed))

    grid(memory_ex)
    assert complete(memory_ex) == [0, 1, 3, 4, 5]
    held.end()
    grid(memory_ex)
    assert complete(memory_ex) == list(range(6))
    (again,) = [trial for trial in memory_ex.trials if trial.retry_of is not None]
    assert again.retry_of is not None and again.retry_of.number == last.number


def test_a_process_takes_no_more_ahead_than_its_trials_are_short(memory_ex: Experiment) -> None:
    together, taken = threading.Barrier(4), []

    @memory_ex.result
    def waited(x: int) -> int:
        together.wait(30)
        taken.append(len(list(memory_ex.backend.find(paths.claims(memory_ex.id)))))
        together.wait(30)
        return x

    memory_ex.search(
        waited(memory_ex.parameter("x")), {"x": range(8)}, sampler="grid", max_workers=4
    )
    assert taken[:4] == [4] * 4


@pytest.mark.parametrize("queued", [False, True])
def test_a_server_that_is_away_for_a_moment_moves_no_place(
    queued: bool, memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = grid(memory_ex, 1)
    held = holder(memory_ex, found, 2, queue=[0] if queued else [])
    if queued:
        found.enqueue({"x": 0})
    get, away = Claims.get, iter([True])

    def reading(claims: Claims, what: str) -> Any:
        if what == "2" and next(away, False):
            raise BackendUnreachableError("it is away")
        return get(claims, what)

    monkeypatch.setattr(Claims, "get", reading)
    rest = [2, 3, 4, 5] if queued else [3, 4, 5]
    assert list(grid(memory_ex).history()["x"]) == [0, 1, *rest]
    held.end()
    assert list(grid(memory_ex).history()["x"]) == ([0, 1, 0, *rest] if queued else [*range(6)])


def test_a_batch_whose_beginning_was_not_kept_has_an_end(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(batches: Batches, uid: str, document: Any) -> None:
        raise StoreFullError("there is no space")

    monkeypatch.setattr(Batches, "begin", full)
    assert grid(memory_ex).state == "COMPLETE"
    (batch,) = Batches(memory_ex.backend, memory_ex.id).find()
    assert batch[1]["done"] == 6


def test_a_batch_whose_end_was_not_kept_keeps_nothing(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(batches: Batches, uid: str, changes: Any) -> None:
        raise StoreFullError("there is no space")

    with monkeypatch.context() as patched:
        patched.setattr(Batches, "update", full)
        number = grid(memory_ex).trials[2].number
    memory_ex.backend.apply(Update(paths.trials(memory_ex.id), number, {"state": "CANCELLED"}))

    assert complete(memory_ex) == [0, 1, 3, 4, 5]
    grid(memory_ex)
    assert complete(memory_ex) == list(range(6))


def test_what_could_not_be_read_is_read_at_the_next_look(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = grid(memory_ex)
    rows = SearchRows(found._trials, found.uid, (None,))

    def away(*arguments: Any) -> float:
        raise BackendUnreachableError("it is away")

    with monkeypatch.context() as patched, pytest.raises(BackendUnreachableError):
        patched.setattr(ranking, "score", away)
        list(rows.look())

    assert sorted(tried.place for tried in rows.look()) == list(range(6))


def test_an_interrupt_while_places_are_taken_keeps_none(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_all, count = Claims.take_all, iter(range(100))

    def interrupted(claims: Claims, several: Any, **said: Any) -> bool:
        taken = take_all(claims, several, **said)
        if next(count) == 1:
            raise KeyboardInterrupt
        return taken

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Claims, "take_all", interrupted)
        grid(memory_ex, max_workers=1, executor="threads")
    assert list(grid(memory_ex).history()["x"]) == list(range(6))


def test_threads_of_one_process_share_a_search(memory_ex: Experiment) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: grid(memory_ex, max_workers=1, executor="threads"), range(2)))

    assert complete(memory_ex) == list(range(6))
