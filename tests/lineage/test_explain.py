"""Explaining the difference of two trials: the causes that were planted, and no others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.lineage.explanation import Explanation
from tests.lineage.pipelines import CAUSES, SHAPES, Pipeline, Planted, document, made
from tests.torture.harness import ForkServer, events, fork_server

SEED = 20261128


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with fork_server() as server:
        yield server


def explained(server: ForkServer, folder: Path, pair: list[Pipeline]) -> Explanation:
    """Run both in processes of their own, and explain the second by the first."""
    for n, pipeline in enumerate(pair):
        argument = {
            "program": "tests.lineage.pipelines:run", "pipeline": document(pipeline),
            "folder": str(folder / str(n)), "store": str(folder / "store"),
            "log": str(folder / f"{n}.log"),
        }  # fmt: skip
        assert server.run(argument).status == 0
        assert "ack" in events(folder / f"{n}.log")[-1], events(folder / f"{n}.log")
    with Experiment("planted", backend=folder / "store").backend as backend:
        return Experiment("planted", backend=backend).explain(1, 2)


def planted() -> Iterator[Any]:
    """Each cause three times, and pairs of causes, on all shapes."""
    chance = random.Random(SEED)
    causes = [(cause,) for cause in CAUSES for _ in range(3)]
    pairs = [(one, other) for i, one in enumerate(CAUSES) for other in CAUSES[i + 1 :]]
    for n, chosen in enumerate([*causes, *chance.sample(pairs, 12)]):
        shape, seed = SHAPES[n % len(SHAPES)], chance.randrange(10**6)
        yield pytest.param(chosen, shape, seed, id=f"{' and '.join(chosen)}-{shape}-{seed}")


@pytest.mark.parametrize(("causes", "shape", "seed"), list(planted()))
def test_exactly_the_planted_causes_are_named(
    server: ForkServer, tmp_path: Path, causes: tuple[str, ...], shape: str, seed: int
) -> None:
    pair = Planted(causes, shape, seed)

    found = explained(server, tmp_path, pair.pair)

    assert {(cause.kind, cause.name) for cause in found.causes} == pair.expected, str(found)


@pytest.mark.parametrize("number", range(20))
def test_no_cause_is_named_where_nothing_differs(
    server: ForkServer, tmp_path: Path, number: int
) -> None:
    pipeline, chance = made(SHAPES[number % len(SHAPES)], SEED + number)
    for does in ("random", "package", "file", "threads", "environment"):
        chance.choice(pipeline.nodes).does = does
    edited = Pipeline(**{**vars(pipeline), "comment": "# clearer now"})

    found = explained(server, tmp_path, [pipeline, edited if number % 2 else pipeline])

    assert not found, str(found)
    assert found.causes == found.harmless == ()
    assert {step.verdict for step in found.steps} == {"equal"}
    assert "no cause: no output differs" in str(found)
