"""Checkpoints: states that running step calls leave, so that a later trial can go on from them.

Each execution of a call has one document, whose key begins with what the call is (see
:class:`~daskperiment.records.CallIdentity`): so the same call of another trial finds it, and no
two executions write the same one.  The bytes of a checkpoint begin with a line of JSON, in
which the state of the random generators stands and a random text: nothing else in the store
has the same bytes, and they are deleted as soon as their document no longer names them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple
from uuid import uuid4

from blake3 import blake3

from daskperiment.backends.base import Backend, Discard, Insert, Remove, Write
from daskperiment.errors import BackendError, CheckpointError, ConflictError, PayloadError
from daskperiment.history import paths, payloads
from daskperiment.history.collection import referring
from daskperiment.history.columns import utc_time
from daskperiment.history.places import Place, Slot
from daskperiment.history.trials import Trials
from daskperiment.records import CallIdentity, Number, TrialState
from daskperiment.serializers import preview
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

LAST = 3
"""How many checkpoints of an execution are kept, besides those that were asked for."""
_ODD = (KeyError, TypeError, ValueError, AttributeError)
"""What reading a document raises that others have written."""


class Checkpoint:
    """A state that a step call has left.

    Attributes
    ----------
    step, call : str, int
        The step, and which call of it in graph order, from 0.
    keep : bool
        Whether it stays when its trial is complete.
    logged : dict or None
        What the call had logged before.
    """

    def __init__(self, place: Place, document: Document, entry: Document) -> None:
        self.place = place
        self._entry = entry
        self._slot = slot(document)
        self._time = float(entry["time"])
        self.step: str = document["step"]
        self.call: int = document["call"]
        self.keep = bool(entry["keep"])
        self.logged: Document | None = entry.get("logged")

    @property
    def trial(self) -> str:
        """Uid of the trial that has left it."""
        return self.place.uid

    @property
    def saved(self) -> datetime | None:
        """When, in UTC."""
        return utc_time(self._time)

    def load(self) -> Any:
        """The state.

        Raises
        ------
        UntrustedPayloadError
            It is a pickle without a valid signature, in a store that others may write to.
        PayloadError
            The stored bytes are not those that were saved, or absent.
        """
        return self.open()[0]

    def open(self) -> tuple[Any, Document]:
        """The state, and where the random generators stood; errors as for :meth:`load`."""
        pickled = self.place.check(self._slot, self._entry)
        what = f"a checkpoint of step {self.step!r}"
        data = payloads.fetch(self.place.backend, self._entry["digest"], what)
        head, _, body = data.partition(b"\n")
        try:
            random = json.loads(head)["random"]
        except _ODD as error:
            raise PayloadError(f"{what} cannot be read: {error!r:.80}") from error
        return payloads.decoded(self._entry, body, pickled), random

    def __repr__(self) -> str:
        keep = ", keep=True" if self.keep else ""
        return f"Checkpoint({self.step!r}, call {self.call}, {self._entry['preview']}{keep})"


class Saved(NamedTuple):
    """What one execution of a call has left, as its document is written.

    Parameters
    ----------
    key : str
        Key of the document.
    entries : tuple of dict
        The checkpoints, the newest last.
    dropped : tuple of str
        Digests that the document before named, and this one does not.
    """

    key: str
    entries: tuple[Document, ...] = ()
    dropped: tuple[str, ...] = ()

    def with_one_more(self, entry: Document) -> Saved:
        """With a new checkpoint, and without those that need not be kept any more."""
        every = (*self.entries, entry)
        old, last = every[:-LAST], every[-LAST:]
        kept = tuple(each for each in old if each["keep"])
        gone = tuple(each["digest"] for each in old if not each["keep"])
        return Saved(self.key, (*kept, *last), gone)


class Spare(NamedTuple):
    """What is not needed any more of a trial that is complete.

    Parameters
    ----------
    writes : list of Write
        They belong into the group that ends it.
    left : dict of str to list
        Entries by key, of documents of which some are to be kept.
    digests : list of str
        What may be discarded then.
    """

    writes: list[Write]
    left: dict[str, list[Document]]
    digests: list[str]


class Checkpoints:
    """Checkpoints as one trial writes and finds them.

    Parameters
    ----------
    place : Place
        The trial.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.backend = place.backend
        self._path = paths.checkpoints(place.experiment)
        self._trials = Trials(place.backend, place.experiment)

    # -- writing

    def begin(self, identity: CallIdentity) -> Saved:
        """An execution of a call, before its first checkpoint."""
        return Saved(f"{identity.key or uuid4().hex}-{uuid4().hex}")

    def saving(
        self,
        identity: CallIdentity,
        saved: Saved,
        state: Any,
        random: Document,
        keep: bool,
        logged: Document | None = None,
    ) -> tuple[Saved, list[Write]]:
        """The writes of the group that adds a checkpoint.

        Parameters
        ----------
        identity : CallIdentity
            What the call is.
        saved : Saved
            What it has left so far.
        state : Any
            The state.
        random : dict
            Where the random generators stand.
        keep : bool
            Whether it stays in any case.
        logged : dict, optional
            What the call has logged so far.

        Raises
        ------
        CheckpointError
            The state cannot be encoded; nothing has been written.
        """
        described, encoded = payloads.encoded(state)
        if encoded is None:
            raise CheckpointError(
                f"The state {described['preview']} cannot be kept as a checkpoint: "
                f"{described['reason']}. Earlier checkpoints are still there"
            )
        head = json.dumps({"random": random, "nonce": uuid4().hex}, separators=(",", ":"))
        data = b"".join((head.encode(), b"\n", encoded.data))
        digest = blake3(data).hexdigest()
        document: Document = {
            "trial": self.place.uid, "step": identity.step, "call": identity.call,
            "content": identity.key,
        }  # fmt: skip
        bare = described | {"codec": encoded.codec, "digest": digest, "size": len(data)}
        entry = self.place.sign(slot(document), bare) | {"time": time.time(), "keep": keep}
        if logged is not None:
            entry["logged"] = logged
        saved = saved.with_one_more(entry)
        document["entries"] = list(saved.entries)
        anew = (Remove(self._path, saved.key), Insert(self._path, document, saved.key))
        return saved, [*referring(digest, data), *anew]

    def discard(self, digests: Iterable[str]) -> None:
        """Delete bytes that no document names any more; what cannot be deleted now is for gc."""
        with suppress(BackendError, ConflictError):
            for digest in digests:
                self.backend.apply(Discard(digest))

    # -- finding

    def find(self, identity: CallIdentity, before: Collection[str] = ()) -> list[Checkpoint]:
        """Those from which a call may go on, the best first.

        They are of the same call of this trial or of one that has ended and is not COMPLETE:
        a trial that still runs goes on by itself, and one that is complete has nothing left
        to do.  ``before`` are uids of attempts that have certainly ended.
        """
        if identity.key is None:
            return []
        found: list[Checkpoint] = []
        usable: dict[str, bool] = {self.place.uid: True}
        for _, document in self._of(identity.key):
            try:
                uid = str(document["trial"])
                if uid not in usable:
                    usable[uid] = self._is_usable(uid, before)
                if usable[uid]:
                    found += _each(self._place(uid), document)
            except _ODD as error:
                logger.warning("A checkpoint of step %r is damaged: %r", identity.step, error)
        own = self.place.uid
        return sorted(found, key=lambda each: (each.trial == own, each._time), reverse=True)

    def _of(self, content: str) -> Iterator[tuple[str, Document]]:
        found: Iterator[tuple[Any, Document]] = self.backend.find(self._path, after=content)
        yield from takewhile(lambda item: str(item[0]).startswith(content), found)

    def _place(self, uid: str) -> Place:
        # This trial's own key may be the only one in a worker process.
        return self.place if uid == self.place.uid else self._trials.place(uid)

    def _is_usable(self, uid: str, before: Collection[str]) -> bool:
        row = self._row(uid)
        if row is None or row["state"] == TrialState.COMPLETE:
            return False
        return uid in before or self._trials.is_over(row)

    def _row(self, uid: str) -> Document | None:
        found = self._trials.find({"uid": uid}, newest=True, limit=1)
        return next((row for _, row in found), None)

    def all(self) -> list[Checkpoint]:
        """Those of this trial, in the order in which they were saved."""
        every = documents(self.backend, self.place.experiment, self.place.uid).values()
        found = [each for document in every for each in _each(self.place, document)]
        return sorted(found, key=lambda each: each._time)

    # -- the end

    def any(self) -> bool:
        """Whether there are some of any trial of the experiment."""
        return any(True for _ in self.backend.find(self._path, fields=[], limit=1))

    def spare(self, calls: Iterable[CallIdentity]) -> Spare:
        """What this trial need not keep when it is complete.

        Parameters
        ----------
        calls : iterable of CallIdentity
            Those that went on from a checkpoint of another trial, which is spare, too.
        """
        found = documents(self.backend, self.place.experiment, self.place.uid)
        contents = {document.get("content") for document in found.values()}
        contents |= {call.key for call in calls}
        for content in filter(None, contents):
            for key, document in self._of(str(content)):
                if key not in found and self._is_usable(str(document["trial"]), ()):
                    found[key] = document
        spare = Spare([], {}, [])
        for key, document in found.items():
            kept = [entry for entry in document["entries"] if entry["keep"]]
            if kept:
                spare.left[key] = kept
            else:
                spare.writes.append(Remove(self._path, key))
            spare.digests.extend(e["digest"] for e in document["entries"] if not e["keep"])
        return spare

    def clear(self, spare: Spare) -> None:
        """Delete what is spare; the trial is complete."""
        with suppress(BackendError, ConflictError):
            for key, entries in spare.left.items():
                self.backend.update(self._path, key, {"entries": entries})
            self.discard(spare.digests)


def documents(backend: Backend, name: str, uid: str) -> dict[str, Document]:
    """Documents of one trial, by key."""
    found = backend.find(paths.checkpoints(name), {"trial": uid})
    return {str(key): document for key, document in found}


def removing(backend: Backend, name: str, uid: str) -> list[Write]:
    """The writes that remove all checkpoints of one trial."""
    return [Remove(paths.checkpoints(name), key) for key in documents(backend, name, uid)]


def abandoned(backend: Backend, name: str) -> list[Write]:
    """The writes that remove what was left behind: of trials that are complete, or gone."""
    known: dict[str, Document | None] = {}
    writes: list[Write] = []
    for key, document in backend.find(paths.checkpoints(name)):
        uid = str(document.get("trial"))
        if uid not in known:
            known[uid] = _row(backend, name, uid)
        if _is_left(known[uid], document):
            writes.append(Remove(paths.checkpoints(name), key))
    return writes


def _is_left(row: Document | None, document: Document) -> bool:
    if row is None or row.get("collected"):
        return True
    try:
        kept = any(entry["keep"] for entry in document["entries"])
    except _ODD:
        return True
    return row.get("state") == TrialState.COMPLETE and not kept


def _row(backend: Backend, name: str, uid: str) -> Document | None:
    """A row, also of a trial that was removed."""
    found = backend.find(paths.trials(name), {"uid": uid}, order_by="-key", limit=1)
    return next((row for _, row in found), None)


def _each(place: Place, document: Document) -> list[Checkpoint]:
    return [Checkpoint(place, document, entry) for entry in document["entries"]]


def slot(document: Document) -> Slot:
    """Where the checkpoints of a document are, for signatures."""
    return "checkpoint", document["step"], str(document["call"]), str(document.get("content"))


def told(checkpoint: Checkpoint, number: Number | None) -> str:
    """How messages name one.

    Examples
    --------
    >>> place = Place(None, "example", "0a" * 16)
    >>> entry = {"time": 0.0, "keep": False}
    >>> told(Checkpoint(place, {"step": "fit", "call": 0}, entry), 3)
    "a checkpoint of step 'fit' in trial 3"
    """
    where = preview(checkpoint.trial[:8], 20) if number is None else number
    return f"a checkpoint of step {checkpoint.step!r} in trial {where}"
