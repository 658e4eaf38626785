"""What is installed: Python distributions with their versions, and the conda environment."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daskperiment.secrets import scrub_url
from daskperiment.tracking.environment.usage import main_file, working_directory
from daskperiment.typing import JSON


def installed() -> dict[str, str]:
    """Versions of the installed distributions, by normalised name.

    The first one on ``sys.path`` counts, as it does for ``import``.  One that was installed
    from a version control system has its address and commit after the version, ``1.0 @
    git+https://host/name@commit``.
    """
    found: dict[str, str] = {}
    for name, version in _distributions():
        found.setdefault(_normalised(name), version)
    return dict(sorted(found.items()))


def daskperiment() -> JSON:
    """The version of daskperiment itself."""
    return next((version for _, version in _distributions("daskperiment-*")), "not installed")


def requirement(name: str, version: str) -> str:
    """A distribution as a line of a requirements file.

    Examples
    --------
    >>> requirement("dask", "2026.1.0")
    'dask==2026.1.0'
    >>> requirement("lab", "0.1 @ git+https://example.org/lab@4f2a")
    'lab @ git+https://example.org/lab@4f2a'
    """
    number, at, address = version.partition(" @ ")
    return f"{name} @ {address}" if at else f"{name}=={number}"


def conda() -> JSON:
    """The active conda environment: its name and its packages, each with version and build."""
    prefix = os.environ.get("CONDA_PREFIX")
    if not prefix:
        return {}
    files = sorted(path.stem for path in Path(prefix, "conda-meta").glob("*-*-*.json"))
    parts = (file.rsplit("-", 2) for file in files)
    packages = {name: f"{version} {build}" for name, version, build in parts}
    return {"name": Path(prefix).name, "packages": packages}


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _distributions(pattern: str = "*") -> Iterator[tuple[str, str]]:
    by_chance = _folders_by_chance()
    for folder in sys.path:
        for path in sorted(Path(folder).glob(f"{pattern}.dist-info")):
            # The directory's name has both; reading all metadata takes a hundred times longer.
            name, _, version = path.stem.partition("-")
            if version and name[:1].isalnum() and (path / "METADATA").exists():
                yield name, version + _source(path)
        if folder in by_chance:
            continue  # what a build has left in a checkout is not installed
        for path in sorted(Path(folder).glob(f"{pattern}.egg-info")):
            yield from _old_distribution(path)


def _folders_by_chance() -> set[str]:
    """Folders that are on ``sys.path`` only because Python was started there."""
    main = main_file()
    return {"", working_directory() or "", str(Path(main).parent) if main else ""}


def _source(path: Path) -> str:
    try:
        origin: dict[str, Any] = json.loads((path / "direct_url.json").read_bytes())
        control = origin["vcs_info"]
        return f" @ {control['vcs']}+{scrub_url(origin['url'])}@{control['commit_id']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # from an index, or from a folder, whose path means nothing elsewhere


def _old_distribution(path: Path) -> Iterator[tuple[str, str]]:
    from importlib.metadata import PathDistribution

    try:
        metadata = PathDistribution(path).metadata
    except (OSError, UnicodeDecodeError):
        return
    if "Name" in metadata and "Version" in metadata:
        yield metadata["Name"], metadata["Version"]
