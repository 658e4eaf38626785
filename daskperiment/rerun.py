"""``python -m daskperiment.rerun FOLDER``: run a recorded trial, or a step of it, again.

The folder has a request of who has started this; it gets an answer, and a store with a new trial.
Whatever experiments the recorded code opens are in memory: it reaches no store but that one.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daskperiment.errors import AlteredRecordError, RebuildError
from daskperiment.lineage.request import ANSWER, INPUTS, REQUEST, STORE, Request
from daskperiment.typing import Document


class _World:
    """The recorded code, as this process has it from now on."""

    def __init__(self, folder: Path, request: Request) -> None:
        import daskperiment.experiment as facade
        from daskperiment.backends.memory import MemoryBackend
        from daskperiment.graph.recipe import read
        from daskperiment.lineage.rebuild import Recorded, functions_of, sources_of

        sources = sources_of(request.texts)
        sys.path[:0] = request.places
        sys.meta_path.insert(0, Recorded(folder / "code", sources, [*map(Path, request.places)]))
        self.folder, self.request = folder, request
        facade.open_backend = lambda *_, **__: MemoryBackend()  # type: ignore[attr-defined]
        self.ex = facade.Experiment(request.experiment, backend=MemoryBackend())
        self.recipe = read(request.graph, self.ex, MemoryBackend())
        self.parameters: dict[str, Any] = pickle.loads(request.parameters)
        os.chdir(request.directory or folder)
        self.functions = functions_of(
            request.code, sources, folder, self.recipe.functions, self.ex,
            Path(request.script) if request.script else None,
        )  # fmt: skip

    def run(self, backend: Any) -> None:
        """Run the trial."""
        from daskperiment.execution.trial import Recorder
        from daskperiment.graph.recipe import built

        request = self.request
        Recorder(backend, request.experiment).run(
            built(self.recipe, self.ex, self.functions), self.parameters, request.seed,
            {"scheduler": "synchronous"}, about={**request.about, "reproduces": request.uid},
        )  # fmt: skip


def _trial(world: _World) -> Document:
    """Run the trial, and record it in the store of the folder."""
    from daskperiment.backends.local import LocalBackend

    with LocalBackend(str(world.folder / STORE)) as store:
        try:
            world.run(store)
        except Exception as error:  # as the recorded trial may have failed, too
            return {"failed": f"{type(error).__name__}: {error}"}
    return {}


class _Seen(BaseException):
    """A call has got its inputs."""


def _inputs(world: _World) -> Document:
    """Run the trial up to a call of a step, and keep the inputs of that."""
    import cloudpickle

    from daskperiment.backends.memory import MemoryBackend

    step, wanted = world.request.call
    function, calls = world.functions[step], iter(range(sys.maxsize))

    def watched(*args: Any, **kwargs: Any) -> Any:
        if next(calls) != wanted:
            return function(*args, **kwargs)
        (world.folder / INPUTS).write_bytes(cloudpickle.dumps((args, kwargs)))
        raise _Seen

    world.functions[step] = watched
    try:
        world.run(MemoryBackend())
    except _Seen:
        return {}
    return {"error": f"Step {step!r} was not called"}


def _calls(world: _World) -> Document:
    """Call a step with kept inputs, as often as there are seeds."""
    import dask

    from daskperiment.backends.memory import MemoryBackend

    args, kwargs = pickle.loads((world.folder / INPUTS).read_bytes())
    step, _ = world.request.call
    backend = MemoryBackend()
    ex = type(world.ex)(world.request.experiment, backend=backend)
    node = ex.result(name=step)(world.functions[step])(*args, **kwargs)
    # A process that is started anew would not find the recorded modules.
    with dask.config.set({"multiprocessing.context": "fork"}):
        for seed in world.request.seeds:
            node.compute(seed=seed, scheduler=world.request.scheduler)
    outputs = [list(trial.steps["output"])[-1] for trial in ex.trials]
    return {"outputs": outputs}


def _limit(wanted: Mapping[str, Any]) -> None:
    """Set numbers of threads, also of libraries that are loaded later."""
    from daskperiment.tracking import environment

    environment.snapshot()  # before: what is set here is not of the environment
    counts = {name: count for name, count in wanted.items() if isinstance(count, int)}
    for name, variable in _VARIABLES.items():
        if name in counts:
            os.environ[variable] = str(counts[name])
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:
        return
    for library in ThreadpoolController().lib_controllers:
        if library.internal_api in counts:
            library.set_num_threads(counts[library.internal_api])


_VARIABLES = {
    "openblas": "OPENBLAS_NUM_THREADS", "openmp": "OMP_NUM_THREADS", "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
}  # fmt: skip
_TASKS: dict[str, Callable[[_World], Document]] = {
    "trial": _trial, "inputs": _inputs, "calls": _calls,
}  # fmt: skip


def run(folder: Path) -> Document:
    """Do what a folder asks for, and return the answer."""
    request: Request = pickle.loads((folder / REQUEST).read_bytes())
    world = _World(folder, request)
    _limit(request.threads)
    return _TASKS[request.task](world)


def main(folder: str) -> None:
    """Do it, and write the answer."""
    logging.getLogger("daskperiment").setLevel(logging.CRITICAL)
    place = Path(folder).absolute()
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
