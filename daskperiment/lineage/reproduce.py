"""Reproduce: run the recorded code of a trial again, and compare every step with its record."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from daskperiment.backends.local import LocalBackend
from daskperiment.errors import (
    AlteredRecordError,
    BackendError,
    OptionError,
    PayloadError,
    PayloadNotFoundError,
    RebuildError,
    UntrustedPayloadError,
    ValueNotKeptError,
)
from daskperiment.fingerprint.values import digest
from daskperiment.graph.recipe import read
from daskperiment.history.comparison import Change, comparable, environment_changes
from daskperiment.history.copying import copy_trials
from daskperiment.history.places import Place
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps, output_slot
from daskperiment.history.trials import Trials
from daskperiment.lineage.checkout import checked_out
from daskperiment.lineage.request import STORE, Request, ask, request_of
from daskperiment.lineage.tolerance import distance, is_near
from daskperiment.lineage.venv import venv
from daskperiment.lineage.why import label
from daskperiment.records import StepRecord
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd

Records: TypeAlias = Mapping[tuple[str, int], StepRecord]
Match: TypeAlias = Literal["bitwise", "tolerance", "different", "error"]
COLUMNS = (
    "step", "call", "recorded", "now", "match", "max_abs_err", "seconds_then", "seconds_now",
)  # fmt: skip
_FATAL: tuple[Match, ...] = ("error", "different")


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
    trials: Trials, number: int, parameters: Mapping[str, Any] | None = None, *,
    env: str | None = None, code: str | None = None,
) -> Reproduction:  # fmt: skip
    """Run a trial again from its record, in a process and a folder of its own.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    number : int
        The trial.
    parameters : mapping, optional
        Values of parameters that were not kept, such as secrets.
    env : {"uv"}, optional
        ``"uv"`` runs it with the recorded Python and packages.
    code : {"git"}, optional
        ``"git"`` runs it among the files of the recorded commit and its changes.

    Raises
    ------
    OptionError
        ``env`` or ``code`` is something else, or there is no uv.
    """
    for name, given, only in (("env", env, "uv"), ("code", code, "git")):
        if given not in (None, only):
            raise OptionError(f'{name} must be "{only}" or None, not {preview(given, 80)}')
    row = trials.get(number)
    with tempfile.TemporaryDirectory(prefix="daskperiment-") as folder:
        place = Path(folder)
        try:
            request = request_of(trials, row, parameters or {})
            if code is not None:
                request = checked_out(request, place / "checkout", trials, row)
            answer = ask(place, request) if env is None else _in_venv(place, trials, row, request)
        except (PayloadNotFoundError, UntrustedPayloadError) as error:
            return Reproduction(number, None, "error", reason=str(error))
        except (AlteredRecordError, PayloadError) as error:
            return Reproduction(number, None, "different", reason=str(error))
        except (RebuildError, BackendError, ValueNotKeptError) as error:
            return Reproduction(number, None, "error", reason=str(error))
        for match in _FATAL:
            if match in answer:
                return Reproduction(number, None, match, reason=answer[match])
        with LocalBackend(str(place / STORE)) as again:
            return _compared(trials, number, row, Trials(again, trials.name), answer)


def _in_venv(place: Path, trials: Trials, row: Document, request: Request) -> Document:
    made = venv(place, Snapshots(trials.backend).find(row.get("environment")))
    answer = ask(place, request, made.python, made.variables)
    if made.local:
        why = f"not installed, as they are in folders of this machine: {', '.join(made.local)}"
        answer = {n: f"{told} ({why})" if n == "error" else told for n, told in answer.items()}
    return answer


def _compared(
    trials: Trials, number: int, row: Document, again: Trials, answer: Document
) -> Reproduction:
    new = again.get(1)
    before, now = (
        {record.place: record for record in Steps(each.backend, each.name).read(uid)}
        for each, uid in ((trials, row["uid"]), (again, new["uid"]))
    )
    options = _Options(trials, row)
    there, here = (trials.place(row["uid"]), row), (again.place(new["uid"]), new)
    calls = tuple(
        _step(place, before.get(place), now.get(place), there, here, options)
        for place in dict.fromkeys((*before, *now))
    )
    odd = next(_odd(row, before, new, now), None)
    match: Match = "different" if odd else _verdict(calls)
    again.edit(1, {"verdict": match})  # before it is copied: it never stands there without
    moved = copy_trials(again.backend, trials.backend, trials.name, [1]).copied
    return Reproduction(
        number, moved[0].target if moved else None, match, calls,
        tuple(_differences(trials, row, again, new)), odd or answer.get("failed"),
    )  # fmt: skip


class _Options:
    """How steps were decorated; read from the graph when it is asked for."""

    def __init__(self, trials: Trials, row: Document) -> None:
        self._snapshots = Snapshots(trials.backend)
        self._graph = row["graph"]

    @cached_property
    def _options(self) -> dict[str, dict[str, Any]]:
        return read(self._snapshots.content(self._graph)).options

    def is_near(self, step: str, old: Any, new: Any) -> bool:
        """Whether two outputs of a step are as near as it asks for."""
        how = self._options.get(step, {})
        compare, rtol, atol = (how.get(name) for name in ("compare", "rtol", "atol"))
        if callable(compare):
            return bool(compare(old, new))
        near = 1e-5 if rtol is None else rtol, 1e-8 if atol is None else atol
        return compare is not None and is_near(old, new, *near)


Kept: TypeAlias = tuple[Place, Document]
"""Where the values of a trial are, and its row."""


def _step(
    at: tuple[str, int], then: StepRecord | None, now: StepRecord | None, there: Kept, here: Kept,
    options: _Options,
) -> Step:  # fmt: skip
    old, new = (None if record is None else record.output for record in (then, now))
    seconds = [None if record is None else record.seconds for record in (then, now)]
    match, apart = "missing", None
    if then is not None and now is not None:
        match = _match(then, now)
        if match == "different":
            match, apart = _apart(then, now, there, here, options)
    return Step(*at, old, new, match, apart, *seconds)


def _match(then: StepRecord, now: StepRecord) -> str:
    if then.broken_off or now.broken_off:
        return "bitwise" if then.broken_off == now.broken_off else "different"
    if not comparable(then.output, now.output):
        return "unhashed"
    return "bitwise" if then.output == now.output else "different"


def _apart(
    then: StepRecord, now: StepRecord, there: Kept, here: Kept, options: _Options
) -> tuple[str, float | None]:
    """Whether outputs that differ are near enough, and how far they lie apart."""
    try:
        old, new = _value(then, *there), _value(now, *here)
    except Exception:  # not kept, or whatever decoding raises
        return "different", None
    near = options.is_near(then.step, old, new)
    return "tolerance" if near else "different", distance(old, new)


def _value(record: StepRecord, place: Place, row: Document) -> Any:
    if record.kept is not None:
        return place.load(output_slot(*record.place), record.kept)
    value = place.load(("result",), row["result"])
    if digest(value) != record.output:
        raise ValueNotKeptError("The output was not kept")
    return value


def _odd(row: Document, before: Records, new: Document, now: Records) -> Iterator[str]:
    """What else is recorded that is not so."""
    both = [(then, now[place]) for place, then in before.items() if place in now]
    for then, record in both:
        if then.fingerprint != record.fingerprint:
            yield f"The record of step {then.step!r} names other code than that which is stored"
    if any(then.output != record.output for then, record in both):
        return  # the rest follows from that
    for then, record in both:
        if then.identity.inputs != record.identity.inputs:
            yield f"The record of step {then.step!r} names other inputs than those that it got"
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
