"""The verb that runs a script."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, verb
from daskperiment.tracebacks import without_ours


@verb("run", context_settings={"allow_interspersed_args": False})
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[NAME=VALUE]...")
def run(session: Session, script: str, arguments: Sequence[str]) -> int:
    """Run a script and show the trial that it records.

    Everything behind SCRIPT is the script's own, as in: run train.py lr=0.1 --seed 1.  The exit
    code is that of the script: 1 when the trial failed, 2 when a value is missing or wrong.
    """
    from daskperiment.script import run_path

    if session.chosen is not None:
        raise click.UsageError("-e means nothing to run: the script names its experiment")
    if session.named is not None:
        os.environ["DASKPERIMENT_BACKEND"] = session.named
    with _stdout_aside() if session.as_json else contextlib.nullcontext():
        trial, error = run_path(script, arguments)
        code = _exit_code(error)
    if trial is not None or code == 0:
        session.answer(_document(trial), _report)
    return code


def _exit_code(error: BaseException | None) -> int:
    """The code with which the interpreter would have ended, after it has said why."""
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        raise click.Abort
    if isinstance(error, SystemExit):
        if isinstance(error.code, int):
            return error.code
        click.echo(error.code, err=True)
        return 1
    traceback.print_exception(without_ours(error))
    return 1


@contextlib.contextmanager
def _stdout_aside() -> Iterator[None]:
    """Let what is printed go to stderr, also by programs that are started."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _document(trial: Any) -> Any:
    if trial is None:
        return None
    from daskperiment.history import documents

    return documents.trial(trial._trials, trial.number)


def _report(shown: dict[str, Any] | None) -> Iterator[str]:
    if shown is None:
        yield "No trial was recorded."
        return
    yield f"Trial {shown['trial']} of {shown['experiment']}  {text.state(shown['state'])}"
    if shown["state"] == "COMPLETE":
        yield text.escaped(f"result  {text.value(shown['result'])}", keep="")


VERBS: list[click.Command] = [run]
