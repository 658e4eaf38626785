"""The documents of ``--json``: their shapes are promises to programs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from daskperiment import Experiment
from tests.cli.conftest import Command

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")


def shape(value: Any) -> Any:
    """A document with the types of its values, and of a list what its items have in common."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        shapes = [shape(item) for item in value]
        return shapes[:1] if all(s == shapes[0] for s in shapes) else shapes
    if isinstance(value, str) and TIME.fullmatch(value):
        return "time"
    return type(value).__name__


SUMMARY = {
    "trial": "int",
    "state": "str",
    "started": "time",
    "finished": "time",
    "seconds": "float",
    "parameters": {"a": "int", "b": "str"},
    "result": "float",
    "seed": "int",
    "tags": [],
    "note": "str",
    "tainted": "NoneType",
    "failure": "NoneType",
    "removed": "NoneType",
}
STEP = {
    "step": "str",
    "call": "int",
    "outcome": "str",
    "seconds": "float",
    "seed": "int",
    "drew": "bool",
    "started": "time",
}
ARTIFACT = {"name": "str", "size": "int", "digest": "str"}
TRIAL = {
    "experiment": "str",
    **SUMMARY,
    "uid": "str",
    "reproduces": "NoneType",
    "reproductions": [],
    "result_type": "str",
    "traceback": "NoneType",
    "user": "str",
    "host": "str",
    "pid": "int",
    "code": "str",
    "environment": "str",
    "git": "NoneType",
    "steps": [STEP],
    "inputs": [],
    "metrics": {
        "loss": {"points": "int", "last": "str", "epoch": "int", "min": "float", "max": "float"}
    },
    "artifacts": [ARTIFACT],
}
HISTORY = {
    "Trial ID": "int",
    "a": "int",
    "b": "str",
    "Result": "float",
    "Success": "bool",
    "Finished": "time",
    "Process Time": "float",
    "Description": "NoneType",
}
IMPACT = {
    "of": "str",
    "trials": [
        {
            "experiment": "str", "trial": "int", "state": "str", "calls": ["str"],
            "result": result, "artifacts": ["str"], "reused": [],
        }
        for result in ("str", "str", "NoneType")
    ],
    "notes": [],
}  # fmt: skip
SHAPES: dict[str, tuple[list[str], Any]] = {
    "impact": (["impact", "score", "--as-in", "1"], IMPACT),
    "taint": (["taint", "score", "--reason", "off by one"], IMPACT),
    "untaint": (["untaint", "1"], [{"trial": "int"}]),
    "ls": (
        ["ls"],
        [
            {
                "experiment": "str",
                "trials": "int",
                "last": {"trial": "int", "state": "str", "started": "time", "finished": "time"},
            }
        ],
    ),
    "ls -e": (["ls", "-e", "example", "--where", "Success"], [SUMMARY]),
    "show": (["show", "2"], TRIAL),
    "history": (["history", "--where", "Success"], [HISTORY]),
    "metrics": (
        ["metrics", "1:2", "loss"],
        [
            {"trial": "int", "metric": "str", "epoch": "int", "value": kind, "time": "time"}
            for kind in ("float", "str", "float", "str")
        ],
    ),
    "artifacts": (["artifacts", "1"], [ARTIFACT]),
    "code": (["code", "1"], [{"step": "str", "source": "str"}]),
    "code --files": (["code", "1", "--files"], [{"file": "str", "text": "str"}]),
    "why": (["why", "2", "score"], {"trial": "int", "step": "str", "call": "int", "why": "str"}),
    "env": (["env", "1", "daskperiment"], "str"),
    "logs": (
        ["logs", "1"],
        [
            {
                "time": "time",
                "step": "str",
                "call": "int",
                "stream": "str",
                "text": "str",
                "logger": "NoneType",
                "level": "NoneType",
            }
        ],
    ),
    "status": (["status"], {"batches": [], "running": [], "crashed": []}),
    "tag": (["tag", "1", "--add", "good"], [{"trial": "int", "tags": ["str"]}]),
    "note": (["note", "1", "text"], {"trial": "int", "note": "str"}),
    "rm": (["rm", "1:2"], {"removed": ["int"]}),
    "rm --experiment-data": (
        ["rm", "-e", "example", "--experiment-data", "--yes"],
        {"experiment": "str", "trials": "int", "payloads": "int", "bytes": "int"},
    ),
    "restore": (["restore", "1"], {"restored": ["int"]}),
    "gc": (
        ["gc", "--dry-run"],
        {"dry_run": "bool", "trials": "int", "payloads": "int", "bytes": "int"},
    ),
    "forget": (
        ["forget", "1", "note"],
        {
            "field": "str",
            "trials": [{"experiment": "str", "trial": "int", "field": "str"}],
            "payloads": "int",
            "bytes": "int",
            "held": [],
        },
    ),
    "reuse ls": (
        ["reuse", "ls"],
        [
            {
                "key": "str",
                "step": "str",
                "call": "int",
                "trial": "int",
                "started": "time",
                "seconds": "float",
                "bytes": "int",
                "kept": "str",
            }
        ],
    ),
    "reuse size": (["reuse", "size"], {"calls": "int", "bytes": "int", "free": "int"}),
    "reuse prune": (
        ["reuse", "prune", "--keep-last", "1", "--dry-run"],
        {"dry_run": "bool", "calls": "int", "payloads": "int", "bytes": "int"},
    ),
    "doctor": (["doctor"], [{"level": "str", "what": "str", "advice": "str"}]),
    "key": (["key", "new", "team.key"], {"key": "str", "file": "str"}),
    "completion": (["completion", "fish"], {"shell": "str", "script": "str"}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_stays_as_it_is(command: Command, example: Experiment, name: str) -> None:
    arguments, expected = SHAPES[name]

    answer = command(*arguments, "--json")

    assert answer.code == 0 and answer.err == ""
    assert shape(answer.document) == expected


def test_every_verb_has_a_shape_that_is_tested() -> None:
    from daskperiment.cli import cli

    elsewhere = {
        "run", "plan", "resume", "diff", "explain", "reproduce", "config", "salvage", "sync",
        "copy", "import", "import-legacy", "dashboard", "bundle", "verify",
        "search", "grid", "searches",
    }  # fmt: skip

    assert {name.split()[0] for name in SHAPES} | elsewhere == set(cli.commands)


def test_the_shape_of_a_difference(command: Command, example: Experiment) -> None:
    found = command("diff", "1", "2", "--json")

    assert found.code == 1
    assert list(found.document) == [
        "a", "b", "differs", "state", "parameters", "seed", "packages", "environment", "session",
        "metrics", "outputs", "result", "code", "duration", "notes",
    ]  # fmt: skip
    assert found.document["parameters"] == [{"name": "a", "a": 4, "b": 2}]


def test_the_shape_of_a_plan(command: Command) -> None:
    with open("train.py", "w") as script:  # noqa: PTH123
        script.write(
            "from daskperiment import Experiment\n"
            "ex = Experiment('example', reuse=True)\n"
            "print('printed')\n"
            "@ex.result\n"
            "def score(a):\n"
            "    return 10 / a\n"
            "s = score(ex.parameter('a'))\n"
        )
    command("run", "train.py", "a=4")

    found = command("plan", "--json", "train.py", "a=4")

    call = {"step": "str", "call": "int", "action": "str", "reason": "str", "seconds": "float",
            "bytes": "int"}  # fmt: skip
    assert found.code == 0 and "printed" in found.err
    assert shape(found.document) == {
        "calls": [call], "reuse": "int", "run": "int", "depends": "int",
    }  # fmt: skip
    assert command("plan", "--json", "train.py").code == 2


def test_the_shape_of_settings(command: Command) -> None:
    rows = command("config", "show", "--json").document

    assert all(list(r) == ["option", "value", "origin", "variable", "help"] for r in rows)


def test_a_failure_has_its_description_and_traceback(command: Command, example: Experiment) -> None:
    shown = command("show", "3", "--json").document

    assert (shown["state"], shown["result"], shown["result_type"]) == ("FAILED", None, None)
    assert shown["failure"] == "ZeroDivisionError(division by zero)"
    assert shown["traceback"].startswith("Traceback")


def test_a_script_that_prints_leaves_one_document_on_stdout(command: Command) -> None:
    with open("train.py", "w") as script:  # noqa: PTH123
        script.write(
            "import os\n"
            "from daskperiment import Experiment\n"
            "ex = Experiment('example')\n"
            "@ex.result\n"
            "def score(a, b):\n"
            "    print('printed'); os.system('echo from a program')\n"
            "    ex.log_metric('loss', float('nan')); ex.log_metric('loss', 0.5)\n"
            "    ex.save_artifact('x', b'')\n"
            "    return 10 / a\n"
            "s = score(ex.parameter('a'), ex.parameter('b', default='fast'))\n"
        )

    done, failed, wrong = (command("run", "--json", "train.py", *a) for a in (["a=4"], ["a=0"], []))

    assert done.code == 0 and "printed" in done.err and "from a program" in done.err
    assert list(done.document) == list(TRIAL) and done.document["result"] == 2.5
    assert failed.code == 1 and failed.document["state"] == "FAILED"
    again = command("resume", "--json", "train.py", "a=4")
    assert again.code == 0 and list(again.document) == list(TRIAL)
    assert (wrong.code, wrong.out) == (2, "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (-float("inf"), "-inf"),
        ({"a": [1, (2.5, None)], "b": float("inf")}, {"a": [1, [2.5, None]], "b": "inf"}),
        ({1, 2}, "{1, 2}"),
        (b"\x00", "b'\\x00'"),
        ({1: "x"}, "{1: 'x'}"),
        ("lone \ud800 \x1b[2J", "lone \ud800 \x1b[2J"),
        (2**70, 2**70),
        (datetime(2024, 1, 1), "2024-01-01T00:00:00"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00+00:00"),
    ],
    ids=repr,
)
def test_what_json_lacks_is_text(command: Command, value: Any, shown: Any) -> None:
    ex = Experiment("example")
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    s.compute(parameters={"a": value})

    answer = command("show", "--json")

    assert answer.document["parameters"] == {"a": shown}
    assert answer.document["result"] == shown
    assert command("history", "--json").document[0]["Result"] == shown
    assert answer.out.isascii()


class Unpickled:
    """An object whose pickle tells when it is loaded."""

    def __reduce__(self) -> Any:
        return print, ("a pickle was loaded",)

    def __repr__(self) -> str:
        return "<the preview>"


def test_nothing_is_unpickled(command: Command) -> None:
    ex = Experiment("example")
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    s.compute(parameters={"a": Unpickled()}, scheduler="synchronous")
    s.compute(parameters={"a": 1}, scheduler="synchronous")

    for verb in ("ls -e example", "show 1", "history", "diff 1 2", "env 1"):
        for as_json in ([], ["--json"]):
            answer = command(*verb.split(), *as_json)
            assert "a pickle was loaded" not in answer.out, verb
    assert command("show", "1", "--json").document["result"] == "<the preview>"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["show", "99"], "TrialIDNotFoundError"),
        (["show", "nonsense"], "TrialReferenceError"),
        (["show", "-e", "nope"], "ExperimentNotFoundError"),
        (["show", "--backend", "nowhere"], "ExperimentNotFoundError"),
        (["show", "--backend", "nope://x"], "BackendURIError"),
        (["show", "--columns"], "UsageError"),
        (["shwo"], "UsageError"),
        (["ls", "--where", "a >"], "QueryError"),
        (["metrics", "1", "nope"], "MetricNotFoundError"),
    ],
    ids=str,
)
def test_an_error_is_a_document_on_stderr(
    command: Command, example: Experiment, arguments: list[str], kind: str
) -> None:
    code, out, err = command(*arguments, "--json")

    assert (code, out) == (2, "")
    error = json.loads(err)
    assert list(error) == ["error"] and list(error["error"]) == ["type", "message"]
    assert error["error"]["type"] == kind
