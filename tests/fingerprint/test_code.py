"""The code fingerprint, on real modules that are written, imported and edited."""

import ast
import functools
import gc
import importlib
import linecache
import os
import sys
import textwrap
import threading
import time
import types
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daskperiment.fingerprint.code import fingerprint
from daskperiment.fingerprint.parsing import parse
from daskperiment.fingerprint.syntax import canonical, combine


class Step:
    """Looks like a step of the library: its class lives there."""

    __module__ = "daskperiment.graph"

    def __init__(self, fn):
        self.fn = self.__wrapped__ = fn


class Lab:
    """Looks like an experiment of the library."""

    __module__ = "daskperiment.experiment"

    def __call__(self, fn):
        return Step(fn)

    persist = result = __call__


@pytest.fixture
def lab(monkeypatch):
    module = types.ModuleType("lab")
    module.ex = Lab()
    monkeypatch.setitem(sys.modules, "lab", module)


# What counts of the text


@pytest.mark.parametrize(
    "edited",
    [
        "def f(x, y=2):\n    # why\n    return x + y * 3\n",
        'def f(x, y=2):\n    """Doc."""\n    return x + y * 3\n',
        "def f(\n    x,\n    y=2,\n):\n    return (x\n        + (y * 3))\n",
        "def f(x: int, y: float = 2) -> float:\n    return x + y * 3\n",
        "import os\n\n\nSPARE = 1\n\ndef other(): pass\n\ndef f(x, y=2): return x + y * 3\n",
        "def f(x, y=2):\n    pass\n    'a remark'\n    return x + y * 3\n",
        "def f(x, y=2):\n    return x + y * 0x3\n",
    ],
    ids=["comment", "docstring", "formatting", "annotations", "moved", "no-ops", "spelling"],
)
def test_an_edit_that_computes_the_same_keeps_the_digest(digest_of, edited):
    assert digest_of("def f(x, y=2):\n    return x + y * 3\n") == digest_of(edited)


@pytest.mark.parametrize(
    "edited",
    [
        "def f(x, y=2):\n    return x - y * 3\n",
        "def f(x, y=2):\n    return x + y * 3.0\n",
        "def f(x, y=True):\n    return x + y * 3\n",
        "def f(y, x=2):\n    return x + y * 3\n",
        "def f(x, *, y=2):\n    return x + y * 3\n",
        "def f(x, y=2):\n    return x + y * '3'\n",
    ],
    ids=["operator", "constant type", "default", "order", "keyword only", "string"],
)
def test_an_edit_that_computes_otherwise_changes_the_digest(digest_of, edited):
    assert digest_of("def f(x, y=2):\n    return x + y * 3\n") != digest_of(edited)


def test_the_name_of_the_function_and_of_its_module_do_not_count(load):
    script = load(script="def f(x):\n    return helper(x)\ndef helper(x):\n    return x\n")
    module = load(module="def helper(x):\n    return x\n\n\ndef f(x):\n    return helper(x)\n")
    assert fingerprint(script.f).digest == fingerprint(module.f).digest
    assert list(fingerprint(script.f).functions) == ["script.f", "script.helper"]


def test_a_deeply_nested_expression_has_a_fingerprint(load):
    module = load(pipeline=f"def f(x):\n    return {' + '.join(['x'] * 900)}\n")
    assert fingerprint(module.f).bytecode == ()


@pytest.mark.parametrize(("branches", "bytecode"), [(900, ()), (1800, ("pipeline.f",))])
def test_a_function_of_very_many_branches_has_a_fingerprint(load, branches, bytecode):
    lines = [f"    elif x == {i}:\n        return {i}\n" for i in range(branches)]
    module = load(pipeline=f"def f(x):\n    if x is None:\n        return 0\n{''.join(lines)}")
    assert fingerprint(module.f).bytecode == bytecode


GOLDEN = {
    "v1:8756d9ab5ab21dfb478b5f4a2a83396b": (
        "def f(x: int = 1, *a, k=None, **kw) -> str:\n    'Doc.'\n    return x"
    ),
    "v1:30f3630b5f373cbb35f42d74a66ee955": ("f'a{x!r:>{width}}' 'b' f'{{c' f''"),
    "v1:d2543d37eda7e081123413ef483e9c65": (
        "[1, 1.0, True, -0.0, 1j, None, ..., b'a', 'a b', 10**3, '\\ud800', 'a\\0b']"
    ),
    "v1:6055ae59fb6714477e5aab766f73d3de": (
        "class A(B, key=1):\n    x: int = 1\n    y: str\n    def m(self): pass"
    ),
    "v1:f74fa00b319b99d0489b5c45625edd14": (
        "@a.b(1)\nasync def f():\n    async with c as d: return [await e async for e in g if e]"
    ),
    "v1:6734db05732e435e20f0074b7ce8d1fd": (
        "match x:\n    case {'a': [1, *_], **rest} | A(b=None): y"
    ),
    "v1:1aab97820229d4e6045892151e9d3252": (
        "try: a()\nexcept* (B, C) as d: raise E from d\nelse: pass\nfinally: del f[1:2, ...]"
    ),
    "v1:e42a2d00f6709be3198231f1bfa4dabd": (
        "lambda x, /, y=1, *, z: (yield x) if (w := y) else {**z, 'k': {*x}}"
    ),
    "v1:f7e8712b167b99652e9042f0f06993ce": (
        "for x in y:\n    global z\n    z += 1; continue\nelse:\n    from .a import b as c"
    ),
}


@pytest.mark.parametrize("digest", GOLDEN)
def test_the_canonical_form_never_changes(digest):
    assert combine(canonical(ast.parse(GOLDEN[digest]))) == digest


def test_the_digest_of_a_closure_never_changes(load):
    closure = fingerprint(load(**CHAIN).f)
    assert closure.digest == "v1:c94fbe4d242c308abf212333de349d0c"
    assert closure.functions == {
        "helpers.clean": "v1:50510825261862b213601b3dc43a6b7b",
        "middle.scale": "v1:6915fe1d0f54bf4b771caaa724e868a0",
        "pipeline.f": "v1:d031c55246a1a756640c53c15e41d8de",
    }


# What is reached


CHAIN = {
    "pipeline": """
        import middle

        def f(x):
            return middle.scale(x)
    """,
    "middle": """
        from helpers import clean

        def scale(x):
            return 2 * clean(x)
    """,
    "helpers": """
        LIMIT = 3

        def clean(x):
            return min(x, LIMIT)

        def unused(x):
            return x
    """,
}


def test_all_reached_functions_of_the_users_modules_are_named(load):
    closure = fingerprint(load(**CHAIN).f)
    assert list(closure.functions) == ["helpers.clean", "middle.scale", "pipeline.f"]
    assert [text.module for text in closure.sources] == ["helpers", "middle", "pipeline"]
    assert all("version0" in file for file in closure.files)


@pytest.mark.parametrize("edit", [("min(x", "max(x"), ("LIMIT = 3", "LIMIT = 4")])
def test_a_changed_helper_two_modules_away_is_the_one_that_differs(load, edit):
    before = fingerprint(load(**CHAIN).f)
    after = fingerprint(load(**CHAIN | {"helpers": CHAIN["helpers"].replace(*edit)}).f)
    assert before.digest != after.digest
    differing = {k for k in before.functions if before.functions[k] != after.functions[k]}
    assert differing == {"helpers.clean"}


def test_a_change_of_a_function_that_is_not_reached_changes_nothing(load):
    before = fingerprint(load(**CHAIN).f)
    edited = CHAIN["helpers"].replace("return x\n", "return -x\n")
    assert before.digest == fingerprint(load(**CHAIN | {"helpers": edited}).f).digest


def test_cycles_and_recursion_end(load):
    module = load(
        pipeline="""
            def f(n):
                return n and even(n)

            def even(n):
                return n == 0 or odd(n - 1)

            def odd(n):
                return n != 0 and even(n - 1)

            def factorial(n):
                return n * factorial(n - 1) if n else 1
        """
    )
    assert list(fingerprint(module.f).functions) == ["pipeline.even", "pipeline.f", "pipeline.odd"]
    assert list(fingerprint(module.factorial).functions) == ["pipeline.factorial"]


def test_modules_of_a_package_that_import_each_other_are_followed(load):
    texts = {
        "lab/steps": """
            import lab.helpers
            from . import models as m
            from .helpers import clean

            def f(x):
                return m.fit(clean(lab.helpers.scale(x)))

            def limit():
                return 3
        """,
        "lab/__init__": "from .steps import f\n",
        "lab/helpers": """
            from lab import steps

            def clean(x):
                return min(x, steps.limit())

            def scale(x):
                return 2 * x
        """,
        "lab/models": "RATE = 2\n\ndef fit(x):\n    return RATE * x\n",
    }
    closure = fingerprint(load(**texts).f)
    assert list(closure.functions) == [
        "lab.helpers.clean",
        "lab.helpers.scale",
        "lab.models.fit",
        "lab.steps.f",
        "lab.steps.limit",
    ]
    for name, old, new in [
        ("lab/steps", "return 3", "return 4"),
        ("lab/models", "RATE = 2", "RATE = 3"),
        ("lab/helpers", "2 * x", "3 * x"),
    ]:
        edited = texts | {name: texts[name].replace(old, new)}
        assert fingerprint(load(**edited).f).digest != closure.digest


def test_a_subclass_of_an_estimator_counts_with_its_methods(load):
    text = """
        from sklearn.base import BaseEstimator, TransformerMixin

        class Scaler(TransformerMixin, BaseEstimator):
            def __init__(self, factor=2):
                self.factor = factor

            def transform(self, x):
                return x * self.factor {} 1

        def f(x):
            return Scaler(3).fit_transform(x)
    """
    one, same, other = (fingerprint(load(pipeline=text.format(sign)).f) for sign in "++-")
    assert one.digest == same.digest != other.digest
    assert (one.unhashed, one.bytecode) == ((), ())
    assert "scikit-learn" in one.borders


def test_a_long_chain_of_helpers_ends(load):
    links = [f"def f{i}(x):\n    return f{i + 1}(x)\n" for i in range(600)]
    module = load(pipeline="\n".join([*links, "def f600(x):\n    return x\n"]))
    assert len(fingerprint(module.f0).functions) == 601


def test_the_variables_of_a_closure_count(load):
    module = load(
        pipeline="""
            def scaler(factor):
                def scale(x):
                    return factor * x
                return scale
        """
    )
    two, again, three = module.scaler(2), module.scaler(2), module.scaler(3)
    assert fingerprint(two).digest == fingerprint(again).digest
    assert fingerprint(two).digest != fingerprint(three).digest
    assert list(fingerprint(two).functions) == ["pipeline.scaler.<locals>.scale"]


def test_a_default_counts_by_its_value(load):
    text = "SIZE = {}\n\ndef f(x, size=SIZE, *, helper=lambda x: x {} 1):\n    return helper(x)\n"
    base = fingerprint(load(pipeline=text.format(3, "+")).f).digest
    assert fingerprint(load(pipeline=text.format(3, "+")).f).digest == base
    assert fingerprint(load(pipeline=text.format(4, "+")).f).digest != base
    assert fingerprint(load(pipeline=text.format(3, "-")).f).digest != base


def test_two_lambdas_on_one_line_are_told_apart(load):
    text = "f, g = (lambda x: x + 1), (lambda x: x - 1)\nh = lambda x: lambda y: x + y\n"
    module = load(pipeline=text)
    assert fingerprint(module.f).bytecode == fingerprint(module.h(1)).bytecode == ()
    assert fingerprint(module.f).digest != fingerprint(module.g).digest
    assert fingerprint(module.h).digest != fingerprint(module.h(1)).digest
    moved = load(pipeline="# a remark\n\n" + text)
    assert fingerprint(moved.g).digest == fingerprint(module.g).digest


def test_a_lambda_inside_a_lambda_counts_by_its_own_text(load):
    module = load(
        pipeline="""
            f = (lambda x: lambda y: x + y)(1)
            g = (lambda x, unused=0: lambda y: x + y)(1)
        """
    )
    assert fingerprint(module.f).digest == fingerprint(module.g).digest


def test_lambdas_are_numbered_and_not_named_by_their_line(load):
    module = load(
        pipeline="""
            double = lambda x: 2 * x
            half = lambda x: x / 2

            def f(x):
                return half(double(x))
        """
    )
    assert list(fingerprint(module.f).functions) == [
        "pipeline.<lambda>",
        "pipeline.<lambda>#2",
        "pipeline.f",
    ]


def test_helpers_that_exchange_their_places_change_the_digest(digest_of):
    text = "import a, b\nfirst, second = {}\n\ndef f(x):\n    return first(second(x))\n"
    more = {
        "a": "def helper(x):\n    return x + 1\n",
        "b": "def helper(x):\n    return 2 * x\n",
    }
    one = digest_of(text.format("a.helper, b.helper"), **more)
    assert one != digest_of(text.format("b.helper, a.helper"), **more)


def test_a_partial_counts_with_its_arguments(load):
    module = load(pipeline="def f(x, y):\n    return x + y\n")
    two = functools.partial(module.f, y=2)
    assert fingerprint(two).digest == fingerprint(functools.partial(module.f, y=2)).digest
    assert fingerprint(two).digest != fingerprint(functools.partial(module.f, y=3)).digest
    assert list(fingerprint(two).functions) == ["pipeline.f"]


def test_functions_in_a_table_are_followed(digest_of):
    text = """
        def add(x):
            return x {} 1

        TABLE = {{"add": [add]}}

        def f(x):
            return TABLE["add"][0](x)
    """
    assert digest_of(text.format("+")) == digest_of(text.format("+"))
    assert digest_of(text.format("+")) != digest_of(text.format("-"))


# Classes


MODEL = """
    class Base:
        def predict(self, x):
            return self.link(x)

        def link(self, x):
            return x + 1

    class Model(Base):
        rate: float = 0.5
        names = ["a"]

        @property
        def half(self):
            return self.rate / 2

        @staticmethod
        def clip(x):
            return min(x, 1)

        @classmethod
        def make(cls):
            return cls()

    def f(x):
        return Model.make().predict(x)
"""


def test_a_reached_class_counts_as_a_whole_with_its_bases(load):
    assert list(fingerprint(load(pipeline=MODEL).f).functions) == [
        "pipeline.Base",
        "pipeline.Base.link",
        "pipeline.Base.predict",
        "pipeline.Model",
        "pipeline.Model.clip",
        "pipeline.Model.half",
        "pipeline.Model.make",
        "pipeline.f",
    ]


@pytest.mark.parametrize(
    "edit",
    [
        ("x + 1", "x + 2"),
        ("0.5", "0.6"),
        ("rate / 2", "rate / 3"),
        ("min(", "max("),
        ('"a"', '"b"'),
    ],
)
def test_any_part_of_a_class_changes_the_digest(digest_of, edit):
    assert digest_of(MODEL) == digest_of(MODEL)
    assert digest_of(MODEL) != digest_of(MODEL.replace(*edit))


def test_a_bound_method_counts_with_its_class_and_the_state_of_its_object(load):
    text = """
        class Model:
            def __init__(self, rate):
                self.rate = rate

            def predict(self, x):
                return self.link(x)

            def link(self, x):
                return self.rate * x
    """
    model = load(pipeline=text).Model
    base = fingerprint(model(2).predict)
    assert "pipeline.Model.link" in base.functions
    assert base.digest == fingerprint(model(2).predict).digest
    assert base.digest != fingerprint(model(3).predict).digest
    edited = load(pipeline=text.replace("self.rate * x", "self.rate + x")).Model
    assert base.digest != fingerprint(edited(2).predict).digest


def test_a_callable_object_counts_with_its_class_and_state(digest_of):
    text = """
        class Scale:
            def __init__(self, factor, after):
                self.factor, self.after = factor, after

            def __call__(self, x):
                return self.after(self.factor * x)

        scale = Scale({}, lambda x: x {} 1)

        def f(x):
            return scale(x)
    """
    base = digest_of(text.format(2, "+"))
    assert base == digest_of(text.format(2, "+"))
    assert base != digest_of(text.format(3, "+"))
    assert base != digest_of(text.format(2, "-"))


@pytest.mark.parametrize(
    "text",
    [
        "@dataclass(order=True)\nclass C:\n    x: int = 3\n",
        "@dataclass(slots=True)\nclass C:\n    x: int = 3\n",
        "class C(Enum):\n    x = 3\n",
        "class C(NamedTuple):\n    x: int = 3\n",
        "class C(ABC):\n    x = 3\n    @abstractmethod\n    def m(self): ...\n",
    ],
    ids=["dataclass", "slots", "enum", "named tuple", "abstract"],
)
def test_classes_with_generated_members_count_by_their_text(load, text):
    head = (
        "from abc import ABC, abstractmethod\nfrom dataclasses import dataclass\n"
        "from enum import Enum\nfrom typing import NamedTuple\n\n"
    )
    tail = "\n\ndef f():\n    return C.x\n"
    base = fingerprint(load(pipeline=head + text + tail).f)
    assert (base.unhashed, base.bytecode) == ((), ())
    edited = text.replace("3", "4")
    assert base.digest != fingerprint(load(pipeline=head + edited + tail).f).digest
    assert base.digest == fingerprint(load(pipeline=head + "# why\n\n" + text + tail).f).digest


def test_a_class_named_like_its_base_is_found_where_it_is_written(load):
    text = "import enum\n\nclass Flag(enum.Flag):\n    A = 1\n\ndef f():\n    return Flag.A\n"
    assert [item.module for item in fingerprint(load(pipeline=text).f).sources] == ["pipeline"]


def test_a_base_that_no_name_leads_to_counts(digest_of):
    text = """
        def make():
            class Base:
                def m(self):
                    return {}

            class Model(Base):
                pass

            return Model

        Made = make()

        def f():
            return Made().m()
    """
    assert digest_of(text.format(1)) == digest_of(text.format(1))
    assert digest_of(text.format(1)) != digest_of(text.format(2))


# Decorators


DECORATED = """
    import functools

    def timed(times):
        def decorate(fn):
            @functools.wraps(fn)
            def wrapper(*args):
                return [fn(*args) for _ in range(times)][0]
            return wrapper
        return decorate

    @timed(2)
    def helper(x):
        return x + 1

    def f(x):
        return helper(x)
"""


@pytest.mark.parametrize("edit", [("x + 1", "x + 2"), ("[0]", "[-1]"), ("@timed(2)", "@timed(3)")])
def test_the_wrapped_function_the_wrapper_and_its_arguments_count(digest_of, edit):
    assert digest_of(DECORATED) == digest_of(DECORATED)
    assert digest_of(DECORATED) != digest_of(DECORATED.replace(*edit))


def test_wrapped_functions_are_named_by_their_own_code(load):
    assert list(fingerprint(load(pipeline=DECORATED).f).functions) == [
        "pipeline.f",
        "pipeline.helper",
        "pipeline.timed",
        "pipeline.timed.<locals>.decorate.<locals>.wrapper",
    ]


@pytest.mark.parametrize("decorator", ["functools.lru_cache(None)", "contextlib.contextmanager"])
def test_a_wrapper_of_the_standard_library_leads_to_the_function(load, decorator):
    text = """
        import contextlib, functools

        @{}
        def helper():
            yield {}

        def f():
            return helper()
    """
    one = fingerprint(load(pipeline=text.format(decorator, 1)).f)
    two = fingerprint(load(pipeline=text.format(decorator, 2)).f)
    assert "pipeline.helper" in one.functions
    assert one.digest != two.digest


def test_a_class_that_wraps_leads_to_the_function(digest_of):
    text = """
        import functools

        class Retry:
            def __init__(self, fn):
                functools.update_wrapper(self, fn)

            def __call__(self, x):
                return self.__wrapped__(x)

        @Retry
        def helper(x):
            "{}"
            return x {} 1

        def f(x):
            return helper(x)
    """
    assert digest_of(text.format("Doc.", "+")) == digest_of(text.format("Other doc.", "+"))
    assert digest_of(text.format("Doc.", "+")) != digest_of(text.format("Doc.", "-"))


@pytest.mark.parametrize("line", ["", "@ex.persist", "@ex.result()", "@lab.ex", "@lab.ex.persist"])
def test_the_librarys_own_decorators_do_not_count(load, lab, line):
    text = "import lab\nfrom lab import ex\n\n{}\ndef f(x):\n    return x\n"
    plain = fingerprint(load(pipeline=text.format("@ex")).f.fn)
    module = load(pipeline=text.format(line.replace("()", "")))
    assert fingerprint(getattr(module.f, "fn", module.f)).digest == plain.digest


def test_a_decorator_of_an_enclosing_function_does_not_count(load, lab):
    text = """
        from lab import ex

        def build(local):
            @local{}
            def f(x):
                return x
            return f
    """
    one, two = load(pipeline=text.format("")), load(pipeline=text.format(".persist"))
    assert fingerprint(one.build(one.ex).fn).digest == fingerprint(two.build(two.ex).fn).digest


def test_another_step_that_is_called_counts_and_the_experiment_does_not(load, lab):
    text = """
        from lab import ex

        @ex
        def clean(x):
            return x {} 1

        def f(x):
            ex.save_metric("x", 0, x)
            return clean.fn(x)
    """
    one = fingerprint(load(pipeline=text.format("+")).f)
    two = fingerprint(load(pipeline=text.format("-")).f)
    assert list(one.functions) == ["pipeline.clean", "pipeline.f"]
    assert one.digest != two.digest
    assert one.unhashed == ()


# The border


def test_distributions_at_the_border_are_named_with_their_version(load):
    text = """
        import sklearn.base
        from numpy import mean

        def f(x):
            return mean(sklearn.base.clone(x))
    """
    closure = fingerprint(load(pipeline=text).f)
    assert closure.borders == {
        "numpy": importlib.metadata.version("numpy"),
        "python": "{}.{}".format(*sys.version_info),
        "scikit-learn": importlib.metadata.version("scikit-learn"),
    }
    assert list(closure.functions) == ["pipeline.f"]


def test_an_upgraded_package_changes_the_borders_and_not_the_digest(load, monkeypatch):
    text = "import blake3\n\ndef f(x):\n    return blake3.blake3(x)\n"
    before = fingerprint(load(pipeline=text).f)
    monkeypatch.setattr("daskperiment.fingerprint.origin._versions", lambda top: ((top, "99"),))
    after = fingerprint(load(pipeline=text).f)
    assert before.borders != after.borders
    assert before.digest == after.digest


# What cannot be hashed or has no source


def test_a_value_that_cannot_be_hashed_is_recorded_by_name_and_type(load):
    text = """
        import threading

        LOCK = threading.Lock()

        def f(x):
            with LOCK:
                return x
    """
    one, two = fingerprint(load(pipeline=text).f), fingerprint(load(pipeline=text).f)
    assert len(one.unhashed) == 1
    assert one.unhashed[0].startswith("pipeline.LOCK: _thread.lock")
    assert one.digest == two.digest


def test_an_unhashed_part_of_an_object_is_named(load):
    module = load(
        pipeline="""
            import threading

            class Pool:
                def __init__(self):
                    self.size, self.lock = 2, threading.Lock()

            POOL = Pool()

            def f():
                return POOL
        """
    )
    (found,) = fingerprint(module.f).unhashed
    assert found.startswith("pipeline.POOL.lock: _thread.lock")


def test_an_object_that_cannot_be_looked_at_is_recorded(load):
    module = load(
        pipeline="""
            class Proxy:
                @property
                def __class__(self):
                    raise RuntimeError("no request")

            PROXY = Proxy()

            def f():
                return PROXY
        """
    )
    assert fingerprint(module.f).unhashed == ("pipeline.PROXY: reading it raised RuntimeError",)


def test_reading_source_again_repeats_no_warning(load, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = load(pipeline="def f(x):\n    return '\\d' if x is 1 else x\n")
    assert fingerprint(module.f).bytecode == ()


def test_the_place_of_a_module_does_not_count(digest_of):
    text = "from pathlib import Path\n\ndef f():\n    return Path(__file__).parent\n"
    assert digest_of(text) == digest_of(text)


def test_a_function_without_source_counts_by_bytecode_and_is_flagged():
    def make(text):
        space = {"__name__": "made", "LIMIT": 3}
        exec(textwrap.dedent(text), space)
        return space["f"]

    one = fingerprint(make("def f(x):\n    return x + LIMIT + [y for y in x][0]"))
    assert one.bytecode == ("made.f",)
    assert one.sources == () and one.source == "" and one.files == ("<string>",)
    same = fingerprint(make("\n\n# moved\ndef f(x):\n    return x + LIMIT + [y for y in x][0]"))
    assert one.digest == same.digest
    other = fingerprint(make("def f(x):\n    return x - LIMIT + [y for y in x][0]"))
    assert one.digest != other.digest


def test_names_of_a_function_without_source_are_followed(load):
    helpers = load(helpers=CHAIN["helpers"])
    space = {"__name__": "made", "helpers": helpers}
    exec("def f(x):\n    return helpers.clean(x)", space)
    assert list(fingerprint(space["f"]).functions) == ["helpers.clean", "made.f"]


@pytest.mark.parametrize("edit", [("x + 1", "x - 1"), ("return", "return (")])
def test_text_edited_after_the_import_is_not_taken_for_the_running_code(load, edit):
    text = "def f(x):\n    return x + 1\n"
    module = load(pipeline=text)
    Path(module.__file__).write_text(text.replace(*edit))
    linecache.clearcache()
    closure = fingerprint(module.f)
    assert closure.bytecode == ("pipeline.f",)
    assert closure.sources == ()


@pytest.mark.parametrize("age", [0, 1000])
def test_what_python_has_compiled_tells_of_the_text_that_it_was_made_of(load, monkeypatch, age):
    folder = load(run=False, pipeline=(text := "LIMIT = 3\n\ndef f(x):\n    return x + 1\n"))
    file = folder / "pipeline.py"
    before = time.time() - age
    os.utime(file, (before, before))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    module = importlib.import_module("pipeline")
    assert Path(module.__cached__).exists()
    closure = fingerprint(module.f)
    assert (closure.bytecode, closure.digest) == ((), fingerprint(load(pipeline=text).f).digest)


def test_text_of_the_same_size_written_in_the_same_second_is_not_taken_for_it(load, monkeypatch):
    folder = load(run=False, pipeline=(text := "def f(x):\n    return x + 1\n"))
    file = folder / "pipeline.py"
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    module = importlib.import_module("pipeline")
    same = file.stat().st_mtime
    file.write_text(text.replace("+", "-"))
    os.utime(file, (same, same))
    assert fingerprint(module.f).bytecode == ("pipeline.f",)


def test_a_function_that_only_moved_in_its_file_is_found(load):
    text = "class Model:\n    def fit(self, x):\n        return x+1\n"
    before = fingerprint(load(pipeline=text).Model.fit).digest
    module = load(pipeline=text)
    Path(module.__file__).write_text("# more\n\n" + text)
    linecache.clearcache()
    closures = [fingerprint(module.Model), fingerprint(module.Model.fit)]
    assert [closure.bytecode for closure in closures] == [(), ()]
    assert closures[1].digest == before


def test_a_text_read_before_the_edit_is_kept(load):
    module = load(pipeline="def f(x):\n    return x + 1\n")
    before = fingerprint(module.f)
    Path(module.__file__).write_text("def f(x):\n    return x - 1\n")
    linecache.checkcache()
    assert fingerprint(module.f) is before


def test_a_reloaded_module_is_read_anew(load):
    module = load(pipeline="def f(x):\n    return x + 1\n")
    before = fingerprint(module.f)
    Path(module.__file__).write_text("def f(x):\n    return x + 1 + 0\n")
    after = fingerprint(importlib.reload(module).f)
    assert after.bytecode == ()
    assert after.digest != before.digest


def test_a_notebook_cell_is_source(monkeypatch):
    text = "import textwrap\ndef f(x):\n    return textwrap.dedent(x)\n"
    name = "<ipython-input-1-abc>"
    monkeypatch.setitem(linecache.cache, name, (len(text), None, text.splitlines(True), name))
    space = {"__name__": "__main__"}
    for statement in ast.parse(text).body:  # a notebook compiles one statement at a time
        exec(compile(ast.Module([statement], []), name, "exec"), space)
    closure = fingerprint(space["f"])
    assert closure.bytecode == ()
    assert [(item.file, item.module, item.text) for item in closure.sources] == [
        (name, "__main__", text)
    ]


# Looking again


def test_nothing_is_read_again_while_nothing_changed(load, monkeypatch):
    module = load(**CHAIN)
    before = fingerprint(module.f)
    monkeypatch.setattr(linecache, "getlines", None)
    assert fingerprint(module.f) is before


@pytest.mark.parametrize(
    "change",
    [
        "LIMIT = 4",
        "LIMIT = 3.0",
        "LIST.append(1)",
        "LIST = []; LIST.append(2)",
        "TABLE['f'] = helper; TABLE['g'] = helper",
        "TABLE['f'] = len",
        "def helper(x): return x",
        "helper = None",
        "del helper",
        "helper.__code__ = (lambda x: -x).__code__",
        "helper.__defaults__ = (2,)",
        "helper.__defaults__[0].append(5)",
        "Marker = None; gc.collect()",
        "Model.fit = lambda self: 0",
        "Model.rate = 3",
        "MODEL.rate = 3",
        "MODEL.more = 3",
        "abs = helper",
        "change_cell()",
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of others' garbage
def test_a_change_while_running_is_noticed_at_the_next_call(load, change):
    module = load(
        pipeline="""
            import gc

            LIMIT = 3
            LIST = [1]

            def helper(x, items=[]):
                return x + len(items)

            TABLE = {"f": helper}

            class Model:
                rate = 1

                def __init__(self):
                    self.rate = 2

                def fit(self):
                    return 1

            MODEL = Model()

            class Marker:
                pass

            def make():
                cell = 1

                def read():
                    return cell

                def change():
                    nonlocal cell
                    cell += 1

                return read, change

            read, change_cell = make()

            def f(x):
                Marker
                return abs(helper(x) + LIMIT + LIST[0] + TABLE["f"](x) + MODEL.fit() + read())
        """
    )
    before = fingerprint(module.f)
    assert fingerprint(module.f) is before
    exec(change, vars(module))
    assert fingerprint(module.f).digest != before.digest


def test_a_value_that_was_changed_back_gives_the_same_object_again(load):
    module = load(**CHAIN)
    before = fingerprint(module.f)
    helpers = sys.modules["helpers"]
    helpers.LIMIT = 4
    assert fingerprint(module.f) is not before
    helpers.LIMIT = 3
    assert fingerprint(module.f).digest == before.digest


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of others' garbage
def test_an_outdated_function_is_not_kept_alive(load):
    module = load(
        pipeline="""
            def make():
                def f(n):
                    return n * f(n - 1) if n else 1
                return f
        """
    )
    f = module.make()
    fingerprint(f)
    reference = weakref.ref(f)
    del f
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_collector_of_garbage_is_left_as_it_was(load, enabled, frozen):
    module = load(**CHAIN)
    (gc.enable if enabled else gc.disable)()
    (gc.freeze if frozen else gc.unfreeze)()
    try:
        fingerprint(module.f)
        assert gc.isenabled() is enabled
        assert (gc.get_freeze_count() > 0) is frozen
    finally:
        gc.unfreeze()
        gc.enable()


def test_threads_that_ask_together_get_one_answer(load):
    module = load(**CHAIN)
    start, found = threading.Barrier(8), []

    def ask():
        start.wait()
        found.append(fingerprint(module.f))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_threads_that_read_code_at_the_same_time_do_not_disturb_each_other() -> None:
    source = "\n".join(f"def f{i}(a):\n    return [a, (a, {{a: [a + {i}]}})]" for i in range(300))
    threshold = gc.get_threshold()

    def let_others_run(phase: str, info: object) -> None:
        time.sleep(0)

    gc.callbacks.append(let_others_run)
    gc.set_threshold(50)
    try:
        with ThreadPoolExecutor(8) as pool:
            trees = list(pool.map(parse, [source] * 20))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(let_others_run)

    assert {len(tree.body) for tree in trees} == {300}
