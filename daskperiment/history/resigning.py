"""Resigning: pickles that were genuine in one store stay so in another.

A signature holds in its own store alone, and a store that only its user can write to needs none.
So what is copied is checked where it comes from, and signed where it goes to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daskperiment.errors import UntrustedPayloadError
from daskperiment.history import signatures
from daskperiment.history.checkpoints import slot as checkpoint_slot
from daskperiment.history.places import Place, Slot
from daskperiment.history.steps import output_slot
from daskperiment.typing import JSON, Document


class Resigning:
    """The descriptions of one trial's values on their way.

    Parameters
    ----------
    source, target : Place
        The trial in both stores.

    Attributes
    ----------
    refused : dict of str to str
        By part, why a pickle is not trusted.  It is kept unsigned where the target can tell; where
        everything in the target would be loaded, the reason stands in its place.
    """

    def __init__(self, source: Place, target: Place) -> None:
        self._source = source
        self._target = target
        self._idle = source.backend.owned and target.backend.owned
        self.refused: dict[str, str] = {}

    def row(self, row: Document) -> Document:
        """A trial's row as the target keeps it."""
        if self._idle or row.get("collected"):
            return row
        changes: Document = {
            "parameters": [
                [name, self._anew(f"parameters.{name}", ("parameters", name), kept)]
                for name, kept in row["parameters"]
            ]
        }
        if "result" in row:
            changes["result"] = self._anew("result", ("result",), row["result"])
        return self._graph({**row, **changes})

    def _graph(self, row: Document) -> Document:
        """What runs when the trial is reproduced, as :mod:`daskperiment.history.signatures` has it.

        A graph that is not trusted is left behind where it would run without a signature.
        """
        if row.get("graph") is None or row.get("code") is None:
            return row
        fields = signatures.FIELDS.values()
        bare = {name: value for name, value in row.items() if name not in fields}
        try:
            signatures.check(self._source, row)
            if row.get("session") is not None and "git" not in row.get("forgotten", {}):
                signatures.check(self._source, row, "session")
        except UntrustedPayloadError as error:
            self.refused["graph"] = str(error)
            return {**bare, "graph": None} if self._target.backend.owned else bare
        return {**bare, **signatures.signed(self._target, bare)}

    def steps(self, entries: list[JSON]) -> list[JSON]:
        """Step records as the target keeps them."""
        return self._each(entries, self._step)

    def artifacts(self, entries: list[JSON]) -> list[JSON]:
        """Artifacts as the target keeps them."""
        return self._each(entries, self._artifact)

    def checkpoints(self, documents: Mapping[str, Document]) -> dict[str, Document]:
        """Documents of checkpoints as the target keeps them, by key."""
        return dict(documents) if self._idle else {k: self._left(d) for k, d in documents.items()}

    def _left(self, document: Document) -> Document:
        entries = [
            self._anew("checkpoints", checkpoint_slot(document), entry)
            for entry in document["entries"]
        ]
        # One that is not trusted has no digest here, and nobody could go on from it.
        return {**document, "entries": [entry for entry in entries if "digest" in entry]}

    def _each(self, entries: list[Any], anew: Callable[[Document], Document]) -> list[Any]:
        return entries if self._idle else [anew(entry) for entry in entries]

    def _step(self, entry: Document) -> Document:
        if not entry.get("kept"):
            return entry
        step = entry["step"]
        kept = self._anew(f"persisted.{step}", output_slot(step, entry["call"]), entry["kept"])
        return {**entry, "kept": kept}

    def _artifact(self, entry: Document) -> Document:
        name = entry["name"]
        return self._anew(f"artifacts.{name}", ("artifacts", name), entry)

    def _anew(self, part: str, where: Slot, kept: Document) -> Document:
        bare = {name: value for name, value in kept.items() if name != "signed"}
        try:
            self._source.check(where, kept)
        except UntrustedPayloadError as error:
            self.refused[part] = str(error)
            if not self._target.backend.owned:
                return bare
            named = ("type", "preview", "name", "time")
            return {n: v for n, v in kept.items() if n in named} | {"reason": str(error)}
        return self._target.sign(where, bare)
