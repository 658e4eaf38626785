"""The documentation is complete and its links lead somewhere; its examples are doctests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import daskperiment
from daskperiment import options

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.rst"), *ROOT.glob("doc/*.rst"), *ROOT.glob("examples/*.rst")])


def links(page: Path) -> list[Path]:
    """Files that the relative links of a page lead to."""
    targets = re.findall(r"`[^`<]*<([^>`]+)>`__?", page.read_text())
    return [(page.parent / target).resolve() for target in targets if ":" not in target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_relative_link_is_dead(page: Path) -> None:
    assert [target for target in links(page) if not target.exists()] == []


def test_every_page_is_linked_from_the_index() -> None:
    index = ROOT / "doc" / "index.rst"

    assert set((ROOT / "doc").glob("*.rst")) <= {index, *links(index)}


def test_the_readme_leads_to_the_index_and_to_every_feature() -> None:
    reference = {"index", "tutorial", "errors", "glossary", "options"}
    features = {p for p in (ROOT / "doc").glob("*.rst") if p.stem not in reference}

    assert features | {ROOT / "doc" / "index.rst"} <= set(links(ROOT / "README.rst"))


@pytest.mark.parametrize("name", daskperiment.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    words = [word for page in (ROOT / "doc").glob("*.rst") for word in _words(page)]

    assert name in words


def test_every_option_is_documented_with_its_variable() -> None:
    page = (ROOT / "doc" / "options.rst").read_text()

    for name, option in options.OPTIONS.items():
        assert re.search(rf"``{name}`` +``{option.variable}``", page)


@pytest.mark.parametrize("kind", [daskperiment.Experiment, daskperiment.Trial])
def test_every_public_method_is_documented(kind: type) -> None:
    words = {word for page in (ROOT / "doc").glob("*.rst") for word in _words(page)}
    inside = {
        "values",
        "begin",
        "built",
        "compute",
        "attempt",
    }  # what a graph asks of its experiment

    public = {name for name in vars(kind) if not name.startswith("_")}
    assert public - inside - words == set()


def _words(page: Path) -> list[str]:
    return re.findall(r"\w+", page.read_text())


def test_examples_are_listed_with_the_others() -> None:
    examples = set((ROOT / "examples").glob("*.py"))

    assert examples <= set(links(ROOT / "examples" / "README.rst"))
