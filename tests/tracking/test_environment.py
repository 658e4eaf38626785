"""What is recorded of the machine, the interpreter, the packages and the session."""

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

import daskperiment
from daskperiment import CategoryError, CollectorError, Experiment, PurityWarning, Secret
from daskperiment.history.snapshots import Snapshots
from daskperiment.platform import gpu_models, is_alive, since_boot
from daskperiment.tracking import environment
from daskperiment.tracking.environment import blas, owner
from daskperiment.tracking.environment.collectors import Collectors


@pytest.fixture(autouse=True)
def _collectors_of_a_test_leave_with_it():
    parts = environment._RESULTS, environment._SESSION
    before = [(part._collectors, part._origins) for part in parts]
    for part in parts:
        added = set(part._origins)
        part._collectors = {n: f for n, f in part._collectors.items() if n not in added}
        part._origins = {}
        part.forget()
    yield
    for part, (part._collectors, part._origins) in zip(parts, before, strict=True):
        part.forget()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A directory in front of ``sys.path`` to install made-up distributions into."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(directory, text="Name: made-up\nVersion: 1.0\n", file="METADATA"):
        (site / directory).mkdir()
        if text is not None:
            (site / directory / file).write_text(text)
        return site / directory

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


def captured(category, before="", *options, **variables):
    """What a fresh interpreter captures that has run some code before."""
    code = f"""
import json, os
from daskperiment import Experiment
{before}
from daskperiment.tracking import environment
print(json.dumps(environment.capture()[{category!r}]))
"""
    others = {n: v for n, v in os.environ.items() if n not in environment.VARIABLES}
    shown = subprocess.run(
        [sys.executable, *options, "-c", code],
        env={**others, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(shown)


def test_only_listed_variables_are_recorded():
    listed = {"OMP_NUM_THREADS": "3", "PYTHONHASHSEED": "7", "TZ": "UTC"}
    assert captured("variables", **listed, AWS_SECRET_ACCESS_KEY="x") == listed


def test_a_variable_counts_as_it_was_when_it_was_read():
    late = "os.environ.update(OMP_NUM_THREADS='1', PYTHONHASHSEED='6640', TZ='UTC')"
    assert captured("variables", late, OMP_NUM_THREADS="3") == {
        "OMP_NUM_THREADS": "3",
        "TZ": "UTC",
    }


def test_flags_that_change_results_are_recorded():
    shown = str(captured("python", "", "-O", PYTHONHASHSEED="0"))
    assert "'optimize': 1" in shown
    assert "'hash_randomization': False" in shown


def test_what_changes_by_itself_is_not_part_of_the_environment(tmp_path, monkeypatch):
    (tmp_path / "left_by_a_build.egg-info").write_text("Name: left-by-a-build\nVersion: 1\n")
    before = environment.capture()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *reversed(sys.path)])
    monkeypatch.setattr(sys, "argv", ["other.py", "--fast"])
    assert environment.capture() == before


def test_graphics_processors_are_named_from_the_files_of_their_drivers(tmp_path):
    nvidia = tmp_path / "proc/driver/nvidia/gpus"
    amd = tmp_path / "sys/class/kfd/kfd/topology/nodes"
    files = {
        nvidia / "0000:01:00.0/information": "Model: \t\t NVIDIA H200\nIRQ:   \t 24\n",
        nvidia / "0000:02:00.0/information": "Model: \t\t NVIDIA H200\n",
        amd / "0/name": "\n",  # the processor is a node, too
        amd / "1/name": "vega20\n",
    }
    for file, text in files.items():
        file.parent.mkdir(parents=True)
        file.write_text(text)
    assert gpu_models(tmp_path) == ["NVIDIA H200", "NVIDIA H200", "vega20"]
    assert gpu_models(tmp_path / "nothing") == []


def test_the_conda_environment_is_told_by_its_files(tmp_path, monkeypatch):
    meta = tmp_path / "envs" / "lab" / "conda-meta"
    meta.mkdir(parents=True)
    for name in ("python-3.12.1-h123_0.json", "scikit-learn-1.4-py_1.json", "history", "odd.json"):
        (meta / name).touch()
    monkeypatch.setenv("CONDA_PREFIX", str(meta.parent))
    assert environment.capture()["conda"] == {
        "name": "lab",
        "packages": {"python": "3.12.1 h123_0", "scikit-learn": "1.4 py_1"},
    }
    monkeypatch.delenv("CONDA_PREFIX")
    assert environment.capture()["conda"] == {}


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


def test_a_package_from_a_repository_is_told_with_its_commit(installed):
    lab, local = installed("lab-0.1.dist-info"), installed("local-0.2.dist-info")
    url = "https://canary@example.org/lab.git"
    origin = {"url": url, "vcs_info": {"vcs": "git", "commit_id": "4f2a"}}
    (lab / "direct_url.json").write_text(json.dumps(origin))
    origin = {"url": "file:///home/canary", "dir_info": {"editable": True}}
    (local / "direct_url.json").write_text(json.dumps(origin))
    packages = environment.capture()["packages"]
    assert packages["lab"] == "0.1 @ git+https://example.org/lab.git@4f2a"
    assert packages["local"] == "0.2"
    lines = environment.requirements({"packages": packages}).splitlines()
    assert {"lab @ git+https://example.org/lab.git@4f2a", "local==0.2"} <= set(lines)


# The session


class ZMQInteractiveShell:
    pass


class TerminalInteractiveShell:
    pass


class SomethingNewShell:
    pass


class ShellWithoutNames:
    user_ns = None


class VSCode:
    user_ns = {"__vsc_ipynb_file__": "/home/me/work.ipynb"}


ColabShell = type("Shell", (), {"__module__": "google.colab._shell"})


@pytest.fixture
def ipython(monkeypatch):
    """Pretend to run in an IPython shell of some class, or none that is running."""

    def use(shell):
        module = type(sys)("IPython")
        module.get_ipython = lambda: shell
        monkeypatch.setitem(sys.modules, "IPython", module)

    return use


def shell():
    """How the shell looks to a process that has not looked before."""
    environment._SESSION.forget()
    return environment.session().document["shell"]


@pytest.mark.parametrize(
    ("running", "name"),
    [
        (ZMQInteractiveShell(), "Jupyter"),
        (TerminalInteractiveShell(), "IPython"),
        (ColabShell(), "Colab"),
        (VSCode(), "VS Code"),
        (SomethingNewShell(), "SomethingNewShell"),
        (ShellWithoutNames(), "ShellWithoutNames"),
    ],
)
def test_every_shell_has_a_name(ipython, running, name):
    ipython(running)
    assert shell() == name


def test_a_test_a_script_and_a_prompt_are_told_apart(ipython, monkeypatch):
    ipython(None)
    assert shell() == "Test"
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert shell() == "File"
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert shell() == "Interactive"


def test_the_path_of_a_notebook_is_recorded_where_it_is_told(ipython, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "connection.json"])
    ipython(VSCode())
    assert environment.session().document["script"] == {
        "path": "/home/me/work.ipynb",
        "arguments": [],
    }
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/other.ipynb")
    ipython(ZMQInteractiveShell())
    assert environment.session().document["script"]["path"] == "/home/me/other.ipynb"


def test_arguments_are_recorded_without_their_secrets(monkeypatch):
    secret = Secret("canary-object")
    arguments = ["a=1", "--api-key", "canary-key", "password=canary-word", secret.reveal()]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    script = environment.session().document["script"]
    assert script["arguments"][:2] == ["a=1", "--api-key"]
    assert "canary" not in json.dumps(script)


def test_the_session_is_the_same_object_until_something_changes(tmp_path, monkeypatch):
    first = environment.session()
    assert environment.session() is first
    monkeypatch.chdir(tmp_path.parent)
    assert environment.session().document["working_directory"] == str(tmp_path.parent)
    assert environment.session().digest != first.digest
    monkeypatch.chdir(tmp_path)
    assert environment.session().digest == first.digest


@pytest.mark.skipif(os.name == "nt", reason="no such directory can be removed there")
def test_a_working_directory_that_was_removed_is_none(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert environment.session().document["working_directory"] is None
    assert environment.capture()["packages"]


def test_libraries_are_asked_only_when_they_are_loaded():
    code = """
import json, sys, warnings
from daskperiment.tracking import environment
before = environment.session().document
assert not {"numpy", "scipy", "pandas"} & set(sys.modules)
import numpy, pandas
warnings.simplefilter("error")  # of options that are deprecated
print(json.dumps([before, environment.session().document]))
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    before, after = json.loads(shown)
    assert [before[name] for name in ("numpy", "scipy", "pandas")] == [None] * 3
    assert after["numpy"]["Build Dependencies"]["blas"]["version"]
    assert isinstance(after["pandas"]["compute.use_numexpr"], bool)
    assert after["scipy"] is None


# The snapshot


def test_what_a_collector_of_a_user_finds_is_recorded_without_its_secrets():
    @environment.collector
    def service():
        return {"host": "local", "password": "canary", "url": "db://me:canary@host/", "n": [1]}

    assert environment.snapshot().document["service"] == {
        "host": "local", "password": "***", "url": "db://***@host/", "n": [1],
    }  # fmt: skip


def test_each_collector_is_asked_once_per_process():
    asked = []
    collectors = Collectors(room=lambda: asked.append("room") or "B 12")
    first = collectors.snapshot()
    assert collectors.snapshot() is first
    collectors.add("light", lambda: "on")
    assert collectors.snapshot().document == {"room": "B 12", "light": "on"}
    assert asked == ["room"]
    collectors.forget()  # as a forked process does
    assert collectors.snapshot().digest != first.digest
    assert asked == ["room", "room"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_captures_its_own(monkeypatch):
    monkeypatch.setenv("TZ", "3")
    environment._RESULTS.forget()
    environment.snapshot()
    monkeypatch.setenv("TZ", "7")
    assert environment.snapshot().document["variables"]["TZ"] == "3"
    with multiprocessing.get_context("fork").Pool(1) as pool:
        child = pool.apply(environment.snapshot)
    assert child.document["variables"]["TZ"] == "7"
    environment._RESULTS.forget()


def test_equal_environments_have_equal_digests_in_other_processes():
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from daskperiment.tracking import environment; print(environment.snapshot().digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1
    assert digests.pop().startswith("v1:")


def test_ten_thousand_equal_snapshots_are_kept_once(backend):
    for _ in range(100):
        snapshots = Snapshots(backend)  # as another process would
        for _ in range(100):
            snapshots.keep(*environment.snapshot())
    assert dict(backend.find("snapshots")) == {
        environment.snapshot().digest: environment.snapshot().document
    }


# Collectors of users


def define(**options):
    @daskperiment.collector(**options)
    def cuda_driver():
        return answers[-1]

    return cuda_driver


answers = ["550.54"]


def compute(ex):
    ex.result(lambda: 1, name="one")().compute()
    return ex.latest


def test_a_collector_is_a_decorated_function(ex):
    @daskperiment.collector
    def room():
        return {"name": "B 12", "lights": [True, None, 1.5]}

    assert compute(ex).environment["room"] == room()
    assert ex.get_environment(1, "room") == "name: B 12\nlights:\n  True\n  None\n  1.5"


def test_a_collector_added_later_is_captured_with_the_next_trial_without_a_warning(memory_ex):
    before = compute(memory_ex)
    define()
    after = compute(memory_ex)
    assert "cuda_driver" not in before.environment
    assert after.environment["cuda_driver"] == "550.54"
    assert memory_ex.diff(1, 2).environment == ()
    assert "cuda_driver: captured for trial 2 of 'example' only" in memory_ex.diff(1, 2).notes


@pytest.mark.filterwarnings("ignore::daskperiment.EnvironmentChangedWarning")
def test_a_collector_decides_whether_it_explains_another_output(memory_ex):
    outputs = iter([1, 2, 3])
    step = memory_ex.result(lambda: next(outputs), name="draw")()
    define(session=True)
    step.compute()
    with pytest.warns(PurityWarning, match="Cause: unexplained"):
        answers.append("551")
        define(session=True)
        step.compute()
    assert memory_ex[2].environment["cuda_driver"] == "551"
    assert memory_ex[1]._known["environment"] == memory_ex[2]._known["environment"]


def test_a_collector_that_fails_leaves_its_error_and_harms_no_other(memory_ex):
    secret = Secret("canary-object")

    @daskperiment.collector
    def broken():
        raise OSError(f"no such device: {secret.reveal()}")

    @daskperiment.collector(session=True)
    def odd():
        return {1, 2}

    seen = compute(memory_ex).environment
    assert seen["broken"] == {"error": "OSError: no such device: ***"}
    assert "set is not JSON" in seen["odd"]["error"]
    assert seen["python"]["version"] == platform.python_version()


def test_the_summary_survives_a_collector_that_fails(monkeypatch, memory_ex):
    own = dict(environment._RESULTS._collectors, cpu=lambda: 1 / 0, packages=lambda: 1 / 0)
    monkeypatch.setattr(environment._RESULTS, "_collectors", own)
    environment._RESULTS.forget()
    assert "Device CPU Count: ZeroDivisionError" in memory_ex.get_environment()
    assert compute(memory_ex).environment["cpu"]["error"]
    environment._RESULTS.forget()


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("name", ["cpu", "git", "shell", "numpy"])
def test_a_name_that_is_taken_is_refused(session, name):
    def function():
        return 1

    function.__name__ = name
    with pytest.raises(CollectorError, match=f"category '{name}'.*another name"):
        daskperiment.collector(session=session)(function)


def test_a_collector_of_another_place_is_refused_and_the_same_one_replaced():
    define()
    define()  # as in a notebook cell that is run again

    def cuda_driver():
        return 1

    with pytest.raises(CollectorError, match="another name"):
        daskperiment.collector(cuda_driver)


def test_a_function_that_needs_arguments_is_refused():
    with pytest.raises(CollectorError, match="without arguments.*'place'"):
        daskperiment.collector(collected_at)
    with pytest.raises(CollectorError, match="has no name"):
        daskperiment.collector(lambda: 1)


def collected_at(place):
    return place


def test_workers_ask_the_collectors_of_the_driver(ex, scheduler):
    @daskperiment.collector
    def process_number():
        return os.getpid()

    @ex.result
    def where():
        return os.getpid()

    pid = where().compute(scheduler=scheduler)
    digest = ex.latest.steps["environment"][0]
    assert ex.backend.get("snapshots", digest)["process_number"] == pid


# Reading it


def test_the_environment_of_a_trial_has_every_category(memory_ex):
    assert set(compute(memory_ex).environment) == {
        *("platform", "cpu", "gpu", "python", "packages", "conda", "variables", "daskperiment"),
        *("git", "script", "working_directory", "shell", "memory", "visible_gpus"),
        *("numpy", "scipy", "pandas"),
    }


def test_the_text_is_that_of_the_trial_and_not_that_of_now(memory_ex, tmp_path, monkeypatch):
    compute(memory_ex)
    monkeypatch.chdir(tmp_path.parent)
    assert memory_ex.get_environment(1, "working_directory") == str(tmp_path)
    assert memory_ex.get_environment(category="working_directory") == str(tmp_path.parent)


def test_without_a_category_the_text_is_a_summary(memory_ex):
    compute(memory_ex)
    text = memory_ex.get_environment(1)
    assert [line.partition(": ")[0] for line in text.splitlines()] == [
        "Platform Information",
        "Device CPU Count",
        "Python Implementation",
        "Python Version",
        "Python Shell Mode",
        "Python venv",
        "Daskperiment Version",
        "Git Repository",
        "Number of Installed Python Packages",
    ]
    assert f"Python Version: {platform.python_version()}" in text
    assert "Git Repository: Not Git Controlled" in text


def test_an_unknown_category_lists_the_known_ones(memory_ex):
    with pytest.raises(CategoryError, match="'requirements': choose one of .*packages"):
        memory_ex.get_environment(category="requirements")
    with pytest.raises(ValueError, match="choose one of"):
        memory_ex.get_environment(category="")


def test_packages_are_lines_of_a_requirements_file(memory_ex):
    compute(memory_ex)
    lines = memory_ex.get_python_packages(1).splitlines()
    assert f"dask=={metadata.version('dask')}" in lines
    assert lines == memory_ex.get_python_packages().splitlines()
    assert memory_ex.get_environment(1, "packages").splitlines() == lines


def test_the_summary_is_logged_once_before_the_first_trial(memory_ex, caplog):
    caplog.set_level("INFO", "daskperiment")
    compute(memory_ex)
    compute(memory_ex)
    messages = [record.getMessage() for record in caplog.records]
    for line in memory_ex.get_environment(1).splitlines():
        assert messages.count(line) == 1


def test_making_an_experiment_captures_nothing(monkeypatch):
    asked = []

    @daskperiment.collector
    def room():
        asked.append("environment")

    @daskperiment.collector(session=True)
    def light():
        asked.append("session")

    ex = Experiment("example", backend="memory://")
    step = ex.result(lambda: 1, name="one")()
    assert asked == []
    step.compute()
    assert asked == ["environment", "session"]


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
    blas._libraries.cache_clear()
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("LANG", "C")
    assert environment.threads() == {"OMP_NUM_THREADS": "3"}
    blas._libraries.cache_clear()


def test_copies_of_a_library_that_differ_are_both_shown():
    named = blas._by_kind(("openmp", "openblas", "openblas"), (2, 4, 1))
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


def test_a_process_is_alive_whatever_the_clock_is_set_to(monkeypatch):
    import psutil

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        record = {
            **environment.process(), "pid": child.pid,
            "started": psutil.Process(child.pid).create_time(),
            "since_boot": since_boot(child.pid),
        }  # fmt: skip
        # The system tells that time by the clock's: it moves with it.
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: 86400.0)
        assert is_alive(record)
        assert not is_alive({**record, "since_boot": record["since_boot"] - 60})
        del record["since_boot"]
        assert not is_alive(record)
        child.communicate(b"\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_that_has_ended_is_dead_before_it_was_waited_for():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive({**environment.process(), "pid": pid, "since_boot": since_boot(pid)})
    os.waitpid(pid, 0)


@pytest.mark.parametrize("error", [KeyError, OSError, ImportError])
def test_a_process_without_a_user_name_is_still_identified(monkeypatch, error):
    def unknown():
        raise error("no entry")

    monkeypatch.setattr(getpass, "getuser", unknown)
    owner._process.cache_clear()
    assert environment.process()["user"] is None
    owner._process.cache_clear()
