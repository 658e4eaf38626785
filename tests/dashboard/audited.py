"""``python -m tests.dashboard.audited``: asks about stores with pickles while Python tells."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import sys
import warnings
from pathlib import Path
from types import CodeType
from typing import Any
from unittest import mock

from blake3 import blake3

from daskperiment import Experiment
from daskperiment.backends import Backend, Put, Update
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard.api import experiments
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.history import paths
from tests.dashboard import fuzz
from tests.dashboard.stores import NAME, Foreign, fill, spoil
from tests.dashboard.test_fuzz import everything_of

MARK = "the first"
"""Stands in the stored code, and in no other that is compiled meanwhile."""


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


def plant_bombs(backend: Backend, marker: Path) -> None:
    """Put a pickle that runs code wherever a payload is named."""
    bomb = pickle.dumps(Bomb(str(marker)))
    backend.apply(Put(bomb))
    kept = {
        "type": "t", "preview": "p", "codec": "pickle", "size": len(bomb),
        "digest": blake3(bomb).hexdigest(),
    }  # fmt: skip
    path = paths.trials(NAME)
    for number in (1, 2, 4):
        row = backend.get(path, number) or {}
        parameters = [[name, kept] for name, _ in row["parameters"]]
        backend.apply(Update(path, number, {"result": kept, "parameters": parameters}))
        backend.append(paths.artifacts(NAME, row["uid"]), [{"name": "bomb", **kept}])
        step = backend.read(paths.steps(NAME, row["uid"]))[0]
        assert isinstance(step, dict)
        backend.append(paths.steps(NAME, row["uid"]), [{**step, "call": 7, "kept": kept}])


def main(plant: str, requests: int, seed: int, folder: Path) -> dict[str, Any]:
    """Ask everything about a sound store and a hostile one; what Python has told of meanwhile."""
    warnings.simplefilter("ignore")
    chance = random.Random(seed)
    sound, hostile, spoilt = MemoryBackend(), Foreign(), Foreign()
    for backend in (sound, hostile, spoilt):
        fill(backend)
    plant_bombs(hostile, folder / "marker")
    spoiling = spoil(spoilt, chance)
    for _ in range(8):
        next(spoiling)
    told: list[str] = []
    watched = [False]

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if watched[0] and event == "pickle.find_class":
            told.append(f"{event}: {arguments}")
        elif watched[0] and event in ("compile", "exec") and _is_stored(arguments[0]):
            told.append(f"{event}: {arguments!r:.100}")

    sys.addaudithook(listen)
    planted = {
        "results-are-loaded": lambda ex: ex[2].result,
        "code-is-compiled": lambda ex: compile(ex[1].sources.popitem()[1], "stored", "exec"),
    }
    answers = 0
    with contextlib.ExitStack() as stack:
        if plant in planted:
            shown = experiments.documents.time

            def time(seconds: float | None) -> str | None:
                with contextlib.suppress(Exception):
                    planted[plant](Experiment(NAME, sound))
                return shown(seconds)

            stack.enter_context(mock.patch.object(experiments.documents, "time", time))
        for backend in (sound, hostile, spoilt):
            app, making = create_app(Board(backend, NAME)), fuzz.requests(chance)
            watched[0] = True
            answers += sum(1 for _ in everything_of(backend))
            for _ in range(requests // 3):
                answers += fuzz.ask(app, next(making)).status > 0
            with contextlib.suppress(Exception):
                Experiment(NAME, backend).get_history(verbose=True)
            watched[0] = False
    return {"answers": answers, "told": told[:20], "ran": (folder / "marker").exists()}


def _is_stored(source: Any) -> bool:
    if isinstance(source, CodeType):
        return MARK in source.co_consts or any(map(_is_stored, source.co_consts))
    text = source.decode("latin-1") if isinstance(source, bytes) else source
    return isinstance(text, str) and f'"{MARK}"' in text


if __name__ == "__main__":
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        found = main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    print(json.dumps(found))
