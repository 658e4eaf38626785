"""Importers: what other tools have left of past runs becomes ended trials.

A reader turns files into :class:`~daskperiment.importers.past.Past` runs and knows no backend;
:func:`~daskperiment.importers.recording.record` makes trials of them, once each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from daskperiment.importers.exp import read_exp
from daskperiment.importers.labs import read_labs
from daskperiment.importers.legacy import read_legacy
from daskperiment.importers.past import LeftOut, Past, Reading
from daskperiment.importers.recording import Imported, record
from daskperiment.importers.smallab import read_smallab
from daskperiment.importers.study import read_study

__all__ = [
    "READERS",
    "Imported",
    "LeftOut",
    "Past",
    "Reading",
    "read_exp",
    "read_labs",
    "read_legacy",
    "read_smallab",
    "read_study",
    "record",
]

READERS: Mapping[str, Callable[[Path], Reading]] = {
    "exp": read_exp,
    "smallab": read_smallab,
    "labs": read_labs,
}
"""Readers of other tools by the kind of their files."""
