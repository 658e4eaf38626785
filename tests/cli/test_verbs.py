"""What each verb tells and does."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from daskperiment import Experiment
from daskperiment.graph import Node
from tests.cli.conftest import Command

SCRIPT = """
from daskperiment import Experiment
ex = Experiment("script")
a = ex.parameter("a", type=float)

@ex.result
def score(a):
    print("printed by the script")
    return 10 / a

s = score(a)
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "train.py").write_text(SCRIPT)
    return "train.py"


# -- ls ---------------------------------------------------------------------------------------


def test_ls_lists_the_experiments_of_a_store(command: Command, example: Experiment) -> None:
    other = Experiment("other")
    other.result(lambda: 1, name="one")().compute()

    heads, first, second = command("ls").out.splitlines()

    assert heads.split() == ["EXPERIMENT", "TRIALS", "STATE", "LAST", "STARTED"]
    assert first.split()[:3] == ["example", "3", "FAILED"]
    assert second.split()[:3] == ["other", "1", "COMPLETE"]


def test_ls_lists_the_trials_of_an_experiment_the_newest_last(
    command: Command, example: Experiment
) -> None:
    example[2].tags = ["good"]

    lines = command("ls", "-e", "example").out.splitlines()

    assert [line.split()[:2] for line in lines[1:]] == [
        ["1", "COMPLETE"], ["2", "COMPLETE"], ["3", "FAILED"],
    ]  # fmt: skip
    assert "a=2 b=fast" in lines[2] and "5.0" in lines[2] and lines[2].endswith("good")
    assert "ZeroDivisionError(division by zero)" in lines[3]


def test_ls_lists_trials_that_run(command: Command) -> None:
    ex, seen = Experiment("example"), []

    @ex.result
    def look() -> None:
        for where in ([], ["--where", "not Success"]):
            seen.append(command("ls", "-e", "example", *where).out)

    look().compute()

    assert all("RUNNING" in out for out in seen)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--limit", "1"], [3]),
        (["--limit", "0"], []),
        (["--where", "a >= 2 and Success"], [1, 2]),
        (["--where", "Success", "--limit", "1"], [2]),
        (["--where", "Success", "--limit", "0"], []),
        (["--where", 'State == "FAILED"'], [3]),
    ],
)
def test_ls_chooses_trials(
    command: Command, example: Experiment, options: list[str], numbers: list[int]
) -> None:
    found = command("ls", *options, "--json").document

    assert [trial["trial"] for trial in found] == numbers


def test_removed_trials_are_listed_only_when_asked_for(
    command: Command, example: Experiment
) -> None:
    command("rm", "2")

    assert [t["trial"] for t in command("ls", "-e", "example", "--json").document] == [1, 3]
    everything = command("ls", "--all", "--json").document
    assert [(t["trial"], t["removed"] is not None) for t in everything] == [
        (1, False), (2, True), (3, False),
    ]  # fmt: skip


# -- show, history, metrics, artifacts ----------------------------------------------------------


def test_show_tells_everything_important_of_a_trial(command: Command, example: Experiment) -> None:
    example[2].tags, example[2].note = ["good"], "the best so far"

    lines = command("show", "2").out.splitlines()
    rows = [line.split() for line in lines]

    assert lines[0] == "Trial 2 of example  COMPLETE"
    for row in (
        ["parameter", "a", "=", "2"],
        ["parameter", "b", "=", "fast"],
        ["result", "5.0"],
        ["seed", "7"],
        ["tags", "good"],
        ["note", "the", "best", "so", "far"],
        ["uid", example[2].uid],
        ["loss", "2", "nan", "0.5", "0.5"],
        ["notes/read.txt", "5", "B"],
    ):
        assert row in rows
    assert [row[:3] for row in rows if row[1:2] == ["0"]] == [
        ["prepare", "0", "ran"], ["score", "0", "ran"],
    ]  # fmt: skip


def test_show_of_a_failed_trial_ends_with_its_traceback(
    command: Command, example: Experiment
) -> None:
    code, out, _ = command("show", "latest")

    assert code == 0
    assert "Trial 3 of example  FAILED" in out
    assert "ZeroDivisionError: division by zero\nin step 'score' of trial 3" in out


def test_a_result_of_none_is_shown(command: Command) -> None:
    Experiment("example").result(lambda: None, name="nothing")().compute()

    assert "\nresult      None\n" in command("show").out


def test_history_shows_the_documented_columns(command: Command, example: Experiment) -> None:
    heads, first, *_ = command("history").out.splitlines()

    assert heads.split("  ")[0] == "Trial ID"
    assert "a  b     Result  Success  Finished" in heads
    assert first.split()[:5] == ["1", "4", "fast", "2.5", "True"]


def test_history_takes_columns_conditions_order_and_limit(
    command: Command, example: Experiment
) -> None:
    chosen = command(
        "history", "--columns", "a, Result", "--where", "Success", "--order-by", "-Result",
        "--limit", "1", "--csv",
    )  # fmt: skip

    assert chosen.out == "Trial ID,a,Result\n2,2,5.0\n"


def test_history_as_csv_is_what_pandas_reads(command: Command, example: Experiment) -> None:
    import io

    import pandas as pd

    table = pd.read_csv(io.StringIO(command("history", "--verbose", "--csv").out), index_col=0)

    assert list(table.columns) == list(example.get_history(verbose=True).columns)
    assert list(table["Result"])[:2] == [2.5, 5.0]


def test_metrics_lists_series_and_shows_trials_side_by_side(
    command: Command, example: Experiment
) -> None:
    assert command("metrics", "2").out.splitlines()[1].split() == ["2", "loss", "2", "1", "nan"]
    assert [line.split() for line in command("metrics", "1:2", "loss").out.splitlines()] == [
        ["EPOCH", "TRIAL", "1", "TRIAL", "2"], ["0", "0.25", "0.5"], ["1", "nan", "nan"],
    ]  # fmt: skip
    csv = command("metrics", "2", "loss", "--csv").out.splitlines()
    assert csv[0] == "trial,metric,epoch,value,time"
    assert csv[1].startswith("2,loss,0,0.5,20")


def test_a_metric_that_is_not_there_is_an_error(command: Command, example: Experiment) -> None:
    code, out, err = command("metrics", "2", "los")

    assert (code, out) == (2, "")
    assert err == "Error: There is no metric 'los'; saved were: loss\n"


def test_artifacts_are_listed_and_copied(
    command: Command, example: Experiment, tmp_path: Path
) -> None:
    assert "notes/read.txt" in command("artifacts", "1").out
    assert not (tmp_path / "here").exists()

    assert "Copied to here" in command("artifacts", "1", "--to", "here").out
    assert (tmp_path / "here" / "notes" / "read.txt").read_bytes() == b"hello"


# -- code, env, diff ----------------------------------------------------------------------------


def test_code_shows_steps_and_the_files_they_reach(command: Command, example: Experiment) -> None:
    both = command("code", "1").out
    one = command("code", "1", "--step", "score").out
    files = command("code", "1", "--files").out

    assert both == example.get_code(1).rstrip() + "\n"
    assert "return 10 / total" in one and "prepare" not in one
    assert "<==" in files and "A small history, and a way to ask for it" in files


def test_code_of_an_unknown_step_names_the_others(command: Command, example: Experiment) -> None:
    answer = command("code", "1", "--step", "scor")

    assert answer.code == 2
    assert "its steps: prepare, score" in answer.err


def test_env_shows_a_summary_and_each_category(command: Command, example: Experiment) -> None:
    whole, packages = command("env", "1"), command("env", "1", "packages")

    assert f"Python Version: {sys.version.split()[0]}" in whole.out
    assert "Categories: platform, " in whole.out
    assert any(line.startswith("dask==") for line in packages.out.splitlines())
    assert "choose one of" in command("env", "1", "nothing").err


def test_logs_shows_output_by_step_and_stream(command: Command) -> None:
    ex = Experiment("example")

    @ex
    def load() -> int:
        logging.getLogger("mine").warning("careful")
        print("loading")
        return 1

    @ex.result
    def train(x: int) -> int:
        print("training", file=sys.stderr)
        return x

    train(load()).compute()

    assert command("logs").out == "WARNING mine: careful\nloading\ntraining\n"
    assert command("logs", "1", "--step", "train").out == "training\n"
    assert command("logs", "1", "--stream", "stdout").out == "loading\n"
    assert command("logs", "--follow").out == command("logs").out
    assert command("logs", "--follow", "--json").code == 2


def test_logs_let_colours_pass_and_nothing_else(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daskperiment.cli import text

    Experiment("example").result(
        lambda: print("\x1b[31mred\x1b[0m \x1b[2J\x1b[1A\x1b]0;owned\x07"), name="evil"
    )().compute()
    shown = text.coloured("\x1b[31mred\x1b[0m \x1b[2J\x1b[1A\x1b]0;owned\x07")

    assert shown == "\x1b[31mred\x1b[0m \\x1b[2J\\x1b[1A\\x1b]0;owned\\x07\x1b[0m"
    assert command("logs").out == "red \\x1b[2J\\x1b[1A\\x1b]0;owned\\x07\n"


def test_diff_shows_only_what_differs(command: Command, example: Experiment) -> None:
    code, out, _ = command("diff", "1", "2")

    assert code == 1
    assert "parameters\n  a: 4 -> 2\n" in out
    assert "result: 2.5 -> 5.0" in out
    assert "fast" not in out


def test_diff_of_equal_trials_exits_with_0(command: Command) -> None:
    ex = Experiment("example", seed=1)
    s = ex.result(lambda a: a, name="same")(ex.parameter("a", default=1))
    s.compute(), s.compute()

    assert command("diff", "1", "-1").code == 0


def test_explain_names_what_moved_the_result_and_exits_with_1(
    command: Command, example: Experiment
) -> None:
    code, out, _ = command("explain", "1", "2")

    assert code == 1
    assert "first difference: the output of step prepare" in out
    assert "parameter a: 4 -> 2 (prepare)" in out
    assert command("explain", "1", "1").code == 0
    assert json.loads(command("explain", "1", "2", "--json").out)["causes"][0]["name"] == "a"


def test_impact_lists_trials_with_their_results_and_artifacts(
    command: Command, example: Experiment
) -> None:
    assert command("impact", "prepare", "--as-in", "1").out.splitlines()[:4] == [
        "3 trials descend from prepare in the version " + example[1].version("prepare")[3:15],
        "  trial 1 of 'example': prepare, score",
        "    result 2.5",
        "    artifacts notes/read.txt",
    ]
    code, _, err = command("impact", "--code", "77de")
    assert (code, err) == (2, "Error: code is a version of a step or helper: name it, too\n")


def test_reproduce_tells_by_its_exit_code_what_came_of_it(
    command: Command, example: Experiment
) -> None:
    code, out, _ = command("reproduce", "1")

    assert (code, out.splitlines()[0]) == (0, "trial 1: the same to the last bit, as trial 4")
    example.backend.update(f"experiment/{example.id}/trials", 1, {"seed": 8})
    example[2].forget("code")
    assert command("reproduce", "2").code == 2
    assert command("reproduce", "1", "--json").document["match"] == "bitwise"


def test_a_trial_shows_what_has_run_it_again_and_with_what_verdict(
    command: Command, example: Experiment
) -> None:
    command("reproduce", "1")

    assert "again as    trial 4: bitwise" in command("show", "1").out
    assert "reproduces  trial 1: bitwise" in command("show", "4").out
    shown = command("show", "4", "--json").document
    assert (shown["reproduces"], shown["reproductions"]) == ({"trial": 1, "verdict": "bitwise"}, [])
    history = command("history", "--columns", "Verdict", "--where", "Verdict == 'bitwise'")
    assert history.out.split() == ["Trial", "ID", "Verdict", "4", "bitwise"]
    example[1].remove()
    assert "reproduces  a trial that is not here: bitwise" in command("show", "4").out


def test_what_is_tainted_says_so_until_it_is_taken_back(
    command: Command, example: Experiment
) -> None:
    command("taint", "prepare", "--reason", "off by one")
    assert example[1].taints[0].reason == "off by one"
    assert "off by one" in command("show", "1").out

    command("untaint", "1")

    assert example[1].taints == []
    assert "off by one" not in command("show", "1").out


# -- changing -----------------------------------------------------------------------------------


def test_tags_are_added_removed_and_shown(command: Command, example: Experiment) -> None:
    command("tag", "1", "3", "--add", "good", "--add", "fast")
    command("tag", "1", "--remove", "good", "--add", "-1")

    assert (example[1].tags, example[3].tags) == (["fast", "-1"], ["good", "fast"])
    assert command("tag", "1:2").out.splitlines()[1:] == ["    1  fast -1", "    2  -"]


def test_a_note_is_set_shown_and_removed(command: Command, example: Experiment) -> None:
    assert command("note", "1", "worth", "a", "second", "look", "-1").code == 0
    assert example[1].note == "worth a second look -1"
    assert command("note", "1").out == "worth a second look -1\n"

    command("note", "1", "")
    assert example[1].note == ""


def test_a_removed_trial_comes_back_until_it_is_collected(
    command: Command, example: Experiment
) -> None:
    assert command("rm", "1", "2").out == "Removed trials 1, 2.\n"
    removed = command("show", "1")
    assert removed.code == 2 and "daskperiment restore 1" in removed.err
    assert command("restore", "1").out == "Restored trial 1.\n"
    assert "2.5" in command("show", "1").out

    assert command("gc", "--dry-run").out.startswith("Would delete 1 trial ")
    assert command("restore", "2").code == 0
    command("rm", "2")
    assert command("gc").out.startswith("Deleted 1 trial ")
    assert "No such option" in command("restore", "-1").err
    example[1].remove()
    example[3].remove()
    assert command("ls").out.splitlines()[1].split() == ["example", "0"]
    gone = command("restore", "2")
    assert gone.code == 2 and "only its number stays" in gone.err
    assert example.trial_id == 3


def test_forget_deletes_a_part(command: Command, example: Experiment) -> None:
    example[2].note = "confidential"

    command("forget", "2", "note")
    answer = command("forget", "2", "artifacts.notes/read.txt")

    assert example[2].note == ""
    assert "still held by artifacts.notes/read.txt of trial 1 of example" in answer.out
    command("forget", "2", "parameters.a")
    assert "parameter   a = <forgotten>" in command("show", "2").out
    assert "it has: result" in command("forget", "2", "nonsense").err


# -- what is kept for other trials ---------------------------------------------------------------


@pytest.fixture
def kept() -> Node:
    """A graph of two steps with large outputs, one kept for others only; three trials have run."""
    ex = Experiment("kept", seed=1, reuse=True)

    @ex
    def large(a: int) -> bytes:
        return bytes([a]) * 100_000

    @ex.persist
    def held(a: int) -> bytes:
        return bytes([a]) * 70_000

    @ex.result
    def last(one: bytes, other: bytes) -> int:
        return len(one) + len(other)

    s = last(large(ex.parameter("a")), held(ex.parameter("b")))
    for a in (1, 2, 3):
        s.compute(parameters={"a": a, "b": 1 + a % 2})
    return cast(Node, s)


def test_reuse_ls_lists_what_other_trials_may_take(command: Command, kept: Node) -> None:
    lines = command("reuse", "ls").out.splitlines()

    assert lines[0].split() == ["TRIAL", "STEP", "CALL", "STARTED", "SECONDS", "SIZE", "KEPT"]
    rows = [(line.split()[0], line.split()[1], line.split()[-1]) for line in lines[1:]]
    assert rows == [
        ("3", "large", "reuse"), ("3", "last", "result"),
        ("2", "held", "persist"), ("2", "large", "reuse"), ("2", "last", "result"),
        ("1", "held", "persist"), ("1", "large", "reuse"), ("1", "last", "result"),
    ]  # fmt: skip


def test_reuse_prune_deletes_what_nothing_else_needs(command: Command, kept: Node) -> None:
    ex = Experiment("kept")
    large = command("reuse", "size", "--json").document
    assert large["free"] > 300_000 and large["bytes"] - large["free"] > 140_000
    expected = command("reuse", "prune", "--keep-last", "1", "--dry-run", "--json").document
    assert ex.gc(dry_run=True).payloads == 0

    done = command("reuse", "prune", "--keep-last", "1", "--json").document

    assert done == expected | {"dry_run": False}
    assert (done["calls"], done["payloads"]) == (6, 2)
    assert [row["trial"] for row in command("reuse", "ls", "--json").document] == [3, 3]
    assert [ex[n].persisted("held")[:1] for n in (1, 2)] == [b"\x02", b"\x01"]
    assert [ex[n].result for n in (1, 2, 3)] == [170_000] * 3
    assert command("doctor").code == 0
    assert "Deleted 0 calls" in command("reuse", "prune", "--older-than", "1d").out


def test_what_was_pruned_is_computed_again(command: Command, kept: Node) -> None:
    command("reuse", "prune", "--keep-last", "0")

    assert kept.compute(parameters={"a": 3, "b": 2}) == 170_000
    assert (
        Experiment("kept").latest.why("large")
        == "ran: what it gave in trial 3 was not kept to be reused"
    )


def test_bytes_that_another_trial_needs_stay(command: Command) -> None:
    ex = Experiment("same", seed=1, reuse=True)

    @ex(reuse=True)
    def large(a: int) -> bytes:
        return b"x" * 100_000

    @ex.persist
    def held(one: bytes) -> bytes:
        return one

    @ex.result
    def last(one: bytes) -> int:
        return len(one)

    last(held(large(ex.parameter("a", default=1)))).compute()

    assert command("reuse", "size", "--json").document["free"] == 0
    assert command("reuse", "prune", "--keep-last", "0", "--json").document["payloads"] == 0
    assert ex[1].persisted("held") == b"x" * 100_000


def test_reuse_prune_wants_to_know_what(command: Command, kept: Node) -> None:
    assert "Say what to delete" in command("reuse", "prune").err
    assert "is no age" in command("reuse", "prune", "--older-than", "soon").err


# -- run ----------------------------------------------------------------------------------------


def test_run_records_one_trial_and_shows_it(command: Command, script: str) -> None:
    code, out, _ = command("run", script, "a=4", "--seed", "3")

    assert code == 0
    assert out.endswith("printed by the script\nTrial 1 of script  COMPLETE\nresult  2.5\n")
    shown = command("show", "--json").document
    assert (shown["parameters"], shown["seed"]) == ({"a": 4.0}, 3)


def test_a_failed_trial_exits_with_1_and_its_traceback(command: Command, script: str) -> None:
    code, out, err = command("run", script, "a=0")

    assert code == 1
    assert out.endswith("Trial 1 of script  FAILED\n")
    trace = err[err.index("Traceback") :]
    assert "ZeroDivisionError" in trace and "return 10 / a" in trace
    assert "runpy" not in trace and "click" not in trace


def test_without_its_values_a_script_records_nothing_and_exits_with_2(
    command: Command, script: str
) -> None:
    code, out, err = command("run", script)

    assert (code, out) == (2, "")
    assert "No value for a" in err
    assert command("ls").code == 2


def test_everything_behind_the_script_belongs_to_it(command: Command, tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text("import sys; print(sys.argv[1:])")

    code, out, _ = command("run", "echo.py", "-1", "--json", "-e", "x", "--help", "--", "a=1")

    assert code == 0
    assert out.startswith("['-1', '--json', '-e', 'x', '--help', '--', 'a=1']\n")
    assert out.endswith("No trial was recorded.\n")
    assert command("run", "nowhere.py", "--json").err.startswith("Error: ")


REUSING = """
from daskperiment import Experiment
ex = Experiment("script", seed=1, reuse=True)
a = ex.parameter("a", type=float)
print("printed by the script")

@ex
def half(a):
    print("half of", a)
    return a / 2

@ex.result
def score(a):
    return 10 / a
"""


@pytest.mark.parametrize(
    "ending", ["s = score(half(a))", "ex.main(score(half(a)))", "score(half(a)).compute()",
               "ex.run(score(half(a)))"],
)  # fmt: skip
def test_plan_says_what_the_trial_of_a_script_would_do(
    command: Command, tmp_path: Path, ending: str
) -> None:
    (tmp_path / "train.py").write_text(
        f"{REUSING}\nex.set_parameters(a=4)\n{ending}\nprint('not reached')\n"
    )
    if ending.startswith("s ="):
        (tmp_path / "train.py").write_text(f"{REUSING}\nex.set_parameters(a=4)\n{ending}\n")

    code, out, _ = command("plan", "train.py")
    assert code == 0
    assert out.splitlines() == [
        "printed by the script",
        "half   run  no earlier trial ran this step",
        "score  run  no earlier trial ran this step",
        "reuse 0, run 2, depends 0",
    ]
    assert not (tmp_path / "daskperiment_cache").exists()
    command("run", "train.py")
    again = command("plan", "train.py").out
    assert "half   reuse  from trial 1 " in again
    assert "reuse 2 (saves " in again


def test_plan_takes_values_and_a_seed_and_refuses_what_it_cannot_plan(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(f"{REUSING}\ns = score(half(a))\n")
    (tmp_path / "many.py").write_text(f"{REUSING}\nex.map(score(half(a)), [{{'a': 1}}])\n")
    (tmp_path / "none.py").write_text(REUSING)
    command("run", "train.py", "a=4")

    assert (
        "half   run      input 'a' is 5.0, it was 4.0 in trial 1"
        in command("plan", "train.py", "a=5", "--seed", "3").out
    )
    assert "No value for a" in command("plan", "train.py").err
    many = command("plan", "many.py", "a=1")
    assert many.code == 1 and "begins a batch or a search" in many.err
    assert command("plan", "none.py").out.endswith("The script has begun no trial.\n")
    assert command("ls", "-e", "script").out.count("COMPLETE") == 1


def test_why_says_why_a_step_has_run(command: Command, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(f"{REUSING}\ns = score(half(a))\n")
    for value in (4, 4, 5):
        command("run", "train.py", f"a={value}")

    assert command("why", "2", "half").out == "reused from trial 1\n"
    assert command("why", "-1", "half").out == "ran: input 'a' is 5.0, it was 4.0 in trial 2\n"
    assert command("why", "latest", "score").out == (
        "ran: its input 'a' is new: half ran: input 'a' is 5.0, it was 4.0 in trial 2\n"
    )
    assert command("why", "3", "other").code == 2
    command("run", "--no-reuse", "train.py", "a=5")
    assert command("why", "4", "half").out == "ran: reuse is off for it\n"


@pytest.mark.parametrize(
    ("ending", "code"), [("raise SystemExit(5)", 5), ("raise SystemExit('no data')", 1)]
)
def test_the_exit_code_of_a_script_is_kept(
    command: Command, tmp_path: Path, ending: str, code: int
) -> None:
    (tmp_path / "ends.py").write_text(ending)

    answer = command("run", "ends.py")

    assert answer.code == code
    assert ("no data" in answer.err) == (code == 1)


def test_run_records_in_the_backend_that_was_named(
    command: Command, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKPERIMENT_BACKEND", "elsewhere")  # put back after the test

    command("run", "--backend", "there", script, "a=4")

    assert command("show", "--backend", "there", "--json").document["result"] == 2.5
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "daskperiment_cache").exists()


# -- config, completion --------------------------------------------------------------------------


def test_config_shows_every_option_and_where_it_comes_from(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daskperiment.options import OPTIONS

    (tmp_path / "pyproject.toml").write_text("[tool.daskperiment]\ngit_limit = 5\n")
    monkeypatch.setenv("DASKPERIMENT_BACKEND", "redis://someone:pa55word@host/0")

    shown = {row["option"]: row for row in command("config", "show", "--json").document}
    text = command("config", "show", "--origin").out

    assert list(shown) == list(OPTIONS)
    assert (shown["git_limit"]["value"], shown["git_limit"]["origin"]) == (
        5, str(tmp_path / "pyproject.toml"),
    )  # fmt: skip
    assert shown["backend"]["origin"] == "DASKPERIMENT_BACKEND"
    assert "pa55word" not in text and str(tmp_path) in text


# -- what is common to all -----------------------------------------------------------------------


def test_the_experiment_must_be_chosen_where_there_are_several(
    command: Command, example: Experiment
) -> None:
    Experiment("other").result(lambda: 1, name="one")().compute()

    code, out, err = command("show")

    assert (code, out, err) == (2, "", "Error: Choose an experiment with -e: example, other\n")
    assert command("show", "-e", "exmple").err == (
        "Error: There is no experiment 'exmple'; did you mean example?\n"
    )


@pytest.mark.parametrize(
    "verb",
    [
        ["ls"], ["show"], ["history"], ["metrics"], ["artifacts"], ["code"], ["env"],
        ["diff", "1", "2"], ["tag", "1"], ["note", "1"], ["rm", "1"], ["restore", "1"], ["gc"],
        ["forget", "1", "note"], ["why", "1", "score"], ["reuse", "ls"], ["reuse", "size"],
        ["reuse", "prune", "--keep-last", "0"], ["explain", "1", "2"], ["impact", "score"],
        ["taint", "score", "--reason", "wrong"], ["untaint", "1"], ["reproduce", "1"],
        ["bundle", "1"],
    ],
    ids=lambda verb: verb[0],
)  # fmt: skip
def test_no_verb_makes_a_store(command: Command, tmp_path: Path, verb: list[str]) -> None:
    code, out, err = command(*verb, "--backend", "nowhere")

    assert (code, out) == (2, "")
    assert "no store at LocalBackend('nowhere')" in err
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_ours_is_one_line_and_a_traceback_only_with_debug(
    command: Command, example: Experiment
) -> None:
    code, out, err = command("show", "99")
    assert (code, out) == (2, "")
    assert err == "Error: There is no trial 99 in experiment 'example': its trials are 1 to 3\n"

    assert command("show", "99", "--debug").err.startswith("Traceback")


def test_an_unexpected_error_is_one_line_too(
    command: Command, example: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daskperiment.history import documents

    def broken(*_: Any) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(documents, "trial", broken)

    code, _, err = command("show", "1")
    assert (code, err) == (2, "Error: KeyError: 'surprise' (--debug shows where)\n")


@pytest.mark.parametrize("verb", [["ls"], ["config", "show"], ["completion", "bash"]], ids=str)
def test_common_options_stand_after_every_verb(
    command: Command, example: Experiment, verb: list[str]
) -> None:
    options = ["-e", "example", "--backend", "daskperiment_cache", "--json", "--debug"]

    assert command(*verb, *options).code == 0


def test_a_common_option_before_the_verb_is_told_its_place(command: Command) -> None:
    code, _, err = command("--backend", "here", "ls")

    assert (code, err) == (
        2,
        "Error: --backend stands behind the verb: daskperiment VERB --backend\n",
    )


def test_run_names_no_experiment(command: Command, script: str) -> None:
    code, _, err = command("run", "-e", "other", script)

    assert (code, "the script names its experiment" in err) == (2, True)


def test_what_is_recorded_cannot_rewrite_the_terminal(command: Command, tmp_path: Path) -> None:
    ex = Experiment("example")
    evil = "\x1b[2J\x1b]0;owned\x07\r\u202eabc\nfake line"
    s = ex.result(lambda a: a, name="evil")(ex.parameter("a"))
    s.compute(parameters={"a": evil})
    ex.latest.note, ex.latest.tags = evil, [evil]

    for verb in (
        ["ls", "-e", "example"], ["show"], ["history"], ["history", "--csv"], ["tag", "1"],
        ["note", "1"],
    ):  # fmt: skip
        out = command(*verb).out
        assert "\\x1b[2J" in out, verb
        assert not set("\x1b\x07\r\u202e") & set(out), verb
        if verb[0] in ("ls", "show"):
            assert not any(line.startswith("fake line") for line in out.splitlines())
