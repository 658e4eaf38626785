"""In notebooks: code from cells, cells that run again, modules that are edited, what is shown."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, notebooks

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

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


def run(folder: Path, *cells: str) -> Outputs:
    """Execute a notebook in a real kernel; an error in a cell fails the test."""
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in cells]
    )
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=60, kernel_name="python3", resources=resources).execute()
    return Outputs("".join(map(_shown, cell.outputs)) for cell in book.cells)


def _shown(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return str(output.data.get("text/html", output.data["text/plain"]))


def test_code_of_cells_is_kept_and_read_back(tmp_path: Path) -> None:
    *_, steps, source = run(
        tmp_path,
        DEFINE,
        "offset = 5\ndef helper(x):\n    return x + offset",
        "@ex.result\ndef score(a):\n    return helper(a)",
        "assert score(a).compute() == 6",
        "print(ex.get_code(1))",
        "print('\\n'.join(ex[1].sources.values()))",
    )

    assert steps == "@ex.result\ndef score(a):\n    return helper(a)\n"
    assert "def helper(x):\n    return x + offset" in source


def test_a_cell_that_runs_again_redefines_its_steps_in_silence(tmp_path: Path) -> None:
    again = run(
        tmp_path,
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


def test_a_cell_that_was_edited_says_what_changed(tmp_path: Path) -> None:
    *_, redefined, value = run(
        tmp_path, DEFINE, STEPS, "score(prepare(a)).compute()", STEPS.replace("a + 1", "a + 2"),
        "assert score(prepare(a)).compute() == 30",
    )  # fmt: skip

    assert "-    return a + 1" in redefined
    assert "+    return a + 2" in redefined
    assert "Code context has been changed" not in value


def test_one_line_after_a_trial_opens_when_clicked(tmp_path: Path) -> None:
    (*_, shown) = run(tmp_path, DEFINE, STEPS, "_ = score(prepare(a)).compute()")

    assert shown.count("<details>") == 1
    assert "<summary>Trial 1 of cells: COMPLETE" in shown
    assert re.search(r"<th[^>]*>a</th><td[^>]*>1</td>", shown)


def test_a_failed_trial_says_so_in_its_line(tmp_path: Path) -> None:
    (*_, shown) = run(
        tmp_path,
        DEFINE,
        "@ex.result\ndef fail(a):\n    raise KeyError('<b>')",
        "try:\n    fail(a).compute()\nexcept KeyError:\n    pass",
    )

    assert "<summary>Trial 1 of cells: FAILED" in shown
    assert "<b>" not in shown.partition("<details>")[2]


def test_a_cell_with_many_trials_shows_few_lines(tmp_path: Path) -> None:
    (*_, shown) = run(
        tmp_path, DEFINE, STEPS, "for _ in range(30):\n    score(prepare(a)).compute(seed=1)"
    )

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

    run(
        tmp_path,
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


def test_every_repr_is_one_line(memory_ex: Experiment) -> None:
    @memory_ex.result
    def score(a: str) -> str:
        return a

    score(memory_ex.parameter("a", default="two\nlines")).compute()

    for shown in (memory_ex, memory_ex.latest, memory_ex.trials, score):
        assert os.linesep not in repr(shown)
