"""Verbs that change what is kept of trials: tag, note, rm, restore, gc, forget."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, references, some_trials, unmarked, verb

_YES = click.option("--yes", is_flag=True, help="Do not ask first, as is done on a terminal.")


def _ask_for(what: Callable[[], str], yes: bool) -> None:
    """Ask before something is deleted for ever, where there is a person to ask."""
    if yes or sys.stdin is None or not sys.stdin.isatty():
        return
    if not click.confirm(text.escaped(f"Delete {what()} for ever?", keep=""), err=True):
        raise click.ClickException("Nothing was deleted")


@verb("tag")
@some_trials
@click.option("--add", multiple=True, metavar="WORD", help="Add a tag; may be repeated.")
@click.option("--remove", multiple=True, metavar="WORD", help="Remove a tag; may be repeated.")
def tag(
    session: Session, reference: Sequence[str], add: Sequence[str], remove: Sequence[str]
) -> None:
    """Show, add and remove tags of trials."""
    numbers = session.numbers(reference)
    for number in numbers if add or remove else ():
        tags = session.trials.get(number).get("tags", [])
        kept = [word for word in dict.fromkeys([*tags, *add]) if word not in remove]
        session.trials.change(number, {"tags": kept})
    shown = [{"trial": n, "tags": session.trials.get(n).get("tags", [])} for n in numbers]
    session.answer(shown, _tags)


def _tags(rows: list[dict[str, Any]]) -> Iterator[str]:
    return text.table(
        [{"trial": row["trial"], "tags": " ".join(row["tags"]) or "-"} for row in rows],
    )


@verb("note")
@references("reference", metavar="REF")
@click.argument("words", metavar="[TEXT]", nargs=-1)
def note(session: Session, reference: str, words: Sequence[str]) -> None:
    """Show the note of a trial, or set it; an empty TEXT removes it."""
    number = session.number(reference)
    if words:
        session.trials.change(number, {"note": " ".join(unmarked(words))})
    shown = {"trial": number, "note": session.trials.get(number).get("note", "")}
    session.answer(shown, lambda _: [text.escaped(shown["note"])] if shown["note"] else [])


@verb("rm")
@references("reference", nargs=-1, required=False, metavar="REF...")
@click.option(
    "--experiment-data", is_flag=True, help="Delete the experiment of -e whole and for ever."
)
@_YES
def rm(session: Session, reference: Sequence[str], experiment_data: bool, yes: bool) -> None:
    """Remove trials; their numbers stay reserved.

    Until gc deletes them, restore brings them back.  With --experiment-data and -e, and without
    a REF, all of an experiment is deleted for ever, and nothing beside it.
    """
    from daskperiment.history.removal import remove

    if experiment_data:
        _remove_experiment(session, reference, yes)
        return
    if not reference:
        raise click.UsageError("Missing argument 'REF...'.")
    numbers = session.numbers(reference)
    for number in numbers:
        remove(session.trials, number)
    session.answer({"removed": numbers}, lambda _: [f"Removed {_shown(numbers)}."])


def _remove_experiment(session: Session, reference: Sequence[str], yes: bool) -> None:
    from daskperiment.history.removal import drop_experiment

    if reference or not session.chosen:
        raise click.UsageError("--experiment-data takes -e and no REF.")
    trials = session.trials
    _ask_for(lambda: f"all {trials.last()} trials of {trials.name}", yes)
    shown = {"experiment": trials.name, **drop_experiment(trials)._asdict()}
    session.answer(shown, lambda _: [f"Deleted {trials.name}: {_amount(shown)}."])


def _shown(numbers: Sequence[int]) -> str:
    what = "trial" if len(numbers) == 1 else "trials"
    return f"{what} {', '.join(map(str, numbers))}"


@verb("restore")
@click.argument("number", nargs=-1, required=True, type=click.IntRange(1), metavar="NUMBER...")
def restore(session: Session, number: Sequence[int]) -> None:
    """Bring removed trials back.

    ls --all lists those that can be restored.
    """
    from daskperiment.history import removal

    for each in number:
        removal.restore(session.trials, each)
    session.answer({"restored": list(number)}, lambda _: [f"Restored {_shown(number)}."])


@verb("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@_YES
def gc(session: Session, dry_run: bool, yes: bool) -> None:
    """Delete removed trials for ever, and what nothing refers to.

    Those of all experiments or, with -e, of one.
    """
    from daskperiment.history.removal import collect_removed

    known = session.experiments
    name = session.experiment if session.chosen or len(known) == 1 else None

    def collect(dry_run: bool) -> dict[str, Any]:
        return collect_removed(session.backend, name, dry_run=dry_run)._asdict()

    _ask_for(lambda: _amount(collect(dry_run=True)), yes or dry_run)
    done = "Would delete" if dry_run else "Deleted"
    shown = {"dry_run": dry_run, **collect(dry_run)}
    session.answer(shown, lambda _: [f"{done} {_amount(shown)}."])


def _amount(freed: dict[str, Any]) -> str:
    trials, payloads = (
        text.count(freed["trials"], "trial"),
        text.count(freed["payloads"], "content"),
    )
    return f"{trials} and {payloads}, {text.size(freed['bytes'])}"


@verb("forget")
@references("reference", metavar="REF")
@click.argument("field")
@click.option("--everywhere", is_flag=True, help="Also where others hold the same content.")
@_YES
def forget(session: Session, reference: str, field: str, everywhere: bool, yes: bool) -> None:
    """Delete one part of a trial for ever.

    A FIELD is a part such as result, note, code, output, parameters.NAME or artifacts.NAME.
    """
    from daskperiment.history.forgetting import forget

    number = session.number(reference)
    _ask_for(lambda: f"{field} of trial {number} of {session.experiment}", yes)
    forgotten = forget(
        session.backend, session.experiment, number, field, everywhere=everywhere
    )._asdict()
    for place in ("trials", "held"):
        forgotten[place] = [holder._asdict() for holder in forgotten[place]]
    session.answer(forgotten, _forgotten)


def _forgotten(shown: dict[str, Any]) -> Iterator[str]:
    yield f"Forgot {_places(shown['trials'])}."
    if shown["held"]:
        yield f"The same content is still held by {_places(shown['held'])} (see --everywhere)."


def _places(holders: list[dict[str, Any]]) -> str:
    places = (f"{h['field']} of trial {h['trial']} of {h['experiment']}" for h in holders)
    return text.escaped(", ".join(places), keep="")


VERBS: list[click.Command] = [tag, note, rm, restore, gc, forget]
