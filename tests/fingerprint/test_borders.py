"""How exactly installed distributions count."""

import pytest

from daskperiment.errors import OptionError
from daskperiment.fingerprint.borders import check_packages, packages_digest

HERE = {"numpy": "2.4.6", "odd": "unknown", "epoch": "1!2.0", "python": "3.11"}


@pytest.mark.parametrize(
    ("level", "name", "version", "counts"),
    [
        ("exact", "numpy", "2.4.7", True),
        ("exact", "numpy", "2.4.6+cu130", True),
        ("exact", "python", "3.12", True),
        ("major", "numpy", "2.5.0rc1", False),
        ("major", "numpy", "3.0", True),
        ("major", "python", "3.12", False),
        ("major", "python", "4.0", True),
        ("major", "odd", "1.0", True),
        ("major", "epoch", "1!2.1", False),
        ("major", "epoch", "2!2.0", True),
        ("ignore", "numpy", "3.0", False),
    ],
)
def test_another_version_counts_as_far_as_the_level_says(level, name, version, counts):
    changed = packages_digest(HERE | {name: version}, level) != packages_digest(HERE, level)
    assert changed is counts


@pytest.mark.parametrize(("level", "counts"), [("exact", True), ("major", True), ("ignore", False)])
def test_a_package_more_counts_unless_all_are_ignored(level, counts):
    more = packages_digest(HERE | {"pandas": "3.0.0"}, level)
    assert (more != packages_digest(HERE, level)) is counts


def test_the_order_of_packages_does_not_count():
    other = dict(reversed(HERE.items()))
    assert packages_digest(HERE, "exact") == packages_digest(other, "exact")


@pytest.mark.parametrize("level", ["minor", "", None, 1, ["exact"]])
def test_another_level_is_refused_with_those_that_there_are(level):
    with pytest.raises(OptionError, match='"exact" .*"major" .*"ignore"'):
        check_packages(level)
