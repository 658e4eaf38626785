"""Plain documents of what history holds: what ``--json`` prints, and what tables are made of.

Times are ISO 8601 in UTC, durations are seconds.  A value is itself where JSON has it; of what
JSON lacks the preview stands as text, so ``nan``, ``inf`` and ``-inf`` are texts.  A time that a
user gave without a zone has none here either.  Nothing is unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from daskperiment.backends import Backend
from daskperiment.errors import MetricNotFoundError, StepNotFoundError
from daskperiment.history import payloads
from daskperiment.history.activity import Activity, Batch, Running
from daskperiment.history.artifacts import Artifacts
from daskperiment.history.forgetting import check_kept
from daskperiment.history.inputs import all_inputs
from daskperiment.history.metrics import Metrics, Point
from daskperiment.history.output import Line, Outputs
from daskperiment.history.places import Kept
from daskperiment.history.reproductions import reproduced, reproductions
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps
from daskperiment.history.summaries import Summary
from daskperiment.history.taints import tainted
from daskperiment.history.trials import Trials
from daskperiment.history.usage import Call
from daskperiment.records import StepRecord
from daskperiment.serializers import preview
from daskperiment.typing import JSON, Document


def plain(value: Any) -> JSON:
    """A value as strict JSON.

    Examples
    --------
    >>> plain({"shape": (569, 30), "loss": float("inf"), "kind": {1}})
    {'shape': [569, 30], 'loss': 'inf', 'kind': '{1}'}
    """
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value  # type: ignore[no-any-return,unused-ignore]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping) and all(type(key) is str for key in value):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    return repr(value) if isinstance(value, Kept) else preview(value)


def short(value: Any, most: int = 300) -> JSON:
    """A value as strict JSON, or ``{"preview": text}`` of what is long or no plain data.

    Examples
    --------
    >>> short("adam"), short("x" * 50, 9)
    ('adam', {'preview': "'xx...xx'"})
    """
    if isinstance(value, Kept):
        return {"preview": repr(value)}
    found = plain(value)
    if found is None or isinstance(found, (bool, int, float)):
        return found
    # One that has a preview itself would be taken for ours.
    odd = isinstance(found, dict) and "preview" in found
    return {"preview": preview(value, most)} if odd or len(str(found)) > most else found


def kept(backend: Backend, document: Document | None) -> JSON:
    """A value that a row keeps."""
    if document is None:
        return None
    inline = "json" in document
    return plain(payloads.load(backend, document)) if inline else str(document["preview"])


def time(seconds: float | None) -> str | None:
    """A Unix time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def summary(backend: Backend, number: int, row: Document) -> Document:
    """A trial in a list of trials."""
    return {
        "trial": number,
        "state": row["state"],
        "started": time(row["started"]),
        "finished": time(row.get("finished")),
        "seconds": row.get("seconds"),
        "parameters": {name: kept(backend, document) for name, document in row["parameters"]},
        "result": kept(backend, row.get("result")),
        "seed": row["seed"],
        "tags": row.get("tags", []),
        "note": row.get("note", ""),
        "tainted": tainted(row),
        "failure": row.get("description"),
        "removed": time(float(row["removed"])) if row.get("removed") else None,
    }


def experiment(trials: Trials) -> Document:
    """An experiment in a list of experiments: how many trials it has, and the last of them."""
    last = None
    for number, row in trials.find(newest=True, limit=1):
        last = {
            "trial": number,
            "state": row["state"],
            "started": time(row["started"]),
            "finished": time(row.get("finished")),
        }
    return {"experiment": trials.name, "trials": trials.count(), "last": last}


def activity(backend: Backend, name: str, found: Activity, now: float) -> Document:
    """What an experiment does now, by a clock that shows this Unix time."""
    return {
        "batches": [
            {
                **batch(name, each),
                "seconds": max(0.0, now - each.document["started"]),
                "seconds_left": each.seconds_left(now),
            }
            for each in found.batches
        ],
        "running": [
            {
                **running(name, each),
                "seconds": max(0.0, now - each.row["started"]),
                "parameters": {
                    parameter: kept(backend, document)
                    for parameter, document in each.row["parameters"]
                },
            }
            for each in found.running
        ],
        "crashed": [
            {"experiment": name, **summary(backend, number, row), **_owner(row)}
            for number, row in found.crashed
        ],
    }


def batch(name: str, found: Batch) -> Document:
    """A batch that runs."""
    kept = found.document
    return {
        "experiment": name,
        "batch": found.uid,
        "state": str(kept["state"]),
        "started": time(kept["started"]),
        **{count: kept[count] for count in ("total", "done", "failed", "skipped", "running")},
        "pruned": kept.get("pruned", 0),  # of those done; earlier versions had none
        "left": found.left,
        "best": plain(kept.get("best")),
        "executor": plain(kept.get("executor")),
        "script": plain(kept.get("script")),
        "search": plain(kept.get("name")),
        **_owner(kept),
    }


def running(name: str, found: Running) -> Document:
    """A trial that runs, as far as it does not depend on the time when one looks."""
    row = found.row
    return {
        "experiment": name,
        "trial": found.number,
        "state": row["state"],
        "started": time(row["started"]),
        "batch": plain(row.get("batch")),
        "place": plain(row.get("place")),
        **_owner(row),
        "calls": _calls(found.calls),
        "metrics": {name: metric(each) for name, each in found.metrics.items()},
        "usage": [
            {
                "host": use.host,
                "pid": use.pid,
                "seconds": plain(use.seconds),
                "calls": _calls(use.calls),
                **{name: plain(value) for name, value in use.values.items()},
            }
            for use in found.usage
        ],
    }


def _calls(calls: Iterable[Call]) -> list[Document]:
    return [{"step": step, "call": call} for step, call in calls]


def _owner(kept: Document) -> Document:
    return {name: kept["owner"].get(name) for name in ("host", "pid", "user")}


def metric(summary: Summary) -> Document:
    """A metric of a trial in short."""
    return {
        "points": summary.points,
        "epoch": summary.epoch,
        "last": plain(summary.last),
        "min": plain(summary.min),
        "max": plain(summary.max),
    }


def trial(trials: Trials, number: int) -> Document:
    """Everything important about one trial."""
    backend, row = trials.backend, trials.get(number)
    owner, records = row["owner"], Steps(backend, trials.name).read(row["uid"])
    return {
        "experiment": trials.name,
        **summary(backend, number, row),
        "uid": row["uid"],
        **links(trials, row),
        "result_type": row.get("result", {}).get("type"),
        "traceback": row.get("traceback"),
        "user": owner.get("user"),
        "host": owner.get("host"),
        "pid": owner.get("pid"),
        "code": row.get("code"),
        "environment": row.get("environment"),
        "git": git(backend, row),
        "steps": [_step(record) for record in records],
        "inputs": [each._asdict() for each in all_inputs(records)],
        "metrics": {
            name: _series(points)
            for name, points in Metrics(backend, trials.name).read(row["uid"]).items()
        },
        "artifacts": artifacts(trials, row["uid"]),
    }


def links(trials: Trials, row: Document) -> Document:
    """The trial that one has run again, and those that have run it again, with the verdicts."""
    original = reproduced(trials, row)
    again = reproductions(trials, row["uid"])
    return {
        "reproduces": original and original._asdict(),
        "reproductions": [each._asdict() for each in again],
    }


def _step(record: StepRecord) -> Document:
    return {
        "step": record.step,
        "call": record.call,
        "outcome": record.outcome,
        "seconds": record.seconds,
        "seed": record.seed,
        "drew": record.drew,
        "started": time(record.started),
    }


def _series(points: Sequence[Point]) -> Document:
    comparable = [point.value for point in points if point.value == point.value]
    return {
        "points": len(points),
        "last": plain(points[-1].value),
        "epoch": points[-1].epoch,
        "min": plain(min(comparable, default=None)),
        "max": plain(max(comparable, default=None)),
    }


def artifacts(trials: Trials, uid: str) -> list[Document]:
    """The artifacts of a trial; one that could not be encoded has no digest."""
    found = Artifacts(trials.place(uid)).read()
    return [{"name": a.name, "size": a.size, "digest": a.digest} for a in found.values()]


def points(trials: Trials, numbers: Sequence[int], name: str | None) -> list[Document]:
    """Every value of one metric, or of all, in the order in which they were saved.

    Raises
    ------
    MetricNotFoundError
        None of the trials has the metric.
    """
    read = Metrics(trials.backend, trials.name)
    saved = {number: read.read(trials.get(number)["uid"]) for number in numbers}
    known = dict.fromkeys(metric for series in saved.values() for metric in series)
    if name is not None and name not in known:
        raise MetricNotFoundError(
            f"There is no metric {name!r}; saved were: {', '.join(known) or 'none'}"
        )
    return [
        {
            "trial": number,
            "metric": metric,
            "epoch": point.epoch,
            "value": plain(point.value),
            "time": time(point.time),
        }
        for number, series in saved.items()
        for metric in series
        if name in (None, metric)
        for point in series[metric]
    ]


def git(backend: Backend, row: Document) -> Document | None:
    """The commit that a trial was run from, and whether files differed from it."""
    digest = row.get("session")
    found = Snapshots(backend).get(digest).get("git") if digest else None
    if not found or found["repository"] is None:
        return None
    return {field: found.get(field) for field in ("commit", "branch", "dirty")}


def code(trials: Trials, number: int, step: str | None = None) -> list[Document]:
    """Source of the steps of a trial, in the order of definition; None where it is not kept.

    Raises
    ------
    StepNotFoundError
        The trial has no such step.
    """
    snapshots = Snapshots(trials.backend)
    document = _code(trials, number)
    names = [found["name"] for found in document["steps"]]
    if step is not None and step not in names:
        raise StepNotFoundError(
            f"Trial {number} has no step {step!r}; its steps: {', '.join(names)}"
        )
    return [
        {
            "step": found["name"],
            "source": snapshots.text(found["source"]) or None if document["with_text"] else None,
        }
        for found in document["steps"]
        if step in (None, found["name"])
    ]


def _code(trials: Trials, number: int) -> Document:
    row = trials.get(number)
    check_kept(row, "code")
    return Snapshots(trials.backend).get(row["code"])


def files(trials: Trials, number: int) -> list[Document]:
    """Whole files and cells that the steps of a trial reach."""
    snapshots = Snapshots(trials.backend)
    sources = _code(trials, number)["sources"]
    return [{"file": name, "text": snapshots.text(digest)} for name, digest in sources.items()]


def file_names(trials: Trials, number: int) -> list[str]:
    """Names of the whole files and cells that the steps of a trial reach."""
    return list(_code(trials, number)["sources"])


def file_text(trials: Trials, number: int, name: str) -> str | None:
    """Text of one of them; None where there is no such file."""
    digest = _code(trials, number)["sources"].get(name)
    return None if digest is None else Snapshots(trials.backend).text(digest)


def output(trials: Trials, number: int, step: str | None, stream: str | None) -> list[Document]:
    """Lines that the steps of a trial have put out, in the order of their time."""
    row = trials.get(number)
    check_kept(row, "output")
    return lines(Outputs(trials.backend, trials.name).read(row["uid"]), step, stream)


def lines(found: Iterable[Line], step: str | None, stream: str | None) -> list[Document]:
    """Those lines that are of the step and the stream, if these are given."""
    return [
        {**line._asdict(), "time": time(line.time)}
        for line in found
        if step in (None, line.step) and stream in (None, line.stream)
    ]
