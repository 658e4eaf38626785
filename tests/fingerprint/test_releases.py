"""One fingerprint in a script, a module, a worker and a notebook, under each release of Python."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from daskperiment.fingerprint.code import fingerprint

ROOT = Path(__file__).resolve().parents[2]
HELPERS = """
    import functools
    from dataclasses import dataclass, field
    from enum import Enum
    from typing import NamedTuple

    LIMIT = 3
    NAMES = {"a": 1, "b": [1.5, None, {"c", "d"}]}

    class Kind(Enum):
        ONE = 1

        @property
        def half(self):
            return self.value / 2

    class Point(NamedTuple):
        x: int = 1

    @dataclass(order=True, slots=True)
    class Box:
        size: int = 2
        items: list = field(default_factory=list)

        def grown(self, *, by=LIMIT):
            return Box(self.size + by, [item for item in self.items if item not in NAMES])

    class Base:
        def run(self, x):
            return super().__repr__() + f"{x!r:>{LIMIT}} {'a' 'b'}{{}}"

    class Model(Base):
        @functools.cached_property
        def rate(self):
            return [[y for y in range(x)] for x in range(LIMIT)]

        @staticmethod
        def clip(x, /, *rest, low=0):
            match x:
                case {"a": [1, *_], **more} | Box(size=more):
                    return more
                case None:
                    return low
            try:
                return min(x, LIMIT)
            except* (ValueError, TypeError) as group:
                raise RuntimeError from group

    def repeated(times):
        def decorate(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return [function(*args, **kwargs) for _ in range(times)][-1]
            return wrapper
        return decorate

    @functools.singledispatch
    def shown(x):
        return str(x)

    @shown.register(int)
    def _(x):
        return f"{x:02d}"

    @functools.lru_cache(maxsize=None)
    @repeated(2)
    def clean(x):
        return Model().clip(Box(x).grown().size), Kind.ONE.half, Point(), shown(x)
"""
STEPS = """
    import helpers

    WEIGHTS = (0.5, -0.0, 10**30)

    def scaled(factor):
        return lambda x: factor * x

    double = scaled(2)

    def train(x, rate=0.1):
        import lazy
        return lazy.finish(sum(map(double, helpers.clean(x)))) * rate * WEIGHTS[0]
"""
LAZY = """
    END = {"of": [1, 2]}

    def finish(x):
        return x, END, [lambda: x]
"""
SHOW = """
    if __name__ == "__main__":
        import json, sys
        sys.path[:0] = {paths!r}
        from daskperiment.fingerprint.code import fingerprint
        found = fingerprint(train)
        own = {name.replace("__main__", "steps"): d for name, d in found.functions.items()}
        print(json.dumps([found.digest, own, found.unhashed, found.bytecode]))
"""
# Where a library of another release is missing: digests of one and the same function will do.
BLAKE3 = """
    import hashlib

    class blake3:
        AUTO = -1

        def __init__(self, data=b"", **options):
            self.hash = hashlib.blake2b(data, digest_size=32)

        def update(self, data):
            self.hash.update(data)

        def digest(self, size=32):
            return self.hash.digest()[:size]

        def hexdigest(self):
            return self.hash.hexdigest()
"""


def interpreters():
    """A program for each supported release that is installed, this one first."""
    found = {sys.version_info[:2]: sys.executable}
    for minor in range(11, 16):
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        others = pyenv.glob(f"versions/3.{minor}.*/bin/python3.{minor}")
        for program in (shutil.which(f"python3.{minor}"), *map(str, others)):
            if program is not None and (3, minor) not in found and _works(program):
                found[3, minor] = program
    return {f"3.{minor}": program for (_, minor), program in found.items()}


def _works(program):
    return not subprocess.run([program, "-c", ""], capture_output=True).returncode


INTERPRETERS = interpreters()


@pytest.fixture
def project(load):
    texts = {"steps": STEPS, "helpers": HELPERS, "lazy": LAZY}
    return load(run=False, **texts)


def run(program, folder, stub):
    script = folder / "script.py"
    paths = [str(stub), str(ROOT)]
    script.write_text(
        textwrap.dedent(STEPS) + textwrap.dedent(SHOW).replace("{paths!r}", repr(paths))
    )
    done = subprocess.run([program, "-B", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def stub(tmp_path):
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "blake3.py").write_text(textwrap.dedent(BLAKE3))
    return tmp_path / "stub"


@pytest.mark.parametrize("release", INTERPRETERS)
def test_the_whole_closure_is_equal_under_each_release(project, stub, release):
    here = run(sys.executable, project, stub)
    assert run(INTERPRETERS[release], project, stub) == here
    assert here[2:] == [[], []]
    assert {"helpers.Model.clip", "lazy.finish", "steps.train"} <= here[1].keys()


def in_a_worker():
    import steps

    found = fingerprint(steps.train)
    return found.digest, found.functions


def test_script_module_and_worker_agree(project, tmp_path):
    script = run(sys.executable, project, tmp_path / "no stub")
    import steps

    found = fingerprint(steps.train)
    assert script[:2] == [found.digest, found.functions]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(in_a_worker).result() == (found.digest, found.functions)
