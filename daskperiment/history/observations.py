"""Observations of steps: what each gave for the same inputs, and under which circumstances."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from blake3 import blake3

from daskperiment.backends.base import Backend, Insert, Update, Write
from daskperiment.errors import ConflictError
from daskperiment.history import paths
from daskperiment.history.inputs import variables
from daskperiment.history.steps import Steps
from daskperiment.records import Number, StepRecord
from daskperiment.typing import Document


@dataclass(frozen=True, slots=True)
class Observation:
    """One output of a step, with all that may explain it.

    Parameters
    ----------
    trial : Number
        Number of the trial that saw it.
    output : str
        Digest of the output.
    fingerprint : str or None
        Digest of the code.
    seed : int or None
        Seed of the call, None when it drew nothing.
    environment : str
        Digest of the environment snapshot.
    threads : dict
        BLAS and OpenMP threads.
    code : str or None
        Digest of the trial's code snapshot; None where it was forgotten.
    files : dict or None
        Digest of each file that was opened to read, where that was looked at.
    variables : dict or None
        Digest of each environment variable that was read, where that was looked at.
    """

    trial: Number
    output: str
    fingerprint: str | None
    seed: int | None
    environment: str
    threads: dict[str, Any]
    code: str | None
    files: Document | None = None
    variables: Document | None = None

    @property
    def circumstances(self) -> tuple[Any, ...]:
        """All but the output and where it was seen."""
        known = self.fingerprint, self.seed, self.environment, tuple(self.threads.items())
        looked_at = (each for each in (self.files, self.variables) if each is not None)
        return (*known, *(tuple(sorted(each.items())) for each in looked_at))


def observe(number: Number, code: str | None, record: StepRecord) -> Observation | None:
    """Observation of a step record; None when it cannot be compared with any other."""
    if record.outcome != "ran" or record.output is None or _unhashed(record):
        return None
    return Observation(
        number, record.output, record.fingerprint, record.seed if record.drew else None,
        record.environment, record.threads, code, record.files,
        variables(record),
    )  # fmt: skip


def _unhashed(record: StepRecord) -> bool:
    return any(argument.digest is None for argument in record.inputs)


def _key(parts: tuple[Any, ...]) -> str:
    """A short key: two calls that share it by chance are told apart by their records."""
    digest = blake3(repr(parts).encode("utf-8", "surrogatepass")).digest(9)
    return base64.urlsafe_b64encode(digest).decode()


class Observations:
    """The index of observations of one experiment.

    The step records themselves are the observations and are never changed; this index
    names, for each step, occurrence and inputs, the latest trial that saw it under new
    circumstances and, for each full set of circumstances before those, the first one.  Both
    are read by key, and what was seen once is remembered here, so the cost of a trial does
    not grow with the history.  Safe to use from several threads and processes.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name
        self._latest = paths.latest(name)
        self._exact = paths.exact(name)
        self._impure = paths.impure(name)
        self._known: dict[tuple[Any, ...], str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Observations, (self.backend, self.name)

    def compare(self, seen: Sequence[tuple[StepRecord, Observation]]) -> list[Observation | None]:
        """Index a trial's observations, and return for each the earlier one that contradicts it.

        An earlier observation under exactly the same circumstances decides alone; else
        the latest one of the same inputs is compared.
        """
        batch = _Batch([], {})
        contradicted = [self._compare(record, now, batch) for record, now in seen]
        if batch.writes:
            self._apply(batch.writes)
        return contradicted

    def indexing(self, seen: Sequence[tuple[StepRecord, Observation]]) -> list[Write]:
        """The writes that index a trial's observations; where they are refused, begin anew."""
        batch = _Batch([], {})
        for record, now in seen:
            self._compare(record, now, batch)
        return batch.writes

    def mark_impure(self, step: str, fingerprint: str | None, number: Number) -> None:
        """Remember that a step of certain code gave another output for no reason that is known."""
        with suppress(ConflictError):  # it is known
            self.backend.insert(
                self._impure, {"trial": number, "step": step}, _key((step, fingerprint))
            )

    def is_impure(self, step: str, fingerprint: str | None) -> bool:
        """Whether that was seen of a step of certain code."""
        return self.backend.get(self._impure, _key((step, fingerprint))) is not None

    def _compare(self, record: StepRecord, now: Observation, batch: _Batch) -> Observation | None:
        circumstances = (record.place, record.inputs, *now.circumstances)
        if self._known.get(circumstances) == now.output:
            return None
        before = self._index(record, now, batch)
        if before is None or not _differ(before.output, now.output):
            self._remember(circumstances, now.output)
            return None
        return before

    def _apply(self, writes: list[Write]) -> None:
        # Another process may index the same observations at this moment: one of them stays.
        try:
            self.backend.apply(*writes)
        except ConflictError:
            for write in writes:
                with suppress(ConflictError):
                    self.backend.apply(write)

    def _remember(self, circumstances: tuple[Any, ...], output: str) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known = {}
        self._known[circumstances] = output

    def _index(self, record: StepRecord, now: Observation, batch: _Batch) -> Observation | None:
        """Find what an observation is to be compared with; index it where it is new."""
        same, newest = _key(_same(record)), {"trial": now.trial}
        entry = None if same in batch.added else self.backend.get(self._latest, same)
        latest = batch.added.get(same) or self._read(entry, record)
        if latest is not None and latest.circumstances == now.circumstances:
            return latest
        if latest is not None and (twin := self._twin(record, now)) is not None:
            return twin
        if latest is None and entry is None:
            batch.writes.append(Insert(self._latest, newest, same))
        else:
            batch.writes.append(Update(self._latest, same, newest))
        if latest is not None:
            before = _key((*_same(record), *latest.circumstances))
            batch.writes.append(Insert(self._exact, {"trial": latest.trial}, before))
        batch.added[same] = now
        return latest

    def _twin(self, record: StepRecord, now: Observation) -> Observation | None:
        key = _key((*_same(record), *now.circumstances))
        twin = self._read(self.backend.get(self._exact, key), record)
        return twin if twin is not None and twin.circumstances == now.circumstances else None

    def _read(self, entry: Document | None, record: StepRecord) -> Observation | None:
        """The observation that the index names, where its trial still has the record."""
        row = entry and self.backend.get(paths.trials(self.name), entry["trial"])
        if not entry or not row:
            return None
        for seen in reversed(Steps(self.backend, self.name).read(row["uid"])):
            found = observe(entry["trial"], row.get("code"), seen)
            if found is not None and _same(seen) == _same(record):
                return found
        return None


class _Batch(NamedTuple):
    """What the records of one trial add to the index: the writes, and the newest ones by key."""

    writes: list[Write]
    added: dict[str, Observation]


def _same(record: StepRecord) -> tuple[Any, ...]:
    """Step, occurrence and inputs."""
    return record.place, tuple((argument.name, argument.digest) for argument in record.inputs)


def _differ(one: str, other: str) -> bool:
    """Whether two digests tell of different values; those of two schemes tell nothing."""
    return one != other and one.partition(":")[0] == other.partition(":")[0]


_MOST_KNOWN = 1_000
