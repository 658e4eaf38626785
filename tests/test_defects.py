"""What broke in the original system cannot happen here: X1-X15 of its defects."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import redis
from blake3 import blake3
from pymongo import MongoClient

from daskperiment import (
    CodeChangedWarning,
    Experiment,
    InvalidNameError,
    ParameterUndeclaredError,
    PurityWarning,
    SeedError,
    UntrustedPayloadError,
    ValueNotKeptError,
)
from daskperiment.backends import Backend, Put, Update
from daskperiment.cli.main import run as command
from daskperiment.dashboard import serving
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.files import static_files
from tests.conftest import needs_program
from tests.servers import MongoServer, RedisServer, redis_server
from tests.torture.trust import Bomb


def run(script: str, *arguments: str, wait: bool = True) -> Any:
    """Run a script of its own, as a user would, in the working directory."""
    Path("script.py").write_text(textwrap.dedent(script))
    process = subprocess.Popen(
        [sys.executable, "script.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if not wait:
        return process
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


LOOP = """
    from daskperiment import Experiment
    ex = Experiment("killed")

    @ex.result
    def double(a):
        return 2 * a

    s = double(ex.parameter("a"))
    for a in range({n}):
        s.compute(parameters={{"a": a}}, scheduler="synchronous")
        print(a, flush=True)
"""


# -- X1: one pickle, rewritten after every trial --


def test_x1_a_result_that_cannot_be_kept_costs_nothing_else(ex: Experiment) -> None:
    @ex.result
    def lock(kind: str) -> Any:
        return threading.Lock() if kind == "lock" else kind

    s = lock(ex.parameter("kind"))
    s.compute(parameters={"kind": "text"})
    assert type(s.compute(parameters={"kind": "lock"})) is type(threading.Lock())
    s.compute(parameters={"kind": "more"})

    assert [trial.state for trial in ex.trials] == ["COMPLETE"] * 3
    assert (ex[1].result, ex[3].result) == ("text", "more")
    with pytest.raises(ValueNotKeptError, match="lock"):
        ex[2].result
    assert "lock" in repr(ex.get_history().loc[2, "Result"])


def test_x1_kill_9_loses_no_finished_trial() -> None:
    acknowledged = 0
    for attempt in range(1, 6):
        process = run(LOOP.format(n=100_000), wait=False)
        for _ in range(5 * attempt):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        acknowledged += 5 * attempt + len(rest.splitlines())

        history = Experiment("killed").get_history(columns=["a", "Result", "State"])
        complete = history[history["State"] == "COMPLETE"]
        assert len(complete) >= acknowledged
        assert (complete["Result"] == 2 * complete["a"]).all()
        assert list(history.index) == list(range(1, len(history) + 1))
        assert set(history["State"]) <= {"COMPLETE", "CRASHED"}


# -- X2: no safety between processes, paths baked in --


def test_x2_four_processes_lose_nothing() -> None:
    processes = [run(LOOP.format(n=25), wait=False) for _ in range(4)]
    for process in processes:
        process.communicate(timeout=100)
        assert process.returncode == 0

    ex = Experiment("killed")
    assert [trial.number for trial in ex.trials] == list(range(1, 101))
    assert sorted(ex.get_history()["a"]) == sorted(list(range(25)) * 4)


@pytest.mark.filterwarnings("ignore::daskperiment.EnvironmentChangedWarning")
def test_x2_a_copied_folder_is_a_store_of_its_own() -> None:
    run(LOOP.format(n=2))
    shutil.copytree("daskperiment_cache", "copy")

    ex = Experiment("killed", backend="copy")
    ex.result(lambda: 7, name="seven")().compute()

    assert [trial.result for trial in ex.trials] == [0, 2, 7]
    assert Experiment("killed").trial_id == 2


def test_x2_a_folder_removed_in_a_session_is_begun_anew(tmp_path: Path) -> None:
    ex = Experiment("again")

    @ex.result
    def one() -> int:
        return 1

    one().compute()
    shutil.rmtree("daskperiment_cache")
    one().compute()

    assert [trial.number for trial in ex.trials] == [1]
    assert "def one" in ex.get_code(1)
    assert ex.latest.environment["packages"]["dask"]


# -- X3: the trial lock leaks --


def test_x3_a_bad_seed_takes_no_number_and_blocks_nothing(ex: Experiment) -> None:
    @ex.result
    def one() -> int:
        return 1

    for seed in (-1, 2**32, 1.5, True, "7"):
        with pytest.raises(SeedError, match="4294967295|2\\*\\*32"):
            one().compute(seed=seed)  # type: ignore[arg-type]

    assert ex.trial_id == 0
    assert one().compute(seed=np.int64(3)) == 1
    assert ex.latest.seed == 3


# -- X4: one trial at a time, with global parameters --


def test_x4_trials_with_their_own_parameters_run_at_the_same_time(ex: Experiment) -> None:
    together = threading.Barrier(3)

    @ex.result
    def meet(a: int) -> int:
        together.wait(30)
        return a

    a = ex.parameter("a", default=-1)
    s = meet(a)
    with ThreadPoolExecutor(3) as pool:
        values = list(pool.map(lambda n: s.compute(parameters={"a": n}), range(3)))

    assert values == [0, 1, 2]
    assert sorted(trial.parameters["a"] for trial in ex.trials) == [0, 1, 2]
    assert all(trial.parameters["a"] == trial.result for trial in ex.trials)
    assert a.compute() == -1


# -- X5: only in-process schedulers --


def test_x5_every_scheduler_records_the_same(ex: Experiment, scheduler: Any) -> None:
    @ex.persist
    def inc(a: int) -> int:
        ex.log_metric("loss", a, epoch=3)
        ex.save_artifact("note.txt", b"hello")
        ex.artifact_path("deep/file.txt").write_text("there")
        return a + 1

    @ex.result
    def double(x: int) -> int:
        return 2 * x

    assert double(inc(ex.parameter("a", default=4))).compute(scheduler=scheduler) == 10

    trial = ex.latest
    assert (trial.state, trial.result, trial.persisted("inc")) == ("COMPLETE", 10, 5)
    assert trial.metrics["loss"][0][:2] == (3, 4)
    assert {name: a.read() for name, a in trial.artifacts.items()} == {
        "note.txt": b"hello",
        "deep/file.txt": b"there",
    }
    assert list(trial.steps["step"]) == ["inc", "double"]


# -- X6: building a graph executes it, reading sys.argv --


def test_x6_a_script_runs_only_what_it_computes_whatever_its_arguments() -> None:
    code, out, err = run(
        """
        import sys
        from daskperiment import Experiment
        ex = Experiment("script")

        @ex.result
        def double(a):
            return 2 * a

        s = double(ex.parameter("a", default=1))
        print(ex.trial_id, s.compute(), ex.trial_id, sys.argv[1:])
        """,
        "a=foo",
        "--verbose",
        "x y",
    )

    assert (code, out) == (0, "0 2 1 ['a=foo', '--verbose', 'x y']\n"), err


AS_A_SCRIPT = """
    from daskperiment import Experiment
    ex = Experiment("script")

    @ex.result
    def pair(a, b):
        return [a, b]

    s = pair(ex.parameter("a"), ex.parameter("b", default=0))
    {end}
"""


def test_x6_building_a_graph_in_another_program_reads_no_arguments(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "-q", "a=1"])

    a = memory_ex.parameter("a")
    memory_ex.result(lambda a: a, name="same")(a)

    assert a.is_undefined
    assert memory_ex.trial_id == 0


def test_x6_any_text_is_a_value_and_a_wrong_argument_is_one_line() -> None:
    script = AS_A_SCRIPT.format(end="")

    good, bad = run(script, "a=foo", "b=two words"), run(script, "a=1", "--verbose")

    assert good[0] == 0, good[2]
    assert bad[0] == 2
    assert bad[2].splitlines()[-1].startswith("script.py: Argument cannot be read: --verbose; ")
    assert [trial.result for trial in Experiment("script").trials] == [["foo", "two words"]]


# -- X7: a singleton by id --


def test_x7_handles_of_one_id_do_not_share_backend_or_parameters() -> None:
    first = Experiment("same", backend="one", seed=1)
    first.parameter("a", default=1)
    second = Experiment("same", backend="two")
    b = second.parameter("a", default=2)
    second.result(lambda a: a, name="it")(b).compute()

    assert (first.get_parameters(), second.get_parameters()) == ({"a": 1}, {"a": 2})
    assert (first.trial_id, second.trial_id) == (0, 1)
    assert first.seed == 1


def test_x7_a_failed_constructor_leaves_nothing_behind() -> None:
    with pytest.raises(SeedError):
        Experiment("again", seed=-1)

    assert Experiment("again").seed is None


# -- X8: seeding does not give reproducibility --


def test_x8_threads_draw_what_a_serial_run_draws(memory_ex: Experiment) -> None:
    @memory_ex
    def draw(i: int) -> list[float]:
        values = []
        for _ in range(20):
            values += [random.random(), float(np.random.normal())]
            time.sleep(0.0005)
        return values

    @memory_ex.result
    def collect(parts: list[list[float]]) -> list[list[float]]:
        return parts

    s = collect([draw(i) for i in range(6)])
    serial = s.compute(seed=5, scheduler="synchronous")

    for _ in range(3):
        assert s.compute(seed=5, scheduler="threads", num_workers=6) == serial
    assert len({tuple(part) for part in serial}) == 6


def test_x8_a_drawn_seed_owes_nothing_to_an_earlier_one(memory_ex: Experiment) -> None:
    @memory_ex.result
    def constant() -> int:
        return 1

    for _ in range(3):
        constant().compute(seed=1)
        constant().compute()

    drawn = [trial.seed for trial in memory_ex.trials][1::2]
    assert len(set(drawn)) == 3


def test_x8_the_users_own_streams_stay_where_they_were(memory_ex: Experiment) -> None:
    @memory_ex.result
    def draw() -> float:
        return random.random() + float(np.random.random())

    random.seed(3)
    np.random.seed(3)
    draw().compute(seed=1)

    assert (random.random(), np.random.random()) == (
        random.Random(3).random(),
        np.random.RandomState(3).random_sample(),
    )


# -- X9: the purity check is unsound --


def test_x9_an_edited_step_is_told_from_an_impure_one(memory_ex: Experiment) -> None:
    ex = memory_ex
    a = ex.parameter("a", default=2)

    def define(factor: Callable[[int], int]) -> Any:
        @ex.result
        def score(a: int) -> int:
            return factor(a)

        return score(a)

    define(lambda a: a).compute(seed=1)
    with (
        pytest.warns(PurityWarning, match=r"'score'.*\n?.*Cause: helper"),
        pytest.warns(CodeChangedWarning, match="helper"),
    ):
        define(lambda a: a + 1).compute(seed=1)


def test_x9_the_observation_of_the_same_circumstances_decides(backend: Backend) -> None:
    def run(seed: int) -> Any:
        ex = Experiment("observed", backend=backend)  # as another session would

        @ex.result
        def draw(a: int) -> float:
            return random.random()

        return draw(ex.parameter("a", default=1)).compute(seed=seed)

    first = run(seed=1)
    with pytest.warns(PurityWarning, match="Cause: seed"):
        run(seed=2)

    assert run(seed=1) == first  # a warning would be an error


class Box:
    """An object as users write them."""

    def __init__(self, content: int) -> None:
        self.content = content


def test_x9_objects_are_compared_by_what_is_in_them(memory_ex: Experiment) -> None:
    outputs = iter([1, 1, 2])

    @memory_ex.result
    def unbox(box: Box) -> int:
        return next(outputs)

    s = unbox(memory_ex.parameter("box"))
    s.compute(parameters={"box": Box(1)}, seed=1)
    s.compute(parameters={"box": Box(1)}, seed=1)
    with pytest.warns(PurityWarning, match="Cause: unexplained"):
        s.compute(parameters={"box": Box(1)}, seed=1)


def test_x9_a_warning_comes_once_for_each_step_and_set_of_causes(memory_ex: Experiment) -> None:
    @memory_ex
    def draw(a: int) -> float:
        return random.random()

    @memory_ex.result
    def total(parts: list[float]) -> int:
        return len(parts)

    s = total([draw(1), draw(1), draw(1)])
    s.compute(seed=1)
    with pytest.warns(PurityWarning) as caught:
        s.compute(seed=2)

    assert len(caught.list) == 1


# -- X10: code tracking stops at the process end and at the decorator --

EDITED = """
    from daskperiment import Experiment
    from kitchen import scale
    ex = Experiment("edited")

    @ex.result
    def weigh(a):
        return scale(a){more}

    weigh(ex.parameter("a", default=1)).compute()
"""


def test_x10_an_edited_script_is_told_in_the_next_session() -> None:
    Path("kitchen.py").write_text("def scale(x):\n    return x\n")
    run(EDITED.replace("{more}", ""))

    _, _, err = run(EDITED.replace("{more}", " + 1"))

    assert "CodeChangedWarning: Code has changed since trial 1:\nstep 'weigh'\n" in err
    assert "  -    return scale(a)\n  +    return scale(a) + 1\n" in err


def test_x10_an_edited_helper_of_a_helper_is_told_in_the_next_session() -> None:
    Path("kitchen.py").write_text("import units\n\ndef scale(x):\n    return units.grams(x)\n")
    Path("units.py").write_text("def grams(x):\n    return 1000 * x\n")
    run(EDITED.replace("{more}", ""))
    Path("units.py").write_text("def grams(x):\n    return 1024.0 * x\n")

    _, _, err = run(EDITED.replace("{more}", ""))

    assert "CodeChangedWarning: Code has changed since trial 1:\nstep 'weigh'\n" in err
    assert "  helper units.grams\n" in err
    assert "  -    return 1000 * x\n  +    return 1024.0 * x\n" in err


# -- X11: environment capture is slow, noisy and fragile --


ENVIRONMENT = """
    from daskperiment import Experiment
    ex = Experiment("surroundings")
    ex.result(lambda: 1, name="one")().compute()
    row = ex.latest._known
    print(row["environment"], ex.latest.environment["cpu"]["model"])
"""


def test_x11_two_runs_of_one_script_have_one_environment() -> None:
    (first, out, err), (second, same, _) = run(ENVIRONMENT), run(ENVIRONMENT)

    assert (first, second) == (0, 0), err
    assert out == same
    assert out.startswith("v1:")
    assert out.split(" ", 1)[1].strip()


def test_x11_a_repository_without_commits_is_no_trouble() -> None:
    needs_program("git")
    subprocess.run(["git", "init", "--quiet"], check=True)

    code, _, err = run(ENVIRONMENT)

    assert code == 0, err
    git = Experiment("surroundings").latest.environment["git"]
    assert (git["commit"], git["dirty"]) == (None, False)
    assert git["repository"] == str(Path.cwd())


def test_x11_a_directory_where_nothing_can_be_written_is_no_trouble(tmp_path: Path) -> None:
    code, _, err = run(
        """
        import os
        from pathlib import Path
        from daskperiment import Experiment

        Path("closed").mkdir()
        Path("closed").chmod(0o500)
        os.chdir("closed")
        ex = Experiment("closed", backend="memory://")
        assert ex.result(lambda: 1, name="one")().compute() == 1
        assert ex.latest.environment["working_directory"].endswith("closed")
        assert not os.listdir()
        """
    )

    assert code == 0, err


# -- X12: interrupted trials vanish --


@pytest.mark.parametrize(
    ("error", "state"),
    [(KeyboardInterrupt, "CANCELLED"), (SystemExit, "FAILED"), (ValueError, "FAILED")],
)
def test_x12_every_end_of_a_trial_has_its_row(
    ex: Experiment, error: type[BaseException], state: str
) -> None:
    @ex.result
    def stop() -> None:
        ex.log_metric("loss", 0.5)
        raise error("enough")

    with pytest.raises(error):
        stop().compute(scheduler="synchronous")

    row = ex.get_history(columns=["State", "Success", "Description"]).loc[1]
    assert (row["State"], row["Success"]) == (state, False)
    assert row["Description"] == f"{error.__name__}(enough)"
    assert ex.latest.metrics["loss"][0].value == 0.5
    assert "raise error" in str(ex.latest.traceback)
    assert "run_step" not in str(ex.latest.traceback)


@pytest.mark.skipif(os.name == "nt", reason="needs kill -9")
def test_x12_a_killed_trial_keeps_its_number_and_is_crashed() -> None:
    process = run(
        """
        import os, signal
        from daskperiment import Experiment
        ex = Experiment("crash")

        @ex.result
        def die(a):
            ex.log_metric("loss", 1.0)
            ex._current("flush")._running.trial.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        die(ex.parameter("a", default=1)).compute()
        """,
        wait=False,
    )
    _, err = process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL, err

    ex = Experiment("crash")
    ex.result(lambda: 2, name="two")().compute()

    assert list(ex.get_history(columns=["State"])["State"]) == ["CRASHED", "COMPLETE"]
    assert ex[1].parameters == {"a": 1}
    assert ex[1].metrics["loss"][0].value == 1.0


# -- X14: remote backends are risky and out of date --


def test_x13_the_board_listens_to_this_machine_alone(ex: Experiment) -> None:
    with serving.start(ex.backend, ex.id, port=0) as dashboard:
        assert dashboard.url.startswith("http://127.0.0.1:")
        port = int(dashboard.url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
    with serving.start(ex.backend, ex.id, host="0.0.0.0", port=0) as dashboard:
        assert len(dashboard.url.partition("token=")[2]) >= 43  # 256 bits


def test_x13_text_of_trials_is_no_html(ex: Experiment) -> None:
    @ex.result
    def score(a: str) -> str:
        return a

    hostile = "<script>alert(1)</script>"
    score(ex.parameter(hostile)).compute(parameters={hostile: hostile})
    client = create_app(Board(ex.backend, ex.id)).test_client()

    assert "<script>" not in client.get("/json/table").text
    assert client.get("/api/v1/experiments/example/trials/1").mimetype == "application/json"
    assert client.get("/data/code/1").mimetype == "text/plain"


def test_x13_nothing_to_show_is_no_failure(ex: Experiment) -> None:
    client = create_app(Board(ex.backend, ex.id)).test_client()
    paths = (
        "/", "/json/table", "/json/summary/result", "/json/metric/", "/json/summary/other",
        "/data/code/1", "/data/env/7", '/json/metric/?ids=[9]&keys=["x"]', "/json/metric/?ids=x",
    )  # fmt: skip

    statuses = [client.get(path).status_code for path in paths]

    assert statuses == [200, 200, 200, 200, 400, 404, 404, 404, 400]


def test_x13_a_running_trial_can_be_looked_at(ex: Experiment) -> None:
    client = create_app(Board(ex.backend, ex.id)).test_client()
    seen = []

    @ex.result
    def score(a: int) -> int:
        ex.save_metric("loss", 0, 0.5)
        for path in (
            "/data/code/1",
            "/data/env/1",
            "/json/table",
            "/api/v1/experiments/example/trials",
        ):
            seen.append(client.get(path).status_code)
        return a

    score(ex.parameter("a")).compute(parameters={"a": 1}, scheduler="synchronous")

    assert seen == [200] * 4


def test_x13_the_process_ends_and_others_trials_are_seen() -> None:
    script = """
    import json, subprocess, sys, urllib.request
    import daskperiment
    ex = daskperiment.Experiment("loop")
    dashboard = ex.start_dashboard(port=0, blocking=False)
    other = (
        "import daskperiment\\n"
        "ex = daskperiment.Experiment('loop')\\n"
        "@ex.result\\n"
        "def f(a): return a\\n"
        "f(ex.parameter('a')).compute(parameters={'a': 5})\\n"
    )
    subprocess.run([sys.executable, "-c", other], check=True)
    url = dashboard.url + "json/summary/result"
    print("data", json.load(urllib.request.urlopen(url))["datasets"][0]["data"])
    """

    code, out, _ = run(script)

    assert code == 0
    assert "data [5]" in out


def test_x13_the_page_is_in_the_package_and_needs_no_network() -> None:
    found = static_files()

    assert {"index.html", "style.css"} <= set(found)
    for path, file in found.items():
        if not path.startswith("vendor/"):
            assert b"//cdn" not in file.content and b"https://" not in file.content, path


def test_x14_cleaning_up_leaves_what_belongs_to_others(redis_running: RedisServer) -> None:
    with redis.Redis.from_url(f"{redis_running.uri[:-1]}7") as client:
        client.set("theirs", "stays")
        ex = Experiment("cleaned", backend=f"{redis_running.uri[:-1]}7")
        ex.result(lambda: 1, name="one")().compute()

        assert command(["rm", "-e", "cleaned", "--experiment-data", "--yes", "--backend",
                    f"{redis_running.uri[:-1]}7"]) == 0  # fmt: skip

        assert client.get("theirs") == b"stays"
        assert Experiment("cleaned", backend=client).trial_id == 0


def test_x14_options_and_credentials_of_a_live_pool_are_used(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", "--requirepass", "pool") as running:
        pool = redis.ConnectionPool(port=running.port, password="pool", db=3)
        ex = Experiment("pooled", backend=pool)
        assert ex.result(lambda: 1, name="one")().compute() == 1

        with redis.Redis(connection_pool=pool) as client:
            assert client.hexists("{daskperiment}:store", "id")
        assert ex.latest.result == 1
        pool.disconnect()


def test_x14_options_of_a_uri_are_no_part_of_the_name(redis_running: RedisServer) -> None:
    plain, optioned = f"{redis_running.uri[:-1]}8", f"{redis_running.uri[:-1]}8?socket_timeout=9"
    Experiment("optioned", backend=optioned).result(lambda: 1, name="one")().compute()

    assert Experiment("optioned", backend=plain).trial_id == 1


def test_x14_metrics_do_not_grow_one_document(mongo_running: MongoServer) -> None:
    ex = Experiment("growing", backend=mongo_running.uri("growing"))

    def train(points: int) -> int:
        for n in range(points):
            ex.log_metric("loss", n / 7, n)
        return points

    ex.result(train)(ex.parameter("points", default=60_000)).compute()

    assert len(ex.latest.metrics["loss"]) == 60_000
    with closing(MongoClient(mongo_running.uri("growing"))) as client:
        rows = list(client["growing"]["daskperiment_rows"].find({"path": {"$regex": "metrics"}}))
    assert len(rows) > 1
    assert max(len(str(row)) for row in rows) < 3_000_000


def test_x14_a_shared_store_runs_no_code_of_others(
    redis_running: RedisServer, tmp_path: Path
) -> None:
    ex = Experiment("planted", backend=f"{redis_running.uri[:-1]}9")
    ex.result(lambda: object, name="one")().compute()
    bomb = pickle.dumps(Bomb(str(tmp_path / "marker")))
    kept = {
        "type": "t", "preview": "p", "codec": "pickle", "size": len(bomb),
        "digest": blake3(bomb).hexdigest(),
    }  # fmt: skip
    ex.backend.apply(Put(bomb), Update("experiment/planted/trials", 1, {"result": kept}))

    ex.get_history()
    with pytest.raises(UntrustedPayloadError, match='trust="all"'):
        _ = ex.latest.result

    assert not (tmp_path / "marker").exists()


# -- X15: bypassed tracking, names that spoil --


def test_x15_no_way_of_computing_escapes_the_record(ex: Experiment) -> None:
    s = ex.result(lambda: 2, name="two")()

    dask.compute(s)
    (s + 1).compute()

    assert [trial.result for trial in ex.trials] == [2, 2]


def test_x15_every_call_of_a_persisted_step_is_kept(ex: Experiment) -> None:
    @ex.persist
    def square(i: int) -> int:
        return i * i

    @ex.result
    def total(parts: list[int]) -> int:
        return sum(parts)

    total([square(2), square(3), square(4)]).compute()

    assert [ex.get_persisted("square", 1, call=i) for i in range(3)] == [4, 9, 16]
    assert ex.get_persisted("square", 1) == 16


def test_x15_a_parameter_named_like_a_column_is_kept_and_renamed(ex: Experiment) -> None:
    names = ["Result", "Trial ID", "State", "a b", "train/lr", "naïve", "$set", "a.b"]
    s = ex.result(lambda *values: len(values), name="count")(*[ex.parameter(n) for n in names])
    s.compute(parameters=dict(zip(names, range(8), strict=True)))

    history = ex.get_history()
    assert list(history.columns[:3]) == [
        "Result (parameter)",
        "Trial ID (parameter)",
        "State (parameter)",
    ]
    assert list(history.loc[1])[:9] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert list(ex[1].parameters) == names


def test_x15_parameters_are_set_all_or_none(ex: Experiment) -> None:
    ex.parameter("learning_rate")
    ex.parameter("epochs", default=1)

    with pytest.raises(ParameterUndeclaredError, match="did you mean 'learning_rate'"):
        ex.set_parameters(epochs=5, learning_rat=0.1)

    assert str(ex.get_parameters()) == "{'learning_rate': Undefined, 'epochs': 1}"


def test_x15_an_unused_parameter_does_not_block_a_trial(ex: Experiment) -> None:
    ex.parameter("unused")
    assert ex.result(lambda a: a, name="same")(ex.parameter("a", default=None)).compute() is None

    assert ex[1].parameters == {"a": None}
    assert ex[1].state == "COMPLETE"


@pytest.mark.parametrize("name", ["", "1a", "a b", "a/b", "../x", "a.b", "a" * 65, None, 7, b"a"])
def test_x15_an_experiment_id_is_an_identifier(name: Any) -> None:
    with pytest.raises(InvalidNameError, match="^Experiment ID must be"):
        Experiment(name)
