"""How Python is used: the script and its arguments, the working directory, the shell."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import Any

from daskperiment.secrets import scrub_arguments
from daskperiment.typing import JSON

_SHELLS = {"ZMQInteractiveShell": "Jupyter", "TerminalInteractiveShell": "IPython"}
_NOTEBOOK = "__vsc_ipynb_file__"  # where VS Code tells a kernel the path of the notebook


def shell() -> JSON:
    """How code is entered.

    ``File``, ``Test`` (pytest), ``Interactive`` (Python's own prompt), ``Jupyter``,
    ``IPython``, ``Colab``, ``VS Code`` (its notebooks); any other shell by its class.
    """
    ipython = _ipython()
    if ipython is not None:
        return _named(ipython)
    if "PYTEST_CURRENT_TEST" in os.environ and "_pytest" in sys.modules:
        return "Test"
    return "Interactive" if hasattr(sys, "ps1") or sys.flags.interactive else "File"


def _ipython() -> Any:
    ask = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return ask and ask()


def _named(ipython: Any) -> str:
    kind = type(ipython)
    if kind.__module__.startswith("google.colab"):
        return "Colab"
    if _notebook(ipython):
        return "VS Code"
    return _SHELLS.get(kind.__name__, kind.__name__)


def _notebook(ipython: Any) -> str | None:
    names = getattr(ipython, "user_ns", None)
    return names.get(_NOTEBOOK) if isinstance(names, dict) else None


def main_file() -> str | None:
    """The path of the script or module that Python was started with, if any."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return file if isinstance(file, str) else None


def script() -> JSON:
    """Path and scrubbed arguments of the script; of a notebook its path, where it is told.

    The same object as long as nothing changed.
    """
    ipython = _ipython()
    if ipython is not None:
        path = _notebook(ipython) or os.environ.get("JPY_SESSION_NAME")
        return _script(str(path or ""), ())
    return _script(main_file() or "", tuple(sys.argv[1:]))


@lru_cache(maxsize=8)
def _script(path: str, arguments: tuple[str, ...]) -> JSON:
    return {"path": path or None, "arguments": scrub_arguments(arguments)}


def working_directory() -> str | None:
    """The working directory; None when it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109  # several times faster than Path.cwd()
    except OSError:
        return None
