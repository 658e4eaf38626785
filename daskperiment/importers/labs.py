"""Reader of the reports of Labs: ``<name>_report.json``, the metadata and the artifacts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from daskperiment.errors import ImportFormatError
from daskperiment.importers.past import LeftOut, Past, Reading, canonical, read_json
from daskperiment.records import TrialState
from daskperiment.typing import Document

_SUFFIX = "_report"


def read_labs(path: Path) -> Reading:
    """Read a report of Labs, or the folder of an experiment that holds one.

    Raises
    ------
    ImportFormatError
        It is none, or there are several in the folder.
    """
    report = _report(path)
    name = report.stem.removesuffix(_SUFFIX)
    entries = read_json(report)
    if not isinstance(entries, list):
        raise ImportFormatError(f"{report.name} is no report of Labs: it holds no list")
    left_out: list[LeftOut] = []
    metadata = _metadata(report.with_name(f"{name}_metadata.json"), left_out)
    times = _times(metadata, report)
    pasts = []
    for at, entry in enumerate(entries):
        try:
            pasts.append(_past(name, entry, metadata, times, report))
        except (ImportFormatError, KeyError, AttributeError, TypeError) as error:
            reason = f"it has not the form of an experiment: {error!r}"
            left_out.append(LeftOut(f"entry {at}", "", reason))
    return Reading(name, pasts, left_out)


def _report(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted({*path.glob(f"*{_SUFFIX}.json"), *path.glob(f"final_model/*{_SUFFIX}.json")})
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ImportFormatError(
            f"{path} holds not one report of Labs but {len(found)} ({names}): give the file "
            "<name>_report.json"
        )
    return found[0]


def _metadata(path: Path, left_out: list[LeftOut]) -> Document:
    try:
        found = read_json(path) if path.is_file() else {}
    except ImportFormatError as error:
        left_out.append(LeftOut("", path.name, str(error)))
        return {}
    return found if isinstance(found, dict) else {}


def _times(metadata: Document, report: Path) -> tuple[float, float]:
    """When all the experiments began and ended: Labs tells it of no single one."""
    try:
        start, end = (datetime.fromisoformat(metadata[name]) for name in ("start", "end"))
    except (KeyError, ValueError, TypeError):
        return report.stat().st_mtime, report.stat().st_mtime
    return start.timestamp(), end.timestamp()


def _past(
    name: str, entry: Any, metadata: Document, times: tuple[float, float], report: Path
) -> Past:
    number, parameters, scores = entry["ix"], dict(entry["hyperparams"]), dict(entry["scores"])
    past = Past(
        place=f"experiment {number}",
        identity=canonical("labs", name, metadata.get("start"), entry),
        origin=f"Labs, experiment {number} of {name}; the times are those of all experiments",
        state=TrialState.COMPLETE,
        started=times[0],
        finished=times[1],
        parameters=parameters,
        result=next(iter(scores.values())) if len(scores) == 1 else scores,
        session={"labs": metadata} if metadata else {},
    )
    past.add_numbers(scores, times[1])
    root = report.parent.parent if report.parent.name == "final_model" else report.parent
    folder = root / f"experiment_{number}"
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if file.is_file():
            past.artifacts[file.relative_to(folder).as_posix()] = file
    return past
