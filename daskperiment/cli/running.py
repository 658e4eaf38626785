"""The verbs that run a script, or plan what it would run."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from daskperiment.cli import experiments, looking, text
from daskperiment.cli.session import Session, verb
from daskperiment.errors import BatchArgumentError
from daskperiment.secrets import MASK
from daskperiment.tracebacks import without_ours

_OWN = {"allow_interspersed_args": False}
"""What stands behind a script is its own."""
_script = click.argument("script", type=click.Path(exists=True, dir_okay=False))
_arguments = click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="[NAME=VALUE]..."
)
_shard = click.option(
    "--shard", metavar="PART/PARTS",
    help="Of each batch run every third trial by 0/3, 1/3 and 2/3 on three computers.",
)  # fmt: skip


@verb("run", experiments.Run, context_settings=_OWN)
@_shard
@click.option("--no-reuse", "anew", is_flag=True, help="Take no step from other trials.")
@click.option(
    "--sweep", "swept", multiple=True, metavar="NAME=VALUES",
    help="Run all combinations, such as lr=0.1,0.01 and depth=3:10:2, without 10.",
)  # fmt: skip
@experiments.options
@_script
@_arguments
def run(
    session: Session, script: str, arguments: Sequence[str], shard: str | None, anew: bool,
    swept: Sequence[str], **described: Any,
) -> int:  # fmt: skip
    """Run a script and show the trial that it records, or the searches of a file.

    Everything behind SCRIPT is the script's own, as in: run train.py lr=0.1 --seed 1.  The exit
    code is that of the script: 1 when the trial failed, 2 when a value is missing or wrong.

    A file .toml, .json or .yaml in its place describes experiments, as in: run experiments.toml
    --dry-run.  The exit code is 1 when a search failed, 2 when the file is wrong.
    """
    if session.chosen is not None:
        raise click.UsageError("-e means nothing to run: the script names its experiment")
    told = {"DASKPERIMENT_SHARD": shard, "DASKPERIMENT_DISABLE_REUSE": "1" if anew else None}
    if experiments.is_file(script):
        if swept:
            raise click.UsageError("--sweep means something to a script only")
        return _run_file(session, script, arguments, told, **described)
    experiments.refuse(described)
    if swept:
        from daskperiment.cli.sweeping import sweep

        with _told(told), _stdout_aside() if session.as_json else contextlib.nullcontext():
            code, rows = sweep(session, script, arguments, swept)
        session.answer(rows, looking.listed)
        return code
    return _run(session, script, arguments, told)


@verb("plan", context_settings=_OWN)
@_script
@_arguments
def plan(session: Session, script: str, arguments: Sequence[str]) -> int:
    """Say what each step of a script's trial would do, and why, before any of them runs.

    The script runs up to its first trial, so what stands outside of steps does run; nothing is
    recorded.  Everything behind SCRIPT is the script's own, as in: plan train.py lr=0.1 --seed 1.
    """
    from daskperiment.script import plan_path

    if session.chosen is not None:
        raise click.UsageError("-e means nothing to plan: the script names its experiment")
    told = {"DASKPERIMENT_BACKEND": session.named}
    with _told(told), _stdout_aside() if session.as_json else contextlib.nullcontext():
        found, error = plan_path(script, arguments)
        code = _exit_code(error)
    if found is not None:
        session.answer(found.document(), lambda _: _planned(found))
    elif code == 0:
        session.answer(None, lambda _: ["The script has begun no trial."])
    return code


def _planned(found: Any) -> Iterator[str]:
    for line in str(found).split("\n"):
        yield text.escaped(line, keep="")


@verb("resume", experiments.Run, context_settings=_OWN)
@_shard
@experiments.options
@click.argument("script", type=click.Path(exists=True, dir_okay=False), required=False)
@_arguments
def resume(
    session: Session, script: str | None, arguments: Sequence[str], shard: str | None,
    **described: Any,
) -> int:  # fmt: skip
    """Run the script of a batch again, which leaves out the trials that are complete or pruned.

    Without SCRIPT, that of the last batch that was interrupted, as it was called.  Trials that
    failed, crashed or were cancelled are run again, with their seeds, and what a step has kept
    by checkpoint is there for them.  The exit code is that of the script.  With a file of
    experiments its searches go on.
    """
    told = {"DASKPERIMENT_SHARD": shard, "DASKPERIMENT_RESUME": "1"}
    if experiments.is_file(script):
        return _run_file(session, str(script), arguments, told, **described)
    experiments.refuse(described)
    before = Path.cwd()
    if script is None:
        script, arguments, folder = _interrupted(session)
        os.chdir(folder)
    try:
        return _run(session, script, arguments, told)
    finally:
        os.chdir(before)


def _run(
    session: Session, script: str, arguments: Sequence[str], options: Mapping[str, str | None]
) -> int:
    from daskperiment.script import run_path

    told = {"DASKPERIMENT_BACKEND": session.named, **options}
    with _told(told), _stdout_aside() if session.as_json else contextlib.nullcontext():
        trial, error = run_path(script, arguments)
        code = _exit_code(error)
    if trial is not None or code == 0:
        session.answer(_document(trial), _report)
    return code


def _run_file(
    session: Session, path: str, arguments: Sequence[str], options: Mapping[str, str | None],
    only: Sequence[str] = (), functions: Sequence[str] = (), dry_run: bool = False,
    parallel: int | None = None,
) -> int:  # fmt: skip
    if arguments:
        raise click.UsageError(f"A file of experiments takes no argument such as {arguments[0]}")
    if options.get("DASKPERIMENT_SHARD"):
        raise click.UsageError("--shard is for batches, and a file of experiments has searches")
    with _told(options), _stdout_aside() if session.as_json else contextlib.nullcontext():
        if dry_run:
            document = experiments.plan(session, path, functions, only)
        else:
            document = experiments.run(session, path, functions, only, parallel or 1)
    session.answer(document, experiments.plans if dry_run else experiments.summary)
    return 1 if document.get("failed") else 0


@contextlib.contextmanager
def _told(options: Mapping[str, str | None]) -> Iterator[None]:
    """Variables that are set for a script, and for the processes that it starts."""
    before = {name: os.environ.get(name) for name in options}
    os.environ.update({name: value for name, value in options.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _interrupted(session: Session) -> tuple[str, list[str], str]:
    """Script, arguments and working directory of the last batch that has not come to its end."""
    from daskperiment.history.batches import Batches
    from daskperiment.history.snapshots import Snapshots

    backend = session.trials.backend
    for _, row in Batches(backend, session.experiment).find():
        if row["state"] == "RUNNING":
            raise BatchArgumentError(
                f"The last batch of {session.experiment} is still running, as process "
                f"{row['owner']['pid']} on {row['owner']['host']}"
            )
        if row["state"] == "COMPLETE":
            break
        told = Snapshots(backend).find(row["session"]) or {}
        known, folder = told.get("script") or {}, told.get("working_directory")
        _check_searches(row.get("name"), known.get("path"))
        return _again(known.get("path"), known.get("arguments") or [], folder, backend.owned)
    raise BatchArgumentError(f"No batch of {session.experiment} was interrupted")


def _check_searches(name: str | None, path: str | None) -> None:
    """Refuse a search that its script does not begin by itself."""
    if name is not None and (path is None or ".search(" not in _content(path)):
        raise BatchArgumentError(
            f"Search {name!r} was begun on the command line: give that command again, with --resume"
        )


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _again(
    path: str | None, arguments: list[str], folder: str | None, owned: bool
) -> tuple[str, list[str], str]:
    if path is None or folder is None:
        raise BatchArgumentError(
            "The batch was not started by a script: run its ex.map(...) again, with "
            "skip_completed=True"
        )
    command = shlex.join(["daskperiment", "resume", path, *arguments])
    if not owned:  # whoever can write there could name any script
        raise BatchArgumentError(
            f"Others can write to this store, so that nothing that it names is run. In {folder}:  "
            f"{command}"
        )
    if any(MASK in argument for argument in arguments):
        raise BatchArgumentError(
            f"The script was called with a secret, which is not kept. In {folder}:  {command}"
        )
    return path, arguments, folder


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


VERBS: list[click.Command] = [run, plan, resume]
