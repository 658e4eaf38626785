"""In notebooks: code from cells, cells that run again, modules that are edited, what is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, notebooks
from daskperiment.backends.base import Clear
from daskperiment.backends.memory import MemoryBackend
from daskperiment.errors import BackendError
from daskperiment.history import paths
from daskperiment.spark import sparkline

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
jupyter_client = pytest.importorskip("jupyter_client")

DEFINE = """
    from daskperiment import Experiment
    ex = Experiment("cells")
    a = ex.parameter("a", default=1)
"""
STEPS = """
    @ex
    def prepare(a):
        return a + 1

    @ex.result
    def score(s):
        return s * 10
"""


class Outputs(list[str]):
    """What each cell has shown."""


Run = Callable[..., Outputs]


def execute(folder: Path, *cells: str, kernel: Any = None, client: Any = None) -> Outputs:
    """Execute a notebook in a real kernel; an error in a cell fails the test."""
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in cells]
    )
    resources = {"metadata": {"path": str(folder)}}
    runner = nbclient.NotebookClient(
        book, km=kernel, timeout=60, kernel_name="python3", resources=resources
    )
    runner.kc = client
    runner.execute()
    return Outputs("".join(map(_shown, cell.outputs)) for cell in book.cells)


@pytest.fixture(scope="module")
def _kernel() -> Iterator[dict[str, Any]]:
    kernel, client = jupyter_client.manager.start_new_kernel(kernel_name="python3")
    yield {"kernel": kernel, "client": client}
    client.stop_channels()
    kernel.shutdown_kernel(now=True)


@pytest.fixture
def run(_kernel: dict[str, Any], tmp_path: Path) -> Run:
    """Executes cells in the kernel of this module, without names and store of other tests."""

    def run(*cells: str) -> Outputs:
        _, *shown = execute(tmp_path, f"%reset -f\n%cd -q {tmp_path}", *cells, **_kernel)
        return Outputs(shown)

    return run


def _shown(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return str(output.data.get("text/html", output.data["text/plain"]))


def test_code_of_cells_is_kept_and_read_back(run: Run) -> None:
    *_, steps, source = run(
        DEFINE,
        "offset = 5\ndef helper(x):\n    return x + offset",
        "@ex.result\ndef score(a):\n    return helper(a)",
        "assert score(a).compute() == 6",
        "print(ex.get_code(1))",
        "print('\\n'.join(ex[1].sources.values()))",
    )

    assert steps == "@ex.result\ndef score(a):\n    return helper(a)\n"
    assert "def helper(x):\n    return x + offset" in source


def test_a_cell_that_runs_again_redefines_its_steps_in_silence(run: Run) -> None:
    again = run(
        DEFINE,
        STEPS,
        "score(prepare(a)).compute()",
        STEPS,
        "score(prepare(a)).compute()",
        "list(ex.get_steps(2)[['step', 'call']].itertuples(index=False, name=None))",
        "ex.get_steps(1).output.tolist() == ex.get_steps(2).output.tolist()",
    )

    assert again[3] == ""
    assert "changed" not in again[4]
    assert again[5:] == ["[('prepare', 0), ('score', 0)]", "True"]


def test_a_cell_that_was_edited_says_what_changed(run: Run) -> None:
    *_, redefined, value = run(
        DEFINE, STEPS, "score(prepare(a)).compute()", STEPS.replace("a + 1", "a + 2"),
        "assert score(prepare(a)).compute() == 30",
    )  # fmt: skip

    assert "-    return a + 1" in redefined
    assert "+    return a + 2" in redefined
    assert "Code context has been changed" not in value


def test_one_line_after_a_trial_opens_when_clicked(run: Run) -> None:
    (*_, shown) = run(DEFINE, STEPS, "_ = score(prepare(a)).compute()")

    assert shown.count("<details>") == 1
    assert "<summary>Trial 1 of cells: COMPLETE" in shown
    assert re.search(r"<th[^>]*>a</th><td[^>]*>1</td>", shown)


def test_a_failed_trial_says_so_in_its_line(run: Run) -> None:
    (*_, shown) = run(
        DEFINE,
        "@ex.result\ndef fail(a):\n    raise KeyError('<b>')",
        "try:\n    fail(a).compute()\nexcept KeyError:\n    pass",
    )

    assert "<summary>Trial 1 of cells: FAILED" in shown
    assert "<b>" not in shown.partition("<details>")[2]


def test_a_cell_with_many_trials_shows_few_lines(run: Run) -> None:
    (*_, shown) = run(DEFINE, STEPS, "for _ in range(30):\n    score(prepare(a)).compute(seed=1)")

    assert shown.count("<details>") == 10


@pytest.mark.parametrize("mode", ["2", "complete --full", "complete"])
def test_autoreload_brings_steps_parameters_and_handle_up_to_date(
    tmp_path: Path, mode: str
) -> None:
    module = textwrap.dedent(DEFINE + STEPS)
    (tmp_path / "steps.py").write_text(module)

    def edit(old: str, new: str, seconds: int) -> str:
        # Two edits within the resolution of the file's time are one to autoreload.
        return f"""
            import os
            from pathlib import Path
            file = Path("steps.py")
            file.write_text(file.read_text().replace({old!r}, {new!r}))
            os.utime(file, ns=(0, file.stat().st_mtime_ns + {seconds} * 10**9))
        """

    cells = (
        f"%load_ext autoreload\n%autoreload {mode}",
        "import steps\nfrom steps import ex, a, prepare, score",
        "assert score(prepare(a)).compute() == 20",
        "ex.set_parameters(a=5)",
        edit("a + 1", "a + 100", 5),
        "assert score(prepare(a)).compute() == 1050",
        "assert steps.score(steps.prepare(steps.a)).compute() == 1050",
        edit("default=1)", "default=1)\nb = ex.parameter('b', default=3)", 10),
        "assert score(prepare(a)).compute() == 1050",
        "assert ex.get_parameters() == {'a': 5, 'b': 3}",
        "assert len(ex.trials) == len(steps.ex.trials) == 4",
    )
    execute(tmp_path, *cells)


HELPERS = """
    import math

    # Moves what follows.
    class Model:
        def __init__(self, k):
            self.k = k

        def fit(self, x):
            return (lambda v: v*self.k)(x)  # not as it would be printed

    def scale(x):
        # Neither is this.
        return Model(2).fit( math.floor(x) )
"""
USE = """
    from helpers import scale
    from daskperiment import Experiment
    ex = Experiment("helpers", backend="memory://")

    @ex.result
    def score(a):
        return scale(a)

    s = score(ex.parameter("a", default=1))
    value = s.compute()
"""
SHOW = """
    step, = ex.backend.get("snapshots", ex.latest._known["code"])["steps"]
    print(value, step["digest"], step["bytecode"], *ex.latest.sources.values())
"""


@pytest.mark.parametrize("mode", ["2", "complete --full", "complete"])
def test_a_helper_that_autoreload_brought_up_to_date_counts_as_after_a_restart(
    tmp_path: Path, mode: str
) -> None:
    old = textwrap.dedent(HELPERS)
    new = old.replace("import math", "import math\n\n").replace("v*self.k", "v*3*self.k")
    new = new.replace("math.floor(x)", "math.floor(x+1)")
    (tmp_path / "helpers.py").write_text(old)

    *_, shown = execute(
        tmp_path,
        f"%load_ext autoreload\n%autoreload {mode}",
        USE,
        f"from pathlib import Path; _ = Path('helpers.py').write_text({new!r})",
        "value = s.compute()",
        SHOW,
    )
    script = textwrap.dedent(USE + SHOW)
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    value, digest, *text = shown.split(maxsplit=2)
    assert value == "12"
    assert text[0].startswith("[] ")  # no function without text
    assert done.stdout.split(maxsplit=2)[:2] == [value, digest]
    assert new in text[0]


def test_what_is_shown_escapes_what_it_shows(memory_ex: Experiment) -> None:
    hostile = "<script>alert(1)</script>"

    @memory_ex.result
    def score(a: str) -> str:
        return a

    score(memory_ex.parameter("a", default=hostile)).compute()
    memory_ex.latest.note = memory_ex.latest.tags = hostile  # type: ignore[assignment]

    shown = [
        memory_ex._repr_html_(),
        memory_ex.latest._repr_html_(),
        memory_ex.trials._repr_html_(),
        memory_ex.get_history()._repr_html_(),  # type: ignore[operator]
        notebooks.Line(hostile, {hostile: hostile})._repr_html_(),
    ]
    for html in shown:
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_a_trial_is_shown_with_its_graph(ex: Experiment) -> None:
    @ex
    def prepare(a: int) -> int:
        return a + 1

    @ex.result
    def score(s: int) -> float:
        return 1 / (s - 1)

    with suppress(ZeroDivisionError):
        score(prepare(ex.parameter("a", default=0))).compute(seed=7, scheduler="synchronous")

    table, _, graph = ex.latest._repr_html_().partition("</table>")

    assert ">FAILED</td>" in table
    titles = re.findall("<title>([^<]*)</title>", graph)
    assert titles[0] == "parameter a\n= 0"
    assert re.fullmatch(r"prepare: ran in .* s\na = 0\nseed \d+", titles[1])
    assert re.fullmatch(r"score: failed in .* s\ns = 1\nseed \d+", titles[2])


def test_a_graph_shows_hostile_names_as_text(memory_ex: Experiment) -> None:
    hostile = "<script>alert('&')</script>"

    @memory_ex.result
    def score(a: str) -> str:
        memory_ex.log_metric(hostile, 1)
        return a

    named = memory_ex(lambda a: a, name=hostile)
    score(named(memory_ex.parameter("a", default=hostile))).compute(scheduler="synchronous")

    for html in (memory_ex.latest._repr_html_(), memory_ex.trials._repr_html_()):
        assert "<svg" in html
        assert "<script" not in html
        assert html.count("&lt;script&gt;") > 2


def test_previews_that_were_forgotten_are_not_in_the_graph(memory_ex: Experiment) -> None:
    @memory_ex.result
    def score(a: str) -> int:
        return len(a)

    score(memory_ex.parameter("a", default="my name")).compute(scheduler="synchronous")
    assert "my name" in memory_ex.latest._repr_html_()

    memory_ex.latest.forget("parameters.a")

    assert "my name" not in memory_ex.latest._repr_html_()
    assert "<svg" in memory_ex.latest._repr_html_()


def test_a_trial_without_step_records_is_shown_as_its_table(memory_ex: Experiment) -> None:
    @memory_ex.result
    def score(a: int) -> int:
        return a

    score(memory_ex.parameter("a", default=1)).compute(scheduler="synchronous")
    memory_ex.backend.apply(Clear(paths.steps(memory_ex.id, memory_ex.latest.uid)))

    shown = memory_ex.latest._repr_html_()

    assert ">COMPLETE</td>" in shown
    assert "<svg" not in shown


@pytest.mark.parametrize("junk", [7, {}, {"inputs": 3}, {"inputs": [["a"]]}], ids=repr)
def test_a_table_is_shown_whatever_stands_in_the_other_records(
    memory_ex: Experiment, junk: Any
) -> None:
    @memory_ex.result
    def score(a: int) -> int:
        return a

    score(memory_ex.parameter("a", default=1)).compute(scheduler="synchronous")
    for log in (paths.steps, paths.metrics):
        memory_ex.backend.append(log(memory_ex.id, memory_ex.latest.uid), [junk])

    assert ">COMPLETE</td>" in memory_ex.latest._repr_html_()
    assert ">COMPLETE</td>" in memory_ex.trials._repr_html_()


class Troubled(MemoryBackend):
    """A store whose logs cannot be read."""

    def read(self, path: str, start: int = 0) -> list[Any]:
        if "/steps/" in path or "/metrics/" in path:
            raise BackendError("no answer")
        return super().read(path, start)


def test_trouble_of_the_store_costs_the_graph_and_not_the_table() -> None:
    ex = Experiment("troubled", backend=Troubled())
    ex.result(lambda a: a, name="same")(ex.parameter("a", default=1)).compute()

    assert ">COMPLETE</td>" in ex.latest._repr_html_()
    assert ">COMPLETE</td>" in ex.trials._repr_html_()


def test_the_newest_trials_are_shown_with_a_line_for_each_of_the_first_metrics(
    ex: Experiment,
) -> None:
    @ex.result
    def train(rate: float) -> float:
        for i in range(100):
            ex.log_metric("loss", (i + 1) ** -rate)
        if rate > 1:
            ex.log_metrics({"State": 3, "b": 4, "rate": float("nan"), "more": 5})
        return rate

    node = train(ex.parameter("rate"))
    for rate in (0.5, 2.0):
        node.compute(parameters={"rate": rate}, scheduler="synchronous")

    head, *rows = ex.trials._repr_html_().split("<tr>")[1:]

    names = re.findall(r"<th[^>]*>([^<]*)</th>", head)
    assert names[-4:] == ["loss", "State (metric)", "b", "rate (metric)"]
    assert [row.count("<svg") for row in rows] == [3, 1]
    for row, last in zip(rows, ("0.0001", "0.1"), strict=True):
        assert f"</svg> {last}</td>" in row
        assert "<title>loss: 100 points up to epoch 99</title>" in row
        (points,) = re.findall('<polyline points="([^"]*)"', row)
        assert 20 <= len(points.split()) <= 40
    assert '<td style="text-align:left"> nan</td>' in rows[0]


def test_a_value_that_is_not_finite_leaves_a_gap_in_a_line() -> None:
    nan, inf = float("nan"), float("inf")

    assert sparkline([1, 2, 3, nan, 5, 6]).count("<polyline") == 2
    assert sparkline([1, 2, inf, -inf, 5, 6]).count("<polyline") == 2
    assert sparkline([nan, inf, None]) == sparkline([]) == ""
    assert sparkline([nan, 1, None]).count("<circle") == 1
    for extreme in ([1e308, -1e308, 0], [5e-324, 0], [7, 7, 7], [2**63, 1]):
        assert "nan" not in sparkline(extreme)


def test_a_long_series_keeps_its_highs_and_lows_in_the_line() -> None:
    (points,) = re.findall('points="([^"]*)"', sparkline([0] * 5000 + [9, -9] + [0] * 7000))

    heights = {float(point.partition(",")[2]) for point in points.split()}
    assert len(points.split()) <= 40
    assert heights == {3.0, 10.0, 17.0}


def test_every_repr_is_one_line(memory_ex: Experiment) -> None:
    @memory_ex.result
    def score(a: str) -> str:
        return a

    score(memory_ex.parameter("a", default="two\nlines")).compute()

    for shown in (memory_ex, memory_ex.latest, memory_ex.trials, score):
        assert os.linesep not in repr(shown)


def test_a_dashboard_is_a_link_and_the_notebook_goes_on(run: Run) -> None:
    *_, link, name = run(
        DEFINE,
        STEPS,
        "score(prepare(a)).compute()",
        "ex.start_dashboard(port=0)",
        "import json, urllib.request\n"
        "url = _.url + 'api/v1/experiments'\n"
        "print(json.load(urllib.request.urlopen(url))['experiments'][0]['experiment'])\n"
        "_.close()",
    )

    assert re.search(r'<a href="(http://127.0.0.1:\d+/)" [^>]*>\1</a>', link)
    assert name == "cells\n"


def test_a_block_has_the_code_of_its_cell_and_of_what_that_reaches(run: Run) -> None:
    shown = run(
        DEFINE,
        """
        def helper(x):
            return 10 * x
        """,
        """
        x = 2
        with ex.trial(x=x) as t:
            t.result = helper(x)
        """,
        "print(ex[1].code, ex[1].result, *ex[1].steps['step'])",
        "print(any('def helper' in text for text in ex[1].sources.values()))",
    )

    assert shown[3].split("\n")[:2] == ["x = 2", "with ex.trial(x=x) as t:"]
    assert shown[3].endswith("t.result = helper(x) 20 cell\n")
    assert shown[4] == "True\n"


HELPED = """
    def scaled(a, power={power}):
        return a ** power
"""
REUSED = """
    @ex(reuse=True)
    def prepare(a):
        return scaled(a + 1)

    @ex(reuse=True)
    def count(a):
        return a * 0

    @ex.result(reuse=True)
    def score(s, n):
        return s * 10 + n
"""
OUTCOMES = 'steps = ex.latest.steps; print("ran:", *steps[steps["outcome"] == "ran"]["step"])'


def test_cells_that_run_again_are_reused_and_an_edited_one_runs_what_depends_on_it(
    run: Run,
) -> None:
    compute = f"score(prepare(a), count(a)).compute()\n{OUTCOMES}"

    shown = run(
        DEFINE, HELPED.format(power=1), REUSED, compute,
        DEFINE, "# The same again.\n" + textwrap.dedent(HELPED.format(power=1)), REUSED, compute,
        HELPED.format(power=2), compute,
        REUSED, compute,
    )  # fmt: skip

    told = [found[1].split() for text in shown if (found := re.search("ran:(.*)", text))]
    assert list(map(sorted, told)) == [
        ["count", "prepare", "score"], [], ["prepare", "score"], [],
    ]  # fmt: skip
