"""``python -m daskperiment.rerun FOLDER``: run a recorded trial again, in this process.

The folder has a request of who has started this; it gets a store with the new trial, and an answer.
Whatever experiments the recorded code opens are in memory: it reaches no store but that one.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from daskperiment.errors import AlteredRecordError, RebuildError
from daskperiment.lineage.request import ANSWER, REQUEST, STORE, Request
from daskperiment.typing import Document


def run(folder: Path) -> Document:
    """Run the trial of a folder, and return what became of it."""
    request: Request = pickle.loads((folder / REQUEST).read_bytes())
    import daskperiment.experiment as facade
    from daskperiment.backends.local import LocalBackend
    from daskperiment.backends.memory import MemoryBackend
    from daskperiment.execution.trial import Recorder
    from daskperiment.graph.recipe import built, read
    from daskperiment.lineage.rebuild import Recorded, functions_of, sources_of

    sources = sources_of(request.texts)
    sys.meta_path.insert(0, Recorded(folder / "code", sources))
    recipe = read(request.graph)
    os.chdir(folder)
    facade.open_backend = lambda *_, **__: MemoryBackend()  # type: ignore[attr-defined]
    ex = facade.Experiment(request.experiment, backend=MemoryBackend())
    functions = functions_of(request.code, sources, folder, recipe.functions, ex)
    store = LocalBackend(str(folder / STORE))
    layout = built(recipe, ex, functions)
    with ExitStack() as stack:
        stack.enter_context(store)
        stack.enter_context(_threads(request.threads))
        try:
            Recorder(store, request.experiment).run(
                layout, request.parameters, request.seed, {"scheduler": "synchronous"},
                about={**request.about, "reproduces": request.uid},
            )  # fmt: skip
        except Exception as error:  # as the recorded trial may have failed, too
            return {"failed": f"{type(error).__name__}: {error}"}
    return {}


@contextmanager
def _threads(recorded: Mapping[str, Any]) -> Iterator[None]:
    """The recorded numbers of threads, of those libraries that can be told."""
    counts = {name: count for name, count in recorded.items() if isinstance(count, int)}
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        yield
        return
    with threadpoolctl.threadpool_limits(limits=counts or None):
        yield


def main(folder: str) -> None:
    """Run it, and write the answer."""
    logging.getLogger("daskperiment").setLevel(logging.CRITICAL)
    place = Path(folder)
    try:
        answer = run(place)
    except AlteredRecordError as error:
        answer = {"different": str(error)}
    except RebuildError as error:
        answer = {"error": str(error)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    (place / ANSWER).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
