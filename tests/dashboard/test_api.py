"""What the dashboard answers, over every backend."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.backends.reading import ReadOnlyBackend
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ENDPOINTS
from daskperiment.errors import BackendUnreachableError, StoreReadOnlyError
from daskperiment.history import paths
from daskperiment.history.trials import Trials

ROOT = "/api/v1/experiments/example"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


class Asked:
    """Asks a dashboard, as a page does."""

    def __init__(self, backend: Backend, experiment: str | None = "example") -> None:
        self.client = create_app(Board(backend, experiment)).test_client()

    def __call__(self, path: str, **query: Any) -> Any:
        reply = self.reply(path, **query)
        assert reply.status_code == 200, reply.text
        return json.loads(reply.text, parse_constant=pytest.fail)

    def reply(self, path: str, **query: Any) -> Any:
        return self.client.get(
            path if path.startswith("/") else f"{ROOT}/{path}", query_string=query
        )

    def refused(self, path: str, **query: Any) -> tuple[int, str]:
        reply = self.reply(path, **query)
        return reply.status_code, reply.json["error"]["message"]


def trained(backend: Backend) -> Experiment:
    """Five trials of two steps, of which one failed."""
    ex = Experiment("example", backend=backend)

    @ex
    def clean(a: int) -> int:
        print("cleaning", a)
        return a

    @ex.result
    def score(x: int, rate: float) -> Any:
        for epoch in range(10):
            ex.log_metrics({"loss": x / (epoch + 1), "lr": rate}, epoch)
        ex.save_artifact("plots/roc.png", PNG)
        ex.save_artifact("notes.txt", "a <b> c")
        ex.save_artifact("page.html", b"<script>alert(1)</script>")
        if x == 3:
            raise ValueError("three is too many")
        return x * 10 if x != 4 else {"shape": object}

    s = score(clean(ex.parameter("a")), ex.parameter("rate", default=0.5))
    for a in range(1, 6):
        try:
            s.compute(parameters={"a": a})
        except ValueError:
            continue
    ex[2].tags = ["good"]
    ex[2].note = "look again"
    return ex


@pytest.fixture
def ex(every_backend: Backend) -> Experiment:
    """An experiment on each backend, with trials."""
    return trained(every_backend)


@pytest.fixture
def ask(ex: Experiment) -> Asked:
    """Its dashboard."""
    return Asked(ex.backend)


@pytest.fixture
def memory() -> Asked:
    """A dashboard of trials in memory, for what does not depend on the backend."""
    return Asked(trained(MemoryBackend()).backend)


def test_the_experiments_are_listed_with_their_last_trial(ask: Asked) -> None:
    (found,) = ask("/api/v1/experiments")["experiments"]

    assert (found["experiment"], found["trials"], found["running"]) == ("example", 5, 0)
    assert (found["last"]["trial"], found["last"]["state"]) == (5, "COMPLETE")


def test_the_newest_trials_come_first_with_their_parameters_and_results(ask: Asked) -> None:
    page = ask("trials", limit=3)

    assert [row["trial"] for row in page["rows"]] == [5, 4, 3]
    assert page["columns"] == ["a", "rate", "Result", "Started", "Process Time"]
    assert page["rows"][0]["values"][:3] == [5, 0.5, 50]
    assert "preview" in page["rows"][1]["values"][2]
    assert page["rows"][2]["failure"] == "ValueError(three is too many)"
    assert page["states"] == {"COMPLETE": 4, "FAILED": 1}
    assert (page["trials"], page["found"]) == (5, 5)


def test_trials_are_filtered_by_the_grammar_of_the_history(ask: Asked) -> None:
    page = ask("trials", where="a > 1 and Success", order_by="-a", columns=["a", "Tags", "Note"])

    assert [row["values"] for row in page["rows"]] == [
        [5, [], ""], [4, [], ""], [2, ["good"], "look again"],
    ]  # fmt: skip
    assert page["found"] == 3


def test_pages_follow_one_another(memory: Asked) -> None:
    pages = [memory("trials", order_by="a", limit=2, offset=offset) for offset in (0, 2, 4, 6)]

    assert [[row["trial"] for row in page["rows"]] for page in pages] == [[1, 2], [3, 4], [5], []]


def test_metrics_stand_beside_the_trials_in_short(ask: Asked) -> None:
    page = ask("trials", limit=1)

    assert page["metrics"] == page["known_metrics"] == ["loss", "lr"]
    loss = page["rows"][0]["metrics"]["loss"]
    assert (loss["points"], loss["epoch"], loss["last"]) == (10, 9, 0.5)
    assert (loss["min"], loss["max"], loss["spark"][0]) == (0.5, 5.0, 5.0)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"where": "zz > 1"}, "there is no column 'zz'"),
        ({"where": "a >"}, "at character 4"),
        ({"order_by": "zz"}, "Cannot order by 'zz'"),
        ({"columns": "zz"}, "There is no column 'zz'"),
        ({"limit": "501"}, "limit is an integer from 1 to 500"),
        ({"limit": "x"}, "limit is an integer"),
        ({"offset": "-1"}, "offset is an integer from 0"),
        ({"where": "a" * 2001}, "0 to 2000 characters"),
        ({"sort": "a"}, "There is no parameter 'sort' here"),
    ],
)
def test_a_wrong_query_says_what_is_wrong(
    memory: Asked, query: dict[str, str], reason: str
) -> None:
    status, message = memory.refused("trials", **query)

    assert status == 400
    assert reason in message


def test_a_thousand_parameters_are_no_trouble() -> None:
    ex = Experiment("example", backend="memory://")

    @ex.result
    def count(values: list[int]) -> int:
        return len(values)

    parameters = [ex.parameter(f"p{i}", default=i) for i in range(1000)]
    count(parameters).compute(scheduler="synchronous")
    ask = Asked(ex.backend)

    page = ask("trials")
    chosen = ask("trials", columns=["p999", "Result"], where="p999 == 999")

    assert sum(column["kind"] == "parameter" for column in page["known"]) == 1000
    assert len(page["columns"]) < 30
    assert chosen["rows"][0]["values"] == [999, 1000]


def test_one_trial_tells_all_that_matters(ask: Asked) -> None:
    failed, good = ask("trials/3"), ask("trials/2")

    assert [(p["name"], p["value"]) for p in good["parameters"]] == [("a", 2), ("rate", 0.5)]
    assert good["result"]["value"] == 20
    assert (good["tags"], good["note"]) == (["good"], "look again")
    assert (good["previous"], good["next"]) == (1, 3)
    assert {a["name"]: a["kind"] for a in good["artifacts"]} == {
        "plots/roc.png": "image", "notes.txt": "text", "page.html": "other",
    }  # fmt: skip
    assert failed["steps"] == {"ran": 1, "failed": 1, "pruned": 0, "reused": 0}
    assert failed["result"] is None
    assert "three is too many" in failed["traceback"]


def test_a_removed_trial_is_passed_over(ex: Experiment, ask: Asked) -> None:
    ask("trials")
    ex[2].remove()

    assert [row["trial"] for row in ask("trials")["rows"]] == [5, 4, 3, 1]
    assert ask("trials/1")["next"] == 3
    assert ask.refused("trials/2")[0] == 404


def test_the_graph_has_every_call_with_its_record(ask: Asked) -> None:
    graph = ask("trials/3/graph")

    outcomes = {node["id"]: node["outcome"] for node in graph["nodes"] if node["kind"] == "step"}
    assert outcomes == {"clean[0]": "ran", "score[0]": "failed"}
    assert {"from": "clean[0]", "to": "score[0]", "bends": []} in graph["edges"]
    (record,) = (node["record"] for node in graph["nodes"] if node["id"] == "clean[0]")
    assert [(i["name"], i["preview"], i["origins"]) for i in record["inputs"]] == [
        ("a", "3", ["a"])
    ]


def test_why_a_call_has_run_is_said_in_a_sentence(ex: Experiment, ask: Asked) -> None:
    assert ask("trials/2/why", step="clean") == {
        "trial": 2, "step": "clean", "call": 0, "why": ex[2].why("clean"),
    }  # fmt: skip
    assert ask.refused("trials/2/why", step="clean", call=1)[0] == 404
    assert ask.refused("trials/2/why")[0] == 404


def test_a_step_has_what_it_descends_from_and_what_descends_from_it(
    ex: Experiment, ask: Asked
) -> None:
    above = {"kind": "parameter", "name": "a", "preview": "2"}
    found = ask("trials/2/lineage", step="clean")
    score = ask("trials/2/lineage", step="score", call=0)

    assert found["above"] == {"entries": [above], "calls": 0, "parameters": 1, "left_out": 0}
    (below,) = found["below"]["entries"]
    assert (below["name"], below["call"], below["outcome"]) == ("score", 0, "ran")
    assert [each["name"] for each in score["above"]["entries"]] == ["clean", "rate", "a"]
    clean = score["above"]["entries"][0]
    assert (clean["preview"], clean["output"]) == ("2", ex[2].steps["output"][0])
    names = [e["name"] for e in ask("trials/2/lineage", parameter="rate")["below"]["entries"]]
    assert names == ["score"]
    assert ask.refused("trials/2/lineage", step="clean", call=1)[0] == 404
    assert ask.refused("trials/2/lineage", parameter="clean")[0] == 404


def test_of_many_calls_the_lineage_has_an_entry_for_each_step() -> None:
    ex = Experiment("example", backend=MemoryBackend())
    part = ex(lambda i: i, name="part")
    total = ex.result(lambda parts: sum(parts), name="total")
    total([part(i) for i in range(300)]).compute()

    found = Asked(ex.backend)("trials/1/lineage", step="total")["above"]

    assert (found["calls"], found["left_out"]) == (300, 0)
    assert [(e["name"], e["call"], e["calls"]) for e in found["entries"]] == [("part", None, 300)]


def test_who_has_taken_an_output_is_listed_and_what_was_not_looked_at_is_counted() -> None:
    ex = Experiment("example", backend=MemoryBackend(), reuse=True)
    clean = ex(lambda a: a, name="clean")
    s = ex.result(lambda a, b: a + b, name="score")(
        clean(ex.parameter("a", default=1)), ex.parameter("b")
    )
    for b in range(4):
        s.compute(parameters={"b": b})
    ask = Asked(ex.backend)

    found = ask("trials/1/takers", step="clean", most=2)

    assert [(e["trial"], e["calls"], e["result"]) for e in found["trials"]] == [
        (2, ["clean", "score"], "2"), (3, ["clean", "score"], "3"),
    ]  # fmt: skip
    assert (found["looked"], found["left"]) == (2, 1)
    assert ask("trials/1/takers", step="clean")["left"] == 0
    assert ask("trials/1/takers", step="score")["trials"] == []
    assert ask.refused("trials/1/takers", step="none")[0] == 404


def test_a_reproduction_is_linked_both_ways_with_its_verdict(ex: Experiment, ask: Asked) -> None:
    Trials(ex.backend, ex.id).edit(5, {"reproduces": ex[1].uid, "verdict": "tolerance"})

    assert ask("trials/5/reproductions") == {
        "reproduces": {"trial": 1, "verdict": "tolerance"}, "reproductions": [],
    }  # fmt: skip
    assert ask("trials/1/reproductions") == {
        "reproduces": None, "reproductions": [{"trial": 5, "verdict": "tolerance"}],
    }  # fmt: skip
    page = ask("trials", where="Verdict == 'tolerance'", columns=["Verdict"])
    assert [(row["trial"], row["values"]) for row in page["rows"]] == [(5, ["tolerance"])]


def test_links_of_reproductions_are_read_from_memory_when_they_are_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ex = trained(MemoryBackend())
    ask = Asked(ex.backend)
    ask("trials/1/reproductions")
    found, asked = ex.backend.find, []

    def noted(path: str, *args: Any, **options: Any) -> Any:
        asked.append((path, options.get("after")))
        return found(path, *args, **options)

    monkeypatch.setattr(ex.backend, "find", noted)
    ask("trials/1/reproductions")

    rows = [after for path, after in asked if path == paths.trials("example")]
    assert rows
    assert all(after is not None and after >= 4 for after in rows)


def test_a_taint_is_told_with_its_calls_and_counted(ex: Experiment, ask: Asked) -> None:
    assert (ask("trials/1")["taints"], ask("trials")["tainted"]) == ([], 0)

    ex.taint("clean", input=2, reason="off by one")

    (taint,) = ask("trials/2")["taints"]
    assert (taint["reason"], taint["calls"]) == ("off by one", ["clean[0]", "score[0]"])
    assert taint["by"] is not None
    assert taint["time"].endswith("+00:00")
    page = ask("trials", where="Tainted != none")
    assert ([row["trial"] for row in page["rows"]], page["tainted"]) == ([2], 1)


def test_code_is_given_in_words_that_joined_are_the_source(ex: Experiment, ask: Asked) -> None:
    code = ask("trials/1/code")

    joined = {step["step"]: "".join(text for _, text in step["tokens"]) for step in code["steps"]}
    assert "\n\n".join(joined.values()) == ex[1].code
    assert ["k", "def"] in code["steps"][0]["tokens"]
    whole = ask("trials/1/file", name=code["files"][0])
    assert "".join(text for _, text in whole["tokens"]) == ex[1].sources[code["files"][0]]


def test_the_environment_is_given_by_category(ask: Asked) -> None:
    found = {
        each["name"]: dict(each["entries"]) for each in ask("trials/1/environment")["categories"]
    }

    assert found["python"]["implementation"] == "CPython"
    assert "dask" in found["packages"]


def test_output_comes_line_by_line(ask: Asked) -> None:
    output = ask("trials/2/output", last=10)

    assert [(line["step"], line["text"]) for line in output["lines"]] == [("clean", "cleaning 2")]
    assert (output["total"], output["ended"]) == (1, True)


def test_curves_are_thinned_for_the_eye_and_exact_where_one_looks_closer() -> None:
    ex = Experiment("example", backend="memory://")

    @ex.result
    def train() -> int:
        for epoch in range(10_000):
            ex.log_metric("loss", 99.0 if epoch == 6177 else epoch % 7)
        return 1

    train().compute(scheduler="synchronous")
    ask = Asked(ex.backend)

    (whole,) = ask("metrics", trials=1, points=400)["series"]
    (part,) = ask("metrics", trials=1, points=400, start=6100, end=6200)["series"]

    assert (whole["points"], whole["exact"]) == (10_000, False)
    assert len(whole["epochs"]) <= 400
    assert max(whole["values"]) == 99.0
    assert (whole["epochs"][0], whole["epochs"][-1]) == (0, 9999)
    assert (part["inside"], part["exact"], part["epochs"]) == (101, True, list(range(6100, 6201)))


def test_numbers_that_json_lacks_are_texts() -> None:
    ex = Experiment("example", backend="memory://")

    @ex.result
    def train(a: float) -> float:
        for value in (float("nan"), float("inf"), float("-inf"), 1.0):
            ex.log_metric("loss", value)
        return a

    train(ex.parameter("a")).compute(parameters={"a": float("inf")})
    ask = Asked(ex.backend)

    assert ask("metrics", trials=1)["series"][0]["values"] == ["nan", "inf", "-inf", 1.0]
    assert ask("trials")["rows"][0]["values"][:2] == ["inf", "inf"]


def test_images_are_shown_and_all_else_is_saved(ask: Asked) -> None:
    image = ask.reply("trials/1/artifact", name="plots/roc.png")
    page = ask.reply("trials/1/artifact", name="page.html")
    text = ask("trials/1/artifact", **{"name": "notes.txt", "as": "text"})

    assert (image.mimetype, image.data) == ("image/png", PNG)
    assert page.mimetype == "application/octet-stream"
    assert page.headers["Content-Disposition"] == "attachment; filename=page.html"
    assert text == {"name": "notes.txt", "text": "a <b> c", "size": 7, "cut": False}


def test_a_file_that_only_is_named_like_an_image_is_saved() -> None:
    ex = Experiment("example", backend="memory://")

    @ex.result
    def draw() -> int:
        ex.save_artifact("x.png", b"<svg onload=alert(1)>")
        return 1

    draw().compute()

    assert Asked(ex.backend).reply("trials/1/artifact", name="x.png").mimetype == (
        "application/octet-stream"
    )


def test_trials_are_compared_by_what_differs(ask: Asked) -> None:
    found = ask("compare", trials=[1, 2, 3])

    sections = {each["name"]: each["rows"] for each in found["sections"]}
    assert sections["parameters"] == [{"name": "a", "values": ["1", "2", "3"]}]
    assert sections["state"] == [{"name": "state", "values": ["COMPLETE", "COMPLETE", "FAILED"]}]
    assert sections["result"] == [{"name": "result", "values": ["10", "20", None]}]
    assert {"packages", "code"} <= set(found["same"])
    assert found["metrics"] == ["loss", "lr"]


def test_a_comparison_shows_the_diff_of_the_code() -> None:
    ex = Experiment("example", backend="memory://")
    for text in ("return a + 1", "return a + 2"):
        source = f"@ex.result\ndef score(a):\n    {text}\n"
        Path("defined.py").write_text(source)
        scope: dict[str, Any] = {"ex": ex}
        import linecache

        linecache.checkcache("defined.py")
        exec(compile(source, "defined.py", "exec"), scope)
        with pytest.warns(UserWarning) if "2" in text else _nothing():
            scope["score"](ex.parameter("a", default=1)).compute()

    (changed,) = Asked(ex.backend)("compare", trials=[1, 2])["code"]

    lines = changed["diffs"][0]["lines"]
    assert ["-", "-    return a + 1"] in lines
    assert ["+", "+    return a + 2"] in lines


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_one_trial_alone_is_not_compared(memory: Asked) -> None:
    assert memory.refused("compare", trials=[1, 1])[0] == 400
    assert memory.refused("compare", trials=list(range(1, 12))) == (
        400, "trials may be given 10 times, not 11",
    )  # fmt: skip


def test_what_was_forgotten_says_so(ex: Experiment, ask: Asked) -> None:
    ask("trials/2/output")
    ask("metrics", trials=2)
    ex[2].forget("output")
    ex[2].forget("metrics")
    ex[2].forget("code")

    assert "forgotten on" in ask.refused("trials/2/output")[1]
    assert "forgotten on" in ask.refused("metrics", trials=2)[1]
    assert "forgotten on" in ask.refused("trials/2/code")[1]
    assert {"output", "metrics", "code"} <= set(ask("trials/2")["forgotten"])
    assert ask("trials/2")["metrics"] == []
    assert ask("trials", where="`Trial ID` == 2")["rows"][0]["metrics"] == {}


def test_the_same_reply_is_sent_once(ex: Experiment, ask: Asked) -> None:
    first = ask.reply("trials")
    again = {"If-None-Match": first.headers["ETag"]}

    assert ask.client.get(f"{ROOT}/trials", headers=again).status_code == 304
    ex[1].tags = ["new"]
    assert ask.client.get(f"{ROOT}/trials", headers=again).status_code == 200


def test_a_dead_trial_is_crashed_without_anything_being_written(tmp_path: Path) -> None:
    script = """
    import os, signal
    import daskperiment
    ex = daskperiment.Experiment("example", backend="store")

    @ex.result
    def die(a):
        os.kill(os.getpid(), signal.SIGKILL)

    die(ex.parameter("a")).compute(parameters={"a": 1}, scheduler="synchronous")
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=False
    )
    with open_backend("store") as backend:
        ask = Asked(backend)

        assert ask("trials/1")["state"] == "CRASHED"
        assert ask("trials", where="State == 'CRASHED'")["found"] == 1
        assert ask("/api/v1/experiments")["experiments"][0]["running"] == 0
        assert backend.get("experiment/example/trials", 1)["state"] == "RUNNING"


def test_the_board_cannot_write(ex: Experiment) -> None:
    backend = Board(ex.backend).backend

    assert isinstance(backend, ReadOnlyBackend)
    for write in (
        lambda: backend.insert("x", {}),
        lambda: backend.drop("x"),
        lambda: backend.compact(),
        lambda: backend.store_id,
    ):
        with pytest.raises(StoreReadOnlyError):
            write()


def test_an_absent_store_shows_nothing_and_is_not_made(tmp_path: Path) -> None:
    with open_backend(tmp_path / "absent") as backend:
        ask = Asked(backend)

        assert ask("trials")["rows"] == []
        assert Asked(backend, None)("/api/v1/experiments") == {"experiments": []}
        assert ask.refused("trials/1")[0] == 404
        assert Asked(backend, None).refused("trials")[0] == 404
    assert not (tmp_path / "absent").exists()


def test_a_store_that_is_away_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryBackend()
    ask = Asked(backend)

    def away(*arguments: Any, **options: Any) -> Any:
        raise BackendUnreachableError("it is away: start it")

    for name in ("get", "find", "read"):
        monkeypatch.setattr(backend, name, away)

    assert ask.refused("trials") == (503, "it is away: start it")


def test_the_description_names_every_address_and_what_may_be_asked(memory: Asked) -> None:
    described = memory("/api/v1/openapi.json")

    paths = described["paths"]
    assert len(paths) == len(ENDPOINTS)
    asked = paths["/api/v1/experiments/{experiment}/trials"]["get"]["parameters"]
    assert {parameter["name"] for parameter in asked} == {
        "experiment", "where", "order_by", "columns", "metrics", "limit", "offset",
    }  # fmt: skip
    for path in paths.values():
        assert path["get"]["summary"]
        assert {"200", "400", "404", "503"} <= set(path["get"]["responses"])


def test_several_experiments_are_told_apart() -> None:
    backend = MemoryBackend()
    for name in ("one", "two"):
        ex = Experiment(name, backend=backend)

        @ex.result
        def score(a: str) -> str:
            return a

        score(ex.parameter("a")).compute(parameters={"a": name})
    ask = Asked(backend, None)

    assert [e["experiment"] for e in ask("/api/v1/experiments")["experiments"]] == ["one", "two"]
    assert ask("/api/v1/experiments/two/trials")["rows"][0]["values"][0] == "two"
    assert ask.refused("/json/table") == (404, "Name an experiment: ?experiment=ID")
    assert ask("/json/summary/result", experiment="two")["labels"] == [1]


def test_a_look_at_all_experiments_lets_go_of_none() -> None:
    backend = MemoryBackend()
    for number in range(20):
        backend.insert(paths.EXPERIMENTS, {}, f"e{number:02}")
    board = Board(backend)
    held = board.experiment("e00")

    reply = create_app(board).test_client().get("/api/v1/experiments")

    assert len(reply.json["experiments"]) == 20
    assert board.experiment("e00") is held


def test_an_experiment_that_is_dropped_meanwhile_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = Board(trained(MemoryBackend()).backend)
    monkeypatch.setattr(board, "names", lambda: ["dropped", "example"])

    reply = create_app(board).test_client().get("/api/v1/experiments")

    assert reply.status_code == 200
    assert reply.json["experiments"][1]["trials"] == 5


def test_after_a_part_was_forgotten_logs_are_still_read_from_where_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ex = trained(MemoryBackend())
    ex[1].forget("parameters.a")
    ask = Asked(ex.backend)
    ask("trials/1/graph")
    starts = []
    read = ex.backend.read

    def noted(path: str, start: int = 0) -> Any:
        starts.append((path, start))
        return read(path, start)

    monkeypatch.setattr(ex.backend, "read", noted)
    for _ in range(2):
        ask("trials/1")
        ask("trials/1/graph")

    steps = paths.steps("example", ex[1].uid)
    assert [start for path, start in starts if path == steps] == [2] * 4


def test_a_dict_with_a_preview_of_its_own_is_shown_whole() -> None:
    ex = Experiment("example", backend=MemoryBackend())

    @ex.result
    def give(a: int) -> Any:
        return {"preview": "short", "rest": a}

    give(ex.parameter("a")).compute(parameters={"a": 5})
    found = Asked(ex.backend)("trials", columns="Result")["rows"][0]["values"]

    assert found == [{"preview": "{'preview': 'short', 'rest': 5}"}]
