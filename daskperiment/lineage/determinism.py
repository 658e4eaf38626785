"""Determinism: what the output of a step depends on, beside its inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from daskperiment.errors import OptionError, RebuildError, StepNotFoundError
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.lineage.request import INPUTS, Request, ask, request_of
from daskperiment.records import StepRecord
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd

_SCHEDULERS = ("threads", "processes")
COLUMNS = ("factor", "value", "output", "same")


class Run(NamedTuple):
    """One call of the step.

    Parameters
    ----------
    factor : str
        What was varied: ``nothing``, ``seed``, ``hash seed``, ``threads`` or ``scheduler``.
    value : str
        What it was.
    output : str or None
        Digest of the output; None where it has none.
    same : bool
        Whether it is that of the first call, with nothing varied.
    """

    factor: str
    value: str
    output: str | None
    same: bool


@dataclass(frozen=True, repr=False)
class Determinism:
    """What was found; true where the output depends on the inputs and the seed alone.

    Attributes
    ----------
    step, trial : str, int
        The step, and the trial whose inputs it got.
    runs : tuple of Run
        All calls.
    """

    step: str
    trial: int
    runs: tuple[Run, ...]

    @property
    def depends_on(self) -> tuple[str, ...]:
        """What the output depends on; ``nothing`` where it changes although nothing is varied."""
        return tuple(dict.fromkeys(run.factor for run in self.runs if not run.same))

    def __bool__(self) -> bool:
        return set(self.depends_on) <= {"seed"}

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each call: ``factor``, ``value``, ``output``, ``same``."""
        import pandas as pd

        return pd.DataFrame(self.runs, columns=list(COLUMNS))

    def document(self) -> Document:
        """The same as JSON."""
        return {
            "step": self.step, "trial": self.trial, "depends_on": list(self.depends_on),
            "runs": [run._asdict() for run in self.runs],
        }  # fmt: skip

    def __str__(self) -> str:
        found = self.depends_on
        if "nothing" in found:
            verdict = "gives another output although nothing is varied"
        elif found:
            verdict = f"depends on {', '.join(found)}"
        else:
            verdict = "gives the same output whatever is varied"
        lines = [f"step {self.step} with the inputs of trial {self.trial} {verdict}"]
        for factor in dict.fromkeys(run.factor for run in self.runs):
            runs = [run for run in self.runs if run.factor == factor]
            different = len({run.output for run in runs})
            lines.append(f"  {factor}: {len(runs)} calls, {different} different outputs")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Determinism of {self.step}: {', '.join(self.depends_on) or 'depends on nothing'}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def check_determinism(trials: Trials, step: str, n: int = 5) -> Determinism:
    """Call a step again with the inputs of the latest trial that has called it.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    step : str
        The step.
    n : int
        How often each of what is varied one at a time.

    Raises
    ------
    OptionError
        ``n`` is no number of calls.
    StepNotFoundError
        No trial has called it.
    RebuildError
        It cannot be called again; besides errors of the store.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        raise OptionError(f"n is a number of calls from 2 on, not {preview(n, 80)}")
    number, row, record = _latest(trials, step)
    request = request_of(trials, row, {})._replace(call=record.place)
    with tempfile.TemporaryDirectory(prefix="daskperiment-") as folder:
        place = Path(folder)
        _answered(place, request._replace(task="inputs"))
        assert (place / INPUTS).exists()
        found = [
            (factor, value, output)
            for factor, values, asked in _variations(request, record, n)
            for value, output in zip(values, _answered(place, asked)["outputs"], strict=True)
        ]
    first = found[0][2]
    runs = tuple(Run(*each, same=each[2] is not None and each[2] == first) for each in found)
    return Determinism(step, number, runs)


def _latest(trials: Trials, step: str) -> tuple[int, Document, StepRecord]:
    steps = Steps(trials.backend, trials.name)
    for number, row in trials.find(newest=True):
        for record in steps.read(row["uid"]) if row.get("graph") is not None else ():
            if record.step == step:
                return number, row, record
    raise StepNotFoundError(f"No trial that can be run again has called a step {step!r}")


def _variations(
    request: Request, record: StepRecord, n: int
) -> Iterator[tuple[str, list[str], Request]]:
    """What is varied, to what values, and what is to be asked for; one at a time."""
    seed, others = record.seed, range(1, n + 1)
    pinned = {"PYTHONHASHSEED": "0", **request.variables}
    base = request._replace(task="calls", seeds=(seed,), variables=pinned)
    yield "nothing", [""] * n, base._replace(seeds=(seed,) * n)
    seeds = tuple(seed ^ other for other in others)
    yield "seed", list(map(str, seeds)), base._replace(seeds=seeds)
    for other in others:
        variables = {**pinned, "PYTHONHASHSEED": str(other)}
        yield "hash seed", [str(other)], base._replace(variables=variables)
    if counts := [name for name, count in record.threads.items() if type(count) is int]:
        for other in others:
            yield "threads", [str(other)], base._replace(threads=dict.fromkeys(counts, other))
    for scheduler in _SCHEDULERS:
        yield "scheduler", [scheduler], base._replace(scheduler=scheduler)


def _answered(folder: Path, request: Request) -> Any:
    answer = ask(folder, request)
    for problem in ("error", "different"):
        if problem in answer:
            raise RebuildError(answer[problem])
    return answer
