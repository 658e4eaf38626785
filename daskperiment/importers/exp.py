"""Reader of the evaluations that EXP's optimiser writes: ``<name>_configurations.csv``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from daskperiment.errors import ImportFormatError
from daskperiment.importers.past import LeftOut, Past, Reading, canonical
from daskperiment.records import TrialState

_SUFFIX = "_configurations"
_OURS = ("id", "run", "pid", "evaluation")


def read_exp(path: Path) -> Reading:
    """Read a CSV file of EXP: parameters, ``id`` and ``evaluation``, one line a run.

    Raises
    ------
    ImportFormatError
        It is no such file.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or ())
        _check(path, names)
        rows = list(reader)
    name = path.stem.removesuffix(_SUFFIX) or path.stem
    time = path.stat().st_mtime
    pasts, left_out = [], []
    for line, row in enumerate(rows, 2):
        place = f"configuration {row['id']}" if row.get("id") else f"line {line}"
        evaluation = _value(row.get("evaluation") or "")
        if None in row or None in row.values() or type(evaluation) not in (int, float):
            left_out.append(LeftOut(place, "", f"line {line} is cut off or has no evaluation"))
            continue
        pasts.append(_past(name, place, row, evaluation, time))
    return Reading(name, pasts, left_out)


def _check(path: Path, names: list[str]) -> None:
    if "id" in names and "evaluation" not in names:
        raise ImportFormatError(
            f"{path.name} lists configurations without their evaluations, which exp.run does not "
            "keep; exp.gopt writes those to <name>_configurations.csv"
        )
    if "id" not in names:
        raise ImportFormatError(f"{path.name} is no CSV file of EXP: it has no columns id and "
                                "evaluation")  # fmt: skip


def _past(name: str, place: str, row: dict[str, str], evaluation: Any, time: float) -> Past:
    past = Past(
        place=place,
        identity=canonical("exp", name, row),
        origin=f"EXP, {place} of {name}; the time is that of the file",
        state=TrialState.COMPLETE,
        started=time,
        finished=time,
        parameters={key: _value(text) for key, text in row.items() if key not in _OURS},
        result=evaluation,
    )
    past.add_points("evaluation", [(0, evaluation, time)])
    return past


def _value(text: str) -> Any:
    """What Python has written as text: a number, a truth value, None, else the text itself."""
    if text in (known := {"True": True, "False": False, "": None}):
        return known[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
