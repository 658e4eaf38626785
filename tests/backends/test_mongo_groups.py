"""Groups in MongoDB: killed processes, lost replies, and several processes at once."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import AutoReconnect
from pymongo.synchronous.collection import Collection

from daskperiment.backends import Append, Clear, Discard, Insert, Put, Remove, Update
from daskperiment.backends.mongo import MongoBackend
from daskperiment.backends.mongo_session import Session
from daskperiment.errors import ConflictError
from tests.servers import MongoServer, mongo_server

LARGE, DISCARDED = b"x" * 200_000, b"y" * 200_000
SPAWN = get_context("spawn")


@pytest.fixture
def server(mongo_running: MongoServer) -> MongoServer:
    return mongo_running


@pytest.fixture
def uri(server: MongoServer) -> str:
    return server.uri(f"test_{uuid.uuid4().hex}")


@pytest.fixture
def backend(uri: str) -> Iterator[MongoBackend]:
    with MongoBackend(uri) as backend:
        yield backend


def prepare(backend: MongoBackend) -> str:
    backend.apply(
        Insert("x", {"n": 0}, "a"),
        Insert("x", {"n": 0}, "b"),
        Insert("x", {"n": 0}, "c"),
        Append("log", [0]),
        Append("anew", ["old"] * 700),
    )
    return backend.put(DISCARDED)


def group(backend: MongoBackend) -> list[Any]:
    (discarded,) = [digest for digest, _ in backend.blobs()]
    return backend.apply(
        Update("x", "a", {"n": 1}),
        Update("x", "b", {"n": 1}),
        Remove("x", "c"),
        Append("log", list(range(700))),
        Clear("anew"),
        Append("anew", ["new"]),
        Insert("x", {"n": 1}),
        Put(LARGE),
        Put(b"small"),
        Discard(discarded),
    )


def state(backend: MongoBackend) -> Any:
    return (
        list(backend.find("x")),
        backend.read("log"),
        backend.read("anew"),
        sorted(size for _, size in backend.blobs()),
    )


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_a_group(uri: str, point: str) -> None:
    commit, write, apply = Session.commit, Session._write, Session._apply

    def dying_commit(self: Session, *arguments: Any) -> bool:
        if point == "before the commit":
            kill_this_process()
        commit(self, *arguments)
        if point == "after the commit":
            kill_this_process()
        return True

    def dying_write(self: Session, name: str, operations: list[Any]) -> None:
        if point.startswith("after effect"):
            write(self, name, operations[: int(point.split()[-1])])
            kill_this_process()
        write(self, name, operations)

    def dying_apply(self: Session, *arguments: Any) -> None:
        apply(self, *arguments)
        kill_this_process()

    Session.commit, Session._write, Session._apply = dying_commit, dying_write, dying_apply
    group(MongoBackend(uri))


POINTS = ["before the commit", "after the commit", "after effect 1", "after effect 4", "at the end"]


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_is_killed_in_a_group_leaves_all_or_nothing(
    backend: MongoBackend, uri: str, point: str
) -> None:
    prepare(backend)
    before = state(backend)
    child = SPAWN.Process(target=die_in_a_group, args=(uri, point))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL

    seen = state(backend)
    again = state(backend)
    backend.append("other", [1])
    after = state(backend)

    assert again == (before if seen == before else after)
    if point == "before the commit":
        assert after == before
    else:
        found, log, anew, sizes = after
        assert found == [(1, {"n": 1}), ("a", {"n": 1}), ("b", {"n": 1})]
        assert log == [0, *range(700)]
        assert (anew, sizes) == (["new"], [5, 200_000])
    assert backend.insert("x", {}) == (1 if point == "before the commit" else 2)


def write_until_killed(uri: str) -> None:
    backend = MongoBackend(uri)
    while True:
        n = backend.append("x/log", [])
        backend.apply(
            Update("x", "a", {"n": n + 1}),
            Append("x/log", [n + 1]),
            Update("x", "b", {"n": n + 1}),
            Insert("x/all", {}),
        )


def test_processes_killed_at_any_moment_leave_whole_groups(backend: MongoBackend, uri: str) -> None:
    backend.apply(Insert("x", {"n": 0}, "a"), Insert("x", {"n": 0}, "b"))
    for _ in range(4):
        child = SPAWN.Process(target=write_until_killed, args=(uri,))
        begun = len(backend.read("x/log"))
        child.start()
        backend.wait("x/log", begun, timeout=60)
        time.sleep(random.random() / 5)
        child.kill()
        child.join()

        backend.append("other", [1])
        n = len(backend.read("x/log"))
        assert n > begun
        assert backend.read("x/log") == list(range(1, n + 1))
        assert backend.get("x", "a") == backend.get("x", "b") == {"n": n}
        assert [key for key, _ in backend.find("x/all")] == list(range(1, n + 1))


def lose_a_reply(
    monkeypatch: pytest.MonkeyPatch, at: int, meanwhile: Callable[[], Any] = lambda: None
) -> list[str]:
    """Let the connection end when a command of writing was carried out, but not answered."""
    done: list[str] = []

    def losing(name: str, original: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            done.append(name)
            if len(done) == at + 1:
                meanwhile()
                raise AutoReconnect("connection closed")
            return result

        return call

    for name in ("update_one", "bulk_write", "insert_one", "delete_many"):
        monkeypatch.setattr(Collection, name, losing(name, getattr(Collection, name)))
    return done


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("others", [0, 3])
def test_a_group_whose_reply_is_lost_is_carried_out_once(
    backend: MongoBackend, uri: str, monkeypatch: pytest.MonkeyPatch, at: int, others: int
) -> None:
    prepare(backend)
    with MongoBackend(uri) as other:

        def meanwhile() -> None:
            for n in range(others):
                other.append("others", [n])

        assert other.store_id == backend.store_id
        done = lose_a_reply(monkeypatch, at, meanwhile)
        results = group(backend)

    assert len(done) > at
    assert results[:7] == [True, True, True, 701, 700, 1, 1]
    found, log, anew, sizes = state(backend)
    assert found == [(1, {"n": 1}), ("a", {"n": 1}), ("b", {"n": 1})]
    assert log == [0, *range(700)]
    assert (anew, sizes) == (["new"], [5, 200_000])
    assert len(backend.read("others")) == others


def test_a_group_that_was_refused_is_refused_after_a_lost_reply_too(
    backend: MongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.insert("x", {}, "k")
    lose_a_reply(monkeypatch, 0)

    with pytest.raises(ConflictError):
        backend.apply(Put(LARGE), Insert("x", {}, "k"))


def test_a_group_that_is_applied_again_late_brings_nothing_back(
    backend: MongoBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[Any] = []
    apply = Session._apply

    def watched(self: Session, number: int, effects: Any) -> None:
        applied.append((self, number, effects))
        apply(self, number, effects)

    monkeypatch.setattr(Session, "_apply", watched)
    prepare(backend)
    backend.apply(Insert("x", {"n": 1}), Append("log", [1]), Insert("y", {}, "k"), Put(b"small"))
    backend.apply(Remove("x", 1), Clear("log"), Update("x", "a", {"n": 2}))
    backend.drop("y")
    for digest, _ in list(backend.blobs()):
        backend.apply(Discard(digest))
    backend.compact()
    before = state(backend)

    for late in list(applied):
        apply(*late)

    assert state(backend) == before
    assert list(backend.find("y")) == []
    assert backend.apply(Insert("y", {}), Append("log", ["x"])) == [1, 1]


def test_who_saw_a_part_of_a_group_sees_the_rest(
    backend: MongoBackend, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(backend)
    halfway, go_on = threading.Event(), threading.Event()
    write = Session._write

    def slow(self: Session, name: str, operations: list[Any]) -> None:
        if threading.current_thread() is writer:
            write(self, name, operations[:1])
            halfway.set()
            go_on.wait(60)
        write(self, name, operations)

    monkeypatch.setattr(Session, "_write", slow)
    with MongoBackend(uri) as reader:
        writer = threading.Thread(target=group, args=(backend,))
        writer.start()
        halfway.wait(60)
        threading.Timer(0.1, go_on.set).start()

        assert reader.get("x", "a") == {"n": 1}
        assert reader.get("x", "b") == {"n": 1}
        assert reader.get("x", "c") is None
        writer.join()


def test_a_group_of_many_megabytes_is_atomic_too(backend: MongoBackend, uri: str) -> None:
    text = "x" * 1_000_000
    backend.apply(*(Insert("x", {"text": text}) for _ in range(12)), Append("log", [text] * 12))

    assert len(list(backend.find("x"))) == len(backend.read("log")) == 12
    with pymongo.MongoClient(uri) as client:
        chunks = client.get_default_database()["daskperiment_chunks"]
        assert chunks.count_documents({}) == 0


def write_groups(uri: str, count: int) -> list[Any]:
    with MongoBackend(uri) as backend:
        return [
            backend.apply(Insert("x", {"n": n}), Append("log", [n] * 3))[0] for n in range(count)
        ]


def test_processes_write_groups_at_once(backend: MongoBackend, uri: str) -> None:
    with ProcessPoolExecutor(4, mp_context=SPAWN) as pool:
        keys = [key for keys in pool.map(write_groups, [uri] * 4, [25] * 4) for key in keys]

    assert sorted(keys) == list(range(1, 101))
    entries = backend.read("log")
    assert len(entries) == 300
    assert all(len(set(entries[at : at + 3])) == 1 for at in range(0, 300, 3))


def test_a_server_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    with mongo_server(str(tmp_path)) as server, MongoBackend(server.uri("test")) as backend:
        prepare(backend)
        before = state(backend)
        server.kill()
        returning = threading.Timer(0.3, server.start)
        returning.start()

        assert state(backend) == before
        assert backend.append("log", [1]) == 2
        returning.join()
