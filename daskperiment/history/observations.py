"""Observations of steps: what each gave for the same inputs, and under which circumstances."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from blake3 import blake3

from daskperiment.backends.base import Backend, Insert, Update
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
        return self.fingerprint, self.seed, self.environment, tuple(self.threads.items())


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


def _key(parts: tuple[Any, ...]) -> str:
    return blake3(repr(parts).encode("utf-8", "surrogatepass")).digest(16).hex()


class Observations:
    """The index of observations of one experiment.

    The step records themselves are the observations and are never changed; this index
    holds, for each step, occurrence and inputs, the latest one seen under new
    circumstances, and for each full set of circumstances the first output.  Both are read
    by key, and what was seen once is remembered here, so the cost of a trial does not grow
    with the history.  Safe to use from several threads and processes.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name
        self._latest = paths.latest(name)
        self._exact = paths.exact(name)
        self._known: dict[tuple[Any, ...], str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Observations, (self.backend, self.name)

    def compare(self, record: StepRecord, observation: Observation) -> Observation | None:
        """Return the earlier observation that contradicts this one, or None; then index it.

        An earlier observation under exactly the same circumstances decides alone; else
        the latest one of the same inputs is compared.
        """
        inputs = tuple((argument.name, argument.digest) for argument in record.inputs)
        same = (record.place, inputs)
        circumstances = (*same, *observation.circumstances)
        if self._known.get(circumstances) == observation.output:
            return None
        before = self._index(_key(same), _key(circumstances), observation)
        if before is None or not _differ(before.output, observation.output):
            self._remember(circumstances, observation.output)
            return None
        return before

    def _remember(self, circumstances: tuple[Any, ...], output: str) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known = {}
        self._known[circumstances] = output

    def _index(self, same: str, exact: str, observation: Observation) -> Observation | None:
        """Index what is new; return what it is to be compared with."""
        if (twin := self.backend.get(self._exact, exact)) is not None:
            return _read(twin)
        latest = self.backend.get(self._latest, same)
        document = asdict(observation)
        newest = Insert(self._latest, document, same)
        # Another process may index the same observation at this moment: one of them stays.
        with suppress(ConflictError):
            self.backend.apply(
                Insert(self._exact, document, exact),
                newest if latest is None else Update(self._latest, same, document),
            )
        return None if latest is None else _read(latest)


def _differ(one: str, other: str) -> bool:
    """Whether two digests tell of different values; those of two schemes tell nothing."""
    return one != other and one.partition(":")[0] == other.partition(":")[0]


_MOST_KNOWN = 10_000
_FIELDS = tuple(field.name for field in fields(Observation))


def _read(document: Document) -> Observation:
    return Observation(**{name: document.get(name) for name in _FIELDS})  # type: ignore[arg-type]
