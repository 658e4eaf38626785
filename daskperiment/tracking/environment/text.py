"""The environment as text for readers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daskperiment.errors import CategoryError
from daskperiment.tracking.environment.packages import requirement
from daskperiment.typing import JSON, Document


def summary(document: Document) -> list[str]:
    """What is logged before the first trial, as lines ``name: value``.

    Parameters
    ----------
    document : dict
        All categories: of what can change results, and of the session.
    """
    packages = document.get("packages") or {}
    return [
        f"Platform Information: {_fact(document, 'platform', 'platform')}",
        f"Device CPU Count: {_fact(document, 'cpu', 'count')}",
        f"Python Implementation: {_fact(document, 'python', 'implementation')}",
        f"Python Version: {_fact(document, 'python', 'version')}",
        f"Python Shell Mode: {document.get('shell')}",
        f"Python venv: {_fact(document, 'python', 'virtualenv')}",
        f"Daskperiment Version: {document.get('daskperiment')}",
        *_repository(document.get("git")),
        f"Number of Installed Python Packages: {len(packages)}",
    ]


def _fact(document: Document, category: str, name: str) -> Any:
    found = document.get(category) or {}
    return found.get(name, found.get("error"))


def _repository(git: Document | None) -> Iterator[str]:
    if git is None:
        yield "Git Repository: not looked at"
        return
    root = git["repository"]
    yield f"Git Repository: {'Not Git Controlled' if root is None else root}"
    if "error" in git:
        yield f"Git Error: {git['error']}"
    elif root is not None:
        yield f"Git Active Branch: {git['branch'] or 'DETACHED'}"
        dirty = " (DIRTY)" if git["dirty"] else ""
        yield f"Git HEAD Commit: {git['commit'] or 'none yet'}{dirty}"


def detail(document: Document, category: str) -> str:
    """One category in full.

    Raises
    ------
    CategoryError
        There is none of this name.

    Examples
    --------
    >>> print(detail({"cpu": {"model": "x", "flags": ["avx", "fma"]}}, "cpu"))
    model: x
    flags:
      avx
      fma
    >>> print(detail({"packages": {"dask": "1.0"}}, "packages"))
    dask==1.0
    """
    if category not in document:
        raise CategoryError(
            f"The environment has no category {category!r}: choose one of "
            f"{', '.join(sorted(document))}"
        )
    if category == "packages":
        return requirements(document)
    return "\n".join(_lines(document[category] or "none"))


def requirements(document: Document) -> str:
    """The installed distributions as lines of a requirements file."""
    packages: dict[str, str] = document.get("packages") or {}
    return "\n".join(requirement(name, version) for name, version in packages.items())


def _lines(value: JSON) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _named(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _lines(item)
    else:
        yield from str(value).splitlines()


def _named(name: str, value: JSON) -> Iterator[str]:
    lines = list(_lines(value))
    if isinstance(value, (dict, list)) or len(lines) > 1:
        yield f"{name}:" if lines else f"{name}: none"
        yield from (f"  {line}" for line in lines)
    else:
        yield f"{name}: {''.join(lines)}"
