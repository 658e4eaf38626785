"""Verbs that change what is kept of trials: tag, note, rm, restore, gc, forget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, references, some_trials, unmarked, verb


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
@some_trials
def rm(session: Session, reference: Sequence[str]) -> None:
    """Remove trials; their numbers stay reserved.

    Until gc deletes them, restore brings them back.
    """
    from daskperiment.history.removal import remove

    numbers = session.numbers(reference)
    for number in numbers:
        remove(session.trials, number)
    session.answer({"removed": numbers}, lambda _: [f"Removed {_shown(numbers)}."])


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
def gc(session: Session, dry_run: bool) -> None:
    """Delete removed trials for ever, and what nothing refers to.

    Those of all experiments or, with -e, of one.
    """
    from daskperiment.history.removal import collect_removed

    known = session.experiments
    name = session.experiment if session.chosen or len(known) == 1 else None
    freed = collect_removed(session.backend, name, dry_run=dry_run)
    session.answer({"dry_run": dry_run, **freed._asdict()}, _freed)


def _freed(shown: dict[str, Any]) -> Iterator[str]:
    done = "Would delete" if shown["dry_run"] else "Deleted"
    trials, payloads = (
        text.count(shown["trials"], "trial"),
        text.count(shown["payloads"], "content"),
    )
    yield f"{done} {trials} and {payloads}, {text.size(shown['bytes'])}."


@verb("forget")
@references("reference", metavar="REF")
@click.argument("field")
@click.option("--everywhere", is_flag=True, help="Also where others hold the same content.")
def forget(session: Session, reference: str, field: str, everywhere: bool) -> None:
    """Delete one part of a trial for ever.

    A FIELD is a part such as result, note, code, output, parameters.NAME or artifacts.NAME.
    """
    from daskperiment.history.forgetting import forget

    number = session.number(reference)
    forgotten = forget(
        session.backend, session.experiment, number, field, everywhere=everywhere
    )._asdict()
    for place in ("trials", "held"):
        forgotten[place] = [holder._asdict() for holder in forgotten[place]]
    session.answer(forgotten, _forgotten)


def _forgotten(shown: dict[str, Any]) -> Iterator[str]:
    yield f"Forgot {_places(shown['trials'])}: {text.count(shown['payloads'], 'content')} deleted."
    if shown["held"]:
        yield f"The same content is still held by {_places(shown['held'])} (see --everywhere)."


def _places(holders: list[dict[str, Any]]) -> str:
    places = (f"{h['field']} of trial {h['trial']} of {h['experiment']}" for h in holders)
    return text.escaped(", ".join(places), keep="")


VERBS: list[click.Command] = [tag, note, rm, restore, gc, forget]
