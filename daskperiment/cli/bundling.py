"""Verbs that hand a trial on: bundle, verify."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskperiment.cli import text
from daskperiment.cli.lineage import tell_verdict
from daskperiment.cli.session import Session, references, verb

if TYPE_CHECKING:
    from daskperiment.lineage.bundle import Manifest

_PATH = click.Path(path_type=Path, dir_okay=False)


@verb("bundle")
@references("reference", metavar="REF")
@click.option("-o", "--output", type=_PATH, help="The file; trialN.zip unless told.")
@click.option("--with-data", is_flag=True, help="With outputs that are kept, and artifacts.")
def bundle(session: Session, reference: str, output: Path | None, with_data: bool) -> None:
    """Write a trial to a file that others can check and run again."""
    from daskperiment.lineage import bundle as lineage

    number = session.number(reference)
    path = output or Path(f"trial{number}.zip")
    manifest = lineage.bundle(session.trials, number, path, with_data)
    size = path.stat().st_size
    shown = {"trial": number, "file": str(path), "bytes": size, "files": len(manifest.files)}
    session.answer(shown, lambda _: [text.escaped(f"{path}: {size} bytes", keep="")])


@verb("verify")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--yes", is_flag=True, help="Run it without asking.")
@click.option("--inspect", is_flag=True, help="Show what it would run, and run nothing.")
@click.option("--env", type=click.Choice(["uv"]), help="With the recorded Python and packages.")
def verify(session: Session, file: Path, yes: bool, inspect: bool, env: str | None) -> int:
    """Check a bundle, run its trial again and compare every step.

    Writes report.json and report.md here.  The exit code is 0 where all is the same, 1 where
    something differs or was changed, and 2 where it could not be run.
    """
    from daskperiment.errors import BundleError
    from daskperiment.lineage import bundle as lineage

    try:
        manifest = lineage.check(file)
    except BundleError as error:
        click.echo(text.escaped(f"Error: {error}", keep=""), err=True)
        return 1
    if inspect:
        session.answer(_about(manifest), lambda _: _shown(manifest))
        return 0
    _ask(manifest, yes)
    found = lineage.verify(file, env)
    report = json.dumps(found.document(), indent=1) + "\n"
    Path("report.json").write_text(report, encoding="utf-8")
    Path("report.md").write_text(found.markdown(), encoding="utf-8")
    return tell_verdict(session, found.reproduction, found.document())


def _ask(manifest: Manifest, yes: bool) -> None:
    """Ask before code of somebody else runs; where nobody can be asked it does not."""
    if yes:
        return
    for line in _shown(manifest):
        click.echo(line, err=True)
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("A bundle runs code of whoever has made it: add --yes, or --inspect")
    if not click.confirm("Run this code?", err=True):
        raise click.ClickException("Nothing was run")


def _about(manifest: Manifest) -> dict[str, Any]:
    files = [
        {"name": name, "digest": digest, "bytes": size}
        for name, (digest, size) in manifest.files.items()
    ]
    return {**manifest._asdict(), "steps": list(manifest.steps), "files": files}


def _shown(manifest: Manifest) -> Iterator[str]:
    about = [
        f"trial {manifest.number} of {manifest.experiment}",
        f"recorded with Python {manifest.python} on {manifest.system}",
        f"steps: {', '.join(manifest.steps)}",
        *(f"  {name}  {size} bytes" for name, (_, size) in manifest.files.items()),
    ]
    return map(text.escaped, about)


VERBS: list[click.Command] = [bundle, verify]
