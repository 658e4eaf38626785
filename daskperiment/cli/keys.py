"""Verbs about the keys that sign what is kept in shared stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, verb


@click.group("key", invoke_without_command=True)
@click.pass_context
def key(ctx: click.Context) -> None:
    """Look at the keys that sign what is kept in shared stores, or make one."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@verb("show")
def key_show(session: Session) -> None:
    """Show the name of each key and where it lies; a new trial is signed with the first one.

    A key that is not there yet has no name.  Nothing is made.
    """
    from daskperiment.secrets import key as keys

    rows = [
        {"key": None if found is None else keys.name_of(found), "of": owner, "file": str(file)}
        for owner, (file, found) in keys.present().items()
    ]
    session.answer(rows, _keys)


def _keys(rows: list[dict[str, Any]]) -> Iterator[str]:
    return text.table([{**row, "key": row["key"] or "-"} for row in rows])


@verb("new")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
def key_new(session: Session, file: Path) -> None:
    """Make a key for a team in a new file that only you can read.

    Hand the file to your teammates by a safe way, not through the store, and let
    DASKPERIMENT_KEY_FILE name it on each machine.
    """
    from daskperiment.secrets import key as keys

    keys.new_key(file)
    made = {"key": keys.name_of(keys.read_key(file.absolute())), "file": str(file)}
    session.answer(made, lambda made: [f"Made the key {made['key']} in {made['file']}."])


key.add_command(key_show)
key.add_command(key_new)
VERBS: list[click.Command] = [key]
