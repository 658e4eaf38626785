"""The file of which a verb runs trials by itself."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from daskperiment.cli.running import _told
from daskperiment.cli.session import Session
from daskperiment.errors import (
    CodeChangedWarning,
    DaskperimentError,
    EnvironmentChangedWarning,
    PurityWarning,
    TargetError,
)
from daskperiment.tracebacks import without_ours

if TYPE_CHECKING:
    from daskperiment.script import Loaded

_LOGGED = (CodeChangedWarning, EnvironmentChangedWarning, PurityWarning)
"""What the log says, too."""


@contextlib.contextmanager
def target(session: Session, file: str) -> Iterator[Loaded]:
    """What a file has to run; what the file itself raises is shown as Python shows it."""
    from daskperiment.script import load_target

    if session.chosen is not None:
        raise click.UsageError("-e means nothing here: the file names its experiment")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_told({"DASKPERIMENT_BACKEND": session.named, **_quiet()}))
        stack.enter_context(warnings.catch_warnings())
        for kind in _LOGGED:
            warnings.simplefilter("ignore", kind)
        try:
            loaded = stack.enter_context(load_target(file))
        except (DaskperimentError, KeyboardInterrupt):
            raise
        except SystemExit as error:
            told = f": {error.code}" if isinstance(error.code, str) else ""
            raise TargetError(f"{file} has ended before it has built a result{told}") from None
        except BaseException as error:
            traceback.print_exception(_of_the_file(error))
            raise click.exceptions.Exit(1) from None
        yield loaded


def _of_the_file(error: BaseException) -> BaseException:
    """An error without the part of its traceback that is about finding the file."""
    kept = without_ours(error).__traceback__
    while kept is not None and kept.tb_frame.f_code.co_filename == contextlib.__file__:
        kept = kept.tb_next
    return error.with_traceback(kept)


def _quiet() -> dict[str, str | None]:
    """What leaves only warnings of the log, unless it is asked for: each trial has its line."""
    from daskperiment import options

    asked = options.setting("log_level").origin != "default" or options.value("log_file")
    return {} if asked else {"DASKPERIMENT_LOG_LEVEL": "WARNING"}
