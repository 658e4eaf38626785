"""Pieces: the output of one step call as it is recorded, bounded and without secrets."""

from __future__ import annotations

import time
from typing import NamedTuple, TypeAlias

from daskperiment.secrets import scrub
from daskperiment.tracking.output.lines import Unfinished

FIRST = 1_048_576
"""Characters that are kept of the beginning of a call's output."""
LAST = 131_072
"""Characters that are kept of the end of a longer output."""

_COST = 64  # of a piece, in characters: endless empty lines come to an end, too
_TOGETHER = 0.01
_STATES = 2.0

Source: TypeAlias = tuple[str, str | None, str | None]
"""Stream, logger and level."""

OMITTED: Source = ("omitted", None, None)
"""Where the text tells that something was left out."""


class Piece(NamedTuple):
    r"""Text of one stream, of one moment or up to 10 ms.

    Attributes
    ----------
    time : float
        Unix time.
    source : tuple
        Stream, logger and level: ``("stdout", None, None)``, ``("stderr", None, None)`` or
        such as ``("logging", "train", "WARNING")``.
    text : str
        Whole lines, or one record.  At its end ``\r`` means that the next piece of the same
        source writes over this line, and no line end that it goes on with it.
    """

    time: float
    source: Source
    text: str


class _Pieces:
    """Pieces in order."""

    def __init__(self) -> None:
        self._pieces: list[tuple[float, Source, list[str]]] = []
        self.size = 0

    def add(self, now: float, source: Source, text: str) -> None:
        last = self._pieces[-1] if self._pieces else None
        if last and last[1] == source and source[1] is None and now - last[0] < _TOGETHER:
            last[2].append(text)
        else:
            self._pieces.append((now, source, [text]))
            self.size += _COST
        self.size += len(text)

    def take(self) -> list[Piece]:
        pieces, self._pieces, self.size = self._pieces, [], 0
        return [Piece(now, source, "".join(texts)) for now, source, texts in pieces]

    def shorten(self, most: int) -> int:
        """Keep the last ones only, and return how many characters are dropped."""
        dropped, kept = 0, []
        for piece in reversed(self.take()):
            text = piece.text[-most:] if most > 0 else ""
            most -= len(text) + _COST
            dropped += len(piece.text) - len(text)
            kept.append(piece._replace(text=text))
        for piece in filter(lambda piece: piece.text, reversed(kept)):
            self.add(*piece)
        return dropped


class Recording:
    """What one step call has put out: its beginning as it comes, and the end of a long one."""

    def __init__(self) -> None:
        self._lines: dict[str, Unfinished] = {}
        self._first = _Pieces()
        self._room = FIRST
        self._last = _Pieces()
        self._omitted = 0
        self._states = 0.0

    def write(self, stream: str, text: str) -> None:
        """Add text of a stream."""
        if len(text) > FIRST + LAST:
            self._omitted += len(text) - FIRST - LAST
            self.write(stream, text[:FIRST] + "\n")
            text = text[-LAST:]
        if stream not in self._lines:
            self._lines[stream] = Unfinished()
        if lines := self._lines[stream].add(text):
            self.add((stream, None, None), lines)

    def add(self, source: Source, text: str) -> None:
        """Add whole lines, or a record."""
        now, text = time.time(), scrub(text)
        first, rest = text[: self._room], text[self._room :]
        if first or not text:
            before = self._first.size
            self._first.add(now, source, first + "\n" * bool(rest and not source[1]))
            self._room = max(0, self._room - self._first.size + before)
        if rest:
            self._last.add(now, source, rest)
            if self._last.size > 2 * LAST:
                self._omitted += self._last.shorten(LAST)

    def end(self) -> None:
        """Add what has no line end, and the last part of a long output."""
        for stream, line in self._lines.items():
            shown = line.shown
            if (text := line.end()) or shown:
                self.add((stream, None, None), text)
        self._omitted += self._last.shorten(LAST)
        last = self._last.take()
        if self._omitted:
            now = last[0].time if last else time.time()
            self._first.add(now, OMITTED, f"[{self._omitted:,} characters left out]")
            self._omitted = 0
        for piece in last:
            self._first.add(*piece)

    def take(self) -> list[Piece]:
        """What is new and whole; of a line that is written over its state, now and then."""
        if self._room and time.monotonic() - self._states > _STATES:
            self._states = time.monotonic()
            for stream, line in self._lines.items():
                if state := line.state():
                    self.add((stream, None, None), state)
        return self._first.take()
