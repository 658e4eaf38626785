"""Signatures of what a trial runs: in a store that others may write to, nobody can change it."""

from __future__ import annotations

from daskperiment.history.places import Place
from daskperiment.typing import Document


def signed(place: Place, row: Document) -> Document:
    """The field of a row that signs its code and its graph; none where none is needed."""
    if "graph" not in row:
        return {}
    # Of any store: a trial that begins offline asks no server.
    signature = place.sign(("graph",), _described(row), anywhere=True).get("signed")
    return {} if signature is None else {"signed": signature}


def check(place: Place, row: Document) -> None:
    """Refuse to run code and graph of a trial that others may have written.

    Raises
    ------
    UntrustedPayloadError
        The store is one that others may write to, and there is no valid signature.
    """
    place.check(("graph",), _described(row) | {"signed": row.get("signed")})


def _described(row: Document) -> Document:
    # As a pickle, since it runs code.
    return {"codec": "pickle", "digest": f"{row['code']} {row['graph']}"}
