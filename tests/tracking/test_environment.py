from __future__ import annotations

import getpass
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from daskperiment.tracking import environment


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A directory in front of ``sys.path`` to install made-up distributions into."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(directory, text="Name: made-up\nVersion: 1.0\n", file="METADATA"):
        (tmp_path / directory).mkdir()
        if text is not None:
            (tmp_path / directory / file).write_text(text)

    return install


# The document


def test_two_captures_are_equal():
    assert environment.capture() == environment.capture()


def test_the_document_is_json_and_says_what_ran():
    document = environment.capture()
    assert json.loads(json.dumps(document)) == document
    assert document["python"]["version"] == platform.python_version()
    assert document["platform"]["machine"] == platform.machine()
    assert document["platform"]["byte_order"] == sys.byteorder
    assert 1 <= document["cpu"]["usable"] <= document["cpu"]["count"]
    assert document["daskperiment"] == metadata.version("daskperiment")


def test_the_document_names_neither_user_nor_home_nor_host(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.setenv("DATABASE_PASSWORD", "very-secret-word")
    monkeypatch.setattr(getpass, "getuser", lambda: "peculiar-user")
    monkeypatch.setattr(platform, "node", lambda: "peculiar-host")
    text = json.dumps(environment.capture())
    for private in (str(Path.home()), "very-secret-word", "peculiar", sys.prefix, str(Path.cwd())):
        assert private not in text


def test_only_listed_variables_are_recorded(monkeypatch):
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert environment.capture()["variables"] == {"OMP_NUM_THREADS": "3"}


def test_flags_that_change_results_are_recorded():
    code = "from daskperiment.tracking.environment import *; print(capture()['python'])"
    variables = {**os.environ, "PYTHONHASHSEED": "0"}
    shown = subprocess.run(
        [sys.executable, "-O", "-c", code],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "'optimize': 1" in shown
    assert "'hash_randomization': False" in shown


def test_a_collector_that_fails_records_its_error_and_harms_no_other(monkeypatch):
    def broken():
        raise OSError("no such device")

    monkeypatch.setitem(environment.COLLECTORS, "cpu", broken)
    document = environment.capture()
    assert document["cpu"] == {"error": "OSError: no such device"}
    assert document["python"]["version"] == platform.python_version()


def test_a_collector_is_added_by_name(monkeypatch):
    monkeypatch.setitem(environment.COLLECTORS, "lab", lambda: {"room": 5})
    assert environment.capture()["lab"] == {"room": 5}


# Packages


def test_packages_are_those_that_importlib_finds():
    found = environment.capture()["packages"]
    expected = {}
    for one in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        expected.setdefault(name, one.version)
    assert found == expected
    assert list(found) == sorted(found)


def test_names_are_normalised_and_the_first_on_the_path_counts(installed):
    installed("Made_Up.Thing-2.0+local.dist-info")
    installed("pytest-0.0.1.dist-info")
    packages = environment.capture()["packages"]
    assert packages["made-up-thing"] == "2.0+local"
    assert packages["pytest"] == "0.0.1"


def test_old_distributions_are_found_by_their_metadata(installed):
    installed("old.egg-info", "Name: Old-One\nVersion: 0.3\n", file="PKG-INFO")
    assert environment.capture()["packages"]["old-one"] == "0.3"


def test_broken_distributions_are_ignored(installed):
    before = environment.capture()["packages"]
    installed("leftover-1.0.dist-info", text=None)
    installed("~umpy-1.0.dist-info")
    installed("nameonly.dist-info")
    installed("-1.0.dist-info")
    installed("empty.egg-info", text=None)
    installed("noversion.egg-info", "Name: noversion\n", file="PKG-INFO")
    (Path(sys.path[0]) / "file.egg-info").write_bytes(b"\xff\xfe\x00")
    sys.path.append("/no/such/directory")
    try:
        assert environment.capture()["packages"] == before
    finally:
        sys.path.remove("/no/such/directory")


# The shell


class ZMQInteractiveShell:
    pass


class TerminalInteractiveShell:
    pass


@pytest.mark.parametrize(
    ("shell", "mode"),
    [(ZMQInteractiveShell(), "Jupyter"), (TerminalInteractiveShell(), "IPython"), (None, "File")],
)
def test_notebooks_and_terminals_are_told_apart(monkeypatch, shell, mode):
    class IPython:
        @staticmethod
        def get_ipython():
            return shell

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    assert environment.capture()["shell"] == mode


def test_a_prompt_is_interactive(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert environment.capture()["shell"] == "Interactive"


# The snapshot


def test_the_snapshot_is_captured_once_per_process(monkeypatch):
    first = environment.snapshot()
    monkeypatch.setitem(environment.COLLECTORS, "lab", lambda: 1)
    assert environment.snapshot() is first


def test_equal_environments_have_equal_digests_in_other_processes():
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from daskperiment.tracking import environment; print(environment.snapshot()[0])"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1
    assert digests.pop().startswith("v1:")


def test_another_environment_has_another_digest(monkeypatch):
    environment._snapshot.cache_clear()
    before, _ = environment.snapshot()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    environment._snapshot.cache_clear()
    after, _ = environment.snapshot()
    environment._snapshot.cache_clear()
    assert before != after


# Threads


def test_thread_counts_are_those_in_force_now():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    import numpy as np

    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        limited = environment.threads()
    blas = {
        one["internal_api"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"
    }
    assert blas
    assert {limited[kind] for kind in blas} == {1}
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert {environment.threads()[kind] for kind in blas} == {2}


def test_without_threadpoolctl_the_variables_tell(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    environment._libraries.cache_clear()
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("LANG", "C")
    assert environment.threads() == {"OMP_NUM_THREADS": "3"}
    environment._libraries.cache_clear()


def test_copies_of_a_library_that_differ_are_both_shown():
    named = environment._by_kind(("openmp", "openblas", "openblas"), (2, 4, 1))
    assert named == {"openblas": "1,4", "openmp": 2}


# The process


def test_the_process_is_identified():
    import psutil

    identity = environment.process()
    assert identity["pid"] == os.getpid()
    assert identity["host"] == platform.node()
    assert identity["started"] == pytest.approx(psutil.Process().create_time(), abs=1)
    assert identity == environment.process()
    assert json.loads(json.dumps(identity)) == identity


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_an_identity_of_its_own():
    parent = environment.process()
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        child = pool.apply(environment.process)
    assert child["pid"] != parent["pid"]
    assert child["started"] >= parent["started"]
    assert (child["host"], child["boot_id"]) == (parent["host"], parent["boot_id"])


@pytest.mark.parametrize("error", [KeyError, OSError, ImportError])
def test_a_process_without_a_user_name_is_still_identified(monkeypatch, error):
    def unknown():
        raise error("no entry")

    monkeypatch.setattr(getpass, "getuser", unknown)
    environment._process.cache_clear()
    assert environment.process()["user"] is None
    environment._process.cache_clear()
