"""Verbs that show what a trial carries: code, env, logs, diff, why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, one_trial, references, verb
from daskperiment.records import TrialState
from daskperiment.typing import JSON

_LOOK_AGAIN = 0.5
"""Seconds between two looks at a trial that is followed."""


@verb("code")
@one_trial
@click.option("--step", metavar="NAME", help="Only this step.")
@click.option("--files", is_flag=True, help="The whole files that the steps reach.")
def code(session: Session, reference: str, step: str | None, files: bool) -> None:
    """Show the source of a trial's steps."""
    from daskperiment.history import documents

    number = session.number(reference)
    if files:
        session.answer(documents.files(session.trials, number), _files)
    else:
        session.answer(documents.code(session.trials, number, step), _code)


def _code(sources: list[dict[str, Any]]) -> Iterator[str]:
    for position, found in enumerate(sources):
        if position:
            yield ""
        yield text.escaped((found["source"] or f"# {found['step']}: no source").rstrip("\n"))


def _files(files: list[dict[str, Any]]) -> Iterator[str]:
    if not files:
        yield "No file was kept."
    for position, file in enumerate(files):
        if position:
            yield ""
        yield text.heading(f"==> {text.escaped(file['file'], keep='')} <==")
        yield text.escaped(file["text"].rstrip("\n"))


@verb("env")
@one_trial
@click.argument("category", required=False)
def env(session: Session, reference: str, category: str | None) -> None:
    """Show the environment of a trial.

    With a CATEGORY that one in full, as in: env latest packages > requirements.txt
    """
    from daskperiment.tracking.environment import detail
    from daskperiment.trial import Trial

    number = session.number(reference)
    found = Trial(session.backend, session.experiment, number).environment
    if category is None:
        session.answer(found, _environment)
    else:
        full = detail(found, category)
        session.answer(found[category], lambda _: [text.escaped(full)])


def _environment(found: dict[str, Any]) -> Iterator[str]:
    from daskperiment.tracking.environment import summary

    yield from map(text.escaped, summary(found))
    yield f"Categories: {', '.join(map(text.escaped, found))}"


@verb("logs")
@one_trial
@click.option("--step", metavar="NAME", help="Only of this step.")
@click.option("--stream", type=click.Choice(["stdout", "stderr", "logging"]), help="Only this.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the trial ends.")
def logs(
    session: Session, reference: str, step: str | None, stream: str | None, follow: bool
) -> int:
    """Show what the steps of a trial have printed and logged.

    With --follow lines come as they are written, from whichever process, and the exit code
    tells how the trial ended: 0 for COMPLETE and PRUNED, else 1.
    """
    from daskperiment.history import documents

    if follow and session.as_json:
        raise click.UsageError("--follow shows lines as they come: leave out --json")
    number = session.number(reference)
    found = documents.output(session.trials, number, step, stream)
    if not follow:
        session.answer(found, _output)
        return 0
    for lines in _as_they_come(session, number, step, stream):
        session.answer(lines, _output)
    return int(not TrialState(session.trials.get(number)["state"]).done)


def _as_they_come(
    session: Session, number: int, step: str | None, stream: str | None
) -> Iterator[list[dict[str, Any]]]:
    """New lines at each look, the last of which comes after the end of the trial."""
    from daskperiment.history import documents, paths
    from daskperiment.history.output import output_of

    trials = session.trials
    path = paths.output(trials.name, trials.get(number)["uid"])
    entries: list[JSON] = []
    shown: list[dict[str, Any]] = []
    running = True
    while running:
        trials.bury()
        running = not TrialState(trials.get(number)["state"]).ended
        if more := trials.backend.read(path, len(entries)):
            entries += more
            lines = documents.lines(output_of(entries), step, stream)
            yield list(_new(lines, shown))
            shown = lines
        time.sleep(_LOOK_AGAIN if running else 0)


def _new(lines: list[dict[str, Any]], shown: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lines that were not shown; they may stand before others, as time puts them in order."""
    old = Counter(map(_content, shown))
    for line in lines:
        if old[_content(line)]:
            old[_content(line)] -= 1
        else:
            yield line


def _content(line: dict[str, Any]) -> str:
    """A line without its time, which changes when the line has been written over and ends."""
    return repr({**line, "time": None})


def _output(lines: list[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        source = "" if line["logger"] is None else f"{line['level']} {line['logger']}: "
        yield text.coloured(source + line["text"])


@verb("diff")
@references("first", "second", metavar="REF")
def diff(session: Session, first: str, second: str) -> int:
    """Show what differs between two trials.

    The exit code is 1 when anything but their duration differs.
    """
    from daskperiment.lineage.difference import Side, difference

    numbers = [session.number(reference) for reference in (first, second)]
    one, other = (
        Side(session.backend, session.experiment, number, session.trials.get(number))
        for number in numbers
    )
    found = difference(one, other)
    session.answer(found.document(), lambda _: map(marked, str(found).split("\n")))
    return int(bool(found))


def marked(line: str) -> str:
    """A line of a difference, in colour when it was added or removed."""
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line.lstrip()[:1])
    return click.style(text.escaped(line), fg=colour)


@verb("why")
@references("reference", metavar="REF")
@click.argument("step")
@click.option("--call", default=0, show_default=True, help="Which call of the step, from 0.")
def why(session: Session, reference: str, step: str, call: int) -> None:
    """Say why a step of a trial has run, or which trial its output was taken from."""
    from daskperiment.trial import Trial

    trial = Trial(session.backend, session.experiment, session.number(reference))
    shown = {
        "trial": trial.number, "step": step, "call": call, "why": trial.why(step, call),
    }  # fmt: skip
    session.answer(shown, lambda shown: [text.escaped(shown["why"], keep="")])


VERBS: list[click.Command] = [code, env, logs, diff, why]
