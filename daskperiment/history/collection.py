"""Collection: what nothing refers to any more is deleted, while others go on recording.

Between the moment at which one process sees that nothing refers to a payload and the moment
at which it deletes it, another process may put the same bytes and refer to them.  Therefore
a process

1. looks for what nothing refers to,
2. *condemns* it: for a payload it inserts a permission to discard it, a snapshot it moves
   out of the place where trials that begin look for theirs,
3. looks again, and
4. discards what still nothing refers to, in one group with a check of its own permission.

Whoever commits a reference to a payload does so in one group with a :class:`Put` or a
:class:`Hold`, and with the removal of the permission (see :func:`referring`); a trial begins
in one group with a check that its snapshots are in their place.  So a reference was either
committed before step 2, and step 3 sees it, or after it, and step 4 is refused; and after
step 4 the bytes are put anew, or the trial finds that its snapshot is gone and keeps it anew.
A process that dies in between leaves permissions and moved snapshots, which can still be read
and are taken over by the next one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple
from uuid import uuid4

from daskperiment.backends.base import Backend, Discard, Hold, Insert, Put, Remove, Update, Write
from daskperiment.errors import ConflictError
from daskperiment.history import paths
from daskperiment.history.holders import contents, holders


class Freed(NamedTuple):
    """Payloads that were deleted: their number, and their size in bytes."""

    payloads: int
    bytes: int


def referring(digest: str, data: bytes) -> list[Write]:
    """The writes that must be in the group that commits a reference to a payload."""
    return [Put(data), Remove(paths.CONDEMNED, digest)]


def holding(digest: str) -> list[Write]:
    """The same for a payload that is there; the group is refused where it is not any more."""
    return [Hold(digest), Remove(paths.CONDEMNED, digest)]


@functools.lru_cache(maxsize=256)
def demanding(snapshot: str) -> Write:
    """The write that must be in the group that commits a reference to a snapshot."""
    return Update(paths.SNAPSHOTS, snapshot, {})


def unused(
    backend: Backend, among: set[str] | None = None, without: Iterable[str] = ()
) -> dict[str, int]:
    """Payloads and snapshots that nothing refers to, with their sizes in bytes (0 for snapshots).

    Parameters
    ----------
    backend : Backend
        Where they are.
    among : set of str, optional
        Only these, and snapshots that name them.
    without : iterable of str
        Uids of trials that do not count.
    """
    sizes = dict(backend.blobs())
    names = sizes.keys() if among is None else sizes.keys() & among
    inside = contents(backend, names)
    chosen = {key for key, named in inside.items() if among is None or key in among or named}
    wanted = {*names, *chosen}
    used = {digest for digest, _ in holders(backend, wanted, frozenset(without))}
    return {digest: sizes.get(digest, 0) for digest in wanted - used}


def collect(backend: Backend, among: set[str] | None = None) -> Freed:
    """Delete payloads and snapshots that nothing refers to; see the module for how."""
    spare = unused(backend, among)
    token = uuid4().hex
    snapshots = {digest for digest in spare if _condemn(backend, digest, token)}
    standing = {str(digest) for digest, _ in backend.find(paths.SNAPSHOTS, fields=[])}
    inside = contents(backend, spare.keys())
    kept = {digest for digest, _ in holders(backend, set(spare))}
    kept |= {digest for key in standing for digest in inside.get(key, ())}
    for digest in snapshots:
        _sweep_snapshot(backend, digest, token, digest in kept)
    payloads = spare.keys() - snapshots
    gone = [digest for digest in payloads - kept if _discard(backend, digest, token)]
    return Freed(len(gone), sum(spare[digest] for digest in gone))


def _condemn(backend: Backend, digest: str, token: str) -> bool:
    """Condemn a payload or a snapshot; return whether it is a snapshot."""
    document = backend.get(paths.SNAPSHOTS, digest)
    if document is not None:
        with suppress(ConflictError):  # another process has condemned it at this moment
            backend.apply(
                Update(paths.SNAPSHOTS, digest, {}),
                Remove(paths.SNAPSHOTS, digest),
                Remove(paths.CONDEMNED_SNAPSHOTS, digest),
                Insert(paths.CONDEMNED_SNAPSHOTS, {"by": token, "document": document}, digest),
            )
        return True
    if backend.update(paths.CONDEMNED_SNAPSHOTS, digest, {"by": token}):
        return True
    permission = Insert(paths.CONDEMNED, {"by": token}, digest)
    backend.apply(Remove(paths.CONDEMNED, digest), permission)
    return False


def _sweep_snapshot(backend: Backend, digest: str, token: str, used: bool) -> None:
    moved = backend.get(paths.CONDEMNED_SNAPSHOTS, digest)
    if moved is None:
        return
    mine = Update(paths.CONDEMNED_SNAPSHOTS, digest, {}, {"by": token})
    gone = Remove(paths.CONDEMNED_SNAPSHOTS, digest)
    if used:
        with suppress(ConflictError):
            backend.apply(mine, gone, Insert(paths.SNAPSHOTS, moved["document"], digest))
            return
    with suppress(ConflictError):  # another process has condemned it anew
        backend.apply(mine, gone)


def _discard(backend: Backend, digest: str, token: str) -> bool:
    mine = Update(paths.CONDEMNED, digest, {}, {"by": token})
    try:
        *_, existed = backend.apply(mine, Remove(paths.CONDEMNED, digest), Discard(digest))
    except ConflictError:  # somebody refers to it now
        return False
    return bool(existed)
