"""Reuse on stores that a team shares: of other processes and machines, alive and dead."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.history import liveness

SHARED = """
    import os, sys, time

    import numpy as np


    def load(a):
        print("began", flush=True)
        time.sleep(float(os.environ.get("SECONDS", "0")))
        return np.arange(20_000.0) + a


    def total(data):
        return float(data.sum())


    def build(ex):
        return ex.result(total)(ex(load, reuse=True)(ex.parameter("a", default=1)))
"""
PROGRAM = """
    import sys
    from daskperiment import platform
    from daskperiment.history import liveness
    from daskperiment.tracking import environment

    platform.host_name = lambda: "elsewhere"
    liveness.INTERVAL = 0.1
    environment.process()["host"] = "elsewhere"

    import shared
    from daskperiment import Experiment

    if __name__ == "__main__":
        ex = Experiment(sys.argv[2], backend=sys.argv[1], seed=1)
        print(shared.build(ex).compute(), flush=True)
"""
VALUE = float(np.arange(20_000.0).sum()) + 20_000


@pytest.fixture(params=["redis", "mongo"])
def uri(request: pytest.FixtureRequest) -> str:
    running = request.getfixturevalue(f"{request.param}_running")
    name = f"t{uuid.uuid4().hex}"
    return str(running.uri if request.param == "redis" else running.uri(name))


@pytest.fixture
def backend(uri: str) -> Iterator[Backend]:
    """The store as one teammate has opened it."""
    with open_backend(uri) as backend:
        yield backend


@pytest.fixture
def name() -> str:
    return f"e{uuid.uuid4().hex[:12]}"


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What makes the graph, of a module that other processes import, too."""
    (tmp_path / "shared.py").write_text(textwrap.dedent(SHARED))
    (tmp_path / "far.py").write_text(textwrap.dedent(PROGRAM))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shared", raising=False)
    import shared  # type: ignore[import-not-found]

    yield shared.build
    del sys.modules["shared"]


@contextmanager
def far_away(folder: Path, uri: str, name: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process that takes itself for one of another machine, and computes the shared step."""
    process = subprocess.Popen(
        [sys.executable, "far.py", uri, name], cwd=folder, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "SECONDS": str(seconds)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "began\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_teammate_takes_what_another_machine_has_computed(
    build: Any,
    uri: str,
    backend: Backend,
    name: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with far_away(tmp_path, uri, name, 0) as process:
        assert process.wait(60) == 0
    ex = Experiment(name, backend=backend, seed=1)

    assert build(ex).compute() == VALUE

    assert list(ex[2].steps["outcome"]) == ["reused", "ran"]
    assert "began" not in capfd.readouterr().out


def test_who_needs_what_another_machine_computes_waits_for_it(
    build: Any, uri: str, backend: Backend, name: str, tmp_path: Path
) -> None:
    ex = Experiment(name, backend=backend, seed=1)
    with far_away(tmp_path, uri, name, 1.0) as process:
        assert build(ex).compute() == VALUE
        assert process.wait(60) == 0

    assert [list(ex[number].steps["outcome"]) for number in (1, 2)] == [
        ["ran", "ran"], ["reused", "ran"],
    ]  # fmt: skip


def test_who_waits_for_a_machine_that_dies_computes_itself(
    build: Any,
    uri: str,
    backend: Backend,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(liveness, "GRACE", 1.0)
    ex = Experiment(name, backend=backend, seed=1)
    with far_away(tmp_path, uri, name, 1000) as process:
        threading.Timer(0.5, process.kill).start()

        assert build(ex).compute() == VALUE

    assert list(ex[2].steps["outcome"]) == ["ran", "ran"]
    assert build(ex).compute() == VALUE
    assert list(ex[3].steps["outcome"]) == ["reused", "ran"]


def test_a_pickle_that_nobody_of_the_team_has_signed_is_not_taken(
    uri: str, backend: Backend, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(a: int) -> Any:
        return {"a": complex(a, 1), "b": range(a)}

    def tell(made: Any) -> float:
        return float(made["a"].real)

    def graph() -> Any:
        ex = Experiment(name, backend=backend, seed=1)
        return ex, ex.result(tell)(ex(make, reuse=True)(ex.parameter("a", default=3)))

    for key in ("one", "other"):
        (tmp_path / key).write_text(os.urandom(32).hex())
        (tmp_path / key).chmod(0o600)
    monkeypatch.setenv("DASKPERIMENT_KEY_FILE", str(tmp_path / "one"))
    _, s = graph()
    assert [s.compute(), s.compute()] == [3.0, 3.0]
    monkeypatch.setenv("DASKPERIMENT_KEY_FILE", str(tmp_path / "other"))
    ex, s = graph()

    assert s.compute() == 3.0

    assert list(ex[2].steps["outcome"]) == ["reused", "ran"]
    assert list(ex[3].steps["outcome"]) == ["ran", "ran"]
    assert "not at hand" in ex[3].steps["why"][0]


def test_trials_run_on_where_the_store_is_away(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    ex = Experiment(name, backend="redis://127.0.0.1:1/0", seed=1, offline=True, reuse=True)
    s = ex.result(lambda a: a + 1, name="more")(ex.parameter("a", default=3))

    assert [s.compute(), s.compute()] == [4, 4]
    ex.backend._spool.close()  # type: ignore[attr-defined]
