"""Fixtures that every test may ask for: stores, schedulers, experiments."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.backends.mongo import MongoBackend
from daskperiment.backends.redis import RedisBackend
from daskperiment.tracking.environment import VARIABLES
from tests.servers import (
    MongoServer,
    RedisServer,
    mock_database,
    mongo_server,
    redis_server,
)

# How fast examples are made depends on what else the machine does.
settings.register_profile("default", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("default")
collect_ignore = ["typing/api.py"]

# Clusters of the tests are idle most of the time, and would look after themselves all of it.
os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL", "500ms")
os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL", "5s")
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL", "2s")

SCHEDULERS = ("synchronous", "threads", "processes", "cluster")
_AT_THE_START = {name: os.environ.get(name) for name in VARIABLES}


_LONGEST_CHILD = 200  # seconds


def _end_in_time() -> None:
    """A child that hangs holds the pipes of its parent: the whole run would wait for it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_LONGEST_CHILD)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_in_time)


def _undo_what_a_cluster_has_set() -> None:
    """Whenever it starts a worker, distributed sets OMP_NUM_THREADS and others here, for good."""
    for name, value in _AT_THE_START.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def needs_program(name: str) -> None:
    """Skip the test where a program is missing; fail it in CI, where it must not be."""
    if shutil.which(name) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs the program {name}")


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the store, the configuration, the files or the workers of another."""
    _undo_what_a_cluster_has_set()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DASKPERIMENT_BACKEND", raising=False)
    monkeypatch.delenv("DASKPERIMENT_KEY_FILE", raising=False)


@pytest.fixture(params=["memory", "local"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each embedded backend, empty."""
    place = "memory://" if request.param == "memory" else tmp_path / "store"
    with open_backend(place) as backend:
        yield backend


@pytest.fixture(scope="session")
def redis_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis server for tests that do not stop it."""
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="session")
def mongo_running() -> Iterator[MongoServer]:
    """A server of MongoDB's protocol for tests that do not stop it."""
    with mongo_server() as running:
        yield running


@pytest.fixture(params=["memory", "local", "redis", "fakeredis", "mongodb", "mongomock"])
def every_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each backend, empty; those on servers have a name of their own there."""
    with _opened(request, request.param, tmp_path) as backend:
        yield backend


def _opened(request: pytest.FixtureRequest, kind: str, folder: Path) -> Backend:
    if kind == "redis":
        running = request.getfixturevalue("redis_running")
        return RedisBackend(running.uri, prefix=uuid4().hex)
    if kind == "mongodb":
        return MongoBackend(request.getfixturevalue("mongo_running").uri(f"d{uuid4().hex}"))
    if kind in ("fakeredis", "mongomock"):
        if request.node.callspec.params.get("scheduler") in ("processes", "cluster"):
            pytest.skip("a fake cannot be reached from another process")
        if kind == "mongomock":
            return MongoBackend(mock_database(request.getfixturevalue("monkeypatch")))
        return RedisBackend(pytest.importorskip("fakeredis").FakeRedis())
    return open_backend("memory://" if kind == "memory" else folder / "store")


@pytest.fixture
def ex(backend: Backend) -> Experiment:
    """An experiment in each embedded backend."""
    return Experiment("example", backend=backend)


@pytest.fixture
def memory_ex() -> Experiment:
    """An experiment in memory, for what does not depend on the backend."""
    return Experiment("example", backend="memory://")


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A real cluster of two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"
        )
        client = distributed.Client(cluster, set_as_default=False)
    _undo_what_a_cluster_has_set()
    yield client
    client.close()
    # Closing a cluster of distributed 2025 races with its own workers' leaving, and then
    # fails now and then with the KeyError of an address; its processes end with this one.
    with contextlib.suppress(KeyError):
        cluster.close()


@pytest.fixture(params=SCHEDULERS)
def scheduler(request: pytest.FixtureRequest) -> Any:
    """Each of Dask's schedulers, as the value of ``scheduler=``."""
    if request.param == "cluster":
        return request.getfixturevalue("client")
    return request.param


@pytest.fixture(scope="session", autouse=True)
def _workers_find_the_tests() -> Iterator[None]:
    """Worker processes import test modules by name, as those of users import theirs."""
    root = str(Path(__file__).parent.parent)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = root if before is None else os.pathsep.join([root, before])
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Write modules into a fresh folder and import the first, as a new process would.

    The name of a module in a package is its path, such as ``lab/__init__``.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folders = iter(range(100))
    names: set[str] = set()

    def load(*, run: bool = True, **texts: str) -> Any:
        folder = tmp_path / f"version{next(folders)}"
        for name, text in texts.items():
            file = folder / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        names.update(name.removesuffix("/__init__").replace("/", ".") for name in texts)
        for name in names:
            sys.modules.pop(name, None)
        monkeypatch.syspath_prepend(folder)
        return importlib.import_module(next(iter(texts)).replace("/", ".")) if run else folder

    yield load
    for name in names:
        sys.modules.pop(name, None)
