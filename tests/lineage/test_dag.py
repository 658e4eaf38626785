"""The graph of a trial: complete, legible, and drawn whatever the records hold."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskperiment import Experiment
from daskperiment.history.steps import Steps
from daskperiment.lineage.dag import Dag, Node, dag
from daskperiment.lineage.picture import picture
from daskperiment.records import Argument, Origin, StepRecord

pytestmark = pytest.mark.filterwarnings("ignore::daskperiment.CodeChangedWarning")


def step(name: str, call: int = 0) -> Origin:
    return "step", name, call


def parameter(name: str) -> Origin:
    return "parameter", name, 0


def record(name: Any, *origins: Origin, call: Any = 0, **fields: Any) -> StepRecord:
    inputs = (Argument("x", None, "1", origins),)
    known = StepRecord(
        "0f", name, call, inputs, None, None, 7, False, False, {}, "", "", 0, 0.0, 0.5, "ran"
    )
    return known._replace(**fields)


def by_id(graph: Dag) -> dict[str, Node]:
    nodes = {node.id: node for node in graph.nodes}
    assert len(nodes) == len(graph.nodes)
    return nodes


def assert_no_overlap(graph: Dag) -> None:
    columns: dict[int, list[float]] = {}
    for node in graph.nodes:
        columns.setdefault(node.layer, []).append(node.slot)
    for slots in columns.values():
        slots.sort()
        assert all(b - a >= 1 for a, b in pairwise(slots))
    assert all(0 <= node.slot <= graph.slots - 1 for node in graph.nodes)
    assert set(columns) == set(range(graph.layers))


def svg(html: str) -> ElementTree.Element:
    """The picture, which is well-formed."""
    return ElementTree.fromstring(f"<body>{html}</body>")


@st.composite
def graphs(draw: st.DrawFn) -> list[StepRecord]:
    """Records of acyclic graphs, as trials write them: a call ends before those that use it."""
    names = draw(st.lists(st.sampled_from("abc"), max_size=25))
    records: list[StepRecord] = []
    calls: list[Origin] = []
    for name in names:
        call = step(name, sum(other[1] == name for other in calls))
        before = st.lists(st.sampled_from(calls), max_size=4) if calls else st.just([])
        of = [parameter(p) for p in draw(st.lists(st.sampled_from(["a", "b[0]", "p"]), max_size=3))]
        records.append(record(name, *draw(before), *of, call=call[2]))
        calls.append(call)
    return records


@given(graphs())
def test_every_edge_leads_to_the_right_and_no_two_boxes_overlap(records: list[StepRecord]) -> None:
    graph = dag(records)
    nodes = by_id(graph)

    assert_no_overlap(graph)
    assert all(nodes[a].layer < nodes[b].layer for a, b in graph.edges)
    for (a, b), passed in graph.bends.items():
        between = range(nodes[a].layer + 1, nodes[b].layer)
        assert [layer for layer, _ in passed] == list(between)
        assert all(0 <= slot <= graph.slots - 1 for _, slot in passed)


@given(graphs())
def test_every_call_and_parameter_is_there_once_with_all_it_was_made_from(
    records: list[StepRecord],
) -> None:
    graph = dag(records)
    nodes = by_id(graph)
    used = {o for r in records for a in r.inputs for o in a.origins if o[0] == "parameter"}

    steps = {node.id: node.record for node in graph.nodes if node.kind == "step"}
    assert steps == {f"{r.step}[{r.call}]": r for r in records}
    assert {n.label for n in graph.nodes if n.kind == "parameter"} == {name for _, name, _ in used}
    for one in records:
        into = {a for a, b in graph.edges if b == f"{one.step}[{one.call}]"}
        assert len(into) == len({origin for argument in one.inputs for origin in argument.origins})
        assert into <= nodes.keys()


@given(graphs(), st.integers(0, 30))
def test_the_same_records_give_the_same_picture(records: list[StepRecord], most: int) -> None:
    assert dag(records, most) == dag(records, most)
    assert picture(dag(records, most)) == picture(dag(list(records), most))


@given(graphs(), st.integers(1, 10))
def test_of_more_calls_than_can_be_shown_each_step_is_one_box(
    records: list[StepRecord], most: int
) -> None:
    graph = dag(records, most)

    assert graph.collapsed == (len(records) > most)
    assert_no_overlap(graph)
    svg(picture(graph))
    if graph.collapsed and len({r.step for r in records}) <= most:
        assert sum(node.calls for node in graph.nodes) == len(records)
        assert len(graph.nodes) <= 3 + 3
        assert all(a != b for a, b in graph.edges)


def test_a_step_that_feeds_itself_has_no_edge_to_itself() -> None:
    records = [record("epoch", parameter("rate"))]
    records += [record("epoch", step("epoch", i - 1), call=i) for i in range(1, 300)]

    graph = dag([*records, record("score", step("epoch", 299))])

    rate, epoch, score = graph.nodes
    assert (epoch.id, epoch.label, epoch.calls, epoch.call) == ("epoch[*]", "epoch", 300, None)
    assert (epoch.outcome, epoch.seconds, epoch.record) == ("ran", 150.0, None)
    assert (score.id, score.calls, score.record is not None) == ("score[0]", 1, True)
    assert graph.edges == (("rate", "epoch[*]"), ("epoch[*]", "score[0]"))
    assert [rate.layer, epoch.layer, score.layer] == [0, 1, 2]


def test_one_call_that_failed_makes_its_step_a_failed_one() -> None:
    records = [record("a", call=i) for i in range(9)] + [record("a", call=9, outcome="failed")]

    (node,) = dag(records, most=5).nodes

    assert node.outcome == "failed"


def test_of_several_attempts_the_last_one_counts() -> None:
    first = record("a", parameter("x"), outcome="failed")

    graph = dag([first, record("b"), record("a", parameter("x"), seconds=2)])

    assert [(n.id, n.outcome, n.seconds) for n in graph.nodes] == [
        ("x", None, None), ("a[0]", "ran", 2), ("b[0]", "ran", 0.5),
    ]  # fmt: skip


def test_a_call_that_has_no_record_yet_is_a_box_without_outcome() -> None:
    graph = dag([record("fit", step("clean", 3))])

    node = by_id(graph)["clean[3]"]
    assert (node.outcome, node.seconds, node.record, node.calls) == (None, None, None, 1)
    assert graph.edges == (("clean[3]", "fit[0]"),)


def test_a_parameter_stands_before_the_first_step_that_uses_it() -> None:
    chain = [record("s0")] + [record(f"s{i}", step(f"s{i - 1}")) for i in range(1, 5)]
    chain[3] = record("s3", step("s2"), parameter("late"))

    nodes = by_id(dag(chain))

    assert nodes["late"].layer == nodes["s3[0]"].layer - 1 == 2


def test_a_chain_is_a_level_line_with_its_parameters_beside_it() -> None:
    chain = [record("s0", parameter("p0"))]
    chain += [record(f"s{i}", step(f"s{i - 1}"), parameter(f"p{i}")) for i in range(1, 6)]

    graph = dag(chain)

    assert len({node.slot for node in graph.nodes if node.kind == "step"}) == 1


def test_lines_do_not_cross_where_they_need_not() -> None:
    upside_down = [record("load")]
    upside_down += [record("a", step("load"), call=i) for i in range(8)]
    upside_down += [record("b", step("a", 7 - i), call=i) for i in range(8)]

    nodes = by_id(dag(upside_down))

    assert [nodes[f"b[{i}]"].slot for i in range(8)] == [
        nodes[f"a[{7 - i}]"].slot for i in range(8)
    ]


def test_a_parameter_never_has_the_id_of_a_step_call() -> None:
    names = ["clean[0]", "clean[0] (parameter)", "fit[0]", "clean[*]"]

    for most in (200, 1):
        graph = dag([record("clean", *map(parameter, names)), record("fit")], most)
        by_id(graph)
    assert {n.label for n in dag([record("clean", *map(parameter, names))]).nodes} == {
        *names, "clean",
    }  # fmt: skip


@pytest.mark.parametrize("calls", [3, 150, 5000])
def test_a_cycle_that_others_wrote_is_drawn_all_the_same(calls: int) -> None:
    records = [record(f"s{i}", step(f"s{(i + 1) % calls}"), step(f"s{i}")) for i in range(calls)]

    graph = dag(records)

    assert_no_overlap(graph)
    assert len(graph.nodes) == min(calls, 200)
    assert graph.omitted == calls - len(graph.nodes)
    svg(picture(graph))


def test_a_chain_longer_than_the_stack_is_drawn() -> None:
    records = [record(f"s{i}", step(f"s{i - 1}")) for i in range(1, 20_000)]

    assert dag(records, most=30_000).layers == 20_000


def test_thousands_of_parameters_are_left_out() -> None:
    graph = dag([record("a", *(parameter(f"p{i}") for i in range(5000)))])

    assert [node.id for node in graph.nodes] == ["a[0]"]
    assert graph.omitted == 5000
    assert "5000 parameters and steps are left out" in picture(graph)


def test_of_the_densest_graph_some_lines_are_left_out() -> None:
    records = [record(f"s{i}", *(step(f"s{j}") for j in range(i))) for i in range(200)]
    random.Random(1).shuffle(records)

    html = picture(dag(records))

    assert len(html) < 1_000_000
    assert "18900 lines are left out" in html


HOSTILE = "<script>&\"'</title>]]>\u202e\x00\ud800\n" + "x" * 3000


@pytest.mark.parametrize(
    "junk", [None, 7, 1.5, float("nan"), 10**400, [], {}, [["x"]], True, HOSTILE, ""], ids=repr
)
def test_whatever_stands_in_a_record_there_is_a_picture(junk: Any) -> None:
    for field in ("step", "call", "seed", "outcome", "seconds", "reused_from", "fingerprint"):
        odd = record("a", step("b"))._replace(**{field: junk})
        graph = dag([odd, record("a"), record("b", step("a"))])
        assert_no_overlap(graph)
        svg(picture(graph)).itertext()


def test_everything_in_a_picture_is_escaped_and_short() -> None:
    odd = record(HOSTILE, step(HOSTILE, 2), parameter(HOSTILE), reused_from=HOSTILE)
    odd = odd._replace(inputs=tuple(a._replace(name=HOSTILE, preview=HOSTILE) for a in odd.inputs))

    html = picture(dag([odd, *(record(HOSTILE, call=i) for i in range(3, 6))]), {HOSTILE: HOSTILE})

    svg(html)
    html.encode()
    assert "<script" not in html
    assert "\u202e" not in html
    assert len(html) < 20_000


def test_a_picture_brings_nothing_into_the_page_but_itself() -> None:
    html = picture(dag([record("a", parameter("x")), record("b", step("a"), outcome="failed")]))

    assert not re.search(r"<style|<script|\bid=|href|url\(|class=", html)


def test_what_is_pointed_at_tells_outcome_inputs_and_seed() -> None:
    titles = [
        t.text for t in svg(picture(dag([record("a", parameter("p"))]), {"p": "4"})).iter("title")
    ]

    assert titles == ["parameter p\n= 4", "a: ran in 0.500 s\nx = 1\nseed 7"]


def test_the_graph_of_a_trial_is_what_was_computed(ex: Experiment) -> None:
    @ex
    def load(n: int) -> int:
        return n

    @ex
    def half(x: int, which: int) -> int:
        return x + which

    @ex.result
    def join(a: int, b: int) -> int:
        return a + b

    data = load(ex.parameter("n", default=1))
    join(half(data, 0), half(data, 1)).compute()

    graph = dag(Steps(ex.backend, ex.id).read(ex.latest.uid))

    assert set(graph.edges) == {
        ("n", "load[0]"), ("load[0]", "half[0]"), ("load[0]", "half[1]"),
        ("half[0]", "join[0]"), ("half[1]", "join[0]"),
    }  # fmt: skip
    assert {(n.id, n.layer, n.label) for n in graph.nodes} == {
        ("n", 0, "n"), ("load[0]", 1, "load"), ("half[0]", 2, "half[0]"),
        ("half[1]", 2, "half[1]"), ("join[0]", 3, "join"),
    }  # fmt: skip
