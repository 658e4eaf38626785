"""Bringing a spool to its store: every group once, whatever has become of its trial meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3

from daskperiment.backends import open_backend
from daskperiment.backends.base import (
    Append,
    Backend,
    Hold,
    Insert,
    Remove,
    Update,
    Write,
)
from daskperiment.backends.server import ServerBackend
from daskperiment.backends.spool import SUFFIX, Group, Spool
from daskperiment.errors import (
    BackendError,
    BackendUnreachableError,
    BackendURIError,
    ConflictError,
    TrialIDNotFoundError,
)
from daskperiment.history import paths
from daskperiment.history.mirror import changed
from daskperiment.history.observations import Observations, observe
from daskperiment.history.steps import Steps
from daskperiment.history.trials import PRESUMED_DEAD
from daskperiment.records import Provisional, TrialState
from daskperiment.typing import Document, Key

_CHUNK = 1024 * 1024
_ATTEMPTS = 5

Numbers = Callable[[Provisional, str], int | None]


class Done(NamedTuple):
    """How far a spool has been brought to its store.

    Parameters
    ----------
    groups : int
        How many are there.
    numbers : dict
        Numbers of the trials that the last group began, by uid.
    """

    groups: int
    numbers: dict[str, int]


def replay(backend: Backend, spool: Spool, start: int = 0) -> Iterator[Done]:
    """Bring the groups of a spool to its store, each once.

    The store remembers in a document of the spool how many it has: a group is committed
    together with this count.  So it may be ended at any point, and repeated.

    Raises
    ------
    BackendError
        If the store cannot be reached or refuses: the rest stays in the spool.
    TrialIDNotFoundError
        If a group is of a trial that began in another spool, which is not there yet.
    """
    known = backend.get(paths.SPOOLS, spool.id)
    if known is None:
        backend.apply(Insert(paths.SPOOLS, {"applied": "0", **_origin(spool)}, spool.id))
        known = {"applied": "0"}
    applied = int(known["applied"])
    for count, group in enumerate(spool.groups(max(start, applied)), max(start, applied)):
        mark = Update(paths.SPOOLS, spool.id, {"applied": str(count + 1)}, {"applied": str(count)})
        numbers = _commit(backend, group, mark)
        for write in group.writes:
            _observe(backend, write)
        yield Done(count + 1, numbers)


def _observe(backend: Backend, write: Write) -> None:
    """Index what the steps of a trial that has come to its end gave, as its end does online."""
    if not isinstance(write, Update) or write.changes.get("state") != TrialState.COMPLETE:
        return
    name, uid = paths.experiment_of(write.path), (write.expect or {}).get("uid")
    if uid is None:  # of a batch
        return
    number = number_of(backend, write.path, uid)
    if number is not None:
        code = (backend.get(write.path, number) or {}).get("code")
        records = Steps(backend, name).read(uid)
        seen = [(each, now) for each in records if (now := observe(number, code, each))]
        Observations(backend, name).compare(seen)


def _origin(spool: Spool) -> Document:
    return {name: spool.about[name] for name in ("host", "pid", "created") if name in spool.about}


def _commit(backend: Backend, group: Group, mark: Update) -> dict[str, int]:
    def number(provisional: Provisional, path: str) -> int | None:
        found = number_of(backend, path, provisional.uid)
        if found is None:
            raise TrialIDNotFoundError(
                f"The trial {provisional.uid} began in another spool: sync that one first"
            )
        return found

    if group.unsure is not None and _is_there(backend, group.writes):
        backend.apply(mark)
        return {}
    writes = [settle(write, number) for write in group.writes]
    if group.unsure is not None:
        with suppress(ConflictError):
            numbers = _began(writes, _named(backend, group.unsure, writes))
            backend.apply(mark)
            return numbers
    for _ in range(_ATTEMPTS):
        try:
            results = backend.apply(*writes, mark)
        except ConflictError as conflict:
            now = backend.get(paths.SPOOLS, str(mark.key)) or {}
            if now.get("applied") == mark.changes["applied"]:
                return {}  # the reply was lost
            refused = conflict
            writes = [kept for write in writes for kept in _still_to_do(backend, write)]
        else:
            return _began(writes, results)
    raise BackendError(f"A group of the spool cannot be brought to {backend!r}: {refused}")


def _began(writes: list[Write], results: list[Any]) -> dict[str, int]:
    """Numbers of the trials that a group has begun, by uid."""
    return {
        write.document["uid"]: result
        for write, result in zip(writes, results, strict=False)
        if isinstance(write, Insert) and write.key is None
    }


def _named(backend: Backend, group: str, writes: list[Write]) -> list[Any]:
    """Apply a group that may still be on its way to the server."""
    if not isinstance(backend, ServerBackend):
        return backend.apply(*writes)
    with backend.named(group):
        return backend.apply(*writes)


def _is_there(backend: Backend, writes: list[Write]) -> bool:
    """Whether a group that may have been carried out was: its entries end their logs."""
    for write in writes:
        if isinstance(write, Append) and write.entries:
            return backend.read(write.path, -len(write.entries)) == list(write.entries)
        if isinstance(write, Insert) and write.key is None:
            return number_of(backend, write.path, write.document["uid"]) is not None
    return False


def _still_to_do(backend: Backend, write: Write) -> list[Write]:
    """What is left of a write in a group that was refused: others were faster with the rest."""
    match write:
        case Insert(path, _, key) if key is not None:
            return [] if backend.get(path, key) is not None else [write]
        case Update(path, key, changes, expect):
            row = backend.get(path, key)
            if row is None or not changes:
                return []
            if expect is None or all(row.get(name) == text for name, text in expect.items()):
                return [write]
            return _of_an_ended_trial(write, row)
        case Hold(digest):
            return [write] if any(known == digest for known, _ in backend.blobs()) else []
    return [write]


def _of_an_ended_trial(write: Update, row: Mapping[str, Any]) -> list[Write]:
    """An update of a trial that has ended meanwhile: records are added, and its own end counts
    where others have taken it for dead.
    """
    uid = (write.expect or {}).get("uid")
    if uid is None or row.get("uid") != uid:
        return []
    told = changed(paths.experiment_of(write.path), int(write.key))
    if "state" not in write.changes:
        return [replace(write, expect={"uid": uid}), told]
    if row.get("state") != PRESUMED_DEAD["state"]:
        return []
    changes, expect = write.changes | {"late": True}, {**PRESUMED_DEAD, "uid": uid}
    return [replace(write, changes=changes, expect=expect), told]


def settle(write: Write, number: Numbers) -> Write:
    """A write with numbers in place of provisional ones."""
    match write:
        case Update(path, key) | Remove(path, key) if provisional := Provisional.read(key):
            return replace(write, key=_or(number(provisional, path), key))
        case Append(path, entries) if path.endswith("/changes"):
            trials = path.removesuffix("changes") + "trials"
            return Append(path, [_entry(entry, trials, number) for entry in entries])
    return write


def _or(found: int | None, key: Key) -> Key:
    return key if found is None else found


def _entry(entry: Any, path: str, number: Numbers) -> Any:
    provisional = Provisional.read(entry[0]) if isinstance(entry, list) else None
    return entry if provisional is None else [_or(number(provisional, path), entry[0]), *entry[1:]]


def number_of(backend: Backend, path: str, uid: str) -> int | None:
    """Number of the trial of a uid, None where there is none."""
    found = backend.find(path, {"uid": uid}, fields=["uid"], order_by="-key", limit=1)
    return next((int(number) for number, _ in found), None)


def digest_of(data: bytes | Path) -> str:
    """Digest of a payload."""
    if isinstance(data, bytes):
        return blake3(data).hexdigest()
    hasher = blake3()
    with data.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


@dataclass
class Synced:
    """What became of one spool.

    Attributes
    ----------
    address : str
        Where it belongs, without passwords.
    groups : int
        Groups that were brought there now.
    numbers : list of int
        Numbers of the trials that it began there now.
    problem : str or None
        Why it stays, None where all of it is there.
    """

    address: str
    groups: int = 0
    numbers: list[int] = field(default_factory=list)
    problem: str | None = None


def sync(
    folder: Path, backend: Backend | None = None, *, address: str | None = None
) -> Iterator[Synced]:
    """Bring the spools of a folder to their stores, the oldest first, and delete them.

    Parameters
    ----------
    folder : Path
        Where the spools lie.
    backend : Backend, optional
        A store: only spools that belong there are brought, and by this connection.  None takes
        the address that stands in each.
    address : str, optional
        The address of ``backend``, without passwords.

    Yields
    ------
    Synced
        What became of each.  Those of processes that still run are passed over: such a
        process brings its own.

    Notes
    -----
    May be ended at any point, and repeated: every group is brought once.
    """
    for spool in _oldest_first(folder):
        with closing(spool):
            done = Synced(str(spool.about["address"]))
            try:
                target = backend or open_backend(done.address)
                if backend is not None and not _belongs(spool, backend, address):
                    continue
                _check_store(spool, target)
                for step in replay(target, spool):
                    done.groups += 1
                    done.numbers += step.numbers.values()
                spool.remove()
            except (BackendError, BackendURIError, TrialIDNotFoundError) as error:
                done.problem = str(error)
            yield done


def _oldest_first(folder: Path) -> Iterator[Spool]:
    found = []
    for file in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []:
        with suppress(BlockingIOError):  # its process lives, and syncs by itself
            found.append(Spool(file))
    return iter(sorted(found, key=lambda spool: float(spool.about["created"])))


def _belongs(spool: Spool, backend: Backend, address: str | None) -> bool:
    known = spool.about.get("store")
    return bool(known == backend.store_id if known else spool.about["address"] == address)


def _check_store(spool: Spool, backend: Backend) -> None:
    known = spool.about.get("store")
    if known not in (None, backend.store_id):
        raise BackendUnreachableError(
            f"{backend!r} is another store than the one that the spool belongs to: name that one "
            "by --backend"
        )
