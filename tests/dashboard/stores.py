"""Stores that a dashboard is shown: one with every kind of trial, and one that others write to."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from daskperiment import Experiment
from daskperiment.backends import Backend, Insert, Update
from daskperiment.backends.memory import MemoryBackend
from daskperiment.errors import DaskperimentError
from daskperiment.history import paths

NAME = "shown"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
"""A PNG image."""
ARTIFACTS: dict[str, Any] = {
    "page.html": b"<!doctype html><script>window.__pwned = 1</script>",
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.__pwned = 1"/>',
    "plots/true.png": PIXEL,
    "false.png": b"<script>window.__pwned = 1</script>",
    "notes.txt": "plain text",
    "rows.csv": b"a,b\n1,2\n",
    "model": {1, 2, 3},
}


class Thing:
    """What only a pickle can hold."""

    def __init__(self, value: object) -> None:
        self.value = value


def fill(backend: Backend, name: str = NAME) -> Experiment:
    """Trials that ended well and badly, with everything that a trial can have."""
    ex = Experiment(name, backend=backend, seed=7)
    a, kind = ex.parameter("a"), ex.parameter("kind", default="json")

    @ex.persist
    def prepare(a: int, kind: str) -> Thing:
        if a < 0:
            raise ValueError(f"a is {a}")
        for epoch in range(40):
            ex.log_metric("loss", 1 / (epoch + 1))
        ex.log_metrics({"odd": float("nan"), "far": float("inf")})
        print("a is", a)
        return Thing(a)

    @ex.result
    def finish(thing: Thing, kind: str) -> Any:
        for file, content in ARTIFACTS.items():
            ex.save_artifact(file, content)
        return {"json": thing.value, "text": "x" * 5000, "pickle": thing}[kind]

    node = finish(prepare(a, kind), kind)
    for value, what in ((1, "json"), (2, "pickle"), (3, "text"), (-1, "json"), (4, "pickle")):
        with suppress(ValueError):
            node.compute(parameters={"a": value, "kind": what}, scheduler="synchronous")
    ex[1].tags, ex[1].note = ["good"], "the first"
    ex[3].forget("environment")
    ex[5].remove()
    return ex


class Foreign(MemoryBackend):
    """A store that others may write to, as a server's is."""

    @property
    def owned(self) -> bool:
        """False: what is in it need not be what we have written."""
        return False


def nested(depth: int, shape: str = "list") -> Any:
    """Containers within containers."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if shape == "list" else {"a": value}
    return value


JUNK: tuple[Any, ...] = (
    None, True, 7, -1, 2**53, -(2**63), 2**63 - 1, 1e300, float("nan"), float("inf"), "", "text",
    "\ud800", "\0", "x" * 100_000, "1" * 5000, [], {}, [[]], [None], [["a", 1]],
    [["a", {"type": 1}]], {"host": 1}, {"host": "h", "user": 1}, {"type": "t", "preview": 5},
    {"type": "t", "preview": "p", "json": "{"}, {"type": "t", "preview": "p", "json": "[" * 999},
    {"type": "t", "preview": "p", "json": "[NaN, 1e999, -0.0]"},
    {"type": "t", "preview": "p", "codec": "pickle", "digest": "0" * 64, "size": 1},
    {"loss": [[0], [1], [2]]}, {"loss": [[0], ["text"], [2]]}, {"loss": [[2**62], [1], [1e300]]},
    {"loss": [[0, 1], [1], [2]]}, {"loss": "abc"}, {"pieces": [[1, "stdout", 5]]}, {"name": "../x"},
    {"name": "a\r\nSet-Cookie: x=1", "size": 1, "digest": "0" * 64},
    {"name": "a.png", "size": "large", "digest": "0" * 64}, {"name": 5, "size": -1},
    {"step": "s", "call": 0, "pieces": [[float("nan"), "stdout", "x\n"]]},
    {"step": ["s"], "call": {}, "pieces": [[1.0, "stdout", "x\n"]]},
    {"step": "s", "call": 0, "inputs": [["a", None, "p", False, "step 0 s"]], "outcome": "ran"},
    {"step": "s", "call": 0, "inputs": [["a", None, "p", False, "step"]], "outcome": []},
    {"packages": 5, "python": {"version": []}, "git": {"repository": 1, "commit": [[[]]]}},
    {"steps": [{"name": "s", "source": "0" * 64}], "sources": {"f": 7}, "with_text": True},
    nested(60), nested(60, "object"),
)  # fmt: skip
"""What others may have written, anywhere."""


def spoil(backend: Backend, chance: random.Random, name: str = NAME) -> Iterator[str]:
    """Write junk over something of a store, again and again; yields what was spoilt."""
    ways: list[Callable[[Backend, random.Random, str], str]] = [
        _spoil_rows, _spoil_rows, _spoil_logs, _spoil_logs, _spoil_snapshots, _spoil_others,
    ]  # fmt: skip
    while True:
        yield chance.choice(ways)(backend, chance, name)


def _spoil_rows(backend: Backend, chance: random.Random, name: str) -> str:
    path = paths.trials(name)
    number, row = chance.choice([*backend.find(path)])
    fields = chance.sample([*sorted(row), "more"], chance.randrange(1, 3))
    if "uid" in fields and chance.random() < 0.8:  # else nothing else of it is reached
        fields.remove("uid")
    junk = {field: chance.choice(JUNK) for field in fields}
    backend.apply(Update(path, number, junk))
    return f"row {number}: {junk}"


def _spoil_logs(backend: Backend, chance: random.Random, name: str) -> str:
    logs = [paths.steps, paths.metrics, paths.artifacts, paths.output, paths.usage]
    kind = chance.choice(logs)
    _, row = chance.choice([*backend.find(paths.trials(name))])
    uid = row["uid"] if isinstance(row.get("uid"), str) else "none"
    junk = chance.choice(JUNK)
    path = kind(name, uid)
    entries = backend.read(path)
    if entries and isinstance(entries[0], dict) and entries[0] and chance.random() < 0.5:
        field = chance.choice(sorted(entries[0]))
        junk = {**entries[0], field: junk}
    backend.append(path, [junk])
    return f"log {kind.__name__}: {junk}"


def _spoil_snapshots(backend: Backend, chance: random.Random, name: str) -> str:
    key, found = chance.choice([*backend.find(paths.SNAPSHOTS)])
    field, junk = chance.choice([*sorted(found), "more"]), chance.choice(JUNK)
    backend.apply(Update(paths.SNAPSHOTS, key, {field: junk}))
    return f"snapshot: {field}: {junk}"


def _spoil_others(backend: Backend, chance: random.Random, name: str) -> str:
    path = chance.choice(
        [paths.trials(name), paths.running(name), paths.batches(name), paths.EXPERIMENTS]
    )
    key = chance.choice([chance.randrange(1, 50), 2**53 - 1, "text", "../x", "<b>", ""])
    row: Mapping[str, Any] = {
        field: chance.choice(JUNK) for field in chance.sample(["uid", "state", "host", "a"], 2)
    }
    with suppress(DaskperimentError):
        backend.apply(Insert(path, dict(row), key))
    return f"{path} {key!r}: {row}"


def everything(backend: Backend) -> str:
    """All that a store in memory holds, as one text that changes when anything does."""
    assert isinstance(backend, MemoryBackend)
    held = {
        name: repr(sorted(part.items(), key=repr))
        for name, part in vars(backend).items()
        if isinstance(part, dict)
    }
    assert {"_documents", "_logs", "_payloads"} <= set(held)
    return json.dumps(held)
