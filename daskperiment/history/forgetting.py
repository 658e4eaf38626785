"""Forgetting: one part of a trial is deleted so that its bytes are nowhere in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from daskperiment.backends.base import Append, Backend, Clear, Insert, Update, Write
from daskperiment.errors import ConflictError, FieldNotFoundError, ValueNotKeptError
from daskperiment.fingerprint.values import digest as digest_of
from daskperiment.history import checkpoints, paths, payloads
from daskperiment.history.collection import Freed, collect
from daskperiment.history.columns import ENDED
from daskperiment.history.holders import Holder, holders, mentioned
from daskperiment.history.mirror import changed
from daskperiment.history.payloads import FORGOTTEN
from daskperiment.history.removal import check_ended, drop_observations
from daskperiment.history.trials import Trials
from daskperiment.typing import JSON, Document


class Forgotten(NamedTuple):
    """What was deleted, and who still has the same bytes.

    Parameters
    ----------
    field : str
        The part that was forgotten.
    trials : list of Holder
        Where.
    payloads, bytes : int
        Contents that were deleted with it, and their size.
    held : list of Holder
        Parts of trials that still refer to the same contents, which therefore stay.
    """

    field: str
    trials: list[Holder]
    payloads: int
    bytes: int
    held: list[Holder]

    def __str__(self) -> str:
        where = f"Forgot {', '.join(map(str, self.trials))}."
        if not self.held:
            return where
        return (
            f"{where} The same content is still held by {', '.join(map(str, self.held))}; "
            "everywhere=True forgets it there, too"
        )


def check_kept(row: Document, *fields: str) -> None:
    """Raise ValueNotKeptError where one of these parts of a trial was forgotten."""
    for name in fields:
        if (at := row.get("forgotten", {}).get(name)) is not None:
            raise ValueNotKeptError(f"The {name} of this trial was {payloads.forgotten_on(at)}")


def forget(
    backend: Backend, name: str, number: int, part: str, *, everywhere: bool = False
) -> Forgotten:
    """Delete one part of a trial; see :meth:`daskperiment.Trial.forget`."""
    check_ended(number, Trials(backend, name).get(number), "changed")
    first = Holder(name, number, part)
    done = {first: _forget(backend, first)}
    held = _held(backend, done)
    while everywhere and (places := [p for p in held if p not in done and _ended(backend, p)]):
        done |= {place: _forget(backend, place) for place in places}
        held = _held(backend, done)
    freed = collect(backend, set().union(*done.values()))
    for place, digests in done.items():
        _note_left(backend, place, digests & set().union(*held.values()))
    backend.compact()
    return Forgotten(part, list(done), *freed, list(held))


def forget_spare(backend: Backend, name: str, numbers: Iterable[int]) -> set[str]:
    """Forget the outputs that some trials keep only for others; return their digests.

    Their bytes are there until they are collected.
    """
    places = (Holder(name, number, "reuse") for number in numbers)
    return set().union(*(_forget(backend, place) for place in places))


def forget_artifacts(backend: Backend, name: str, numbers: Iterable[int]) -> Freed:
    """Forget all artifacts of some trials, and delete what no other trial has.

    Trials that run, and those without artifacts, are passed over.
    """
    trials, dropped = Trials(backend, name), set()
    for number in numbers:
        row = trials.get(number)
        if row["state"] in ENDED and backend.read(paths.artifacts(name, row["uid"])):
            dropped |= _forget(backend, Holder(name, number, "artifacts"))
    freed = collect(backend, dropped)
    backend.compact()
    return freed


def _held(backend: Backend, done: dict[Holder, set[str]]) -> dict[Holder, set[str]]:
    """Who still refers to what was dropped, and to which of it."""
    held: dict[Holder, set[str]] = {}
    for digest, holder in holders(backend, set().union(*done.values())):
        held.setdefault(holder, set()).add(digest)
    return held


def _note_left(backend: Backend, place: Holder, digests: set[str]) -> None:
    """Note the digests of what stays for others, so that it can be forgotten there later."""
    path = paths.trials(place.experiment)
    while (row := backend.get(path, place.trial)) and "revision" in row:
        before = row.get("left", {})
        left = {**before, place.field: sorted(digests)}
        expect = {"uid": row["uid"], "revision": row["revision"]}
        changes: Document = {"left": left, "revision": uuid4().hex}
        if before.get(place.field, []) == left[place.field]:
            return
        if backend.update(path, place.trial, changes, expect):
            return


def _ended(backend: Backend, place: Holder) -> bool:
    """Whether a part can be forgotten: of a trial that has ended, and one that we know."""
    row = backend.get(paths.trials(place.experiment), place.trial) or {}
    return row.get("state", "") in ENDED and _known(place.field) is not None


def _known(field: str) -> Callable[[_Part, str], _Edit | None] | None:
    head, dot, _ = field.partition(".")
    return _EDITS.get(head + dot)


# -- one part of one trial --------------------------------------------------------------------


@dataclass
class _Edit:
    """What forgetting a part of a trial changes, and what it no longer refers to."""

    changes: Document = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    dropped: list[JSON] = field(default_factory=list)


def _forget(backend: Backend, place: Holder) -> set[str]:
    """Change a trial's row and logs as one group; return the digests that they named."""
    path = paths.trials(place.experiment)
    while (row := backend.get(path, place.trial)) and not row.get("collected"):
        if "revision" not in row:
            # Whoever forgets another part at this moment has to read the row again.
            backend.update(path, place.trial, {"revision": uuid4().hex})
            continue
        edit = _Part(backend, place.experiment, row).edit(place)
        changes = {
            **edit.changes,
            "forgotten": {**row.get("forgotten", {}), place.field: time.time()},
            "revision": uuid4().hex,
        }
        expect = {"uid": row["uid"], "revision": row["revision"]}
        update = Update(path, place.trial, changes, expect)
        try:
            backend.apply(update, *edit.writes, changed(place.experiment, place.trial))
        except ConflictError:
            continue
        if place.field.partition(".")[0] in ("parameters", "code", "environment"):
            drop_observations(backend, place.experiment, {place.trial})
        return _digests(backend, [*edit.dropped, row.get("left", {}).get(place.field)])
    return set()


def _digests(backend: Backend, dropped: list[JSON]) -> set[str]:
    """Digests in what was dropped, and in the snapshots that it names."""
    blobs = {digest for digest, _ in backend.blobs()}
    snapshots = {str(digest) for digest, _ in backend.find(paths.SNAPSHOTS, fields=[])}
    named = set(mentioned(dropped, blobs | snapshots))
    for digest in named & snapshots:
        named.update(mentioned(backend.get(paths.SNAPSHOTS, digest), blobs))
    return named


class _Part:
    """Finds the edit that forgets a part, by its name."""

    def __init__(self, backend: Backend, experiment: str, row: Document) -> None:
        self.backend = backend
        self.experiment = experiment
        self.row = row
        self.uid: str = row["uid"]

    def edit(self, place: Holder) -> _Edit:
        known = _known(place.field)
        edit = known and known(self, place.field.partition(".")[2])
        if edit is None:
            raise self.unknown(place)
        return edit

    def unknown(self, place: Holder) -> FieldNotFoundError:
        return FieldNotFoundError(
            f"Trial {place.trial} has no {place.field!r} to forget; it has: "
            f"{', '.join(self.fields())}"
        )

    def fields(self) -> list[str]:
        steps = {entry["step"] for entry in self.entries(paths.steps) if "kept" in entry}
        names = [f"parameters.{name}" for name, _ in self.row["parameters"]]
        names += [f"persisted.{step}" for step in sorted(steps)]
        for batch in self.entries(paths.metrics):
            names += [f"metrics.{name}" for name in batch]
        names += [f"artifacts.{entry['name']}" for entry in self.entries(paths.artifacts)]
        return list(dict.fromkeys([*(n for n in _EDITS if n[-1] != "."), *names]))

    def entries(self, log: Callable[[str, str], str]) -> list[Any]:
        return self.backend.read(log(self.experiment, self.uid))

    def replacing(self, log: Callable[[str, str], str], entries: list[Any]) -> list[Write]:
        path = log(self.experiment, self.uid)
        return [Clear(path), Append(path, entries)]

    # -- in the row

    def result(self, _: str) -> _Edit:
        return _Edit({"result": payloads.forgotten()}, [], [self.row.get("result")])

    def text(self, **empty: JSON) -> _Edit:
        return _Edit(empty, [], [])

    def parameter(self, name: str) -> _Edit | None:
        kept = dict(self.row["parameters"])
        if name not in kept:
            return None
        changed = [
            [n, payloads.forgotten() if n == name else document] for n, document in kept.items()
        ]
        changes: Document = {"parameters": changed, "parameters_digest": None}
        steps = [
            _without_inputs(entry, f"parameter 0 {name}") for entry in self.entries(paths.steps)
        ]
        return _Edit(changes, self.replacing(paths.steps, steps), [kept[name]])

    def snapshot(self, *kinds: str) -> _Edit:
        return _Edit(dict.fromkeys(kinds), [], [self.row.get(kind) for kind in kinds])

    def code(self, _: str) -> _Edit:
        """Sources and graph: the graph holds functions, too."""
        return self.snapshot("code", "graph")

    def environment(self, _: str) -> _Edit:
        entries = self.entries(paths.steps)
        edit = self.snapshot("environment")
        edit.dropped += [entry.pop("environment", None) for entry in entries]
        edit.writes += self.replacing(paths.steps, entries)
        return edit

    def git(self, _: str) -> _Edit | None:
        """The session without git: another snapshot."""
        before = self.row.get("session")
        session = before and self.backend.get(paths.SNAPSHOTS, before)
        if not session or "git" not in session:
            return None
        rest = {key: value for key, value in session.items() if key != "git"}
        digest = digest_of(rest)
        kept = self.backend.get(paths.SNAPSHOTS, digest) is not None
        keep: list[Write] = [] if kept else [Insert(paths.SNAPSHOTS, rest, digest)]
        return _Edit({"session": digest}, [*keep, Update(paths.SNAPSHOTS, digest, {})], [before])

    # -- in the logs

    def output(self, _: str) -> _Edit:
        dropped = self.entries(paths.output)
        return _Edit({}, [Clear(paths.output(self.experiment, self.uid))], [dropped])

    def usage(self, _: str) -> _Edit:
        return _Edit({}, [Clear(paths.usage(self.experiment, self.uid))])

    def metrics(self, _: str) -> _Edit:
        return _Edit({}, [Clear(paths.metrics(self.experiment, self.uid))])

    def metric(self, name: str) -> _Edit | None:
        batches = self.entries(paths.metrics)
        if not any(name in batch for batch in batches):
            return None
        rest = [{n: points for n, points in batch.items() if n != name} for batch in batches]
        return _Edit({}, self.replacing(paths.metrics, [batch for batch in rest if batch]))

    def checkpoints(self, _: str) -> _Edit:
        found = checkpoints.documents(self.backend, self.experiment, self.uid)
        removing = checkpoints.removing(self.backend, self.experiment, self.uid)
        return _Edit({}, removing, list(found.values()))

    def artifacts(self, name: str) -> _Edit | None:
        entries = self.entries(paths.artifacts)
        found = [entry for entry in entries if name in ("", entry["name"])]
        if name and not found:
            return None
        rest = [
            {"name": entry["name"], "time": entry["time"], **payloads.forgotten()}
            if entry in found
            else entry
            for entry in entries
        ]
        return _Edit({}, self.replacing(paths.artifacts, rest), list(found))

    def persisted(self, step: str) -> _Edit | None:
        entries = self.entries(paths.steps)
        found = [entry for entry in entries if entry["step"] == step and "kept" in entry]
        if not found:
            return None
        dropped = [entry["kept"] for entry in found]
        for entry in found:
            entry["kept"] = payloads.forgotten()
        return _Edit({}, self.replacing(paths.steps, entries), dropped)

    def spare(self, _: str) -> _Edit:
        entries = self.entries(paths.steps)
        found = [entry for entry in entries if entry.pop("spare", None) and "kept" in entry]
        return _Edit({}, self.replacing(paths.steps, entries), [e.pop("kept") for e in found])

    def previews(self, rest: str) -> _Edit | None:
        if rest != "previews":
            return None
        steps = [_without_inputs(entry, None, digests=False) for entry in self.entries(paths.steps)]
        return _Edit({}, self.replacing(paths.steps, steps))


def _without_inputs(entry: Document, origin: str | None, digests: bool = True) -> Document:
    """A step record without the previews, and digests, of inputs from one origin, or of all."""

    def hidden(name: str, digest: str | None, preview: str, *rest: Any) -> list[Any]:
        if origin is None or origin in rest:
            return [name, None if digests else digest, FORGOTTEN, *rest]
        return [name, digest, preview, *rest]

    return {**entry, "inputs": [hidden(*argument) for argument in entry["inputs"]]}


_ERROR: Document = {"description": None, "traceback": None}
_EDITS: dict[str, Callable[[_Part, str], _Edit | None]] = {
    "result": _Part.result,
    "parameters.": _Part.parameter,
    "code": _Part.code,
    "graph": lambda part, _: part.snapshot("graph"),
    "environment": _Part.environment,
    "session": lambda part, _: part.snapshot("session"),
    "git": _Part.git,
    "configuration": lambda part, _: part.snapshot("configuration"),
    "output": _Part.output,
    "usage": _Part.usage,
    "checkpoints": _Part.checkpoints,
    "note": lambda part, _: part.text(note=""),
    "tags": lambda part, _: part.text(tags=[]),
    "error": lambda part, _: part.text(**_ERROR),
    "description": lambda part, _: part.text(**_ERROR),
    "traceback": lambda part, _: part.text(**_ERROR),
    "metrics": _Part.metrics,
    "metrics.": _Part.metric,
    "artifacts": _Part.artifacts,
    "artifacts.": _Part.artifacts,
    "persisted.": _Part.persisted,
    "reuse": _Part.spare,
    "steps.": _Part.previews,
}
