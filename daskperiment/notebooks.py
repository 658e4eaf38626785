"""What notebooks show: tables, and one line after each trial."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from typing import Any

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


def table(title: str, rows: Mapping[str, object]) -> str:
    """A titled table of names and values as HTML; whatever they hold is escaped.

    Examples
    --------
    >>> "<caption" in table("Trial 1", {"result": "<b>"})
    True
    >>> "&lt;b&gt;" in table("Trial 1", {"result": "<b>"})
    True
    """
    return _table(title, _named(rows))


def grid(title: str, rows: Mapping[int, Mapping[str, str]]) -> str:
    """A titled table with a column for each name, as HTML; all but :class:`Html` is escaped."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    head = _row("th", ["", *names])
    lines = (_row("td", [key, *(row.get(n, "") for n in names)]) for key, row in rows.items())
    return _table(title, head + "".join(lines))


def _table(title: str, content: str) -> str:
    style = "text-align:left;font-weight:bold"
    return f'<table><caption style="{style}">{escape(title)}</caption>{content}</table>'


def _named(rows: Mapping[str, object]) -> str:
    return "".join(
        f"<tr>{_cell('th', name)}{_cell('td', value)}</tr>" for name, value in rows.items()
    )


def _row(kind: str, values: Iterable[object]) -> str:
    return f"<tr>{''.join(_cell(kind, value) for value in values)}</tr>"


def _cell(kind: str, value: object) -> str:
    content = value if isinstance(value, Html) else escape(str(value))
    return f'<{kind} style="text-align:left">{content}</{kind}>'


class Html(str):
    """Text that is HTML already: a cell that holds it is not escaped."""

    __slots__ = ()


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
        return f"<details>{summary}<table>{_named(self._rows)}</table></details>"


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
