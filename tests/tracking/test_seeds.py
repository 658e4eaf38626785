from __future__ import annotations

import _thread
import copy
import os
import pickle
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from random import gauss, randint
from random import random as early_random

import numpy as np
import pytest
from numpy.random import normal, rand, set_state

from daskperiment.errors import SeedError
from daskperiment.tracking import seeds

# The names above are bound before this, as in a user's script.
seeds.install()


@pytest.fixture(autouse=True)
def known_streams():
    """The user's own streams stand at a known place, each with a normal value kept back."""
    random.seed(99)
    random.gauss(0, 1)
    np.random.seed(99)
    np.random.normal()


def expected_of_the_user():
    python, numpy = random.Random(99), np.random.RandomState(99)
    python.gauss(0, 1)
    numpy.normal()
    return python, numpy


def assert_user_streams_untouched():
    python, numpy = expected_of_the_user()
    assert (random.gauss(0, 1), random.random()) == (python.gauss(0, 1), python.random())
    assert (np.random.normal(), np.random.random()) == (numpy.normal(), numpy.random_sample())


# Numbers


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, np.int64(5), np.uint8(3)])
def test_every_integer_type_in_range_is_a_seed(seed):
    checked = seeds.check_seed(seed)
    assert type(checked) is int
    assert checked == seed


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", None, True, np.True_, np.float64(2)])
def test_anything_else_is_refused_with_what_is_allowed(seed):
    with pytest.raises(SeedError, match="integer from 0 to 4294967295"):
        seeds.check_seed(seed)


def test_a_refused_seed_leaves_everything_usable():
    with pytest.raises(SeedError):
        seeds.seeded(-1)
    assert seeds.current() is None
    assert_user_streams_untouched()


def test_a_drawn_seed_does_not_come_from_the_seeded_streams():
    drawn = set()
    for _ in range(3):
        random.seed(1)
        np.random.seed(1)
        drawn.add(seeds.draw_seed())
    assert len(drawn) == 3


def test_derived_seeds_stay_the_same_for_ever():
    assert seeds.derive(1, "clean", 0) == 990404978
    assert seeds.derive(1, "clean", 1) == 666049104
    assert seeds.derive(2, "clean", 0) == 2748278966
    assert seeds.derive(0, "", 0) == 1367670139
    assert seeds.derive(2**32 - 1, "schritt_ü", 2**40) == 3349604812


# What a step draws


def test_a_hundred_and_one_draws_give_the_value_of_the_quickstart():
    with seeds.seeded(1):
        for _ in range(100):
            np.random.random()
        assert 10 / 7 + np.random.random() == 1.7552163303435249


def test_numpy_and_stdlib_are_both_seeded():
    with seeds.seeded(1):
        assert np.random.random() + random.random() == 0.5513862488149752


ARGUMENTS = {
    "bytes": (3,),
    "choice": ([1, 2, 3],),
    "permutation": (5,),
    "randint": (0, 9),
    "random_integers": (3,),
    "beta": (1, 1),
    "binomial": (5, 0.5),
    "chisquare": (2,),
    "dirichlet": ([1, 1],),
    "f": (2, 3),
    "gamma": (2,),
    "geometric": (0.5,),
    "hypergeometric": (3, 3, 2),
    "logseries": (0.5,),
    "multinomial": (3, [0.5, 0.5]),
    "multivariate_normal": ([0, 0], np.eye(2)),
    "negative_binomial": (3, 0.5),
    "noncentral_chisquare": (2, 1),
    "noncentral_f": (2, 3, 1),
    "pareto": (2,),
    "power": (2,),
    "rayleigh": (1,),
    "standard_gamma": (2,),
    "standard_t": (3,),
    "triangular": (0, 1, 2),
    "vonmises": (0, 1),
    "wald": (1, 1),
    "weibull": (2,),
    "zipf": (2,),
}
LEGACY = [
    name
    for name in dir(np.random)
    if getattr(getattr(np.random, name), "__self__", None) is np.random.mtrand._rand
    and name not in {"get_state", "set_state", "seed", "shuffle"}
]


@pytest.mark.parametrize("name", LEGACY)
@pytest.mark.filterwarnings("ignore:This function is deprecated:DeprecationWarning")
def test_every_legacy_function_follows_the_seed_from_its_first_draw(name):
    plain = np.random.RandomState(5)
    expected = getattr(plain, name)(*ARGUMENTS.get(name, ())), plain.random_sample()
    with seeds.seeded(5) as draws:
        drawn = getattr(np.random, name)(*ARGUMENTS.get(name, ())), np.random.random()
    assert np.array_equal(drawn[0], expected[0])
    assert drawn[1] == expected[1]
    assert draws.drew


def test_names_imported_before_the_first_step_follow_the_seed():
    python, numpy = random.Random(5), np.random.RandomState(5)
    expected = [python.randint(0, 9**9), python.gauss(0, 1), python.random()]
    expected += [numpy.rand(), numpy.normal()]
    with seeds.seeded(5) as draws:
        assert [randint(0, 9**9), gauss(0, 1), early_random(), rand(), normal()] == expected
    assert draws.drew


def test_every_method_of_random_behaves_as_after_seeding():
    def use(source):
        values = list(range(20))
        source.shuffle(values)
        text = source.choice("abc"), source.choices("abc", k=5), source.sample(range(99), 3)
        spread = source.gauss(0, 1), source.gauss(0, 1), source.betavariate(1, 2)
        return values, text, spread, source.randbytes(5), source.getrandbits(70)

    with seeds.seeded(3):
        assert use(random) == use(random.Random(3))


def test_pandas_and_scikit_learn_follow_the_seed():
    pandas = pytest.importorskip("pandas")
    utils = pytest.importorskip("sklearn.utils")
    series = pandas.Series(range(100))
    expected = series.sample(5, random_state=np.random.RandomState(3)).tolist()
    with seeds.seeded(3):
        assert series.sample(5).tolist() == expected
    expected = utils.shuffle(list(range(9)), random_state=3)
    with seeds.seeded(3):
        assert utils.shuffle(list(range(9))) == expected


def test_the_rng_belongs_to_the_call_and_has_a_stream_of_its_own():
    with seeds.seeded(1) as draws:
        assert draws.rng() is draws.rng()
        first = draws.rng().random()
    with seeds.seeded(1) as again, seeds.seeded(2) as other:
        assert again.rng().random() == first == 0.9148755181851955
        assert other.rng().random() != first
    assert first not in (np.random.RandomState(1).random(), np.random.default_rng(1).random())


# Isolation


def test_the_users_streams_go_on_where_they_were():
    with seeds.seeded(1):
        random.gauss(0, 1)
        np.random.normal()
    assert_user_streams_untouched()


@pytest.mark.parametrize(
    "change",
    [
        lambda: np.random.seed(0),
        lambda: np.random.set_state(np.random.RandomState(4).get_state()),
        lambda: set_state(np.random.RandomState(4).get_state(legacy=False)),
        lambda: random.seed(0),
        lambda: random.setstate(random.Random(4).getstate()),
    ],
)
def test_a_step_that_seeds_or_sets_the_state_itself_disturbs_nobody(change):
    with seeds.seeded(1):
        change()
    assert_user_streams_untouched()


def test_a_step_that_sets_the_state_goes_on_from_there():
    foreign = np.random.RandomState(4)
    foreign.normal()
    with seeds.seeded(1):
        np.random.set_state(foreign.get_state())
        assert np.random.normal() == foreign.normal()
        random.setstate(random.Random(4).getstate())
        assert random.random() == random.Random(4).random()


def test_the_streams_are_given_back_after_an_error():
    with pytest.raises(KeyError), seeds.seeded(1):
        np.random.normal()
        raise KeyError
    assert seeds.current() is None
    assert_user_streams_untouched()


def test_a_nested_block_leaves_the_outer_one_where_it_was():
    with seeds.seeded(1):
        expected = random.random(), np.random.normal(), np.random.normal(), random.random()
    with seeds.seeded(1) as outer:
        drawn = [random.random(), np.random.normal()]
        with seeds.seeded(2) as inner:
            assert seeds.current() is inner
            np.random.normal()
            random.random()
        assert seeds.current() is outer
        drawn += [np.random.normal(), random.random()]
    assert tuple(drawn) == expected
    assert_user_streams_untouched()


@pytest.fixture
def fast_switching():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def draw_much(seed):
    values = []
    with seeds.seeded(seed):
        for _ in range(60):
            values += [rand(), normal(), int(np.random.randint(1 << 30)), random.gauss(0, 1)]
            values += [random.random(), randint(0, 10**9)]
            time.sleep(0)
    return values


def in_threads(function, arguments):
    results = {}
    workers = [
        threading.Thread(
            target=lambda argument=argument: results.update({argument: function(argument)})
        )
        for argument in arguments
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def test_steps_at_the_same_time_on_threads_draw_what_they_draw_alone(fast_switching):
    alone = {seed: draw_much(seed) for seed in range(6)}
    assert in_threads(draw_much, range(6)) == alone
    assert_user_streams_untouched()


def test_threads_outside_of_steps_share_the_users_streams(fast_switching):
    expected = [expected_of_the_user()[1].random_sample(), None]
    with seeds.seeded(1):
        np.random.random()
        drawn = in_threads(lambda _: (np.random.random(), seeds.current()), [0])[0]
    assert list(drawn)[1] is None
    numpy = expected_of_the_user()[1]
    assert expected[0] == numpy.random_sample() == drawn[0]


def interrupted(times, loop):
    """Call `loop`, which never ends, and interrupt it as Ctrl-C does, again and again."""
    go = threading.Event()

    def interrupt():
        for _ in range(times):
            go.wait()
            go.clear()
            _thread.interrupt_main()

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    for _ in range(times):
        with pytest.raises(KeyboardInterrupt):
            go.set()
            loop()
        if (left_open := seeds.current()) is not None:
            # It came just before __exit__ began, which no context manager can prevent.
            left_open.__exit__(None, None, None)
    interrupter.join()


def test_an_interrupted_draw_does_not_keep_the_lock(fast_switching):
    def loop():
        with seeds.seeded(1):
            while True:
                np.random.random()

    interrupted(150, loop)
    assert_user_streams_untouched()
    other = threading.Thread(target=np.random.random, daemon=True)
    other.start()
    other.join(timeout=10)
    assert not other.is_alive()


def test_an_interrupt_while_streams_change_hands_spoils_neither(fast_switching):
    own, seeded = [], set()

    def loop():
        while True:
            own.append(np.random.random())
            with seeds.seeded(1):
                seeded.add(np.random.random())

    interrupted(150, loop)
    numpy = expected_of_the_user()[1]
    drawn = list(numpy.random_sample(len(own) + 150))  # an interrupt may lose the last value
    assert seeded == {0.417022004702574}
    assert [value for value in drawn if value in set(own)] == own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_forked_while_a_thread_draws_can_draw(fast_switching):
    stop = threading.Event()

    def keep_drawing():
        with seeds.seeded(3):
            while not stop.is_set():
                np.random.random()

    drawer = threading.Thread(target=keep_drawing)
    drawer.start()
    try:
        for _ in range(40):
            assert wait_for(fork_and_draw()) == 0
    finally:
        stop.set()
        drawer.join()


def fork_and_draw():
    child = os.fork()
    if child == 0:
        with seeds.seeded(1):
            right = np.random.random() == 0.417022004702574
        numpy = expected_of_the_user()[1]
        os._exit(0 if right and np.random.normal() == numpy.normal() else 1)
    return child


def wait_for(child):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hangs"


# What is observed


def nothing():
    return sum(range(9))


DRAWS = {
    "random": random.random,
    "early bound": early_random,
    "numpy": np.random.random,
    "all 312 doubles of a block": lambda: np.random.random(312),
    "reading a state": random.getstate,
    "reading numpy's state": np.random.get_state,
    "copying": lambda: copy.deepcopy(np.random.mtrand._rand),
    "after seeding": lambda: (np.random.seed(0), np.random.random()),
    "before seeding": lambda: (np.random.random(), np.random.seed(0)),
}
NO_DRAWS = {
    "nothing": nothing,
    "seeding": lambda: (random.seed(0), np.random.seed(0)),
    "a state": lambda: random.setstate(random.Random(0).getstate()),
    "numpy's state": lambda: np.random.set_state(np.random.RandomState(0).get_state()),
    "an own generator": lambda: (np.random.default_rng(1).random(), random.Random(1).random()),
}


@pytest.mark.parametrize("use", DRAWS.values(), ids=DRAWS)
def test_a_call_that_draws_is_seen(use):
    with seeds.seeded(1) as draws:
        assert not draws.drew
        use()
        assert draws.drew
    assert draws.drew


@pytest.mark.parametrize("use", NO_DRAWS.values(), ids=NO_DRAWS)
def test_a_call_that_does_not_draw_is_not_called_one(use):
    np.random.random()  # the generator holds the user's stream and has to change hands
    with seeds.seeded(1) as draws:
        use()
    assert not draws.drew


def test_draws_of_another_thread_are_not_counted(fast_switching):
    def draw_or_not(seed):
        with seeds.seeded(seed) as draws:
            for _ in range(200):
                if seed % 2:
                    np.random.random()
        return draws.drew

    assert in_threads(draw_or_not, range(4)) == {0: False, 1: True, 2: False, 3: True}


ENTROPY = {
    "default_rng": np.random.default_rng,
    "SeedSequence": np.random.SeedSequence,
    "RandomState": np.random.RandomState,
    "RandomState, then a seeded one": lambda: (np.random.RandomState(), np.random.RandomState(5)),
    "numpy.random.seed": np.random.seed,
    "random.seed": random.seed,
    "Random": random.Random,
    "SystemRandom": lambda: random.SystemRandom().random(),
    "secrets": secrets.token_hex,
    "urandom": lambda: os.urandom(4),
    "uuid4": uuid.uuid4,
    "draw_seed": seeds.draw_seed,
}
NO_ENTROPY = {
    "nothing": nothing,
    "the global streams": lambda: (random.random(), np.random.random()),
    "default_rng": lambda: np.random.default_rng(5).random(),
    "RandomState": lambda: np.random.RandomState(5).random_sample(),
    "Random": lambda: random.Random(5).random(),
    "copy": lambda: copy.deepcopy(
        [np.random.default_rng(5), np.random.RandomState(5), random.Random(5)]
    ),
    "unpickled": lambda: pickle.loads(pickle.dumps(np.random.RandomState(5))),
    "file names": lambda: tempfile.TemporaryDirectory().cleanup(),
    "uuid5": lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "example"),
}


@pytest.mark.parametrize("use", ENTROPY.values(), ids=ENTROPY)
def test_entropy_that_no_seed_repeats_is_seen(use):
    with seeds.seeded(1) as draws:
        assert not draws.entropy
        use()
    assert draws.entropy


@pytest.mark.parametrize("use", NO_ENTROPY.values(), ids=NO_ENTROPY)
def test_seeded_generators_and_file_names_are_not_entropy(use):
    tempfile._name_sequence = None  # so that names begin with a new unseeded generator
    with seeds.seeded(1) as draws:
        use()
    assert not draws.entropy


def test_entropy_outside_of_a_step_is_nobodys():
    with seeds.seeded(1) as draws:
        in_threads(lambda _: os.urandom(4), [0])
    os.urandom(4)
    assert not draws.entropy


# What keeps working


def test_a_copy_of_numpys_generator_is_an_ordinary_one():
    for clone in (
        pickle.loads(pickle.dumps(np.random.mtrand._rand)),
        copy.deepcopy(np.random.mtrand._rand),
    ):
        numpy = expected_of_the_user()[1]
        assert type(clone._bit_generator) is np.random.MT19937
        assert (clone.normal(), clone.random_sample()) == (numpy.normal(), numpy.random_sample())
    assert_user_streams_untouched()


def test_states_are_read_and_written_as_before():
    numpy = expected_of_the_user()[1]
    name, keys, *rest = np.random.get_state()
    expected_name, expected_keys, *expected_rest = numpy.get_state()
    assert (name, rest) == (expected_name, expected_rest)
    assert np.array_equal(keys, expected_keys)
    np.random.set_state(np.random.RandomState(5).get_state())
    assert np.random.random() == np.random.RandomState(5).random()
    other = np.random.RandomState(np.random.MT19937(1))
    other.seed(5)
    assert other.random() == np.random.RandomState(5).random()


def test_functions_of_random_mean_the_receiving_process_when_pickled():
    assert pickle.loads(pickle.dumps(randint)) == randint
    assert pickle.loads(pickle.dumps(random.random)) == random.random
    assert pickle.loads(pickle.dumps(os.urandom)) is os.urandom
    assert pickle.loads(pickle.dumps(np.random.set_state)) is np.random.set_state


def in_a_new_process(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_importing_changes_nothing():
    code = """
import os, random, sys
before = random.random, os.urandom, type(random._inst)
from daskperiment.tracking import seeds
print(before == (random.random, os.urandom, type(random._inst)), "numpy" in sys.modules)
"""
    assert in_a_new_process(code) == ["True", "False"]


def test_the_first_blocks_of_many_threads_install_once():
    code = """
import random, threading, time
import numpy as np
np.random.seed(99); np.random.normal(); random.seed(99); random.gauss(0, 1)
from daskperiment.tracking import seeds
numpy_stream = seeds.installation.numpy_stream
isolate, calls, drawn = numpy_stream.isolate, [], []
def slowly():
    calls.append(1); time.sleep(0.1); isolate()
numpy_stream.isolate = slowly
def work():
    with seeds.seeded(1):
        drawn.append(np.random.random() + random.random())
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(len(calls), set(drawn) == {0.5513862488149752}, len(drawn))
a, b = random.Random(99), np.random.RandomState(99)
a.gauss(0, 1), b.normal()
print(random.gauss(0, 1) == a.gauss(0, 1), np.random.normal() == b.normal())
"""
    assert in_a_new_process(code) == ["1", "True", "8", "True", "True"]


FIRST_IMPORT = """
import sys
from importlib.util import find_spec
from daskperiment import Experiment

def plain():
    return 1

def draw():
    import random
    from numpy.random import rand
    return float(rand()), random.random()

ex = Experiment("example", backend="memory://")
ex.result(plain)().compute(scheduler="synchronous")
assert "numpy" not in sys.modules
assert find_spec("numpy").loader.get_filename("numpy").endswith("__init__.py")
drawn = ex.result(draw)()
first, second = (drawn.compute(seed=1, scheduler="SCHEDULER") for _ in range(2))

import numpy
numpy.random.seed(1)
assert first == second and first[0] == numpy.random.rand(), (first, second)
assert bool(ex[2].steps["drew"][0]) and not ex[2].steps["entropy"][0]
assert numpy.__loader__ is numpy.__spec__.loader and "daskperiment" not in str(numpy.__loader__)
assert not [finder for finder in sys.meta_path if "daskperiment" in type(finder).__module__]
"""


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_step_that_imports_numpy_first_draws_from_its_seed(scheduler: str) -> None:
    # Only an interpreter in which nothing has imported NumPy shows it; distributed would.
    hide = "import sys; sys.modules['distributed'] = None\n"
    code = hide + FIRST_IMPORT.replace("SCHEDULER", scheduler) + "print('drawn')"
    assert in_a_new_process(code) == ["drawn"]
