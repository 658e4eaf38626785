"""Fingerprints of modules that are written and edited as a user would."""

import pytest

from daskperiment.fingerprint.code import fingerprint


@pytest.fixture
def digest_of(load):
    """Digest of the function ``f`` of a module with the given text."""
    return lambda text, **more: fingerprint(load(pipeline=text, **more).f).digest
