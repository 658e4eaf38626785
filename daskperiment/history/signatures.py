"""Signatures of what a trial runs: in a store that others may write to, nobody can change it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from daskperiment.history.places import Place
from daskperiment.typing import Document

What: TypeAlias = Literal["graph", "session"]
"""Code and graph; or the session, whose git commit and changes may be run, too."""
FIELDS: dict[What, str] = {"graph": "signed", "session": "session_signed"}
"""The fields of a row with the signatures."""


def signed(place: Place, row: Document) -> Document:
    """The fields of a row that sign what can be run of it; none where none is needed."""
    if row.get("graph") is None or row.get("code") is None:
        return {}
    # Of any store: a trial that begins offline asks no server.
    found = {
        field: place.sign((what,), _described(what, row), anywhere=True).get("signed")
        for what, field in FIELDS.items()
        if row.get(what) is not None
    }
    return {field: signature for field, signature in found.items() if signature is not None}


def check(place: Place, row: Document, what: What = "graph") -> None:
    """Refuse to run what others may have written.

    Raises
    ------
    UntrustedPayloadError
        The store is one that others may write to, and there is no valid signature.
    """
    place.check((what,), _described(what, row) | {"signed": row.get(FIELDS[what])})


def _described(what: What, row: Document) -> Document:
    # As a pickle, since it runs code.
    content = f"{row['code']} {row['graph']}" if what == "graph" else row["session"]
    return {"codec": "pickle", "digest": content}
