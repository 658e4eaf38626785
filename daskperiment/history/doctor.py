"""Doctor: what is wrong with a store, and what to do about it.  It changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from daskperiment.backends.base import Backend, Finding
from daskperiment.errors import BackendError, DamagedRowError, PayloadNotFoundError
from daskperiment.history import paths
from daskperiment.history.collection import unused
from daskperiment.history.holders import named, of_one_row, parts, readable_rows, texts
from daskperiment.history.snapshots import KINDS, Snapshots
from daskperiment.platform import is_alive
from daskperiment.records import TrialState
from daskperiment.typing import Document

_CHUNK = 1024 * 1024
_SAMPLE = 100
_CHECKPOINTS = "nothing: a step that looks for them takes an older one, or begins anew"
_ADVICE = "restore the store from a copy, or remove the trial"


def examine(backend: Backend, deep: bool = False) -> list[Finding]:
    """Examine a store without changing it.

    Parameters
    ----------
    backend : Backend
        The store; all of its experiments are looked at.  What the others write meanwhile may
        or may not be seen.
    deep : bool
        Read every payload and compare it with its digest, not only a hundred of them.

    Returns
    -------
    list of Finding
        Never empty; each with a ``level`` (``ok``, ``note`` or ``problem``), with ``what`` was
        found and an ``advice``.

    Examples
    --------
    >>> from daskperiment.backends.memory import MemoryBackend
    >>> examine(MemoryBackend())
    [Finding(level='ok', what='0 trials in 0 experiments, 0 payloads', advice='')]
    """
    findings = list(backend.diagnose())
    try:
        return [*findings, *_Examination(backend).findings(deep)]
    except BackendError as error:
        return [*findings, Finding("problem", f"the store cannot be read: {error}", "see above")]


class _Examination:
    """One pass over a store; what it collects are digests and sizes."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.sizes = dict(backend.blobs())
        self.snapshots: set[str] = set()
        self.trials = 0

    def findings(self, deep: bool) -> Iterator[Finding]:
        names = [str(name) for name, _ in self.backend.find(paths.EXPERIMENTS, fields=[])]
        problems = [*self._snapshots(), *self._damaged(deep)]
        for name in names:
            problems += self._experiment(name)
        yield from problems
        if not any(finding.level == "problem" for finding in problems):
            yield from self._orphans()
        trials, payloads = self.trials, len(self.sizes)
        yield Finding("ok", f"{trials} trials in {len(names)} experiments, {payloads} payloads")

    # -- snapshots and payloads

    def _snapshots(self) -> Iterator[Finding]:
        try:
            kept = dict(self.backend.find(paths.SNAPSHOTS))
            moved = self.backend.find(paths.CONDEMNED_SNAPSHOTS)
            kept |= {digest: entry["document"] for digest, entry in moved}
        except Exception as error:
            if not of_one_row(error):
                raise
            yield Finding("problem", f"the snapshots cannot be read: {error!r}", _ADVICE)
            return
        self.snapshots = {str(digest) for digest in kept}
        for digest, document in kept.items():
            if missing := list(filter(self._lacks, texts(document))):
                what = f"snapshot {digest} lacks {len(missing)} of its texts"
                yield Finding("problem", what, _ADVICE)

    def _damaged(self, deep: bool) -> Iterator[Finding]:
        digests = list(self.sizes)
        step = 1 if deep else max(1, len(digests) // _SAMPLE)
        for digest in digests[::step]:
            if not self._is_sound(digest):
                what = f"the bytes of payload {digest[:16]}... are not those of its digest"
                yield Finding("problem", what, _ADVICE)

    def _is_sound(self, digest: str) -> bool:
        hasher = blake3()
        try:
            with self.backend.open(digest) as stream:
                while chunk := stream.read(_CHUNK):
                    hasher.update(chunk)
        except PayloadNotFoundError:  # it was collected since
            return True
        return hasher.hexdigest() == digest

    def _orphans(self) -> Iterator[Finding]:
        spare = [digest for digest in unused(self.backend) if digest in self.sizes]
        if spare:
            size = sum(self.sizes[digest] for digest in spare)
            what = f"no trial refers to {len(spare)} payloads, {size} bytes"
            yield Finding("note", what, "`daskperiment gc` deletes them")

    # -- trials

    def _experiment(self, name: str) -> Iterator[Finding]:
        for number, row in readable_rows(self.backend, name):
            place = f"trial {number} of {name!r}"
            try:
                found = list(dict.fromkeys(self._trial(name, place, row)))
                if not found or not self._was_collected(name, number):
                    yield from found
            except Exception as error:  # whatever reading a damaged record raises
                if not of_one_row(error):
                    raise
                yield Finding("problem", f"{place} cannot be read: {error!r}", _ADVICE)
        yield from self._checkpoints(name)

    def _checkpoints(self, name: str) -> Iterator[Finding]:
        for _, document in self.backend.find(paths.checkpoints(name)):
            place = f"checkpoints of {name!r}"
            try:
                place = f"checkpoints of step {document['step']!r} of {name!r}"
                if any(self._lacks(entry["digest"]) for entry in document["entries"]):
                    yield Finding("problem", f"the bytes of {place} are absent", _CHECKPOINTS)
            except Exception as error:  # whatever reading a damaged document raises
                if not of_one_row(error):
                    raise
                yield Finding("problem", f"{place} cannot be read: {error!r}", _CHECKPOINTS)

    def _was_collected(self, name: str, number: int) -> bool:
        row = self.backend.get(paths.trials(name), number) or {}
        return bool(row.get("collected"))

    def _trial(self, name: str, place: str, row: Document) -> Iterator[Finding]:
        if row.get("collected"):
            return
        state = TrialState(row["state"])
        self.trials += 1
        if not state.ended and not is_alive(row["owner"]):
            what = f"{place} is {state}, but its process is gone"
            yield Finding("note", what, "it is shown as CRASHED when somebody looks at it")
        for what, log in (("metrics", paths.metrics), ("usage", paths.usage)):
            try:
                self.backend.read(log(name, row["uid"]))
            except DamagedRowError as error:
                yield Finding("problem", f"the {what} of {place} cannot be read: {error}", _ADVICE)
        for field, value in parts(self.backend, name, row):
            if any(map(self._lacks, named(value))):
                yield Finding("problem", f"the bytes of {field} of {place} are absent", _ADVICE)
            if field in KINDS and value and self._lacks_snapshot(str(value)):
                yield Finding("problem", f"the {field} snapshot of {place} is absent", _ADVICE)

    # What was not there when the pass began may have been recorded since.

    def _lacks(self, digest: str) -> bool:
        if digest in self.sizes:
            return False
        try:
            self.backend.open(digest).close()
        except PayloadNotFoundError:
            return True
        return False

    def _lacks_snapshot(self, digest: str) -> bool:
        return digest not in self.snapshots and Snapshots(self.backend).find(digest) is None
