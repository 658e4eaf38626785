"""Salvage: every undamaged document, log entry and payload of a damaged local store, anew.

The rows are read from the file's pages, see :mod:`daskperiment.backends.pages`.  A row
counts as undamaged when its checksum says so, which covers its path and key; a payload
when its bytes have its digest.  What does not is named, and not copied.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from blake3 import blake3

from daskperiment.backends import pages, rows, tables
from daskperiment.backends.base import Append, Insert, Put, Remove, Write
from daskperiment.backends.documents import decode
from daskperiment.backends.files import CHUNK, is_digest
from daskperiment.backends.local import LocalBackend
from daskperiment.errors import BackendURIError, DaskperimentError
from daskperiment.typing import Key

_CRC_BYTES = 4
_GROUP = 500
_SHOWN = "backslashreplace"
"""How bytes are shown that are damaged."""

RawKey: TypeAlias = bytes | int


@dataclass
class Salvaged:
    """What was copied, and what was not.

    Attributes
    ----------
    documents, entries, payloads : int
        How many were copied.
    lost : list of str
        A line for each thing that is known to be lost.
    """

    documents: int = 0
    entries: int = 0
    payloads: int = 0
    lost: list[str] = field(default_factory=list)


def salvage(source: Path, target: Path) -> Salvaged:
    """Copy what is undamaged of a local store into a new one.

    Parameters
    ----------
    source : Path
        Folder of the damaged store, which is only read; nobody may write to it meanwhile.
    target : Path
        Folder of the new store; it must be empty or absent.

    Returns
    -------
    Salvaged
        What was copied, and what is known to be lost.

    Raises
    ------
    BackendURIError
        If there is no store at ``source``, or something at ``target``.
    BackendError
        If ``target`` cannot be written.

    Notes
    -----
    Entries that follow lost ones of the same log move up.  The new store has an id of its own.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with LocalBackend(folder / "store") as backend:
    ...     backend.insert("x/trials", {"state": "COMPLETE"})
    1
    >>> salvage(folder / "store", folder / "new")
    Salvaged(documents=1, entries=0, payloads=0, lost=[])
    """
    file = source / "store.sqlite"
    if not file.is_file() and not (source / "blobs").is_dir():
        raise BackendURIError(f"there is no store at {source}: name the folder that holds it")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackendURIError(f"there is something at {target}: name a folder that is new")
    done = Salvaged()
    with LocalBackend(target) as backend:
        _Salvage(source, backend, done).run()
    return done


class _Salvage:
    """One pass over a store's pages, and what it found."""

    def __init__(self, source: Path, target: LocalBackend, done: Salvaged) -> None:
        self.source = source
        self.target = target
        self.done = done
        self.paths: dict[int, set[bytes]] = {}
        self.samples: dict[int, list[bytes]] = {}
        self.documents: dict[tuple[int, RawKey], list[bytes | None]] = {}
        self.batches: dict[tuple[int, bytes, int], list[bytes | None]] = {}
        self.copied: dict[str, set[RawKey]] = {}
        self.changed: dict[str, set[RawKey]] = {}
        self.indexed: dict[tuple[Any, ...], int] = {}
        self.unsure: list[tuple[int, str, bytes]] = []
        self.rowids: dict[int, tuple[tuple[int, bytes, int], bytes]] = {}
        self.digests: set[str] = set()
        self.waiting: list[Write] = []

    def run(self) -> None:
        """Copy everything."""
        file = self.source / "store.sqlite"
        _ = self.target.store_id
        if file.is_file():
            if not pages.has_header(file):
                self.done.lost.append("the header of store.sqlite, which tells how much there was")
            if cut := pages.cut_off(file):
                self.done.lost.append(f"the last {cut} pages of store.sqlite: they are cut off")
            for row in pages.rows(file):
                self._take(row)
        else:
            self.done.lost.append("the database: there is no store.sqlite")
        self._ask_indexes()
        self._write_documents()
        self._write_logs()
        self._write_files()
        self._commit()
        self._name_missing()

    # -- what a row is, by its shape

    def _take(self, row: pages.Row) -> None:
        match row.values, row.rowid:
            case None, _:
                self.done.lost.append(f"a row on page {row.page} of store.sqlite")
            case (int(path), (int() | bytes()) as key, (None | bytes()) as packed), None:
                self.documents.setdefault((path, key), []).append(packed)
            case (int(path), bytes(name), int(length), bytes(packed)), int(rowid):
                self.rowids[rowid] = (path, name, length), packed
            case (_, _, _, bytes(packed)), int(rowid):  # an index may know the rest
                self.rowids[rowid] = (-1, b"", 0), packed
            case (int(path), bytes(name), int(length), int(rowid)), None:
                self.indexed[path, name, length] = rowid
            case (str(digest), bytes(data)), int(rowid):
                self._take_payload(rowid, digest, data)
            case (str(digest), int(rowid)), None if is_digest(digest):
                self.indexed[digest,] = rowid
            case (None, bytes(path)), int(number):
                self.paths.setdefault(number, set()).add(path)
            case (bytes(path), int(number)), None:
                self.paths.setdefault(number, set()).add(path)
            case (((None, int(), bytes(text), int(crc)) | (None, bytes(text), int(crc))), int(n)):
                if zlib.crc32(text) == crc:
                    self.samples.setdefault(n, []).append(text)

    def _take_payload(self, rowid: int, digest: str, data: bytes) -> None:
        if blake3(data).hexdigest() != digest:
            self.unsure.append((rowid, digest, data))
        elif digest not in self.digests:
            self.digests.add(digest)
            self.done.payloads += 1
            self._write(Put(data))

    def _ask_indexes(self) -> None:
        """Let the indexes say where rows belong whose own columns are damaged."""
        for rowid, digest, data in self.unsure:
            actual = blake3(data).hexdigest()
            if self.indexed.get((actual,)) == rowid:
                self._take_payload(rowid, actual, data)
            else:
                self.done.lost.append(f"payload {digest}: its bytes were changed")
        known = {rowid: key for key, rowid in self.indexed.items() if len(key) == 3}
        for rowid, (place, packed) in self.rowids.items():
            other = known.get(rowid, place)
            if other != place and not self._is_sound(place, packed):
                place = other[0], other[1], other[2]
            self.batches.setdefault(place, []).append(packed)

    def _is_sound(self, place: tuple[int, bytes, int], packed: bytes) -> bool:
        folder, _ = self._unpacked(place[0], place[1:], [packed])
        # The checksum may fit another path: then this place is that of another row.
        named = self.paths.get(place[0], ())
        return folder is not None and folder.encode("utf-8", "surrogatepass") in named

    # -- what is written

    def _write_documents(self) -> None:
        for (number, key), candidates in self.documents.items():
            path, text = self._unpacked(number, (key,), candidates)
            shown = key if isinstance(key, int) else _text(key, "surrogatepass" if path else _SHOWN)
            if path is None:
                at = _shown(self.paths.get(number, ()))
                self.changed.setdefault(at, set()).add(key)
                self.done.lost.append(f"document {shown!r} at {at!r}: it was changed")
            elif key not in self.copied.setdefault(path, set()):
                self.copied[path].add(key)
                self._write_document(path, shown, text)

    def _write_document(self, path: str, key: Key, text: str | None) -> None:
        if text is not None:
            what = f"document {key!r} at {path!r}"
            self.done.documents += self._fits(what, Insert, path, text, key)
        elif isinstance(key, int):  # it was removed, and its number is not given again
            self._write(Insert(path, {}, key), Remove(path, key))

    def _write_logs(self) -> None:
        logs: dict[tuple[int, bytes], dict[int, list[bytes | None]]] = {}
        for (number, name, length), candidates in self.batches.items():
            logs.setdefault((number, name), {})[length] = candidates
        for (number, name), batches in logs.items():
            self._write_log(number, name, dict(sorted(batches.items())))

    def _write_log(self, number: int, name: bytes, batches: dict[int, list[bytes | None]]) -> None:
        reached = 0
        shown = _shown(self.paths.get(number, ())) + _name(name)
        for length, candidates in batches.items():
            folder, text = self._unpacked(number, (name, length), candidates)
            if folder is None or text is None:
                continue  # the next one tells of the hole before it
            entries = decode(text)
            shown = folder + _name(name)
            if self._fits(f"entries up to {length} of log {shown!r}", Append, shown, text):
                self._tell_hole(shown, reached, length - len(entries))
                self.done.entries += len(entries)
                reached = length
        self._tell_hole(shown, reached, max(batches))

    def _tell_hole(self, log: str, reached: int, begins: int) -> None:
        if begins > reached:
            self.done.lost.append(f"entries {reached + 1} to {begins} of log {log!r}")

    def _fits(self, what: str, kind: Any, path: str, text: str, *key: Any) -> bool:
        try:
            self._write(kind(path, decode(text), *key))
        except (DaskperimentError, ValueError) as error:
            self.done.lost.append(f"{what}: {error}")
            return False
        return True

    def _write_files(self) -> None:
        for file in sorted((self.source / "blobs").glob("??/*")):
            try:
                with file.open("rb") as stream:
                    hasher = blake3()
                    while chunk := stream.read(CHUNK):
                        hasher.update(chunk)
            except OSError as error:
                self.done.lost.append(f"payload {file.name}: {error}")
                continue
            if hasher.hexdigest() != file.name:
                self.done.lost.append(f"payload {file.name}: its bytes were changed")
            elif file.name not in self.digests:
                self.digests.add(file.name)
                self.done.payloads += 1
                self._write(Put(file))

    def _write(self, *writes: Write) -> None:
        self.waiting += writes
        if len(self.waiting) >= _GROUP:
            self._commit()

    def _commit(self) -> None:
        self.target.apply(*self.waiting)
        self.waiting.clear()

    # -- what the checksums say

    def _unpacked(
        self, number: int, key: tuple[RawKey, ...], candidates: list[bytes | None]
    ) -> tuple[str | None, str | None]:
        """Path and text of a row; no path where no known one fits the checksum."""
        named = self.paths.get(number, set())
        for packed in filter(None, candidates):
            crc = int.from_bytes(packed[-_CRC_BYTES:])
            for text in self._texts(packed):
                for path in self._candidates(named):
                    if zlib.crc32(text, tables.place(path, *key)) == crc:
                        return _text(path), _text(text)
        return (_text(next(iter(named)), _SHOWN) if named and None in candidates else None), None

    def _candidates(self, named: set[bytes]) -> Iterator[bytes]:
        # A number that is damaged, or whose path is: the checksum knows which one it was.
        yield from named
        for others in self.paths.values():
            yield from others - named

    def _texts(self, packed: bytes) -> Iterator[bytes]:
        number, body = int.from_bytes(packed[:2]), packed[2:-_CRC_BYTES]
        if not number:
            yield body
        for text in self.samples.get(number, ()):
            try:
                yield rows.sample(number, text).inflate(body)
            except zlib.error:
                continue

    def _name_missing(self) -> None:
        """Name what must have been there: numbers below the highest, what an index knows."""
        for path, keys in self.copied.items():
            numbers = {key for key in keys if isinstance(key, int)}
            named = numbers | self.changed.get(path, set())
            for key in range(1, max(numbers, default=0)):
                if key not in named:
                    self.done.lost.append(f"document {key} at {path!r}")
        for each in self.indexed:
            if len(each) == 1 and each[0] not in self.digests:
                self.done.lost.append(f"payload {each[0]}")
            elif len(each) == 3 and each not in self.batches:
                at = _shown(self.paths.get(each[0], ())) + _name(each[1])
                self.done.lost.append(f"entries up to {each[2]} of log {at!r}")


def _text(raw: bytes, errors: str = "surrogatepass") -> str:
    return raw.decode("utf-8", errors)


def _name(packed: bytes) -> str:
    try:
        return tables.unpack_name(packed)
    except UnicodeDecodeError:
        return _text(packed, _SHOWN)


def _shown(paths: set[bytes] | tuple[()]) -> str:
    return next((path.decode("utf-8", "replace") for path in paths), "an unknown path")
