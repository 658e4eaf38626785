"""Hostile content of servers that others write to: changed payloads, pickles, planted secrets."""

from __future__ import annotations

import os
import pickle
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import redis
from blake3 import blake3
from pymongo import MongoClient

from daskperiment import Experiment
from daskperiment.backends import Put, Update, open_backend
from daskperiment.backends.mongo_rows import PAYLOADS
from daskperiment.errors import DaskperimentError
from daskperiment.history import payloads, shape
from daskperiment.history.places import Place
from tests.servers import mongo_server, redis_server
from tests.test_secrets import canaries, hits, run_script
from tests.torture.harness import Outcome, scenario
from tests.torture.trust import Agreeing, Bomb, look, record

KINDS = ("redis", "mongodb")
_DATABASE = "trusted"


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[str]:
    """A server whose files lie in a folder; gives its URI."""
    (folder / kind).mkdir(parents=True)
    if kind == "redis":
        with redis_server(folder / kind) as running:
            yield running.uri
    else:
        with mongo_server(str(folder / kind)) as running:
            yield running.uri(_DATABASE)


@contextmanager
def _recorded(kind: str, folder: Path) -> Iterator[str]:
    """A server with the store of `record`, signed by a key that lies beside it."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {"XDG_CONFIG_HOME": str(folder / "me")}))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        uri = stack.enter_context(_server(kind, folder))
        record(open_backend(uri))
        yield uri


# -- S4 ---------------------------------------------------------------------------------------


@scenario(
    "S4S",
    "payloads with changed bits, cut, swapped and unsigned on Redis and MongoDB",
    plants=("not-compared", "unsigned-is-fine"),
    short={"flips": 3},
    long={"flips": 1000},
)
def changed_payloads(seed: int, folder: Path, plant: str | None, *, flips: int) -> Outcome:
    """Nothing is loaded, and no decoder sees bytes that nobody has signed."""
    outcome, chance = Outcome("S4S", seed), random.Random(seed)
    for kind in KINDS:
        with (
            _recorded(kind, folder) as uri,
            open_backend(uri) as backend,
            _writer(kind, uri) as write,
        ):
            rows = {n: backend.get("experiment/trusted/trials", n) or {} for n in range(1, 5)}
            known = {n: row["result"] for n, row in rows.items()}
            data = {n: backend.fetch(kept["digest"]) for n, kept in known.items()}
            for number, kept in known.items():
                for bad in _changed(data[number], data[number % 4 + 1], chance, flips):
                    write(kept["digest"], bad)
                    outcome.add(f"{kind}, trial {number}", _refused(uri, number, plant))
                    outcome.rounds += 1
                write(kept["digest"], data[number])
            for forged in _forged(known[3], known[4]):
                backend.update("experiment/trusted/trials", 3, {"result": forged})
                outcome.add(f"{kind}, forged {forged}"[:90], _refused(uri, 3, plant))
                outcome.rounds += 1
    outcome.faults = outcome.rounds
    return outcome


def _changed(data: bytes, other: bytes, chance: random.Random, flips: int) -> Iterator[bytes]:
    yield from (data[:-1], data[: len(data) // 2], b"", other)
    for at in [*range(64), *(chance.randrange(len(data)) for _ in range(flips))]:
        yield data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _forged(kept: dict[str, Any], other: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Descriptions of a pickle that its writer has not signed for this place."""
    unsigned = {name: value for name, value in kept.items() if name != "signed"}
    yield unsigned
    yield other
    yield {**other, "signed": kept["signed"]}
    scheme, name, mac = kept["signed"].split(":")
    for at in range(len(mac)):
        digit = f"{int(mac[at], 16) ^ 1:x}"
        yield {**kept, "signed": f"{scheme}:{name}:{mac[:at]}{digit}{mac[at + 1 :]}"}
    yield {**kept, "signed": f"{scheme}:{name}:{mac[:-2]}"}
    yield {**kept, "signed": f"v0:{name}:{mac}"}
    yield {**kept, "signed": f"{scheme}:00000000:{mac}"}
    yield {**kept, "size": kept["size"] + 1}


@contextmanager
def _writer(kind: str, uri: str) -> Iterator[Callable[[str, bytes], object]]:
    """A function that writes a payload's bytes past daskperiment."""
    if kind == "redis":
        with redis.Redis.from_url(uri) as client:
            key = "{daskperiment}:payload:"
            yield lambda digest, data: client.hset(key + digest, "0", data)
        return
    client = MongoClient(uri)
    rows = client[_DATABASE]

    def write(digest: str, data: bytes) -> None:
        found = rows[PAYLOADS].find_one({"_id": digest}) or {}
        if "data" in found:
            rows[PAYLOADS].update_one({"_id": digest}, {"$set": {"data": data}})
        else:
            chunks = rows["daskperiment_chunks"]
            first = {"_id": f"{found['token']}/00000000"}
            assert chunks.update_one(first, {"$set": {"data": data}}).matched_count

    with closing(client):
        yield write


def _refused(uri: str, number: int, plant: str | None) -> Iterator[str]:
    seen: list[bytes] = []
    decode = payloads.decode

    def spy(codec: str, data: bytes, **more: Any) -> Any:
        seen.append(data)
        return decode(codec, data, **more) if plant is None else None

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(payloads, "decode", spy))
        if plant == "not-compared":
            stack.enter_context(mock.patch.object(payloads, "blake3", Agreeing))
        if plant == "unsigned-is-fine":
            stack.enter_context(mock.patch.object(Place, "check", lambda *_: True))
        backend = stack.enter_context(open_backend(uri))
        try:
            _ = Experiment("trusted", backend=backend)[number].result
            yield "I1: what was changed was loaded"
        except DaskperimentError:
            pass
        except Exception as error:
            yield f"I7: {error!r}"
    if seen:
        yield "I1: a decoder saw changed bytes"


# -- S6 ---------------------------------------------------------------------------------------


@scenario(
    "S6S",
    "planted secrets, searched for in the files of Redis and MongoDB",
    plants=("unscrubbed",),
    short={"kinds": ["redis"]},
    long={"kinds": KINDS},
)
def planted_secrets(seed: int, folder: Path, plant: str | None, *, kinds: list[str]) -> Outcome:
    """Files, logs, payloads and sent tasks of a run, whose password is one of the secrets."""
    from tests.torture.canaries import UNSCRUBBED, before

    outcome = Outcome("S6S", seed)
    for kind in kinds:
        place = folder / kind
        place.mkdir()
        (place / "sitecustomize.py").write_text(UNSCRUBBED if plant else "")
        planted = canaries()
        for mode in ("threads", "processes"):
            (place / mode).mkdir()
            with _server(kind, place / mode / "served") as uri:
                settings = {"BACKEND": uri, "PYTHONPATH": before(place)}
                with mock.patch.dict(os.environ, settings):
                    run_script(mode, place / mode, planted)
                    found = hits(planted, place / mode / "out")
                    found |= hits(planted, place / mode / "served")
            secret = sorted(hit for hit in found if hit[0] != "ordinary")
            outcome.add(kind, [f"I10: a secret of kind {k!r} is in {where}" for k, where in secret])
            if secret == sorted(found):
                outcome.add(kind, ["I10: the search did not even find what is no secret"])
            outcome.faults += sum(map(len, planted.values())) - 1
            outcome.rounds += 1
    return outcome


# -- S8 ---------------------------------------------------------------------------------------


@scenario(
    "S8S",
    "pickles that run code in every key of Redis and every field of MongoDB",
    plants=("unsigned-is-fine",),
    short={"each": 3},
    long={"each": None},
    planted={"each": 1},
)
def planted_pickles(seed: int, folder: Path, plant: str | None, *, each: int | None) -> Outcome:
    """Looking at a store runs nothing; loading by name is refused."""
    outcome, chance = Outcome("S8S", seed), random.Random(seed)
    marker = folder / "marker"
    bomb = pickle.dumps(Bomb(str(marker)))
    for kind in KINDS:
        with _recorded(kind, folder) as uri:
            places = _places(kind, uri)
            chosen = places if each is None else chance.sample(places, each)
        for n, place in enumerate([*chosen, "result"]):
            with _recorded(kind, folder / f"{n}") as uri, ExitStack() as stack:
                if plant is not None:
                    stack.enter_context(mock.patch.object(Place, "check", lambda *_: True))
                _plant(kind, uri, place, bomb)
                found = list(look(uri))
            outcome.add(f"{kind}, {place}", [] if plant else found)
            if marker.exists():
                outcome.add(f"{kind}, {place}", ["I6: code of the store has run"])
                marker.rmdir()
            outcome.rounds += 1
            outcome.faults += 1
    return outcome


def _places(kind: str, uri: str) -> list[str]:
    """Where something can be planted: keys, without the random parts, or fields."""
    if kind == "redis":
        with redis.Redis.from_url(uri) as client:
            keys = [key.decode() for key in client.scan_iter()]
        return sorted({key.split(":")[1] for key in keys if ":done:" not in key})
    with closing(MongoClient(uri)) as client:
        database = client[_DATABASE]
        return sorted({
            f"{name}.{field}"
            for name in database.list_collection_names()
            for row in database[name].find()
            for field in row
            if field != "_id"
        })  # fmt: skip


def _plant(kind: str, uri: str, place: str, bomb: bytes) -> None:
    if place == "result":
        _describe(uri, bomb)
    elif kind == "redis":
        with redis.Redis.from_url(uri) as client:
            for key in [key for key in client.scan_iter() if key.split(b":")[1].decode() == place]:
                _replace(client, key, bomb)
    else:
        name, _, field = place.partition(".")
        with closing(MongoClient(uri)) as client:
            client[_DATABASE][name].update_many({field: {"$exists": True}}, {"$set": {field: bomb}})


def _describe(uri: str, bomb: bytes) -> None:
    """Plant a pickle as results are kept, with all that somebody without a key can write."""
    with open_backend(uri) as backend:
        for number in range(1, 5):
            row = backend.get("experiment/trusted/trials", number) or {}
            kept = {
                "type": "t", "preview": "p", "codec": "pickle", "size": len(bomb),
                "digest": blake3(bomb).hexdigest(), "signed": row["result"].get("signed", ""),
            }  # fmt: skip
            changes = Update("experiment/trusted/trials", number, {"result": kept})
            backend.apply(Put(bomb), changes)


def _replace(client: Any, key: bytes, bomb: bytes) -> None:
    found = client.type(key)
    if found == b"hash":
        client.hset(key, mapping=dict.fromkeys(client.hkeys(key), bomb))
    elif found == b"list":
        for at in range(client.llen(key)):
            client.lset(key, at, bomb)
    elif found == b"zset":
        client.zadd(key, {bomb: 1})
    else:
        client.set(key, bomb)


# -- F25 --------------------------------------------------------------------------------------

_JUNK: list[Any] = [
    7, -1, "text", "", "x" * 2_000_000, [], {}, [[]], [["a", 1]], [["a", {"type": 1}]], True, None,
    {"host": 1}, {"type": "t", "preview": 5}, {"json": "{", "type": "t", "preview": "p"}, 1e300,
    float("nan"), float("inf"), [None], {"type": "t", "preview": "p", "json": "[" * 60},
]  # fmt: skip


@scenario(
    "F25",
    "rows that others have spoilt, on Redis and MongoDB",
    plants=("every-row-is-one",),
    short={"rounds": 30},
    long={"rounds": 1000},
)
def spoilt_rows(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """They are told of, the others are read, and nothing but typed errors leaves a call."""
    outcome, chance = Outcome("F25", seed), random.Random(seed)
    for kind in KINDS:
        with _recorded(kind, folder) as uri, open_backend(uri) as backend, ExitStack() as stack:
            if plant is not None:
                stack.enter_context(mock.patch.object(shape, "problem", lambda *_: None))
            path = "experiment/trusted/trials"
            whole = backend.get(path, 2) or {}
            for _ in range(rounds):
                fields = chance.sample(sorted(whole), chance.randrange(1, 4))
                junk = {field: chance.choice(_JUNK) for field in fields}
                backend.apply(Update(path, 2, {**whole, **junk}))
                outcome.add(f"{kind}, {junk}"[:90], _others(Experiment("trusted", backend)))
                outcome.rounds += 1
                outcome.faults += 1
    return outcome


def _others(ex: Experiment) -> Iterator[str]:
    try:
        history = ex.get_history(verbose=True)
        if not {1, 3, 4} <= set(history.index):
            yield f"I1: the history has only {list(history.index)}"
    except Exception as error:
        yield f"I7: the history: {error!r:.200}"
    looks: list[Callable[[], object]] = [
        lambda: ex[2].result, lambda: repr(ex[2]), lambda: ex[2].steps, lambda: ex.diff(1, 2),
    ]  # fmt: skip
    for look_at in looks:
        try:
            look_at()
        except DaskperimentError:
            continue
        except Exception as error:
            yield f"I7: {error!r:.200}"
