from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from daskperiment.backends import Backend
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.backends.shared import MemoryProxy, serve
from daskperiment.testing.stateful import backend_machine

BRIEF = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

owners: list[MemoryBackend] = []


def local_backend() -> Backend:
    return LocalBackend(Path(tempfile.mkdtemp(prefix="daskperiment-")) / "store")


def memory_proxy() -> Backend:
    owners.append(owner := MemoryBackend())
    return MemoryProxy(*serve(owner), owner.store_id)


@pytest.mark.parametrize("make", [local_backend, memory_proxy])
def test_a_backend_does_what_memory_does(
    make: Callable[[], Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    run_state_machine_as_test(backend_machine(make), settings=BRIEF)
