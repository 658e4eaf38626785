"""Removing, restoring, collecting and forgetting trials: nothing stays, and nothing is lost."""

from __future__ import annotations

import importlib
import itertools
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import pytest

from daskperiment import (
    Experiment,
    FieldNotFoundError,
    TrialIDNotFoundError,
    TrialRunningError,
    ValueNotKeptError,
)
from daskperiment.backends import Backend
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.graph import layout_of
from daskperiment.history.doctor import examine
from daskperiment.history.experiments import experiments
from daskperiment.history.removal import Collected, collect_removed, drop_experiment
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.trials import Trials
from daskperiment.trial import Trial

numbers = itertools.count(1000)


def canary(size: int = 1) -> str:
    """A text that is in no source file, alone or repeated."""
    return f"canary-{next(numbers)}-" * size


def stored(backend: Backend) -> bytes:
    """All bytes that a store holds anywhere, its log included."""
    if isinstance(backend, LocalBackend):
        files = [file for file in backend._store.file.parent.rglob("*") if file.is_file()]
        return b"".join(file.read_bytes() for file in files if not file.name.endswith("-shm"))
    assert isinstance(backend, MemoryBackend)
    return repr((backend._documents, backend._logs, backend._payloads)).encode()


@pytest.fixture(autouse=True)
def _rows_that_can_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskperiment.backends.rows.SHORTEST", 2**60)


def problems(backend: Backend) -> list[str]:
    return [finding.what for finding in examine(backend, deep=True) if finding.level == "problem"]


def define(ex: Experiment, made: Callable[[Any], Any] = lambda a: a) -> Any:
    """A graph that leaves something in every part of a trial."""
    a = ex.parameter("a")

    @ex.persist
    def clean(a):
        return [a, "cleaned"]

    @ex.result
    def score(x, a):
        ex.log_metric("loss", 0.5)
        ex.log_metric("gain", 1.5)
        ex.save_artifact("notes.txt", f"artifact {a}")
        ex.save_artifact("model", {"artifact": a})
        return made(a)

    return score(clean(a), a)


def run(ex: Experiment, a: Any, made: Callable[[Any], Any] = lambda a: a) -> Trial:
    define(ex, made).compute(parameters={"a": a})
    return ex.latest


# removing and restoring


def test_a_removed_trial_is_seen_by_nobody_and_keeps_its_number(ex: Experiment) -> None:
    for a in (1, 5, 3):
        run(ex, a)

    ex[2].remove()

    assert list(ex.get_history().index) == [1, 3]
    assert [trial.number for trial in ex.trials] == [1, 3]
    assert len(ex.trials) == 2
    assert ex.best("maximize").number == 3
    assert ex.removed == [2]
    with pytest.raises(TrialIDNotFoundError):
        ex.load_metric("loss", [1, 2])
    ex[3].remove()
    assert ex.latest.number == 1
    assert ex.trial_id == 3
    assert run(ex, 7).number == 4


def test_a_limit_counts_what_is_seen(ex: Experiment) -> None:
    for a in range(6):
        run(ex, a)
    for number in (1, 2, 4):
        ex[number].remove()

    assert list(ex.get_history(limit=2).index) == [3, 5]
    assert [number for number, _ in ex._trials.find(newest=True, limit=3)] == [6, 5, 3]


def test_asking_for_a_removed_trial_says_how_to_restore_it(ex: Experiment) -> None:
    trial = run(ex, 1)
    trial.remove()

    for ask in (lambda: ex[1], lambda: trial.result, trial.remove):
        with pytest.raises(TrialIDNotFoundError, match=r"removed on .*restore\(1\)"):
            ask()
    with pytest.raises(TrialIDNotFoundError, match="no trial yet"):
        ex.latest


def test_a_restored_trial_is_whole(ex: Experiment) -> None:
    before = run(ex, 1)
    seen = before.result, before.metrics, before.code, before.persisted("clean"), before.uid
    before.remove()

    trial = ex.restore(1)

    assert (trial.result, trial.metrics, trial.code, trial.persisted("clean"), trial.uid) == seen
    assert ex.removed == []
    assert ex.restore(1) == trial
    with pytest.raises(TrialIDNotFoundError):
        ex.restore(2)


def test_a_running_trial_is_neither_removed_nor_changed(ex: Experiment) -> None:
    @ex.result
    def score():
        trial = ex[ex.current_trial_id]
        for change in (trial.remove, lambda: trial.forget("code")):
            with pytest.raises(TrialRunningError, match="wait for its end, or stop"):
                change()
        return 1

    assert score().compute() == 1
    assert ex.latest.code


# collecting


def test_collecting_leaves_only_the_number_of_a_removed_trial(ex: Experiment) -> None:
    kept, gone = canary(9000), canary(9000)
    run(ex, kept)
    trial = run(ex, gone)
    trial.note = note = canary()
    trial.remove()

    collected = ex.gc()

    assert (collected.trials, ex.removed) == (1, [])
    assert collected.payloads >= 3
    assert collected.bytes > 3 * len(gone)
    bytes_left = stored(ex.backend)
    assert gone[:20].encode() not in bytes_left
    assert note.encode() not in bytes_left
    assert ex[1].result == kept
    assert ex[1].persisted("clean") == [kept, "cleaned"]
    assert ex[1].artifacts["notes.txt"].read().decode() == f"artifact {kept}"
    assert ex[1].code
    assert ex.trial_id == 2
    for ask in (lambda: ex[2], lambda: ex.restore(2)):
        with pytest.raises(TrialIDNotFoundError, match="deleted since"):
            ask()
    row = ex.backend.get("experiment/example/trials", 2)
    assert row is not None
    assert set(row) == {"uid", "removed", "collected"}
    assert problems(ex.backend) == []
    assert ex.gc() == Collected(0, 0, 0)


def test_a_dry_run_counts_and_changes_nothing(ex: Experiment) -> None:
    run(ex, canary(9000)).remove()
    before = stored(ex.backend)

    counted = ex.gc(dry_run=True)

    assert stored(ex.backend) == before
    assert ex.restore(1).number == 1
    ex[1].remove()
    assert ex.gc() == counted


def test_content_that_any_experiment_refers_to_is_kept(backend: Backend) -> None:
    value = canary(9000)
    one, other = Experiment("one", backend=backend), Experiment("other", backend=backend)
    run(one, value).remove()
    run(other, value)

    assert one.gc().trials == 1

    assert other[1].result == other[1].parameters["a"] == value
    assert other[1].persisted("clean") == [value, "cleaned"]
    assert other[1].artifacts["model"].load() == {"artifact": value}
    assert other[1].environment["python"]
    assert problems(backend) == []


def test_one_collection_serves_all_experiments(backend: Backend) -> None:
    for name in ("one", "other"):
        run(Experiment(name, backend=backend), 1).remove()

    assert collect_removed(backend).trials == 2


def test_what_nothing_refers_to_is_collected(ex: Experiment) -> None:
    run(ex, 1)
    ex.gc()
    small, large = canary().encode(), canary(9000).encode()
    for orphan in (small, large):
        ex.backend.put(orphan)

    assert ex.gc(dry_run=True) == ex.gc() == Collected(0, 2, len(small) + len(large))
    assert not any(orphan[:20] in stored(ex.backend) for orphan in (small, large))


def test_a_removed_trial_that_may_be_restored_keeps_its_content(ex: Experiment) -> None:
    other = Experiment("other", backend=ex.backend)
    value = canary(9000)
    run(other, value).remove()

    ex.gc()

    assert other.restore(1).result == value


def test_a_session_goes_on_after_its_code_was_collected(ex: Experiment) -> None:
    s = define(ex)
    s.compute(parameters={"a": 1})
    ex[1].remove()
    ex.gc()

    s.compute(parameters={"a": 1})

    assert ex[2].result == 1
    assert "def clean" in ex[2].code
    assert ex[2].environment["python"]
    assert problems(ex.backend) == []


def test_a_trial_that_waits_elsewhere_to_begin_keeps_what_it_refers_to(ex: Experiment) -> None:
    value = canary(9000)
    ex.parameter("a")
    node = define(ex)
    ex.set_parameters(a=value)
    travelling = cloudpickle.dumps(node.__dask_graph__())
    ex.gc()

    graph = cloudpickle.loads(travelling)
    dask.get(graph, [node.__dask_keys__()[0]])

    assert ex.latest.parameters == {"a": value}
    assert "def clean" in ex.latest.code
    assert problems(ex.backend) == []
    ex.latest.remove()
    ex.gc()
    assert value[:20].encode() not in stored(ex.backend)


# forgetting


def lost(read: Callable[[], Any]) -> bool:
    """Whether reading says when it was forgotten."""
    with pytest.raises(ValueNotKeptError, match="forgotten on 20"):
        read()
    return True


@pytest.mark.parametrize("size", [1, 500, 9000], ids=["inline", "row", "file"])
def test_a_forgotten_result_is_nowhere(ex: Experiment, size: int) -> None:
    secret = canary(size)
    trial = run(ex, 1, lambda a: secret)

    forgotten = trial.forget("result")

    assert secret[:20].encode() not in stored(ex.backend)
    assert lost(lambda: trial.result)
    assert lost(lambda: ex[1].result)
    history = ex.get_history(verbose=True)
    assert history["Result"].isna().all()
    assert history["Success"].all()
    assert (forgotten.held, forgotten.payloads) == ([], 1 if size > 1 else 0)
    assert trial.parameters == {"a": 1}
    assert problems(ex.backend) == []


def test_a_forgotten_parameter_is_nowhere(ex: Experiment) -> None:
    secret = canary(600)
    first, second = ex.parameter("a"), ex.parameter("b")

    @ex
    def length(text, other):
        return len(text) + other

    @ex.result
    def score(n):
        return n

    score(length(first, second)).compute(parameters={"a": secret, "b": 4})
    trial = ex.latest
    digest = trial.steps["inputs"][0]["text"]
    row = ex.backend.get("experiment/example/trials", 1)
    assert row is not None
    of_all = row["parameters_digest"]

    trial.forget("parameters.a")

    for trace in (secret[:20], digest, of_all):
        assert trace.encode() not in stored(ex.backend)
    assert trial.parameters == {"b": 4}
    assert lost(lambda: trial.parameters["a"])
    assert ex.get_history()["a"].isna().all()
    assert ex.get_history()["b"].tolist() == [4]
    assert trial.result == len(secret) + 4
    assert trial.steps["parameters"][0] == ["a", "b"]
    assert trial.steps["inputs"][0]["other"] is not None
    score(length(first, second)).compute(parameters={"a": secret, "b": 4})


def test_forgotten_code_is_nowhere_and_new_trials_keep_theirs(
    ex: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, module = canary(), f"forgotten_{next(numbers)}"
    (tmp_path / f"{module}.py").write_text(f"def score(a):\n    return '{secret}'\n")
    monkeypatch.syspath_prepend(tmp_path)
    s = ex.result(importlib.import_module(module).score)(ex.parameter("a", default=1))
    s.compute()
    ex[1].forget("result")
    assert secret.encode() in stored(ex.backend)

    forgotten = ex[1].forget("code")

    assert forgotten.held == []
    assert secret.encode() not in stored(ex.backend)
    assert lost(lambda: ex[1].code)
    assert lost(lambda: ex[1].sources)
    s.compute()
    assert secret in ex[2].code


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_graph_is_forgotten_with_the_code_where_no_other_trial_needs_it(
    ex: Experiment, everywhere: bool
) -> None:
    s = ex.result(lambda a, text: len(text) + a, name="score")(ex.parameter("a"), canary())
    for a in (1, 2):
        s.compute(parameters={"a": a}, scheduler="synchronous")
    graph = (ex.backend.get("experiment/example/trials", 1) or {})["graph"]

    held = ex[1].forget("code", everywhere=everywhere).held

    assert {holder.field for holder in held} == (set() if everywhere else {"code", "graph"})
    assert (Snapshots(ex.backend).find(graph) is None) is everywhere
    again = ex[1].reproduce()
    assert again.match == "error"
    assert "forgotten" in str(again)
    if not everywhere:
        ex[2].forget("code")
        assert Snapshots(ex.backend).find(graph) is None
    assert problems(ex.backend) == []


@pytest.mark.parametrize("field", ["environment", "session", "code"])
def test_a_forgotten_snapshot_is_gone(ex: Experiment, field: str) -> None:
    trial = run(ex, 1)
    row = ex.backend.get("experiment/example/trials", 1)
    assert row is not None

    trial.forget(field)

    assert row[field].encode() not in stored(ex.backend)
    assert problems(ex.backend) == []
    if field == "session":
        assert "script" not in trial.environment
        assert trial.environment["python"]
    else:
        assert lost(lambda: getattr(trial, field))


def test_git_is_forgotten_and_the_rest_of_the_session_stays(ex: Experiment) -> None:
    trial = run(ex, 1)
    assert "git" in trial.environment

    trial.forget("git")

    assert "git" not in trial.environment
    assert "script" in trial.environment
    assert problems(ex.backend) == []


def test_notes_tags_and_errors_are_forgotten(ex: Experiment) -> None:
    note, tag, text = canary(), canary(), canary()

    @ex.result
    def score():
        raise ValueError(text)

    with pytest.raises(ValueError, match=text):
        score().compute()
    trial = ex.latest
    trial.note, trial.tags = note, [tag]

    for field in ("note", "tags", "error"):
        trial.forget(field)

    left = stored(ex.backend)
    assert not any(each.encode() in left for each in (note, tag, text))
    assert (trial.note, trial.tags, trial.description, trial.traceback) == ("", [], None, None)


def test_one_metric_is_forgotten_and_the_others_stay(ex: Experiment) -> None:
    name = canary()

    @ex.result
    def score():
        for epoch in range(300):
            ex.log_metrics({name: epoch, "gain": epoch}, epoch)

    score().compute()
    trial = ex.latest

    trial.forget(f"metrics.{name}")

    with pytest.raises(ValueNotKeptError):
        ex.load_metric(name, 1)
    assert {metric: len(points) for metric, points in trial.metrics.items()} == {"gain": 300}
    assert len(ex.load_metric("gain", 1)) == 300
    trial.forget("metrics")
    assert lost(lambda: trial.metrics)


def test_one_artifact_is_forgotten_and_the_others_stay(ex: Experiment) -> None:
    secret = canary(9000)

    @ex.result
    def score():
        ex.save_artifact("weights.bin", secret.encode())
        ex.artifact_path("report.txt").write_text("report")
        return 1

    score().compute()
    trial = ex.latest

    trial.forget("artifacts.weights.bin")

    assert secret[:20].encode() not in stored(ex.backend)
    assert lost(lambda: trial.artifacts["weights.bin"].read())
    assert trial.artifacts["report.txt"].read() == b"report"
    trial.forget("artifacts")
    assert lost(lambda: trial.artifacts["report.txt"].load())


def test_a_persisted_output_and_previews_are_forgotten(ex: Experiment) -> None:
    secret = canary(9000)

    @ex.persist
    def load(a):
        return secret

    @ex.result
    def score(text):
        return len(text)

    score(load(1)).compute()
    trial = ex.latest

    trial.forget("persisted.load")
    assert lost(lambda: trial.persisted("load"))
    trial.forget("steps.previews")

    assert secret[:20].encode() not in stored(ex.backend)
    assert trial.steps["inputs"][1]["text"] is not None
    assert trial.result == len(secret)


def test_the_output_is_forgotten(ex: Experiment) -> None:
    trial = run(ex, 1)
    text = canary()
    ex.backend.append(f"experiment/example/output/{trial.uid}", [text])

    trial.forget("output")

    assert text.encode() not in stored(ex.backend)


def test_an_unknown_part_is_an_error_that_lists_the_parts(ex: Experiment) -> None:
    trial = run(ex, 1)

    for field in ("reslt", "parameters.b", "metrics.none", "persisted.score", "steps.all", ""):
        with pytest.raises(FieldNotFoundError, match="has no .*parameters.a, .*metrics.loss"):
            trial.forget(field)
    assert trial.result == 1


def test_a_part_may_be_forgotten_twice(ex: Experiment) -> None:
    trial = run(ex, canary(9000))

    for field in ("result", "parameters.a", "code", "environment"):
        assert trial.forget(field).field == trial.forget(field).field == field


def test_equal_content_of_others_stays_and_is_told(ex: Experiment) -> None:
    value = canary(9000)
    for _ in range(2):
        run(ex, value)

    forgotten = ex[1].forget("result")

    assert forgotten.payloads == 0
    assert {(holder.trial, holder.field) for holder in forgotten.held} == {
        (1, "parameters.a"),
        (2, "parameters.a"),
        (2, "result"),
    }
    assert "result of trial 2 of 'example'" in str(forgotten)
    assert lost(lambda: ex[1].result)
    assert ex[2].result == value


def test_content_is_forgotten_everywhere_when_asked(ex: Experiment) -> None:
    value = canary(9000)
    other = Experiment("other", backend=ex.backend)
    for experiment in (ex, ex, other):
        run(experiment, value)

    forgotten = ex[1].forget("result", everywhere=True)

    assert forgotten.held == []
    assert len(forgotten.trials) == 6
    assert lost(lambda: other[1].parameters["a"])
    assert lost(lambda: ex[2].result)
    assert problems(ex.backend) == []


def test_code_that_others_ran_is_forgotten_in_all_of_them(ex: Experiment) -> None:
    s = define(ex)
    for a in (1, 2):
        s.compute(parameters={"a": a})

    held = ex[1].forget("code").held
    assert [(holder.trial, holder.field) for holder in held] == [(2, "code"), (2, "graph")]
    assert ex[2].code
    assert ex[2].forget("code").held == []

    s.compute(parameters={"a": 3})
    s.compute(parameters={"a": 4})
    forgotten = ex[3].forget("code", everywhere=True)
    assert {holder.trial for holder in forgotten.trials} == {3, 4}
    assert lost(lambda: ex[4].code)


def test_content_can_be_forgotten_everywhere_after_it_was_forgotten_once(ex: Experiment) -> None:
    value = canary(9000)
    run(ex, 1, lambda a: value)
    run(ex, 2, lambda a: value)
    assert [holder.trial for holder in ex[1].forget("result").held] == [2]

    assert ex[1].forget("result", everywhere=True).held == []

    assert value[:20].encode() not in stored(ex.backend)
    assert lost(lambda: ex[2].result)


def test_purity_goes_on_without_what_was_forgotten(ex: Experiment) -> None:
    run(ex, 1)
    for field in ("code", "environment"):
        ex[1].forget(field)

    run(ex, 1, lambda a: a + 1)

    assert ex.latest.result == 2


# at the same time, and in between


def interrupted(backend: Backend, monkeypatch: pytest.MonkeyPatch, at: int) -> bool:
    """Collect, and die at a write; return whether it came to it."""
    count = itertools.count()
    apply = type(backend).apply

    def dying(*writes: Any) -> Any:
        if next(count) == at:
            raise KeyboardInterrupt
        return apply(backend, *writes)

    with monkeypatch.context() as patch:
        patch.setattr(backend, "apply", dying)
        try:
            collect_removed(backend)
        except KeyboardInterrupt:
            return True
    return False


def test_a_collection_that_dies_anywhere_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = canary(9000), canary(9000)
    for at in itertools.count():
        backend = LocalBackend(tmp_path / str(at))
        ex = Experiment("example", backend=backend)
        run(ex, gone).remove()
        run(ex, kept)
        if not interrupted(backend, monkeypatch, at):
            break

        assert problems(backend) == []
        assert ex[2].result == ex[2].parameters["a"] == kept
        assert "def clean" in ex[2].code
        run(ex, gone)
        assert ex[3].result == gone
        assert problems(backend) == []
        ex[3].remove()
        ex.gc()
        assert gone[:20].encode() not in stored(backend)
        backend.close()
    assert at > 10


def disturbed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, at: int, disturb: Callable[[], object]
) -> bool:
    """Collect, and do something else before an operation; return whether it came to it."""
    count = itertools.count()

    def wrapped(name: str) -> Callable[..., Any]:
        operation = getattr(backend, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if next(count) == at:
                disturb()
            return operation(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("apply", "get", "find", "read", "blobs"):
            patch.setattr(backend, name, wrapped(name))
        collect_removed(backend)
    return next(count) > at


@pytest.mark.parametrize("again", ["the same handle", "another handle"])
def test_what_is_recorded_at_any_moment_of_a_collection_is_kept(
    monkeypatch: pytest.MonkeyPatch, again: str, tmp_path: Path
) -> None:
    value = canary(9000)
    file = tmp_path / "artifact"
    file.write_text(value)
    for at in itertools.count():
        backend = MemoryBackend()
        ex = Experiment("example", backend=backend)
        s = define(ex, lambda a: ex.save_artifact("file", file) or a)
        s.compute(parameters={"a": value})
        ex[1].remove()

        def record() -> None:
            if again == "the same handle":
                s.compute(parameters={"a": value})
            else:
                run(Experiment("example", backend=backend), value)

        if not disturbed(backend, monkeypatch, at, record):
            break

        assert problems(backend) == []
        assert ex.latest.result == ex.latest.parameters["a"] == value
        assert ex.latest.persisted("clean") == [value, "cleaned"]
        assert "def clean" in ex.latest.code
    assert at > 30


def test_a_trial_that_is_prepared_at_any_moment_may_begin_after_the_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = canary(9000)
    for at in itertools.count():
        backend = MemoryBackend()
        ex = Experiment("example", backend=backend)
        s = define(ex)
        s.compute(parameters={"a": value})
        ex[1].remove()
        other = Experiment("example", backend=backend)
        steps, prepared = layout_of(define(other)).steps, []

        def prepare() -> None:
            prepared.append(other.begin(steps, {"a": value}))

        if not disturbed(backend, monkeypatch, at, prepare):
            break
        prepared[0].start().complete()

        assert problems(backend) == []
        assert ex.latest.parameters["a"] == value
        assert "def clean" in ex.latest.code
    assert at > 30


RECORDING = """
    import json, sys
    from pathlib import Path
    from daskperiment import Experiment

    ex = Experiment("busy", backend=sys.argv[1])
    a = ex.parameter("a")

    @ex.persist
    def clean(a):
        return a * 9000

    @ex.result
    def score(text, a):
        path = Path("artifact")
        path.write_text(text)
        ex.save_artifact("text", path)
        return text + a

    s = score(clean(a), a)
    seen = {}
    for n in range(40):
        s.compute(parameters={"a": "xyz"[n % 3] * 9})
        seen[ex.trial_id] = ex.latest.uid
    print(json.dumps(seen))
"""


def test_a_process_records_while_another_removes_forgets_and_collects(tmp_path: Path) -> None:
    place = tmp_path / "store"
    script = tmp_path / "recording.py"
    script.write_text(textwrap.dedent(RECORDING))
    mine = Experiment("mine", backend=place)
    run(mine, 1)
    recorder = subprocess.Popen(
        [sys.executable, script, place], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    busy = Experiment("busy", backend=place)
    rounds = 0
    while recorder.poll() is None:
        for trial in list(busy.trials)[:-1][::2]:
            if trial.state.ended:
                trial.forget("result")
                trial.remove()
        text = "xyz"[rounds % 3] * 9
        run(mine, text * 9000).forget("result")
        mine.latest.remove()
        mine.gc()
        collect_removed(mine.backend)
        rounds += 1

    assert recorder.stdout is not None
    seen = json.loads(recorder.stdout.read())
    recorder.stdout.close()
    assert recorder.returncode == 0
    assert rounds > 1
    assert list(seen) == [str(n) for n in range(1, 41)]
    assert problems(busy.backend) == []
    for trial in busy.trials:
        a = trial.parameters["a"]
        assert seen[str(trial.number)] == trial.uid
        assert trial.persisted("clean") == a * 9000
        assert trial.artifacts["text"].read().decode() == a * 9000
        assert "def clean" in trial.code
    assert busy[40].result == busy[40].persisted("clean") + busy[40].parameters["a"]


def test_an_experiment_is_deleted_whole_and_nothing_beside_it(every_backend: Backend) -> None:
    for name in ("one", "one_more"):
        ex = Experiment(name, backend=every_backend)
        ex.persist(lambda: bytes(100_000), name="large")
        ex.result(lambda: name * 3000, name="r")().compute()
    kept = dict(Experiment("one_more", backend=every_backend).latest._row)

    assert drop_experiment(Trials(every_backend, "one")).trials == 1

    assert experiments(every_backend) == ["one_more"]
    assert Experiment("one", backend=every_backend).trial_id == 0
    rest = Experiment("one_more", backend=every_backend)
    assert (dict(rest.latest._row), rest.latest.result) == (kept, "one_more" * 3000)
    assert [each for each in examine(every_backend, deep=True) if each.level == "problem"] == []


def test_an_experiment_that_runs_is_not_deleted(ex: Experiment) -> None:
    @ex.result
    def deleting() -> str:
        with pytest.raises(TrialRunningError, match="stop that process"):
            drop_experiment(Trials(ex.backend, ex.id))
        return "done"

    assert deleting().compute() == "done"
    assert ex.latest.result == "done"
