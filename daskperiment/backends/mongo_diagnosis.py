"""What there is to say of a store in MongoDB: its server, its safety, its speed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from daskperiment.backends.base import Finding
from daskperiment.backends.mongo_session import Session

SLOW = 0.1
"""Seconds of a ping above which there is a note: a step waits for several."""


def examine(session: Session) -> Iterator[Finding]:
    """Examine a store; see `daskperiment.backends.base.Backend.diagnose`."""
    yield _kind(session)
    yield _speed(session)
    yield _safety(session)


def _kind(session: Session) -> Finding:
    from pymongo.errors import OperationFailure

    try:
        said: dict[str, Any] = session.database.command({"hello": 1})
    except (OperationFailure, NotImplementedError):
        return Finding(
            "note",
            "the server does not say whether it is one of a replica set",
            "ask its administrator how it is kept safe",
        )
    if name := said.get("setName"):
        return Finding("ok", f"the server is a member of the replica set {name}")
    if said.get("msg") == "isdbgrid":
        return Finding("ok", "the server is a router of a sharded cluster")
    return Finding(
        "note",
        "the server is no member of a replica set: what it holds is on one machine",
        "make copies with mongodump",
    )


def _speed(session: Session) -> Finding:
    began = time.monotonic()
    session.head()
    seconds = time.monotonic() - began
    if seconds < SLOW:
        return Finding("ok", f"the server answers in {1000 * seconds:.1f} ms")
    return Finding(
        "note",
        f"the server takes {1000 * seconds:.0f} ms to answer",
        "use one that is nearer, as every trial waits for several answers",
    )


def _safety(session: Session) -> Finding:
    concern = dict(session.store.write_concern.document)
    shown = ", ".join(f"{name}={value}" for name, value in sorted(concern.items()))
    if concern.get("w") == "majority":
        return Finding("ok", f"writes wait for a majority of the servers ({shown})")
    return Finding(
        "note",
        f"writes do not wait for a majority of the servers ({shown}): some may be lost when a "
        "server fails",
        "leave w= and journal= out of the URI",
    )
