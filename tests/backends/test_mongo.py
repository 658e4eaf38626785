from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis.stateful import run_state_machine_as_test

from daskperiment.backends import Backend
from daskperiment.backends.mongo import MongoBackend
from daskperiment.testing.backends import BackendContract
from daskperiment.testing.stateful import backend_machine
from tests.backends.test_stateful import BRIEF
from tests.servers import MongoServer, mock_database

ELSEWHERE = os.environ.get("DASKPERIMENT_TEST_MONGODB_URL")


@pytest.fixture
def server(mongo_running: MongoServer) -> MongoServer:
    return mongo_running


def fresh() -> str:
    return f"test_{uuid.uuid4().hex}"


@pytest.fixture
def uri(server: MongoServer) -> str:
    return server.uri(fresh())


class TestMongo(BackendContract):
    @pytest.fixture
    def backend(self, uri: str) -> Iterator[Backend]:
        with MongoBackend(uri) as backend:
            yield backend


class TestMongoMock(BackendContract):
    @pytest.fixture
    def backend(self, monkeypatch: pytest.MonkeyPatch) -> Backend:
        return MongoBackend(mock_database(monkeypatch))

    @pytest.mark.skip("a database in this process's memory")
    def test_processes_share_the_numbers(self, backend: Backend) -> None: ...

    @pytest.mark.skip("a database in this process's memory")
    def test_a_pickled_backend_reaches_the_same_store(self, backend: Backend) -> None: ...


@contextmanager
def database_elsewhere() -> Iterator[MongoBackend]:
    """An empty store in the database that the environment names; nothing else is touched."""
    assert ELSEWHERE
    with MongoBackend(ELSEWHERE) as backend:
        database = backend._client()
        assert "test" in database.name, "this database may hold more than tests"
        for name in database.list_collection_names():
            if name.startswith("daskperiment_"):
                database.drop_collection(name)
        backend.close()
        backend._store_id = None
        yield backend


if ELSEWHERE:

    class TestMongoElsewhere(BackendContract):
        @pytest.fixture
        def backend(self) -> Iterator[Backend]:
            with database_elsewhere() as backend:
                yield backend


def test_it_does_what_memory_does(server: MongoServer) -> None:
    machine = backend_machine(lambda: MongoBackend(server.uri(fresh())))

    run_state_machine_as_test(machine, settings=BRIEF)


def test_it_does_what_memory_does_on_mongomock(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = backend_machine(lambda: MongoBackend(mock_database(monkeypatch)))

    run_state_machine_as_test(machine, settings=BRIEF)
