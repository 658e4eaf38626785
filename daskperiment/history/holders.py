"""Holders: which parts of which trials refer to payloads and snapshots."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.history import paths
from daskperiment.history.experiments import experiments
from daskperiment.typing import JSON, Document


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


def parts(backend: Backend, name: str, row: Document) -> Iterator[tuple[str, JSON]]:
    """Parts of a trial that may refer to something, by the fields that they belong to."""
    yield from row_parts(row)
    for entry in backend.read(paths.steps(name, row["uid"])):
        yield f"persisted.{entry['step']}", entry.pop("kept", None)
        yield "environment", entry.pop("environment", None)
        yield "steps", entry
    for entry in backend.read(paths.artifacts(name, row["uid"])):
        yield f"artifacts.{entry['name']}", entry
    yield "output", backend.read(paths.output(name, row["uid"]))


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
        for number, row in rows(backend, name):
            if row["uid"] not in without:
                for field, value in parts(backend, name, row):
                    yield Holder(name, number, field), value
