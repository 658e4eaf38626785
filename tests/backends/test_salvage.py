"""Salvage: what is undamaged of a damaged store is in the new one, and the rest is named."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from daskperiment.backends import Append, Insert, Put, Remove
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.salvage import salvage
from daskperiment.cli.main import run
from daskperiment.errors import BackendURIError

LARGE = b"0123456789abcdef" * 10_000
MIDDLE = [bytes([65 + n]) * 9000 for n in range(20)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("salvage") / "store"
    draw = random.Random(1)
    with LocalBackend(place) as backend:
        for n in range(300):
            text = "".join(draw.choice("abcdefgh") for _ in range(40))
            backend.apply(
                Insert("experiment/e/trials", {"state": "COMPLETE", "n": n, "text": text * 3}),
                Append(f"experiment/e/steps/{n % 40:032x}", [{"n": n, "text": text}]),
            )
        backend.insert("experiment/e/trials", {"long": "".join(map(str, range(9000)))})
        backend.apply(Insert("removed", {}), Insert("removed", {}), Remove("removed", 2))
        for data in (*MIDDLE, LARGE):
            backend.apply(Put(data))
    return place


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "damaged"))


def everything(place: Path) -> dict[str, Any]:
    """All that a store holds, by what it is."""
    with LocalBackend(place) as backend:
        logs = {f"{n:032x}": backend.read(f"experiment/e/steps/{n:032x}") for n in range(40)}
        return {
            **{f"trial {n}": row for n, row in backend.find("experiment/e/trials")},
            **{f"entry {e['n']}": e for log in logs.values() for e in log},  # type: ignore[call-overload,index]
            **{digest: backend.fetch(digest) for digest, _ in backend.blobs()},
        }


def damage(store: Path, change: Callable[[bytearray], object]) -> None:
    file = store / "store.sqlite"
    content = bytearray(file.read_bytes())
    change(content)
    file.write_bytes(content)


def lost(store: Path, most: int) -> list[str]:
    """Salvage a store; at most so many things are lost, each is told, and none is changed."""
    done = salvage(store, store.parent / "new")
    before, after = everything(ORIGINAL[0]), everything(store.parent / "new")
    missing = before.keys() - after.keys()
    assert all(after[name] == before[name] for name in after)
    assert len(missing) <= most
    assert bool(done.lost) >= bool(missing)
    return done.lost


ORIGINAL: list[Path] = []


@pytest.fixture(autouse=True)
def known(original: Path) -> None:
    ORIGINAL[:] = [original]


def test_a_sound_store_is_copied_whole(store: Path) -> None:
    assert lost(store, 0) == []
    with LocalBackend(store.parent / "new") as backend:
        assert backend.insert("removed", {}) == 3
        assert backend.get("removed", 2) is None


def test_what_is_in_the_log_only_is_copied(original: Path, tmp_path: Path) -> None:
    store = tmp_path / "damaged"
    store.mkdir()
    with LocalBackend(tmp_path / "live") as backend:
        backend.insert("x", {"n": 1})
        backend.insert("x", {"n": 2})
        for name in ("store.sqlite", "store.sqlite-wal"):
            shutil.copy(tmp_path / "live" / name, store)
        assert (store / "store.sqlite-wal").stat().st_size > 4096

    done = salvage(store, tmp_path / "new")

    assert (done.documents, done.lost) == (2, [])


def test_a_torn_log_is_copied_up_to_its_last_whole_group(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    with LocalBackend(tmp_path / "live") as backend:
        for n in range(20):
            backend.insert("x", {"n": n})
        for name in ("store.sqlite", "store.sqlite-wal"):
            shutil.copy(tmp_path / "live" / name, tmp_path / "damaged")
    log = tmp_path / "damaged" / "store.sqlite-wal"
    log.write_bytes(log.read_bytes()[:-5000])

    done = salvage(tmp_path / "damaged", tmp_path / "new")

    with LocalBackend(tmp_path / "damaged") as backend:
        assert 15 < len(list(backend.find("x"))) == done.documents < 20


def test_a_header_that_is_destroyed_loses_nothing(store: Path) -> None:
    damage(store, lambda content: content.__setitem__(slice(0, 100), b"\xff" * 100))

    lost(store, 0)


def test_pages_above_the_rows_that_are_destroyed_lose_no_rows_of_tables(store: Path) -> None:
    def destroy(content: bytearray) -> None:
        for at in range(4096, len(content), 4096):
            if content[at] == 5:
                content[at : at + 4096] = b"\xff" * 4096

    damage(store, destroy)

    lost(store, 0)


def test_the_schema_that_is_destroyed_loses_nothing(store: Path) -> None:
    damage(store, lambda content: content.__setitem__(slice(100, 4096), b"\0" * 3996))

    lost(store, 0)


@pytest.mark.parametrize("seed", range(15))
def test_a_changed_bit_loses_one_thing_at_most(store: Path, seed: int) -> None:
    def flip(content: bytearray) -> None:
        content[random.Random(seed).randrange(len(content))] ^= 1 << seed % 8

    damage(store, flip)

    lost(store, 1)


@pytest.mark.parametrize("occurrence", [0, 1])
def test_a_digest_that_is_no_text_any_more_loses_nothing(store: Path, occurrence: int) -> None:
    digest = blake3(MIDDLE[3]).hexdigest().encode()

    def flip(content: bytearray) -> None:
        at = -1
        for _ in range(occurrence + 1):  # in its row, and in the index
            at = content.index(digest, at + 1)
        content[at + 20] ^= 0x80

    damage(store, flip)

    assert lost(store, 0) == []


@pytest.mark.parametrize("occurrence", [0, 1])
def test_a_row_that_seems_to_lie_in_the_place_of_another_is_not_lost(
    tmp_path: Path, occurrence: int
) -> None:
    name, store = "ab" * 16, tmp_path / "store"
    with LocalBackend(store) as backend:
        for n in range(4):
            backend.append(f"log{n}/{name}", [n])
    with closing(sqlite3.connect(store / "store.sqlite")) as connection:
        numbers = dict(connection.execute("SELECT trim(CAST(path AS TEXT), '/'), id FROM paths"))

    def move(content: bytearray) -> None:
        before, at = bytes([numbers["log2"]]) + bytes.fromhex(name), -1
        for _ in range(occurrence + 1):  # in its row, and in the index
            at = content.index(before, at + 1)
        content[at] = numbers["log3"]

    damage(store, move)
    salvage(store, tmp_path / "new")

    with LocalBackend(tmp_path / "new") as backend:
        assert [backend.read(f"log{n}/{name}") for n in range(4)] == [[0], [1], [2], [3]]


def test_a_page_that_is_destroyed_loses_its_rows_and_they_are_named(store: Path) -> None:
    def destroy(content: bytearray) -> None:
        leaf = [at for at in range(4096, len(content), 4096) if content[at] == 10][3]
        content[leaf : leaf + 4096] = b"\xff" * 4096

    damage(store, destroy)

    assert lost(store, 60)


def test_a_file_that_is_cut_off_says_so(store: Path) -> None:
    damage(store, lambda content: content.__delitem__(slice(20 * 4096, None)))

    assert "pages of store.sqlite: they are cut off" in lost(store, 10_000)[0]


@pytest.mark.parametrize("text", [b"", b"a text file\n" * 1000])
def test_a_file_that_is_no_database_leaves_the_payloads_in_files(store: Path, text: bytes) -> None:
    (store / "store.sqlite").write_bytes(text)

    done = salvage(store, store.parent / "new")

    assert (done.documents, done.entries, done.payloads) == (0, 0, 1)
    assert done.lost


def test_payloads_whose_bytes_were_changed_are_named_and_not_copied(store: Path) -> None:
    (file,) = (store / "blobs").glob("??/*")
    file.write_bytes(LARGE[:-1] + b"!")
    with closing(sqlite3.connect(store / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE payloads SET data = x'00' WHERE data = ?", (MIDDLE[3],))

    told = lost(store, 2)

    assert sum(line.startswith("payload ") and "changed" in line for line in told) == 2
    assert any(file.name in line for line in told)


def test_a_hole_in_a_log_is_named_and_the_rest_is_copied(store: Path) -> None:
    name = bytes(16)
    with closing(sqlite3.connect(store / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE logs SET entries = x'00' WHERE name = ? AND length = 2", (name,))

    told = lost(store, 1)

    assert told == [f"entries 2 to 2 of log 'experiment/e/steps/{0:032x}'"]


def test_a_row_that_is_damaged_is_named_by_path_and_key(store: Path) -> None:
    with closing(sqlite3.connect(store / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE documents SET document = zeroblob(50) WHERE key = 7")

    assert lost(store, 1) == ["document 7 at 'experiment/e/trials': it was changed"]


def test_pages_of_zeros_are_no_rows(store: Path) -> None:
    damage(store, lambda content: content.extend(struct.pack(">I", 0) * 4096))

    assert lost(store, 0) == []


def test_the_source_is_not_changed_and_the_target_not_overwritten(store: Path) -> None:
    before = {f: f.read_bytes() for f in store.rglob("*") if f.is_file()}
    salvage(store, store.parent / "new")

    assert {f: f.read_bytes() for f in store.rglob("*") if f.is_file()} == before
    with pytest.raises(BackendURIError, match="name a folder that is new"):
        salvage(store, store.parent / "new")
    with pytest.raises(BackendURIError, match="name the folder that holds it"):
        salvage(store.parent / "nothing", store.parent / "other")


def test_the_verb_tells_what_was_lost_by_its_exit_code(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["salvage", str(store), str(store.parent / "one"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lost"] == []
    with closing(sqlite3.connect(store / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE documents SET document = x'00' WHERE key = 7")

    assert run(["salvage", str(store), str(store.parent / "two")]) == 1
    said = capsys.readouterr().out
    assert "lost     document 7 at 'experiment/e/trials'" in said
    assert "copied   301 documents, 300 entries, 21 payloads" in said
