"""Text for people: tables, times and values that cannot take over a terminal."""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

_NARROWEST = 8
_GAP = 2
_STATES = {
    "COMPLETE": "green", "FAILED": "red", "CRASHED": "red", "RUNNING": "yellow",
    "CANCELLED": "magenta", "PRUNED": "cyan",
}  # fmt: skip
_NUMBER = re.compile(r"(-?[\d.]+(e[+-]?\d+)?|-?inf|nan|)")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def escaped(text: str, keep: str = "\n\t") -> str:
    r"""Text in which nothing but letters and signs reaches the terminal.

    Examples
    --------
    >>> escaped("\x1b[2Jgone", keep="")
    '\\x1b[2Jgone'
    """
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(char: str) -> str:
    return ascii(char)[1:-1]


def coloured(text: str) -> str:
    """Text of which colours pass, and no other control of the terminal."""
    colours = _COLOUR.findall(text)
    parts = [escaped(part) for part in _COLOUR.split(text)]
    mixed = "".join(part + colour for part, colour in zip(parts, [*colours, ""], strict=True))
    return mixed + ("\x1b[0m" if colours else "")


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, room: int) -> str:
    """The beginning of a text, with an ellipsis where it does not fit."""
    if width(text) <= room:
        return text
    kept = ""
    for char in text:
        if width(kept + char) > room - 1:
            break
        kept += char
    return kept + "…"


def local(time: str | None) -> str:
    """A time of a document, as the user's clock showed it."""
    if time is None:
        return ""
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def seconds(value: float | None) -> str:
    """A duration with as many digits as a reader needs."""
    if value is None:
        return ""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def count(number: int, noun: str) -> str:
    """A number of things.

    Examples
    --------
    >>> count(1, "trial"), count(2, "trial")
    ('1 trial', '2 trials')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(count: int) -> str:
    """A number of bytes.

    Examples
    --------
    >>> size(999), size(2_500_000)
    ('999 B', '2.5 MB')
    """
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def number(value: Any) -> str:
    """A number of a metric with six digits; a document's text for what is no number."""
    return f"{value:.6g}" if isinstance(value, (int, float)) else str(value)


def value(shown: Any) -> str:
    """A value of a document on one line, complete."""
    return shown if isinstance(shown, str) else repr(shown)


def brief(shown: Any) -> str:
    """A value of a document in a table: of a long fraction the first six digits."""
    full = value(shown)
    return f"{shown:.6g}" if isinstance(shown, float) and len(full) > 8 else full


def pairs(values: Mapping[str, Any]) -> str:
    """Parameters on one line, as they are written on a command line."""
    return " ".join(f"{name}={brief(shown)}" for name, shown in values.items())


def state(name: str) -> str:
    """A state in its colour."""
    return click.style(name, fg=_STATES.get(name))


def heading(text: str) -> str:
    """A line above a part."""
    return click.style(text, bold=True)


def table(rows: Sequence[Mapping[str, Any]], capitals: bool = True) -> Iterator[str]:
    """Lines of aligned columns under their names; empty columns are left out.

    Columns of numbers are aligned at their end.

    Parameters
    ----------
    rows : sequence of mapping
        Text or None by column; all rows name the same columns.
    capitals : bool
        Whether their names are shown in capitals.
    """
    texts = [
        {name: "" if cell is None else escaped(str(cell), keep="") for name, cell in row.items()}
        for row in rows
    ]
    names = [name for name in (texts[0] if texts else ()) if any(row[name] for row in texts)]
    heads = {name: escaped(name.upper() if capitals else name, keep="") for name in names}
    room = _fitted({n: max(width(row[n]) for row in [heads, *texts]) for n in names})
    numeric = {n for n in names if all(_NUMBER.fullmatch(row[n]) for row in texts)}
    for row, style in [(heads, heading), *((row, None) for row in texts)]:
        cells = [_cell(row[n], room[n], n in numeric, style or _style(n)) for n in names]
        yield (" " * _GAP).join(cells).rstrip()


def _style(name: str) -> Callable[[str], str]:
    return state if name.lower() == "state" else str


def _cell(content: str, room: int, numeric: bool, style: Callable[[str], str]) -> str:
    shown = clip(content, room)
    space = " " * (room - width(shown))
    return space + style(shown) if numeric else style(shown) + space


def _fitted(widths: dict[str, int]) -> dict[str, int]:
    """Widths of columns that fit the terminal; the widest give way."""
    if not sys.stdout.isatty():
        return widths
    room = shutil.get_terminal_size().columns - _GAP * (len(widths) - 1)
    while sum(widths.values()) > room:
        widest = max(widths, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths
