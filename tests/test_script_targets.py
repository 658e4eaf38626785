"""A file is looked through for what trials can be run of, and runs none by itself."""

from __future__ import annotations

import pickle
import sys
import textwrap
from pathlib import Path

import cloudpickle
import pytest

from daskperiment import Experiment, StepDefinitionError, TargetError
from daskperiment.script import load_target
from daskperiment.search import Float

SCRIPT = """
    import sys
    from daskperiment import Experiment
    from daskperiment.search import Float

    ex = Experiment("scripted", backend="memory://")
    rate = ex.parameter("rate", default=1.0, space=Float(0, 1))

    @ex.result
    def loss(rate):
        return rate + len(sys.argv)

    """
GUARDED = 'if __name__ == "__main__":\n    '


def write(folder: Path, text: str, name: str = "train.py") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


@pytest.mark.parametrize(
    "end",
    [
        "s = loss(rate)",
        GUARDED + "s = loss(rate)",
        GUARDED + "sys.exit(print(loss(rate)))",
        "s = loss(rate)\ns.compute()",
        "s = loss(rate)\nex.map(s, [{'rate': 1}])\nraise ValueError('behind the first trial')",
        "s = loss(rate)\nprint(ex.latest.result)",
        "ex.main(loss(rate))",
        "s = loss(rate)\nex.search(s, n_trials=2, sampler='random')",
    ],
)
def test_the_result_of_a_script_is_found_and_nothing_is_run(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ours", "rate=2"])
    program = sys.modules["__main__"]

    with load_target(write(tmp_path, textwrap.dedent(SCRIPT) + end)) as loaded:
        assert loaded.experiment.id == "scripted"
        assert loaded.experiment.trial_id == 0
        search = loaded.experiment.search(loaded.result, n_trials=2, sampler="random", seed=1)

    assert [1 < trial.result < 2 for trial in search.trials] == [True, True]
    assert sys.argv == ["ours", "rate=2"]
    assert sys.modules["__main__"] is program


@pytest.mark.parametrize(
    ("text", "function", "executor"),
    [
        ("def run(x=1, **others):\n    return square(x)", None, "processes"),
        ("def half(x):\n    return square(x)", "half", "threads"),
        ("from beside import square as run", None, "threads"),
    ],
)
def test_the_function_of_a_module_runs_in_other_processes_too(
    tmp_path: Path, text: str, function: str | None, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "def square(x): return x**2", "beside.py")
    guard = '\nif __name__ == "__main__" and not run: raise ValueError("run as a program")\n'
    path = write(tmp_path, f"from beside import square\n{text}{guard}", "9-lives.py")

    with load_target(path, function) as loaded:
        trials = loaded.experiment.map(loaded.result, [{"x": 3}], executor, progress=False)
        sent = cloudpickle.dumps(loaded.result)

    assert loaded.experiment.id == "_9_lives"
    assert [trial.result for trial in trials] == [9]
    assert "9-lives" not in sys.modules
    assert pickle.loads(sent)(3) == 9, "where there is no such module"
    sys.modules.pop("beside", None)


def test_worker_processes_do_not_run_a_script_that_runs_trials_by_itself(tmp_path: Path) -> None:
    text = SCRIPT.replace("memory://", str(tmp_path / "store")) + "s = loss(rate)\n    s.compute()"

    with load_target(write(tmp_path, text)) as loaded:
        (trial,) = loaded.experiment.map(loaded.result, [{"rate": 2}], "processes", progress=False)

    assert trial.number == 1
    assert trial.result >= 2


def test_the_one_experiment_of_a_module_is_that_of_its_function(tmp_path: Path) -> None:
    path = write(tmp_path, SCRIPT + "def other(x):\n        return x")

    with load_target(path, "other") as loaded:
        assert loaded.experiment.id == "scripted"
        assert loaded.experiment.run(loaded.result, x=4).result == 4


@pytest.mark.parametrize(
    ("text", "function", "error", "told"),
    [
        ("x = 1", None, TargetError, "nothing to run in .*train.py: no result .* no function run"),
        ("def main(): pass", "run", TargetError, "no function 'run' in .*: it has main"),
        ("raise OSError('mine')", None, OSError, "mine"),
        ("def run(): pass\nraise OSError('mine')", None, OSError, "mine"),
        ("def run(: pass", None, SyntaxError, "invalid syntax"),
        ("raise SystemExit(3)", None, SystemExit, "3"),
    ],
)
def test_a_file_with_nothing_to_run_is_refused(
    tmp_path: Path, text: str, function: str | None, error: type[BaseException], told: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(error, match=told), load_target(path, function):
        pass
    assert "train" not in sys.modules


def test_several_results_and_steps_and_wrong_names_are_refused(tmp_path: Path) -> None:
    several = write(tmp_path, SCRIPT + "s = loss(rate), ex.result(lambda x: x, name='same')(rate)")
    with pytest.raises(TargetError, match=r"builds 2 results \(loss, same\)"), load_target(several):
        pass
    with load_target(several, "loss") as loaded, pytest.raises(StepDefinitionError):
        loaded.experiment.run(loaded.result)
    for name in ("json.py", "data.txt", "missing.py"):
        path = tmp_path / name
        if name != "missing.py":
            write(tmp_path, "def run(): pass", name)
        with pytest.raises(TargetError, match=name), load_target(path):
            pass


def test_what_a_script_declares_is_where_it_is_searched(tmp_path: Path) -> None:
    with load_target(write(tmp_path, SCRIPT + "s = loss(rate)")) as loaded:
        assert isinstance(loaded.experiment, Experiment)
        search = loaded.experiment.search(loaded.result, n_trials=1, sampler="random")
    assert search.space.get("rate") == Float(0, 1)
