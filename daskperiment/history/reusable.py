"""Reusable calls: which trial has computed a call, by what makes another call the same.

A call is the same in another trial if its step, the code that it reaches, the versions of
distributions and the digests of its inputs are, and if it drew random numbers, also its seed.
Whether it draws is known only when it has run once: therefore an entry stands under a key without
the seed, and of a call that drew only says so, while others stand under keys with the seed.  An
entry names a trial; what the call has left is found there, so what is removed or forgotten there
is gone here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from blake3 import blake3

from daskperiment.backends.base import Insert, Remove, Write
from daskperiment.errors import ConflictError
from daskperiment.history import paths
from daskperiment.history.leases import Lease, Leases
from daskperiment.history.trials import Trials
from daskperiment.records import CallIdentity
from daskperiment.typing import Document

_GROUP = 100


class CallKey(NamedTuple):
    """What makes another call the same.

    Parameters
    ----------
    call : str
        Without the seed.
    seeded : str
        With it.
    within : str, optional
        Uid of the batch to which it is confined.
    """

    call: str
    seeded: str
    within: str | None = None


def key_of(
    identity: CallIdentity, packages: str, within: str | None = None, strict: bool = False
) -> CallKey | None:
    """The key of a call; None where its code or an input has no digest.

    Parameters
    ----------
    identity : CallIdentity
        The call.
    packages : str
        Digest of the distributions that its code reaches.
    within : str, optional
        Uid of the batch to which it is confined.
    strict : bool
        Whether it is taken only from calls that have touched nothing that they were not given.

    Examples
    --------
    >>> one = CallIdentity("fit", 0, "v1:0a", (("x", "v1:0b"),), 7)
    >>> key_of(one, "").call == key_of(one._replace(call=1, seed=8), "").call
    True
    >>> key_of(one, "") == key_of(one._replace(seed=8), "")
    False
    """
    if identity.key is None:
        return None
    parts: tuple[object, ...] = (
        identity.step, identity.fingerprint, identity.inputs, packages, within
    )  # fmt: skip
    if strict:
        parts = (*parts, "strict")
    call = _digest(repr(parts))
    return CallKey(call, _digest(f"{call} {identity.seed}"), within)


def _digest(text: str) -> str:
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(16)


class Entry(NamedTuple):
    """Where a call was computed.

    Parameters
    ----------
    trial : str
        Uid of the trial.
    number : int
        Its number.
    step, call : str, int
        The step, and which call of it in that trial.
    form : str or None
        What its output is digested as, in hexadecimal; None where that would tell the output.
    scheme : str
        The scheme of the form.
    """

    trial: str
    number: int
    step: str
    call: int
    form: str | None
    scheme: str


class Found(NamedTuple):
    """What is known of a call.

    Parameters
    ----------
    key : str
        Under which it would be computed now.
    entry : Entry or None
        Where it was computed.
    refused : str or None
        Why it cannot be taken from anywhere.
    """

    key: str
    entry: Entry | None = None
    refused: str | None = None


class Reusable:
    """The reusable calls of one experiment.

    Parameters
    ----------
    trials : Trials
        Its trials.
    """

    def __init__(self, trials: Trials) -> None:
        self._backend = trials.backend
        self._path = paths.reusable(trials.name)
        self.leases = Leases(trials.backend, trials.name)

    def find(self, key: CallKey) -> Found:
        """What is known of a call."""
        known, seeded = self._backend.get_many(self._path, [key.call, key.seeded])
        if known is None:
            return Found(key.call)
        if reason := known.get("refused"):
            return Found(key.call, refused=reason)
        if not known.get("drew"):
            return Found(key.call, _entry(known))
        return Found(key.seeded, None if seeded is None else _entry(seeded))

    def accept(self, key: CallKey, entry: Entry, drew: bool, lease: Lease | None) -> bool:
        """Let others take a call; False where they have taken over and computed it themselves."""
        confined = {} if key.within is None else {"within": key.within}
        document = entry._asdict() | confined
        if drew:
            first = self._set(key.call, {"drew": True} | confined)
            writes = [*first, *self._set(key.seeded, document)]
        else:
            writes = self._set(key.call, document)
        return self._end(lease, writes)

    def refuse(self, key: CallKey, reason: str, lease: Lease | None) -> bool:
        """Let nobody take a call nor wait for it."""
        confined = {} if key.within is None else {"within": key.within}
        return self._end(lease, self._set(key.call, {"refused": reason} | confined))

    def release(self, lease: Lease) -> None:
        """Give a lease back without having computed anything."""
        self._end(lease, [])

    def _set(self, key: str, document: Document) -> list[Write]:
        return [Remove(self._path, key), Insert(self._path, document, key)]

    def _end(self, lease: Lease | None, writes: list[Write]) -> bool:
        mine = [] if lease is None else self.leases.giving_back(lease)
        with suppress(ConflictError):
            self._backend.apply(*mine, *writes)
            return True
        return False

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """All entries by their keys."""
        for key, document in self._backend.find(self._path):
            if "trial" in document:
                yield str(key), _entry(document)

    def drop_within(self, batch: str) -> None:
        """Forget what was confined to a batch."""
        found = self._backend.find(self._path, {"within": batch}, fields=[])
        self.drop([str(key) for key, _ in found])

    def drop(self, keys: Sequence[str]) -> None:
        """Forget where calls were computed."""
        for at in range(0, len(keys), _GROUP):
            self._backend.apply(*(Remove(self._path, key) for key in keys[at : at + _GROUP]))


def _entry(document: Document) -> Entry:
    return Entry(*(document[name] for name in Entry._fields))
