"""Inputs that no argument tells of: what the steps of a trial have touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from daskperiment.records import StepRecord
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd


_VERBS = {
    "file": "reads the file",
    "environment": "reads the environment variable",
    "socket": "talks to",
    "process": "runs",
}


class Input(NamedTuple):
    """Something that a step call has touched beside its arguments.

    Parameters
    ----------
    step, call : str, int
        The call.
    kind : str
        ``file``, ``environment``, ``socket`` or ``process``.
    name : str
        Path, name of the variable, address, or program with its arguments.
    digest : str or None
        Digest of the content or the value; None where there is none.
    """

    step: str
    call: int
    kind: str
    name: str
    digest: str | None

    @property
    def did(self) -> str:
        """What the step does with it, as the end of a sentence."""
        return f"{_VERBS[self.kind]} {self.name}"


def inputs_of(record: StepRecord) -> Iterator[Input]:
    """What a call has touched, as far as that was looked at."""
    touched = record.touched or {}
    for kind, found in (("file", files(record)), ("environment", touched.get("environment"))):
        for name, digest in (found or {}).items():
            yield Input(*record.place, kind, name, digest)
    for kind in ("socket", "process"):
        for name in touched.get(kind, ()):
            yield Input(*record.place, kind, name, None)


def files(record: StepRecord) -> Document | None:
    """Digest of each file that a call has read without being given it; None where none was."""
    if record.files is None:
        return None
    given = set((record.touched or {}).get("given", ()))
    return {name: digest for name, digest in record.files.items() if name not in given}


def variables(record: StepRecord) -> Document | None:
    """Digest of each environment variable that a call has read; None where none was looked at."""
    return None if record.touched is None else dict(record.touched.get("environment", {}))


def outside(*records: StepRecord) -> str:
    """What calls do with others, as a clause: ``it talks to host:80, it runs git``."""
    found = (each for record in records for each in inputs_of(record))
    return ", ".join(
        dict.fromkeys(f"it {each.did}" for each in found if each.kind in ("socket", "process"))
    )


def all_inputs(records: Iterable[StepRecord]) -> list[Input]:
    """What the calls of a trial have touched; of one that ran again, in its last attempt."""
    last = {record.place: record for record in records}
    return [each for record in last.values() for each in inputs_of(record)]


def frame(records: Iterable[StepRecord]) -> pd.DataFrame:
    """All of that as a table, one row for each."""
    import pandas as pd

    rows = all_inputs(records)
    table = pd.DataFrame(rows, columns=list(Input._fields))
    table["digest"] = pd.Series([each.digest for each in rows], dtype=object)  # else None is NaN
    return table
