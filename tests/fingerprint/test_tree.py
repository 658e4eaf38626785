"""The closure of a step as a tree."""

import json
import textwrap

import pytest

from daskperiment.errors import StepNotFoundError
from daskperiment.fingerprint.code import fingerprint

PIPELINE = """
    import json
    import threading
    import numpy as np
    import helpers
    from daskperiment import Experiment

    ex = Experiment("tree", backend="memory://")
    LOCK = threading.Lock()

    class Model:
        def fit(self, x):
            return helpers.clean(x)

    @ex
    def train(x, rate=0.5):
        with LOCK:
            return np.mean(Model().fit(helpers.clean(json.loads(x))) * rate)

    @ex.result
    def score(x):
        import more
        return more.LIMIT * x
"""
HELPERS = """
    LIMIT = 3

    def clean(x):
        return min(x, LIMIT)
"""


@pytest.fixture
def project(load, monkeypatch):
    texts = {"pipeline": PIPELINE, "helpers": HELPERS, "more": "LIMIT = 2\n"}
    folder = load(run=False, **texts)
    monkeypatch.chdir(folder)
    import pipeline

    return pipeline


def without_digests(shown):
    words = (line.split("  ") for line in shown.splitlines())
    return "\n".join("  ".join(w for w in line if not is_digest(w)) for line in words)


def is_digest(word):
    return len(word) == 8 and not set(word) - set("0123456789abcdef")


def test_it_shows_who_reached_what_and_where_that_stands(project):
    shown = without_digests(str(project.ex.fingerprint("train")).partition(" (its name")[0])
    version = project.np.__version__
    python = ".".join(map(str, __import__("sys").version_info[:2]))
    assert shown == textwrap.dedent(
        f"""\
        train  pipeline.py:15
        ├─ class pipeline.Model  pipeline.py:11
        │  └─ pipeline.Model.fit  pipeline.py:12
        │     └─ helpers.clean  helpers.py:4
        │        └─ helpers.LIMIT  helpers.py:2
        ├─ helpers.clean  see above
        ├─ pipeline.train.__defaults__
        ├─ python {python}: json
        └─ numpy {version}
        Not followed:
          pipeline.LOCK: _thread.lock"""
    )


def test_what_a_function_imports_when_it_runs_is_shown(project):
    shown = without_digests(str(project.ex.fingerprint("score")))
    assert shown == "score  pipeline.py:20\n└─ more.LIMIT  more.py:1"


def test_the_digest_is_that_of_the_records(project):
    found = project.ex.fingerprint("train")
    assert found.digest == fingerprint(project.train.fn).digest
    assert found.digest == project.ex.fingerprint(project.train).digest


def test_the_tree_is_plain_data(project):
    tree = project.ex.fingerprint("train").tree
    assert json.loads(json.dumps(tree)) == tree
    assert (tree["name"], tree["kind"], tree["place"]) == ("train", "function", "pipeline.py:15")
    kinds = {node["name"]: node["kind"] for node in tree["reached"]}
    assert kinds["pipeline.Model"] == "class"
    assert kinds["numpy"] == "package"
    (again,) = [node for node in tree["reached"] if node["name"] == "helpers.clean"]
    assert again["seen"] and again["reached"] == []


def test_a_notebook_shows_it_as_text(project):
    html = project.ex.fingerprint("train")._repr_html_()
    assert html.startswith("<pre>train")
    assert "<lock" not in html


def test_a_function_without_source_is_listed(memory_ex):
    space = {"__name__": "made"}
    exec("def step(x):\n    return x", space)
    memory_ex(space["step"])
    assert memory_ex.fingerprint("step").unfollowed == (
        "made.step: counts by its bytecode, as no source agrees with it",
    )


def test_an_unknown_step_is_refused_with_a_suggestion(project):
    with pytest.raises(StepNotFoundError, match="'tain'; did you mean train?"):
        project.ex.fingerprint("tain")
    with pytest.raises(StepNotFoundError, match="there are: train, score"):
        project.ex.fingerprint("zzz")


def test_a_long_chain_is_shown(load):
    links = [f"def f{i}(x):\n    return f{i + 1}(x)\n" for i in range(1200)]
    from daskperiment.fingerprint.tree import code_tree

    module = load(pipeline="\n".join([*links, "def f1200(x):\n    return x\n"]))
    assert str(code_tree(module.f0, "f0")).count("\n") == 1200
