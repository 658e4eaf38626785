"""Modules that are written, imported and edited as a user would."""

import importlib
import sys
import textwrap

import pytest

from daskperiment.fingerprint.code import fingerprint


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write modules into a fresh folder and import the first, as a new process would.

    The name of a module in a package is its path, such as ``lab/__init__``.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folders = iter(range(100))
    names = set()

    def load(*, run=True, **texts):
        folder = tmp_path / f"version{next(folders)}"
        for name, text in texts.items():
            file = folder / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        names.update(name.removesuffix("/__init__").replace("/", ".") for name in texts)
        for name in names:
            sys.modules.pop(name, None)
        monkeypatch.syspath_prepend(folder)
        return importlib.import_module(next(iter(texts)).replace("/", ".")) if run else folder

    yield load
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def digest_of(load):
    """Digest of the function ``f`` of a module with the given text."""
    return lambda text, **more: fingerprint(load(pipeline=text, **more).f).digest
