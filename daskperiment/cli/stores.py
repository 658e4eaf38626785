"""Verbs about stores, settings and the shell: doctor, salvage, config, completion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, verb

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@verb("doctor")
@click.argument("place", required=False, metavar="[PLACE]")
@click.option("--deep", is_flag=True, help="Read every payload, not only a hundred of them.")
def doctor(session: Session, place: str | None, deep: bool) -> int:
    """Examine a store without changing it.

    The exit code is 1 when something is lost or will be.
    """
    from daskperiment.history.doctor import examine

    backend = session.backend if place is None else Session(place).backend
    findings = [finding._asdict() for finding in examine(backend, deep)]
    session.answer(findings, _findings)
    return int(any(finding["level"] == "problem" for finding in findings))


def _findings(found: list[dict[str, Any]]) -> Iterator[str]:
    for finding in found:
        level = click.style(f"{finding['level']:<9}", fg=_COLOURS[finding["level"]])
        advice = f"; {finding['advice']}" if finding["advice"] else ""
        yield level + text.escaped(finding["what"] + advice)


@verb("salvage")
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@click.argument("target", metavar="TO", type=click.Path(path_type=Path))
def salvage(session: Session, source: Path, target: Path) -> int:
    """Copy what is undamaged of a local store into a new one.

    FROM and TO are folders; FROM is only read, TO must be empty or absent.  The exit code is 1
    when something is lost.
    """
    from daskperiment.backends.local import LocalBackend
    from daskperiment.backends.salvage import salvage as copy
    from daskperiment.history.doctor import examine

    done = copy(source, target)
    with LocalBackend(target) as backend:
        done.lost += [found.what for found in examine(backend) if found.level == "problem"]
    session.answer(asdict(done), _salvaged)
    return int(bool(done.lost))


def _salvaged(done: dict[str, Any]) -> Iterator[str]:
    for line in done["lost"]:
        yield click.style(f"{'lost':<9}", fg="red") + text.escaped(line)
    counts = ", ".join(f"{done[name]} {name}" for name in ("documents", "entries", "payloads"))
    yield f"{'copied':<9}{counts}"


@verb("sync")
def sync(session: Session) -> int:
    """Bring records that were made while a server was away to their server.

    They lie in spools of this user on this machine; with --backend only those that belong to
    that store are brought.  May be repeated: nothing is brought twice.  The exit code is 1 when
    something has to wait on.
    """
    from daskperiment.backends.server import masked
    from daskperiment.history import syncing
    from daskperiment.history.spooling import spool_folder

    backend = session.backend if session.named is not None else None
    address = None if session.named is None else masked(session.named)
    done = [asdict(each) for each in syncing.sync(spool_folder(), backend, address=address)]
    session.answer(done, _synced)
    return int(any(each["problem"] for each in done))


def _synced(done: list[dict[str, Any]]) -> Iterator[str]:
    if not done:
        yield "nothing waits"
    for each in done:
        trials = f", trials {', '.join(map(str, each['numbers']))}" if each["numbers"] else ""
        if each["groups"] or not each["problem"]:
            yield text.escaped(f"{each['address']}: {each['groups']} groups{trials}")
        if each["problem"]:
            yield click.style(f"{'waits on':<9}", fg="red") + text.escaped(each["problem"])


@click.group("config", invoke_without_command=True)
@click.pass_context
def config(ctx: click.Context) -> None:
    """Look at the settings."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@verb("show")
@click.option("--origin", is_flag=True, help="Also where each value comes from.")
def config_show(session: Session, origin: bool) -> None:
    """Show every option with its value."""
    from daskperiment import options
    from daskperiment.secrets import scrub

    rows = []
    for name, option in options.OPTIONS.items():
        value, came_from, _ = options.setting(name)
        rows.append(
            {
                "option": name,
                "value": scrub(value) if isinstance(value, str) else value,
                "origin": came_from,
                "variable": option.variable,
                "help": option.help,
            }
        )
    session.answer(rows, lambda rows: _options(rows, origin))


def _options(rows: list[dict[str, Any]], origin: bool) -> Iterator[str]:
    shown = ("option", "value", *(["origin", "variable"] if origin else []), "help")
    return text.table([{name: _cell(row[name]) for name in shown} for row in rows])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)


config.add_command(config_show)


@verb("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(session: Session, shell: str) -> None:
    """Print the completion script of a shell.

    It completes verbs, options, experiments and references.  For example, in ~/.bashrc:
    eval "$(daskperiment completion bash)"
    """
    from click.shell_completion import get_completion_class

    from daskperiment.cli.main import COMPLETE, NAME, cli

    made = get_completion_class(shell)
    assert made is not None
    script = made(cli, {}, NAME, COMPLETE).source()
    session.answer({"shell": shell, "script": script}, lambda _: [script])


VERBS: list[click.Command] = [doctor, salvage, sync, config, completion]
