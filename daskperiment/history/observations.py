"""Observations of steps: what each gave for the same inputs, and under which circumstances."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from blake3 import blake3

from daskperiment.backends.base import Backend, Insert, Update, Write
from daskperiment.errors import ConflictError
from daskperiment.history import paths
from daskperiment.records import StepRecord
from daskperiment.typing import Document


@dataclass(frozen=True, slots=True)
class Observation:
    """One output of a step, with all that may explain it.

    Parameters
    ----------
    trial : int
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
    code : str
        Digest of the trial's code snapshot.
    """

    trial: int
    output: str
    fingerprint: str | None
    seed: int | None
    environment: str
    threads: dict[str, Any]
    code: str

    @property
    def circumstances(self) -> tuple[Any, ...]:
        """All but the output and where it was seen."""
        return self.fingerprint, self.seed, self.environment, sorted(self.threads.items())


def observe(number: int, code: str, record: StepRecord) -> Observation | None:
    """Observation of a step record; None when it cannot be compared with any other."""
    if record.outcome != "ran" or record.output is None or _unhashed(record):
        return None
    return Observation(
        number, record.output, record.fingerprint, record.seed if record.drew else None,
        record.environment, record.threads, code,
    )  # fmt: skip


def _unhashed(record: StepRecord) -> bool:
    return any(argument.digest is None for argument in record.inputs)


def _key(*parts: Any) -> str:
    return blake3(repr(parts).encode("utf-8", "surrogatepass")).digest(16).hex()


def _same_inputs(record: StepRecord) -> str:
    return _key(record.place, [(argument.name, argument.digest) for argument in record.inputs])


class Observations:
    """The index of observations of one experiment.

    The step records themselves are the observations and are never changed; this index
    holds, for each step, occurrence and inputs, the latest one, and for each full set of
    circumstances the first output.  Both are read by key, so the cost of a trial does not
    grow with the history.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self._latest = paths.latest(name)
        self._exact = paths.exact(name)

    def compare(
        self, seen: Sequence[tuple[StepRecord, Observation]]
    ) -> list[Observation | None]:
        """For each observation the earlier one that contradicts it, or None; then index it.

        An earlier observation under exactly the same circumstances decides alone; else
        the latest one of the same inputs is compared.
        """
        same = [_same_inputs(record) for record, _ in seen]
        circumstances = [
            _key(key, *observation.circumstances)
            for key, (_, observation) in zip(same, seen, strict=True)
        ]
        latest = self.backend.get_many(self._latest, same)
        exact = self.backend.get_many(self._exact, circumstances)
        contradicted: list[Observation | None] = []
        for i, (_, observation) in enumerate(seen):
            before = _read(exact[i]) or _read(latest[i])
            differs = before is not None and before.output != observation.output
            contradicted.append(before if differs else None)
            self._index(same[i], latest[i], circumstances[i], exact[i], observation)
        return contradicted

    def _index(
        self,
        same: str,
        latest: Document | None,
        circumstances: str,
        exact: Document | None,
        observation: Observation,
    ) -> None:
        document = asdict(observation)
        writes: list[Write] = []
        if exact is None:
            writes.append(Insert(self._exact, document, circumstances))
        if latest is None:
            writes.append(Insert(self._latest, document, same))
        elif {**latest, "trial": 0} != {**document, "trial": 0}:
            writes.append(Update(self._latest, same, document))
        if writes:
            # Another process may index the same observation at this moment: one of them stays.
            with suppress(ConflictError):
                self.backend.apply(*writes)


_FIELDS = tuple(field.name for field in fields(Observation))


def _read(document: Document | None) -> Observation | None:
    if document is None:
        return None
    return Observation(**{name: document.get(name) for name in _FIELDS})  # type: ignore[arg-type]
