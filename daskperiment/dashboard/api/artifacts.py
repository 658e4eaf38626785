"""The artifacts of a trial."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath
from typing import Any

from daskperiment.backends.base import Backend
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.history.artifacts import Artifact, Artifacts
from daskperiment.history.places import Place
from daskperiment.typing import Document

_IMAGES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp"}
_STARTS = {
    "png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF",
}  # fmt: skip
"""How files of these types begin.  No other is ever shown by a browser: not SVG, which is a
document that may hold scripts."""
_TEXTS = frozenset(
    (".cfg", ".csv", ".ini", ".json", ".log", ".md", ".py", ".rst", ".sh", ".toml", ".tsv",
     ".txt", ".yaml", ".yml")
)  # fmt: skip
_LARGEST_IMAGE = 32 * 1024 * 1024
_LONGEST_TEXT = 100_000


def listed(backend: Backend, experiment: str, uid: str) -> list[Document]:
    """The artifacts of a trial: name, size, and how a page can show them."""
    return [
        {"name": each.name, "size": each.size, "kind": _kind(each), "type": _type(each.name)}
        for each in _artifacts(backend, experiment, uid).values()
    ]


def _artifacts(backend: Backend, experiment: str, uid: str) -> Any:
    return Artifacts(Place(backend, experiment, uid)).read()


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _kind(artifact: Artifact) -> str:
    if artifact.digest is None:
        return "gone"
    if _suffix(artifact.name) in _IMAGES and artifact.size <= _LARGEST_IMAGE:
        return "image"
    return "text" if artifact.is_text or _suffix(artifact.name) in _TEXTS else "other"


def _type(name: str) -> str:
    guessed = mimetypes.guess_type(name)[0]
    return guessed or "unknown"


@get(
    "/experiments/<experiment>/trials/<trial:number>/artifact",
    Query("name", "Name of the artifact.", default="", most=300),
    Query("as", "How: text gives the beginning of it in a JSON document.", choices=("text",)),
)
def artifact(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Any:
    """The bytes of an artifact.

    PNG, JPEG, GIF and WebP images have their type; all else is to be saved, not shown.
    """
    row = board.experiment(experiment).trials.get(number)
    found: Artifact = _artifacts(board.backend, experiment, row["uid"])[query["name"]]
    return _as_text(found) if query["as"] == "text" else _download(found)


def _as_text(artifact: Artifact) -> Document:
    with artifact.open() as source:
        content = source.read(_LONGEST_TEXT + 1)
    return {
        "name": artifact.name,
        "text": content[:_LONGEST_TEXT].decode("utf-8", "replace"),
        "size": artifact.size,
        "cut": len(content) > _LONGEST_TEXT,
    }


def _download(artifact: Artifact) -> Any:
    from flask import Response, send_file

    image = _IMAGES.get(_suffix(artifact.name))
    if image and artifact.size <= _LARGEST_IMAGE:
        content = artifact.read()
        if content.startswith(_STARTS[image]):
            return Response(content, mimetype=f"image/{image}")
    return send_file(
        artifact.open(),
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=_file_name(artifact.name),
    )


def _file_name(name: str) -> str:
    """The last part of a name, without what no header can hold."""
    shown = "".join(sign if sign.isprintable() else "_" for sign in name)
    return PurePosixPath(shown).name or "artifact"
