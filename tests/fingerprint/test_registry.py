"""Functions that say what counts of a type's values."""

from __future__ import annotations

import abc
import datetime
import pathlib
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest

import daskperiment
from daskperiment import RegistrationError
from daskperiment.fingerprint import digest, register
from daskperiment.fingerprint.code import fingerprint
from daskperiment.fingerprint.values import try_digest


class Model:
    def __init__(self, weights):
        self.weights = weights
        self.lock = threading.Lock()


class Special(Model):
    pass


def weights(model):
    return model.weights


def new_type():
    """A type that no other test has registered."""
    return type("Model", (Model,), {"__module__": __name__})


def test_a_registered_type_counts_by_what_its_function_returns():
    kind = new_type()
    assert try_digest(kind([1]))[0] is None
    register(kind, weights)
    assert digest([kind([1])]) == digest([kind([1])]) != digest([kind([2])])
    assert digest(kind([1])) != digest([1])


def test_types_of_equal_content_differ():
    one, other = new_type(), type("Other", (Model,), {"__module__": __name__})
    register(one, weights)
    register(other, weights)
    assert digest(one(1)) != digest(other(1))


def test_it_counts_as_a_method_of_the_class_would():
    members = {"__module__": __name__, "__daskperiment_digest__": weights}
    kind, same = new_type(), type("Model", (Model,), members)
    register(kind, weights)
    assert digest(kind([1])) == digest(same([1]))


def test_the_last_function_holds():
    kind = new_type()
    register(kind, weights)
    value, before = kind([1, 2]), digest(kind([1, 2]))
    register(kind, lambda model: len(model.weights))
    assert digest(value) != before
    assert digest(value) == digest(kind([3, 4]))


def test_a_subclass_is_not_registered_with_it():
    kind = new_type()
    register(kind, weights)
    below = type("Below", (kind,), {"__module__": __name__})
    assert try_digest(below(1))[0] is None
    register(below, weights)
    assert digest(below(1)) != digest(kind(1))


def test_it_holds_before_what_the_type_would_count_by():
    class Zone(datetime.tzinfo):
        def utcoffset(self, moment):
            return datetime.timedelta(0)

    assert try_digest(Zone())[0] is None
    register(Zone, lambda zone: "utc")
    assert digest(Zone()) == digest(Zone())


@pytest.mark.parametrize("failing", ["raises", "itself", "a lock"])
def test_a_function_without_an_answer_leaves_the_value_unhashed(failing):
    kind = new_type()
    answers = {"raises": lambda m: m.absent, "itself": lambda m: m, "a lock": lambda m: [m.lock]}
    register(kind, answers[failing])
    found, reason = try_digest({"m": kind(1)}, "state")
    told = {"raises": "raised AttributeError", "itself": "gives the value itself", "a lock": "[0]"}
    assert found is None
    assert reason.startswith("state['m']")
    assert told[failing] in reason


@pytest.mark.parametrize(
    "given",
    [
        (3, weights),
        (Model, "weights"),
        (dict, len),
        (int, str),
        (datetime.datetime, str),
        (pathlib.PurePosixPath, str),
        (abc.ABCMeta("Base", (), {"go": abc.abstractmethod(lambda self: None)}), weights),
    ],
)
def test_what_cannot_be_registered_is_an_error(given):
    with pytest.raises(RegistrationError):
        register(*given)


def test_a_fingerprint_that_was_made_before_is_made_again():
    kind = new_type()
    names = {"MODEL": kind([1])}
    exec("def predict():\n    return MODEL", names)
    assert fingerprint(names["predict"]).unhashed
    register(kind, weights)
    assert not fingerprint(names["predict"]).unhashed


def test_many_threads_may_register_and_digest_at_once():
    kinds = [new_type() for _ in range(40)]
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for kind in kinds[number % 4 :: 4]:
            register(kind, weights)
            assert digest(kind([number])) == digest(kind([number]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len({digest(kind([1])) for kind in kinds}) == 1


def test_types_are_not_kept_alive():
    import gc
    import weakref

    kind = new_type()
    register(kind, weights)
    digest(1)
    gone = weakref.ref(kind)
    del kind
    gc.collect()
    assert gone() is None


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MODULE = """
import threading
from daskperiment.fingerprint import register

class Model:
    def __init__(self, weights):
        self.weights, self.lock = weights, threading.Lock()

register(Model, lambda model: model.weights)
"""
FOREIGN = "register(threading.Event, lambda event: event.is_set())"


def test_a_process_that_imports_the_module_knows_its_functions(tmp_path):
    (tmp_path / "models.py").write_text(MODULE + FOREIGN)
    code = """
        import sys, threading
        sys.path.insert(0, sys.argv[1])
        import models
        from daskperiment.fingerprint import digest
        print(digest([models.Model([1]), threading.Event()]))
    """
    assert run(code, str(tmp_path)) == run(code, str(tmp_path)) != ""


def test_the_function_travels_with_a_class_that_is_sent_by_its_code(tmp_path):
    names = {"__name__": "__main__"}
    exec(MODULE, names)
    model = names["Model"]([1, 2])
    del model.lock
    sent = tmp_path / "model.pickle"
    sent.write_bytes(cloudpickle.dumps(model))
    code = """
        import pickle, sys, threading
        from daskperiment.fingerprint import digest
        with open(sys.argv[1], "rb") as file:
            model = pickle.load(file)
        model.lock = threading.Lock()
        print(digest(model))
    """
    assert run(code, str(sent)) == digest(model)


def test_it_is_found_from_the_package_and_does_not_slow_its_import():
    code = """
        import sys
        import daskperiment
        loaded = [name for name in sys.modules if name.startswith("daskperiment.fingerprint")]
        assert not loaded, loaded
        daskperiment.fingerprint.register
        assert not {"numpy", "pandas", "dask", "pyarrow"} & set(sys.modules)
    """
    run(code)
    assert daskperiment.fingerprint.register is register
    assert {"digest", "register"} <= set(dir(daskperiment.fingerprint))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        daskperiment.fingerprint.absent
