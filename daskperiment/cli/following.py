"""What is shown and written of a search while it runs: a line and a row for each trial."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskperiment.callbacks import Callback
from daskperiment.callbacks.base import BatchView
from daskperiment.cli import text
from daskperiment.errors import SearchError
from daskperiment.history.searches import SearchRows, Tried
from daskperiment.records import TrialState
from daskperiment.search.configurations import configuration_id
from daskperiment.search.objective import Objective
from daskperiment.search.space import SearchSpace

if TYPE_CHECKING:
    from daskperiment.callbacks import Progress
    from daskperiment.trial import Trial

_AHEAD = ("place", "trial", "id")


def _tried(trial: Trial, objective: Objective) -> Tried:
    return SearchRows(trial._trials, "", objective.names).read(trial.number)


class Lines(Callback):
    """Prints a line for each trial that has ended.

    Parameters
    ----------
    space : SearchSpace
        Where it is searched.
    objective : Objective
        What is searched for.
    bar : Progress
        The bar that stands where the lines are printed.

    Attributes
    ----------
    begun : bool
        Whether the search has begun.
    """

    def __init__(self, space: SearchSpace, objective: Objective, bar: Progress) -> None:
        self._space = space
        self._objective = objective
        self._bar = bar
        self._best: float | None = None
        self.begun = False
        self._titled = False

    def before_batch(self, *, batch: BatchView) -> None:
        """Know the best of the trials that were there before."""
        self.begun = True
        for trial in batch.trials:
            self._is_best(_tried(trial, self._objective))

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Print its line."""
        tried = _tried(trial, self._objective)
        found = self._space.within(tried.parameters)
        shown = text.pairs(tried.parameters if found is None else found)
        best = click.style("  best so far", fg="green") if self._is_best(tried) else ""
        with self._aside():
            if not self._titled:
                self._titled = True
                click.echo(text.heading(f"TRIAL  {self._titles.upper():<12}  PARAMETERS"))
            line = f"{tried.number:>5}  {self._value(tried)}  {text.escaped(shown, keep='')}"
            click.echo(line.rstrip() + best + _why(tried))

    def _aside(self) -> AbstractContextManager[None]:
        return self._bar.aside()

    @property
    def _titles(self) -> str:
        return ", ".join(metric.title for metric in self._objective.sought)

    def _value(self, tried: Tried) -> str:
        if tried.state is not TrialState.COMPLETE:
            return text.state(tried.state.value) + " " * (12 - len(tried.state.value))
        by_title = dict(zip(self._objective.names, tried.values, strict=True))
        values = [by_title[metric.name] for metric in self._objective.sought]
        shown = ", ".join("none" if value is None else text.brief(value) for value in values)
        return f"{shown:<12}"

    def _is_best(self, tried: Tried) -> bool:
        losses = self._objective.losses(tried.values)
        if losses is None or len(losses) > 1:
            return False
        if self._best is not None and losses[0] >= self._best:
            return False
        self._best = losses[0]
        return True


class Table(Callback):
    """Writes a row of comma-separated values for each trial, as soon as it has ended.

    The columns are ``place`` in the search, ``trial`` (the number), ``id`` of the configuration,
    the parameters of the space, ``state``, the metrics, and ``seconds``.  Values stand as
    :func:`daskperiment.search.write_csv` writes them.

    Parameters
    ----------
    path : path
        The file.
    space : SearchSpace
        Where it is searched.
    objective : Objective
        What is searched for.
    goes_on : bool
        Whether rows are added to those that are there.

    Raises
    ------
    SearchError
        Its folder does not exist, or what is there has other columns.
    OSError
        It cannot be written.
    """

    def __init__(self, path: Path, space: SearchSpace, objective: Objective, goes_on: bool) -> None:
        check_folder(path)
        self._path = path
        self._space = space
        self._objective = objective
        self._columns = self._header()
        self._written: set[str] = set()
        with path.open("a", encoding="utf-8"):
            pass  # it can be written to
        self._kept = self._known() if goes_on else []

    def before_batch(self, *, batch: BatchView) -> None:
        """Begin the file, or add what a process that was killed has left out."""
        self._written = {row[1] for row in self._kept}
        with self._path.open("w", encoding="utf-8", newline="") as file:
            file.write(_line(self._columns) + "".join(map(_line, self._kept)))
        for trial in batch.trials:
            self._write(trial)

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Write its row."""
        self._write(trial)

    def _write(self, trial: Trial) -> None:
        if str(trial.number) in self._written:
            return
        tried = _tried(trial, self._objective)
        if tried.interrupted:  # a search that goes on repeats it
            return
        self._written.add(str(trial.number))
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line(self._row(tried)))

    def _header(self) -> list[str]:
        titles = [metric.title for metric in self._objective.metrics]
        ours = [*_AHEAD, "state", *titles, "seconds"]
        names = [f"{name} (parameter)" if name in ours else name for name in self._space.names]
        return [*_AHEAD, *names, "state", *titles, "seconds"]

    def _row(self, tried: Tried) -> list[str]:
        from daskperiment.search.tables import cell

        found = self._space.within(tried.parameters)
        parameters = tried.parameters if found is None else found
        return [
            str(tried.place), str(tried.number), configuration_id(parameters),
            *(cell(parameters[n]) if n in parameters else "" for n in self._space.names),
            tried.state.value,
            *("" if value is None else json.dumps(value) for value in tried.values),
            "" if tried.row.get("seconds") is None else f"{tried.row['seconds']:.6g}",
        ]  # fmt: skip

    def _known(self) -> list[list[str]]:
        """The rows that are there; a last line without an end was cut off by a crash."""
        content = self._path.read_text(encoding="utf-8")
        whole = content[: content.rfind("\n") + 1]
        rows = list(csv.reader(io.StringIO(whole, newline="")))
        if rows and rows[0] != self._columns:
            raise SearchError(
                f"{self._path} has other columns than this search: give another file for --csv"
            )
        return [row for row in rows[1:] if len(row) == len(self._columns)]


def _why(tried: Tried) -> str:
    """Why a trial has failed."""
    lines = str(tried.row.get("description") or "").splitlines()
    return f"  {text.escaped(lines[-1], keep='')}" if lines else ""


def check_folder(path: Path) -> None:
    """Raise SearchError where a file is to be written into a folder that does not exist."""
    if not path.absolute().parent.is_dir():
        raise SearchError(f"There is no folder {str(path.parent)!r} for {path.name}: make it first")


def _line(cells: Sequence[str] | Iterable[Any]) -> str:
    with io.StringIO(newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerow(cells)
        return stream.getvalue()
