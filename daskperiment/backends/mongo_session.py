"""The head of a store in MongoDB, and how a process reads, writes and waits by it.

What it is for is told in :mod:`daskperiment.backends.mongo_groups`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from daskperiment.backends import mongo_payloads
from daskperiment.backends.mongo_chance import OWN
from daskperiment.backends.mongo_plan import Effect, Plan
from daskperiment.backends.mongo_rows import CHUNKS, DAMAGED, FIELDS, PAYLOADS, ROWS, STORE, Row
from daskperiment.errors import (
    BackendError,
    BackendLostDataError,
    StoreCorruptError,
    StoreTooNewError,
)

if TYPE_CHECKING:
    from pymongo.database import Database

SCHEMA = 1
HEAD = "head"

PATIENCE_WITH_OTHERS = 0.5
"""Seconds for which another process may take to apply its group, until it is helped."""
_PAUSE, _LONGEST_PAUSE = 0.001, 0.02

LARGEST_HEAD = 8_000_000
"""Bytes of effects that the head holds itself; more of them are chunks that it refers to."""

MARKERS = 4096
"""Groups whose id is remembered, for who asks whether its own was committed."""

_AT_ONCE = 5_000
"""Rows that are read by one query."""
_DUPLICATE = 11000
_FORBIDDEN = 13


class Session:
    """The collections of a store, as one process uses them.

    Parameters
    ----------
    database : pymongo.database.Database
        Where the collections are, or will be.
    expected : str, optional
        Id of the store that must be there.

    Attributes
    ----------
    applied : int
        A group up to which all are known to be applied.
    """

    def __init__(self, database: Database[Row], expected: str | None = None) -> None:
        from bson.codec_options import DEFAULT_CODEC_OPTIONS
        from pymongo import ReadPreference, WriteConcern

        asked = database.write_concern
        concern = asked if asked.document else WriteConcern(w="majority", j=True)
        how: dict[str, Any] = {
            "codec_options": DEFAULT_CODEC_OPTIONS,
            "read_preference": ReadPreference.PRIMARY,
            "write_concern": concern,
        }
        self.database = database
        self.expected = expected
        self.store, self.rows, self.payloads, self.chunks = (
            database.get_collection(name, **how) for name in (STORE, ROWS, PAYLOADS, CHUNKS)
        )
        self.named = {ROWS: self.rows, PAYLOADS: self.payloads, CHUNKS: self.chunks}
        # That a group is applied need not be written down safely: it would be applied again.
        self._notes = self.store.with_options(write_concern=WriteConcern(w=1))
        self.writing = threading.Lock()
        self.applied = 0
        self._latest: int | None = None

    # -- the store

    def identify(self, make: bool = True) -> str | None:
        """Return the id of the store; make indexes and head if it is absent, or return None.

        Raises
        ------
        StoreTooNewError
            If a newer release made it.
        """
        from pymongo.errors import DuplicateKeyError

        head = self.store.find_one({"_id": HEAD}, {"store": 1, "schema": 1})
        if head is None and not make:
            return None
        if head is None:
            for second in ("key", "end"):
                self.rows.create_index([("path", 1), (second, 1)])
            fresh = {"store": uuid4().hex, "schema": SCHEMA, "seq": 0, "applied": 0}
            with suppress(DuplicateKeyError):  # others make it at this moment
                self.store.insert_one({"_id": HEAD, **fresh, "group": "", "turn": ""})
            head = self.store.find_one({"_id": HEAD}, {"store": 1, "schema": 1})
        if head is None or not isinstance(head.get("schema"), int):
            raise StoreCorruptError(f"the head of the store cannot be read: {DAMAGED}")
        if head["schema"] > SCHEMA:
            raise StoreTooNewError(
                f"a newer release of daskperiment made this store (schema {head['schema']}, this "
                f"one knows {SCHEMA}): update daskperiment"
            )
        return str(head["store"])

    def head(self) -> Row:
        """Return the head, without the effects of its group."""
        head = self.store.find_one({"_id": HEAD}, {"writes": 0})
        if head is None or head.get("store") != (self.expected or head.get("store")):
            raise BackendLostDataError(
                "the database has lost its store, or holds another one now: restore it, or begin a "
                "new one there, with a new Experiment in a new process"
            )
        kinds = {"seq": int, "applied": int, "group": str, "turn": str}
        if not all(isinstance(head.get(name), kind) for name, kind in kinds.items()):
            raise StoreCorruptError(f"the head of the store cannot be read: {DAMAGED}")
        return head

    def latest(self, group: str) -> int:
        """Number of the latest group, which is applied, as this process knows it.

        Waits while a group other than this one has asked for the next turn.
        """
        if self._latest is None:
            self._latest = self._wait(None, group)
        return self._latest

    def is_latest(self, number: int) -> bool:
        """Whether a group is the latest, and applied."""
        head = self.head()
        return bool(head["seq"] == head["applied"] == number)

    def forget(self) -> None:
        """Ask for the number of the latest group when it is needed next."""
        self._latest = None

    # -- reading

    def _wait(self, number: int | None, group: str = "") -> int:
        """Wait until a group is applied, the latest for None; return up to which all are.

        A group that takes too long is applied here, as its process may be dead.
        """
        seen: Any = None
        since, pause = 0.0, _PAUSE
        while True:
            head = self.head()
            seq, applied, turn = head["seq"], head["applied"], head.get("turn", "")
            self.applied = max(self.applied, applied)
            if applied >= (seq if number is None else number) and (
                number is not None or turn in ("", group)
            ):
                return int(applied)
            if number is not None and number > seq:
                raise StoreCorruptError(f"a row is newer than the head of the store: {DAMAGED}")
            if (seq, applied, turn) != seen:
                seen, since, pause = (seq, applied, turn), time.monotonic(), _PAUSE
            elif time.monotonic() - since > PATIENCE_WITH_OTHERS:
                if applied < seq:
                    self.finish(seq)
                else:
                    self.give_turn_back(turn)
                continue
            time.sleep(pause * (0.5 + OWN.random()))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def seen(self, rows: Iterable[Row]) -> bool:
        """Make sure that what the groups of these rows wrote elsewhere is there too.

        Returns whether it was known before.
        """
        newest = max((row["g"] for row in rows if isinstance(row.get("g"), int)), default=0)
        if newest <= self.applied:
            return True
        from pymongo.errors import OperationFailure

        try:
            self._wait(newest)
        except OperationFailure as error:
            if error.code != _FORBIDDEN:
                raise
            return True  # who may only read cannot help
        return False

    # -- writing

    def read(self, plan: Plan) -> dict[str, Row]:
        """Return the rows that a plan needs, by id."""
        names = plan.rows()
        found: dict[str, Row] = {}
        for at in range(0, len(names), _AT_ONCE):
            for row in self.rows.find({"_id": {"$in": names[at : at + _AT_ONCE]}}, {"texts": 0}):
                found[row["_id"]] = row
        return found

    def kept(self, digests: Sequence[str]) -> dict[str, Row]:
        """Return size and place of those payloads that are there."""
        wanted = [digest for digest in digests if digest.isascii()]
        query = {"_id": {"$in": wanted}, "size": {"$gte": 0}}
        rows = self.payloads.find(query, {"size": 1, "token": 1}) if wanted else ()
        return {row["_id"]: row for row in rows}

    def written_down(self, effects: Sequence[Effect]) -> Row:
        """Fields of the head that hold the effects of a group, or name the chunks that do."""
        from bson import encode

        writes: bytes = encode({"effects": effects})
        if len(writes) <= LARGEST_HEAD:
            return {"writes": writes}
        source = mongo_payloads.source(writes)
        return {"token": mongo_payloads.upload(self.chunks, source.pieces())[0]}

    def commit(self, number: int, group: str, written: Row) -> bool:
        """Write a group into the head; return False if another one was faster."""
        self._latest = None
        done = self.store.update_one(
            {
                "_id": HEAD,
                "seq": number - 1,
                "applied": number - 1,
                "turn": {"$in": ["", group]},
            },
            {"$set": {"seq": number, "group": group, "turn": "", **written}},
        )
        return done.matched_count == 1

    def ask_for_turn(self, group: str) -> None:
        """Ask that no other group is committed next."""
        self._notes.update_one({"_id": HEAD, "turn": ""}, {"$set": {"turn": group}})

    def give_turn_back(self, group: str) -> None:
        """Let others go first again."""
        self._notes.update_one({"_id": HEAD, "turn": group}, {"$set": {"turn": ""}})

    def finish(
        self, number: int, effects: Sequence[Effect] | None = None, token: str | None = None
    ) -> None:
        """Apply a group that was committed, if it is not.

        ``effects`` and ``token`` are what was written down, where that is known.
        """
        if effects is None:
            head = self.store.find_one({"_id": HEAD, "seq": number, "applied": {"$lt": number}})
            if head is None or (effects := self._written(head)) is None:
                return
            token = head.get("token")
        self._apply(number, effects)
        self._notes.update_one(
            {"_id": HEAD, "seq": number, "applied": {"$lt": number}},
            {"$set": {"applied": number}, "$unset": {"writes": "", "token": ""}},
        )
        self.discard(token)
        self.applied = max(self.applied, number)
        self._latest = number

    def discard(self, token: str | None) -> None:
        """Delete the chunks of a token, if there is one."""
        if token is not None:
            self.chunks.delete_many(mongo_payloads.of_token(token))

    def was_committed(self, number: int, group: str) -> bool:
        """Whether the group of this number is the one of this id.

        Raises
        ------
        BackendError
            If it was so long ago that it cannot be known.
        """
        head = self.head()
        if head["seq"] <= number:
            return bool(head["seq"] == number and head["group"] == group)
        marker = self.rows.find_one({"_id": marker_id(number)})
        if marker is None or marker.get("g") != number:
            raise BackendError(
                "the connection was lost during a write, and whether it was carried out cannot be "
                "known any more: look at what is stored"
            )
        return bool(marker["group"] == group)

    def _written(self, head: Row) -> Sequence[Effect] | None:
        from bson import decode
        from bson.errors import BSONError

        writes: Any = head.get("writes")
        if writes is None and "token" in head:
            writes = mongo_payloads.content(self.chunks, str(head["token"]))
        try:
            effects: Sequence[Effect] = decode(writes)["effects"]
        except (BSONError, TypeError, KeyError) as error:
            if self.head()["applied"] >= head["seq"]:
                return None  # its chunks were deleted meanwhile
            raise StoreCorruptError(f"the latest group cannot be read: {DAMAGED}") from error
        return effects

    def _apply(self, number: int, effects: Sequence[Effect]) -> None:
        for name in (ROWS, PAYLOADS):
            operations = [
                _operation(effect, number, name) for effect in effects if effect["in"] == name
            ]
            if operations:
                self._write(name, operations)
        for effect in effects:
            if effect["in"] == CHUNKS:
                self.discard(effect["delete"])

    def _write(self, name: str, operations: list[Any]) -> None:
        from pymongo.errors import BulkWriteError

        try:
            self.named[name].bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            failed = [each.get("code") for each in error.details.get("writeErrors", [])]
            if error.details.get("writeConcernErrors") or set(failed) != {_DUPLICATE}:
                raise
            # What was to be inserted is there: the group was applied by others too.


def marker_id(number: int) -> str:
    """The ``_id`` of the row that remembers which group had a number."""
    return f"group/{number % MARKERS}"


def _operation(effect: Effect, number: int, name: str) -> Any:
    from pymongo import UpdateMany, UpdateOne

    older: Mapping[str, Any] = {"g": {"$lt": number}}
    if (row := effect.get("put")) is not None:
        fields = {name: value for name, value in row.items() if name != "_id"}
        put = {"$set": fields, "$unset": {"gone": ""}}
        return UpdateOne({"_id": row["_id"], **older}, put, upsert=True)
    if "extend" in effect:
        return UpdateOne(
            {"_id": effect["extend"], **older},
            {
                "$push": {"entries": {"$each": effect["entries"]}},
                "$set": {"end": effect["end"], "g": number},
            },
        )
    return UpdateMany(
        {**effect["bury"], **older},
        {
            "$set": {"g": number, "gone": int(time.time())},
            "$unset": dict.fromkeys(FIELDS[name], ""),
        },
    )
