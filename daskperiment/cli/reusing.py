"""Verbs about what is kept so that other trials can take it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, verb

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


class _Age(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A length of time such as ``30d``, in seconds."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = _AGE.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no age: write 30d, 12h or 2w", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


@click.group("reuse", invoke_without_command=True)
@click.pass_context
def reuse(ctx: click.Context) -> None:
    """Look at what is kept so that other trials can take it, and delete some of it."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@verb("ls")
def reuse_ls(session: Session) -> None:
    """List the step calls that other trials may take."""
    from daskperiment.history import documents, pruning

    rows = [
        {**each._asdict(), "started": documents.time(each.started or None)}
        for each in pruning.offered(session.trials)
    ]
    session.answer(rows, _calls)


def _calls(rows: list[dict[str, Any]]) -> Iterator[str]:
    return text.table(
        [
            {
                "trial": row["trial"],
                "step": row["step"],
                "call": row["call"],
                "started": text.local(row["started"]),
                "seconds": text.seconds(row["seconds"]),
                "size": None if row["bytes"] is None else text.size(row["bytes"]),
                "kept": row["kept"],
            }
            for row in rows
        ]
    )


@verb("size")
def reuse_size(session: Session) -> None:
    """Say how much is kept for other trials, and how much of that pruning can free."""
    from daskperiment.history import pruning

    shown = pruning.size(session.trials)._asdict()
    session.answer(shown, _sizes)


def _sizes(shown: dict[str, Any]) -> Iterator[str]:
    calls = text.count(shown["calls"], "call")
    yield f"{calls}, {text.size(shown['bytes'])}, of which {text.size(shown['free'])} can be freed"


@verb("prune")
@click.option("--older-than", "older", type=_Age(), metavar="AGE", help="As 30d, 12h or 2w.")
@click.option(
    "--keep-last", "newest", type=click.IntRange(0), metavar="N", help="Not of the last N trials."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def reuse_prune(session: Session, older: float | None, newest: int | None, dry_run: bool) -> None:
    """Delete outputs that are kept only so that other trials can take them.

    Results, persisted outputs and artifacts stay.  What was deleted is computed again where a
    trial needs it.
    """
    from daskperiment.history import pruning

    if older is None and newest is None:
        raise click.UsageError("Say what to delete: --older-than 30d, or --keep-last 10")
    found = pruning.prune(session.trials, older, newest, dry_run=dry_run)
    shown = {"dry_run": dry_run, **found._asdict()}
    session.answer(shown, _pruned)


def _pruned(shown: dict[str, Any]) -> Iterator[str]:
    done = "Would delete" if shown["dry_run"] else "Deleted"
    calls, payloads = text.count(shown["calls"], "call"), text.count(shown["payloads"], "content")
    yield f"{done} {calls} and {payloads}, {text.size(shown['bytes'])}."


reuse.add_command(reuse_ls)
reuse.add_command(reuse_size)
reuse.add_command(reuse_prune)
VERBS: list[click.Command] = [reuse]
