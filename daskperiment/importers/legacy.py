"""Reader of the local stores of daskperiment 0.5: one pickle and a folder of texts each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from daskperiment.errors import ImportFormatError
from daskperiment.importers.past import NOTHING, LeftOut, Past, Reading, canonical, read_json
from daskperiment.importers.pickles import Record, loads, plain
from daskperiment.records import TrialState
from daskperiment.typing import Document

_TEXTS = ("numpy", "scipy", "pandas", "conda")
_FACTS = ("platform", "cpu", "python", "git")
_RENAMED = {
    "Platform Information": "platform",
    "Device CPU Count": "count",
    "Python Implementation": "implementation",
    "Python Version": "version",
    "Python venv Name": "virtualenv",
    "Git Repository": "repository",
    "Git Active Branch": "branch",
    "Git HEAD Commit": "commit",
    "Git Dirty Flag": "dirty",
}
"""Names of facts that are known here under others."""
_NO_REPOSITORY = "Not Git Controlled"


class _Backend(Record):
    pass


class _Undefined(Record):
    pass


_RECORDS: dict[str, type[Record]] = {
    "daskperiment.backend.local.LocalBackend": _Backend,
    "daskperiment.core.trial.local.LocalTrialManager": Record,
    "daskperiment.core.metric.local.LocalMetricManager": Record,
    "daskperiment.core.metric.local.Metric": Record,
    "daskperiment.core.parameter.Undefined": _Undefined,
}


def find_legacy(folder: Path) -> dict[str, Path]:
    """Stores of daskperiment 0.5 in a folder or right below it: their pickles by experiment."""
    found = [*folder.glob("*.pkl"), *folder.glob("*/*.pkl")]
    return {path.stem: path for path in sorted(found) if (path.parent / "code").is_dir()}


def read_legacy(pickle: Path) -> Reading:
    """Read one store of daskperiment 0.5.

    Parameters
    ----------
    pickle : path
        The file ``<id>.pkl`` among the folders ``code``, ``environment`` and ``persist``.

    Raises
    ------
    ImportFormatError
        It is none, or cannot be read.
    """
    store = _Store(pickle)
    pasts = [store.past(number) for number in store.numbers()]
    left_out = [
        LeftOut("", "metrics", f"those of trial {number}, of which there is no more record")
        for number in sorted(store.unknown)
    ]
    return Reading(store.name, pasts, left_out)


class _Store:
    def __init__(self, pickle: Path) -> None:
        self.folder, self.name = pickle.parent, pickle.stem
        self.saved = pickle.stat().st_mtime
        backend = loads(pickle.read_bytes(), _RECORDS)
        if not isinstance(backend, _Backend):
            raise ImportFormatError(f"{pickle} is no store of daskperiment 0.5")
        trials = vars(backend).get("trials")
        self.parameters = _mapping(trials, "_parameters_history")
        self.results = _mapping(trials, "_result_history")
        metrics = _mapping(vars(backend).get("metrics"), "metrics")
        self.metrics = {str(key): _mapping(metric, "values") for key, metric in metrics.items()}
        known = {number for points in self.metrics.values() for number in points}
        self.unknown = {n for n in known if type(n) is int} - {*self.numbers()}

    def numbers(self) -> list[int]:
        return sorted(n for n in {*self.parameters, *self.results} if type(n) is int)

    def past(self, number: int) -> Past:
        code = self.folder / "code" / f"{self.name}_{number}.py"
        started = code.stat().st_mtime if code.is_file() else self.saved
        past = Past(
            place=f"trial {number}",
            identity=canonical("daskperiment 0.5", self.name, number, "interrupted"),
            origin=f"daskperiment 0.5, trial {number} of {self.name}",
            state=TrialState.CRASHED,
            started=started,
            description="CRASHED(the trial was interrupted, and left no result)",
        )
        if isinstance(result := self.results.get(number), dict):
            self._end(past, number, result)
        self._add_parameters(past, number)
        for key, points in self.metrics.items():
            self._add_metric(past, key, points.get(number) or [])
        self._add_persisted(past, number)
        past.code = past.take("code", _code, code, default="")
        self._add_environment(past, number)
        return past

    def _end(self, past: Past, number: int, result: dict[str, Any]) -> None:
        complete = result.get("Success") is True
        past.state = TrialState.COMPLETE if complete else TrialState.FAILED
        finished = past.take("finished", _moment, result.get("Finished"))
        seconds = past.take("seconds", _seconds, result.get("Process Time"))
        past.finished, past.seconds = finished and finished.timestamp(), seconds
        if past.finished is not None and seconds is not None:
            past.started = past.finished - seconds
        past.identity = canonical("daskperiment 0.5", self.name, number, str(finished))
        past.description = past.take("description", _text, result.get("Description"))
        past.seed = past.take("seed", _seed, result.get("Seed"))
        if complete:
            past.result = past.take("result", plain, result.get("Result"), default=NOTHING)

    def _add_parameters(self, past: Past, number: int) -> None:
        values = self.parameters.get(number)
        for name, value in values.items() if isinstance(values, dict) else ():
            if not isinstance(value, _Undefined):
                known = past.take(f"parameters.{name}", plain, value, default=NOTHING)
                if known is not NOTHING:
                    past.parameters[str(name)] = known

    def _add_metric(self, past: Past, key: str, points: Any) -> None:
        for point in points if isinstance(points, list) else ():
            entry = past.take(f"metrics.{key}", _point, point)
            if entry is not None:
                past.add_points(key, [entry])

    def _add_persisted(self, past: Past, number: int) -> None:
        head, tail = f"{self.name}_", f"_{number}"
        for path in sorted((self.folder / "persist").glob(f"*{tail}.pkl")):
            if path.stem.startswith(head):
                step = path.stem.removeprefix(head).removesuffix(tail)
                value = past.take(f"persisted.{step}", _object, path, default=NOTHING)
                if value is not NOTHING:
                    past.persisted[step] = value

    def _add_environment(self, past: Past, number: int) -> None:
        for category, path in self._categories(number):
            found = past.take(f"environment.{category}", _category, category, path)
            session = category in ("git", *_TEXTS)
            if found is not None:
                (past.session if session else past.environment)[category] = found

    def _categories(self, number: int) -> Iterator[tuple[str, Path]]:
        files = [(category, f"{category}_{self.name}_{number}.json") for category in _FACTS]
        files += [(category, f"{category}_{self.name}_{number}.txt") for category in _TEXTS]
        files.append(("packages", f"requirements_{self.name}_{number}.txt"))
        for category, file in files:
            path = self.folder / "environment" / file
            if path.is_file():
                yield category, path


def _mapping(record: Any, field: str) -> dict[Any, Any]:
    found = vars(record).get(field) if isinstance(record, Record) else None
    if not isinstance(found, dict):
        raise ImportFormatError(f"the pickle has no {field}: it is no store of daskperiment 0.5")
    return found


def _moment(value: Any) -> datetime:
    """A time of day, which the original told as a clock on the wall does."""
    made = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
    if not isinstance(made, datetime):
        raise ImportFormatError("it is no time")
    return made


def _seconds(value: Any) -> float:
    if not isinstance(value, timedelta):
        raise ImportFormatError("it is no duration")
    return value.total_seconds()


def _object(path: Path) -> Any:
    return plain(loads(path.read_bytes()))


def _text(value: Any) -> str | None:
    if value is None or value != value:  # it has NaN where there is none
        return None
    if type(value) is not str:
        raise ImportFormatError("it is no text")
    return value


def _seed(value: Any) -> int | None:
    return None if value is None else int(plain(value))


def _point(point: Any) -> tuple[Any, Any, float]:
    if not isinstance(point, dict):
        raise ImportFormatError("a point is no record")
    moment = _moment(point.get("Timestamp"))
    return plain(point.get("Epoch")), plain(point.get("Value")), moment.timestamp()


def _code(path: Path) -> str:
    if not path.is_file():
        return ""
    head, line_end, rest = path.read_text(encoding="utf-8").partition("\n")
    return rest if head.startswith("# Code output saved") else head + line_end + rest


def _category(category: str, path: Path) -> Any:
    if category == "packages":
        lines = path.read_text(encoding="utf-8").splitlines()
        return {name: version for name, _, version in (line.partition("==") for line in lines)}
    if category in _TEXTS:
        return path.read_text(encoding="utf-8")
    facts: Any = read_json(path)
    if not isinstance(facts, dict):
        raise ImportFormatError(f"{path.name} holds no facts")
    return _renamed(facts)


def _renamed(facts: Document) -> Document:
    known = {_RENAMED.get(name, name): value for name, value in facts.items()}
    if known.get("repository") == _NO_REPOSITORY:
        return {"repository": None}
    return known
