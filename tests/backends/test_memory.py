from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Client, Connection

import pytest

from daskperiment.backends import Backend, Insert, Update
from daskperiment.backends.memory import MemoryBackend
from daskperiment.backends.shared import MemoryProxy, serve
from daskperiment.errors import BackendUnreachableError, ConflictError, DocumentError

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")


def proxy_of(owner: MemoryBackend) -> MemoryProxy:
    return MemoryProxy(*serve(owner), owner.store_id)


def work_elsewhere(pickled: bytes) -> list[str]:
    backend: Backend = pickle.loads(pickled)
    seen = [type(backend).__name__, backend.locate("x"), str(backend.get("x", 1))]
    backend.apply(Insert("x", {"by": "worker"}), Update("x", 1, {"seen": "yes"}))
    for refused in (
        lambda: backend.insert("x", {}, key=1),
        lambda: backend.insert("x", {"bad": {1}}),
        lambda: backend.fetch("0" * 64),
    ):
        try:
            refused()
        except Exception as error:
            seen.append(type(error).__name__)
    again = pickle.loads(pickle.dumps(backend))
    return [*seen, str(again.insert("x", {}))]


def test_a_spawned_process_works_on_the_owners_store() -> None:
    backend = MemoryBackend()
    backend.insert("x", {"by": "owner"})

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        seen = worker.submit(work_elsewhere, pickle.dumps(backend)).result()

    assert seen == [
        "MemoryProxy",
        "MemoryBackend('x')",
        "{'by': 'owner'}",
        "ConflictError",
        "DocumentError",
        "PayloadNotFoundError",
        "3",
    ]
    assert backend.get("x", 1) == {"by": "owner", "seen": "yes"}
    assert backend.get("x", 2) == {"by": "worker"}


def test_unpickled_in_its_own_process_it_is_the_same_object() -> None:
    backend = MemoryBackend()

    assert pickle.loads(pickle.dumps(backend)) is backend


def test_two_stores_of_one_process_stay_apart() -> None:
    one, other = MemoryBackend(), MemoryBackend()
    proxy_of(one).insert("x", {"in": "one"})

    assert other.get("x", 1) is None
    assert proxy_of(other).get("x", 1) is None
    assert one.store_id != other.store_id


def test_a_store_that_was_collected_is_unreachable() -> None:
    owner = MemoryBackend()
    proxy = proxy_of(owner)
    proxy.insert("x", {})
    del owner
    gc.collect()

    with pytest.raises(BackendUnreachableError, match="let go of it"):
        proxy.get("x", 1)


def test_without_the_key_nothing_is_answered() -> None:
    owner = MemoryBackend()
    address, key = serve(owner)

    with pytest.raises(BackendUnreachableError):
        MemoryProxy(address, b"guessed", owner.store_id).get("x", 1)
    assert key not in repr(proxy_of(owner)).encode()


def test_a_silent_client_holds_up_no_other() -> None:
    owner = MemoryBackend()
    proxy = proxy_of(owner)

    with Client(serve(owner)[0]):
        assert proxy.insert("x", {}) == 1


def test_an_interrupted_question_does_not_shift_the_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = MemoryBackend()
    owner.insert("x", {"n": 1})
    owner.insert("x", {"n": 2})
    proxy = proxy_of(owner)
    proxy.get("x", 1)

    here, receive = threading.get_ident(), Connection.recv

    def interrupt(connection: Connection) -> object:
        if threading.get_ident() == here:  # not in the owner's thread
            raise KeyboardInterrupt
        return receive(connection)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "recv", interrupt)
        with pytest.raises(KeyboardInterrupt):
            proxy._ask("get", "x", 1)

    assert proxy.get("x", 2) == {"n": 2}


def test_many_clients_are_answered_at_once() -> None:
    owner = MemoryBackend()
    proxies = [proxy_of(owner) for _ in range(40)]
    threads = [threading.Thread(target=proxy.insert, args=("x", {})) for proxy in proxies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [key for key, _ in owner.find("x")] == list(range(1, 41))


def test_errors_of_the_owner_keep_their_type_and_text() -> None:
    owner = MemoryBackend()
    owner.insert("x", {}, key="k")

    with pytest.raises(ConflictError, match="'k' exists at 'x'"):
        proxy_of(owner).insert("x", {}, key="k")
    with pytest.raises(DocumentError):
        proxy_of(owner).get("x", None)  # type: ignore[arg-type]


OWNER = """
    import os, pickle, sys
    from daskperiment.backends.memory import MemoryBackend

    backend = MemoryBackend()
    backend.insert("x", {})
    print(pickle.dumps(backend).hex(), flush=True)
    if sys.stdin.readline() == "fork\\n" and os.fork() == 0:
        os.read(int(sys.argv[2]), 1)  # this child outlives the owner, with copies of its sockets
        os._exit(0)
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["returns", "is killed"])
@pytest.mark.parametrize("children", ["none", pytest.param("fork", marks=forks)])
def test_the_owners_end_is_a_typed_error_and_no_hang(children: str, end: str) -> None:
    until_the_test_ends, hold = os.pipe()
    with (
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(OWNER), children, str(until_the_test_ends)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[until_the_test_ends],
        ) as owner,
        os.fdopen(hold, "wb"),
        os.fdopen(until_the_test_ends, "rb"),
    ):
        assert owner.stdin is not None
        assert owner.stdout is not None
        address, key, store_id = address_in(owner.stdout.readline())
        known, late = (MemoryProxy(address, key, store_id) for _ in range(2))
        assert known.get("x", 1) == {}
        owner.stdin.write(f"{children}\n".encode())
        owner.stdin.flush()
        assert owner.stdout.readline() == b"ready\n"

        if end == "is killed":
            owner.kill()
        else:
            owner.stdin.write(b"end\n")
            owner.stdin.flush()
        owner.wait()

        for proxy in (known, known, late):
            with pytest.raises(BackendUnreachableError, match="gone or on another host"):
                proxy.get("x", 1)


def address_in(line: bytes) -> tuple[str, bytes, str]:
    proxy = pickle.loads(bytes.fromhex(line.decode()))
    _, (address, key, store_id, _) = proxy.__reduce__()
    return address, key, store_id


@forks
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_copy_is_not_taken_for_the_owner() -> None:
    backend = MemoryBackend()
    pickled = pickle.dumps(backend)
    proxy = proxy_of(backend)
    proxy.insert("x", {})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            reached = pickle.loads(pickled)
            assert reached is not backend
            assert [reached.insert("x", {}), proxy.insert("x", {})] == [2, 3]
            with pytest.raises(BackendUnreachableError, match="by fork"):
                backend.insert("x", {})
            code = 0
        finally:
            os._exit(code)

    assert os.waitpid(child, 0)[1] == 0
    assert [key for key, _ in backend.find("x")] == [1, 2, 3]
    assert proxy.insert("x", {}) == 4


def test_an_interpreter_that_served_ends_at_once_and_leaves_no_socket() -> None:
    code = """
        from daskperiment.backends.memory import MemoryBackend
        from daskperiment.backends.shared import MemoryProxy, serve

        backend = MemoryBackend()
        proxy = MemoryProxy(*serve(backend), backend.store_id)
        proxy.insert("x", {})
        print(serve(backend)[0])
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ended.stderr == ""
    assert not os.path.exists(ended.stdout.strip())  # noqa: PTH110
