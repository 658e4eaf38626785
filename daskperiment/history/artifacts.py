"""Artifacts: named files and values kept with a trial."""

from __future__ import annotations

import os.path
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from blake3 import blake3

from daskperiment.backends.base import Append, Write
from daskperiment.errors import (
    ArtifactNotFoundError,
    ConflictError,
    InvalidNameError,
    ValueNotKeptError,
)
from daskperiment.history import paths, payloads
from daskperiment.history.collection import holding, referring
from daskperiment.history.places import Place, Slot
from daskperiment.serializers import preview
from daskperiment.typing import Document

_CHUNK = 1024 * 1024
_NAME_BYTES = 250
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{d}{i}" for d in ("COM", "LPT") for i in range(1, 10))}
"""Names that Windows reads as devices, whatever follows a dot."""


def check_name(name: object) -> str:
    """Return an artifact name, or raise InvalidNameError.

    A name is a relative path with ``/``: printable, up to 250 bytes in UTF-8, without empty
    parts, ``.``, ``..``, backslash or colon, and no part is a device of Windows, so that it
    is a file in the folder that it is saved to, on any system.

    Examples
    --------
    >>> check_name("plots/roc.png")
    'plots/roc.png'
    """
    if (
        isinstance(name, str)
        and name.isprintable()
        and len(name.encode()) <= _NAME_BYTES
        and not set(name) & set('\\:*?"<>|')
        and all(map(_is_portable, name.split("/")))
    ):
        return name
    raise InvalidNameError(
        f"Artifact name must be a relative path of at most {_NAME_BYTES} bytes, such as "
        f"'plots/roc.png', without '..', without \\ : * ? \" < > | and without names that a "
        f"system reserves, such as CON; not {preview(name, 80)}"
    )


def _is_portable(part: str) -> bool:
    if not part.strip(". ") or part.endswith((".", " ")):
        return False
    return part.partition(".")[0].rstrip().upper() not in _DEVICES


def _source(content: Any) -> Path | None:
    """The file or folder that a content names: a path, or text when there is such a file."""
    # By its type: isinstance asks an object of any other class for its __class__.
    if issubclass(type(content), Path):
        return cast("Path", content)
    # Not Path.is_file, which raises for text that no file can be named by.
    is_file = issubclass(type(content), str) and os.path.isfile(content)  # noqa: PTH113
    return Path(content) if is_file else None


class Artifact:
    """One artifact of a trial.

    Attributes
    ----------
    name : str
        Its name, a relative path.
    size : int
        Bytes.
    digest : str or None
        BLAKE3 of the bytes, by which the backend keeps them once; None when the object could
        not be encoded, so that there are none.
    """

    def __init__(self, place: Place, document: Document) -> None:
        self._place = place
        self._backend = place.backend
        self._document = document
        self.name: str = document["name"]
        self.size: int = document.get("size", 0)
        self.digest: str | None = document.get("digest")

    @property
    def is_text(self) -> bool:
        """Whether it was saved as text, so that its bytes are UTF-8."""
        return bool(self._document.get("text"))

    def open(self) -> BinaryIO:
        """Open the bytes for reading; of an object those that encode it.

        They are not compared with their digest, as they are by the other methods.

        Raises
        ------
        ValueNotKeptError
            The object could not be encoded; the message says why.
        """
        self._check_kept()
        return self._backend.open(str(self.digest))

    def _check_kept(self) -> None:
        if "reason" in self._document:
            raise ValueNotKeptError(
                f"Artifact {self.name!r} was not kept: {self._document['reason']}"
            )

    def read(self) -> bytes:
        """All the bytes; PayloadError where they are not those that were saved."""
        self._check_kept()
        return payloads.fetch(self._backend, str(self.digest), f"artifact {self.name!r}")

    def load(self) -> Any:
        """The object that was saved; for a file or bytes, the bytes.

        Raises
        ------
        ValueNotKeptError
            The object could not be encoded; the message says why.
        UntrustedPayloadError
            It is a pickle without a valid signature, in a store that others may write to.
        """
        self._check_kept()
        if self._document.get("file"):
            return self.read()
        if self.is_text:
            return self.read().decode("utf-8", "surrogatepass")
        return self._place.load(_slot(self.name), self._document)

    def save(self, target: str | Path) -> Path:
        """Copy the bytes to a file; missing folders are made.

        Raises
        ------
        PayloadError
            The stored bytes are not those that were saved; there is then no file.
        """
        self._check_kept()
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        hasher = blake3()
        with self.open() as source, path.open("wb") as copy:
            while chunk := source.read(_CHUNK):
                hasher.update(chunk)
                copy.write(chunk)
        if hasher.hexdigest() != self.digest:
            path.unlink()
            raise payloads.changed(str(self.digest), f"artifact {self.name!r}")
        return path

    def __repr__(self) -> str:
        return f"Artifact({self.name!r}, {self.size} bytes)"


class ArtifactList(Mapping[str, Artifact]):
    """The artifacts of a trial by name, in the order in which they were saved."""

    def __init__(self, artifacts: Mapping[str, Artifact]) -> None:
        self._artifacts = dict(artifacts)

    def __getitem__(self, name: str) -> Artifact:
        try:
            return self._artifacts[name]
        except KeyError:
            known = ", ".join(self._artifacts) or "none"
            raise ArtifactNotFoundError(
                f"This trial has no artifact {name!r}; it has: {known}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._artifacts

    def __iter__(self) -> Iterator[str]:
        return iter(self._artifacts)

    def __len__(self) -> int:
        return len(self._artifacts)

    def __repr__(self) -> str:
        return f"ArtifactList({list(self._artifacts.values())})"

    def save(self, folder: str | Path) -> list[Path]:
        """Copy all artifacts into a folder; files of other names in it stay.

        Raises
        ------
        ValueNotKeptError
            One of them has no bytes, as it could not be encoded; nothing is copied then.
        """
        for name, artifact in self._artifacts.items():
            check_name(name)
            artifact._check_kept()
        return [
            artifact.save(Path(folder, *PurePosixPath(name).parts))
            for name, artifact in self._artifacts.items()
        ]


def _slot(name: str) -> Slot:
    return "artifacts", name


class Artifacts:
    """Artifacts of one trial."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.backend = place.backend
        self._path = paths.artifacts(place.experiment, place.uid)

    def saving(self, name: str, content: Any) -> list[Write]:
        """The writes that keep an artifact.

        Parameters
        ----------
        name : str
            Its name.
        content : path, bytes or object
            A path is a file (streamed) or a folder (each file in it becomes
            ``name/relative/path``), and text that names an existing file is that file; bytes,
            and other text in UTF-8, are kept as they are; any other object is encoded like a
            persisted value.
        """
        source = _source(content)
        if source is not None and source.is_dir():
            inside = sorted(path for path in source.rglob("*") if path.is_file())
            parts = [
                self.saving(check_name(f"{name}/{path.relative_to(source).as_posix()}"), path)
                for path in inside
            ]
            return [write for part in parts for write in part]
        if source is not None:
            self._save_file(name, source)
            return []
        document, writes = self._describe(name, content)
        return [*writes, self._entry(name, document)]

    def _entry(self, name: str, document: Document) -> Append:
        entry = {"name": name, "time": time.time(), **document}
        return Append(self._path, [entry])

    def _save_file(self, name: str, file: Path) -> None:
        """Keep a file at once: the digest comes from the same single pass over it."""
        size = file.stat().st_size  # a file that is missing is no trouble of the backend
        held = False
        while not held:
            digest = self.backend.put(file)
            entry = self._entry(name, {"file": True, "digest": digest, "size": size})
            try:
                self.backend.apply(*holding(digest), entry)
                held = True
            except ConflictError:  # another process has collected the same bytes in between
                continue

    def adopt(self, artifact: Artifact) -> None:
        """Keep an artifact of another trial of the same store, at once.

        Raises
        ------
        UntrustedPayloadError
            It is a pickle without a valid signature, in a store that others may write to.
        ConflictError
            Its bytes are gone.
        """
        slot, kept = _slot(artifact.name), artifact._document
        artifact._place.check(slot, kept)
        bare = {n: v for n, v in kept.items() if n not in ("signed", "name", "time")}
        entry = self._entry(artifact.name, self.place.sign(slot, bare))
        held = [] if artifact.digest is None else holding(artifact.digest)
        self.backend.apply(*held, entry)

    def _describe(self, name: str, content: Any) -> tuple[Document, list[Write]]:
        kind = type(content)
        if kind is bytes:
            return self._bytes(content, "file")
        if kind is str:
            return self._bytes(content.encode("utf-8", "surrogatepass"), "text")
        return self.place.keep(_slot(name), content, inline=False)

    def _bytes(self, data: bytes, kind: str) -> tuple[Document, list[Write]]:
        digest = blake3(data).hexdigest()
        return {kind: True, "digest": digest, "size": len(data)}, referring(digest, data)

    def read(self) -> ArtifactList:
        """The artifacts; of several saved under one name the last one."""
        entries = self.backend.read(self._path)
        entries.sort(key=lambda entry: entry["time"])  # files are written before what waits
        return ArtifactList({entry["name"]: Artifact(self.place, entry) for entry in entries})
