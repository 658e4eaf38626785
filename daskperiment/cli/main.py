"""The command itself: its verbs, its errors and its exit codes."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import click

from daskperiment.cli import (
    board,
    bundling,
    changing,
    keys,
    lineage,
    looking,
    moving,
    recorded,
    reusing,
    running,
    searches,
    searching,
    stores,
    watching,
)
from daskperiment.cli.session import COMMON
from daskperiment.cli.text import escaped
from daskperiment.errors import DaskperimentError

NAME = "daskperiment"
COMPLETE = "_DASKPERIMENT_COMPLETE"
"""The variable by which a shell that completes asks the command."""

ERROR = 2
INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell shows for a program that its reader has left, as ``head`` leaves."""

_EPILOG = """\
References name trials: 7, latest, -1 (the last), best (by --direction, else as the last search),
3:7 (both ends included).  Exit codes: 0 done; 1 the thing asked for failed or differs; 2 usage or
another error.
"""


_COMMON = {name for option in COMMON for name in option.opts}


class _Verbs(click.Group):
    """Verbs in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The interpreter flushes once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED
        return code


def _version(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        import daskperiment

        click.echo(f"daskperiment {daskperiment.__version__}")
        ctx.exit()


@click.group(
    cls=_Verbs,
    epilog=_EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Look at recorded trials, compare them, and run scripts that record them."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for module in (
    running,
    searching,
    searches,
    looking,
    recorded,
    lineage,
    bundling,
    watching,
    board,
    changing,
    reusing,
    moving,
    stores,
    keys,
):
    for verb in module.VERBS:
        cli.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who has started us
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; errors are one line on stderr."""
    try:
        return _call(list(arguments)) or 0
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        _complain(error, list(arguments))
        return ERROR


def _call(arguments: list[str]) -> Any:
    return cli.main(arguments, prog_name=NAME, complete_var=COMPLETE, standalone_mode=False)


def _complain(error: Exception, arguments: list[str]) -> None:
    # What stands behind a script belongs to the script.
    ours = list(takewhile(lambda argument: not argument.endswith(".py"), arguments))
    if "--debug" in ours:
        traceback.print_exception(error)
    message = _message(error)
    if "--json" in ours:
        # Those of click have other names in other releases.
        kind = click.UsageError if isinstance(error, click.UsageError) else type(error)
        document = {"error": {"type": kind.__name__, "message": message}}
        click.echo(json.dumps(document), err=True)
    else:
        click.echo(f"{click.style('Error:', fg='red')} {escaped(message)}", err=True,
                   color=False if os.environ.get("NO_COLOR") else None)  # fmt: skip


def _message(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "daskperiment"
        if isinstance(error, click.NoSuchOption) and error.option_name in _COMMON:
            return f"{error.option_name} stands behind the verb: {command} VERB {error.option_name}"
        return f"{error.format_message()} (see {command} --help)"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, (DaskperimentError, OSError)):
        return str(error)
    return f"{type(error).__name__}: {error} (--debug shows where)"
