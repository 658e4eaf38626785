"""Step records of a trial."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from daskperiment.backends.base import Append, Backend
from daskperiment.errors import StepNotFoundError
from daskperiment.history import paths
from daskperiment.history.places import Place, Slot
from daskperiment.records import Number, StepRecord

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "step", "call", "attempt", "outcome", "seconds", "seed", "drew", "fingerprint", "inputs",
    "output", "parameters", "upstream", "threads", "environment", "host", "pid", "started",
    "entropy", "reused_from", "saved", "why", "mutated", "resumed_from", "unhashed",
)  # fmt: skip


class Steps:
    """Step records of one experiment's trials."""

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name

    def writing(self, uid: str, records: Sequence[StepRecord]) -> Append:
        """The write that adds records to a trial."""
        return Append(paths.steps(self.name, uid), [record.document() for record in records])

    def read(self, uid: str) -> list[StepRecord]:
        """Records of a trial in the order in which the calls ended."""
        entries = self.backend.read(paths.steps(self.name, uid))
        return [StepRecord.from_document(uid, entry) for entry in entries]

    def persisted(self, place: Place, step: str, call: int | None) -> Any:
        """Kept output of a step: of the given call, else of the last one in graph order.

        Raises
        ------
        StepNotFoundError
            The trial has no kept output of this step or call.
        UntrustedPayloadError
            It is a pickle without a valid signature, in a store that others may write to.
        """
        records = self.read(place.uid)
        if step not in (names := {record.step for record in records}):
            known = ", ".join(sorted(names)) or "none"
            raise StepNotFoundError(f"No step {step!r} ran in this trial; those that ran: {known}")
        kept = {r.call: r.kept for r in records if r.step == step and r.kept is not None}
        if not kept:
            raise StepNotFoundError(
                f"Step {step!r} has no kept output in this trial: it failed, or was not decorated "
                "with @ex.persist, which keeps outputs"
            )
        if call is not None and (isinstance(call, bool) or call not in kept):
            raise StepNotFoundError(
                f"Step {step!r} has no kept output of call {call!r} in this trial; kept calls: "
                f"{', '.join(map(str, sorted(kept)))}"
            )
        chosen = max(kept) if call is None else call
        document = kept[chosen]
        assert document is not None
        return place.load(output_slot(step, chosen), document)


def output_slot(step: str, call: int) -> Slot:
    """Where the output of a persisted step is; of a repeated call that of the last attempt."""
    return "output", step, str(call)


def with_numbers(
    records: Iterable[StepRecord], number_of: Callable[[str], Number | None]
) -> list[StepRecord]:
    """Records that name other trials by their numbers, as text, as long as these are there."""

    @functools.cache
    def number(uid: str) -> str:
        found = number_of(uid)
        return uid if found is None else str(found)

    def named(uid: str | None) -> str | None:  # in a shared store others may have written anything
        return number(uid) if isinstance(uid, str) else None

    return [
        record._replace(
            reused_from=named(record.reused_from), resumed_from=named(record.resumed_from)
        )
        for record in records
    ]


def frame(records: Iterable[StepRecord]) -> pd.DataFrame:
    """Step records as a table, one row a call, in the order in which the calls ended.

    ``inputs`` is a dict of digests by argument name, ``parameters`` and ``upstream`` list
    what the inputs were made from (``clean[0]`` is call 0 of step ``clean``), ``attempt``
    counts repetitions of one call, ``started`` is in UTC, ``seconds`` in seconds; ``saved`` are the
    seconds that a reused call took where its output comes from, ``why`` says why one that might be
    reused has run, and ``mutated`` lists arguments that were changed in place.
    """
    import pandas as pd

    attempts: Counter[tuple[str, int]] = Counter()
    rows = []
    for record in records:
        rows.append(_row(record, attempts[record.place]))
        attempts[record.place] += 1
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("reused_from", "resumed_from"):
        others = [_number(row[column]) for row in rows]
        table[column] = pd.Series(others, dtype=object)  # else a number beside None is a float
    table["started"] = pd.to_datetime(table["started"], unit="s", utc=True)
    return table


def _number(text: str | None) -> int | str | None:
    return int(text) if text is not None and len(text) < 20 and text.isdecimal() else text


def _row(record: StepRecord, attempt: int) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(record, name, None) for name in COLUMNS}
    origins = dict.fromkeys(o for argument in record.inputs for o in argument.origins)
    row["attempt"] = attempt
    row["inputs"] = {argument.name: argument.digest for argument in record.inputs}
    row["parameters"] = [name for kind, name, _ in origins if kind == "parameter"]
    row["upstream"] = [f"{name}[{call}]" for kind, name, call in origins if kind == "step"]
    return row
