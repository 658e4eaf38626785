"""Local stores where something is in the way: other schemas, permissions, networks, full disks."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest

from daskperiment import Experiment, errors
from daskperiment.backends import failures, migration
from daskperiment.backends.local import LocalBackend

posix = pytest.mark.skipif(os.name == "nt", reason="modes, users and limits are POSIX")
permissions = pytest.mark.skipif(
    os.name == "nt" or (os.getuid() == 0 and not shutil.which("setpriv")),
    reason="root ignores permissions",
)


def content(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()}


def run_python(program: str, *arguments: object, bound: bool = False) -> str:
    """Output of a program; ``bound`` by the permissions of files, which root ignores."""
    command = [sys.executable, "-W", "always", "-c", textwrap.dedent(program)]
    if bound and os.getuid() == 0:
        lost = "-dac_override,-dac_read_search"
        command[:0] = ["setpriv", "--bounding-set", lost, "--inh-caps", lost]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# schemas


def add_table(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE added (n)")
    connection.execute("INSERT INTO added SELECT count(*) FROM documents")


def tables_of(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "store.sqlite")) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of the present schema, which is an older one where a step is added."""
    with LocalBackend(tmp_path / "old") as backend:
        backend.insert("x", {"n": 1})
    return tmp_path / "old"


def test_an_older_store_is_migrated_when_it_is_opened(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "STEPS", [add_table])

    with LocalBackend(old) as backend:
        assert backend.get("x", 1) == {"n": 1}
        assert backend.insert("x", {}) == 2

    with closing(sqlite3.connect(old / "store.sqlite")) as connection:
        assert connection.execute("SELECT n FROM added").fetchall() == [(1,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("no statement")

    before = tables_of(old)
    with monkeypatch.context() as patch:
        patch.setattr(migration, "STEPS", [add_table, fail])
        with LocalBackend(old) as backend, pytest.raises(errors.BackendError):
            backend.get("x", 1)

    assert tables_of(old) == before
    with LocalBackend(old) as backend:
        assert backend.insert("x", {}) == 2


MIGRATOR = """
    import os, sys
    from daskperiment.backends import migration
    from daskperiment.backends.local import LocalBackend

    def step(connection):
        connection.execute("CREATE TABLE added (n)")
        if sys.argv[2] == "die":
            os.kill(os.getpid(), 9)

    migration.STEPS.append(step)
    sys.stdin.readline()
    print(LocalBackend(sys.argv[1]).insert("x", {}))
"""


@posix
def test_of_many_openers_one_migrates_and_a_killed_one_rolls_back(old: Path) -> None:
    how = ["die", *["live"] * 7]
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(MIGRATOR), str(old), mode],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for mode in how
    ]  # fmt: skip
    outputs = []
    for n, opener in enumerate(openers):
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
        if n == 0:
            assert opener.wait() == -9
            assert "added" not in tables_of(old)
            opener.stdin.close()
            assert opener.stdout is not None
            opener.stdout.close()
    outputs = [opener.communicate()[0] for opener in openers[1:]]

    assert sorted(map(int, outputs)) == list(range(2, 9))
    assert "added" in tables_of(old)


@pytest.mark.parametrize("with_log", [False, True])
def test_a_newer_store_is_named_and_not_touched(old: Path, tmp_path: Path, with_log: bool) -> None:
    connection = sqlite3.connect(old / "store.sqlite", isolation_level=None)
    connection.execute("PRAGMA user_version = 7")
    if with_log:  # as a killed process leaves it
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE newer (n)")
        (tmp_path / "copy").mkdir()
        for file in ("store.sqlite", "store.sqlite-wal"):
            shutil.copy(old / file, tmp_path / "copy")
        old = tmp_path / "copy"
    connection.close()
    before = content(old)

    for use in (
        lambda backend: backend.insert("x", {}),
        lambda backend: backend.get("x", 1),
        lambda backend: backend.store_id,
    ):
        with LocalBackend(old) as backend, pytest.raises(errors.StoreTooNewError) as caught:
            use(backend)

    after = content(old)
    if with_log:
        after.pop("store.sqlite-shm", None)
    assert after == before
    assert "schema 7" in str(caught.value)
    assert "upgrade daskperiment" in str(caught.value)


# network file systems


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskperiment.platform.file_system", lambda _: "nfs4")


@pytest.mark.usefixtures("network")
def test_a_network_file_system_is_told_once_and_has_no_log(tmp_path: Path) -> None:
    with (
        LocalBackend(tmp_path / "store") as backend,
        LocalBackend(tmp_path / "store") as other,
    ):
        with pytest.warns(errors.DaskperimentWarning, match=r"network file system \(nfs4\)"):
            backend.insert("x", {})
        assert other.insert("x", {}) == 2  # a second warning would be an error
        assert [f.name for f in (tmp_path / "store").glob("store.sqlite*")] == ["store.sqlite"]
        with other._session() as connection:
            assert connection is not None
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def use(pickled: bytes) -> tuple[str, object, object]:
    backend = pickle.loads(pickled)
    return type(backend).__name__, backend.insert("x", {"from": "worker"}), backend.get("x", 1)


@pytest.mark.usefixtures("network")
def test_on_a_network_file_system_only_the_driver_opens_the_files(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "store") as backend:
        with pytest.warns(errors.DaskperimentWarning, match="network"):
            backend.insert("x", {"from": "driver"})
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            worker = pool.submit(use, pickle.dumps(backend)).result()
            pool.submit(os.getpid).result()

        assert worker == ("MemoryProxy", 2, {"from": "driver"})
        assert backend.get("x", 2) == {"from": "worker"}
        assert pickle.loads(pickle.dumps(backend)) is backend


@pytest.mark.usefixtures("network")
def test_a_worker_that_cannot_reach_the_driver_says_what_to_do(tmp_path: Path) -> None:
    program = """
        import pickle, sys, warnings
        from daskperiment import platform
        from daskperiment.backends.local import LocalBackend

        warnings.simplefilter("ignore")
        platform.file_system = lambda path: "nfs4"
        backend = LocalBackend(sys.argv[1])
        open(sys.argv[2], "wb").write(pickle.dumps(backend))
    """
    run_python(program, tmp_path / "store", tmp_path / "pickled")
    gone = pickle.loads((tmp_path / "pickled").read_bytes())

    with pytest.raises(errors.BackendUnreachableError, match="keep it alive, or use a backend"):
        gone.insert("x", {})


# folders that cannot be written


def lock(folder: Path) -> None:
    """Take from a folder the permission to write."""
    for file in folder.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    folder.chmod(0o555)  # pytest restores it when it removes its folders


READER = """
    import sys
    from daskperiment import Experiment
    from daskperiment.errors import StoreReadOnlyError

    ex = Experiment("readable", backend=sys.argv[1])
    print(len(ex.get_history()), ex[1].result, ex[2].state)
    ran = []
    s = ex.result(lambda: ran.append(1), name="s")()
    try:
        s.compute()
    except StoreReadOnlyError as error:
        print("refused", len(ran), error)
"""


@permissions
@pytest.mark.parametrize("left", ["nothing", "log", "log and memory"])
def test_a_folder_that_cannot_be_written_can_be_read(tmp_path: Path, left: str) -> None:
    with LocalBackend(tmp_path / "store") as backend:
        ex = Experiment("readable", backend=backend)
        s = ex.result(lambda: 41, name="s")()
        s.compute()
        s.compute()
        row = backend.get("experiment/readable/trials", 2)
        assert row is not None
        dead = {**row["owner"], "pid": 2**22 + 1}
        backend.update("experiment/readable/trials", 2, {"state": "RUNNING", "owner": dead})
        backend.insert("experiment/readable/running", dead, row["uid"])
        store = Path(shutil.copytree(tmp_path / "store", tmp_path / "copy"))
        if left == "nothing":
            backend.close()
            store = tmp_path / "store"
        elif left == "log":
            (store / "store.sqlite-shm").unlink()
        lock(store)
        before = content(store)

        said = run_python(READER, store, bound=True)

    assert "2 41 CRASHED" in said
    assert "refused 0" in said
    assert str(store) in said
    assert "make the folder writable, or choose another one" in said
    if left != "log and memory":
        assert said.count("what others write meanwhile is not seen") == 1
    assert content(store) == before


@permissions
def test_a_store_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    lock(tmp_path)
    program = """
        import sys
        from daskperiment.backends.local import LocalBackend
        from daskperiment.errors import StoreReadOnlyError

        try:
            LocalBackend(sys.argv[1]).insert("x", {})
        except StoreReadOnlyError as error:
            print(error)
    """

    said = run_python(program, tmp_path / "store", bound=True)

    assert "choose another one" in said
    assert str(tmp_path) in said


# what errors mean


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.StoreFullError),
        (errno.EFBIG, errors.StoreFullError),
        (errno.EDQUOT, errors.StoreFullError),
        (errno.EIO, errors.StoreIOError),
        (errno.EMFILE, errors.StoreIOError),
        (errno.EACCES, errors.StoreReadOnlyError),
        (errno.EROFS, errors.StoreReadOnlyError),
        (errno.ENODEV, errors.StoreIOError),
    ],
)
def test_an_error_of_the_system_has_its_type_and_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with LocalBackend(tmp_path) as backend:
        backend.insert("x", {})
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            with pytest.raises(kind, match=r"LocalBackend.*; \w+") as caught:
                backend.put(b"large" * 20_000)
        assert type(caught.value) is kind
        assert backend.insert("x", {}) == 2


LIMITED = """
    import resource, sys
    from daskperiment.backends.local import LocalBackend
    from daskperiment.errors import StoreFullError, StoreIOError

    backend = LocalBackend(sys.argv[1])
    backend.insert("x", {})
    what = {"size": resource.RLIMIT_FSIZE, "files": resource.RLIMIT_NOFILE}[sys.argv[2]]
    soft, hard = resource.getrlimit(what)
    if sys.argv[2] == "files":
        backend.close()
    resource.setrlimit(what, (100_000 if sys.argv[2] == "size" else 3, hard))
    try:
        for n in range(1000):
            text = "".join(chr(33 + (n * k) % 90) for k in range(2000))
            backend.insert("x", {"n": n, "text": text})
    except (StoreFullError, StoreIOError) as error:
        print(type(error).__name__, str(error).partition("; ")[2])
    resource.setrlimit(what, (soft, hard))
    last = max(key for key, _ in backend.find("x"))
    assert backend.insert("x", {}) == last + 1
"""


@posix
@pytest.mark.parametrize(("limit", "kind"), [("size", "StoreFullError"), ("files", "StoreIOError")])
def test_a_limit_is_a_typed_error_and_the_store_goes_on_without_it(
    tmp_path: Path, limit: str, kind: str
) -> None:
    said = run_python(LIMITED, tmp_path / "store", limit)

    assert said.startswith(f"{kind} ")


def test_a_failed_write_makes_the_next_one_open_the_store_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalBackend(tmp_path) as backend:
        session = backend._session()
        with session as first:
            assert first is None
        backend.insert("x", {})
        with pytest.raises(errors.StoreIOError), session as before:
            raise sqlite_error(sqlite3.SQLITE_IOERR_FSYNC)
        with session as after:
            assert after is not before
        assert backend.insert("x", {}) == 2


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, errors.StoreFullError),
        (sqlite3.SQLITE_CORRUPT_INDEX, errors.StoreCorruptError),
        (sqlite3.SQLITE_NOTADB, errors.StoreCorruptError),
        (sqlite3.SQLITE_IOERR_WRITE, errors.StoreIOError),
        (sqlite3.SQLITE_READONLY_DBMOVED, errors.StoreReadOnlyError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, errors.BackendError),
    ],
)
def test_extended_codes_of_sqlite_have_the_type_of_their_kind(
    tmp_path: Path, code: int, kind: type[Exception]
) -> None:
    assert type(failures.translate(sqlite_error(code), "a store", tmp_path)) is kind


def test_errors_of_others_are_left_alone(tmp_path: Path) -> None:
    warnings.simplefilter("error")
    mine = errors.StoreIOError("mine")

    assert failures.translate(KeyError("x"), "a store", tmp_path) is None
    assert failures.translate(mine, "a store", tmp_path) is None


def test_a_name_in_the_schema_that_is_no_text_is_a_typed_error(old: Path) -> None:
    content = (old / "store.sqlite").read_bytes()
    at = content.index(b"spare_samples")
    (old / "store.sqlite").write_bytes(content[:at] + b"\xf3" + content[at + 1 :])

    with LocalBackend(old) as backend, pytest.raises(errors.StoreCorruptError, match="salvage"):
        backend.get("x", 1)
