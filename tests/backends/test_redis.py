"""Redis: the contract on a real server and on a fake beside it, and what is peculiar to Redis."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis.stateful import run_state_machine_as_test

from daskperiment import Experiment
from daskperiment.backends import Append, Backend, Insert, Put, Update, open_backend, server
from daskperiment.backends import redis as redis_backend
from daskperiment.backends.redis import RedisBackend
from daskperiment.cli.main import run
from daskperiment.errors import (
    BackendAccessError,
    BackendUnreachableError,
    BackendUnsafeError,
    BackendURIError,
    DamagedRowError,
    DaskperimentWarning,
    StoreCorruptError,
    StoreFullError,
    StoreIOError,
    StoreReadOnlyError,
    StoreTooNewError,
)
from daskperiment.testing.backends import BackendContract
from daskperiment.testing.stateful import backend_machine
from tests.backends.test_stateful import BRIEF
from tests.servers import RedisServer, free_port, redis_server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def backend(running: RedisServer) -> Iterator[RedisBackend]:
    with RedisBackend(running.uri, prefix=uuid4().hex) as backend:
        yield backend


@pytest.fixture
def client(running: RedisServer) -> Iterator[Any]:
    """A client of the same server, for looking at it and for foreign data."""
    with redis.Redis.from_url(running.uri) as client:
        yield client


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.1)


class TestRedis(BackendContract):
    @pytest.fixture
    def backend(self, running: RedisServer) -> Iterator[Backend]:
        with RedisBackend(running.uri, prefix=uuid4().hex) as backend:
            yield backend


class TestFakeRedis(BackendContract):
    """The fake's store is in this process: what needs another one is for the real server."""

    @pytest.fixture
    def backend(self, request: pytest.FixtureRequest) -> Iterator[Backend]:
        fakeredis = pytest.importorskip("fakeredis")
        if "process" in request.node.name or "pickled" in request.node.name:
            pytest.skip("a fake cannot be reached from another process")
        with RedisBackend(fakeredis.FakeRedis(), prefix=uuid4().hex) as backend:
            yield backend


if "DASKPERIMENT_TEST_REDIS_URL" in os.environ:

    class TestGivenRedis(BackendContract):
        @pytest.fixture
        def backend(self) -> Iterator[Backend]:
            backend = RedisBackend(os.environ["DASKPERIMENT_TEST_REDIS_URL"], prefix=uuid4().hex)
            with backend:
                yield backend
                backend.erase()


def test_it_does_what_memory_does(running: RedisServer) -> None:
    machine = backend_machine(lambda: RedisBackend(running.uri, prefix=uuid4().hex))

    run_state_machine_as_test(machine, settings=BRIEF)


# -- how it is addressed


def test_options_of_a_uri_are_those_of_the_client_library(running: RedisServer) -> None:
    with open_backend(f"redis://127.0.0.1:{running.port}/3?socket_timeout=7") as backend:
        backend.insert("x", {})
        options = backend._client().connection_pool.connection_kwargs

    assert (options["db"], options["socket_timeout"]) == (3, 7.0)


def test_a_unix_socket_is_an_address(tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    with (
        redis_server(tmp_path / "redis", "--unixsocket", str(socket)),
        open_backend(f"unix://{socket}?db=2") as backend,
    ):
        assert backend.insert("x", {}) == 1
        assert pickle.loads(pickle.dumps(backend)).get("x", 1) == {}


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(BackendURIError, match=r'pip install "daskperiment\[redis\]"'):
        open_backend("redis://host")


@pytest.mark.parametrize("texts", [True, False])
def test_live_objects_are_backends_and_stay_open(running: RedisServer, texts: bool) -> None:
    client = redis.Redis.from_url(running.uri, decode_responses=texts)
    for live in (client, client.connection_pool):
        with open_backend(live) as backend:
            number = backend.insert("live", {"state": "RUNNING"})
            assert pickle.loads(pickle.dumps(backend)).get("live", number) == {"state": "RUNNING"}
    assert client.ping()
    open_backend(client).drop("live")


def test_a_live_object_is_told_by_its_address(running: RedisServer) -> None:
    client = redis.Redis(host="example.org", password="hunter2", username="me", db=2)

    shown = repr(RedisBackend(client))

    assert shown == "RedisBackend('redis://me:***@example.org:6379/2')"


def test_a_password_comes_from_the_environment_of_the_machine_that_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD_HERE", "a/b@c: d")
    with redis_server(tmp_path, "--requirepass", "a/b@c: d") as running:
        backend = RedisBackend(f"redis://:${{PASSWORD_HERE}}@127.0.0.1:{running.port}")
        backend.insert("x", {"n": 1})
        pickled = pickle.dumps(backend)

        assert b"a/b@c" not in pickled
        assert b"%40c" not in pickled
        assert pickle.loads(pickled).get("x", 1) == {"n": 1}


def test_a_variable_that_is_not_set_is_named() -> None:
    backend = RedisBackend("redis://:${NOT_SET_ANYWHERE}@127.0.0.1")

    with pytest.raises(BackendURIError, match="NOT_SET_ANYWHERE, which is not set"):
        backend.insert("x", {})


def test_a_backend_with_a_password_of_its_own_does_not_travel(running: RedisServer) -> None:
    client = redis.Redis(port=running.port, username="default", password="hunter2")
    for backend in (
        RedisBackend(f"redis://:hunter2@127.0.0.1:{running.port}"),
        open_backend(client),
    ):
        with pytest.raises(BackendURIError, match="environment variable") as caught:
            pickle.dumps(backend)
        assert "hunter2" not in str(caught.value) + repr(backend)


def test_a_backend_that_arrives_at_another_store_does_nothing(
    backend: RedisBackend, tmp_path: Path
) -> None:
    made, (address, expected, prefix) = backend.__reduce__()
    with redis_server(tmp_path / "other") as other:
        arrived = made(other.uri, expected, prefix)
        with pytest.raises(BackendUnreachableError, match="leads to another store"):
            arrived.insert("x", {})

    assert made(address, expected, prefix).insert("x", {}) == 1


@pytest.mark.parametrize("uri", ["redis://host:port/0", "redis://host/0?socket_timeout=soon"])
def test_a_uri_that_is_none_is_refused_with_an_example(uri: str) -> None:
    with pytest.raises(BackendURIError, match="redis://host:6379/0"):
        RedisBackend(uri).insert("x", {})


# -- a server that refuses or is away


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_is_an_error_that_says_what_to_do() -> None:
    backend = RedisBackend(f"redis://:secret@127.0.0.1:{free_port()}")

    with pytest.raises(BackendUnreachableError, match="start the server") as caught:
        backend.insert("x", {})

    assert "secret" not in str(caught.value)


def test_the_restart_of_a_server_is_ridden_out(tmp_path: Path) -> None:
    with redis_server(tmp_path) as running, RedisBackend(running.uri) as backend:
        backend.insert("x", {"n": 1})
        running.kill()
        again = threading.Timer(0.5, running.start)
        again.start()
        assert backend.insert("x", {"n": 2}) == 2
        again.join()
        assert backend.get("x", 1) == {"n": 1}


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
def test_a_wrong_password_is_an_error_that_says_what_to_do(tmp_path: Path, login: str) -> None:
    with redis_server(tmp_path, "--requirepass", "right") as running:
        backend = RedisBackend(f"redis://{login}127.0.0.1:{running.port}")
        with pytest.raises(BackendAccessError, match="another password") as caught:
            backend.insert("x", {})
    assert "wrong@" not in str(caught.value)


def test_a_user_without_rights_is_told_which_it_needs(tmp_path: Path) -> None:
    with redis_server(tmp_path) as running:
        redis.Redis(port=running.port).execute_command(
            "ACL", "SETUSER", "reader", "on", ">pass", "~*", "+@read", "+@connection"
        )
        backend = RedisBackend(f"redis://reader:pass@127.0.0.1:{running.port}")
        with pytest.raises(BackendAccessError, match="this user may not do it"):
            backend.insert("x", {})


def test_a_user_needs_no_more_than_the_documented_rights(tmp_path: Path) -> None:
    with redis_server(tmp_path) as running:
        redis.Redis(port=running.port).execute_command(
            "ACL", "SETUSER", "team", "on", ">pass", "~{daskperiment}*",
            "+@all", "-@dangerous", "-@admin", "+info",
        )  # fmt: skip
        ex = Experiment("rights", backend=f"redis://team:pass@127.0.0.1:{running.port}")
        assert ex.result(lambda: 1, name="one")().compute() == 1
        ex.gc()
        assert ex.latest.result == 1


def test_a_replica_is_an_error_that_says_what_to_do(tmp_path: Path, running: RedisServer) -> None:
    RedisBackend(running.uri).insert("replicated", {})
    with (
        redis_server(tmp_path, "--replicaof", "127.0.0.1", str(running.port)) as replica,
        pytest.raises(StoreReadOnlyError, match="it is a replica"),
    ):
        RedisBackend(replica.uri).insert("x", {})


def test_a_full_memory_is_an_error_and_nothing_is_half_written(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "8mb") as running:
        backend = RedisBackend(running.uri)
        with pytest.raises(StoreFullError, match="raise its maxmemory"):
            for n in range(100):
                backend.apply(Insert("x", {"n": n}), Put(os.urandom(500_000)), Append("y", [n]))
        kept = [document["n"] for _, document in backend.find("x")]
        assert backend.read("y") == kept
        assert len(list(backend.blobs())) == len(kept)


def test_a_password_that_changes_meanwhile_is_an_error_that_says_so(tmp_path: Path) -> None:
    with redis_server(tmp_path) as running, redis.Redis.from_url(running.uri) as client:
        backend = RedisBackend(running.uri)
        backend.insert("x", {})
        client.config_set("requirepass", "new")
        backend._client().connection_pool.disconnect()
        with pytest.raises(BackendAccessError, match="another password"):
            backend.insert("x", {})


def test_a_server_that_cannot_save_is_an_error_that_says_so(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--save", "1 1") as running:
        backend = RedisBackend(running.uri)
        with redis.Redis.from_url(running.uri) as client:
            backend.insert("x", {})
            (tmp_path / "dump.rdb").mkdir()
            with suppress(redis.ResponseError):
                client.bgsave()
            deadline = time.monotonic() + 10
            while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with pytest.raises(StoreIOError, match="cannot save to its disk"):
            backend.insert("x", {})


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_busy_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 5)
    with redis_server(tmp_path, "--busy-reply-threshold", "1") as running:
        backend = RedisBackend(running.uri)
        backend.insert("x", {})
        busy = threading.Thread(
            target=lambda: redis.Redis.from_url(running.uri).eval(
                "local now = redis.call('TIME')[1]; "
                "while redis.call('TIME')[1] - now < 2 do end return 1", 0
            )
        )  # fmt: skip
        busy.start()
        time.sleep(0.3)
        assert backend.insert("x", {}) == 2
        busy.join()


def test_a_store_of_a_newer_release_is_not_touched(running: RedisServer, client: Any) -> None:
    name = uuid4().hex
    client.hset(f"{{{name}}}:store", mapping={"id": "x", "schema": "99"})

    with pytest.raises(StoreTooNewError, match="schema 99"):
        RedisBackend(running.uri, prefix=name).insert("x", {})

    assert client.keys(f"*{name}*") == [f"{{{name}}}:store".encode()]


# -- what is peculiar to it


def test_a_group_whose_reply_was_lost_is_carried_out_once(
    backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost = redis.commands.core.Script.__call__, []

    def losing(self: Any, *arguments: Any, **options: Any) -> Any:
        reply = real(self, *arguments, **options)
        if len(lost) < 2:
            lost.append(reply)
            raise redis.ConnectionError("the reply was lost")
        return reply

    backend.store_id
    monkeypatch.setattr(redis.commands.core.Script, "__call__", losing)

    assert backend.apply(Insert("x", {}), Append("y", [1, 2])) == [1, 2]
    assert len(lost) == 2
    assert backend.read("y") == [1, 2]
    assert [key for key, _ in backend.find("x")] == [1]


def test_a_payload_of_several_pieces_comes_back_whole_and_piece_by_piece(
    backend: RedisBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_backend, "PIECE", 1000)
    data = os.urandom(4321)
    (tmp_path / "file").write_bytes(data)

    digests = {backend.put(data), backend.put(tmp_path / "file")}

    (digest,) = digests
    assert backend.fetch(digest) == data
    with backend.open(digest) as stream:
        assert [stream.read(700), stream.read(2000), stream.read()] == [
            data[:700], data[700:2700], data[2700:],
        ]  # fmt: skip
    assert list(backend.blobs()) == [(digest, 4321)]


def test_nothing_is_deleted_or_looked_at_beside_its_own_keys(
    running: RedisServer, client: Any
) -> None:
    client.config_resetstat()
    client.set("mine", "stays")
    ex = Experiment("own", backend=RedisBackend(running.uri, prefix="own"))
    ex.result(lambda: 1, name="one")().compute()
    ex[1].remove()
    ex.gc()
    ex.backend.drop("experiment")
    RedisBackend(running.uri, prefix="own").erase()

    used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert client.get("mine") == b"stays"
    assert not used & {"keys", "flushdb", "flushall", "swapdb", "script|kill", "script|flush"}
    left = client.keys("{own}*")
    assert all(b":done:" in key and client.ttl(key) <= 600 for key in left)


@pytest.mark.parametrize("kind", ["documents", "log", "numbers", "highest"])
def test_foreign_data_under_its_keys_is_named_and_nothing_is_half_written(
    backend: RedisBackend, client: Any, kind: str
) -> None:
    backend.apply(Insert("x", {"n": 1}), Append("y", [1]))
    place = {"log": ":log:y", "highest": ":highest"}.get(kind, f":{kind}:x")
    client.delete(backend._prefix + place)
    client.set(backend._prefix + place, "what is this")

    with pytest.raises(StoreCorruptError, match="written by something else"):
        backend.apply(Append("z", [1]), Insert("x", {"n": 2}), Append("y", [2]))

    assert backend.read("z") == []


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"[" * 100_000, b"\x80\x04cos\nsystem\n", b"}"])
def test_a_document_that_is_junk_is_named_and_the_others_are_read(
    backend: RedisBackend, client: Any, junk: bytes
) -> None:
    backend.apply(*[Insert("x", {"n": n}) for n in range(3)])
    client.hset(f"{backend._prefix}:documents:x", "2", junk)

    with pytest.raises(DamagedRowError, match="document 2 at 'x'"):
        backend.get("x", 2)
    assert backend.get("x", 3) == {"n": 2}


def test_a_field_is_replaced_whatever_stands_in_the_others(backend: RedisBackend) -> None:
    hostile = ['\n"b":1', '"b":', ",\n", "}", '\\n"b":2', "\\"]
    backend.insert("x", {"a": hostile[0], "b": hostile, "ab": hostile[2]})

    for value in hostile:
        backend.apply(Update("x", 1, {"b": value}), Update("x", 1, {"new": value}, {"b": value}))
        assert backend.get("x", 1) == {
            "a": hostile[0], "b": value, "ab": hostile[2], "new": value,
        }  # fmt: skip


def test_what_loses_data_is_found(tmp_path: Path) -> None:
    options = ("--appendonly", "no", "--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb")
    with redis_server(tmp_path, *options) as running:
        found = [each for each in RedisBackend(running.uri).diagnose() if each.level == "problem"]

    assert ["no append-only file" in found[0].what, "evicts keys" in found[1].what] == [True, True]
    assert all("set `" in each.advice for each in found)


def test_a_server_that_loses_data_is_warned_of_once_and_refused_where_that_is_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis_server(tmp_path, "--appendonly", "no") as running:
        with pytest.warns(DaskperimentWarning, match="no append-only file.*appendonly yes"):
            Experiment("risky", backend=running.uri)
        Experiment("risky", backend=running.uri)
        with pytest.raises(BackendUnsafeError, match="no append-only file"):
            Experiment("risky", backend=running.uri, strict=True)
        assert run(["doctor", running.uri]) == 1
        assert "appendonly yes" in capsys.readouterr().out


def test_a_server_that_is_set_up_well_is_not_warned_of(
    running: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Experiment("safe", backend=running.uri, strict=True)

    assert run(["doctor", running.uri]) == 0
    assert "Redis 7" in capsys.readouterr().out


def test_a_forked_child_has_connections_of_its_own(backend: RedisBackend) -> None:
    backend.insert("x", {})
    child = os.fork()
    if not child:
        backend.insert("x", {})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert [backend.insert("x", {}) for _ in range(3)] == [3, 4, 5]


def test_a_server_that_is_shut_down_in_order_loses_nothing(tmp_path: Path) -> None:
    with redis_server(tmp_path) as running, RedisBackend(running.uri) as backend:
        backend.apply(*[Insert("x", {"n": n}) for n in range(50)])
        running.kill(signal.SIGTERM)
        running.start()
        assert len(list(backend.find("x"))) == 50
