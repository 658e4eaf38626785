"""What the fingerprint of code costs, beside parsing the same text."""

from __future__ import annotations

import ast
import gc
import importlib
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import Pairs, Row, compared, duration, fresh, joined, timed
from benchmarks.records import RecordError
from daskperiment.fingerprint.code import Closure, fingerprint

FUNCTIONS = 200
_TURNS = 10
_LONG_AGO = 1_700_000_000
_WARM = 20
_PARSE, _COLD, _AGAIN = "ast.parse", "cold", "warm"
_HEAD = """import collections
import math

import numpy as np

"""
_FUNCTION = '''
def work_{i}(rows, scale={i}, *, names=("a", "b")):
    """Work of kind {i}, as a module has it."""
    total = LIMIT_{limit} - scale
    for index, row in enumerate(rows):
        # Every so manyth one that is large enough.
        if row > total and index % {every} == 0:
            total += work_{one}(rows[index + 1 :], scale=scale - 1)
        elif isinstance(row, str):
            total -= len(row.strip().lower()) * scale
    counted = collections.Counter(item ** 2 for item in rows if item not in names)
    try:
        return math.sqrt(total) + np.mean([counted[name] for name in names]) + work_{other}([])
    except ValueError as error:
        raise RuntimeError(f"no root of {{total}} in work {i}") from error
'''


def text(functions: int = FUNCTIONS) -> str:
    """A module in which the first function reaches all others, and twenty constants."""
    limits = "".join(f"LIMIT_{i} = {i * 10}\n" for i in range(20))
    bodies = (
        _FUNCTION.format(
            i=i, limit=i % 20, every=i % 7 + 2, one=(i + 1) % functions, other=i * 2 % functions
        )
        for i in range(functions)
    )
    return _HEAD + limits + "\n".join(bodies)


def seconds(folder: str, turns: int, functions: int = FUNCTIONS) -> Pairs:
    """Seconds of parsing, of a fingerprint of a module not seen before, and of it once more."""
    source = text(functions)
    sys.path.insert(0, folder)
    found: Pairs = {_PARSE: [], _COLD: [], _AGAIN: []}
    for turn in range(turns + 1):
        function = _imported(folder, f"module_{turn}", source)
        calls: dict[str, Any] = {
            _PARSE: lambda: ast.parse(source),
            _COLD: lambda function=function: fingerprint(function),
        }
        order = list(calls) if turn % 2 else list(calls)[::-1]
        took = {name: _timed_alone(calls[name]) for name in order}
        check(fingerprint(function), functions)
        took[_AGAIN] = statistics.median(timed(calls[_COLD]) for _ in range(_WARM))
        for name in found if turn else ():  # the first imports what it needs
            found[name].append(took[name])
    return found


def _timed_alone(function: Callable[[], object]) -> float:
    """Seconds of a call that need not look for garbage of the call before it."""
    gc.collect()
    return timed(function)


def _imported(folder: str, name: str, source: str) -> Any:
    file = Path(folder, f"{name}.py")
    file.write_text(source)
    os.utime(file, (_LONG_AGO, _LONG_AGO))  # as modules are written before they are run
    importlib.invalidate_caches()
    return importlib.import_module(name).work_0


def check(closure: Closure, functions: int) -> None:
    """Check that all of the module was followed.

    Raises
    ------
    RecordError
        It was not, and figures of less work are none.
    """
    if len(closure.functions) != functions or closure.bytecode or closure.unhashed:
        raise RecordError("the closure does not hold all functions of the module")


def measure(folder: str) -> list[Row]:
    places = [Path(folder, str(n)) for n in range(3)]
    for place in places:
        place.mkdir()
    pairs = joined([fresh(seconds, str(place), _TURNS, folder=folder) for place in places])
    lines = text().count("\n")
    subject = f"fingerprint of a step that reaches {FUNCTIONS} functions in {lines:,} lines"
    warm = [value * 1e3 for value in pairs[_AGAIN]]
    return [
        compared(f"{subject}, cold", pairs, _COLD, _PARSE, 2, note="the module is imported before"),
        Row(f"{subject}, warm", duration(statistics.median(pairs[_AGAIN])), "", warm, 1, "ms"),
    ]


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    seconds(folder, 3)
