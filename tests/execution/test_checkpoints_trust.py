"""On stores that others may write to, a step goes on only from what is genuine."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from daskperiment import DaskperimentWarning, Experiment, UntrustedPayloadError, copy_trials
from daskperiment.backends import Append, Backend, Clear, open_backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.backends.redis import RedisBackend
from daskperiment.history import paths
from tests.execution.test_checkpoints import Interrupted, broken_off


class Thing:
    """What only a pickle can hold."""

    def __init__(self, number: int) -> None:
        self.number = number


class Bomb:
    """A pickle of it makes a folder where it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


class SharedMemory(MemoryBackend):
    """A store in memory that others may write to, for all we know."""

    @property
    def owned(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def _as_me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user("me", tmp_path, monkeypatch)


def as_user(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as a user who has another key."""
    place = tmp_path / f"configuration of {name}"
    monkeypatch.setenv("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", str(place))


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each kind of store that others may write to."""
    if request.param == "redis":
        with RedisBackend(request.getfixturevalue("redis_running").uri, prefix=uuid4().hex) as kept:
            yield kept
        return
    with SharedMemory() as backend:
        yield backend


def train(backend: Backend, plain: bool = False) -> tuple[Experiment, Any]:
    """An experiment whose trials up to the second break off behind a checkpoint."""
    ex = Experiment("trusted", backend=backend, seed=1)

    @ex.result
    def count(a: int, plain: bool) -> int:
        state = ex.resume_state()
        at = (state if plain else state.number) if state is not None else 0
        ex.checkpoint(at + 1 if plain else Thing(at + 1))
        if ex.current_trial_id <= 2:
            raise Interrupted
        return at

    return ex, count(ex.parameter("a", default=1), ex.parameter("plain", default=plain))


def change(ex: Experiment, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the entries of all checkpoints, as who can write to the store can."""
    path = paths.checkpoints(ex.id)
    for key, document in list(ex.backend.find(path)):
        entries = [edit(entry) for entry in document["entries"]]
        ex.backend.update(path, key, {"entries": entries})


def test_what_this_user_has_left_is_gone_on_from(store: Backend) -> None:
    ex, node = train(store)

    broken_off(node)
    broken_off(node)

    assert node.compute() == 2
    assert ex[3].steps["resumed_from"].tolist() == [2]


def test_a_pickle_of_another_user_is_passed_over_and_plain_data_is_not(
    store: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ex, node = train(store)
    as_user("another", tmp_path, monkeypatch)
    broken_off(node)
    as_user("me", tmp_path, monkeypatch)

    with pytest.warns(DaskperimentWarning, match="passes over .* a pickle, which may run code"):
        broken_off(node)
    assert ex[2].steps["resumed_from"].tolist() == [None]

    other, node = train(SharedMemory(), plain=True)
    broken_off(node)
    as_user("another", tmp_path, monkeypatch)
    broken_off(node)
    assert other[2].steps["resumed_from"].tolist() == [1]


def test_an_unsigned_bomb_is_never_loaded(store: Backend, tmp_path: Path) -> None:
    ex, node = train(store)
    broken_off(node)
    data = b'{"random":{"uses":0,"entropy":false}}\n' + pickle.dumps(Bomb(tmp_path / "marker"))
    digest = store.put(data)
    change(ex, lambda entry: {**entry, "digest": digest, "size": len(data)})

    with pytest.warns(DaskperimentWarning, match="it was changed, or copied from another place"):
        broken_off(node)
    change(ex, lambda entry: {n: v for n, v in entry.items() if n != "signed"} | {"digest": digest})
    with pytest.raises(UntrustedPayloadError):
        ex[1].checkpoints[0].load()
    with pytest.warns(DaskperimentWarning, match="it is not signed"):
        assert node.compute() == 0

    assert not (tmp_path / "marker").exists()


def test_a_genuine_one_of_another_call_is_not_taken(store: Backend) -> None:
    ex, node = train(store)
    broken_off(node, parameters={"a": 1})
    path = paths.checkpoints(ex.id)
    ((key, first),) = store.find(path)
    broken_off(node, parameters={"a": 2})
    ((_, second),) = ((k, d) for k, d in store.find(path) if k != key)
    entries = [{**entry, "time": entry["time"] + 1e6} for entry in first["entries"]]
    moved = {**first, "content": second["content"], "entries": entries}
    store.insert(path, moved, second["content"] + "-moved")
    store.update(path, key, {"entries": []})

    with pytest.warns(
        DaskperimentWarning, match="passes over .* in trial 1: .* copied from another place"
    ):
        assert node.compute(parameters={"a": 2}) == 1
    assert ex[3].steps["resumed_from"].tolist() == [2]


@pytest.mark.parametrize(
    "spoilt",
    [
        {}, {"trial": 7}, {"trial": None, "entries": None}, {"entries": 3}, {"entries": [None]},
        {"entries": [{"time": "late", "keep": 1}]}, {"entries": [{"time": 1.0, "keep": False}]},
        {"entries": [{"time": 1.0, "keep": False, "codec": "json", "digest": 7}]},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*passes over:daskperiment.DaskperimentWarning")
def test_a_document_that_others_have_spoilt_harms_nobody(spoilt: dict[str, Any]) -> None:
    store = SharedMemory()
    ex, node = train(store)
    broken_off(node)
    path = paths.checkpoints(ex.id)
    ((_, document),) = store.find(path)
    whole = {"trial": ex[1].uid, "step": "count", "call": 0, "content": document["content"]}
    store.insert(path, spoilt and {**whole, **spoilt}, document["content"] + "-spoilt")

    broken_off(node)
    assert node.compute() == 2
    assert [str(trial.state) for trial in ex.trials] == ["FAILED", "FAILED", "COMPLETE"]
    assert ex[3].steps["resumed_from"].tolist() == [2]


def test_a_copy_is_signed_for_its_new_place(store: Backend, tmp_path: Path) -> None:
    source = open_backend(tmp_path / "mine")
    _, node = train(source)
    broken_off(node)

    copy_trials(source, store)
    ex, node = train(store)
    broken_off(node)

    assert ex[2].steps["resumed_from"].tolist() == [1]


def fit(backend: Backend) -> Any:
    """A step that keeps a pickle, behind which the first trial ends."""
    ex = Experiment("retried", backend=backend, seed=1)

    @ex.persist
    def build(a: int) -> Thing:
        ex.save_artifact("model", Thing(a))
        return Thing(a)

    @ex.result
    def end(thing: Thing) -> int:
        if ex.current_trial_id == 1:
            raise Interrupted
        return thing.number

    return ex, end(build(ex.parameter("a", default=7)))


def test_a_finished_step_of_this_user_is_taken_and_of_another_one_it_is_not(
    store: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ex, node = fit(store)
    (trial,) = ex.map(node, [{}], retries=1)
    assert trial.steps["outcome"].tolist() == ["reused", "ran"]
    assert (trial.persisted("build").number, trial.artifacts["model"].load().number) == (7, 7)

    other, node = fit(SharedMemory())
    as_user("another", tmp_path, monkeypatch)
    other.map(node, [{}], on_error="continue")
    as_user("me", tmp_path, monkeypatch)
    (trial,) = other.map(node, [{}], skip_completed=True)
    assert trial.retry_of == other[1]
    assert trial.steps["outcome"].tolist() == ["ran", "ran"]
    assert trial.artifacts["model"].load().number == 7


def test_a_planted_output_is_not_loaded(store: Backend, tmp_path: Path) -> None:
    ex, node = fit(store)
    ex.map(node, [{}], on_error="continue")
    path, data = paths.steps(ex.id, ex[1].uid), pickle.dumps(Bomb(tmp_path / "marker"))
    planted = {"digest": store.put(data), "size": len(data)}
    entries: list[Any] = store.read(path)
    spoilt = [{**e, "kept": {**e["kept"], **planted}} if "kept" in e else e for e in entries]
    store.apply(Clear(path), Append(path, [*spoilt, {"step": "build", "inputs": 3}, None, 7]))

    (trial,) = ex.map(node, [{}], skip_completed=True)

    assert trial.steps["outcome"].tolist() == ["ran", "ran"]
    assert not (tmp_path / "marker").exists()
