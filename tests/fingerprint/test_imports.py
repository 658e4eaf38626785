"""Modules of the user's that a function imports when it runs."""

import linecache
import sys
from pathlib import Path

import pytest

from daskperiment.fingerprint.code import fingerprint

PIPELINE = """
    def f(x):
        import json
        from helpers import clean
        return clean(json.loads(x))
"""
HELPERS = """
    import math
    from other import scale

    LIMIT = 3
    SPARE = 4
    TABLE = {"scale": scale}

    def clean(x):
        "Keep it small."
        return min(math.floor(TABLE["scale"](x)), LIMIT)

    def unused(x):
        return x
"""
OTHER = """
    def scale(x):
        return 2 * x
"""
TEXTS = {"pipeline": PIPELINE, "helpers": HELPERS, "other": OTHER}


def edited(name, old, new):
    assert old in TEXTS[name]
    return TEXTS | {name: TEXTS[name].replace(old, new)}


def test_it_is_followed_without_being_run(load):
    closure = fingerprint(load(**TEXTS).f)
    assert list(closure.functions) == [
        "helpers.LIMIT",
        "helpers.TABLE",
        "helpers.clean",
        "other.scale",
        "pipeline.f",
    ]
    assert not {"helpers", "other"} & set(sys.modules)
    assert closure.unhashed == ()
    assert [text.module for text in closure.sources] == ["helpers", "other", "pipeline"]


@pytest.mark.parametrize(
    "edit",
    [
        ("helpers", "LIMIT = 3", "LIMIT = 4"),
        ("helpers", "min(", "max("),
        ("helpers", "math.floor", "math.ceil"),
        ("helpers", "from other import scale", "from json import loads as scale"),
        ("other", "2 * x", "3 * x"),
    ],
)
def test_an_edit_of_what_the_function_reads_changes_the_digest(load, edit):
    before = fingerprint(load(**TEXTS).f).digest
    assert before == fingerprint(load(**TEXTS).f).digest
    assert before != fingerprint(load(**edited(*edit)).f).digest


@pytest.mark.parametrize(
    "edit",
    [
        ("helpers", "SPARE = 4", "SPARE = 5"),
        ("helpers", "return x\n", "return -x\n"),
        ("helpers", "Keep it small.", "Keep it in bounds."),
        ("helpers", "LIMIT = 3", "\n\n    LIMIT = 3  # at most"),
    ],
)
def test_an_edit_of_what_it_does_not_read_changes_nothing(load, edit):
    assert fingerprint(load(**TEXTS).f).digest == fingerprint(load(**edited(*edit)).f).digest


def test_the_digest_is_the_same_before_and_after_the_function_ran(load):
    f = load(**TEXTS).f
    before = fingerprint(f)
    assert f("1") == 2
    assert "helpers" in sys.modules
    after = fingerprint(f)
    assert (after.digest, after.unhashed) == (before.digest, ())


def test_an_edit_before_it_is_imported_is_noticed(load):
    module = load(**TEXTS)
    before = fingerprint(module.f).digest
    Path(module.__file__).with_name("helpers.py").write_text("def clean(x):\n    return x\n")
    assert fingerprint(module.f).digest != before


@pytest.mark.parametrize(
    "edit", [("min(math", "max(math"), ("LIMIT = 3", "LIMIT = 4"), ("2 * x", "3 * x")]
)
def test_text_edited_after_it_was_imported_is_not_taken_for_what_runs(load, edit):
    module = load(**TEXTS)
    module.f("1")
    for name in ("helpers", "other"):
        file = Path(module.__file__).with_name(f"{name}.py")
        file.write_text(file.read_text().replace(*edit))
    linecache.clearcache()
    (found,) = fingerprint(module.f).unhashed
    assert "not what the file says" in found


def test_a_value_that_changed_since_it_was_imported_is_unhashed(load):
    module = load(**TEXTS)
    module.f("1")
    before = fingerprint(module.f)
    sys.modules["helpers"].LIMIT = 30
    assert fingerprint(module.f).unhashed[0].startswith("helpers.LIMIT: ")
    sys.modules["helpers"].LIMIT = 3
    assert fingerprint(module.f).digest == before.digest
    assert before.unhashed == fingerprint(module.f).unhashed == ()


def test_a_value_that_a_call_makes_is_unhashed(load):
    texts = edited("helpers", "LIMIT = 3", "LIMIT = int(input())")
    assert fingerprint(load(**texts).f).unhashed == (
        "helpers.LIMIT: made when helpers is imported by a function",
    )


def test_what_a_module_does_when_it_is_imported_counts(load):
    texts = edited("helpers", "SPARE = 4", "TABLE = {}\n    TABLE['scale'] = scale")
    other = texts | {"helpers": texts["helpers"].replace("= scale", "= math.sqrt")}
    assert fingerprint(load(**texts).f).digest != fingerprint(load(**other).f).digest


PACKAGE = {
    "lab/__init__": "",
    "lab/steps": """
        def f(x):
            from . import helpers
            from .helpers import clean as tidy
            return tidy(helpers.scale(x))
    """,
    "lab/helpers": """
        from .more import *

        def clean(x):
            return x + SHIFT

        def scale(x):
            return 2 * x
    """,
    "lab/more": "from . import helpers\n\nSHIFT = 1\n",
}


def test_relative_imports_stars_and_circles_are_followed(load):
    texts = {"lab/steps": PACKAGE["lab/steps"], **PACKAGE}
    closure = fingerprint(load(**texts).f)
    assert list(closure.functions) == [
        "lab.helpers.clean",
        "lab.helpers.scale",
        "lab.more.SHIFT",
        "lab.steps.f",
    ]
    assert closure.unhashed == ()
    shifted = texts | {"lab/more": "from . import helpers\n\nSHIFT = 2\n"}
    assert fingerprint(load(**shifted).f).digest != closure.digest


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import absent_module", "import of absent_module"),
        ("import importlib; importlib.import_module(x)", "import of a module by a name"),
        ("__import__(x)", "import of a module by a name"),
        ("eval(x)", "what eval() leads to"),
        ("globals()[x]", "what globals() leads to"),
    ],
)
def test_what_cannot_be_followed_is_listed(load, text, reason):
    (found,) = fingerprint(load(pipeline=f"def f(x):\n    {text}\n").f).unhashed
    assert found.startswith(f"pipeline.f: {reason}")


def test_a_module_that_is_imported_by_a_call_is_followed(load):
    text = PIPELINE.replace(
        "from helpers import clean",
        'clean = __import__("importlib").import_module("helpers").clean',
    )
    closure = fingerprint(load(**TEXTS | {"pipeline": text}).f)
    assert "other.scale" in closure.functions
    assert closure.unhashed == ()


def test_a_module_that_is_passed_on_is_listed(load):
    text = "import helpers\n\ndef f(x):\n    return getattr(helpers, x)\n"
    (found,) = fingerprint(load(**TEXTS | {"pipeline": text}).f).unhashed
    assert found.startswith("pipeline.helpers: ")


def test_a_name_that_a_module_makes_when_it_is_read_is_listed(load):
    helpers = "def __getattr__(name):\n    return len\n"
    text = "import helpers\n\ndef f(x):\n    return helpers.clean(x)\n"
    closure = fingerprint(load(pipeline=text, helpers=helpers).f)
    assert "helpers.__getattr__" in closure.functions
    assert closure.unhashed[0].startswith("helpers.clean: ")
