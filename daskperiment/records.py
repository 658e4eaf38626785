"""What history keeps about trials and steps, as plain values."""

from __future__ import annotations

import enum
import re
from typing import Any, NamedTuple, TypeAlias

from daskperiment.typing import Document

Origin: TypeAlias = tuple[str, str, int]
"""Where an input comes from: ``("parameter", name, 0)`` or ``("step", name, call)``."""


class TrialState(enum.StrEnum):
    """State of a trial; each value equals its name, so ``state == "COMPLETE"`` holds.

    Examples
    --------
    >>> TrialState.COMPLETE == "COMPLETE", TrialState("FAILED").ended
    (True, True)
    """

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    PRUNED = "PRUNED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"

    @property
    def ended(self) -> bool:
        """Whether the trial will not go on."""
        return self not in (TrialState.WAITING, TrialState.RUNNING)

    @property
    def done(self) -> bool:
        """Whether the trial has come to an end of its own, and need not be attempted again."""
        return self in (TrialState.COMPLETE, TrialState.PRUNED)


class Provisional(str):
    """The number of a trial that began while its backend was away, shown as ``~1``.

    Its text, which is what is stored, holds the uid too: no other trial has the same one.

    Parameters
    ----------
    count : int
        How many such trials this process has begun, this one included.
    uid : str
        Uid of the trial.

    Examples
    --------
    >>> number = Provisional(3, "0f" * 16)
    >>> f"trial {number} is {number.uid[:4]}...", Provisional.read(str.__str__(number)) == number
    ('trial ~3 is 0f0f...', True)
    """

    __slots__ = ()
    _FORM = re.compile("~([0-9]+):([0-9a-f]{32})")

    def __new__(cls, count: int, uid: str) -> Provisional:
        """Make the text of both."""
        return super().__new__(cls, f"~{count}:{uid}")

    def __getnewargs__(self) -> tuple[Any, ...]:
        count, _, uid = str.__str__(self)[1:].partition(":")
        return int(count), uid

    @property
    def uid(self) -> str:
        """Uid of the trial."""
        return str.__str__(self).partition(":")[2]

    @classmethod
    def read(cls, value: object) -> Provisional | None:
        """The provisional number that a stored text is; None for all else."""
        found = cls._FORM.fullmatch(str.__str__(value)) if isinstance(value, str) else None
        return None if found is None else cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return super().__str__().partition(":")[0]

    def __format__(self, form: str) -> str:
        return format(str(self), form)

    __repr__ = __str__


Number: TypeAlias = int | Provisional
"""Number of a trial."""


class Argument(NamedTuple):
    """One input of a step call.

    Parameters
    ----------
    name : str
        Name in the function's signature; ``args[i]`` for further positional ones.
    digest : str or None
        Scheme-prefixed digest of the value; None when the value cannot be hashed.
    preview : str
        Guarded, shortened text of the value.
    origins : tuple of (str, str, int)
        Parameters and step calls that it was made from, also through undecorated nodes.
    keyword : bool
        Whether it was passed by name.
    """

    name: str
    digest: str | None
    preview: str
    origins: tuple[Origin, ...]
    keyword: bool = False


class CallIdentity(NamedTuple):
    """What makes calls in two trials the same: of one step, with equal code, inputs and seed.

    Parameters
    ----------
    step, call : str, int
        Name of the step and which call of it in graph order, from 0.
    fingerprint : str or None
        Digest of the code that the step reaches.
    inputs : tuple of (str, str or None)
        Name and digest of each argument in the order of the call.
    seed : int
        Seed of the call.

    Examples
    --------
    >>> one = CallIdentity("fit", 0, "v1:0a", (("x", "v1:0b"),), 7)
    >>> one.key == one._replace(seed=8).key, one._replace(fingerprint=None).key
    (False, None)
    """

    step: str
    call: int
    fingerprint: str | None
    inputs: tuple[tuple[str, str | None], ...]
    seed: int

    @property
    def key(self) -> str | None:
        """A short text that no other call has; None where the code or an input has no digest."""
        if self.fingerprint is None or any(digest is None for _, digest in self.inputs):
            return None
        from blake3 import blake3  # `daskperiment --help` does without it

        return blake3(repr(tuple(self)).encode("utf-8", "surrogatepass")).hexdigest(16)


class StepRecord(NamedTuple):
    """What one call of one step did.

    Parameters
    ----------
    trial : str
        Uid of the trial.
    step, call : str, int
        Name of the step and which call of it in graph order, from 0.
    inputs : tuple of Argument
        The arguments in the order of the call.
    fingerprint : str or None
        Digest of the code that the step reaches.
    output : str or None
        Digest of the returned value; None when there is none or it cannot be hashed.
    seed : int
        Seed of this call's generators.
    drew, entropy : bool
        Whether the call drew from seeded generators / read unseeded OS entropy.
    threads : dict
        BLAS and OpenMP threads in force, by library.
    environment : str
        Digest of the environment snapshot of the process that ran it.
    host, pid : str, int
        Where it ran.
    started, seconds : float
        Unix time of the start, and the duration.
    outcome : str
        ``ran``, ``reused``, ``failed``, or ``pruned`` where it has ended its trial as PRUNED.
    reused_from : str or None
        Uid of the trial that the output was taken from.
    unhashed : str or None
        Why an input or the output has no digest.
    kept : dict or None
        Where the output is kept, of a persisted step and of one that may be reused.
    resumed_from : str or None
        Uid of the trial from whose checkpoint it went on; its own where a scheduler ran it again.
    saved : float or None
        Seconds that the call took where the output comes from; only of one that is reused.
    files : dict or None
        Digest of each file that a reusable or audited call has opened to read, by path.
    why : str or None
        Why a reusable call has run.
    mutated : list of str or None
        Arguments that the call has changed in place.
    spare : bool or None
        Whether the output is kept only for trials that may take it.
    logged : dict or None
        Which metrics and artifacts are of this call; see :mod:`daskperiment.history.belongings`.
    touched : dict or None
        What else an audited call has touched: by ``environment`` the digest of each variable that
        it has read, by ``socket`` and ``process`` lists of addresses and of programs; and by
        ``given`` those of its files that its arguments name as paths.
    """

    trial: str
    step: str
    call: int
    inputs: tuple[Argument, ...]
    fingerprint: str | None
    output: str | None
    seed: int
    drew: bool
    entropy: bool
    threads: dict[str, Any]
    environment: str
    host: str
    pid: int
    started: float
    seconds: float
    outcome: str
    reused_from: str | None = None
    unhashed: str | None = None
    kept: Document | None = None
    resumed_from: str | None = None
    logged: Document | None = None
    saved: float | None = None
    files: Document | None = None
    why: str | None = None
    mutated: list[str] | None = None
    spare: bool | None = None
    touched: Document | None = None

    @property
    def identity(self) -> CallIdentity:
        """What makes another call the same."""
        inputs = tuple((argument.name, argument.digest) for argument in self.inputs)
        return CallIdentity(self.step, self.call, self.fingerprint, inputs, self.seed)

    @property
    def broken_off(self) -> str | None:
        """``failed`` or ``pruned`` of a call that has raised, None of one that has returned."""
        return self.outcome if self.outcome in ("failed", "pruned") else None

    @property
    def place(self) -> tuple[str, int]:
        """Step name and call: the same in every trial of the same graph."""
        return self.step, self.call

    def document(self) -> Document:
        """The record as JSON, without the uid, which says where it is kept.

        Fields that are None are left out.
        """
        doc: Document = {k: v for k, v in self._asdict().items() if v is not None}
        del doc["trial"]
        doc["inputs"] = [
            [a.name, a.digest, a.preview, a.keyword, *map(_written, a.origins)] for a in self.inputs
        ]
        return doc

    @classmethod
    def from_document(cls, trial: str, document: Document) -> StepRecord:
        """Read back what :meth:`document` gave; fields of a newer version are ignored."""
        fields: dict[str, Any] = {name: document.get(name) for name in cls._fields}
        fields["trial"] = trial
        inputs = tuple(
            Argument(name, digest, preview, tuple(map(_read, origins)), keyword)
            for name, digest, preview, keyword, *origins in document["inputs"]
        )
        return cls(**{**fields, "inputs": inputs})


def _written(origin: Origin) -> str:
    kind, name, call = origin
    return f"{kind} {call} {name}"


def _read(text: str) -> Origin:
    kind, call, name = text.split(" ", 2)
    return kind, name, int(call)
