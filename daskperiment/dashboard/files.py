"""The files of the page itself: what is in the folder ``static``, and nothing else."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import NamedTuple

from blake3 import blake3

SHELL = "index.html"
"""The document of all pages."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    """One file.

    Parameters
    ----------
    content, packed : bytes
        Its bytes, and the same compressed by gzip.
    type, etag : str
        Its media type, and a digest of its bytes.
    """

    content: bytes
    packed: bytes
    type: str
    etag: str


@cache
def static_files() -> dict[str, File]:
    """All files by their path in the folder; read once."""
    root = files("daskperiment.dashboard") / "static"
    return {path: _file(path, found) for path, found in _walk(root, "")}


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        path = prefix + each.name
        found += _walk(each, f"{path}/") if each.is_dir() else [(path, each)]
    return found


def _file(path: str, found: Traversable) -> File:
    content = found.read_bytes()
    kind = _TYPES.get(PurePosixPath(path).suffix, "text/plain; charset=utf-8")
    return File(content, gzip.compress(content, mtime=0), kind, blake3(content).hexdigest()[:32])
