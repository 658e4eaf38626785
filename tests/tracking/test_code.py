"""The capture of a trial's code."""

import importlib
import json
import linecache
import sys
import textwrap

import pytest
from blake3 import blake3

from daskperiment import Experiment, PurityWarning
from daskperiment.tracking.code import capture

HELPERS = """
    LIMIT = 3

    def clip(x):
        return min(x, LIMIT)
"""
PIPELINE = """
    import threading
    from helpers import clip

    LOCK = threading.Lock()

    def mark(fn):
        return fn

    class Group:
        @mark
        def clean(x):
            # keep it small
            return clip(x)

    def score(x):
        with LOCK:
            return 10 / x
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Import ``pipeline`` and ``helpers`` from a fresh folder, as a new process would."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folders = iter(range(100))

    def load(pipeline=PIPELINE, helpers=HELPERS):
        folder = tmp_path / f"version{next(folders)}"
        folder.mkdir()
        for name, text in {"pipeline": pipeline, "helpers": helpers}.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
            sys.modules.pop(name, None)
        monkeypatch.syspath_prepend(folder)
        module = importlib.import_module("pipeline")
        return {"score": module.score, "clean": module.Group.clean}

    yield load
    for name in ("pipeline", "helpers"):
        sys.modules.pop(name, None)


def test_the_text_is_the_sources_of_the_steps_in_order_of_definition(load):
    assert capture(load()).text == textwrap.dedent(
        """\
        def score(x):
            with LOCK:
                return 10 / x

        @mark
        def clean(x):
            # keep it small
            return clip(x)"""
    )


def test_each_step_knows_what_it_reaches(load):
    steps = capture(load()).steps
    assert list(steps["clean"].functions) == [
        "helpers.clip",
        "pipeline.Group.clean",
        "pipeline.mark",
    ]
    assert steps["clean"].files == ("helpers:helpers.py", "pipeline:pipeline.py")
    assert steps["clean"].unhashed == ()
    assert [name.partition(":")[0] for name in steps["score"].unhashed] == ["pipeline.LOCK"]
    assert steps["score"].bytecode == ()


def test_each_step_knows_the_packages_that_it_calls_and_no_others(load):
    pipeline = PIPELINE.replace("return clip(x)", "return blake3.blake3(clip(x))")
    found = capture(load(f"    import blake3\n{pipeline}"))
    assert set(found.steps["clean"].borders) == {"blake3", "python"}
    assert set(found.steps["score"].borders) == {"python"}
    documents = {step["name"]: step for step in found.document["steps"]}
    assert documents["clean"]["borders"] == found.steps["clean"].borders
    assert set(found.borders) == {"blake3", "python"}


def test_the_whole_text_of_each_reached_file_is_kept(load):
    assert capture(load()).sources == {
        "helpers:helpers.py": textwrap.dedent(HELPERS),
        "pipeline:pipeline.py": textwrap.dedent(PIPELINE),
    }


def test_the_document_is_json_and_names_every_text_by_the_digest_of_its_bytes(load):
    found = capture(load())
    document = json.loads(json.dumps(found.document))
    assert document == found.document
    named = {step["source"] for step in document["steps"]} | set(document["sources"].values())
    assert named == set(found.texts)
    assert all(blake3(text.encode()).hexdigest() == name for name, text in found.texts.items())
    assert [step["name"] for step in document["steps"]] == ["score", "clean"]
    assert set(document["borders"]) == {"python"}


def test_the_folder_of_the_project_is_not_part_of_the_document(load, tmp_path):
    here, elsewhere = capture(load()), capture(load())
    assert str(tmp_path) not in json.dumps(here.document)
    assert here.digest == elsewhere.digest
    assert here is not elsewhere


def test_a_comment_changes_the_capture_and_not_the_fingerprints(load):
    before = capture(load())
    after = capture(load(PIPELINE.replace("keep it small", "keep it bounded")))
    assert before.digest != after.digest
    assert before.steps["clean"].digest == after.steps["clean"].digest


def test_a_changed_helper_changes_the_steps_that_reach_it(load):
    before, after = capture(load()), capture(load(helpers=HELPERS.replace("min(", "max(")))
    changed = [
        name for name in before.steps if before.steps[name].digest != after.steps[name].digest
    ]
    assert changed == ["clean"]


def test_unchanged_code_gives_the_same_capture_and_a_changed_global_another(load):
    steps = load()
    before = capture(steps)
    assert capture(steps) is before
    sys.modules["helpers"].LIMIT = 4
    after = capture(steps)
    assert after.steps["clean"].digest != before.steps["clean"].digest
    assert after.sources == before.sources


def test_a_step_without_source_has_an_empty_text_and_is_flagged():
    space = {"__name__": "made"}
    exec("def f(x):\n    return x", space)
    found = capture({"f": space["f"]})
    assert found.text == ""
    assert found.sources == {}
    assert found.steps["f"].bytecode == ("made.f",)
    assert found.steps["f"].files == ("<string>",)


def test_the_cells_of_a_notebook_are_kept_apart(monkeypatch):
    space = {"__name__": "__main__"}
    cells = {
        "/tmp/kernel_1/111.py": "def helper(x):\n    return x\n",
        "/tmp/kernel_2/111.py": "def f(x):\n    return helper(x)\n",
    }
    for name, text in cells.items():
        entry = (len(text), None, text.splitlines(keepends=True), name)
        monkeypatch.setitem(linecache.cache, name, entry)
        exec(compile(text, name, "exec"), space)
    found = capture({"f": space["f"]})
    assert set(found.sources) == {"__main__:111.py", "__main__:111.py#2"}
    assert set(found.sources.values()) == set(cells.values())


def test_nothing_to_capture_is_a_capture():
    found = capture({})
    assert (found.text, found.texts) == ("", {})
    assert found.document == {"steps": [], "sources": {}, "borders": {}, "with_text": True}


# What a trial keeps


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A module of the user's, to be edited while the session goes on."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helper_of_a_session.py").write_text("def scale(x):\n    return 2 * x\n")
    yield tmp_path / "helper_of_a_session.py"
    sys.modules.pop("helper_of_a_session")


@pytest.mark.filterwarnings("ignore::daskperiment.CodeChangedWarning")
def test_an_edited_and_reloaded_helper_is_in_the_code_of_the_next_trial(helper, memory_ex):
    module = importlib.import_module(helper.stem)

    @memory_ex.result
    def score(x):
        return module.scale(x)

    s = score(memory_ex.parameter("x", default=1))
    assert s.compute() == 2
    helper.write_text("def scale(x):\n    return 30 * x  # edited\n")
    importlib.reload(module)
    assert s.compute(parameters={"x": 2}) == 60
    before, after = (trial.sources[f"{helper.stem}:{helper.name}"] for trial in memory_ex.trials)
    assert "2 * x" in before
    assert after == helper.read_text()


@pytest.fixture
def without_code(monkeypatch):
    monkeypatch.setenv("DASKPERIMENT_DISABLE_CODE", "1")


def texts(backend):
    return [backend.fetch(digest) for digest, _ in backend.blobs()]


def test_without_code_fingerprints_stay_and_no_text_is_kept(without_code, ex):
    @ex.result
    def score():
        return 1

    score().compute()
    assert ex[1].steps["fingerprint"][0].startswith("v1:")
    assert ex[1].code == "# score: the source was not kept"
    assert ex[1].sources == {}
    assert not any(b"return" in text for text in texts(ex.backend))
    assert "return 1" in ex.get_code()


@pytest.mark.filterwarnings("ignore::daskperiment.CodeChangedWarning")
def test_without_code_the_cause_of_another_output_is_still_named(without_code, memory_ex):
    def define(number):
        if number == 1:

            @memory_ex.result
            def score():
                return 1
        else:

            @memory_ex.result
            def score():
                return 2

        return score()

    define(1).compute()
    with pytest.warns(PurityWarning, match="Cause: code"):
        define(2).compute()


def test_code_that_was_left_out_once_is_kept_when_it_is_asked_for(ex, monkeypatch):
    def compute():
        again = Experiment("example", backend=ex.backend)  # reads the options anew
        again.result(lambda: 1, name="one")().compute()
        return again.latest

    monkeypatch.setenv("DASKPERIMENT_DISABLE_CODE", "1")
    assert "not kept" in compute().code
    monkeypatch.delenv("DASKPERIMENT_DISABLE_CODE")
    assert "lambda: 1" in compute().code
