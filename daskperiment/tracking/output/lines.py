"""Lines: what the writes to a stream look like once they are on a screen."""

from __future__ import annotations

LONGEST = 65_536
"""Characters of a line that may wait for its end."""


def fold(line: str) -> str:
    r"""What a line shows in the end: each carriage return in it starts the line anew.

    Examples
    --------
    >>> fold("\r 10%\r 20%  "), fold("text\r")
    (' 20%', 'text')
    """
    _, anew, text = line.rstrip("\r").rpartition("\r")
    return text.rstrip(" ") if anew else text


class Unfinished:
    """The line of a stream that has not ended yet.

    Attributes
    ----------
    shown : bool
        Whether a state of it was taken already.
    """

    def __init__(self) -> None:
        self.shown = False
        self._parts: list[str] = []
        self._length = 0

    def add(self, text: str) -> str:
        """Take in what is written, and return the lines that it ends, each with its end."""
        ended, newline, rest = text.rpartition("\n")
        if not newline:
            return self._hold(rest)
        lines = "".join((*self._parts, ended))
        if "\r" in lines:
            lines = "\n".join(map(fold, lines.split("\n")))
        self._clear()
        return f"{lines}\n{self._hold(rest)}"

    def _hold(self, text: str) -> str:
        self._parts.append(text)
        self._length += len(text)
        if self._length > LONGEST:
            self._shorten()
        return self.end() if self._length > LONGEST else ""

    def _shorten(self) -> None:
        line = "".join(self._parts)
        self._parts = [_state(line), line.rpartition("\r")[2]]
        self._length = sum(map(len, self._parts))

    def state(self) -> str:
        r"""The last finished state of a line that is written over, with ``\r``; else empty."""
        state = _state("".join(self._parts))
        self.shown = self.shown or bool(state)
        return state

    def end(self) -> str:
        """Return the line as it is, and begin the next one."""
        line = fold("".join(self._parts))
        self._clear()
        return line

    def _clear(self) -> None:
        self._parts, self._length, self.shown = [], 0, False


def _state(line: str) -> str:
    states = line.rpartition("\r")[0]
    return fold(states) + "\r" if states.strip("\r ") else ""
