"""Recording: past runs become ended trials.

They are written to a store of their own first and copied from there, so that numbers, payloads
and interruptions are those of :mod:`daskperiment.history.copying`.
"""

from __future__ import annotations

import ast
import tempfile
from dataclasses import dataclass

from blake3 import blake3

from daskperiment.backends.base import Append, Backend, Insert, Write
from daskperiment.backends.local import LocalBackend
from daskperiment.fingerprint.values import digest, try_digest
from daskperiment.history import paths, payloads
from daskperiment.history.artifacts import Artifacts
from daskperiment.history.copying import copy_trials
from daskperiment.history.experiments import enlist
from daskperiment.history.metrics import Metrics
from daskperiment.history.places import Place
from daskperiment.history.snapshots import Snapshots
from daskperiment.importers.past import NOTHING, LeftOut, Past, Reading
from daskperiment.names import check_name
from daskperiment.typing import Document

_SCHEMA = 1
_PARAMETER = "parameters."
_OWNER = {"user": None, "host": "", "pid": None}


@dataclass
class Imported:
    """What an import has done.

    Attributes
    ----------
    experiment : str
        Id of the experiment.
    imported : list of (str, int)
        What the other tool calls each new trial, and its number.
    present : int
        How many were there from an earlier import.
    left_out : list of LeftOut
        What could not be read.
    """

    experiment: str
    imported: list[tuple[str, int]]
    present: int
    left_out: list[LeftOut]


def record(reading: Reading, backend: Backend, experiment: str | None = None) -> Imported:
    """Record past runs as ended trials, each once, also when they are read again.

    Parameters
    ----------
    reading : Reading
        What a reader has found.
    backend : Backend
        Where to record.
    experiment : str, optional
        Id of the experiment, unless it is that of the reading.

    Raises
    ------
    InvalidNameError
        The id cannot be used.
    """
    name = check_name(experiment or reading.experiment, "Experiment")
    left_out = list(reading.left_out)
    with (
        tempfile.TemporaryDirectory(prefix="daskperiment-") as folder,
        LocalBackend(folder) as staging,
    ):
        stage = _Stage(staging, name)
        for past in reading.pasts:
            stage.add(past)
            left_out += [LeftOut(past.place, *part) for part in past.left_out.items()]
        done = copy_trials(staging, backend, name)
    imported = [(stage.places[moved.source], moved.target) for moved in done.copied]
    return Imported(name, imported, done.present, left_out)


class _Stage:
    """A store of its own for one experiment."""

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name
        self.places: dict[int, str] = {}
        self._uids: dict[str, None] = {}
        self._snapshots = Snapshots(backend)
        enlist(backend, name)

    def add(self, past: Past) -> None:
        uid = blake3(past.identity.encode("utf-8", "surrogatepass")).hexdigest(16)
        if uid in self._uids:
            past.left_out[""] = "it is equal to another one"
            return
        self._uids[uid] = None
        artifacts = Artifacts(Place(self.backend, self.name, uid))
        for name, file in past.artifacts.items():
            past.take(f"artifacts.{name}", artifacts.saving, name, file)
        row, writes = self._row(uid, past)
        if past.metrics:
            writes.append(Metrics(self.backend, self.name).writing(uid, past.metrics))
        *_, number = self.backend.apply(*writes, Insert(paths.trials(self.name), row))
        self.places[number] = past.place

    def _row(self, uid: str, past: Past) -> tuple[Document, list[Write]]:
        kept = [(name, *payloads.keep(value)) for name, value in past.parameters.items()]
        writes = [write for *_, each in kept for write in each]
        lost = [
            [part.removeprefix(_PARAMETER), _not_imported(reason)]
            for part, reason in past.left_out.items()
            if part.startswith(_PARAMETER)
        ]
        row: Document = {
            "schema": _SCHEMA,
            "uid": uid,
            "state": past.state.value,
            "parameters": [*([name, document] for name, document, _ in kept), *lost],
            "parameters_digest": try_digest(past.parameters)[0] if not lost else None,
            "seed": past.seed,
            "started": past.started,
            "finished": past.finished,
            "seconds": past.seconds,
            "description": past.description,
            "ended_by": "import",
            "imported": past.origin,
            "note": f"Imported from {past.origin}",
            "tags": [],
            "owner": _OWNER,
            **past.about,
            **self._surroundings(past),
        }
        if past.result is not NOTHING:
            row["result"], more = payloads.keep(past.result)
            writes += more
        elif "result" in past.left_out:
            row["result"] = _not_imported(past.left_out["result"])
        return row, writes + self._steps(uid, past, row["environment"])

    def _surroundings(self, past: Past) -> dict[str, str]:
        steps = _functions(past.code)
        digests = {name: blake3(text.encode()).hexdigest() for name, text in steps.items()}
        code: Document = {
            "steps": [_step_code(name, text) for name, text in digests.items()],
            "sources": {},
            "borders": {},
            "with_text": True,
        }
        texts = {digests[name]: text for name, text in steps.items()}
        found = {"code": code, "environment": past.environment, "session": past.session}
        for document in found.values():
            self._snapshots.keep(digest(document), document, texts if document is code else None)
        return {kind: digest(document) for kind, document in found.items()}

    def _steps(self, uid: str, past: Past, environment: str) -> list[Write]:
        entries = []
        writes: list[Write] = []
        for name, value in past.persisted.items():
            kept, more = payloads.keep(value)
            writes += more
            entries.append({"step": name, "call": 0, "inputs": [], "outcome": "ran",
                            "unhashed": "it was imported", "environment": environment,
                            "kept": kept})  # fmt: skip
        if entries:
            writes.append(Append(paths.steps(self.name, uid), entries))
        return writes


def _not_imported(reason: str) -> Document:
    return {"type": "None", "preview": "<not imported>", "reason": reason, "imported": True}


def _step_code(name: str, source: str) -> Document:
    return {"name": name, "source": source, "function": name, "digest": None, "functions": {},
            "unhashed": [], "bytecode": [], "files": [], "borders": {}}  # fmt: skip


def _functions(code: str) -> dict[str, str]:
    """Texts of the functions by name, decorators included; all as one where that fails."""
    try:
        found = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {"code": code}
    lines = code.splitlines(keepends=True)
    texts: dict[str, str] = {}
    for node in found:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            texts[node.name] = "".join(lines[first - 1 : node.end_lineno]).rstrip("\r\n") + "\n"
    return texts or ({"code": code} if code.strip() else {})
