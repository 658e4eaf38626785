"""Histories are moved from the shell."""

from __future__ import annotations

import pytest

from daskperiment import Experiment
from tests.cli.conftest import Command


def test_copy_tells_what_it_has_copied_and_that_nothing_is_left(
    command: Command, example: Experiment
) -> None:
    first = command("copy", "local", "elsewhere")
    second = command("copy", "local", "elsewhere")

    assert (first.code, first.out) == (0, "copied   3 trials of example\n")
    assert (second.code, second.out.splitlines()) == (
        0, ["present  3 trials, left as they are", "Nothing was copied."],
    )  # fmt: skip
    assert "5.0" in command("ls", "-e", "example", "--backend", "elsewhere").out


def test_copy_takes_references_and_tells_other_numbers(
    command: Command, example: Experiment
) -> None:
    ranged = command("copy", "local", "elsewhere", "--trials", "2:3")
    last = command("copy", "local", "elsewhere", "--trials", "-3", "-e", "example")

    assert ranged.out == "copied   2 trials of example; other numbers: 2:3 -> 1:2\n"
    assert last.out == "copied   1 trial of example; other numbers: 1 -> 3\n"


def test_copy_fails_with_what_it_has_left_out_as_one_document(command: Command) -> None:
    ex, seen = Experiment("example"), []

    @ex.result
    def look() -> None:
        seen.extend(command("copy", "local", "elsewhere", *json) for json in ([], ["--json"]))

    look().compute()

    assert [answer.code for answer in seen] == [1, 1]
    assert seen[0].out.startswith("left out trial 1 of example: it has not ended")
    assert seen[1].document == {
        "copied": [],
        "present": 0,
        "left_out": [
            {"experiment": "example", "trial": 1, "field": "",
             "reason": "it has not ended; copy again when it has"}
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "elsewhere"], "There is no store at LocalBackend('nowhere')"),
        (["local", "elsewhere", "-e", "exampel"], "did you mean example?"),
        (["local", "elsewhere", "--backend", "x"], "not by --backend"),
        (["local", "elsewhere", "--trials", "9"], "There is no trial 9"),
    ],
)
def test_copy_refuses_what_is_not_there(
    command: Command, example: Experiment, arguments: list[str], message: str
) -> None:
    answer = command("copy", *arguments)

    assert answer.code == 2 and message in answer.err
