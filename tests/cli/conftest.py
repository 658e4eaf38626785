"""A small history, and a way to ask for it as a user does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from daskperiment import Experiment
from daskperiment.cli.main import run


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""

        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is not strict JSON")

        return json.loads(self.out, parse_constant=refuse)


Command = Callable[..., Answer]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process."""

    def ask(*arguments: str) -> Answer:
        capfd.readouterr()
        code = run(arguments)
        return Answer(code, *capfd.readouterr())

    return ask


@pytest.fixture
def example() -> Experiment:
    """Three trials in the default store: 2.5, 5.0, and one that failed."""
    ex = Experiment("example", seed=7)
    a, b = ex.parameter("a"), ex.parameter("b", default="fast")

    @ex(reuse=True)
    def prepare(a: float, b: str) -> float:
        ex.log_metric("loss", 1 / (a or 1))
        ex.log_metric("loss", float("nan"))
        print("preparing", a)
        ex.save_artifact("notes/read.txt", b"hello")
        return a

    @ex.result
    def score(total: float) -> float:
        return 10 / total

    s = score(prepare(a, b))
    for value in (4, 2):
        s.compute(parameters={"a": value})
    with pytest.raises(ZeroDivisionError):
        s.compute(parameters={"a": 0})
    return ex
