"""Code of the user's that objects of others hold, and what looks like code and is none."""

import random
import sys

import pytest

from daskperiment.fingerprint.code import fingerprint


@pytest.mark.parametrize(
    "text",
    [
        """
        @functools.singledispatch
        def helper(x):
            return x

        @helper.register(int)
        def _(x):
            return x {} 1
        """,
        """
        class Model:
            @functools.singledispatchmethod
            def fit(self, x):
                return x

            @fit.register(int)
            def _(self, x):
                return x {} 1

        helper = Model
        """,
        """
        helper = functools.reduce(lambda f, g: f, [functools.partial(lambda x: x {} 1)])
        """,
        """
        helper = np.vectorize(lambda x: x {} 1)
        """,
        """
        def log(x):
            return x {} 1

        helper = make_pipeline(FunctionTransformer(log))
        """,
        """
        class Model:
            def fit(self, x):
                return x {} 1

        helper = collections.OrderedDict(a=Model())
        """,
        """
        class Model:
            def fit(self, x):
                return x {} 1

        helper = Model.fit
        """,
        """
        class Model:
            pass

        def fit(self, x):
            return x {} 1

        Model.fit = fit
        helper = Model
        """,
        """
        class Meta(type):
            def fit(cls, x):
                return x {} 1

        class Model(metaclass=Meta):
            pass

        helper = Model
        """,
        """
        class Model:
            @functools.cached_property
            def rate(self):
                return 2 {} 1

            half = functools.partialmethod(lambda self, x: x {} 1, 2)

        helper = Model()
        """,
    ],
    ids=[
        "singledispatch",
        "singledispatchmethod",
        "partial",
        "vectorize",
        "estimator",
        "container",
        "plain method",
        "method given later",
        "metaclass",
        "descriptors",
    ],
)
def test_code_that_something_holds_counts(load, text):
    head = """
        import collections, functools
        import numpy as np
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer
    """
    tail = "\n        def f(x):\n            return helper\n"
    one, same, other = (
        fingerprint(load(pipeline=head + text.replace("{}", sign) + tail).f) for sign in "++-"
    )
    assert one.digest == same.digest
    assert one.digest != other.digest
    assert one.unhashed == ()


def test_a_method_that_is_a_step_counts_with_the_methods_that_it_calls(load):
    text = """
        class Model:
            def fit(self, x):
                return self.link(x)

            def link(self, x):
                return x + 1

            def other(self):
                return 1
    """
    base = fingerprint(load(pipeline=text).Model.fit)
    assert "pipeline.Model.link" in base.functions
    edited = load(pipeline=text.replace("x + 1", "x + 2"))
    assert fingerprint(edited.Model.fit).digest != base.digest


def test_generators_of_random_numbers_count_by_their_names(load):
    module = load(
        pipeline="""
            from random import shuffle
            from numpy.random import rand
            import random

            def f(x):
                shuffle(x)
                return rand() + random.random()
        """
    )
    before = fingerprint(module.f)
    module.f([1, 2, 3])
    assert fingerprint(module.f) is before
    assert before.unhashed == ()


def test_a_method_of_a_foreign_object_counts_with_the_object(digest_of):
    text = "numbers = {}\nfind = numbers.index\n\ndef f(x):\n    return find(x)\n"
    assert digest_of(text.format([1, 2])) == digest_of(text.format([1, 2]))
    assert digest_of(text.format([1, 2])) != digest_of(text.format([2, 1]))


def test_a_logger_does_not_count_and_is_no_obstacle(load):
    text = """
        import logging

        logger = logging.getLogger(__name__)

        def f(x):
            logger.info("x")
            return x
    """
    module = load(pipeline=text)
    before = fingerprint(module.f)
    module.logger.setLevel("DEBUG")
    assert fingerprint(module.f) is before
    assert before.unhashed == ()


def test_a_path_counts_by_its_text_relative_to_the_module(load):
    text = """
        from pathlib import Path

        HERE = Path(__file__).parent
        FILES = {"data": HERE / "data.csv", "more": Path("more.csv")}

        def f():
            return HERE, FILES
    """
    one, two = load(pipeline=text), load(pipeline=text)
    assert one.HERE != two.HERE
    before = fingerprint(one.f)
    (one.HERE / "data.csv").write_text("1 2")
    assert fingerprint(one.f) is before
    assert before.digest == fingerprint(two.f).digest
    edited = fingerprint(load(pipeline=text.replace("data.csv", "other.csv")).f)
    assert edited.digest != before.digest


@pytest.mark.parametrize("name", ["random", "numpy.random"])
def test_looking_draws_no_number(load, name):
    text = f"import {name} as generator\n\ndef f():\n    return generator.random\n"
    random.seed(1)
    state = random.getstate()
    fingerprint(load(pipeline=text).f)
    assert random.getstate() == state
    assert name in sys.modules
