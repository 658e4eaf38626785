"""Pipelines made from a seed, in which differences are planted between two trials.

A pipeline is two modules: steps, and helpers that several steps share.  Each is run in a process
of its own, as the two trials of a user who has edited a file in between.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dask

from daskperiment import Experiment

SHAPES = ("chain", "diamond", "fan-out", "fan-in", "tree", "ladder", "branches", "random")
CAUSES = (
    "parameter", "code", "helper", "package", "seed", "threads", "input", "environment",
    "impurity", "file",
)  # fmt: skip
HIDDEN = ("threads", "environment")
"""Causes that cannot be told from records where the inputs of their step are new, too."""


@dataclass
class Node:
    """A step: what it is given by, and what it does beside calling a helper.

    ``through`` are inputs that pass an undecorated node.
    """

    inputs: list[int]
    through: list[int] = field(default_factory=list)
    helper: int = 0
    number: int = 0
    does: str = ""
    parameter: bool = False


def wired(shape: str, size: int, chance: random.Random) -> list[list[int]]:
    """The inputs of each step; the last one is made from all others."""
    if shape == "chain":
        inputs = [[n - 1] if n else [] for n in range(size)]
    elif shape == "diamond":
        inputs = [[], *([0] for _ in range(size - 2)), list(range(1, size - 1))]
    elif shape == "fan-out":
        inputs = [[], *([0] for _ in range(size - 1))]
    elif shape == "fan-in":
        inputs = [*([] for _ in range(size - 1)), list(range(size - 1))]
    elif shape == "tree":
        inputs = [[(n - 1) // 2] if n else [] for n in range(size)]
    elif shape == "ladder":
        inputs = [[each for each in (n - 1, n - 2) if each >= 0] for n in range(size)]
    elif shape == "branches":
        inputs = [[], *([max(0, n - 2)] for n in range(1, size))]
    else:
        inputs = [
            sorted(chance.sample(range(n), min(n, chance.randrange(1, 4)))) if n else []
            for n in range(size)
        ]
    used = {each for given in inputs for each in given}
    inputs[-1] += [n for n in range(size - 1) if n not in used and n not in inputs[-1]]
    return inputs


def above(inputs: list[list[int]], n: int) -> set[int]:
    """The steps that a step is made from, directly or not."""
    found: set[int] = set()
    waiting = list(inputs[n])
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += inputs[each]
    return found


@dataclass
class Pipeline:
    """A pipeline, and what surrounds a run of it."""

    nodes: list[Node]
    helpers: list[int]
    comment: str = ""
    seed: int = 1
    version: str = "1.0"
    threads: int = 1
    zone: str = "UTC"
    content: str = "7"
    between: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)

    def texts(self, folder: Path) -> Iterator[tuple[str, str]]:
        """The modules by their names."""
        yield (
            "tools",
            "\n\n".join(
                f"FACTOR{n} = {factor}\n\n\ndef mix{n}(x, number):\n    {self.comment}\n"
                f"    return (x * FACTOR{n} + number) % 1000003\n"
                for n, factor in enumerate(self.helpers)
            ),
        )
        steps = ["import os, random, time\nimport flour, threadpoolctl, tools\nDATA = 'data.txt'\n"]
        for n, node in enumerate(self.nodes):
            names = [f"x{each}" for each in node.inputs] + ["p"] * node.parameter
            given = " + ".join(f"{name} * {31 + i}" for i, name in enumerate(names)) or "1"
            more = _DOES[node.does]
            steps.append(
                f"def step{n}({', '.join(names)}):\n    {self.comment}\n"
                f"    return tools.mix{node.helper}({given}{more}, {node.number})\n"
            )
        yield "pipeline", "\n\n".join(steps)

    def build(self, ex: Experiment, module: Any) -> Any:
        """The result node."""
        made: list[Any] = []
        for n, node in enumerate(self.nodes):
            function = getattr(module, f"step{n}")
            last = n == len(self.nodes) - 1
            step = (ex.result if last else ex)(function, reuse=node.does == "file")
            given = []
            for each in node.inputs:
                number = self.between.get(f"{n}.{each}", 3)
                passed = dask.delayed(_add)(made[each], number)
                given.append(passed if each in node.through else made[each])
            if node.parameter:
                given.append(ex.parameter(f"p{n}", default=5))
            made.append(step(*given))
        return made[-1]


_DOES = {
    "": "",
    "random": " + random.randrange(10**6)",
    "package": " + flour.bake()",
    "threads": " + sum(each['num_threads'] for each in threadpoolctl.threadpool_info())",
    "environment": " + len(os.environ['TZ'])",
    "file": " + int(open(DATA).read())",
    "entropy": " + int.from_bytes(os.urandom(4), 'big')",
    "clock": " + time.perf_counter_ns()",
}


def _add(x: int, number: int) -> int:
    return x + number


def made(shape: str, seed: int) -> tuple[Pipeline, random.Random]:
    """A pipeline of a shape, with 3 to 30 steps."""
    chance = random.Random(seed)
    size = chance.randrange(3, 31)
    nodes = []
    for inputs in wired(shape, size, chance):
        through = [each for each in inputs if chance.random() < 0.3]
        nodes.append(Node(inputs, through, chance.randrange(4), chance.randrange(1000)))
    return Pipeline(nodes, [chance.randrange(3, 1000) for _ in range(4)]), chance


class Planted:
    """A pair of pipelines that differ by the causes that are planted.

    Attributes
    ----------
    pair : list of Pipeline
        The one of the first trial, and of the second.
    expected : set of (str, str)
        Kind and name of each cause.
    """

    def __init__(self, causes: tuple[str, ...], shape: str, seed: int) -> None:
        base, self._chance = made(shape, seed)
        self._inputs = [node.inputs for node in base.nodes]
        places = self._chosen(causes, len(base.nodes))
        for cause, n in zip(causes, places, strict=True):
            _PREPARE.get(cause, lambda node: None)(base.nodes[n])
            if cause == "input" and not base.nodes[n].through:
                base.nodes[n].through = base.nodes[n].inputs[:1]
        other = Pipeline(**{**asdict(base), "nodes": [Node(**asdict(n)) for n in base.nodes]})
        self.pair = [base, other]
        self.expected = {self._plant(cause, n) for cause, n in zip(causes, places, strict=True)}

    def _chosen(self, causes: tuple[str, ...], size: int) -> list[int]:
        """A step for each cause, where its effect can be seen."""
        while True:
            places = self._chance.sample(range(size), len(causes))
            hidden = any(
                cause in HIDDEN and above(self._inputs, n) & {*places}
                for cause, n in zip(causes, places, strict=True)
            )
            lonely = any(
                cause == "input" and not self._inputs[n]
                for cause, n in zip(causes, places, strict=True)
            )
            if not hidden and not lonely:
                return places

    def _plant(self, cause: str, n: int) -> tuple[str, str]:
        other = self.pair[1]
        node = other.nodes[n]
        if cause == "parameter":
            other.parameters[f"p{n}"] = 6
            return cause, f"p{n}"
        if cause == "code":
            node.number += 1
            return cause, f"step{n}"
        if cause == "helper":
            other.helpers[node.helper] += 1
            return cause, f"tools.mix{node.helper}"
        if cause == "input":
            (each,) = node.through[:1]
            other.between[f"{n}.{each}"] = 4
            return cause, f"step{n}.x{each}"
        if cause == "package":
            other.version = "2.0"
            return cause, "flour"
        if cause == "impurity":
            return cause, f"step{n}"
        setattr(other, {"environment": "zone", "file": "content"}.get(cause, cause),
                {"environment": "Asia/Tokyo", "file": "8"}.get(cause, 2))  # fmt: skip
        return cause, {"environment": "variables.TZ", "file": "data.txt"}.get(cause, cause)


def _does(what: str) -> Any:
    def prepare(node: Node) -> None:
        node.does = what

    return prepare


def _with_parameter(node: Node) -> None:
    node.parameter = True


_PREPARE = {
    "parameter": _with_parameter,
    "seed": _does("random"),
    "package": _does("package"),
    "threads": _does("threads"),
    "environment": _does("environment"),
    "file": _does("file"),
    "impurity": _does("entropy"),
}


def run(argument: dict[str, Any], log: Any) -> None:
    """Run the trial of one pipeline; what a fork server is told to do."""
    import threadpoolctl

    nodes = [Node(**node) for node in argument["pipeline"]["nodes"]]
    pipeline = Pipeline(**{**argument["pipeline"], "nodes": nodes})
    folder = Path(argument["folder"])
    folder.mkdir()
    os.chdir(folder)
    os.environ["TZ"] = pipeline.zone
    (folder / "data.txt").write_text(pipeline.content)
    _install(folder / "site-packages", "flour", pipeline.version)
    for name, text in pipeline.texts(folder):
        (folder / f"{name}.py").write_text(text)
    sys.path[:0] = [str(folder), str(folder / "site-packages")]
    ex = Experiment("planted", backend=argument["store"])
    with threadpoolctl.threadpool_limits(pipeline.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = pipeline.build(ex, importlib.import_module("pipeline"))
        node.compute(seed=pipeline.seed, parameters=pipeline.parameters, scheduler="synchronous")
    ex.backend.close()
    log.write(ack=0)


def _install(folder: Path, name: str, version: str) -> None:
    """A distribution whose function gives something else in each version."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (about / "top_level.txt").write_text(f"{name}\n")
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(f"def bake():\n    return {version[0]}\n")


def document(pipeline: Pipeline) -> dict[str, Any]:
    """The pipeline as JSON."""
    return asdict(pipeline)
