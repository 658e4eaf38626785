"""What history keeps about trials and steps, as plain values."""

from __future__ import annotations

import enum
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
        Digest of the returned value; None when it failed or cannot be hashed.
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
        ``ran``, ``reused`` or ``failed``.
    reused_from : str or None
        Uid of the trial that the output was taken from.
    unhashed : str or None
        Why an input or the output has no digest.
    kept : dict or None
        Where the output of a persisted step is kept.
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
