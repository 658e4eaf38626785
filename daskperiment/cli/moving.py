"""Verbs that move histories from one place to another: copy, import, import-legacy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, chosen_trials, verb

if TYPE_CHECKING:
    from daskperiment.history.copying import Copied
    from daskperiment.importers import Imported, Reading

_MOST_LINES = 20
"""Imported trials of which each has its line."""
_PATH = click.Path(path_type=Path, exists=True)


@verb("copy")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@chosen_trials
def copy(session: Session, source: str, target: str, reference: Sequence[str]) -> int:
    """Copy experiments, or trials of one, from one store to another.

    SRC and DST are paths or URIs.  Trials that DST has already stay as they are, the others get
    the next numbers there; what is told of numbers is SRC -> DST.  The exit code is 1 when
    something could not be copied; a copy that was interrupted goes on when it is repeated.
    """
    from daskperiment.history.copying import copy_trials

    if session.named is not None:
        raise click.UsageError("copy takes the stores as SRC and DST, not by --backend")
    here = Session(source, session.chosen, direction=session.direction)
    name = here.experiment if here.chosen or reference or not here.experiments else None
    numbers = here.numbers(reference) if reference else None
    done = copy_trials(here.backend, Session(target).backend, name, numbers)
    session.answer(document(done), lines)
    return int(bool(done.left_out))


def document(done: Copied) -> dict[str, Any]:
    """What a copy has done, as JSON."""
    return {
        "copied": [moved._asdict() for moved in done.copied],
        "present": done.present,
        "left_out": [left._asdict() for left in done.left_out],
    }


def lines(shown: dict[str, Any]) -> Iterator[str]:
    """What a copy has done, for people."""
    yield from _lost(shown["left_out"])
    moved: dict[str, list[tuple[int, int]]] = {}
    for each in shown["copied"]:
        moved.setdefault(each["experiment"], []).append((each["source"], each["target"]))
    for name, numbers in moved.items():
        renumbered = list(_runs(numbers))
        other = f"; other numbers: {', '.join(renumbered)}" if renumbered else ""
        line = f"{'copied':<9}{text.count(len(numbers), 'trial')} of {name}{other}"
        yield text.escaped(line, keep="")
    if shown["present"]:
        yield f"{'present':<9}{text.count(shown['present'], 'trial')}, left as they are"
    if not moved:
        yield "Nothing was copied."


def _lost(left_out: Iterable[dict[str, Any]]) -> Iterator[str]:
    for left in left_out:
        what = f"{left['field']} of trial" if left["field"] else "trial"
        line = f"{what} {left['trial']} of {left['experiment']}: {left['reason']}"
        yield click.style(f"{'left out':<9}", fg="red") + text.escaped(line, keep="")


def _runs(numbers: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Other numbers, those of neighbours as one.

    Examples
    --------
    >>> list(_runs([(1, 1), (3, 2), (4, 3), (5, 4), (9, 5)]))
    ['3:5 -> 2:4', '9 -> 5']
    """
    run: list[tuple[int, int]] = []
    for pair in [*(pair for pair in numbers if pair[0] != pair[1]), (0, 0)]:
        if run and pair != (run[-1][0] + 1, run[-1][1] + 1):
            (first, to), (last, end) = run[0], run[-1]
            yield f"{first} -> {to}" if first == last else f"{first}:{last} -> {to}:{end}"
            run = []
        run.append(pair)


@verb("import-legacy")
@click.argument("folder", metavar="DIR", type=_PATH)
def import_legacy(session: Session, folder: Path) -> int:
    """Import a local store of daskperiment 0.5, or all that are in a folder.

    DIR is the old folder, such as daskperiment_cache; it is only read, and of its pickles nothing
    is run.  -e chooses one of its experiments.  The exit code is 1 when something was left out.
    """
    from daskperiment.errors import ExperimentNotFoundError
    from daskperiment.importers.legacy import find_legacy

    found = find_legacy(folder)
    if not found or session.chosen not in (None, *found):
        raise ExperimentNotFoundError(
            f"There is no store of daskperiment 0.5 of this name in {folder}; there are: "
            f"{', '.join(found) or 'none'}"
        )
    chosen = found.values() if session.chosen is None else [found[session.chosen]]
    return _record(session, map(_read, chosen), None)


def _read(pickle: Path) -> Reading:
    """One store of several, which does not keep the others from being imported."""
    from daskperiment.errors import ImportFormatError
    from daskperiment.importers import LeftOut, Reading, read_legacy

    try:
        return read_legacy(pickle)
    except ImportFormatError as error:
        return Reading(pickle.stem, [], [LeftOut("", "", str(error))])


@verb("import")
@click.argument("kind", type=click.Choice(["exp", "smallab", "labs"]))
@click.argument("path", metavar="PATH", type=_PATH)
def import_(session: Session, kind: str, path: Path) -> int:
    """Import what another tool has left of past runs.

    PATH is for exp the file <name>_configurations.csv, for smallab the folder of a batch,
    experiment_runs/<batch>, for labs the file <name>_report.json or its folder.  The experiment
    has the name of that, unless -e gives another.  The exit code is 1 when something was left
    out.
    """
    from daskperiment.importers import READERS

    return _record(session, [READERS[kind](path)], session.chosen)


def _record(session: Session, readings: Iterable[Reading], experiment: str | None) -> int:
    from daskperiment.importers import record

    done = [record(reading, session.backend, experiment) for reading in readings]
    session.answer([_imported(each) for each in done], _import_lines)
    return int(any(each.left_out for each in done))


def _imported(done: Imported) -> dict[str, Any]:
    return {
        "experiment": done.experiment,
        "imported": [{"from": place, "trial": number} for place, number in done.imported],
        "present": done.present,
        "left_out": [
            {"from": left.place, "field": left.field, "reason": left.reason}
            for left in done.left_out
        ],
    }


def _import_lines(shown: list[dict[str, Any]]) -> Iterator[str]:
    for done in shown:
        for left in done["left_out"]:
            what = " of ".join(filter(None, [left["field"], left["from"]]))
            line = f"{what}: {left['reason']}" if what else left["reason"]
            yield click.style(f"{'left out':<10}", fg="red") + text.escaped(line, keep="")
        for new in done["imported"] if len(done["imported"]) <= _MOST_LINES else ():
            line = f"{'imported':<10}{new['from']} as trial {new['trial']} of {done['experiment']}"
            yield text.escaped(line, keep="")
        if len(done["imported"]) > _MOST_LINES:
            line = f"{text.count(len(done['imported']), 'trial')} of {done['experiment']}"
            yield text.escaped(f"{'imported':<10}{line}; their notes tell from where", keep="")
        if done["present"]:
            yield f"{'present':<10}{text.count(done['present'], 'trial')} of an earlier import"
        if not done["imported"]:
            yield "Nothing was imported."


VERBS: list[click.Command] = [copy, import_legacy, import_]
