"""Artifacts: named files and values kept with a trial."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from daskperiment.backends.base import Append, Backend, Put, Write
from daskperiment.errors import ArtifactNotFoundError, InvalidNameError
from daskperiment.history import paths, payloads
from daskperiment.typing import Document

_NAME_LENGTH = 250


def check_name(name: object) -> str:
    """Return an artifact name, or raise InvalidNameError.

    A name is a relative path with ``/``: printable, up to 250 characters, without empty
    parts, ``.``, ``..``, backslash or colon, so that it can never leave a folder it is
    saved to, on any system.

    Examples
    --------
    >>> check_name("plots/roc.png")
    'plots/roc.png'
    """
    if (
        isinstance(name, str)
        and 0 < len(name) <= _NAME_LENGTH
        and name.isprintable()
        and not set(name) & set('\\:*?"<>|')
        and all(part.strip(". ") for part in name.split("/"))
        and not any(part.endswith((".", " ")) for part in name.split("/"))
    ):
        return name
    raise InvalidNameError(
        f"Artifact name must be a relative path such as 'plots/roc.png', without '..' and "
        f'without \\ : * ? " < > |, not {str(name)[:80]!r}'
    )


class Artifact:
    """One artifact of a trial.

    Attributes
    ----------
    name : str
        Its name, a relative path.
    size : int
        Bytes.
    digest : str
        BLAKE3 of the bytes, by which the backend keeps them once.
    """

    def __init__(self, backend: Backend, document: Document) -> None:
        self._backend = backend
        self._document = document
        self.name: str = document["name"]
        self.size: int = document.get("size", 0)
        self.digest: str | None = document.get("digest")

    def open(self) -> BinaryIO:
        """Open the bytes for reading."""
        if self.digest is None:
            return io.BytesIO(str(payloads.load(self._backend, self._document)).encode())
        return self._backend.open(self.digest)

    def read(self) -> bytes:
        """All the bytes."""
        with self.open() as stream:
            return stream.read()

    def load(self) -> Any:
        """The object that was saved; for a file or bytes, the bytes."""
        if self._document.get("file"):
            return self.read()
        return payloads.load(self._backend, self._document)

    def save(self, target: str | Path) -> Path:
        """Copy the bytes to a file; missing folders are made."""
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.open() as source, path.open("wb") as copy:
            shutil.copyfileobj(source, copy)
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
            raise ArtifactNotFoundError(f"There is no artifact {name!r}; saved: {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._artifacts

    def __iter__(self) -> Iterator[str]:
        return iter(self._artifacts)

    def __len__(self) -> int:
        return len(self._artifacts)

    def __repr__(self) -> str:
        return f"ArtifactList({list(self._artifacts.values())})"

    def save(self, folder: str | Path) -> list[Path]:
        """Copy all artifacts into a folder; files of other names in it stay."""
        checked = {check_name(name): artifact for name, artifact in self._artifacts.items()}
        return [
            artifact.save(Path(folder, *PurePosixPath(name).parts))
            for name, artifact in checked.items()
        ]


class Artifacts:
    """Artifacts of one experiment's trials."""

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name

    def saving(self, uid: str, name: str, content: Any) -> list[Write]:
        """The writes that keep an artifact.

        Parameters
        ----------
        uid, name : str
            The trial, and the artifact's name.
        content : path, bytes or object
            A path is a file (streamed) or a folder (each file in it becomes
            ``name/relative/path``); any other object is encoded like a persisted value.
        """
        if isinstance(content, Path) and content.is_dir():
            inside = sorted(path for path in content.rglob("*") if path.is_file())
            parts = [
                self.saving(uid, check_name(f"{name}/{path.relative_to(content).as_posix()}"), path)
                for path in inside
            ]
            return [write for part in parts for write in part]
        document, writes = self._describe(content)
        entry = {"name": name, "time": time.time(), **document}
        return [*writes, Append(paths.artifacts(self.name, uid), [entry])]

    def _describe(self, content: Any) -> tuple[Document, list[Put]]:
        if isinstance(content, Path):
            # Kept at once: the digest comes from the same single pass over the file.
            digest = self.backend.put(content)
            return {"file": True, "digest": digest, "size": content.stat().st_size}, []
        if isinstance(content, bytes):
            digest = self.backend.put(content)
            return {"file": True, "digest": digest, "size": len(content)}, []
        return payloads.keep(content)

    def read(self, uid: str) -> ArtifactList:
        """Artifacts of a trial; of several saved under one name the last one."""
        entries = self.backend.read(paths.artifacts(self.name, uid))
        return ArtifactList({entry["name"]: Artifact(self.backend, entry) for entry in entries})
