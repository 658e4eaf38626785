"""Rows of the table, and how their figures are taken: in pairs, in turns, in fresh processes."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"

Pairs = dict[str, list[float]]
"""Seconds of each function by name; values at the same place were measured together."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    subject, figure, reference : str
        What was measured, what it took, and what stands beside it.
    values : sequence of float
        Repetitions: ratios of pairs, unless ``unit`` says otherwise; none where ``figure`` says
        why nothing was measured.
    aim : float or None
        The median should be at most this; None where nothing was aimed at.
    unit : str
        ``x`` for a ratio.
    note : str
        What a reader has to know.
    """

    subject: str
    figure: str
    reference: str
    values: Sequence[float]
    aim: float | None = None
    unit: str = "x"
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """Quartiles, or the ends where there are few values."""
        if len(self.values) < 8:
            return min(self.values), max(self.values)
        first, _, third = statistics.quantiles(self.values, n=4)
        return first, third

    @property
    def met(self) -> str:
        if self.aim is None or not self.values:
            return ""
        return "met" if self.median <= self.aim else "MISSED"


def ratios(pairs: Pairs, ours: str, reference: str) -> list[float]:
    """The ratio of each pair."""
    return [a / b for a, b in zip(pairs[ours], pairs[reference], strict=True)]


def in_turns(functions: Mapping[str, Callable[[], Any]], times: int) -> Pairs:
    """Seconds of each function, called in turns, the first of them another one each time."""
    names = list(functions)
    seconds: Pairs = {name: [] for name in names}
    for turn in range(times):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(timed(functions[name]))
    return seconds


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def joined(repetitions: Sequence[Pairs]) -> Pairs:
    """The pairs of several repetitions one after the other."""
    return {name: [s for pairs in repetitions for s in pairs[name]] for name in repetitions[0]}


def duration(seconds: float) -> str:
    """A duration with a unit that suits it.

    >>> duration(0.00052), duration(1.5)
    ('0.52 ms', '1.5 s')
    """
    for limit, factor, unit in ((1e-4, 1e6, "us"), (1, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def took(pairs: Pairs, name: str) -> str:
    return duration(statistics.median(pairs[name]))


def compared(
    subject: str, pairs: Pairs, ours: str, reference: str, aim: float | None, note: str = ""
) -> Row:
    """The row of a ratio of pairs."""
    beside = f"{reference}: {took(pairs, reference)}"
    return Row(subject, took(pairs, ours), beside, ratios(pairs, ours, reference), aim, note=note)


# -- fresh processes ------------------------------------------------------------------------


def surroundings() -> dict[str, str]:
    """Variables of a fresh process: no option of ours is set, compiled files are kept."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DASKPERIMENT_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "PYTHONPATH": str(ROOT)}


_CALL = (
    "import importlib, json, sys; module, name, arguments = json.loads(sys.argv[1]); "
    "answer = getattr(importlib.import_module(module), name)(*arguments); "
    "print('\\n' + json.dumps(answer))"
)


def begun(
    function: Callable[..., Any], *arguments: Any, folder: str, python: str = sys.executable
) -> subprocess.Popen[str]:
    """A fresh process that calls a function; see :func:`ended`."""
    call = json.dumps([function.__module__, function.__name__, arguments])
    command = [python, "-c", _CALL, call]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=surroundings(), text=True, **pipes)


def ended(process: subprocess.Popen[str], limit: float = 300) -> Any:
    """What the function returned; RuntimeError with its messages where it failed."""
    try:
        out, messages = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise RuntimeError(f"a process of the benchmark failed:\n{messages}")
    return json.loads(out.splitlines()[-1])


def fresh(
    function: Callable[..., Any], *arguments: Any, folder: str, python: str = sys.executable
) -> Any:
    """Call a function in a fresh process; arguments and answer are JSON."""
    return ended(begun(function, *arguments, folder=folder, python=python))


@contextmanager
def workplace() -> Iterator[str]:
    """A new folder on the disk of this repository, removed at the end."""
    BUILD.mkdir(exist_ok=True)
    folder = tempfile.mkdtemp(prefix="bench-", dir=BUILD)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def resident() -> int:
    """Bytes of memory that this process holds, without the peak that it inherited."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def disk(folder: str | Path) -> tuple[int, int]:
    """Bytes and number of the files in a folder."""
    sizes = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)
