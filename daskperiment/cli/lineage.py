"""Verbs that follow what was made from what: explain, reproduce, impact, taint, untaint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from daskperiment.cli import text
from daskperiment.cli.recorded import marked
from daskperiment.cli.session import Session, references, some_trials, verb

if TYPE_CHECKING:
    from daskperiment.lineage.impact import Impact, Selector
    from daskperiment.lineage.reproduce import Reproduction


@verb("explain")
@references("first", "second", metavar="REF")
def explain(session: Session, first: str, second: str) -> int:
    """Say which changes moved the outputs of the first trial to those of the second.

    The exit code is 1 when there is a cause, and 0 when no output differs.
    """
    from daskperiment.trial import Trial

    one, other = (
        Trial(session.backend, session.experiment, session.number(reference))
        for reference in (first, second)
    )
    found = one.explain(other)
    session.answer(found.document(), lambda _: map(marked, str(found).split("\n")))
    return int(bool(found))


def _selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb what it is asked for."""
    for decorate in (
        click.option("--input", "given", metavar="FILE|DIGEST",
                     help="An input: a file as it is now, or the beginning of a digest."),
        click.option("--as-in", metavar="REF", help="The version that NAME had in a trial."),
        click.option("--code", metavar="DIGEST", help="The version of NAME with this digest."),
        click.argument("name", required=False),
    ):  # fmt: skip
        command = decorate(command)
    return command


def _selector(
    session: Session, name: str | None, code: str | None, as_in: str | None, given: str | None
) -> Selector:
    from daskperiment.lineage.impact import Selector, input_digest, version

    if as_in is not None:
        code = version(session.trials, session.number(as_in), name)
    digest = None
    if given is not None:
        digest = input_digest(Path(given) if Path(given).is_file() else given)
    return Selector(name, code, digest)


@verb("impact")
@_selecting
def impact(
    session: Session, name: str | None, code: str | None, as_in: str | None, given: str | None
) -> None:
    """List what descends from a step or helper NAME, or from an input.

    Trials of all experiments of the store are looked at, with their artifacts and with the calls
    that they have reused.
    """
    from daskperiment.lineage import impact as lineage

    selector = _selector(session, name, code, as_in, given)
    _tell(session, lineage.impact(session.backend, selector, session.experiments))


@verb("taint")
@_selecting
@click.option("--reason", required=True, help="Why nobody should use it any more.")
def taint(
    session: Session, name: str | None, code: str | None, as_in: str | None, given: str | None,
    reason: str,
) -> None:  # fmt: skip
    """Mark what descends from a step or helper NAME, or from an input, and list it.

    No trial reuses it any more.
    """
    from daskperiment.lineage import impact as lineage

    selector = _selector(session, name, code, as_in, given)
    _tell(session, lineage.taint(session.backend, selector, reason, session.experiments))


def _tell(session: Session, found: Impact) -> None:
    session.answer(found.document(), lambda _: map(text.escaped, str(found).split("\n")))


@verb("reproduce")
@references("reference", metavar="REF")
@click.option("--env", type=click.Choice(["uv"]), help="With the recorded Python and packages.")
@click.option(
    "--code",
    type=click.Choice(["git"]),
    help="Among the files of the recorded commit and its changes.",
)
def reproduce(
    session: Session, reference: str, env: Literal["uv"] | None, code: Literal["git"] | None
) -> int:
    """Run the recorded code of a trial again, and compare every step.

    The exit code is 0 where all is the same, 1 where something differs, and 2 where it could not be
    run again.
    """
    from daskperiment.trial import Trial

    trial = Trial(session.backend, session.experiment, session.number(reference))
    found = trial.reproduce(env=env, code=code)
    return tell_verdict(session, found, found.document())


def tell_verdict(session: Session, found: Reproduction, document: dict[str, Any]) -> int:
    """Show what came of running a trial again, and return the exit code."""
    session.answer(document, lambda _: map(text.escaped, str(found).split("\n")))
    return {"error": 2, "different": 1}.get(found.match, 0)


@verb("untaint")
@some_trials
def untaint(session: Session, reference: Sequence[str]) -> None:
    """Take the marks of ``taint`` from trials."""
    from daskperiment.history import taints

    numbers = session.numbers(reference)
    for number in numbers:
        taints.untaint(session.trials, number)
    session.answer([{"trial": number} for number in numbers], lambda _: [])


VERBS: list[click.Command] = [explain, reproduce, impact, taint, untaint]
