"""Jobs: what a batch is to run, and what of it is there already."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from daskperiment.errors import BatchArgumentError
from daskperiment.execution.executors import on_client
from daskperiment.execution.shards import Shard
from daskperiment.fingerprint.values import try_digest
from daskperiment.graph import Layout
from daskperiment.history.finished import Finished
from daskperiment.records import Number
from daskperiment.serializers.preview import preview
from daskperiment.tracking import seeds
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

OnError = Literal["raise", "continue"]


@dataclass(slots=True)
class Job:
    """One place of a batch.

    Parameters
    ----------
    place : int
        Its position.
    parameters : dict
        Values for this trial.
    seed : int, optional
        Its seed.
    repeat : int, optional
        Which of several trials with these parameters it is.
    repeats : int, optional
        How many of them there are.
    before : str, optional
        Uid of the attempt that it repeats.
    row : dict
        What its row says besides.
    """

    place: int
    parameters: dict[str, Any]
    seed: int | None
    repeat: int | None = None
    repeats: int | None = None
    before: str | None = None
    row: Document = field(default_factory=dict)
    attempts: int = 0
    uid: str = ""
    ended: bool = False
    number: Number | None = None

    def end(self, number: Number | None) -> None:
        """Keep its trial's number; of many thousands no more is kept than is needed."""
        self.ended, self.number, self.uid = True, number, ""

    def about(self) -> Document:
        """What the row of the next attempt says besides."""
        self.attempts += 1
        if self.seed is None:  # an attempt after this one has the same
            self.seed = seeds.draw_seed()
        self.before, self.uid = self.uid or self.before, uuid.uuid4().hex
        about = {
            "uid": self.uid, "place": self.place, "retry_of": self.before, "repeat": self.repeat,
            "repeats": self.repeats, **self.row,
        }  # fmt: skip
        return {name: value for name, value in about.items() if value is not None}


def planned(parameters: Sequence[dict[str, Any]], repeats: int, seed: int | None) -> list[Job]:
    """The jobs of a batch: those that repeat the same parameters side by side."""
    jobs: list[Job] = []
    for values in parameters:
        for repeat in range(repeats):
            own = seed if seed is None or not repeat else seeds.derive(seed, "repeats", repeat)
            which = (repeat, repeats) if repeats > 1 else (None, None)
            jobs.append(Job(len(jobs), values, own, *which))
    return jobs


def skip(jobs: Sequence[Job], digests: Sequence[str | None], finished: Finished) -> int:
    """Let earlier trials stand for jobs, one line for each in the log; how many they are.

    Of the others, those that have failed or crashed before are attempted again.
    """
    skipped = 0
    for job in jobs:
        digest = digests[job.place]
        number = finished.take(digest, job.seed)
        if number is not None:
            logger.info("Skipped: trial %s is done with these parameters and this code", number)
            job.end(number)
            skipped += 1
        elif (failed := finished.take_failed(digest, job.seed)) is not None:
            job.before, job.seed = failed.uid, failed.seed
            logger.info("Trial %s has not completed, and is attempted again", failed.number)
    return skipped


def plan(digests: Sequence[str | None], seed: int | None) -> str:
    """What batches have in common that run the same trials: a digest."""
    return str(try_digest([seed, *digests])[0])


def shared(layout: Layout, used: Sequence[Mapping[str, Any]], repeats: int) -> frozenset[str]:
    """Names of the steps of which several trials may need the same call, by their parameters.

    Parameters
    ----------
    layout : Layout
        The graph.
    used : sequence of mapping
        Values of its parameters for each trial.
    repeats : int
        How many trials have the same values.
    """
    reached: dict[tuple[str, int], frozenset[str]] = {}
    found = set()
    for call in layout.calls:
        origins = {origin for _, of_argument, _ in call.inputs for origin in of_argument}
        names = {name for kind, name, _ in origins if kind == "parameter"}
        steps = [(name, number) for kind, name, number in origins if kind == "step"]
        reached[call.step.name, call.call] = mine = frozenset(names).union(
            *(reached[step] for step in steps)
        )
        different = {try_digest({name: values.get(name) for name in mine})[0] for values in used}
        if repeats > 1 or len(different - {None}) < len(used):
            found.add(call.step.name)
    return frozenset(found)


# -- arguments that are checked before anything runs -------------------------------------------


def check_repeats(repeats: int) -> int:
    """Return a number of repeats, or raise BatchArgumentError."""
    return _count("repeats", repeats, 1)


def check_retries(retries: int) -> int:
    """Return a number of retries, or raise BatchArgumentError."""
    return _count("retries", retries, 0)


def _count(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BatchArgumentError(f"{name} is an integer from {least} on, not {preview(value)}")
    return value


def check_on_error(on_error: str) -> OnError:
    """Return how to go on after a failure, or raise BatchArgumentError."""
    if on_error in ("raise", "continue"):
        return on_error  # type: ignore[return-value]
    raise BatchArgumentError(f"on_error is 'raise' or 'continue', not {preview(on_error)}")


def check_timeout(timeout: float | None) -> float | None:
    """Return a number of seconds, or raise BatchArgumentError."""
    wrong = isinstance(timeout, bool) or not isinstance(timeout, (int, float))
    if timeout is not None and (wrong or not timeout > 0):
        raise BatchArgumentError(f"timeout is a number of seconds above 0, not {preview(timeout)}")
    return timeout


def check_sharing(shard: Shard | None, claim: bool) -> None:
    """Refuse to claim where there is nobody to share with, with BatchArgumentError."""
    if claim and shard is None:
        raise BatchArgumentError(
            "claim=True is for a batch that several computers share: add shard=(0, 3) here, and "
            "the other parts there"
        )


def check_spread(spread: bool, executor: Any) -> None:
    """Refuse to spread steps where there is no cluster, with BatchArgumentError."""
    if spread and (isinstance(executor, str) or not on_client(executor)):
        raise BatchArgumentError(
            "spread=True is for the workers of a cluster: give a distributed.Client as executor"
        )
