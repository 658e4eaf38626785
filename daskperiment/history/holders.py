"""Holders: which parts of which trials refer to payloads and snapshots."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.errors import BackendError, DamagedRowError
from daskperiment.history import paths
from daskperiment.history.experiments import experiments
from daskperiment.typing import JSON, Document

_PAGE = 500


class Holder(NamedTuple):
    """A part of a trial.

    Parameters
    ----------
    experiment, trial, field : str, int, str
        ``field`` as :meth:`daskperiment.Trial.forget` takes it.  Trial 0 was prepared and
        has not begun.
    """

    experiment: str
    trial: int
    field: str

    def __str__(self) -> str:
        return f"{self.field} of trial {self.trial} of {self.experiment!r}"


def mentioned(value: JSON, names: Container[str]) -> Iterator[str]:
    """Texts anywhere in a JSON value that are among the names.

    Any text that equals the digest of a payload counts as a reference to it: at worst a
    payload is kept for no reason.

    Examples
    --------
    >>> list(mentioned({"a": ["x", {"y": "z"}]}, {"x", "y"}))
    ['y', 'x']
    """
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            if each in names:
                yield each
        elif isinstance(each, dict):
            left += [*each.values(), *each]
        elif isinstance(each, list):
            left += each


def rows(backend: Backend, name: str) -> Iterator[tuple[int, Document]]:
    """All rows of an experiment's trials, removed ones too."""
    found: Iterator[tuple[Any, Document]] = backend.find(paths.trials(name))
    return found


def readable_rows(backend: Backend, name: str) -> Iterator[tuple[int, Document]]:
    """All rows of an experiment's trials; one that cannot be read is empty."""
    path, after, size = paths.trials(name), 0, _PAGE
    while True:
        try:
            page = list(backend.find(path, after=after, limit=size))
        except Exception as error:
            if not of_one_row(error):
                raise
            if size == 1:  # numbers have no gaps, so it is this one
                yield after + 1, {}
                after, size = after + 1, _PAGE
            else:
                size = 1
            continue
        for number, row in page:
            after = int(number)
            yield after, row
        if not page:
            return


def of_one_row(error: Exception) -> bool:
    """Whether the store itself can be read on."""
    return isinstance(error, DamagedRowError) or not isinstance(error, BackendError)


def parts(backend: Backend, name: str, row: Document) -> Iterator[tuple[str, JSON]]:
    """Parts of a trial that may refer to something, by the fields that they belong to."""
    logs = (paths.steps, paths.artifacts, paths.output)
    yield from row_parts(row)
    yield from log_parts(*(backend.read(log(name, row["uid"])) for log in logs))


def log_parts(
    steps: list[JSON], artifacts: list[JSON], output: list[JSON]
) -> Iterator[tuple[str, JSON]]:
    """Parts of a trial that are in its logs."""
    apart = ("kept", "environment")
    for entry in steps:
        yield f"persisted.{entry['step']}", entry.get("kept")
        yield "environment", entry.get("environment")
        yield "steps", {key: value for key, value in entry.items() if key not in apart}
    for entry in artifacts:
        yield f"artifacts.{entry['name']}", entry
    yield "output", output


def row_parts(row: Document) -> Iterator[tuple[str, JSON]]:
    """Parts of a trial that are in its row."""
    for field, value in row.items():
        if field not in ("parameters", "left"):  # "left" is what it no longer refers to
            yield field, value
    for parameter, kept in row.get("parameters", []):
        yield f"parameters.{parameter}", kept


def contents(backend: Backend, names: Container[str]) -> dict[str, set[str]]:
    """Which of the payloads each snapshot names, those that are about to be removed too."""
    inside: dict[str, set[str]] = {}
    for path in (paths.SNAPSHOTS, paths.CONDEMNED_SNAPSHOTS):
        for digest, document in backend.find(path):
            inside.setdefault(str(digest), set()).update(mentioned(document, names))
    return inside


def holders(
    backend: Backend, wanted: set[str], without: Container[str] = ()
) -> Iterator[tuple[str, Holder]]:
    """Digests that are referred to, each with its holder, once for each reference.

    Parameters
    ----------
    backend : Backend
        All of its experiments are read: the time is in proportion to the store, the memory
        to the number of ``wanted`` and of snapshots.
    wanted : set of str
        Digests of payloads and snapshots.  Who refers to a snapshot refers to its payloads.
    without : container of str
        Uids of trials to leave out.
    """
    inside = contents(backend, wanted)
    names = wanted | inside.keys()
    for holder, value in _everything(backend, without):
        for digest in mentioned(value, names):
            for each in (digest, *inside.get(digest, ())):
                if each in wanted:
                    yield each, holder


def _everything(backend: Backend, without: Container[str]) -> Iterator[tuple[Holder, JSON]]:
    for name in experiments(backend):
        for _, row in backend.find(paths.prepared(name)):
            for field, value in row_parts(row):
                yield Holder(name, 0, field), value
        left = list(backend.find(paths.checkpoints(name)))
        numbers = dict.fromkeys((document.get("trial") for _, document in left), 0)
        for number, row in rows(backend, name):
            if row["uid"] in numbers:
                numbers[row["uid"]] = number
            if row["uid"] not in without:
                for field, value in parts(backend, name, row):
                    yield Holder(name, number, field), value
        for _, document in left:
            if (uid := document.get("trial")) not in without:
                yield Holder(name, numbers[uid], "checkpoints"), document


def named(value: JSON) -> Iterator[str]:
    """Digest of the payload that the description of a value names."""
    if isinstance(value, dict) and "digest" in value:
        yield str(value["digest"])


def texts(document: Document) -> Iterator[str]:
    """Digests of the texts that a snapshot of any kind names."""
    if document.get("with_text", True):
        yield from (step["source"] for step in document.get("steps", ()))
        yield from document.get("sources", {}).values()
    if "resolved" in document:
        yield document["resolved"]
        yield from document["files"].values()
    if "bytes" in document:
        yield document["bytes"]
    repository = document.get("git") or {}
    yield from filter(None, [repository.get("diff"), *repository.get("untracked", {}).values()])
