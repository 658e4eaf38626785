from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daskperiment.backends import Backend
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.backends.shared import MemoryProxy, serve
from daskperiment.testing.backends import BackendContract


class TestMemory(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


class TestMemoryProxy(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        owner = MemoryBackend()
        with MemoryProxy(*serve(owner), owner.store_id) as proxy:
            yield proxy


class TestLocal(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        with LocalBackend(tmp_path / "store") as backend:
            yield backend
