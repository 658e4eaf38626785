"""Bundles: one trial in one file, which anybody can check and run again.

A bundle is a ZIP archive: a store with that trial alone, its sources and its packages as text to be
read by people, and a manifest with the digest of every file.  The comment of the archive is the
digest of all bytes before it.  Reading a bundle unpickles nothing, and writes only below the folder
that is given.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from blake3 import blake3

from daskperiment.backends.local import LocalBackend
from daskperiment.errors import BundleError, PayloadError
from daskperiment.history.copying import copy_trials
from daskperiment.history.forgetting import forget
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.lineage.reproduce import Reproduction, reproduce
from daskperiment.serializers import preview
from daskperiment.tracking.environment import requirements
from daskperiment.typing import Document

FORMAT = 1
MANIFEST, PACKAGES, SOURCES, STORE = "manifest.json", "requirements.txt", "sources", "store"
_STAMP = (1980, 1, 1, 0, 0, 0)
"""Of all files in a bundle, so that equal ones have equal bytes."""
_MOST_BYTES = 64 << 30
_DIGEST = 64
_CHUNK = 1 << 20


class Manifest(NamedTuple):
    """What a bundle says of itself.

    Parameters
    ----------
    experiment, uid : str
        The experiment, and the trial.
    number : int
        Its number where it was recorded; in the bundle it is 1.
    python, system : str
        With what it was recorded.
    steps : tuple of str
        Names of its steps.
    files : dict of str to (str, int)
        Digest and bytes of each file, by its name.
    """

    experiment: str
    uid: str
    number: int
    python: str
    system: str
    steps: tuple[str, ...]
    files: dict[str, tuple[str, int]]


def bundle(trials: Trials, number: int, path: Path, with_data: bool = False) -> Manifest:
    """Write a trial to a file.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    number : int
        The trial.
    path : Path
        The file, which is replaced as a whole.
    with_data : bool
        Whether outputs that are kept and artifacts go with it; parameters and the result always do.

    Raises
    ------
    TrialIDNotFoundError
        There is no such trial.
    BackendError
        The store cannot be read.
    """
    trials.get(number)
    with tempfile.TemporaryDirectory(prefix="daskperiment-") as folder:
        place = Path(folder)
        with LocalBackend(str(place / STORE)) as store:
            copy_trials(trials.backend, store, trials.name, [number])
            copied = Trials(store, trials.name)
            if not with_data:
                _forget_data(copied)
            manifest = _write_texts(place, copied, number)
            store.compact()
        return _pack(place, manifest, path)


def _forget_data(trials: Trials) -> None:
    row = trials.get(1)
    names = {record.step for record in Steps(trials.backend, trials.name).read(row["uid"])
             if record.kept is not None}  # fmt: skip
    for part in ("artifacts", "output", "usage", "checkpoints", "reuse",
                 *(f"persisted.{name}" for name in sorted(names))):  # fmt: skip
        forget(trials.backend, trials.name, 1, part)


def _write_texts(place: Path, trials: Trials, number: int) -> Manifest:
    row, snapshots = trials.get(1), Snapshots(trials.backend)
    environment = snapshots.find(row.get("environment")) or {}
    (place / PACKAGES).write_text(requirements(environment) + "\n", encoding="utf-8")
    code = snapshots.find(row.get("code")) or {"sources": {}, "steps": []}
    folder = place / SOURCES
    folder.mkdir()
    for count, (name, digest) in enumerate(code["sources"].items()):
        try:
            text = snapshots.text(digest)
        except PayloadError:
            continue
        module = "".join(c if c.isalnum() or c in "._-" else "_" for c in name.partition(":")[0])
        file = folder / f"{count:03d}_{module[:80]}.py"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
    python = environment.get("python") or {}
    system = environment.get("platform") or {}
    return Manifest(
        trials.name, row["uid"], number, str(python.get("version")), str(system.get("platform")),
        tuple(str(step["name"]) for step in code["steps"]), {},
    )  # fmt: skip


def _pack(place: Path, manifest: Manifest, path: Path) -> Manifest:
    names = sorted(
        file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()
    )
    files = {name: _described(place / name) for name in names}
    manifest = manifest._replace(files=files)
    about = {"format": FORMAT, **manifest._asdict()}
    part = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST, _STAMP), json.dumps(about, indent=1))
        for name in names:
            info = zipfile.ZipInfo(name, _STAMP)
            info.compress_type = zipfile.ZIP_DEFLATED
            with (
                archive.open(info, "w", force_zip64=True) as target,
                (place / name).open("rb") as f,
            ):
                while chunk := f.read(_CHUNK):
                    target.write(chunk)
        archive.comment = b"0" * _DIGEST
    _seal(part)
    part.replace(path)
    return manifest


def _described(file: Path) -> tuple[str, int]:
    hasher = blake3()
    hasher.update_mmap(file)
    return hasher.hexdigest(), file.stat().st_size


def _seal(path: Path) -> None:
    """Put the digest of all bytes before it at the end, where the comment is."""
    with path.open("r+b") as file:
        file.seek(-_DIGEST, 2)
        end = file.tell()
        file.write(_until(path, end).encode())


def _until(path: Path, end: int) -> str:
    hasher = blake3()
    with path.open("rb") as file:
        left = end
        while left and (chunk := file.read(min(left, _CHUNK))):
            hasher.update(chunk)
            left -= len(chunk)
    return hasher.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[tuple[Manifest, Path]]:
    """A bundle that was checked: its manifest, and a folder with its files while the block lasts.

    Raises
    ------
    BundleError
        It is none, is of a newer format, or a byte of it was changed.
    """
    manifest = check(path)
    with tempfile.TemporaryDirectory(prefix="daskperiment-") as folder:
        place = Path(folder)
        with zipfile.ZipFile(path) as archive:
            for name, (digest, size) in manifest.files.items():
                _extract(archive, name, place, digest, size)
        yield manifest, place


def check(path: Path) -> Manifest:
    """Compare all bytes of a bundle with its seal, and read its manifest; errors as `opened`."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _DIGEST))
            seal = file.read().decode("ascii", "replace")
        if size <= _DIGEST or _until(path, size - _DIGEST) != seal:
            raise BundleError(
                f"{path} is no bundle, or was changed: its bytes are not those of its seal"
            )
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(MANIFEST))
            return _read(about, archive)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path} is no bundle: {type(error).__name__}: {error}") from error


def _read(about: Any, archive: zipfile.ZipFile) -> Manifest:
    if about["format"] != FORMAT:
        raise BundleError(
            f"The bundle is of format {preview(about['format'], 20)}, and this version reads "
            f"{FORMAT}: update daskperiment"
        )
    files = {str(name): (str(digest), int(size)) for name, (digest, size) in about["files"].items()}
    there = {info.filename: info.file_size for info in archive.infolist()}
    if there.keys() != {MANIFEST, *files} or len(there) != len(archive.infolist()):
        raise BundleError("The files of the bundle are not those of its manifest")
    for name, (_, size) in files.items():
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
            raise BundleError(
                f"The bundle has a file that would lie elsewhere: {preview(name, 80)}"
            )
        if there[name] != size:
            raise BundleError(f"The size of {preview(name, 80)} is not that of the manifest")
    if sum(size for _, size in files.values()) > _MOST_BYTES:
        raise BundleError("The bundle is larger than 64 GiB")
    return Manifest(
        str(about["experiment"]), str(about["uid"]), int(about["number"]), str(about["python"]),
        str(about["system"]), tuple(map(str, about["steps"])), files,
    )  # fmt: skip


def _extract(archive: zipfile.ZipFile, name: str, place: Path, digest: str, size: int) -> None:
    target = place.joinpath(*PurePosixPath(name).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    hasher, left = blake3(), size
    with archive.open(name) as source, target.open("wb") as file:
        while left and (chunk := source.read(min(left, _CHUNK))):
            hasher.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    if left or hasher.hexdigest() != digest:
        raise BundleError(
            f"{preview(name, 80)} was changed: its bytes are not those of the manifest"
        )


class Verification(NamedTuple):
    """What came of checking a bundle and running it again.

    Parameters
    ----------
    manifest : Manifest
        What it says of itself.
    reproduction : Reproduction
        What running it again gave.
    """

    manifest: Manifest
    reproduction: Reproduction

    def document(self) -> Document:
        """The same as JSON."""
        about = self.manifest._asdict()
        del about["files"]
        return {"bundle": {**about, "steps": list(self.manifest.steps)},
                **self.reproduction.document()}  # fmt: skip

    def markdown(self) -> str:
        """A report for people."""
        head = f"# Trial {self.manifest.number} of {self.manifest.experiment}"
        lines = [head, "", f"Verdict: **{self.reproduction.match}**", ""]
        if self.reproduction.reason:
            lines += [self.reproduction.reason, ""]
        lines += ["| step | call | match | largest difference | recorded | now |",
                  "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
        for each in self.reproduction.calls:
            apart = "" if each.max_abs_err is None else f"{each.max_abs_err:.3g}"
            cells = each.step, each.call, each.match, apart, each.recorded, each.now
            lines.append(f"| {' | '.join(map(str, cells))} |")
        if self.reproduction.differences:
            lines += ["", "Not as it was:", ""]
            lines += [f"- {change}" for change in self.reproduction.differences]
        return "\n".join([*lines, ""])


def verify(path: Path, env: str | None = None) -> Verification:
    """Check a bundle and run it again.

    Parameters
    ----------
    path : Path
        The bundle.
    env : {"uv"}, optional
        As for :func:`~daskperiment.lineage.reproduce.reproduce`.

    Raises
    ------
    BundleError
        As for :func:`opened`.
    OptionError
        As for :func:`~daskperiment.lineage.reproduce.reproduce`.
    """
    with opened(path) as (manifest, folder), LocalBackend(str(folder / STORE)) as store:
        trials = Trials(store, manifest.experiment)
        return Verification(manifest, reproduce(trials, 1, env=env))
