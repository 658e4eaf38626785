"""A script is run as a program: it records one trial of the result that it builds."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import daskperiment
from daskperiment import ComputeArgumentError, Experiment, Trial, script

ADD = """
    from daskperiment import Experiment

    ex = Experiment("simple_experiment_pj")
    a, b = ex.parameter("a"), ex.parameter("b")

    @ex
    def add(a, b):
        return a + b

    @ex.result
    def increment(x):
        return x + 1

    s = increment(add(a, b))
    """
ECHO = """
    from daskperiment import Experiment

    ex = Experiment("echo")

    @ex.result
    def echo(x):
        return x

    """
"""A script that builds nothing yet."""


class Done(NamedTuple):
    """What a program has left."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines on stderr that are not of the log."""
        return [line for line in self.err.splitlines() if "[daskperiment]" not in line]


def write(*parts: str, name: str = "script.py") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(textwrap.dedent, parts)))


def python(*arguments: str, **environment: str) -> Done:
    """Run Python in the working directory as a user would."""
    process = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | environment,
        check=False,
    )
    return Done(process.returncode, process.stdout, process.stderr)


def run(path: str, arguments: Sequence[str] = ()) -> Trial | None:
    """Run a script in this process, which is quicker."""
    trial, error = script.run_path(path, arguments)
    if error is not None:
        raise error
    return trial


def results(experiment: str) -> list[Any]:
    return [trial.result for trial in Experiment(experiment).trials]


def files_in_traceback(err: str) -> list[Path]:
    return [Path(path) for path in re.findall(r'File "([^"]+)"', err)]


# -- python script.py a=1 b=2 --------------------------------------------------------------


def test_q21_a_script_takes_values_from_the_command_line() -> None:
    write(ADD)

    first, second = python("script.py", "a=1", "b=2"), python("script.py", "a=3", "b=2")
    without = python("script.py")

    history = Experiment("simple_experiment_pj").get_history()
    assert history[["a", "b", "Result"]].to_numpy().tolist() == [[1, 2, 4], [3, 2, 6]]
    assert (first.code, second.code, without.code) == (0, 0, 2)
    assert (first.out, first.errors) == ("", [])
    assert first.err.splitlines()[-1].endswith("[daskperiment] [INFO] Result: 4")
    assert without.errors == [
        "script.py: No value for a, b: give it as in  python script.py a=... b=..."
    ]


def test_q22_the_seed_comes_from_the_command_line() -> None:
    write(
        """
        import random
        import numpy as np
        from daskperiment import Experiment

        ex = Experiment("random_experiment")

        @ex.result
        def draw():
            return float(np.random.random() + random.random())

        draw()
        """
    )

    assert python("script.py", "--seed", "1").code == 0
    assert python("script.py", "--seed=1").code == 0

    ex = Experiment("random_experiment")
    assert [trial.result for trial in ex.trials] == [0.5513862488149752] * 2
    assert [trial.seed for trial in ex.trials] == [1, 1]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs the shell that quotes")
def test_values_are_literals_and_all_other_text_is_itself() -> None:
    write(ECHO, 'echo([ex.parameter(n) for n in "abcdefg"] + [ex.parameter("h", type=int)])')
    command = (
        f"{sys.executable} script.py a=foo b='two words' c='[1, \"x\"]' d='{{\"k\": 0.5}}' "
        'e=None f="it\'s" g=x=y h=1e3'
    )

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert results("echo") == [
        ["foo", "two words", [1, "x"], {"k": 0.5}, None, "it's", "x=y", 1000]
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["a=1", "bb=2"], "Parameter is not declared: bb; did you mean 'b'? (declared: a, b)"),
        (["a=1", "b"], "Argument cannot be read: b; did you mean b=1?"),
        (["--verbose", "a=1"], "write name=value, --seed N or --help"),
        (["--a=1"], "Argument cannot be read: --a; did you mean a=1?"),
        (["a=1", "b=2", "--seed", "x"], "--seed takes an integer from 0 to 2**32 - 1, not 'x'"),
        (["a=1", "a=2", "b=3"], "Parameter 'a' is given twice: give it once"),
    ],
)
def test_a_wrong_argument_is_one_line_and_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(ADD)

    with pytest.raises(SystemExit) as exit:
        run("script.py", arguments)

    (shown,) = capsys.readouterr().err.splitlines()
    assert shown.startswith("script.py: ")
    assert line in shown
    assert exit.value.code == 2
    assert results("simple_experiment_pj") == []


def test_help_shows_the_parameters_and_runs_nothing() -> None:
    write(
        ECHO,
        """
        a = ex.parameter("a")
        rate = ex.parameter("rate", default=0.5, type=float, help="Size of a step.")
        kind = ex.parameter("kind", default="x", choices=["x", "y"])
        password = ex.parameter("password", default="hunter2")
        echo([a, rate, kind, password])
        """,
    )

    done = python("script.py", "--help", "a=1")

    assert (done.code, done.errors) == (0, [])
    assert done.out.splitlines() == [
        "usage: python script.py name=value ... [--seed N] [--help]",
        "",
        "a=...",
        "rate=0.5       float; Size of a step.",
        "kind='x'       one of 'x', 'y'",
        "password=***",
    ]
    assert results("echo") == []


def test_a_failing_step_ends_the_script_with_the_users_traceback() -> None:
    write(ECHO, "@ex.result\ndef invert(x):\n    return 1 / x\n\ninvert(ex.parameter('x'))")

    done = python("script.py", "x=0")

    assert done.code == 1
    files = files_in_traceback(done.err)
    assert files[-1].name == "script.py"
    assert not any(file.is_relative_to(Path(daskperiment.__file__).parent) for file in files)
    assert "    return 1 / x" in done.errors
    assert "ZeroDivisionError: division by zero" in done.errors
    assert Experiment("echo").latest.state == "FAILED"


# -- when the trial runs --------------------------------------------------------------------


def test_the_trial_runs_after_the_last_line_and_pools_still_work() -> None:
    write(
        """
        import os
        from concurrent.futures import ThreadPoolExecutor
        import dask
        from daskperiment import Experiment

        dask.config.set(scheduler="processes", num_workers=1)
        ex = Experiment("echo")

        @ex
        def pid():
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(abs, [-1, 2])) + [os.getpid()]

        @ex.result
        def main(found):
            print("the trial")
            return found

        main(pid())
        if __name__ == "__main__":
            print("the last line", os.getpid(), flush=True)
        """
    )

    done = python("script.py")

    assert done.code == 0, done.err
    (last, own), trial = done.out.splitlines()[0].rsplit(" ", 1), done.out.splitlines()[1:]
    assert (last, trial) == ("the last line", ["the trial"])
    ((one, two, worker),) = results("echo")
    assert (one, two) == (1, 2)
    assert worker != int(own)


def test_the_history_that_a_script_reads_holds_its_trial() -> None:
    write(
        ADD,
        """
        print(repr(ex), ex.get_parameters())
        print(ex.get_history()["Result"].tolist(), ex.latest.result, ex.trial_id, len(ex.trials))
        """,
    )

    done = python("script.py", "a=1", "b=2")

    assert done.out.splitlines() == [
        "Experiment(id: simple_experiment_pj, trial_id: 0, "
        "backend: LocalBackend('daskperiment_cache/simple_experiment_pj')) "
        "{'a': Undefined, 'b': Undefined}",
        "[4] 4 1 1",
    ]
    assert results("simple_experiment_pj") == [4]
    assert python("script.py").code == 2


@pytest.mark.parametrize(
    "reading",
    [
        "ex.trial_id", "ex.trials", "ex.latest", "ex[1]", "ex.best('minimize')",
        "ex.get_history()", "ex.get_steps(1)", "ex.get_parameters(1)", "ex.get_code(1)",
    ],
)  # fmt: skip
def test_every_way_of_reading_runs_it(reading: str) -> None:
    write(ECHO, f"echo(1)\n{reading}\nassert ex._trials.last() == 1")

    trial = run("script.py")

    assert trial is not None
    assert (trial.number, trial.result) == (1, 1)


def test_a_helper_that_reads_runs_it_too() -> None:
    write("def report(ex):\n    print(ex.get_history()['Result'].tolist())", name="helper.py")
    write(ECHO, "import helper\necho(ex.parameter('a'))\nhelper.report(ex)")

    done = python("script.py", "a=5")

    assert (done.code, done.out) == (0, "[5]\n")
    assert results("echo") == [5]


def test_a_helper_may_build_the_graph_of_the_scripts_experiment() -> None:
    write(
        """
        def build(ex):
            @ex.result
            def double(a):
                return 2 * a

            return double(ex.parameter("a"))
        """,
        name="helper.py",
    )
    write("import daskperiment, helper\nhelper.build(daskperiment.Experiment('echo'))")

    assert python("script.py", "a=4").code == 0
    assert python("script.py").code == 2

    assert results("echo") == [8]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit()", 0),
        ("exit(None)", 0),
        ("code = 0\nsys.exit(code)", 0),
        ("def run():\n    return 0\nif True:\n    raise SystemExit(run())", 0),
        ("sys.exit(3)", 3),
        ("def run():\n    return 4\nsys.exit(run())", 4),
        ("raise ValueError(0)", 1),
        ("def run():\n    raise KeyError(0)\nsys.exit(run())", 1),
        ("class Session:\n    def exit(self): raise KeyError\nSession().exit()", 1),
        ("def exit(): raise KeyError\nexit()", 1),
    ],
)
def test_a_trial_runs_only_if_the_script_ends_well(end: str, code: int) -> None:
    write(ECHO, "import sys\necho(1)", end)

    _, error = script.run_path("script.py")

    assert (0 if error is None else getattr(error, "code", 1)) == code
    assert results("echo") == ([1] if code == 0 else [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_copy_of_the_process_runs_no_second_trial() -> None:
    write(ECHO, "import os, sys\necho(1)\nif os.fork():\n    os.wait()\n    sys.exit()")

    assert python("script.py").code == 0

    assert results("echo") == [1]


def test_what_ends_a_script_early_within_the_trial_is_its_exit_code() -> None:
    write(ECHO, "@ex.result\ndef leave():\n    raise SystemExit(7)\n\nleave()\nraise SystemExit")

    _, error = script.run_path("script.py")

    assert repr(error) == "SystemExit(7)"
    assert [trial.state for trial in Experiment("echo").trials] == ["FAILED"]


# -- a script that decides by itself --------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "trials"),
    [
        ("echo(1).compute()\necho(2)", [1]),
        ("import dask\nx = echo(1)\ndask.compute(x + 1)\necho(3)", [1]),
        ("for x in range(3):\n    echo(x).compute()", [0, 1, 2]),
        ("print(ex.main(echo(ex.parameter('a')), ['a=5']))\necho(1)", [5]),
        ("x = echo(1)\nex.latest\necho(2)", [1]),
    ],
)
def test_a_script_that_computes_records_only_that(
    body: str, trials: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    write(ECHO, body)

    run("script.py")

    assert capsys.readouterr().err == ""
    assert results("echo") == trials


@pytest.mark.parametrize(
    "body",
    [
        "if False:\n    x.compute()",
        "def go():\n    import dask\n    return dask.compute(x)\nif False:\n    go()",
        "if False:\n    ex.map(x)",
        "if False:\n    ex.main(x)",
        "print(ex.get_history().empty)\nif False:\n    x.compute()",
    ],
)
def test_a_script_that_could_compute_and_did_not_says_so(
    body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(ECHO, "x = echo(1)", body)

    assert run("script.py") is None

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("script.py: No trial was recorded: the script mentions computing")
    assert "ex.main(...)" in line
    assert results("echo") == []


def test_what_steps_do_inside_is_not_the_scripts_own_doing() -> None:
    write(
        ECHO,
        """
        import argparse_like_name as click
        import dask

        def load(n):
            return dask.delayed(n).compute()

        @ex
        def compute(n):
            return [load(n), dask.compute(dask.delayed(n))[0]]

        def score(x):
            return dask.delayed(sum)(x).compute(scheduler="synchronous")

        ex.result(score)(compute(ex.parameter("n")))
        """,
    )
    write("", name="argparse_like_name.py")

    trial = run("script.py", ["n=2"])

    assert trial is not None
    assert trial.result == 4


def test_of_several_results_the_last_is_run_if_it_holds_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(ECHO, "inner = echo(1)\nouter = echo([inner, echo(2)])")
    whole = run("script.py")
    write(ECHO, "one, two = echo(1), echo(2)")
    with pytest.raises(SystemExit) as exit:
        run("script.py")

    assert whole is not None
    assert whole.result == [1, 2]
    assert exit.value.code == 2
    assert capsys.readouterr().err == (
        "script.py: 2 results are built (echo, echo): say which by ex.main(...)\n"
    )
    assert results("echo") == [[1, 2]]


# -- what is left alone ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "reader",
    [
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--verbose')\n"
        "p.add_argument('word')\nargs = p.parse_args()",
        "import sys\nassert sys.argv[1:] == ['--verbose', 'no', 'a=5']",
        "def read():\n    from getopt import getopt\n    return getopt\nread()",
    ],
)
def test_arguments_that_a_script_reads_itself_are_left_to_it(reader: str) -> None:
    arguments = ["--verbose", "no", "a=5"]
    write(ECHO, reader, "a = ex.parameter('a', default=1)\necho(a)")

    trial = run("script.py", arguments)

    assert trial is not None
    assert trial.result == 1


@pytest.mark.parametrize(
    "reader",
    [
        "import helper\nargs = helper.read()",
        "from helper import read\ndef main():\n    return read()\nargs = main()",
        "from helper import parser\nargs = parser.parse_args()",
    ],
)
def test_arguments_that_a_helper_reads_are_left_to_it(reader: str) -> None:
    write(
        """
        from argparse import ArgumentParser

        parser = ArgumentParser()
        parser.add_argument("--lr", type=float)

        def read():
            return parser.parse_args()
        """,
        name="place/helper.py",
    )
    write(ECHO, reader, "echo(args.lr)", name="place/script.py")

    done = python("place/script.py", "--lr", "0.5")

    assert (done.code, done.errors) == (0, [])
    assert results("echo") == [0.5]


def test_a_script_with_its_own_arguments_and_no_values_exits_with_2() -> None:
    write(ADD, "import sys\nverbose = '--verbose' in sys.argv")

    assert python("script.py", "--verbose", "a=1").code == 2

    assert results("simple_experiment_pj") == []


def test_a_test_runners_arguments_are_not_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        """
        import runpy

        def test_script():
            runpy.run_path("script.py", run_name="__main__")
        """,
        name="test_of_the_script.py",
    )
    write(ECHO, "echo(ex.parameter('a', default=1))")

    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_of_the_script.py")

    assert done.code == 0, done.out
    assert results("echo") == [1]


def test_importing_a_script_runs_nothing() -> None:
    write(ADD, "e = increment(2)")

    done = python("-c", "import script, daskperiment; print(script.ex.trial_id)")

    assert done == Done(0, "0\n", "")


def test_a_script_that_is_run_by_code_counts_the_arguments_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(ADD)
    monkeypatch.setattr(sys, "argv", ["script.py", "a=1", "b=5"])

    runpy.run_path("script.py", run_name="__main__")

    assert results("simple_experiment_pj") == [7]


def test_nothing_runs_by_itself_without_a_file() -> None:
    text = textwrap.dedent(ECHO) + "echo(1)\n"

    from_stdin = subprocess.run(
        [sys.executable, "-"], input=text, text=True, capture_output=True, check=False
    )
    interactive = subprocess.run(
        [sys.executable, "-i", "-q"], input=text, text=True, capture_output=True, check=False
    )

    assert python("-c", text) == Done(0, "", "")
    assert (from_stdin.returncode, from_stdin.stderr) == (0, "")
    assert interactive.returncode == 0
    assert results("echo") == []


# -- other shapes of scripts ----------------------------------------------------------------


def test_a_module_of_a_package_is_a_script() -> None:
    write("", name="package/__init__.py")
    write(
        "from daskperiment import Experiment\nex = Experiment('echo')\n"
        "echo = ex.result(lambda x: x, name='echo')",
        name="package/steps.py",
    )
    write(
        """
        from package.steps import echo, ex

        def main():
            return echo(ex.parameter("a"))

        if __name__ == "__main__":
            main()
        """,
        name="package/run.py",
    )

    assert python("-m", "package.run", "a=1").code == 0
    assert python("-m", "package.run").errors == [
        "run.py: No value for a: give it as in  python -m package.run a=..."
    ]

    assert results("echo") == [1]


def at_the_prompt(*options: str, typed: str) -> str:
    command = [sys.executable, *options, "script.py"]
    return subprocess.run(
        command, input=typed, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_a_script_that_stays_open_records_before_the_prompt() -> None:
    write(ECHO, "echo(1)")

    assert at_the_prompt("-i", "-q", typed="print(ex.trial_id)\nlater = echo(2)\n") == "1\n"

    assert results("echo") == [1]


def test_at_a_prompt_inside_a_script_nothing_runs_by_itself() -> None:
    write(ECHO, "import code\ncode.interact(local=globals())")

    at_the_prompt(typed="later = echo(2)\n")

    assert results("echo") == []


def test_under_a_profiler_a_script_says_that_its_end_is_not_seen() -> None:
    write("import sys\nsys.setprofile(lambda *event: None)", ECHO, "echo(1)")

    done = python("script.py")

    assert done.code == 0
    assert done.errors == [
        "script.py: No trial was recorded: a profiler hides the end of the script; "
        "call ex.main(...) with the result"
    ]
    assert results("echo") == []


def test_a_debugger_sees_the_steps() -> None:
    write(
        ECHO,
        """
        import sys
        import dask

        def trace(frame, event, value):
            if frame.f_code is echo.fn.__code__:
                print(event, frame.f_lineno)

        dask.config.set(scheduler="synchronous")
        sys.settrace(trace)
        echo(1)
        """,
    )

    assert python("script.py").out == "call 6\n"

    assert results("echo") == [1]


# -- ex.main --------------------------------------------------------------------------------


def test_main_returns_the_value_and_binds_for_one_trial(memory_ex: Experiment) -> None:
    s = memory_ex.result(lambda a: a, name="same")(memory_ex.parameter("a"))

    assert memory_ex.main(s + 1, argv=["a=1", "--seed", "5"]) == 2
    assert (memory_ex.latest.parameters, memory_ex.latest.seed) == ({"a": 1}, 5)
    assert str(memory_ex.get_parameters()) == "{'a': Undefined}"

    memory_ex.set_parameters(a=7)
    assert memory_ex.main(s, argv=[]) == 7


def test_main_reads_the_arguments_of_the_program(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    s = memory_ex.result(lambda a: a, name="same")(memory_ex.parameter("a"))
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py", "a=3"])
    assert memory_ex.main(s) == 3
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py"])

    with pytest.raises(SystemExit) as exit:
        memory_ex.main(s)

    assert exit.value.code == 2
    assert capsys.readouterr().err.startswith("train.py: No value for a")
    assert memory_ex.trial_id == 1


def test_main_takes_only_what_holds_a_result(memory_ex: Experiment) -> None:
    step = memory_ex(lambda: 1, name="one")

    for wrong in (step(), step, 1):
        with pytest.raises(ComputeArgumentError, match="calling a result step"):
            memory_ex.main(wrong, argv=[])


# -- run_path -------------------------------------------------------------------------------


def test_run_path_gives_the_trial_and_leaves_the_process_as_it_was() -> None:
    write(
        "import sys\nVALUE = 5\nassert sys.argv == ['place/script.py', 'a=1'], sys.argv",
        name="place/beside.py",
    )
    write(
        """
        import sys
        from beside import VALUE
        from daskperiment import Experiment

        ex = Experiment("echo")
        ex.result(lambda a: a + VALUE, name="add")(ex.parameter("a"))
        sys.exit(0)
        """,
        name="place/script.py",
    )
    before = sys.argv, sys.path[:], sys.modules["__main__"]

    trial, error = script.run_path("place/script.py", ["a=1"])

    assert trial is not None
    assert (trial.number, trial.result, error) == (1, 6, None)
    assert (sys.argv, sys.path, sys.modules["__main__"]) == before


def test_a_script_that_goes_elsewhere_is_still_known() -> None:
    write(
        ECHO,
        """
        import os, sys

        def main():
            os.chdir("place")
            echo(1)

        sys.exit(main())
        """,
        name="place/script.py",
    )

    home = Path.cwd()
    trial, error = script.run_path("place/script.py")
    os.chdir(home)

    assert (trial and trial.result, error) == (1, None)
    assert trial is not None
    assert "return x" in trial.code


def test_run_path_knows_a_trial_whose_graph_is_imported() -> None:
    write(ECHO, "node = echo(1)", name="defined.py")
    write("from defined import node\nnode.compute()\nnode.compute()")

    trial, _ = script.run_path("script.py")

    assert trial is not None
    assert trial.number == 2


def test_run_path_gives_what_the_script_raises_beside_its_trial() -> None:
    write(ECHO, "echo(1).compute()\nraise LookupError('here')")
    failed, error = script.run_path("script.py")
    write("print('nothing')")
    nothing = script.run_path("script.py")

    assert failed is not None
    assert failed.result == 1
    assert repr(error) == "LookupError('here')"
    assert nothing == (None, None)
