"""The verb that shows what runs now: status."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, verb

if TYPE_CHECKING:
    from daskperiment.history.activity import Activities

_LOOK_AGAIN = 2.0
"""Seconds between two looks of --watch."""
_METRICS = 3
"""Metrics of a trial that are shown."""
_BAR = 24
_TO_THE_TOP, _TO_THE_END, _REST_OF_LINE = "\x1b[H", "\x1b[J", "\x1b[K"


@verb("status")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
def status(session: Session, watch: bool) -> None:
    """Show what runs now and where.

    Batches, running trials with what they use, and trials that crashed meanwhile, of all
    experiments or, with -e, of one.
    """
    if watch and session.as_json:
        raise click.UsageError("--watch shows text again and again: leave out --json")
    look = _Look(session)
    if watch:
        _watch(look)
    else:
        session.answer(look(), _status)


class _Look:
    """Looks at the store; a second look reads only what is new."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, Activities] = {}

    def __call__(self) -> dict[str, Any]:
        from daskperiment.history import documents
        from daskperiment.history.activity import Activities
        from daskperiment.history.trials import Trials

        backend = self._session.backend
        found: dict[str, Any] = {"batches": [], "running": [], "crashed": []}
        for name in self._names():
            Trials(backend, name).bury()
            known = self._known.setdefault(name, Activities(backend, name, sparks=False))
            parts = documents.activity(backend, name, known.look(), time.time())
            for part, items in parts.items():
                found[part] += items
        return found

    def _names(self) -> list[str]:
        from daskperiment.history.experiments import experiments

        if self._session.chosen is not None or not self._known:
            chosen = self._session.chosen
            return self._session.experiments if chosen is None else [self._session.experiment]
        return experiments(self._session.backend)  # others may have come


def _watch(look: Callable[[], dict[str, Any]]) -> None:
    terminal = sys.stdout.isatty()
    if terminal:
        _control(_TO_THE_TOP + _TO_THE_END)
    while True:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = [f"{now}, again every {_LOOK_AGAIN:g} s, Ctrl-C ends", "", *_status(look())]
        if not terminal:
            lines.append("")
        elif len(lines) > (room := shutil.get_terminal_size().lines - 1):
            lines = [*lines[: room - 1], f"... {len(lines) - room + 1} more lines"]
        if terminal:
            _control(_TO_THE_TOP)
        for line in lines:
            click.echo(line, nl=False)
            _control(f"{_REST_OF_LINE}\n" if terminal else "\n")
        if terminal:
            _control(_TO_THE_END)
        sys.stdout.flush()
        time.sleep(_LOOK_AGAIN)


def _control(codes: str) -> None:
    # Not by click, which leaves out all codes where no colours are wanted.
    sys.stdout.write(codes)
    sys.stdout.flush()


def _status(found: dict[str, Any]) -> Iterator[str]:
    parts = [
        [line for batch in found["batches"] for line in _batch(batch)],
        _table([_running(one) for one in found["running"]]),
        _table([_crashed(one) for one in found["crashed"]]),
    ]
    shown = [part for part in parts if part]
    if not (found["batches"] or found["running"]):
        shown.insert(0, ["Nothing runs."])
    for position, part in enumerate(shown):
        yield from ([""] if position else [])
        yield from part


def _batch(batch: dict[str, Any]) -> Iterator[str]:
    names = [f"Batch {batch['batch'][:8]}", batch["search"], batch["experiment"]]
    title = " of ".join(name for name in names if name is not None)
    yield f"{text.heading(text.escaped(title, keep=''))}  {text.state(batch['state'])}"
    yield from map(_fitted, _about(batch))


def _about(batch: dict[str, Any]) -> Iterator[str]:
    ended = batch["done"] + batch["failed"] + batch["skipped"]
    names = ("pruned", "failed", "skipped", "running", "left")
    told = (f"{batch[name]} {name}" for name in names if batch[name])
    counts = [f"{ended} of {batch['total']}", *told]
    yield f"{_bar(ended, batch['total'])} {', '.join(counts)}"
    times = [f"since {text.local(batch['started'])}"]
    if batch["seconds_left"] is not None:
        times.append(f"about {_duration(batch['seconds_left'])} left")
    if batch["state"] == "CRASHED":
        times.append("its process is gone; daskperiment resume goes on with it")
    if isinstance(best := batch["best"], dict):
        times.append(f"best {text.number(best.get('value'))} (trial {best.get('trial')})")
    yield ", ".join(times)
    where = [batch["script"], batch["executor"], f"process {batch['pid']} on {batch['host']}"]
    yield ", ".join(str(part) for part in where if part)


def _fitted(line: str) -> str:
    """A line as wide as the terminal at most; elsewhere it is complete."""
    shown = text.escaped(line, keep="")
    return text.clip(shown, shutil.get_terminal_size().columns) if sys.stdout.isatty() else shown


def _bar(ended: int, total: int) -> str:
    full = _BAR * ended // total if total else _BAR
    return f"[{'#' * min(_BAR, full)}{'-' * (_BAR - full)}]"


def _running(one: dict[str, Any]) -> dict[str, str]:
    latest = list(one["metrics"].items())[-_METRICS:]
    return {
        "experiment": one["experiment"],
        "trial": str(one["trial"]),
        "step": " ".join(_call(call) for call in one["calls"]),
        "for": _duration(one["seconds"]),
        "cpu": _sum(one, "cpu", lambda used: f"{used:.0f}%"),
        "memory": _sum(one, "memory", lambda used: text.size(int(used))),
        "gpu": _devices(one),
        "metrics": " ".join(f"{name}={text.number(each['last'])}" for name, each in latest),
        "process": _place(one),
        "parameters": text.pairs(one["parameters"]),
    }


def _call(call: dict[str, Any]) -> str:
    return f"{call['step']}[{call['call']}]" if call["call"] else str(call["step"])


def _busy(one: dict[str, Any]) -> list[dict[str, Any]]:
    """What the processes use that run its steps; where none is known, the last that did."""
    return [use for use in one["usage"] if use["calls"]] or one["usage"][-1:]


def _sum(one: dict[str, Any], name: str, show: Callable[[float], str]) -> str:
    known = [use[name] for use in _busy(one) if isinstance(use.get(name), (int, float))]
    return show(sum(known)) if known else ""


def _devices(one: dict[str, Any]) -> str:
    loads = {
        f"{name[3:]}:{used}%": None
        for use in _busy(one)
        for name, used in use.items()
        if name.startswith("gpu") and not name.endswith("_memory")
    }
    return " ".join(loads)


def _place(one: dict[str, Any]) -> str:
    places = [f"{use['host']}:{use['pid']}" for use in _busy(one)]
    return " ".join(places or [f"{one['host']}:{one['pid']}"])


def _crashed(one: dict[str, Any]) -> dict[str, str]:
    return {
        "experiment": one["experiment"],
        "trial": str(one["trial"]),
        "state": one["state"],
        "started": text.local(one["started"]),
        "process": f"{one['host']}:{one['pid']}",
        "parameters": text.pairs(one["parameters"]),
    }


def _table(rows: list[dict[str, str]]) -> list[str]:
    return list(text.table(rows)) if rows else []


def _duration(seconds: float) -> str:
    from daskperiment.history.trials import duration

    return f"{seconds:.0f} s" if seconds < 60 else duration(seconds) or ""


VERBS: list[click.Command] = [status]
