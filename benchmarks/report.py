"""The table as text and as reStructuredText, with the versions of what was measured."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import BUILD, Row

_HEAD = ("subject", "figure", "reference beside it", "median", "spread", "aim", "")
_BEGIN, _END = ".. the table begins", ".. the table ends"
README = Path(__file__).with_name("README.rst")


def cells(row: Row, notes: list[str]) -> tuple[str, ...]:
    """The cells of a row; its note becomes a footnote."""
    mark = ""
    if row.note:
        if row.note not in notes:
            notes.append(row.note)
        mark = f" ({notes.index(row.note) + 1})"
    if not row.values:
        return row.subject + mark, row.figure, row.reference, "", "", "", ""
    unit = "" if row.unit == "x" else f" {row.unit}"
    low, high = row.spread
    aim = "" if row.aim is None else f"{row.aim:g}{unit}"
    middle = f"{_short(row.median)}{unit}"
    spread = f"{_short(low)} - {_short(high)}"
    return row.subject + mark, row.figure, row.reference, middle, spread, aim, row.met


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def text(rows: Sequence[Row]) -> str:
    """The table for a screen."""
    notes: list[str] = []
    return "\n".join([aligned(lines(rows, notes)), "", *_footnotes(notes)])


def lines(rows: Sequence[Row], notes: list[str] | None = None) -> list[tuple[str, ...]]:
    """The head and the cells of rows, whose notes become footnotes."""
    kept = [] if notes is None else notes
    return [_HEAD, *(cells(row, kept) for row in rows)]


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Lines of cells for a screen."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def listed(lines: Sequence[tuple[str, ...]]) -> str:
    """Lines of cells, of which the first is the head, for a page."""
    found = [".. list-table::", "   :header-rows: 1", ""]
    for line in lines:
        marks = ["   * -", *["     -"] * (len(line) - 1)]
        found += [f"{m} {_quoted(cell)}".rstrip() for m, cell in zip(marks, line, strict=True)]
    return "\n".join(found)


def _footnotes(notes: Sequence[str]) -> list[str]:
    return [f"({number}) {note}." for number, note in enumerate(notes, 1)]


def rst(rows: Sequence[Row], failures: Sequence[str]) -> str:
    """The table for a page."""
    notes: list[str] = []
    found = [listed(lines(rows, notes)), "", *(f"| {_quoted(n)}" for n in _footnotes(notes))]
    found += ["", *(f"- {_quoted(failure)}" for failure in failures)]
    return "\n".join([*found, "", versions()])


def _quoted(cell: str) -> str:
    return cell.replace("*", "\\*").replace("`", "\\`").replace("_", "\\_")


def versions() -> str:
    """What was measured on what, in general words."""
    names = ("dask", "pandas", "numpy", "blake3", "psutil", "cloudpickle")
    found = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {found}; "
        f"{machine()}, {_file_system()}."
    )


def machine() -> str:
    """The machine, in general words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _file_system() -> str:
    if not sys.platform.startswith("linux"):
        return "unknown file system"
    command = ["stat", "-f", "-c", "%T", str(BUILD.parent)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return f"file system {found.strip() or 'unknown'}"


def write(rows: Sequence[Row], failures: Sequence[str]) -> None:
    """Put the table in its place in the page."""
    put(rst(rows, failures), _BEGIN, _END)


def put(text: str, begin: str, end: str) -> None:
    """Put a text between two marks in the page."""
    before, _, rest = README.read_text().partition(begin)
    _, _, after = rest.partition(end)
    README.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
