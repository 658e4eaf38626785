"""What is read from a store in MongoDB by more than one query, and what is swept out of it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from daskperiment.backends import mongo_payloads
from daskperiment.backends.files import is_digest
from daskperiment.backends.mongo_rows import (
    CHUNKS,
    DAMAGED,
    LONGEST_SEARCHED,
    PAYLOADS,
    ROWS,
    STORE,
    Row,
    entries_of,
    escape,
    searched,
)
from daskperiment.backends.mongo_session import Session
from daskperiment.errors import DamagedRowError, StoreCorruptError
from daskperiment.typing import JSON


def query(path: str, accepted: dict[str, list[str]]) -> dict[str, Any]:
    """What the server can tell of a search; documents that it finds are compared again here."""
    query: dict[str, Any] = {"path": escape(path)}
    conditions = [
        {"texts": {"$in": [searched(field, text) for text in texts]}}
        for field, texts in accepted.items()
        if all(len(text) <= LONGEST_SEARCHED for text in texts)
    ]
    if conditions:
        query["$and"] = conditions
    return query


def read(session: Session, path: str, start: int) -> list[JSON]:
    """Return entries of a log from a position on, or its last ones."""
    if start >= 0:
        return _entries(session, path, start)
    last = session.rows.find({"path": escape(path), "end": {"$gt": 0}}, {"end": 1, "g": 1})
    rows = list(last.sort("end", -1).limit(1))
    session.seen(rows)
    length = rows[0]["end"] if rows else 0
    return _entries(session, path, max(0, length + start))[start:]


def _entries(session: Session, path: str, start: int) -> list[JSON]:
    found: list[JSON] = []
    life, missing = None, 0
    while True:
        settled, gap = True, False
        query = {"path": escape(path), "end": {"$gt": start + len(found)}}
        for row in session.rows.find(query).sort("end", 1):
            settled &= session.seen([row])
            if life not in (None, row.get("life")):
                found, life, gap = [], None, True  # cleared meanwhile
                break
            life, entries = row.get("life"), entries_of(row)
            begin = row["end"] - len(entries)
            if begin > start + len(found):
                # The row before it was read, or looked for, when it was not yet so long.
                gap, missing = True, missing + 1
                break
            found += entries[start + len(found) - begin :]
            missing = 0
        if missing > 3:
            raise DamagedRowError(f"entries of the log {path!r} are missing; {DAMAGED}")
        if settled and not gap:
            return found


def payload(session: Session, digest: str) -> Row | None:
    """Return the row of a payload, or None."""
    if not isinstance(digest, str) or not is_digest(digest):
        return None
    row = session.payloads.find_one({"_id": digest, "size": {"$gte": 0}})
    if row is not None:
        session.seen([row])
        if not isinstance(row.get("token", row.get("data")), (str, bytes)):
            raise StoreCorruptError(f"the payload {digest} cannot be read: {DAMAGED}")
    return row


def tidy(session: Session) -> None:
    """Delete what died long ago, and ask the server for its space."""
    from pymongo.errors import PyMongoError

    long_ago = int(time.time()) - mongo_payloads.YOUNG
    for collection in (session.rows, session.payloads):
        collection.delete_many({"gone": {"$lt": long_ago}})
    head = session.head()
    used = {str(head.get("token"))}
    used |= {str(row["token"]) for row in session.payloads.find({"token": {"$gte": ""}})}
    for token in mongo_payloads.litter(session.chunks, used):
        session.chunks.delete_many(mongo_payloads.of_token(token))
    for name in (STORE, ROWS, PAYLOADS, CHUNKS):
        with suppress(PyMongoError, NotImplementedError):
            session.database.command({"compact": name})
