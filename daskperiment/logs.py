"""The log, where a person reads along: in scripts, notebooks and on the command line."""

from __future__ import annotations

import logging
import sys
from typing import Any

from daskperiment import caller, notebooks, options
from daskperiment.errors import OptionError

_LINE = "%(asctime)s [daskperiment] [%(levelname)s] %(message)s"
_LOGGER = logging.getLogger("daskperiment")


def follow() -> None:
    """Show the log if a script's own code or a notebook has called; see :func:`show`."""
    if notebooks.shell() is not None or caller.script() is not None:
        show()


def show() -> None:
    """Show the log on stderr from now on, and append it to the file that options name.

    Does nothing when it is shown already, and shows nothing where logging is set up: when
    the logger ``daskperiment`` or the root logger has a handler.

    Raises
    ------
    OptionError
        An option of the log is wrong, or its file cannot be opened.
    """
    if any(isinstance(handler, _OURS) for handler in _LOGGER.handlers):
        return
    handlers: list[logging.Handler] = [] if _LOGGER.hasHandlers() else [_Screen()]
    path = options.value("log_file")
    if path is not None:
        handlers.append(_file(path))
    if handlers and _LOGGER.level == logging.NOTSET:
        _LOGGER.setLevel(options.value("log_level"))
    for handler in handlers:
        _LOGGER.addHandler(handler)


def show_mainly(*names: str) -> None:
    """Show the log as :func:`show` does, but where options set no level only what is of interest.

    Parameters
    ----------
    names : str
        Loggers of which everything from INFO on is shown; of others it is warnings and errors.

    Raises
    ------
    OptionError
        As for :func:`show`.
    """
    untouched = _LOGGER.level == logging.NOTSET
    show()
    ours = untouched and _LOGGER.level != logging.NOTSET
    if ours and options.setting("log_level").origin == "default":
        _LOGGER.setLevel(logging.WARNING)
        for name in names:
            logging.getLogger(name).setLevel(logging.INFO)


def _file(path: str) -> logging.Handler:
    folder = options.setting("log_file").folder
    try:
        return _File(path if folder is None else folder / path, encoding="utf-8")
    except OSError as error:
        raise OptionError(f"The log file cannot be opened: {error}") from error


class _Screen(logging.StreamHandler[Any]):
    """Writes to what is ``sys.stderr`` at the time, also when that is captured."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter(_LINE, "%H:%M:%S"))

    @property
    def stream(self) -> Any:
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:  # set up later: the root logger shows the line
            super().emit(record)


class _File(logging.FileHandler):
    """Appends to a file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.setFormatter(logging.Formatter(_LINE))


_OURS = (_Screen, _File)
