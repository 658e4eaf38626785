"""Running a recorded trial again: its code, wherever it was computed, and no lie passes."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, StepDefinitionError
from daskperiment.backends import open_backend
from daskperiment.backends.base import Insert, Remove
from daskperiment.graph.recipe import Value, read
from daskperiment.history import paths
from daskperiment.history.snapshots import Snapshots

SCRIPT = """
    import random
    import sys

    import numpy as np

    import helpers
    from daskperiment import Experiment

    ex = Experiment("again", backend=sys.argv[1], seed=3)
    SHIFT = [1, 2]


    def shift(x):
        return x + SHIFT[0]


    @ex
    def load(n):
        return np.arange(n, dtype=float)


    @ex
    def noisy(rows):
        return rows + np.random.rand(len(rows)) + random.random() + ex.rng().random()


    @ex
    def clean(rows):
        return shift(helpers.scale(rows))


    @ex.result
    def fit(rows, depth):
        drawn = np.random.choice(rows, (5, len(rows)))
        models = [np.polynomial.Polynomial.fit(x, x**1.5, depth) for x in drawn]
        return float(np.mean([model(2.0) for model in models]))


    if __name__ == "__main__":
        rows = clean(noisy(load(ex.parameter("n", default=20))))
        s = fit(rows, ex.parameter("depth", default=3) + 1)
        how = sys.argv[2]
        if how in ("cluster", "client"):
            from distributed import Client, LocalCluster

            with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
                with Client(cluster) as client:
                    s.compute() if how == "cluster" else client.compute(s).result()
        elif how.startswith("dask."):
            import dask

            dask.compute(1 + s, scheduler=how.removeprefix("dask."))
        elif how == "map":
            ex.map(s, [{"n": 10}], executor="processes", progress=False)
        else:
            s.compute(scheduler=how)
"""
HELPERS = """
    import numpy as np

    FACTOR = 2.5


    def scale(x):
        return x * FACTOR
"""
Write = Callable[..., Path]


@pytest.fixture
def write(load: Any) -> Write:
    """Write the pipeline into a folder that is not imported here."""
    return lambda: load(run=False, script=SCRIPT, helpers=HELPERS)  # type: ignore[no-any-return]


def record(folder: Path, store: Path, how: str) -> Experiment:
    """Let another process record a trial."""
    subprocess.run(
        [sys.executable, "script.py", str(store), how], cwd=folder, check=True, capture_output=True
    )
    return Experiment("again", backend=store)


@pytest.mark.parametrize("how", [
    "synchronous", "threads", "processes", "map", "cluster", "client", "dask.threads",
    "dask.processes",
])  # fmt: skip
def test_a_trial_is_the_same_to_the_last_bit_wherever_it_was_computed(
    write: Write, tmp_path: Path, how: str
) -> None:
    folder = write()
    ex = record(folder, tmp_path / "store", how)
    shutil.rmtree(folder)

    again = ex[1].reproduce()

    assert again.match == "bitwise", str(again)
    assert list(again.steps["step"]) == ["load", "noisy", "clean", "fit"]
    assert again.number == 2
    assert ex[2].reproduces == ex[1]
    assert ex[2].result == ex[1].result
    assert (ex[2].verdict, ex[1].verdict, ex[1].reproductions) == ("bitwise", None, [ex[2]])


FOREST = """
    import sys

    import numpy as np

    from daskperiment import Experiment

    ex = Experiment("again", backend=sys.argv[1], seed=3)


    @ex.result
    def fit(n):
        from sklearn.ensemble import RandomForestRegressor

        rows = np.random.rand(n)
        model = RandomForestRegressor(5, max_depth=4)
        return float(model.fit(rows.reshape(-1, 1), rows).predict([[0.5]])[0])


    if __name__ == "__main__":
        fit(ex.parameter("n", default=20)).compute()
"""


def test_a_model_of_scikit_learn_is_the_same_to_the_last_bit(load: Any, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    ex = record(load(run=False, script=FOREST), tmp_path / "store", "")

    assert ex[1].reproduce().match == "bitwise"


NESTED = """
    import sys

    import helpers
    from daskperiment import Experiment


    def build(ex, factor):
        @ex
        def clean(n):
            return helpers.scale(n) * factor

        return ex.result(lambda x: x + 1, name="score")(clean(ex.parameter("n", default=4)))


    build(Experiment("again", backend=sys.argv[1], seed=1), 3).compute()
"""


def test_functions_that_a_function_has_made_run_as_they_were(load: Any, tmp_path: Path) -> None:
    folder = load(run=False, script=NESTED, helpers=HELPERS)
    ex = record(folder, tmp_path / "store", "")
    (folder / "helpers.py").write_text("def scale(x):\n    return 0\n")
    (folder / "script.py").write_text("# empty\n")

    again = ex[1].reproduce()

    assert again.match == "bitwise", str(again)
    assert ex[again.number or 0].result == 31.0


def test_cells_run_as_they_were(tmp_path: Path) -> None:
    cells = [
        "from daskperiment import Experiment\nex = Experiment('again', backend=STORE, seed=1)",
        "LIMIT = 3\n@ex\ndef clean(n):\n    return min(n, LIMIT) + more()",
        "def more():\n    return 2",
        "@ex.result\ndef score(x):\n    return x * 10",
        "score(clean(ex.parameter('n', default=4))).compute()",
    ]
    program = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.user_ns["STORE"] = sys.argv[1]
for cell in CELLS:
    shell.run_cell(cell, store_history=True).raise_error()
"""
    (tmp_path / "cells.py").write_text(f"CELLS = {cells!r}\n{program}")
    subprocess.run(
        [sys.executable, "cells.py", str(tmp_path / "store")], cwd=tmp_path, check=True,
        capture_output=True,
    )  # fmt: skip
    ex = Experiment("again", backend=tmp_path / "store")

    again = ex[1].reproduce()

    assert again.match == "bitwise", str(again)
    assert ex[2].result == 50


def test_a_team_runs_only_what_one_of_them_has_signed(
    redis_running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"e{uuid.uuid4().hex[:12]}"
    with open_backend(redis_running.uri) as backend:
        ex = Experiment(name, backend=backend, seed=1)
        ex.result(_double, name="score")(ex.parameter("a", default=2)).compute()
        assert ex[1].reproduce().match == "bitwise"

        backend.update(paths.trials(name), 1, {"signed": "0" * 10})

        again = ex[1].reproduce()
        assert again.match == "error"
        assert "may run code, in a store that others may write to" in str(again)
        trusting = Experiment(name, backend=backend, trust="all")
        assert trusting[1].reproduce().match == "bitwise"


def _double(a: int) -> int:
    return 2 * a


# -- lies


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one trial."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    (folder / "helpers.py").write_text(textwrap.dedent(HELPERS))
    record(folder, folder / "store", "synchronous").backend.close()
    return folder / "store"


class Liar:
    """Changes what is stored of the first trial."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self.backend = open_backend(store)
        self.first = self.backend.get(paths.trials("again"), 1) or {}

    def row(self, **changes: Any) -> None:
        self.backend.update(paths.trials("again"), 1, changes)

    def parameter(self, name: str, text: str) -> None:
        kept = [[n, {**each, "json": text} if n == name else each]
                for n, each in self.first["parameters"]]  # fmt: skip
        self.row(parameters=kept)

    def steps(self, change: Callable[[list[Any]], list[Any]]) -> None:
        path = paths.steps("again", self.first["uid"])
        entries = self.backend.read(path)
        self.backend.drop(path)
        self.backend.append(path, change(entries))

    def step(self, name: str, **changes: Any) -> None:
        self.steps(lambda entries: [
            {**entry, **changes} if entry["step"] == name else entry for entry in entries
        ])  # fmt: skip

    def code(self, change: Callable[[Any], Any]) -> None:
        digest = self.first["code"]
        document = change(self.backend.get(paths.SNAPSHOTS, digest))
        self.backend.apply(Remove(paths.SNAPSHOTS, digest))
        self.backend.apply(Insert(paths.SNAPSHOTS, document, digest))

    def source(self, old: str, new: str) -> None:
        """Another source, with a digest that is that of its text."""
        snapshots = Snapshots(self.backend)

        def change(document: Any) -> Any:
            sources = {
                name: self.backend.put(snapshots.text(digest).replace(old, new).encode())
                for name, digest in document["sources"].items()
            }
            return {**document, "sources": sources}

        self.code(change)

    def digest(self, name: str) -> None:
        """Another digest of a step."""

        def change(document: Any) -> Any:
            steps = [{**step, "digest": ZEROS} if step["name"] == name else step
                     for step in document["steps"]]  # fmt: skip
            return {**document, "steps": steps}

        self.code(change)

    def bytes_of(self, part: str) -> None:
        """Other bytes under the digest of a stored text."""
        with closing(sqlite3.connect(self._store / "store.sqlite")) as connection, connection:
            for digest, data in connection.execute("SELECT digest, data FROM payloads").fetchall():
                other = bytes(data).replace(part.encode(), b"#" * len(part))
                connection.execute("UPDATE payloads SET data = ? WHERE digest = ?", (other, digest))

    def graph(self) -> None:
        """Another graph, with a digest that is that of its bytes."""
        snapshots = Snapshots(self.backend)
        recipe = read(snapshots.content(self.first["graph"]))

        def changed(part: Any) -> Any:
            return part._replace(value=2) if isinstance(part, Value) and part.value == 1 else part

        nodes = [
            node._replace(args=tuple(map(changed, node.args))) if hasattr(node, "args") else node
            for node in recipe.nodes
        ]
        self.row(graph=snapshots.keep_bytes(recipe._replace(nodes=tuple(nodes)).pickled()))


ZEROS = "v1:" + "0" * 32
LIES: dict[str, Callable[[Liar], object]] = {
    "bytes of a source": lambda liar: liar.bytes_of("FACTOR = 2.5"),
    "a source with its digest": lambda liar: liar.source("FACTOR = 2.5", "FACTOR = 2.6"),
    "the digest of code": lambda liar: liar.digest("clean"),
    "the code of a record": lambda liar: liar.step("clean", fingerprint=ZEROS),
    "the seed": lambda liar: liar.row(seed=4),
    "a parameter": lambda liar: liar.parameter("n", "21"),
    "the graph": lambda liar: liar.graph(),
    "an output": lambda liar: liar.step("noisy", output=ZEROS),
    "an input": lambda liar: liar.step("clean", inputs=[["rows", ZEROS, "", False]]),
    "a record that is gone": lambda liar: liar.steps(lambda entries: entries[1:]),
    "a record too many": lambda liar: liar.steps(lambda all: [*all, {**all[0], "call": 1}]),
    "the result": lambda liar: liar.row(result={**liar.first["result"], "json": "1.5"}),
}


@pytest.mark.parametrize("lie", LIES)
def test_no_lie_passes(recorded: Path, tmp_path: Path, lie: str) -> None:
    shutil.copytree(recorded, tmp_path / "store")
    liar = Liar(tmp_path / "store")
    LIES[lie](liar)
    liar.backend.close()

    again = Experiment("again", backend=tmp_path / "store")[1].reproduce()

    assert again.match == "different", str(again)


def test_the_truth_passes(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded, tmp_path / "store")

    assert Experiment("again", backend=tmp_path / "store")[1].reproduce().match == "bitwise"


# -- what cannot be run again


def test_a_graph_with_what_cannot_be_pickled_says_so() -> None:
    ex = Experiment("locked", backend="memory://", seed=1)
    lock = threading.Lock()
    s = ex.result(lambda a, lock: a, name="score")(ex.parameter("a", default=1), lock)
    s.compute(scheduler="synchronous")

    again = ex[1].reproduce()

    assert (again.match, again.number) == ("error", None)
    assert "Its graph was not kept" in str(again)


def test_a_block_and_what_has_no_sources_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ex = Experiment("without", backend="memory://", seed=1)
    with ex.trial(a=1) as trial:
        trial.result = 2
    assert "a block" in str(ex[1].reproduce())

    monkeypatch.setenv("DASKPERIMENT_DISABLE_CODE", "1")
    ex = Experiment("without", backend="memory://", seed=1)
    ex.result(_invert)(ex.parameter("a", default=1)).compute()

    again = ex[1].reproduce()
    assert (again.match, again.number) == ("error", None)
    assert "DASKPERIMENT_DISABLE_CODE" in str(again)


def _invert(a: int) -> float:
    return 1 / a


def test_a_failure_fails_again(tmp_path: Path) -> None:
    ex = Experiment("failing", backend=tmp_path / "store", seed=1)
    s = ex.result(_invert)(ex.parameter("a", default=0))
    with pytest.raises(ZeroDivisionError):
        s.compute()

    again = ex[1].reproduce()

    assert again.match == "bitwise"
    assert again.reason == "ZeroDivisionError: division by zero"


# -- tolerance

ODD = """
    import sys
    import time

    import numpy as np

    from daskperiment import Experiment

    ex = Experiment("odd", backend=sys.argv[1], seed=3)


    def near(old, new):
        return abs(old - new) < 1e-6


    @ex(compare="allclose", rtol=1e-6)
    def array(n):
        return np.arange(n, dtype=float) + time.perf_counter_ns() % 10**9 * 1e-18


    @ex(compare=near)
    def number(rows):
        return float(rows.sum() + time.perf_counter_ns() % 10**9 * 1e-17)


    @ex.result
    def score(x):
        return round(x, 3)


    if __name__ == "__main__":
        score(number(array(ex.parameter("n", default=5)))).compute(scheduler="synchronous")
"""


@pytest.mark.parametrize(("loose", "verdict"), [(True, "tolerance"), (False, "different")])
def test_what_is_near_enough_for_a_step_is_within_tolerance(
    load: Any, tmp_path: Path, loose: bool, verdict: str
) -> None:
    text = ODD if loose else ODD.replace('@ex(compare="allclose", rtol=1e-6)', "@ex.persist")
    folder = load(run=False, script=text)
    store = tmp_path / "store"
    subprocess.run([sys.executable, "script.py", str(store)], cwd=folder, check=True)

    ex = Experiment("odd", backend=store)
    again = ex[1].reproduce()

    assert again.match == verdict, str(again)
    assert ex[2].verdict == verdict
    steps = again.steps.set_index("step")
    assert steps["match"].to_dict() == {"array": verdict, "number": "tolerance", "score": "bitwise"}
    assert 0 < steps["max_abs_err"]["array"] < 1e-8


@pytest.mark.parametrize(
    "options",
    [{"compare": "near"}, {"compare": 1}, {"rtol": 1e-6}, {"compare": "allclose", "rtol": -1}],
)
def test_a_tolerance_that_means_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(StepDefinitionError, match="compare|rtol"):
        Experiment("refused", backend="memory://")(**options)(_invert)
