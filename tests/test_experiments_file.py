"""Files of experiments: several searches, checked as a whole, run by one command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from daskperiment import Experiment, ExperimentsFileError, run_experiments
from daskperiment.callbacks.webhook import Webhook
from daskperiment.cli.main import run
from daskperiment.manager import plan_experiments

MODELS = """
import json
from pathlib import Path

from daskperiment import current


def square(x, y=0.0):
    return x * x + y


def fail(x):
    raise ValueError(f"no {x}")


def save(x):
    current().save_artifact("model.txt", f"a model of {x}")
    return x


def design(experiment, artifacts_path, metrics):
    slope = experiment["hyperparams"]["slope"]
    scores = {metric: abs(slope) ** power for metric, power in zip(metrics, (2, 1))}
    Path(artifacts_path, "weights.txt").write_text(str(slope))
    Path(artifacts_path, "scores.json").write_text(json.dumps({"scores": scores}))
"""
SQUARE = """
function = "models.py:square"
sampler = "grid"
space = { x = [1, 0, 2] }
max_workers = 1
"""
HALF = {"function": "models.py:square", "space": {"x": {"type": "float", "low": 0, "high": 1}},
        "sampler": "random", "n_trials": 3}  # fmt: skip

PRUNER = {"name": "MedianPruner", "interval": 2}


@pytest.fixture(autouse=True)
def _models() -> None:
    Path("models.py").write_text(MODELS)


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def ask(*arguments: str) -> Answer:
        capfd.readouterr()
        return Answer(run(arguments), *capfd.readouterr())

    return ask


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def described(**changes: Any) -> dict[str, Any]:
    """A file of one experiment, with keys changed or, by None, left out."""
    values = {key: value for key, value in {**HALF, **changes}.items() if value is not None}
    return {"experiments": {"half": values}}


# -- running --


def test_each_search_is_one_of_its_experiment() -> None:
    file = write(
        "all.toml",
        f"""
        backend = "store"
        [experiments.steps]
        description = "some steps"
        {SQUARE}
        [experiments.chance]
        function = "models.py:square"
        sampler = "random"
        n_trials = 50
        seed = 3
        max_workers = 1
        target = 1.1
        direction = "maximize"
        space = {{ x = 1, y = {{ type = "float", low = 0, high = 1 }} }}
        """,
    )

    steps, chance = run_experiments(file)

    assert (steps.name, steps.failed, steps.error) == ("steps", False, None)
    assert chance.search is not None
    assert chance.search.best.result >= 1.1
    assert len(chance.search.trials) < 50
    ex = Experiment("steps", backend="store")
    assert ex.get_search().description == "some steps"
    assert [trial.result for trial in ex.get_search().trials] == [1.0, 0.0, 4.0]
    assert ex.get_search().best.parameters == {"x": 0, "y": 0.0}


def test_the_same_file_in_three_formats_is_the_same_plan() -> None:
    tables = described(description="half", pruner={"name": "MedianPruner"})
    write("a.json", json.dumps(tables))
    write(
        "a.toml",
        """
        [experiments.half]
        description = "half"
        function = "models.py:square"
        sampler = "random"
        n_trials = 3
        pruner = { name = "MedianPruner" }
        space = { x = { type = "float", low = 0, high = 1 } }
        """,
    )
    write(
        "a.yaml",
        """
experiments:
  half:
    description: half
    function: models.py:square
    sampler: random
    n_trials: 3
    pruner: {name: MedianPruner}
    space: {x: {type: float, low: 0, high: 1}}
""",
    )

    plans = [plan_experiments(source) for source in ("a.json", "a.toml", "a.yaml", tables)]

    assert plans[0] == plans[1] == plans[2] == plans[3]
    assert plans[0][0]["pruner"]["name"] == "MedianPruner"


def test_what_a_file_names_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("space.toml", "x = [3, 4]")
    write("a.toml", SQUARE.replace("{ x = [1, 0, 2] }", '"space.toml"').join(
        ['backend = "store"\n[experiments.steps]', ""]))  # fmt: skip
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    (ran,) = run_experiments(tmp_path / "a.toml")

    assert ran.search is not None
    assert ran.search.best.result == 9
    assert len(Experiment("steps", backend=tmp_path / "store").trials) == 2
    assert list(Path().iterdir()) == []


def test_defaults_are_for_what_an_experiment_does_not_say() -> None:
    file = {
        "defaults": {**HALF, "direction": "maximize", "seed": 7, "pruner": PRUNER},
        "experiments": {
            "one": {},
            "two": {
                "seed": 8,
                "metrics": {"result": "minimize"},
                "pruner": {"name": "Threshold", "upper": 2},
            },
        },
    }

    one, two = plan_experiments(file)

    assert (one["seed"], one["metrics"]) == (7, {"result": "maximize"})
    assert (two["seed"], two["metrics"], two["trials"]) == (8, {"result": "minimize"}, 3)
    assert (one["pruner"]["interval"], two["pruner"]["name"]) == (2, "Threshold")


def test_a_function_may_be_given_in_python_and_by_name() -> None:
    def above(x: float) -> float:
        return x + 1

    file = described(function=None)

    (given,) = run_experiments(file, {"half": above}, backend="memory://")
    (named,) = run_experiments(file, {"half": "models.py:square"}, backend="memory://")

    assert given.search is not None
    assert given.search.best.result >= 1
    assert named.search is not None
    assert named.search.best.result < 1


def test_a_script_is_searched_with_the_spaces_of_its_parameters() -> None:
    write(
        "script.py",
        """
from daskperiment import Experiment
from daskperiment.search import Int

ex = Experiment("scripted")
x = ex.parameter("x", space=Int(-1, 1))

@ex.result
def square(x):
    return x * x

s = square(x)
""",
    )
    file = {"experiments": {"any": {"script": "script.py", "sampler": "grid"}}}

    (plan,) = plan_experiments(file, backend="store")
    (ran,) = run_experiments(file, backend="store")

    assert (plan["experiment"], plan["size"]) == ("scripted", 3)
    assert ran.search is not None
    assert (ran.search.experiment, ran.search.best.parameters) == ("scripted", {"x": 0})
    assert len(Experiment("scripted", backend="store").trials) == 3


def test_searches_may_run_at_the_same_time() -> None:
    file = {"defaults": HALF, "experiments": {name: {"seed": 3} for name in ("a", "b", "c")}}

    ran = run_experiments(file, backend="store", parallel=3)

    assert [each.name for each in ran] == ["a", "b", "c"]
    results = [[trial.parameters for trial in each.search.trials] for each in ran if each.search]
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 3


def test_trials_run_on_a_cluster_that_is_closed_again() -> None:
    pytest.importorskip("distributed")
    cluster = {"n_workers": 1, "processes": False}

    (ran,) = run_experiments(described(cluster=cluster), backend="store")

    assert ran.search is not None
    assert len(ran.search.trials) == 3


def test_a_search_goes_on_where_it_is_resumed() -> None:
    run_experiments(described(seed=1), backend="store")
    (more,) = run_experiments(described(seed=1, n_trials=5, resume=True), backend="store")

    assert more.search is not None
    assert more.search.name == "search-1"
    assert len(Experiment("half", backend="store").trials) == 5


def test_a_search_of_a_name_that_is_there_is_resumed_or_refused() -> None:
    run_experiments(described(name="mine"), backend="store")

    with pytest.raises(ExperimentsFileError, match="half: name: there is a search 'mine' already"):
        plan_experiments(described(name="mine"), backend="store")
    (more,) = run_experiments(described(name="mine", n_trials=4, resume=True), backend="store")

    assert more.search is not None
    assert (more.search.name, len(more.search.trials)) == ("mine", 4)


def test_callbacks_are_told_of_every_search() -> None:
    told: list[str] = []

    def tell(event: str, **arguments: Any) -> None:
        if event == "after_trial":
            told.append(arguments["trial"].experiment)

    file = {"defaults": {**HALF, "n_trials": 1}, "experiments": {"one": {}, "two": {}}}
    run_experiments(file, backend="memory://", callbacks=[tell])

    assert told == ["one", "two"]


# -- failures --


def test_a_search_that_fails_does_not_stop_the_others(command: Callable[..., Answer]) -> None:
    file = {
        "defaults": HALF,
        "experiments": {
            "bad": {"function": "models.py:fail"},
            "worse": {"function": "models.py:fail", "on_error": "raise"},
            "good": {},
        },
    }

    bad, worse, good = run_experiments(file, backend="memory://")

    assert [bad.failed, worse.failed, good.failed] == [True, True, False]
    assert bad.error is None
    assert isinstance(worse.error, ValueError)
    answer = command("run", write("a.json", json.dumps(file)), "--json", "--only", "worse")
    assert answer.code == 1
    assert json.loads(answer.out)["failed"] == ["worse"]
    assert json.loads(answer.out)["searches"][0]["error"].startswith("ValueError: no ")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sampel": 1}, r"half: unknown key 'sampel': did you mean 'sampler'\?"),
    ({"n_trials": "ten"}, "half: n_trials: expected an integer from 1 on, not 'ten'"),
    ({"n_trials": None}, "half: The search has no end: give n_trials="),
    ({"function": None}, 'half: function: expected what to run, such as function = "models.py'),
    ({"function": "models.py"}, r"half: function: .* did you mean 'models.py:run'\?"),
    ({"function": "models.py:sqare"}, "half: function: There is no function 'sqare' in models.py"),
    ({"function": "model.py:square"}, "half: function: There is no file 'model.py' to run"),
    ({"script": "models.py"}, "half: function and script are given: leave out one"),
    ({"space": {"z": [1]}}, r"half: space: square\(\) takes no parameter 'z'"),
    ({"space": {"x": {"type": "float", "lo": 0}}}, "half: space: x: unknown key 'lo': did you"),
    ({"space": None}, "half: space: There is nothing to search in"),
    ({"space": "no.toml"}, "half: space: no.toml cannot be read"),
    ({"sampler": "randm"}, r"half: sampler: There is no sampler 'randm': did you mean 'random'\?"),
    ({"sampler": {"name": "grid", "repeat": 2}}, r"takes no 'repeat': did you mean 'repeats'\?"),
    ({"sampler": "grid"}, "half: space: x: .* has infinitely many values"),
    ({"pruner": {"name": "MedianPruner", "startup": 1}}, r"half: pruner: .*'startup_trials'\?"),
    ({"metrics": {"a": "up"}}, "half: metrics: direction is 'minimize' or 'maximize', not 'up'"),
    ({"direction": "maximise"}, r"half: direction: .* did you mean 'maximize'\?"),
    ({"executor": "thread"}, "half: executor: There is no executor 'thread'"),
    ({"executor": "threads", "cluster": {}}, "half: executor: the cluster runs the trials"),
    ({"experiment": "a b"}, "half: experiment: Experiment ID must be"),
    ({"enqueue": [{"x": 7}]}, "half: enqueue 1: x: 7 is no value of Float"),
    ({"artifacts": "bset"}, r"half: artifacts: .* did you mean 'best'\?"),
    ({"notify": [{"type": "mail"}]}, "half: notify 1: type: there is no 'mail': did you mean 'em"),
    ({"notify": [{"type": "webhook"}]}, "half: notify 1: webhook needs url"),
    ({"notify": [{"type": "webhook", "url": "${NO}"}]}, "notify 1: url needs the environment vari"),
    ({"function": "models.py:design", "space": {"slope": [1]}}, "half: metrics: a design gives"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=[str(each[0])[:40] for each in WRONG])
def test_a_wrong_entry_is_told_before_anything_runs(changes: dict[str, Any], reason: str) -> None:
    experiments = {"fine": HALF, **described(**changes)["experiments"]}
    file = write("a.json", json.dumps({"backend": "store", "experiments": experiments}))

    with pytest.raises(ExperimentsFileError, match=f"a.json: .*{reason}"):
        run_experiments(file)
    assert not Path("store").exists()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"experiment": {}}, "expected tables of experiments"),
        ({"experiments": {"a": HALF}, "default": {}}, r"'default': did you mean 'defaults'\?"),
        ({"experiments": {"a": HALF}, "defaults": {"seeds": 1}}, "defaults: unknown key 'seeds'"),
        ({"experiments": {"a": 3}}, "a: an experiment: expected a table, not 3"),
        ("nothing.toml", "nothing.toml cannot be read"),
        ("a.ini", "a.ini: expected a file .toml, .json"),
    ],
)
def test_a_wrong_file_is_told(source: Any, reason: str) -> None:
    with pytest.raises(ExperimentsFileError, match=reason):
        run_experiments(source)


def test_names_that_no_experiment_has_are_told() -> None:
    with pytest.raises(ExperimentsFileError, match=r"no experiment 'hal': did you mean 'half'\?"):
        run_experiments(described(), only=["hal"])
    with pytest.raises(ExperimentsFileError, match="a function is given for 'hal'"):
        run_experiments(described(), {"hal": max})


def test_a_script_does_not_run_beside_other_searches() -> None:
    write("script.py", "def run(x, **others):\n    return x")
    file = {
        "defaults": {"sampler": "grid", "space": {"x": [1]}},
        "experiments": {"one": {"script": "script.py"}, "two": {"function": "models.py:square"}},
    }

    with pytest.raises(ExperimentsFileError, match="one: a script is the program of its process"):
        run_experiments(file, backend="store", parallel=2)
    assert not Path("store").exists()
    assert [each.failed for each in run_experiments(file, backend="store")] == [False, False]


def test_what_a_file_of_functions_raises_is_told_with_its_name() -> None:
    write("broken.py", "import nothing_of_this_name\ndef run(): ...")

    with pytest.raises(ExperimentsFileError, match=r"half: function: broken.py .*nothing_of_this"):
        run_experiments(described(function="broken.py:run"))


# -- artifacts and notifications --


@pytest.mark.parametrize(("keep", "left"), [("all", [0, 1, 2]), ("best", [2]), ("none", [])])
def test_artifacts_stay_as_asked_for_and_those_of_before_in_any_case(
    keep: str, left: list[int]
) -> None:
    saving = {"function": "models.py:save", "space": {"x": [3, 2, 1]}, "sampler": "grid",
              "max_workers": 1}  # fmt: skip
    file = {"experiments": {"saved": {**saving, "artifacts": keep}}}
    ex = Experiment("saved", backend="store")
    run_experiments({"experiments": {"saved": saving}}, backend="store")

    (ran,) = run_experiments(file, backend="store")

    kept = [trial.artifacts["model.txt"].digest is not None for trial in ex.trials]
    assert kept[:3] == [True] * 3
    assert [place for place, there in enumerate(kept[3:]) if there] == left
    assert ex[1].artifacts["model.txt"].read() == b"a model of 3"  # of which a copy was forgotten
    assert ran.search is not None
    assert ran.search.best.result == 1


def test_notifications_take_their_secrets_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[str] = []
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/secret-path")
    monkeypatch.setattr(Webhook, "_tell", lambda self, event, *rest: sent.append(event))
    notify = [{"type": "webhook", "url": "${HOOK}", "events": ["after_batch"]}, {"type": "log"}]

    (plan,) = plan_experiments(described(notify=notify), backend="store")
    run_experiments(described(notify=notify), backend="store")

    assert "secret-path" not in json.dumps(plan)
    assert sent == ["after_batch"]
    stored = b"".join(path.read_bytes() for path in Path("store").rglob("*") if path.is_file())
    assert b"secret-path" not in stored


def test_a_password_does_not_stand_in_the_file() -> None:
    mail = {"type": "email", "host": "h", "sender": "a@b.c", "to": "a@b.c", "user": "u"}

    with pytest.raises(ExperimentsFileError, match="notify 1: password: a file is no place for"):
        plan_experiments(described(notify=[{**mail, "password": "hunter2"}]))


# -- configurations of Labs --

LABS = {
    "mode": "research",
    "type": "local",
    "experiments": [
        {
            "experiment_name": "a grid",
            "description": "slopes",
            "problem_name": "lines",
            "artifacts_path": "out",
            "tune_config": {
                "type": "grid-search",
                "space": {
                    "slope": {"type": "linear-space-int", "search_vals": [-2, 2], "count": 5}
                },
                "experiments_batch_size": 2,
                "delete_experiments": True,
            },
            "evaluation_config": {"metrics": {"MSE": "min", "MAE": "min"}, "main_metric": "MSE"},
        },
        {
            "experiment_name": "listed",
            "function": "models.py:design",
            "tune_config": {"type": "list", "space": [{"slope": 1}, {"slope": -3}, {"slope": 1}]},
            "evaluation_config": {"metrics": {"MSE": "max"}},
        },
    ],
}


def test_a_configuration_of_labs_runs_as_it_is() -> None:
    file = write("labs.json", json.dumps(LABS))

    plans = plan_experiments(file, {"a grid": "models.py:design"})
    grid, listed = run_experiments(file, {"a grid": "models.py:design"}, backend="store")

    assert plans[0]["ignored"] == ["artifacts_path", "mode"]
    assert (plans[0]["batch_size"], plans[0]["artifacts"]) == (2, "best")
    assert grid.search is not None
    assert (grid.search.experiment, grid.search.description) == ("a_grid", "slopes, lines")
    assert grid.search.best.result == {"MSE": 0, "MAE": 0}
    assert grid.search.best.artifacts["weights.txt"].read() == b"0"
    left = [trial for trial in grid.search.trials if trial.artifacts["weights.txt"].digest]
    assert left == [grid.search.best]
    assert listed.search is not None
    assert [t.parameters["slope"] for t in listed.search.trials] == [1, -3, 1]
    assert listed.search.best.result == {"MSE": 9}


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        ({"type": "random"}, "tune_config: type: 'random' is no search of Labs: did you mean"),
        ({"type": "skopt", "search_params": {"acq": "EI"}}, "unknown key 'acq': did you mean 'acq"),
        ({"n_experiment": 3}, "tune_config: unknown key 'n_experiment'"),
        ({"space": {"a": {"type": "unifrom", "search_vals": [0, 1]}}}, "space: a: .*'unifrom'"),
    ],
)
def test_a_wrong_configuration_of_labs_is_told(tune: dict[str, Any], reason: str) -> None:
    space = {"slope": {"type": "uniform", "search_vals": [0, 1]}}
    one = {
        "experiment_name": "one",
        "function": "models.py:design",
        "tune_config": {"space": space, **tune},
        "evaluation_config": {"metrics": {"a": "min"}},
    }

    with pytest.raises(ExperimentsFileError, match=f"one: .*{reason}"):
        plan_experiments({"experiments": [one]})


# -- the command --


def test_a_dry_run_shows_the_plan_and_runs_nothing(command: Callable[..., Answer]) -> None:
    file = write("a.toml", f"[experiments.steps]\n{SQUARE}")

    answer = command("run", file, "--dry-run")

    assert answer.code == 0
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["runs", "models.py:square"] in lines
    assert ["space", "3", "configurations"] in lines
    assert ["trials", "at", "most", "3"] in lines
    assert not Path("daskperiment_cache").exists()
    told = json.loads(command("run", file, "--dry-run", "--json").out)
    assert told["experiments"][0]["space"]["x"]["choices"] == [1, 0, 2]


def test_the_command_ends_with_a_summary(command: Callable[..., Answer]) -> None:
    file = write("a.toml", f"[experiments.steps]\n{SQUARE}\n[experiments.again]\n{SQUARE}")

    answer = command("run", "--only", "again", file)
    document = json.loads(command("run", file, "--backend", "store", "--json").out)

    assert answer.code == 0
    assert answer.out.splitlines()[1].split()[:7] == [
        "again", "COMPLETE", "search-1", "3", "0.0", "2", "x=0"
    ]  # fmt: skip
    assert [each["name"] for each in document["searches"]] == ["steps", "again"]
    assert document["searches"][0]["best"] == {
        "number": 2, "value": 0.0, "parameters": {"x": 0}
    }  # fmt: skip
    assert document["failed"] == []


def test_resume_goes_on_with_the_searches_of_a_file(command: Callable[..., Answer]) -> None:
    file = write("a.toml", f"[experiments.steps]\n{SQUARE}")

    command("run", file)
    answer = command("resume", file)

    assert answer.code == 0
    assert len(Experiment("steps").trials) == 3


def test_wrong_usage_is_told(command: Callable[..., Answer]) -> None:
    file = write("a.toml", f"[experiments.steps]\n{SQUARE}")

    for arguments, reason in (
        (("run", "--only", "steps", "models.py"), "--only is for a file of experiments"),
        (("run", file, "x=3"), "A file of experiments takes no argument such as x=3"),
        (("run", file, "--shard", "0/2"), "--shard is for batches"),
        (("run", file, "--function", "steps"), "--function takes NAME=FILE:FUNCTION"),
        (("run", file, "--only", "step"), "did you mean 'steps'?"),
    ):
        answer = command(*arguments)
        assert answer.code == 2
        assert reason in answer.err
