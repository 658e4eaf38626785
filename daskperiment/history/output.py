"""Output: what the steps of a trial have printed and logged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from daskperiment.backends.base import Append, Backend
from daskperiment.history import paths
from daskperiment.typing import JSON

_MOST_LINES = 1000
"""Lines that a notebook shows."""
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

Source: TypeAlias = tuple[str, str | None, str | None]
"""Stream, logger and level."""
Piece: TypeAlias = tuple[float, Source, str]
"""Unix time, source and text; what its end means is told in the notes of :class:`Outputs`."""


class Line(NamedTuple):
    """One line of a step's output, or one record that it has logged.

    Attributes
    ----------
    time : float
        Unix time when it was written; lines within 10 ms may have the same.
    step : str
        The step.
    call : int
        Which call of the step in graph order, from 0.
    stream : str
        ``stdout``, ``stderr``, ``logging``, or ``omitted`` for the line that tells how much
        of a long output was left out.
    text : str
        The line without its end; of a record the message, with a traceback if it has one.
    logger, level : str or None
        Of a record the name of the logger and of the level, ``train`` and ``WARNING``.
    """

    time: float
    step: str
    call: int
    stream: str
    text: str
    logger: str | None = None
    level: str | None = None

    def __str__(self) -> str:
        return self.text if self.logger is None else f"{self.level} {self.logger}: {self.text}"


class Output:
    """The output of a trial, or a part of it: lines in the order of their time.

    ``str`` and ``print`` give it as text, iterating gives each :class:`Line`, it is false
    when nothing was printed.  It does not change when more is printed; ask the trial again.

    Parameters
    ----------
    lines : iterable of Line
        The lines, in the order of their time.

    Attributes
    ----------
    lines : list of Line
        The lines.

    Examples
    --------
    >>> import daskperiment
    >>> ex = daskperiment.Experiment("doc_output", backend="memory://")
    >>> @ex.result
    ... def train(a):
    ...     print("a is", a)
    ...     return a
    >>> train(ex.parameter("a", default=4)).compute()
    a is 4
    4
    >>> ex[1].output
    <1 line of output>
    >>> str(ex[1].output)
    'a is 4'
    >>> [(line.step, line.stream, line.text) for line in ex[1].output]
    [('train', 'stdout', 'a is 4')]
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = list(lines)

    def text(
        self, step: str | None = None, call: int | None = None, stream: str | None = None
    ) -> str:
        """The output as text; empty when nothing fits.

        Parameters
        ----------
        step : str, optional
            Only of this step.
        call : int, optional
            Only of this call in graph order.
        stream : str, optional
            Only ``stdout``, ``stderr`` or ``logging``.
        """
        wanted = (step, call, stream)
        return "\n".join(
            str(line)
            for line in self.lines
            if all(
                want in (None, has)
                for want, has in zip(wanted, (line.step, line.call, line.stream), strict=True)
            )
        )

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<{len(self)} line{'' if len(self) == 1 else 's'} of output>"

    def _repr_html_(self) -> str:
        more = max(0, len(self) - _MOST_LINES)
        shown = [f"[{more:,} earlier lines]"] if more else []
        shown += map(str, self.lines[more:])
        return f"<pre>{escape(_COLOUR.sub('', chr(10).join(shown)))}</pre>"

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)


class Outputs:
    r"""Output of one experiment's trials.

    Notes
    -----
    The log has an entry for each call and each time that its process has written:
    ``{"step", "call", "pieces": [[time, stream, text], ...]}``, a piece of a log with the
    logger and the level behind the text.  A text ends with ``\n`` after its last line, with
    ``\r`` when the next piece of the same source stands in its place, else the next one
    goes on with the line.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name

    def writing(self, uid: str, taken: Iterable[tuple[tuple[str, int], list[Piece]]]) -> Append:
        """The write that adds what calls have put out: step and call, and pieces."""
        entries = [
            {"step": step, "call": call, "pieces": [_packed(*piece) for piece in pieces]}
            for (step, call), pieces in taken
        ]
        return Append(paths.output(self.name, uid), entries)

    def read(self, uid: str) -> Output:
        """Output of a trial up to now."""
        return output_of(self.backend.read(paths.output(self.name, uid)))


def output_of(entries: Iterable[JSON]) -> Output:
    """The output that the entries of a trial's log hold."""
    texts: dict[_Stream, list[tuple[_Moment, str]]] = {}
    for position, (place, (time, stream, text, *record)) in enumerate(_pieces(entries)):
        source = (*place, stream, *(record or (None, None)))
        texts.setdefault(source, []).append(((time, position), text))
    return Output(line for _, line in sorted(_all_lines(texts), key=itemgetter(0)))


def _pieces(entries: Iterable[JSON]) -> Iterator[tuple[tuple[str, int], list[Any]]]:
    for entry in entries:
        for piece in entry["pieces"]:
            yield (entry["step"], entry["call"]), piece


_Stream: TypeAlias = tuple[str, int, str, str | None, str | None]
_Moment: TypeAlias = tuple[float, int]


def _packed(time: float, source: Source, text: str) -> list[Any]:
    stream, *record = source
    return [time, stream, text] if source[1] is None else [time, stream, text, *record]


def _all_lines(
    texts: Mapping[_Stream, list[tuple[_Moment, str]]],
) -> Iterator[tuple[_Moment, Line]]:
    for (step, call, stream, logger, level), pieces in texts.items():
        for moment, text in _lines(pieces) if logger is None else pieces:
            yield moment, Line(moment[0], step, call, stream, text, logger, level)


def _lines(pieces: Iterable[tuple[_Moment, str]]) -> Iterator[tuple[_Moment, str]]:
    """The lines of one stream of a call, each at the moment of its first piece."""
    begun, moment = "", (0.0, 0)
    for now, text in pieces:
        if not begun or begun.endswith("\r"):
            begun, moment = "", now
        *whole, begun = (begun + text).split("\n")
        for line in whole:
            yield moment, line
            moment = now
    if begun:
        yield moment, begun.removesuffix("\r")
