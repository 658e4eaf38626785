"""Copied pickles are trusted where they were, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from daskperiment import Experiment, UntrustedPayloadError, ValueNotKeptError, copy_trials
from daskperiment.backends import Backend, open_backend
from daskperiment.backends.redis import RedisBackend
from daskperiment.history import paths
from tests.test_trust import READ, VALUES, SharedMemory, as_user, config, record

__all__ = ["config"]


@pytest.mark.parametrize("part", READ)
def test_what_was_genuine_reads_back_from_a_shared_store_and_from_one_s_own(part: str) -> None:
    own, shared, other, back = (
        open_backend("memory://"), SharedMemory(), SharedMemory(), open_backend("memory://"),
    )  # fmt: skip
    record(own)

    for source, target in ((own, shared), (shared, other), (other, back)):
        assert not copy_trials(source, target).left_out
        assert READ[part](Experiment("trusted", backend=target)[1]).text == VALUES[part]


@pytest.mark.parametrize("part", READ)
def test_what_nobody_here_has_signed_is_not_loaded_from_a_copy(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, other, own = SharedMemory(), SharedMemory(), open_backend("memory://")
    record(shared)
    as_user("another", tmp_path, monkeypatch)

    for target, refusal in ((other, UntrustedPayloadError), (own, ValueNotKeptError)):
        left_out = copy_trials(shared, target).left_out
        assert {left.field for left in left_out} == {
            "parameters.a", "result", "persisted.build", "artifacts.model", "graph",
        }  # fmt: skip
        trial = Experiment("trusted", backend=target)[1]
        with pytest.raises(refusal):
            READ[part](trial)


def test_whoever_trusts_a_shared_store_reads_what_was_copied_unsigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, other = SharedMemory(), SharedMemory()
    record(shared)
    as_user("another", tmp_path, monkeypatch)
    copy_trials(shared, other)

    assert Experiment("trusted", backend=other, trust="all")[1].result.text == "result 1"


def doubled(backend: Backend) -> Experiment:
    """Record a trial that can be reproduced."""
    ex = Experiment("trusted", backend=backend, seed=1)
    ex.result(lambda a: 2 * a, name="score")(ex.parameter("a", default=2)).compute()
    return ex


def test_what_was_genuine_is_reproduced_from_a_copy_in_a_team_s_store(redis_running: Any) -> None:
    own, other = open_backend("memory://"), open_backend("memory://")
    with RedisBackend(redis_running.uri, prefix=uuid4().hex) as shared:
        doubled(own)
        for source, target in ((own, shared), (shared, other), (other, SharedMemory())):
            assert not copy_trials(source, target).left_out
            assert Experiment("trusted", backend=target)[1].reproduce().match == "bitwise"


def test_a_graph_that_nobody_here_has_signed_never_runs_from_a_copy(
    redis_running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = open_backend("memory://")
    with RedisBackend(redis_running.uri, prefix=uuid4().hex) as shared:
        doubled(shared)
        as_user("another", tmp_path, monkeypatch)

        for target, refusal in ((SharedMemory(), "is not signed"), (own, "was not trusted")):
            assert [left.field for left in copy_trials(shared, target).left_out] == ["graph"]
            again = Experiment("trusted", backend=target)[1].reproduce()
            assert again.match == "error"
            assert refusal in str(again)


def test_a_changed_snapshot_never_runs(redis_running: Any) -> None:
    with RedisBackend(redis_running.uri, prefix=uuid4().hex) as shared:
        ex = doubled(shared)
        row = shared.get(paths.trials("trusted"), 1) or {}
        for kind in ("code", "graph"):
            before = shared.get(paths.SNAPSHOTS, row[kind]) or {}
            shared.update(paths.SNAPSHOTS, row[kind], {"bytes": "", "sources": {}})
            again = ex[1].reproduce()
            shared.update(paths.SNAPSHOTS, row[kind], before)
            assert again.match == "different"
            assert "was changed in the store" in str(again)


def test_what_git_has_seen_is_signed_apart_and_may_be_forgotten(redis_running: Any) -> None:
    own, path = open_backend("memory://"), paths.trials("trusted")
    with RedisBackend(redis_running.uri, prefix=uuid4().hex) as shared:
        ex = doubled(shared)
        assert "outside of any git" in str(ex[1].reproduce(code="git"))
        before = (shared.get(path, 1) or {})["session"]
        shared.update(path, 1, {"session": "v1:another"})
        assert "may run code" in str(ex[1].reproduce(code="git"))
        assert "graph" in {left.field for left in copy_trials(shared, SharedMemory()).left_out}
        shared.update(path, 1, {"session": before})
        ex[1].forget("git")

        assert not copy_trials(shared, own).left_out

    trial = Experiment("trusted", backend=own)[1]
    assert trial.reproduce().match == "bitwise"
    assert "forgotten" in str(trial.reproduce(code="git"))
