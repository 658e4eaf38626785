"""Searches, grids and sweeps on the command line."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daskperiment import Experiment
from daskperiment.search import Search, SearchSpace, configuration_id, read_csv
from tests.cli.conftest import Answer, Command

SCRIPT = """
    import sys

    from daskperiment import Experiment
    from daskperiment.search import Float, Int

    ex = Experiment("train")
    rate = ex.parameter("rate", type=float, default=0.5, space=Float(0, 1))
    depth = ex.parameter("depth", type=int, default=2, space=Int(1, 3))

    @ex.result
    def loss(rate, depth):
        sys.stdout.write("training\\n")  # at once, as rows are printed meanwhile
        if depth == 9:
            raise ValueError("too deep")
        ex.log_metric("size", depth)
        return (rate - 0.3) ** 2 + depth

    if __name__ == "__main__":
        loss(rate, depth)
    """
MODULE = """
    def run(id, run, x=1, y="a", **others):
        if x == 5:
            raise ValueError("five")
        return {"id": id, "run": run, "loss": x**2}
    """
SLOW = """
    import time
    from pathlib import Path

    def run(x, **others):
        while x > 2 and not Path("go").exists():
            time.sleep(0.01)
        return x
    """


@pytest.fixture(autouse=True)
def files() -> None:
    for name, text in {"train.py": SCRIPT, "work.py": MODULE, "slow.py": SLOW}.items():
        Path(name).write_text(textwrap.dedent(text))
    Path("space.toml").write_text('x = [1, 2, 3]\ny = ["a", "b"]\n')
    Path("slow.toml").write_text("x = [1, 2, 3, 4]\n")


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def one_trial_each(path: str) -> list[int]:
    """Places in the table, of which each stands there once."""
    places = sorted(int(row["place"]) for row in rows(path))
    assert len(set(places)) == len(places)
    return places


def search(command: Command, *arguments: str) -> Answer:
    return command("search", "train.py", "--sampler", "random", *arguments)


# -- search ------------------------------------------------------------------------------------


def test_a_search_shows_each_trial_and_the_best_one(command: Command) -> None:
    answer = search(command, "-n", "8", "--seed", "1", "--workers", "2")

    found = Experiment("train").get_search()
    lines = answer.out.splitlines()
    trials = [line for line in lines if line[:5].strip().isdigit()]
    assert answer.code == 0
    assert len(trials) == 8
    assert trials[0].endswith("best so far")
    assert "search-1 of train  COMPLETE" in lines
    assert "trials  8: 8 complete" in lines
    assert f"best    result {found.best.result!r} of trial {found.best.number}" in lines
    values = found.best.parameters
    assert lines[-1] == f"with    rate={values['rate']!r} depth={values['depth']}"
    assert "[INFO]" not in answer.err


def test_json_is_one_line_on_stdout(command: Command) -> None:
    answer = search(command, "-n", "4", "--seed", "1", "--json", "--direction", "maximize")

    document = answer.document
    best = Experiment("train").get_search().best
    assert answer.out.count("\n") == 1
    assert (document["state"], document["trials"]) == ("COMPLETE", 4)
    assert document["best"] == {
        "number": best.number, "value": best.result, "parameters": best.parameters
    }  # fmt: skip
    assert "training" in answer.err
    assert best.result == max(t.result for t in Experiment("train").get_search().trials)


def test_the_seed_decides_and_resume_adds(command: Command) -> None:
    once = search(command, "-n", "3", "--seed", "5", "--workers", "1", "--json").document
    search(command, "-n", "2", "--seed", "5", "--name", "again", "--workers", "1")
    again = search(command, "-n", "3", "--seed", "5", "--name", "again", "--resume", "--json")

    assert again.document["best"]["parameters"] == once["best"]["parameters"]
    assert again.document["trials"] == 3


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_module_is_searched_in_the_space_of_a_file(command: Command, executor: str) -> None:
    arguments = ("--space", "space.toml", "--metric", "loss=max", "--csv", "out.csv")
    answer = command(
        "search", "work.py", "--sampler", "grid", "--executor", executor, "--workers", "1",
        *arguments,
    )  # fmt: skip

    assert answer.code == 0
    assert "best    loss 9 of trial 5" in answer.out
    assert [(row["x"], row["y"], row["loss"], row["state"]) for row in rows("out.csv")] == [
        (str(x), y, str(x**2), "COMPLETE") for x in (1, 2, 3) for y in "ab"
    ]
    for row in rows("out.csv"):
        assert row["id"] == configuration_id({"x": int(row["x"]), "y": row["y"]})
        assert Experiment("work")[int(row["trial"])].parameters["x"] == int(row["x"])


def test_a_failed_trial_has_a_row_and_makes_the_exit_code(command: Command) -> None:
    Path("space.json").write_text('{"x": [1, 5]}')
    arguments = ("search", "work.py", "--space", "space.json", "--sampler", "grid")

    answer = command(*arguments, "--metric", "loss=min", "--csv", "out.csv")

    assert answer.code == 1
    assert "FAILED        x=5  ValueError(five)" in answer.out
    assert sorted((r["x"], r["state"], r["loss"]) for r in rows("out.csv")) == [
        ("1", "COMPLETE", "1"), ("5", "FAILED", ""),
    ]  # fmt: skip


def test_a_search_without_a_number_is_no_success(command: Command) -> None:
    answer = search(command, "-n", "1", "--metric", "nothing=min")

    assert answer.code == 1
    assert "No trial is complete with a number." in answer.out


def test_several_metrics_give_the_trials_that_none_is_better_than(command: Command) -> None:
    metrics = ("--metric", "result=min", "--metric", "size=max")

    answer = search(command, "-n", "6", "--seed", "2", *metrics)

    best = search(command, "-n", "6", "--seed", "2", *metrics, "--main-metric", "size", "--json")
    assert answer.code == 0
    assert "that none is better than" in answer.out
    assert best.document["best"]["value"] == 3.0


def test_rules_end_a_search(command: Command) -> None:
    target = search(command, "--target", "100", "--seed", "1", "--workers", "1", "--json")
    patience = search(command, "--patience", "2", "--delta", "50", "--workers", "1", "--json")
    together = search(command, "-n", "4", "--workers", "2", "--sync", "--deterministic", "--json")

    assert target.document["trials"] == 1
    assert patience.document["trials"] == 3
    assert together.document["trials"] == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train.py", "--sampler", "random"], "no end: give -n, such as -n 50, or --timeout"),
        (["work.py", "-n", "2"], "nothing to search in: give --space FILE"),
        (["train.py", "--sampler", "grid"], "rate: .* has infinitely many values"),
        (["train.py", "-n", "2", "--metric", "loss"], "such as loss=min"),
        (["train.py", "-n", "2", "--main-metric", "size"], "name each by --metric NAME=min"),
        (["train.py", "-n", "2", "--metric", "size=min", "--direction", "maximize"], "leave out"),
        (["train.py", "-n", "2", "--sync"], "--sync waits for all --workers"),
        (["train.py", "-n", "2", "--csv", "no/out.csv"], "There is no folder 'no'"),
        (["train.py", "-n", "2", "--plot", "no/out.png"], "There is no folder 'no'"),
        (["train.py", "-n", "2", "--plot", "out.xyz"], "such as out.png, out.pdf or out.svg"),
        (["train.py", "-n", "2", "--space", "space.toml"], "Parameter is not declared: x"),
        (["train.py", "-n", "2", "--executor", "thread"], "There is no executor 'thread'"),
        (["empty.py", "-n", "2"], "nothing to run in empty.py"),
        (["train.py", "-n", "2", "--name", "known"], "--resume goes on with it"),
        (["train.py", "-n", "2", "-e", "train"], "the file names its experiment"),
        (["ends.py", "-n", "2"], "ended before it has built a result: usage"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(
    command: Command, arguments: list[str], told: str
) -> None:
    Path("empty.py").write_text("x = 1")
    Path("ends.py").write_text("raise SystemExit('usage')")
    if "known" in arguments:
        search(command, "-n", "1", "--name", "known")
    before = Experiment("train").trial_id

    sampler = [] if "--sampler" in arguments else ["--sampler", "random"]
    answer = command("search", *arguments, *sampler)

    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert re.search(told, answer.err)
    assert Experiment("train").trial_id == before


def test_the_file_s_own_error_is_shown_as_python_shows_it(command: Command) -> None:
    Path("broken.py").write_text("import nothing_like_it")

    answer = command("search", "broken.py", "-n", "2")

    assert answer.code == 1
    assert "No module named 'nothing_like_it'" in answer.err
    assert "contextlib" not in answer.err


def test_a_table_with_other_columns_is_left_as_it_is(command: Command) -> None:
    Path("out.csv").write_text("a,b\n1,2\n")

    answer = search(command, "-n", "2", "--csv", "out.csv", "--resume")

    assert answer.code == 2
    assert "out.csv has other columns than this search" in answer.err
    assert Path("out.csv").read_text() == "a,b\n1,2\n"


def test_a_table_goes_on_without_a_line_that_was_cut_off(command: Command) -> None:
    search(command, "-n", "3", "--csv", "out.csv", "--seed", "1", "--workers", "1")
    whole = Path("out.csv").read_text()
    lost = whole[: whole.rfind(",")]
    Path("out.csv").write_text(lost)

    search(command, "-n", "5", "--csv", "out.csv", "--seed", "1", "--workers", "1", "--resume")

    assert Path("out.csv").read_text().startswith(whole)
    assert one_trial_each("out.csv") == [0, 1, 2, 3, 4]


def test_a_parameter_may_be_called_like_a_column(command: Command) -> None:
    Path("odd.py").write_text("def run(state, **others):\n    return state")
    Path("odd.json").write_text('{"state": [1], "note": ["0.5", "a,b"]}')

    command("search", "odd.py", "--space", "odd.json", "--sampler", "grid", "--csv", "out.csv")

    (first, second) = rows("out.csv")
    assert (first["state"], first["state (parameter)"]) == ("COMPLETE", "1")
    assert {first["note"], second["note"]} == {'"0.5"', "a,b"}


# -- interrupts --------------------------------------------------------------------------------


def begun(*arguments: str) -> subprocess.Popen[str]:
    """A search of slow.py that has written the rows of two trials and runs the others."""
    process = subprocess.Popen(
        [sys.executable, "-m", "daskperiment", "search", "slow.py", "--space", "slow.toml",
         "--sampler", "grid", "--workers", "2", "--csv", "out.csv", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: Path("out.csv").exists() and len(rows("out.csv")) == 2)
    return process


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_was_ended_goes_on_with_what_is_missing(
    command: Command, way: signal.Signals
) -> None:
    process = begun()
    process.send_signal(way)
    if way is signal.SIGINT:
        Path("go").touch()
    _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if way is signal.SIGINT else -signal.SIGKILL)
    if way is signal.SIGINT:
        assert "of search-1 are done and kept; the same command with --resume goes on" in told
    else:
        begun_again = command("resume", "-e", "slow")
        assert begun_again.code == 2
        assert "Search 'search-1' was begun on the command line" in begun_again.err
    left = rows("out.csv")
    Path("go").touch()

    answer = command(
        "search", "slow.py", "--space", "slow.toml", "--sampler", "grid", "--csv", "out.csv",
        "--resume", "--json",
    )  # fmt: skip

    assert answer.code == 0
    assert rows("out.csv")[: len(left)] == left
    assert one_trial_each("out.csv") == [0, 1, 2, 3]
    assert answer.document["search"] == "search-1"
    assert answer.document["complete"] == 4


# -- grid --------------------------------------------------------------------------------------


def grid(command: Command, *arguments: str) -> Answer:
    return command("grid", "work.py", "--space", "space.toml", *arguments)


def test_the_exported_table_is_what_runs(command: Command) -> None:
    listed = grid(command, "--list", "--csv", "list.csv", "--json").document
    assert Experiment("work").trial_id == 0

    answer = grid(command, "--metric", "loss=min", "--csv", "out.csv", "--workers", "1")

    ran = [t.parameters for t in Experiment("work").get_search().trials]
    assert answer.code == 0
    assert read_csv("list.csv") == ran == list(SearchSpace.read("space.toml").grid())
    assert [row["id"] for row in listed] == [row["id"] for row in rows("out.csv")]
    assert [row["index"] for row in listed] == list(range(6))
    assert set(listed[0]) == {"index", "id", "parameters"}


def test_chosen_configurations_are_repeated(command: Command) -> None:
    chosen = configuration_id({"x": 3, "y": "a"})
    arguments = ("--repeats", "2", "--ids", f"1,{chosen}", "--ids", "1", "--workers", "1")

    grid(command, *arguments, "--list", "--csv", "list.csv")
    answer = grid(command, *arguments, "--metric", "loss=min")

    trials = Experiment("work").get_search().trials
    x1, x3 = {"x": 1, "y": "b"}, {"x": 3, "y": "a"}
    assert answer.code == 0
    assert [t.parameters for t in trials] == read_csv("list.csv") == [x1, x1, x3, x3]
    assert [(t.result["id"], t.result["run"]) for t in trials] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert len({t.seed for t in trials}) == 4


def test_an_unknown_configuration_is_refused_with_those_that_are_near(command: Command) -> None:
    known = configuration_id({"x": 1, "y": "a"})

    near, far = grid(command, "--ids", known[:-1]), grid(command, "--ids", "6")

    assert (near.code, far.code) == (2, 2)
    assert f"did you mean {known}" in near.err
    assert "among the 6, which have indices from 0 to 5: --list shows their ids" in far.err
    assert Experiment("work").trial_id == 0


# -- run --sweep -------------------------------------------------------------------------------


def test_a_sweep_runs_all_combinations_by_declared_types(command: Command) -> None:
    sweeps = ("--sweep", "depth=3:10:2", "--sweep", "rate=0.1,1")

    answer = command("run", *sweeps, "train.py", "--seed", "3")

    trials = list(Experiment("train").trials)
    assert answer.code == 1
    assert [t.parameters for t in sorted(trials, key=lambda t: t._row["place"])] == [
        {"rate": rate, "depth": depth} for depth in (3, 5, 7, 9) for rate in (0.1, 1.0)
    ]
    assert {t.seed for t in trials} == {3}
    assert answer.out.count("ValueError(too deep)") == 2


def test_a_sweep_goes_together_with_values(command: Command) -> None:
    answer = command("run", "--json", "--sweep", "rate=0.1,0.2", "train.py", "depth=4")

    assert answer.code == 0
    assert [row["parameters"] for row in answer.document] == [
        {"rate": 0.1, "depth": 4}, {"rate": 0.2, "depth": 4},
    ]  # fmt: skip


def test_a_module_is_swept_too(command: Command) -> None:
    answer = command("run", "--json", "--sweep", "x=2:4", "--sweep", "z=[1],b", "work.py")

    assert [row["parameters"] for row in answer.document] == [
        {"x": x, "y": "a", "z": z} for x in (2, 3) for z in ([1], "b")
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sweep", "rate", "train.py"], "such as lr=0.1,0.01"),
        (["--sweep", "rate=", "train.py"], "such as lr=0.1,0.01"),
        (["--sweep", "depth=2.5", "train.py"], "must be of type int"),
        (["--sweep", "depth=3:3", "train.py"], "The range 3:3 has no value"),
        (["--sweep", "dept=3", "train.py"], "did you mean 'depth'"),
        (["--sweep", "depth=3", "train.py", "depth=4"], "'depth' is given twice"),
        (["--sweep", "depth=3", "--sweep", "depth=4", "train.py"], "'depth' is given twice"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(
    command: Command, arguments: list[str], told: str
) -> None:
    answer = command("run", *arguments)

    assert answer.code == 2
    assert told in answer.err
    assert Experiment("train").trial_id == 0


# -- looking -----------------------------------------------------------------------------------


def test_searches_are_listed_and_shown(command: Command) -> None:
    search(command, "-n", "3", "--seed", "1", "--name", "first")
    search(command, "-n", "2", "--seed", "2", "--name", "second", "--metric", "size=max")

    listed = command("searches")
    shown = command("searches", "first", "--json").document

    assert [line.split()[:2] for line in listed.out.splitlines()] == [
        ["SEARCH", "STATE"], ["second", "COMPLETE"], ["first", "COMPLETE"],
    ]  # fmt: skip
    assert [row["search"] for row in command("searches", "--json").document] == ["second", "first"]
    assert [row["place"] for row in shown["rows"]] == [0, 1, 2]
    assert min(row["values"]["result"] for row in shown["rows"]) == shown["best"]["value"]
    assert "size" in command("searches", "second").out.lower()
    assert "has no search 'third'" in command("searches", "third").err


def test_an_experiment_without_a_search_says_so(command: Command, example: Experiment) -> None:
    assert command("searches", "-e", "example").out == "No search.\n"


def test_best_is_what_the_last_search_calls_the_best(command: Command) -> None:
    search(command, "-n", "5", "--seed", "1", "--direction", "maximize")
    largest = max(Experiment("train").trials, key=lambda t: t.result).number
    shown = command("show", "best", "--json").document

    search(command, "-n", "3", "--seed", "2", "--metric", "size=min")
    smallest = min(Experiment("train").trials, key=lambda t: (t.metrics["size"][0].value, t.number))

    assert shown["trial"] == largest
    assert command("show", "best", "--json").document["trial"] == smallest.number
    again = command("show", "best", "--direction", "maximize", "--json").document
    assert again["result"] >= shown["result"]

    search(command, "-n", "1", "--metric", "size=min", "--metric", "result=min")
    assert "give the direction" in command("show", "best").err


@pytest.mark.skipif(not hasattr(Search, "plot"), reason="there are no plots")
def test_a_plot_is_drawn(command: Command) -> None:
    assert search(command, "-n", "2", "--plot", "out.png").code == 0
    assert Path("out.png").stat().st_size > 0
