"""Reproduce: run the recorded code of a trial again, and compare every step with its record."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from daskperiment.backends.local import LocalBackend
from daskperiment.errors import (
    AlteredRecordError,
    BackendError,
    PayloadError,
    PayloadNotFoundError,
    RebuildError,
    UntrustedPayloadError,
    ValueNotKeptError,
)
from daskperiment.history import signatures
from daskperiment.history.comparison import Change, comparable, environment_changes
from daskperiment.history.copying import copy_trials
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.lineage.request import ANSWER, REQUEST, STORE, Request
from daskperiment.lineage.why import label
from daskperiment.records import StepRecord, TrialState
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd

Place: TypeAlias = tuple[str, int]
Match: TypeAlias = Literal["bitwise", "tolerance", "different", "error"]
COLUMNS = (
    "step", "call", "recorded", "now", "match", "max_abs_err", "seconds_then", "seconds_now",
)  # fmt: skip
_FATAL: tuple[Match, ...] = ("error", "different")
_ABOUT = ("place", "repeat", "repeats")


class Step(NamedTuple):
    """A step call, then and now.

    Parameters
    ----------
    step, call : str, int
        The call.
    recorded, now : str or None
        Digests of its outputs; None where there is none.
    match : str
        ``bitwise``, ``tolerance``, ``different``, ``unhashed`` where nothing can be compared, or
        ``missing`` where only one of both has it.
    max_abs_err : float or None
        Largest absolute difference of numbers, where both outputs are kept.
    seconds_then, seconds_now : float or None
        How long it took.
    """

    step: str
    call: int
    recorded: str | None
    now: str | None
    match: str
    max_abs_err: float | None
    seconds_then: float | None
    seconds_now: float | None


@dataclass(frozen=True, repr=False)
class Reproduction:
    """What came of running a trial again.

    Attributes
    ----------
    of : int
        Number of the recorded trial.
    number : int or None
        Number of the new one, which is linked by ``reproduces``; None after an error.
    match : str
        ``bitwise``: every output is the same to the last bit; ``tolerance``: within what the steps
        allow; ``different``; or ``error``: it could not be run again.
    calls : tuple of Step
        Each step call.
    differences : tuple of Change
        Packages and settings that are not as they were.
    reason : str or None
        Why it could not be run, or what in it has failed.
    """

    of: int
    number: int | None
    match: Match
    calls: tuple[Step, ...] = ()
    differences: tuple[Change, ...] = ()
    reason: str | None = None

    def __bool__(self) -> bool:
        return self.match in ("bitwise", "tolerance")

    @property
    def steps(self) -> pd.DataFrame:
        """One row for each step call, with the fields of :class:`Step`."""
        import pandas as pd

        return pd.DataFrame(self.calls, columns=list(COLUMNS))

    def document(self) -> Document:
        """The same as JSON of a stable shape."""
        return {
            "of": self.of, "trial": self.number, "match": self.match,
            "steps": [call._asdict() for call in self.calls],
            "differences": [str(change) for change in self.differences],
            "reason": self.reason,
        }  # fmt: skip

    def __str__(self) -> str:
        names = [call.step for call in self.calls]
        lines = [f"trial {self.of}: {_VERDICTS[self.match]}"]
        if self.number is not None:
            lines[0] += f", as trial {self.number}"
        if self.reason is not None:
            lines.append(self.reason)
        for call in self.calls:
            error = "" if call.max_abs_err is None else f", by {call.max_abs_err:.3g} at most"
            lines.append(f"  {label((call.step, call.call), names)}: {call.match}{error}")
        lines += (f"not as it was: {change}" for change in self.differences)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Reproduction of trial {self.of}: {self.match}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


_VERDICTS = {
    "bitwise": "the same to the last bit",
    "tolerance": "the same within tolerance",
    "different": "different",
    "error": "it could not be run again",
}


def reproduce(
    trials: Trials, number: int, parameters: Mapping[str, Any] | None = None
) -> Reproduction:
    """Run a trial again from its record, in a process and a folder of its own.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    number : int
        The trial.
    parameters : mapping, optional
        Values of parameters that were not kept, such as secrets.
    """
    row = trials.get(number)
    try:
        request = _request(trials, row, dict(parameters or {}))
    except (PayloadNotFoundError, UntrustedPayloadError) as error:
        return Reproduction(number, None, "error", reason=str(error))
    except (AlteredRecordError, PayloadError) as error:
        return Reproduction(number, None, "different", reason=str(error))
    except (RebuildError, BackendError, ValueNotKeptError) as error:
        return Reproduction(number, None, "error", reason=str(error))
    with tempfile.TemporaryDirectory(prefix="daskperiment-") as folder:
        place = Path(folder)
        (place / REQUEST).write_bytes(pickle.dumps(request))
        answer = _run(place, _variables(trials, row))
        for match in _FATAL:
            if match in answer:
                return Reproduction(number, None, match, reason=answer[match])
        with _opened(place / STORE) as again:
            return _compared(trials, number, row, Trials(again, trials.name), answer)


def _request(trials: Trials, row: Document, given: dict[str, Any]) -> Request:
    if not TrialState(row["state"]).ended:
        raise RebuildError("It is still running")
    snapshots = Snapshots(trials.backend)
    place = trials.place(row["uid"])
    if row.get("graph") is None:
        raise RebuildError(
            "Its graph was not kept: it holds what cannot be pickled, or it was not computed by "
            "s.compute(), ex.map() or ex.run()"
        )
    signatures.check(place, row)
    code = snapshots.get(row["code"])
    if not code["with_text"]:
        raise RebuildError("Its sources were not kept: DASKPERIMENT_CODE was off")
    parameters = {}
    for name, kept in row["parameters"]:
        parameters[name] = given[name] if name in given else place.load(("parameters", name), kept)
    records = Steps(trials.backend, trials.name).read(row["uid"])
    return Request(
        trials.name, row["uid"], row["seed"], parameters,
        {name: row[name] for name in _ABOUT if name in row},
        code, {name: snapshots.text(text) for name, text in code["sources"].items()},
        snapshots.content(row["graph"]), records[0].threads if records else {},
    )  # fmt: skip


def _variables(trials: Trials, row: Document) -> dict[str, str]:
    """The recorded variables that change results."""
    found = Snapshots(trials.backend).find(row.get("environment")) or {}
    recorded = found.get("variables")
    return dict(recorded) if isinstance(recorded, dict) else {}


def _run(folder: Path, variables: Mapping[str, str]) -> Document:
    from daskperiment.tracking.environment import VARIABLES

    here = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-m", "daskperiment.rerun", str(folder)],
        cwd=folder, env={**here, **variables}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    try:
        answer: Document = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
    except OSError:
        last = done.stderr.strip().rpartition("\n")[2]
        return {"error": f"Its process ended with status {done.returncode}: {last}"}
    return answer


@contextmanager
def _opened(path: Path) -> Iterator[LocalBackend]:
    with LocalBackend(str(path)) as backend:
        yield backend


def _compared(
    trials: Trials, number: int, row: Document, again: Trials, answer: Document
) -> Reproduction:
    new = again.get(1)
    before, now = (
        {record.place: record for record in Steps(each.backend, each.name).read(uid)}
        for each, uid in ((trials, row["uid"]), (again, new["uid"]))
    )
    calls = tuple(
        _step(place, before.get(place), now.get(place)) for place in dict.fromkeys((*before, *now))
    )
    odd = next(_odd(row, before, new, now), None)
    moved = copy_trials(again.backend, trials.backend, trials.name, [1]).copied
    return Reproduction(
        number, moved[0].target if moved else None, "different" if odd else _verdict(calls), calls,
        tuple(_differences(trials, row, again, new)), odd or answer.get("failed"),
    )  # fmt: skip


def _step(place: tuple[str, int], then: StepRecord | None, now: StepRecord | None) -> Step:
    old, new = (None if record is None else record.output for record in (then, now))
    seconds = [None if record is None else record.seconds for record in (then, now)]
    if then is None or now is None or (then.outcome == "failed") != (now.outcome == "failed"):
        match = "missing"
    elif not comparable(old, new):
        match = "bitwise" if then.outcome == now.outcome == "failed" else "unhashed"
    else:
        match = "bitwise" if old == new else "different"
    return Step(*place, old, new, match, None, *seconds)


def _odd(
    row: Document,
    before: Mapping[Place, StepRecord],
    new: Document,
    now: Mapping[Place, StepRecord],
) -> Iterator[str]:
    """What else is recorded that is not so."""
    for place, then in before.items():
        record = now.get(place)
        if record is None or then.output != record.output:
            continue
        if then.fingerprint != record.fingerprint:
            yield f"The record of step {place[0]!r} names other code than that which is stored"
        inputs = [[(each.name, each.digest) for each in of.inputs] for of in (then, record)]
        if inputs[0] != inputs[1]:
            yield f"The record of step {place[0]!r} names other inputs than those that it got"
    kept = [_content(of.get("result")) for of in (row, new)]
    if kept[0] != kept[1] and all(each and "reason" not in each for each in kept):
        yield "The stored result is not what came out"


def _content(kept: Document | None) -> Document | None:
    """What is stored, without what differs by the place where it is stored."""
    return kept and {name: kept.get(name) for name in ("json", "codec", "digest", "reason")
                     if kept.get(name) is not None}  # fmt: skip


def _verdict(calls: tuple[Step, ...]) -> Match:
    found = {call.match for call in calls}
    if found <= {"bitwise"}:
        return "bitwise"
    return "tolerance" if found <= {"bitwise", "tolerance"} else "different"


def _differences(trials: Trials, row: Document, again: Trials, new: Document) -> Iterator[Change]:
    one = Snapshots(trials.backend).find(row.get("environment"))
    other = Snapshots(again.backend).find(new.get("environment"))
    if one is not None and other is not None:
        for category, changes in environment_changes(one, other).items():
            for change in changes:
                prefix = "" if category == "packages" else f"{category}."
                yield change._replace(name=f"{prefix}{change.name}".rstrip("."))
