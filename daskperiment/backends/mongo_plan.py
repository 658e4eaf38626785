"""What a group of writes comes to in a store in MongoDB: the rows as they will be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daskperiment.backends.base import (
    Append,
    Clear,
    Discard,
    Hold,
    Insert,
    Put,
    Remove,
    Update,
    Write,
)
from daskperiment.backends.documents import check_texts, matches
from daskperiment.backends.mongo_payloads import Source
from daskperiment.backends.mongo_rows import (
    CHUNKS,
    DAMAGED,
    PAYLOADS,
    ROWS,
    Row,
    bucket_id,
    document_id,
    document_of,
    document_row,
    escape,
    state_id,
    text_of,
)
from daskperiment.errors import ConflictError, DamagedRowError, DocumentError
from daskperiment.typing import Document, Key

MOST_ENTRIES = 500
"""Entries of one row of a log."""
MOST_BYTES = 1_000_000
"""Characters of text in one row of a log, unless a single entry has more."""

Effect = dict[str, Any]
"""One change of rows, in a form that can be written down.

``{"in": collection, "put": row}``
    The row is to be this one.
``{"in": collection, "extend": id, "entries": [...], "end": n}``
    These entries are to be added to a bucket.
``{"in": collection, "bury": selector}``
    The rows that are selected are to become tombstones.
``{"in": collection, "delete": token}``
    The chunks of a token are to be deleted.
"""


@dataclass
class State:
    """What is known of a path: its highest number, and its log."""

    highest: int = 0
    length: int = 0
    life: int = 0
    start: int = 0
    bytes: int = 0
    cleared: bool = False
    changed: bool = False
    fresh: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, row: Row | None) -> State:
        """Read the row of a path."""
        if row is None or "gone" in row:
            return cls()
        names = ("highest", "length", "life", "start", "bytes")
        if not all(isinstance(row.get(name), int) for name in names):
            raise DamagedRowError(f"the row {row.get('_id')!r} is no state of a path; {DAMAGED}")
        return cls(*(row[name] for name in names))


class Plan:
    """The results and the effects of a group, if nothing else is written meanwhile.

    Parameters
    ----------
    writes : sequence of Write
        The group.
    group : int
        Its number.
    """

    def __init__(self, writes: Sequence[Write], group: int) -> None:
        self.results: list[Any] = []
        self._writes, self._group = writes, group
        self._documents: dict[tuple[str, Key], Document | None] = {}
        self._existed: set[str] = set()
        self._changed: dict[tuple[str, Key], None] = {}
        self._states: dict[str, State] = {}
        self._payloads: dict[str, bool] = {}
        self._kept: Mapping[str, Row] = {}

    def rows(self) -> list[str]:
        """The ids of rows that have to be read."""
        found: dict[str, None] = {}
        for write in self._writes:
            if isinstance(write, (Insert, Append, Clear)):
                found[state_id(write.path)] = None
            if isinstance(write, (Insert, Update, Remove)) and write.key is not None:
                found[document_id(write.path, write.key)] = None
        return list(found)

    def payloads(self, sources: Mapping[int, Source]) -> list[str]:
        """The digests of payloads that have to be looked for."""
        named = [w.digest for w in self._writes if isinstance(w, (Hold, Discard))]
        return list(dict.fromkeys([*named, *(each.digest for each in sources.values())]))

    def carry_out(
        self, rows: Mapping[str, Row], kept: Mapping[str, Row], sources: Mapping[int, Source]
    ) -> None:
        """Find out the results.

        Parameters
        ----------
        rows, kept : mapping
            The rows that were read, and the payloads that are there.
        sources : mapping
            What each `Put` is to keep, by its place in the group.

        Raises
        ------
        ConflictError
            If a write of the group is refused.
        """
        self._read(rows)
        self._kept = kept
        self._payloads = dict.fromkeys(kept, True)
        for at, write in enumerate(self._writes):
            self.results.append(self._write(write, sources.get(at)))

    def effects(
        self, sources: Mapping[int, Source], stored: Callable[[Source], Row]
    ) -> list[Effect]:
        """Changes of rows that make the group's results true.

        ``stored`` returns the fields of a payload that was not there before.
        """
        return [
            *self._of_documents(),
            *(effect for path in self._states for effect in self._of_path(path)),
            *self._of_payloads(sources, stored),
        ]

    def _read(self, rows: Mapping[str, Row]) -> None:
        for write in self._writes:
            if isinstance(write, (Insert, Append, Clear)):
                self._states[write.path] = State.of(rows.get(state_id(write.path)))
            if isinstance(write, (Insert, Update, Remove)) and write.key is not None:
                row = rows.get(document_id(write.path, write.key))
                alive = row is not None and "gone" not in row
                if row is not None and alive:
                    self._existed.add(row["_id"])
                self._documents[write.path, write.key] = document_of(row) if row and alive else None

    def _write(self, write: Write, source: Source | None) -> Any:
        match write:
            case Insert(path, document, key):
                return self._insert(path, document, key)
            case Update():
                return self._update(write)
            case Remove(path, key):
                existed = self._documents[path, key] is not None
                if existed:
                    self._set(path, key, None)
                return existed
            case Append(path, entries):
                state = self._states[path]
                state.fresh.extend(text_of(entry) for entry in entries)
                state.length += len(entries)
                state.changed |= bool(entries)
                return state.length
            case Clear(path):
                return self._clear(path)
            case Put() if source is not None:
                self._payloads[source.digest] = True
                return source.digest
            case Hold(digest):
                if not self._payloads.get(digest):
                    raise ConflictError(f"there is no payload {digest!r}")
                return True
            case Discard(digest):
                existed, self._payloads[digest] = self._payloads.get(digest, False), False
                return existed
        raise DocumentError(f"{type(write).__qualname__} is no write")

    def _insert(self, path: str, document: Document, key: Key | None) -> Key:
        state = self._states[path]
        if key is None:
            key = state.highest + 1
        if self._documents.get((path, key)) is not None:
            raise ConflictError(f"{key!r} exists at {path!r}")
        self._set(path, key, document)
        if isinstance(key, int) and key > state.highest:
            state.highest, state.changed = key, True
        return key

    def _update(self, write: Update) -> bool:
        document = self._documents[write.path, write.key]
        if document is None:
            raise ConflictError(f"there is no {write.key!r} at {write.path!r}")
        if not matches(document, check_texts(write.expect)):
            raise ConflictError(f"{write.key!r} at {write.path!r} is not as expected")
        if write.changes:
            self._set(write.path, write.key, {**document, **write.changes})
        return True

    def _clear(self, path: str) -> int:
        state, length = self._states[path], self._states[path].length
        if length:
            state.fresh.clear()
            state.length, state.cleared, state.changed = 0, True, True
        return length

    def _set(self, path: str, key: Key, document: Document | None) -> None:
        self._documents[path, key] = document
        self._changed[path, key] = None

    def _of_documents(self) -> Iterator[Effect]:
        for path, key in self._changed:
            document = self._documents[path, key]
            if document is not None:
                yield {"in": ROWS, "put": document_row(path, key, document, self._group)}
            elif (name := document_id(path, key)) in self._existed:
                yield {"in": ROWS, "bury": {"_id": name}}

    def _of_path(self, path: str) -> Iterator[Effect]:
        state = self._states[path]
        if not state.changed:
            return
        begin = state.length - len(state.fresh)
        if state.cleared:
            yield {"in": ROWS, "bury": {"path": escape(path), "end": {"$gt": 0}}}
        if begin == 0:
            state.life, state.start, state.bytes = self._group, 0, 0
        yield from self._of_log(path, state, begin)
        yield {
            "in": ROWS,
            "put": {
                "_id": state_id(path),
                "g": self._group,
                "path": escape(path),
                "highest": state.highest,
                "length": state.length,
                "life": state.life,
                "start": state.start,
                "bytes": state.bytes,
            },
        }

    def _of_log(self, path: str, state: State, begin: int) -> Iterator[Effect]:
        left = list(state.fresh)
        if begin and (room := _fitting(left, begin - state.start, state.bytes)):
            state.bytes += sum(map(len, left[:room]))
            yield {
                "in": ROWS,
                "extend": bucket_id(path, state.life, state.start),
                "entries": left[:room],
                "end": begin + room,
            }
            del left[:room]
        while left:
            state.start = state.length - len(left)
            entries = left[: _fitting(left, 0, 0) or 1]
            state.bytes = sum(map(len, entries))
            del left[: len(entries)]
            yield {
                "in": ROWS,
                "put": {
                    "_id": bucket_id(path, state.life, state.start),
                    "g": self._group,
                    "path": escape(path),
                    "life": state.life,
                    "end": state.start + len(entries),
                    "entries": entries,
                },
            }

    def _of_payloads(
        self, sources: Mapping[int, Source], stored: Callable[[Source], Row]
    ) -> Iterator[Effect]:
        by_digest = {each.digest: each for each in sources.values()}
        for digest, wanted in self._payloads.items():
            there = self._kept.get(digest)
            if wanted and there is None:
                row = {"_id": digest, "g": self._group, **stored(by_digest[digest])}
                yield {"in": PAYLOADS, "put": row}
            elif there is not None and not wanted:
                yield {"in": PAYLOADS, "bury": {"_id": digest}}
                if "token" in there:
                    yield {"in": CHUNKS, "delete": there["token"]}


def _fitting(entries: list[str], count: int, size: int) -> int:
    """How many of the entries a bucket of so many entries and characters has room for."""
    for n, text in enumerate(entries):
        size += len(text)
        if count + n >= MOST_ENTRIES or size > MOST_BYTES:
            return n
    return len(entries)
