"""What users of a store in MongoDB are told when something is wrong."""

from __future__ import annotations

import pickle
import random
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
)
from pymongo.synchronous.collection import Collection

from daskperiment import Experiment
from daskperiment.backends import Append, Insert, Put, open_backend, server
from daskperiment.backends.mongo import MongoBackend
from daskperiment.errors import (
    BackendAccessError,
    BackendError,
    BackendLostDataError,
    BackendUnreachableError,
    BackendURIError,
    DamagedRowError,
    PayloadNotFoundError,
    StoreCorruptError,
    StoreFullError,
    StoreReadOnlyError,
    StoreTooNewError,
)
from tests.servers import MongoServer, free_port


@pytest.fixture
def running(mongo_running: MongoServer) -> MongoServer:
    return mongo_running


@pytest.fixture
def uri(running: MongoServer) -> str:
    return running.uri(f"test_{uuid.uuid4().hex}")


@pytest.fixture
def backend(uri: str) -> Iterator[MongoBackend]:
    with MongoBackend(uri) as backend:
        yield backend


@pytest.fixture
def database(uri: str) -> Iterator[Database[Any]]:
    with pymongo.MongoClient(uri) as client:
        yield client.get_default_database()


# addresses


@pytest.mark.parametrize("scheme", ["mongodb", "MongoDB", "mongodb+srv"])
def test_a_uri_opens_a_store_without_asking_the_server(scheme: str) -> None:
    backend = open_backend(f"{scheme}://nowhere.invalid/experiments")

    assert isinstance(backend, MongoBackend)


def test_an_experiment_is_kept_in_a_database(uri: str) -> None:
    with open_backend(uri) as backend:
        ex = Experiment("example", backend=backend)

        @ex.result
        def double(a: int) -> int:
            return 2 * a

        assert double(ex.parameter("a", default=4)).compute() == 8
    with open_backend(uri) as backend:
        assert Experiment("example", backend=backend)[1].result == 8


def test_a_live_database_is_used_and_left_open(database: Database[Any], uri: str) -> None:
    backend = open_backend(database)  # type: ignore[arg-type]
    backend.insert("x", {})
    backend.close()

    assert database.name in repr(backend)
    assert database["daskperiment_rows"].count_documents({}) > 0
    again = pickle.loads(pickle.dumps(backend))
    assert again.get("x", 1) == {}
    again.close()


def test_other_collections_are_let_alone(backend: MongoBackend, database: Database[Any]) -> None:
    database["users"].insert_one({"path": "x", "key": "n1"})
    backend.insert("x", {})
    backend.drop("x")
    backend.drop("")
    backend.compact()

    assert database["users"].count_documents({}) == 1
    names = {name for name in database.list_collection_names() if "daskperiment" not in name}
    assert names == {"users"}


@pytest.mark.parametrize("path", ["", "/", "/?w=1"])
def test_a_uri_without_a_database_says_how_to_write_it(path: str) -> None:
    with pytest.raises(BackendURIError, match="mongodb://host:27017/experiments"):
        MongoBackend(f"mongodb://localhost{path}").store_id


@pytest.mark.parametrize(
    "rest",
    [
        "me:hunter2@localhost:1/x",
        "me:hunter2@localhost:port/x",
        "me:hunter/2@localhost/x",
        "me:hunter2@x@localhost/x",
        "me:hunter2[@localhost/x",
        "me:hunter2@localhost:1/x?authSource=%24external&authMechanism=PLAIN",
    ],
)
def test_no_password_is_in_a_message(rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.1)
    backend = MongoBackend(f"mongodb://{rest}&serverSelectionTimeoutMS=100".replace("x&", "x?"))

    with pytest.raises((BackendURIError, BackendUnreachableError)) as caught:
        backend.get("x", 1)
    with pytest.raises(BackendURIError) as refused:
        pickle.dumps(backend)

    for text in (str(caught.value), str(refused.value), repr(backend), backend.locate("x")):
        assert "hunter" not in text


def test_a_password_may_come_from_the_environment(
    running: MongoServer, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME_OF_DATABASE", uri.rpartition("/")[2])
    written = running.uri("${NAME_OF_DATABASE}")

    with MongoBackend(written) as one, MongoBackend(uri) as other:
        one.insert("x", {})
        assert other.get("x", 1) == {}
        assert repr(one) == f"MongoBackend({written!r})"


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymongo", None)

    with pytest.raises(BackendURIError, match=r"pip install \"daskperiment\[mongodb\]\""):
        MongoBackend("mongodb://localhost/x").store_id


def test_a_server_that_is_away_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.1)
    uri = f"mongodb://127.0.0.1:{free_port()}/x?serverSelectionTimeoutMS=100"

    with pytest.raises(BackendUnreachableError, match="start the server"):
        MongoBackend(uri).get("x", 1)


@pytest.mark.parametrize(("query", "concern"), [("", "majority"), ("?w=1&journal=false", 1)])
def test_a_doctor_is_told_what_writes_wait_for(uri: str, query: str, concern: Any) -> None:
    with MongoBackend(uri + query) as backend:
        found = [each for each in backend.diagnose() if "majority" in each.what]

    assert [each.level for each in found] == ["ok" if concern == "majority" else "note"]
    assert f"w={concern}" in found[0].what


# what the server answers


def failing(monkeypatch: pytest.MonkeyPatch, error: PyMongoError) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(server, "PATIENCE", 0.1)
    monkeypatch.setattr(Collection, "update_one", fail)


def bulk(code: int) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [{"code": code, "errmsg": "hunter2"}]})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OperationFailure("hunter2", 13), BackendAccessError),
        (OperationFailure("hunter2", 18), BackendAccessError),
        (OperationFailure("hunter2", 14031), StoreFullError),
        (bulk(14031), StoreFullError),
        (pymongo.errors.WriteConcernError("hunter2", 100), BackendError),
        (pymongo.errors.DocumentTooLarge("hunter2"), StoreFullError),
        (OperationFailure("hunter2", 59), BackendError),
        (NotPrimaryError("hunter2"), StoreReadOnlyError),
        (OperationFailure("hunter2", 11600), BackendUnreachableError),
        (AutoReconnect("hunter2"), BackendUnreachableError),
    ],
)
def test_an_answer_of_the_server_is_a_typed_error(
    backend: MongoBackend,
    monkeypatch: pytest.MonkeyPatch,
    error: PyMongoError,
    kind: type[BackendError],
) -> None:
    backend.insert("x", {})
    failing(monkeypatch, error)

    with pytest.raises(BackendError) as caught:
        backend.insert("x", {})

    assert type(caught.value) is kind
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("write", [Insert("x", {"t": "x" * 2**24}), Append("x", ["x" * 2**24])])
def test_what_is_larger_than_a_row_may_be_is_refused(backend: MongoBackend, write: Any) -> None:
    with pytest.raises(StoreFullError, match="payload"):
        backend.apply(Append("log", [1]), write)

    assert backend.read("log") == []


# damage


@pytest.mark.parametrize("content", [None, 1, "{", "[]", "[" * 9999, {"$where": "1"}])
def test_a_row_of_another_program_is_damage_and_others_are_sound(
    backend: MongoBackend, database: Database[Any], content: Any
) -> None:
    backend.apply(Insert("x", {"n": 1}), Insert("x", {"n": 2}), Append("x", [1]))
    rows = database["daskperiment_rows"]
    rows.update_one({"key": "n0000000000000001"}, {"$set": {"content": content}})
    entries = {} if content == "[]" else [content]
    rows.update_one({"end": 1}, {"$set": {"entries": entries}})

    for damaged in (
        lambda: backend.get("x", 1),
        lambda: list(backend.find("x")),
        lambda: backend.read("x"),
        lambda: backend.update("x", 1, {"n": 3}),
    ):
        with pytest.raises(DamagedRowError, match="from a copy"):
            damaged()
    assert backend.get("x", 2) == {"n": 2}
    assert [key for key, _ in backend.find("x", fields=[])] == [1, 2]


def test_lost_entries_of_a_log_are_noticed(backend: MongoBackend, database: Database[Any]) -> None:
    backend.append("x", list(range(1200)))
    database["daskperiment_rows"].delete_one({"end": 1000})

    with pytest.raises(DamagedRowError, match="missing"):
        backend.read("x")
    assert backend.read("x", 1100) == list(range(1100, 1200))


def test_a_payload_without_its_chunks_is_damage(
    backend: MongoBackend, database: Database[Any]
) -> None:
    digest = backend.put(b"x" * 100_000)
    database["daskperiment_chunks"].delete_many({})

    with pytest.raises(StoreCorruptError):
        backend.fetch(digest)


def test_a_newer_store_is_not_touched(uri: str, database: Database[Any]) -> None:
    with MongoBackend(uri) as backend:
        backend.insert("x", {})
    database["daskperiment_store"].update_one({}, {"$set": {"schema": 2}})

    with MongoBackend(uri) as backend, pytest.raises(StoreTooNewError, match="update daskperiment"):
        backend.insert("x", {})
    assert database["daskperiment_store"].find_one({})["seq"] == 1


def test_a_store_that_is_removed_while_it_is_used_is_noticed(
    backend: MongoBackend, database: Database[Any]
) -> None:
    backend.insert("x", {})
    for name in database.list_collection_names():
        database.drop_collection(name)

    with pytest.raises(BackendLostDataError, match="has lost its store"):
        backend.insert("x", {})


def test_another_store_behind_the_same_address_is_noticed(
    uri: str, database: Database[Any]
) -> None:
    with MongoBackend(uri) as backend:
        pickled = pickle.dumps(backend)
    database["daskperiment_store"].update_one({}, {"$set": {"store": "another"}})

    with pickle.loads(pickled) as arrived, pytest.raises(BackendUnreachableError, match="another"):
        arrived.insert("x", {})


def test_pymongo_does_not_draw_from_the_stream_of_the_user(backend: MongoBackend) -> None:
    """It does where it waits for an overloaded server, or chooses one of several."""
    backend.insert("x", {})

    modules = [name for name in sys.modules if name.partition(".")[0] == "pymongo"]
    assert "pymongo.helpers_shared" in modules
    assert [name for name in modules if getattr(sys.modules[name], "random", 0) is random] == []


# payloads


def test_a_large_payload_is_read_piece_by_piece(backend: MongoBackend, tmp_path: Path) -> None:
    data = b"".join(n.to_bytes(4) for n in range(2_500_000))
    (tmp_path / "payload").write_bytes(data)
    digest = backend.put(tmp_path / "payload")

    with backend.open(digest) as payload:
        payload.seek(4 * 2_000_000)
        assert payload.read(4) == (2_000_000).to_bytes(4)
        payload.seek(-4, 2)
        assert payload.read() == data[-4:]
        payload.seek(4 * 1024 * 1024 - 2)
        assert payload.read(8) == data[4 * 1024 * 1024 - 2 :][:8]
    assert backend.fetch(digest) == data


def test_bytes_of_a_refused_group_are_not_left_behind(
    backend: MongoBackend, database: Database[Any]
) -> None:
    backend.insert("x", {}, "k")

    with pytest.raises(Exception, match="'k' exists"):
        backend.apply(Put(b"x" * 100_000), Insert("x", {}, "k"))

    assert list(backend.blobs()) == []
    assert database["daskperiment_chunks"].count_documents({}) == 0


def test_compacting_deletes_what_died_long_ago(
    backend: MongoBackend, database: Database[Any]
) -> None:
    backend.apply(Insert("x", {}), Insert("x", {}))
    kept, discarded = backend.put(b"x" * 100_000), backend.put(b"y" * 100_000)
    backend.apply(*(write for write in [Append("log", [1])]))
    backend.drop("log")
    database["daskperiment_rows"].update_many({"gone": {"$gt": 0}}, {"$set": {"gone": 1}})
    database["daskperiment_chunks"].insert_one({"_id": "000000000001-x/0", "data": b"litter"})

    backend.compact()

    assert database["daskperiment_rows"].count_documents({"gone": {"$gt": 0}}) == 0
    assert database["daskperiment_chunks"].count_documents({}) == 2
    assert backend.fetch(kept) + backend.fetch(discarded) == b"x" * 100_000 + b"y" * 100_000
    with pytest.raises(PayloadNotFoundError):
        backend.fetch("0" * 64)
