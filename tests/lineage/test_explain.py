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


# -- what a report says


@pytest.fixture
def ex() -> Experiment:
    return Experiment("explained", backend="memory://", seed=1)


def load_(a: int) -> int:
    return a + 1


def score(x: int, b: int) -> int:
    return x + b


def three(ex: Experiment, middle: Any = lambda data: data * 2, **options: Any) -> Any:
    """A graph of three steps, of which the one in the middle is given."""
    loaded = ex(load_, name="load")(ex.parameter("a", default=1))
    between = ex(middle, name=options.get("name", "middle"))(loaded)
    return ex.result(score)(between, ex.parameter("b", default=10))


def causes(found: Explanation) -> list[tuple[str, str]]:
    return [(cause.kind, cause.name) for cause in found.causes]


def verdicts(found: Explanation) -> dict[str, str]:
    return {step.name: step.verdict for step in found.steps}


def test_a_change_that_moves_no_output_is_harmless(ex: Experiment) -> None:
    s = ex.result(lambda a, b: min(a, b), name="least")(ex.parameter("a"), ex.parameter("b"))
    s.compute(parameters={"a": 1, "b": 5})
    s.compute(parameters={"a": 1, "b": 6})

    found = ex.explain(1, 2)

    assert not found
    assert [(cause.kind, cause.name, cause.steps) for cause in found.harmless] == [
        ("parameter", "b", ("least",))
    ]
    assert "changed without effect\n  parameter b: 5 -> 6 (least)" in str(found)


@pytest.mark.filterwarnings("ignore::daskperiment.CodeChangedWarning")
@pytest.mark.filterwarnings("ignore::daskperiment.PurityWarning")
def test_code_that_was_edited_is_shown_with_its_diff_and_what_follows_is_cleared(
    ex: Experiment, load: Any
) -> None:
    for factor in (2, 3):
        module = load(pipeline="""
            import helpers

            def middle(data):
                return helpers.scaled(data)
        """, helpers=f"""
            def scaled(x):
                return x * {factor}
        """)  # fmt: skip
        three(ex, module.middle).compute()

    found = ex.explain(1, 2)

    assert str(found).splitlines()[2:] == [
        "first difference: the output of step middle",
        "  helper helpers.scaled changed at line 3 (middle)",
        "  @@ -2 +2 @@",
        "  -    return x * 2",
        "  +    return x * 3",
        "differ only because their inputs do",
        "  score",
        "equal",
        "  load",
    ]
    assert found.frame["verdict"].to_list() == ["equal", "differs", "follows"]


def test_a_step_that_only_one_trial_has_is_a_cause(ex: Experiment) -> None:
    three(ex).compute()
    loaded = ex(load_, name="load")(ex.parameter("a", default=1))
    ex.result(score)(loaded, ex.parameter("b", default=10)).compute()

    found = ex.explain(1, 2)

    assert causes(found) == [("graph", "middle")]
    assert verdicts(found) == {"load": "equal", "middle": "removed", "score": "follows"}


def test_a_step_with_another_name_is_no_cause(ex: Experiment) -> None:
    three(ex).compute()
    three(ex, name="centre").compute()

    found = ex.explain(1, 2)

    assert not found, str(found)
    assert "graph names step middle now centre" in str(found)


def test_a_step_that_has_failed_is_where_the_trials_part(ex: Experiment) -> None:
    s = three(ex, lambda data: 1 / (data - 2))
    s.compute(parameters={"a": 5})
    with pytest.raises(ZeroDivisionError):
        s.compute(parameters={"a": 1})

    found = ex.explain(1, 2)

    assert causes(found) == [("parameter", "a")]
    assert verdicts(found) == {"load": "differs", "middle": "follows", "score": "not run"}


def test_of_outputs_without_a_digest_nothing_is_said(ex: Experiment) -> None:
    s = three(ex, lambda data: (item for item in [data]))
    with pytest.raises(TypeError):
        s.compute()
    with pytest.raises(TypeError):
        s.compute()

    found = ex.explain(1, 2)

    assert not found
    assert verdicts(found)["middle"] == "unknown"
    assert any("middle" in note for note in found.notes)


def test_what_was_forgotten_is_told_and_the_rest_is_explained(ex: Experiment) -> None:
    s = three(ex)
    s.compute()
    s.compute(parameters={"a": 2})
    ex[1].forget("code")

    found = ex.explain(1, 2)

    assert causes(found) == [("parameter", "a")]
    assert any("code" in note for note in found.notes)


def test_trials_of_two_experiments_are_explained(ex: Experiment) -> None:
    other = Experiment("other", backend=ex.backend, seed=1)
    three(ex).compute()
    three(other).compute(parameters={"b": 11})

    assert causes(ex[1].explain(other[1])) == [("parameter", "b")]


def test_a_page_in_a_notebook_escapes_what_it_shows(ex: Experiment) -> None:
    s = three(ex)
    s.compute(parameters={"b": 1})
    s.compute(parameters={"b": 2})

    html = ex.explain(1, 2)._repr_html_()

    assert "parameter b: 1 -&gt; 2 (score)" in html
