"""Power failures: what was not synced when they came is lost, torn or kept, as it happens.

A run is traced with all that it writes.  For a moment of it, an image of the disk is made:

- what was written to a file before its last sync is there;
- each later write is there, is not, or only its first sectors are;
- names (create, link, rename, unlink) are kept in order, as journaling file systems do; at
  least those up to the last sync of a directory that they are in.

The log of acknowledgements is in the trace too, so it is known what was promised by then.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture import tracing
from tests.torture.harness import Outcome, check, fork_server, scenario

SECTOR = 512
SCRIPT = {"worker": "power", "shape": "mixed", "seed": 7, "trials": 6, "size": 100 * 1024}
_TRACED = (
    "pwrite64", "write", "writev", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "link",
    "mkdir", "openat",
)  # fmt: skip
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)(?:<(.*)>)?$")
_DESCRIPTOR = re.compile(r"(\d+)<([^>]*)>")
_TEXT = re.compile(r'"([^"]*)"')


@dataclass
class Change:
    """A change of a file's content: bytes at a place, or a new length."""

    inode: int
    offset: int
    data: bytes | None
    at: int
    synced: int | None = None


@dataclass
class Naming:
    """A change of names: a name gets a file, is a directory or goes."""

    path: str
    inode: int | None
    at: int
    gone: str | None = None


@dataclass
class Disk:
    """All that a traced run did to its disk, in order."""

    store: str
    log: str
    changes: list[Change] = field(default_factory=list)
    names: list[Naming] = field(default_factory=list)
    acks: list[int] = field(default_factory=list)
    synced_names: list[tuple[int, int]] = field(default_factory=list)
    end: int = 0
    _now: dict[str, int] = field(default_factory=dict)
    _places: dict[tuple[str, str], int] = field(default_factory=dict)
    _inodes: int = 0

    def do(self, at: int, call: str, rest: str, number: str, opened: str | None) -> None:
        """Take in a system call that has succeeded."""
        self.end = at
        texts = _TEXT.findall(rest)
        found = _DESCRIPTOR.match(rest)
        path = _plain(found[2]) if found else ""
        if call == "openat":
            self._open(at, rest, number, _plain(opened or ""))
        elif call == "writev":
            self.acks += [at] * (path == self.log)
        elif call in ("rename", "link", "unlink", "mkdir"):
            self._name(at, call, *map(_plain, texts))
        elif call in ("fsync", "fdatasync"):
            self._sync(at, path)
        elif found and path in self._now:
            self._write(at, call, found[1], path, rest)

    def _open(self, at: int, rest: str, number: str, path: str) -> None:
        if not path.startswith(self.store):
            return
        self._places[number, path] = 0
        if "O_CREAT" in rest and path not in self._now:
            self._inodes += 1
            self._now[path] = self._inodes
            self.names.append(Naming(path, self._inodes, at))
        elif "O_TRUNC" in rest:
            self.changes.append(Change(self._now[path], 0, None, at))

    def _name(self, at: int, call: str, path: str, new: str = "") -> None:
        if not (new or path).startswith(self.store):
            return
        if call == "mkdir":
            self.names.append(Naming(path, None, at))
        elif call == "unlink":
            self._now.pop(path, None)
            self.names.append(Naming("", None, at, gone=path))
        else:
            self._now[new] = self._now[path] if call == "link" else self._now.pop(path)
            gone = path if call == "rename" else None
            self.names.append(Naming(new, self._now[new], at, gone))

    def _sync(self, at: int, path: str) -> None:
        if path in self._now:
            for change in self.changes:
                if change.inode == self._now[path] and change.synced is None:
                    change.synced = at
            return
        inside = [
            number
            for number, naming in enumerate(self.names, 1)
            if path in (_parent(naming.path), _parent(naming.gone or ""))
        ]
        if inside:
            self.synced_names.append((at, inside[-1]))

    def _write(self, at: int, call: str, number: str, path: str, rest: str) -> None:
        inode = self._now[path]
        if call == "ftruncate":
            self.changes.append(Change(inode, int(rest.rsplit(", ", 1)[1]), None, at))
            return
        found = _TEXT.search(rest)
        assert found
        data = _bytes(found[1])
        offset = int(rest.rsplit(", ", 1)[1]) if call == "pwrite64" else self._places[number, path]
        if call == "write":
            self._places[number, path] += len(data)
        self.changes.append(Change(inode, offset, data, at))

    def image(self, at: int, chance: random.Random, folder: Path) -> int:
        """Make what a power failure at a moment leaves, and return how many writes it hit."""
        names = self._names(at, chance)
        contents: dict[int, bytearray] = {inode: bytearray() for inode in names.values() if inode}
        keeps, hit = chance.choice([0.0, 0.5, 0.9]), 0
        for change in self.changes:
            if change.at >= at or change.inode not in contents:
                continue
            share = 1.0
            if change.synced is None or change.synced >= at:
                share = 1.0 if chance.random() < keeps else chance.choice([0.0, 0.0, 0.5])
            hit += share < 1
            _apply(contents[change.inode], change, share)
        for path, inode in names.items():
            place = folder / Path(path).relative_to(self.store)
            if inode is None:
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(contents[inode])
        return hit

    def _names(self, at: int, chance: random.Random) -> dict[str, int | None]:
        least = max([count for moment, count in self.synced_names if moment < at], default=0)
        most = sum(naming.at < at for naming in self.names)
        names: dict[str, int | None] = {}
        for naming in self.names[: chance.randint(least, most)]:
            if naming.gone:
                names.pop(naming.gone, None)
            if naming.path:
                names[naming.path] = naming.inode
        return names


def _apply(content: bytearray, change: Change, share: float) -> None:
    if change.data is None:
        if share == 1:
            kept = content[: change.offset]
            content[:] = kept + bytes(change.offset - len(kept))
        return
    torn = int(len(change.data) * share) // SECTOR * SECTOR
    data = change.data if share == 1 else change.data[:torn]
    if data:
        content += bytes(max(0, change.offset - len(content)))
        content[change.offset : change.offset + len(data)] = data


def read(trace: Path, store: str, log: str) -> Disk:
    """What a traced run did."""
    disk = Disk(store, log)
    for at, line in enumerate(_lines(trace)):
        if found := _LINE.match(line):
            disk.do(at, *found.groups()[1:])
    return disk


def _lines(trace: Path) -> Iterator[str]:
    """Lines of a trace; a call that another thread has interrupted counts when it ends."""
    unfinished: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            unfinished[pid] = line.removesuffix("<unfinished ...>").rstrip()
        elif " resumed>" in line:
            yield unfinished.pop(pid, "") + line.split(" resumed>", 1)[1]
        else:
            yield line


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _plain(text: str) -> str:
    return _bytes(text.removesuffix("(deleted)")).decode() if "\\x" in text else text


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


@scenario(
    "F13",
    "power failures: writes that were not synced are lost or torn",
    plants=("rename-before-fsync", "power-is-process"),
    short={"images": 20},
    long={"images": 250},
    planted={"images": 200},
)
def power_failures(seed: int, folder: Path, plant: str | None, *, images: int) -> Outcome:
    """Images of a run at durability "power", where promises hold, and of one at "process"."""
    outcome, chance = Outcome("F13", seed), random.Random(seed)
    for durability in ("power", "process"):
        place = folder / durability
        place.mkdir()
        script: dict[str, Any] = {
            **SCRIPT, "store": str(place / "store"), "log": str(place / "log"),
            "durability": durability, "plant": plant,
        }  # fmt: skip
        try:
            disk = _traced(script, place)
        except tracing.RefusedError as refused:
            outcome.not_run = str(refused)
            return outcome
        for number in range(images):
            _fail(outcome, disk, place / str(number), durability, chance)
    return outcome


def _traced(script: dict[str, Any], place: Path) -> Disk:
    options = ["-y", "-xx", "-s", "99999999", "-e", f"trace={','.join(_TRACED)}"]
    with fork_server() as server:
        tracing.traced(server, script, options, place / "trace")
    return read(place / "trace", script["store"], script["log"])


def _fail(
    outcome: Outcome, disk: Disk, image: Path, durability: str, chance: random.Random
) -> None:
    at = chance.randrange(disk.acks[0], disk.end + 2)
    hit = disk.image(at, chance, image)
    lines = Path(disk.log).read_text().splitlines()[: sum(ack < at for ack in disk.acks)]
    if durability == "process":  # what was intended may be there; nothing was promised
        lines = [line for line in lines if '"intent"' in line]
    log = image.with_suffix(".log")
    log.write_text("".join(f"{line}\n" for line in lines))
    outcome.rounds += 1
    outcome.faults += hit > 0
    outcome.count("writes lost or torn", hit)
    outcome.count("acked", sum('"ack"' in line for line in lines))
    outcome.add(f"{durability} image {image.name} at {at}", check(image, [log]))
