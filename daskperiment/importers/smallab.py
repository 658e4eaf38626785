"""Reader of smallab's result folders: ``experiment_runs/<batch>``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daskperiment.errors import ImportFormatError
from daskperiment.importers.past import NOTHING, LeftOut, Past, Reading, canonical, read_json
from daskperiment.importers.pickles import loads, plain
from daskperiment.records import TrialState
from daskperiment.typing import JSON


def read_smallab(path: Path) -> Reading:
    """Read the folder of one batch: its stored results, and the runs that failed last.

    Raises
    ------
    ImportFormatError
        It is no such folder.
    """
    results = path / "experiments"
    if not results.is_dir():
        raise ImportFormatError(
            f"{path} is no result folder of smallab: it has no folder experiments; give that of "
            "one batch, experiment_runs/<batch>"
        )
    pasts, left_out = [], []
    files = [*results.rglob("run.json"), *results.rglob("run.pkl")]
    for file in sorted(files, key=lambda file: (file.stat().st_mtime, str(file))):
        place = file.parent.relative_to(results).as_posix()
        try:
            pasts.append(_past(path.resolve().name, place, file))
        except ImportFormatError as error:
            left_out.append(LeftOut(place, "", str(error)))
    try:
        pasts += _failed(path, path.resolve().name)
    except ImportFormatError as error:
        left_out.append(LeftOut("", "failed.json", str(error)))
    return Reading(path.resolve().name, pasts, left_out)


def _past(batch: str, place: str, file: Path) -> Past:
    pickled = file.suffix == ".pkl"
    found = loads(file.read_bytes()) if pickled else read_json(file)
    if not (isinstance(found, dict) and {"specification", "result"} <= found.keys()):
        raise ImportFormatError(f"{file.name} has no specification and result")
    specification, result = found["specification"], found["result"]
    beside = file.with_name("specification.json")
    if pickled and beside.is_file():
        specification = read_json(beside)
    time = file.stat().st_mtime
    past = Past(
        place=place,
        identity=canonical("smallab", batch, place, _identity(found, file)),
        origin=f"smallab, {place} of {batch}; the time is that of the file",
        state=TrialState.COMPLETE,
        started=time,
        finished=time,
    )
    _add_parameters(past, specification)
    past.result = past.take("result", plain, result, default=NOTHING)
    past.add_numbers(past.result, time)
    return past


def _identity(found: JSON, file: Path) -> JSON:
    return file.read_bytes().hex() if file.suffix == ".pkl" else found


def _add_parameters(past: Past, specification: Any) -> None:
    if not isinstance(specification, dict):
        raise ImportFormatError("the specification is no mapping")
    for name, value in specification.items():
        known = past.take(f"parameters.{name}", plain, value, default=NOTHING)
        if known is not NOTHING:
            past.parameters[str(name)] = known


def _failed(path: Path, batch: str) -> Iterator[Past]:
    file = path / "failed.json"
    for specification in read_json(file) if file.is_file() else ():
        past = Past(
            place="a failed run",
            identity=canonical("smallab", batch, "failed", specification),
            origin=f"smallab, failed.json of {batch}; the time is that of the file",
            state=TrialState.FAILED,
            started=file.stat().st_mtime,
            finished=file.stat().st_mtime,
            description="FAILED(smallab tells no more; see its logs)",
        )
        _add_parameters(past, specification)
        yield past
