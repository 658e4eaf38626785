"""Copied pickles are trusted where they were, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskperiment import Experiment, UntrustedPayloadError, ValueNotKeptError, copy_trials
from daskperiment.backends import open_backend
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
            "parameters.a", "result", "persisted.build", "artifacts.model",
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
