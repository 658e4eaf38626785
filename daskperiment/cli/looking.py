"""Verbs that look at trials: ls, show, history, metrics, artifacts."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, one_trial, verb

_TRACEBACK_LINES = 12


@verb("ls")
@click.option("--limit", type=click.IntRange(0), help="At most so many, the newest.")
@click.option("--where", metavar="CONDITION", help="Only trials such as 'a > 1 and Success'.")
@click.option("--all", "removed", is_flag=True, help="Removed trials as well.")
def ls(session: Session, limit: int | None, where: str | None, removed: bool) -> None:
    """List experiments or, with -e, trials.

    Running trials are listed as well; the newest one is last.
    """
    if removed and where is not None:
        raise click.UsageError("--all lists every trial: leave out --where")
    if session.chosen is None and where is None and limit is None and not removed:
        session.answer([_experiment(session, name) for name in session.experiments], _experiments)
    else:
        session.answer(list(_listed(session, limit, where, removed)), listed)


def _experiment(session: Session, name: str) -> dict[str, Any]:
    from daskperiment.history import documents

    return documents.experiment(Session(session.named, name).trials)


def _experiments(rows: list[dict[str, Any]]) -> Iterator[str]:
    return text.table(
        [
            {
                "experiment": row["experiment"],
                "trials": row["trials"],
                "state": row["last"] and row["last"]["state"],
                "last started": row["last"] and text.local(row["last"]["started"]),
            }
            for row in rows
        ],
    )


def _listed(
    session: Session, limit: int | None, where: str | None, removed: bool
) -> Iterator[dict[str, Any]]:
    from daskperiment.history import documents, table
    from daskperiment.history.holders import rows as all_rows

    trials = session.trials
    if removed:
        kept = [(n, r) for n, r in all_rows(trials.backend, trials.name) if not r.get("collected")]
        rows = _last(kept, limit)
    elif where is None:
        rows = list(trials.find(newest=True, limit=limit))[::-1]
    else:
        found = table.numbers(trials, table.Question(where=where, running=True))
        rows = [(number, trials.get(number)) for number in _last(found, limit)]
    return (documents.summary(session.backend, number, row) for number, row in rows)


def _last(rows: list[Any], limit: int | None) -> list[Any]:
    return rows if limit is None else rows[max(0, len(rows) - limit) :]


def listed(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A table of trials."""
    if not rows:
        return iter(["No trial."])
    return text.table(
        [
            {
                "trial": row["trial"],
                "state": row["state"],
                "started": text.local(row["started"]),
                "seconds": text.seconds(row["seconds"]),
                "result": _result(row, text.brief) or row["failure"],
                "parameters": text.pairs(row["parameters"]),
                "tags": " ".join(row["tags"]),
                "note": row["note"],
                "tainted": row["tainted"] or "",
                "removed": text.local(row["removed"]),
            }
            for row in rows
        ],
    )


def _result(shown: dict[str, Any], show: Callable[[Any], str]) -> str:
    return show(shown["result"]) if shown["state"] == "COMPLETE" else ""


@verb("show")
@one_trial
def show(session: Session, reference: str) -> None:
    """Show everything important about one trial."""
    from daskperiment.history import documents

    session.answer(documents.trial(session.trials, session.number(reference)), _trial)


def _trial(shown: dict[str, Any]) -> Iterator[str]:
    title = f"Trial {shown['trial']} of {shown['experiment']}"
    yield f"{text.heading(title)}  {text.state(shown['state'])}"
    yield from _facts(shown)
    for rows in (_steps(shown), _inputs(shown), _series(shown), _artifacts(shown["artifacts"])):
        if rows:
            yield from ("", *text.table(rows))
    yield from _failure(shown)


def _facts(shown: dict[str, Any]) -> Iterator[str]:
    took = "" if shown["seconds"] is None else f", {text.seconds(shown['seconds'])} s"
    facts = [
        ("started", text.local(shown["started"]) + took),
        *[("parameter", f"{n} = {text.value(v)}") for n, v in shown["parameters"].items()],
        ("result", _result(shown, text.value)),
        ("seed", "" if shown["seed"] is None else str(shown["seed"])),
        ("tags", " ".join(shown["tags"])),
        ("note", shown["note"]),
        ("tainted", shown["tainted"] or ""),
        ("reproduces", _link(shown["reproduces"])),
        *[("again as", _link(each)) for each in shown["reproductions"]],
        ("git", _git(shown["git"])),
        ("run by", _owner(shown)),
        ("uid", shown["uid"]),
        ("removed", text.local(shown["removed"])),
    ]
    yield ""
    for name, fact in facts:
        if fact:
            yield text.escaped(f"{name:<12}{fact}", keep="")


def _link(other: dict[str, Any] | None) -> str:
    if other is None:
        return ""
    trial = "a trial that is not here" if other["trial"] is None else f"trial {other['trial']}"
    return f"{trial}: {other['verdict'] or 'no verdict was kept'}"


def _owner(shown: dict[str, Any]) -> str:
    if not shown["host"]:  # it was imported
        return ""
    return f"{shown['user'] or '?'} on {shown['host']}, process {shown['pid']}"


def _git(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    branch = f" on {found['branch']}" if found.get("branch") else ""
    return f"{(found.get('commit') or 'no commit')[:12]}{branch}" + (
        ", with uncommitted changes" if found.get("dirty") else ""
    )


def _steps(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "step": step["step"],
            "call": step["call"],
            "outcome": step["outcome"],
            "seconds": text.seconds(step["seconds"]),
            "random": "drew" if step["drew"] else "",
        }
        for step in shown["steps"]
    ]


def _inputs(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "step": each["step"],
            "call": each["call"],
            "undeclared input": each["kind"],
            "name": each["name"],
        }
        for each in shown["inputs"]
    ]


def _series(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "metric": name,
            **{field: text.number(series[field]) for field in ("points", "last", "min", "max")},
        }
        for name, series in shown["metrics"].items()
    ]


def _failure(shown: dict[str, Any]) -> Iterator[str]:
    if shown["failure"]:
        yield from ("", text.heading("PRUNED" if shown["state"] == "PRUNED" else "FAILURE"))
        lines = (shown["traceback"] or shown["failure"]).rstrip().split("\n")
        if len(lines) > _TRACEBACK_LINES:
            yield f"... {len(lines) - _TRACEBACK_LINES} lines before, see --json"
        yield from map(text.escaped, lines[-_TRACEBACK_LINES:])


@verb("history")
@click.option("--columns", metavar="NAMES", help="Exactly these columns, with commas between.")
@click.option("--where", metavar="CONDITION", help="Only trials such as 'a > 1 and Success'.")
@click.option("--order-by", metavar="NAMES", help="Sort by columns, downwards with - before one.")
@click.option("--limit", type=click.IntRange(0), help="At most so many rows.")
@click.option("--verbose", is_flag=True, help="With seeds and types of results.")
@click.option("--csv", "as_csv", is_flag=True, help="As comma-separated values.")
def history(
    session: Session,
    columns: str | None,
    where: str | None,
    order_by: str | None,
    limit: int | None,
    verbose: bool,
    as_csv: bool,
) -> None:
    """Show the table of trials that have ended."""
    from daskperiment.history import documents, table
    from daskperiment.history.columns import INDEX

    standard = table.VERBOSE if verbose else table.SHORT
    question = table.Question((), standard, _names(columns), where, _names(order_by), limit)
    records, wanted = table.records(session.trials, question)
    for record in records:
        for name in ("Started", "Finished"):  # are local in the table, and have no zone
            record[name] = record.get(name) and record[name].astimezone()
    rows = [
        {name: documents.plain(record.get(name)) for name in (INDEX, *wanted)} for record in records
    ]
    if as_csv and not session.as_json:
        _write_csv([INDEX, *wanted], rows)
    else:
        session.answer(rows, _history)


def _names(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",")]


def _history(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return iter(["No trial."])
    shown = [{name: _cell(name, value) for name, value in row.items()} for row in rows]
    return text.table(shown, capitals=False)


def _cell(name: str, value: Any) -> str:
    if name in ("Finished", "Started"):
        return text.local(value)
    if name == "Process Time":
        return text.seconds(value)
    return "" if value is None else text.brief(value)


def _write_csv(names: list[str], rows: list[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(text.escaped, names))
    for row in rows:
        cells = ("" if row[name] is None else text.value(row[name]) for name in names)
        writer.writerow(map(text.escaped, cells))


@verb("metrics")
@one_trial
@click.argument("name", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="As comma-separated values.")
def metrics(session: Session, reference: str, name: str | None, as_csv: bool) -> None:
    """Show the metrics of trials, or every value of one of them."""
    from daskperiment.history import documents

    points = documents.points(session.trials, session.numbers([reference]), name)
    if as_csv and not session.as_json:
        _write_csv(["trial", "metric", "epoch", "value", "time"], points)
    else:
        session.answer(points, _metrics if name is None else _points)


def _metrics(points: list[dict[str, Any]]) -> Iterator[str]:
    if not points:
        return iter(["No metric."])
    series: dict[tuple[int, str], list[Any]] = {}
    for point in points:
        series.setdefault((point["trial"], point["metric"]), []).append(point)
    return text.table(
        [
            {
                "trial": trial,
                "metric": name,
                "points": len(found),
                "epoch": found[-1]["epoch"],
                "last": text.number(found[-1]["value"]),
            }
            for (trial, name), found in series.items()
        ],
    )


def _points(points: list[dict[str, Any]]) -> Iterator[str]:
    trials = list(dict.fromkeys(point["trial"] for point in points))
    epochs: dict[int, dict[int, str]] = {}
    for point in points:
        epochs.setdefault(point["epoch"], {})[point["trial"]] = text.number(point["value"])
    heads = {trial: f"trial {trial}" for trial in trials}
    rows = [
        {"epoch": epoch, **{heads[trial]: by_trial.get(trial) for trial in trials}}
        for epoch, by_trial in sorted(epochs.items())
    ]
    return text.table(rows)


@verb("artifacts")
@one_trial
@click.option("--to", "folder", type=click.Path(file_okay=False), help="Copy them to this folder.")
def artifacts(session: Session, reference: str, folder: str | None) -> None:
    """List the artifacts of a trial, or copy them to a folder."""
    from daskperiment.history import documents
    from daskperiment.history.artifacts import Artifacts

    row = session.trials.get(session.number(reference))
    if folder is not None:
        Artifacts(session.trials.place(row["uid"])).read().save(folder)
    found = documents.artifacts(session.trials, row["uid"])
    session.answer(found, lambda _: _listed_artifacts(found, folder))


def _listed_artifacts(found: list[dict[str, Any]], folder: str | None) -> Iterator[str]:
    if not found:
        yield "No artifact."
        return
    yield from text.table(_artifacts(found))
    if folder is not None:
        yield f"Copied to {text.escaped(folder)}"


def _artifacts(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "artifact": artifact["name"],
            "size": text.size(artifact["size"]) if artifact["digest"] else "not kept",
        }
        for artifact in found
    ]


VERBS = [ls, show, history, metrics, artifacts]
