"""What notebooks show: tables, and one line after each trial."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from typing import Any, TypeAlias

Rows: TypeAlias = Mapping[str, object] | Iterable[tuple[object, object]]

_LINES = 10
"""Trials of one cell that get a line of their own; then one line shows the latest."""
_PAUSE = 0.2
"""Seconds between two changes of that line."""


def shell() -> Any:
    """The running IPython shell, a notebook's too; None in plain Python."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def is_kernel() -> bool:
    """Whether this is a notebook: a shell that shows rich output."""
    return getattr(shell(), "kernel", None) is not None


def table(title: str, rows: Rows) -> str:
    """A titled table of names and values as HTML; whatever they hold is escaped.

    Examples
    --------
    >>> print(table("Trial 1", {"result": "<b>"}))
    <table><caption>Trial 1</caption><tr><th>result</th><td>&lt;b&gt;</td></tr></table>
    """
    return f"<table><caption>{escape(title)}</caption>{_rows(rows)}</table>"


def _rows(rows: Rows) -> str:
    pairs = rows.items() if isinstance(rows, Mapping) else rows
    return "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in pairs
    )


class Line:
    """One line that opens into a table when it is clicked.

    Parameters
    ----------
    text : str
        The line.
    rows : mapping
        Names and values of the table.
    """

    def __init__(self, text: str, rows: Mapping[str, object]) -> None:
        self._text = text
        self._rows = rows

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        summary = f"<summary>{escape(self._text)}</summary>"
        return f"<details>{summary}<table>{_rows(self._rows)}</table></details>"


def tell(line: Line) -> None:
    """Show a line under the running cell of a notebook.

    A cell that runs many trials gets ten lines; the last of them then shows the latest.
    """
    _board().show(shell().execution_count, line)


class _Board:
    """The lines of the cell that runs now."""

    def __init__(self) -> None:
        self._cell: object = None
        self._count = 0
        self._handle: Any = None
        self._shown = 0.0

    def show(self, cell: object, line: Line) -> None:
        from IPython.display import display

        if cell != self._cell:
            self._cell, self._count = cell, 0
        self._count += 1
        if self._count <= _LINES:
            self._handle = display(line, display_id=True)  # type: ignore[no-untyped-call,unused-ignore]
        elif time.monotonic() - self._shown > _PAUSE:
            self._handle.update(line)
            self._shown = time.monotonic()


@cache
def _board() -> _Board:
    return _Board()
