"""Trust: pickles of stores that others may write to run nothing unless they are signed."""

from __future__ import annotations

import base64
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import cloudpickle
import dask
import numpy as np
import pytest

import daskperiment
from daskperiment import (
    BackendUnreachableError,
    DaskperimentWarning,
    Experiment,
    KeyFileError,
    OptionError,
    Secret,
    Trial,
    UntrustedPayloadError,
)
from daskperiment.backends import Append, Backend, Clear, open_backend
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.backends.redis import RedisBackend
from daskperiment.backends.shared import MemoryProxy, serve
from daskperiment.execution.context import Ticket
from daskperiment.history import paths, payloads
from daskperiment.history.doctor import examine
from daskperiment.history.places import Place
from daskperiment.history.spooling import SpoolingBackend
from daskperiment.secrets import key
from daskperiment.secrets.signing import TrialKey, trial_key
from tests.cli.conftest import Command, command  # noqa: F401 - a fixture
from tests.servers import RedisServer
from tests.stores import cells

needs_modes = pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of files")
TEAM = "DASKPERIMENT_KEY_FILE"


class Thing:
    """What only a pickle can hold."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Bomb:
    """A pickle of it makes a folder where it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


class SharedMemory(MemoryBackend):
    """A store in memory that others may write to, for all we know."""

    @property
    def owned(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration directory of this test's own, and no key of a team."""
    monkeypatch.delenv(TEAM, raising=False)
    return as_user("me", tmp_path, monkeypatch)


def as_user(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Act as a user who has another configuration directory."""
    place = tmp_path / f"configuration of {name}"
    monkeypatch.setenv("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", str(place))
    return place


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a team's key, which the environment names."""
    file = tmp_path / "team.key"
    key.new_key(file)
    monkeypatch.setenv(TEAM, str(file))
    return file


def shared_folder(folder: Path) -> LocalBackend:
    folder.mkdir()
    folder.chmod(0o770)
    return LocalBackend(folder)


@pytest.fixture(params=["memory", pytest.param("local", marks=needs_modes), "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each kind of store that others may write to."""
    if request.param == "redis":
        with RedisBackend(request.getfixturevalue("redis_running").uri, prefix=uuid4().hex) as kept:
            yield kept
        return
    with (
        SharedMemory() if request.param == "memory" else shared_folder(tmp_path / "shared")
    ) as backend:
        yield backend


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Codecs of what was decoded since."""
    seen: list[str] = []
    original = payloads.decode

    def spy(codec: str, data: bytes, **options: Any) -> Any:
        seen.append(codec)
        return original(codec, data, **options)

    monkeypatch.setattr(payloads, "decode", spy)
    return seen


def record(backend: Backend, number: int = 1, name: str = "trusted", **options: Any) -> Experiment:
    """Record a trial that keeps a pickle in each place of a trial."""
    ex = Experiment(name, backend=backend, seed=1)

    @ex.persist
    def build(a: Thing) -> Thing:
        ex.save_artifact("model", Thing(a.text.replace("parameter", "artifact")))
        return Thing(a.text.replace("parameter", "output"))

    @ex.result
    def score(model: Thing) -> Thing:
        return Thing(model.text.replace("output", "result"))

    node = score(build(ex.parameter("a")))
    node.compute(parameters={"a": Thing(f"parameter {number}")}, **options)
    return ex


READ: dict[str, Callable[[Trial], Any]] = {
    "parameters": lambda trial: trial.parameters["a"],
    "output": lambda trial: trial.persisted("build"),
    "artifacts": lambda trial: trial.artifacts["model"].load(),
    "result": lambda trial: trial.result,
}
VALUES = {
    "parameters": "parameter 1",
    "output": "output 1",
    "artifacts": "artifact 1",
    "result": "result 1",
}


def described(trial: Trial, part: str) -> dict[str, Any]:
    """What the store tells of a value."""
    backend, name = trial._backend, trial.experiment
    if part == "output":
        steps = backend.read(paths.steps(name, trial.uid))
        return next(dict(entry["kept"]) for entry in steps if "kept" in entry)
    if part == "artifacts":
        return dict(backend.read(paths.artifacts(name, trial.uid))[-1])
    row = backend.get(paths.trials(name), trial.number)
    assert row is not None
    return dict(row["result"] if part == "result" else row["parameters"][0][1])


def plant(trial: Trial, part: str, document: dict[str, Any]) -> None:
    """Put another description in place of that of a value, as who can write to the store can."""
    backend, name, uid = trial._backend, trial.experiment, trial.uid
    if part == "output":
        path = paths.steps(name, uid)
        entries = [
            {**entry, "kept": document} if "kept" in entry else entry
            for entry in backend.read(path)
        ]
        backend.apply(Clear(path), Append(path, entries))
    elif part == "artifacts":
        path = paths.artifacts(name, uid)
        backend.apply(Clear(path), Append(path, [{**document, "name": "model", "time": 1.0}]))
    else:
        value: Any = document if part == "result" else [["a", document]]
        backend.update(paths.trials(name), trial.number, {part: value})


def bomb(backend: Backend, marker: Path) -> dict[str, Any]:
    """Keep bytes that run code, and describe them as a value is."""
    data = pickle.dumps(Bomb(marker))
    described = {"type": "<class 'dict'>", "preview": "{}", "codec": "pickle"}
    return described | {"digest": backend.put(data), "size": len(data)}


# -- what is loaded -----------------------------------------------------------------------------


@pytest.mark.parametrize("part", READ)
def test_what_was_recorded_on_a_shared_store_reads_back(store: Backend, part: str) -> None:
    ex = record(store)

    assert READ[part](ex[1]) == Thing(VALUES[part])
    assert described(ex[1], part)["codec"] == "pickle"
    assert ex.get_history()["Result"][1].load() == Thing("result 1")


def test_plain_values_and_arrays_need_no_signature(store: Backend) -> None:
    ex = Experiment("plain", backend=store)
    give = ex.result(lambda value: value, name="give")(ex.parameter("value"))

    for number, value in enumerate((1, "text" * 5000, np.arange(5000)), 1):
        give.compute(parameters={"value": value})
        assert np.array_equal(ex[number].result, value)
        assert "signed" not in described(ex[number], "result")


def test_in_a_store_of_this_user_alone_nothing_is_signed_and_no_key_is_made(
    backend: Backend, config: Path
) -> None:
    ex = record(backend)

    assert [READ[part](ex[1]) for part in READ] == [Thing(VALUES[part]) for part in READ]
    assert not any("signed" in described(ex[1], part) for part in READ)
    assert not config.exists()


def test_a_signature_needs_no_setup(store: Backend, config: Path) -> None:
    record(store)

    file = config / "daskperiment" / "key"
    assert len(file.read_bytes()) == 32
    if os.name != "nt":
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


# -- forgeries: 0 loads, the decoder sees nothing, the error has a type -------------------------


def changed(**fields: Any) -> Callable[[dict[str, Any], Trial], dict[str, Any]]:
    return lambda document, _: {**document, **fields}


def without(field: str) -> Callable[[dict[str, Any], Trial], dict[str, Any]]:
    return lambda document, _: {k: v for k, v in document.items() if k != field}


def resigned(change: Callable[[str, str, str], Any]) -> Any:
    return lambda document, _: {**document, "signed": change(*document["signed"].split(":"))}


def by_another_key(document: dict[str, Any], trial: Trial) -> dict[str, Any]:
    """Signed by somebody who knows how, with a key of their own and the name of the real one."""
    name = document["signed"].split(":")[1]
    theirs = TrialKey(name, os.urandom(32))
    place = Place(trial._backend, trial.experiment, trial.uid, key=theirs)
    return {
        **document,
        "signed": theirs.sign(place._message(("result",), document, place._store())),
    }


def other_bytes(document: dict[str, Any], trial: Trial) -> dict[str, Any]:
    data = pickle.dumps(Thing("other"))
    return {**document, "digest": trial._backend.put(data), "size": len(data)}


FORGERIES: dict[str, Any] = {
    "unsigned": without("signed"),
    "signature is null": changed(signed=None),
    "signature is a number": changed(signed=7),
    "signature is a list": changed(signed=["v1"]),
    "signature is empty": changed(signed=""),
    "signature is of other text": changed(signed="v1:ä\ud800:\U0001f600"),
    "another key": by_another_key,
    "name of an unknown key": resigned(lambda scheme, name, mac: f"{scheme}:00000000:{mac}"),
    "no name": resigned(lambda scheme, name, mac: f"{scheme}::{mac}"),
    "truncated": resigned(lambda scheme, name, mac: f"{scheme}:{name}:{mac[:-1]}"),
    "truncated to nothing": resigned(lambda scheme, name, mac: f"{scheme}:{name}:"),
    "longer": resigned(lambda scheme, name, mac: f"{scheme}:{name}:{mac}0"),
    "upper case": resigned(lambda scheme, name, mac: f"{scheme}:{name}:{mac.upper()}"),
    "another scheme": resigned(lambda scheme, name, mac: f"v2:{name}:{mac}"),
    "an older scheme": resigned(lambda scheme, name, mac: f"v0:{name}:{mac}"),
    "no scheme": resigned(lambda scheme, name, mac: f"{name}:{mac}"),
    "other bytes": other_bytes,
    "another digest": changed(digest="0" * 64),
    "digest is a list": changed(digest=["0"]),
    "another size": changed(size=1),
    "size is a text": lambda document, _: {**document, "size": str(document["size"])},
    "no size": without("size"),
}


@pytest.mark.filterwarnings("ignore:Trial 1 of .* cannot be read:daskperiment.DaskperimentWarning")
@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_forged_description_is_loaded(forgery: str, decoded: list[str]) -> None:
    ex = record(SharedMemory())
    plant(ex[1], "result", FORGERIES[forgery](described(ex[1], "result"), ex[1]))
    decoded.clear()

    shown = ex.get_history()["Result"].get(1)
    for load in [lambda: ex[1].result, *([] if shown is None else [shown.load])]:
        with pytest.raises(
            (UntrustedPayloadError, daskperiment.DamagedRowError),
            match="'result' of trial .* trust=\"all\"|field 'result' is not as a trial writes it",
        ):
            load()
    assert decoded == []


@pytest.mark.parametrize("bit", range(256))
def test_no_bit_of_a_signature_may_differ(bit: int, decoded: list[str]) -> None:
    trial = _recorded()[1]
    document = described(trial, "result")
    scheme, name, mac = document["signed"].split(":")
    flipped = (int(mac, 16) ^ 1 << bit).to_bytes(32).hex()
    decoded.clear()

    with pytest.raises(UntrustedPayloadError):
        trial._place.load(("result",), {**document, "signed": f"{scheme}:{name}:{flipped}"})
    assert decoded == []
    assert trial._place.load(("result",), document) == Thing("result 1")


def _recorded() -> Experiment:
    return record(SharedMemory())


@pytest.mark.parametrize("source", READ)
@pytest.mark.parametrize("target", READ)
def test_what_is_genuine_in_one_part_is_not_in_another(
    source: str, target: str, decoded: list[str]
) -> None:
    ex = record(SharedMemory())
    plant(ex[1], target, described(ex[1], source))
    decoded.clear()

    if source == target:
        assert READ[target](ex[1]) == Thing(VALUES[source])
        return
    with pytest.raises(UntrustedPayloadError, match="changed, or copied from another place"):
        READ[target](ex[1])
    assert "pickle" not in decoded


@pytest.mark.parametrize("part", READ)
@pytest.mark.parametrize("where", ["trial", "experiment", "store"])
def test_what_is_genuine_in_one_trial_is_not_in_another(
    part: str, where: str, decoded: list[str]
) -> None:
    backend = SharedMemory()
    ex = record(backend)
    if where == "trial":
        other = record(backend, 2)[2]
    else:
        other = record(backend if where == "experiment" else SharedMemory(), 2, "other")[1]
    document = described(other, part)
    backend.put(other._backend.fetch(document["digest"]))
    plant(ex[1], part, document)
    decoded.clear()

    with pytest.raises(UntrustedPayloadError, match="changed, or copied from another place"):
        READ[part](ex[1])
    assert "pickle" not in decoded


def test_a_trial_copied_to_another_experiment_or_store_is_not_genuine() -> None:
    ex = record(SharedMemory())
    row = ex.backend.get(paths.trials("trusted"), 1)
    assert row is not None
    for backend in (ex.backend, SharedMemory()):
        backend.insert(paths.trials("copy"), row)
        backend.put(ex.backend.fetch(row["result"]["digest"]))
        with pytest.raises(UntrustedPayloadError):
            _ = Experiment("copy", backend=backend)[1].result


@pytest.mark.filterwarnings("ignore:Trial 1 of .* cannot be read:daskperiment.DaskperimentWarning")
def test_a_uid_of_a_wrong_type_makes_no_trial(decoded: list[str]) -> None:
    ex = record(SharedMemory())
    ex.backend.update(paths.trials("trusted"), 1, {"uid": 7})
    decoded.clear()

    with pytest.raises(daskperiment.DamagedRowError):
        _ = ex[1].result
    assert 1 not in ex.get_history().index
    assert decoded == []


def test_what_was_recorded_before_the_store_was_ever_seen_is_loaded_from_it() -> None:
    class Away(SharedMemory):
        away = True

        @property
        def store_id(self) -> str:
            if self.away:
                raise BackendUnreachableError("it is away")
            return super().store_id

    backend = Away()
    ex = record(backend)
    backend.away = False

    assert [READ[part](ex[1]) for part in READ] == [Thing(VALUES[part]) for part in READ]
    plant(ex[1], "result", described(ex[1], "output"))
    with pytest.raises(UntrustedPayloadError):
        _ = ex[1].result


def test_a_description_may_be_signed_anew_for_another_store(tmp_path: Path) -> None:
    trial, other = record(SharedMemory())[1], SharedMemory()
    document, slot = described(trial, "result"), ("result",)
    assert trial._place.check(slot, document)
    other.put(trial._backend.fetch(document["digest"]))
    there = Place(other, "moved", trial.uid)

    assert there.load(slot, there.sign(slot, document)) == Thing("result 1")
    with pytest.raises(UntrustedPayloadError):
        there.load(slot, document)


@pytest.mark.parametrize("signed", [True, False])
def test_json_and_arrays_cannot_be_passed_off_as_pickles(
    signed: bool, decoded: list[str], tmp_path: Path
) -> None:
    ex = Experiment("downgrade", backend=SharedMemory())
    ex.result(lambda: "text" * 5000, name="long")().compute()
    genuine = record(ex.backend, 1, "other")[1]
    document = described(ex[1], "result") | {"codec": "pickle"}
    if signed:
        document["signed"] = described(genuine, "result")["signed"]
    plant(ex[1], "result", document)
    decoded.clear()

    with pytest.raises(UntrustedPayloadError):
        _ = ex[1].result
    assert decoded == []


@pytest.mark.parametrize(
    "codec", ["json", "npy", "Pickle", "", None, 7, "cloudpickle", ["pickle"], {}]
)
def test_a_pickle_under_another_name_runs_nothing(codec: Any, tmp_path: Path) -> None:
    ex = record(SharedMemory())
    plant(ex[1], "result", bomb(ex.backend, tmp_path / "marker") | {"codec": codec})

    with pytest.raises((daskperiment.PayloadError, daskperiment.DamagedRowError)):
        _ = ex[1].result
    assert not (tmp_path / "marker").exists()


def test_bytes_that_were_exchanged_are_not_decoded(decoded: list[str], tmp_path: Path) -> None:
    ex = record(SharedMemory())
    ex.backend._payloads[described(ex[1], "result")["digest"]] = pickle.dumps(
        Bomb(tmp_path / "marker")
    )
    decoded.clear()

    with pytest.raises(daskperiment.PayloadError, match="changed"):
        _ = ex[1].result
    assert decoded == [] and not (tmp_path / "marker").exists()


# -- planted pickles ----------------------------------------------------------------------------


@pytest.mark.parametrize("part", READ)
def test_planted_pickles_run_nothing(
    store: Backend,
    part: str,
    tmp_path: Path,
    command: Command,  # noqa: F811
) -> None:
    ex = record(store)
    record(store, 2)
    marker = tmp_path / "marker"
    plant(ex[1], part, bomb(store, marker))

    ex.get_history(verbose=True).to_string()
    ex.get_history(where="a > 1 or Result == 2", order_by="a")
    repr(ex.trials), ex.trials._repr_html_(), repr(ex[1]), ex[1]._repr_html_(), str(ex.diff(1, 2))
    repr(ex.diff(1, 2).document()), ex.get_steps(1), repr(ex[1].artifacts), ex[1].metrics
    list(examine(store, deep=True))
    if isinstance(store, LocalBackend):
        place = ["--backend", str(tmp_path / "shared")]
        for verb in (["ls"], ["show", "1"], ["history"], ["artifacts", "1"], ["doctor"]):
            assert command(*verb, *place).code == 0
    with pytest.raises(UntrustedPayloadError):
        READ[part](ex[1])
    trial = pickle.loads(cloudpickle.dumps(ex))[1]
    with pytest.raises(UntrustedPayloadError):
        READ[part](trial)

    assert not marker.exists()


def test_a_bomb_would_have_gone_off(tmp_path: Path) -> None:
    ex = record(MemoryBackend())
    plant(ex[1], "result", bomb(ex.backend, tmp_path / "marker"))

    _ = ex[1].result

    assert (tmp_path / "marker").exists()


def test_listings_show_previews_of_at_most_4_kilobytes_and_decode_nothing(
    store: Backend, decoded: list[str]
) -> None:
    ex = Experiment("previews", backend=store)
    values = [Thing(), [Thing("x" * 10_000)] * 10_000, {"a": Thing()}, lambda: 1, np.arange(10_000)]
    give = ex.result(lambda value: value, name="give")(ex.parameter("value"))
    for value in values:
        give.compute(parameters={"value": value})
    decoded.clear()

    shown = ex.get_history()
    shown.to_string()
    str(ex.diff(1, 2))

    assert len(shown) == len(values) and decoded == []
    for number in range(1, len(values) + 1):
        assert 0 < len(described(ex[number], "result")["preview"].encode()) <= 4096


# -- what is trusted ----------------------------------------------------------------------------


def test_whoever_trusts_all_loads_all(store: Backend) -> None:
    record(store)
    ex = Experiment("trusted", backend=store, trust="all")
    for part in READ:
        plant(ex[1], part, without("signed")(described(ex[1], part), ex[1]))

    for each in (ex, pickle.loads(cloudpickle.dumps(ex))):
        assert [READ[part](each[1]) for part in READ] == [Thing(VALUES[part]) for part in READ]
        assert each.get_history()["Result"][1].load() == Thing("result 1")
        assert each.get_history(limit=1)["Result"][1].load() == Thing("result 1")
        assert next(iter(each.trials)).result == Thing("result 1") == each.latest.result
    with pytest.raises(UntrustedPayloadError, match="not signed"):
        _ = Experiment("trusted", backend=store)[1].result


@pytest.mark.parametrize("trust", ["none", "ALL", True, None, "", 1])
def test_another_value_of_trust_is_refused(trust: Any) -> None:
    with pytest.raises(OptionError, match='trust must be "signed" or "all"'):
        Experiment("refused", backend="memory://", trust=trust)


def test_no_environment_variable_switches_trust(
    store: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ex = record(store)
    plant(ex[1], "result", without("signed")(described(ex[1], "result"), ex[1]))

    monkeypatch.setenv("DASKPERIMENT_TRUST", "all")

    with pytest.raises(UntrustedPayloadError):
        _ = Experiment("trusted", backend=store)[1].result


def test_a_backend_is_shared_unless_it_knows_better(tmp_path: Path) -> None:
    assert Backend.owned.fget(MemoryBackend()) is False  # type: ignore[attr-defined]
    owner = MemoryBackend()
    assert owner.owned and MemoryProxy(*serve(owner), owner.store_id).owned
    assert pickle.loads(pickle.dumps(owner)).owned
    shared = SharedMemory()
    assert MemoryProxy(*serve(shared), shared.store_id, False).owned is False
    assert shared.__reduce__()[1][-1] is False


@needs_modes
@pytest.mark.parametrize(
    ("folder", "file", "owned"),
    [
        (0o700, 0o600, True),
        (0o700, 0o664, True),
        (0o755, 0o644, True),
        (0o755, 0o664, False),
        (0o770, 0o600, False),
        (0o775, 0o644, False),
        (0o707, 0o600, False),
        (0o1777, 0o600, False),
    ],
    ids=oct,
)
def test_a_folder_is_owned_where_nobody_else_can_write(
    tmp_path: Path, folder: int, file: int, owned: bool
) -> None:
    with open_backend(tmp_path / "store") as backend:
        assert not backend.owned  # as nobody knows yet
        backend.insert("x", {})
        assert backend.owned
        (tmp_path / "store" / "store.sqlite").chmod(file)
        (tmp_path / "store").chmod(folder)
        assert backend.owned is owned


@needs_modes
def test_a_folder_of_somebody_else_is_not_owned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_backend(tmp_path / "store") as backend:
        backend.insert("x", {})
        real = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: real + 1)
        assert not backend.owned


# -- keys ---------------------------------------------------------------------------------------


def test_a_teammate_with_the_key_loads_what_another_has_recorded(
    store: Backend, team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(store)

    as_user("somebody else", tmp_path, monkeypatch)
    assert Experiment("trusted", backend=store)[1].result == Thing("result 1")

    monkeypatch.delenv(TEAM)
    name = key.name_of(key.read_key(team))
    with pytest.raises(UntrustedPayloadError, match=rf"Set {TEAM} to the file of the key {name}"):
        _ = Experiment("trusted", backend=store)[1].result


def test_what_was_signed_before_a_team_had_a_key_is_still_loaded(
    store: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ex = record(store)
    key.new_key(tmp_path / "team.key")
    monkeypatch.setenv(TEAM, str(tmp_path / "team.key"))
    record(store, 2)

    names = [described(ex[number], "result")["signed"].split(":")[1] for number in (1, 2)]
    assert names == [key.key_name(), key.name_of(key.read_key(tmp_path / "team.key"))]
    assert [ex[number].result.text for number in (1, 2)] == ["result 1", "result 2"]


def test_the_key_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for name in ("one", "two"):
        key.new_key(tmp_path / name)
        monkeypatch.setenv(TEAM, str(tmp_path / name))
        names.append(trial_key("0" * 32).name)
    monkeypatch.delenv(TEAM)

    assert len({*names, trial_key("0" * 32).name}) == 3
    assert trial_key("0" * 32).name == key.key_name()


@pytest.mark.parametrize(
    "write",
    [
        lambda raw: raw,
        lambda raw: raw.hex().encode(),
        lambda raw: f"  {raw.hex().upper()}\r\n".encode(),
        lambda raw: base64.b64encode(raw) + b"\n",
    ],
    ids=["raw", "hexadecimal", "upper case", "base64"],
)
def test_a_key_is_32_bytes_or_their_text(write: Callable[[bytes], bytes], tmp_path: Path) -> None:
    raw, file = os.urandom(32), tmp_path / "key"
    file.touch(0o600)
    file.write_bytes(write(raw))

    assert key.read_key(file) == raw


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33, b"ab" * 31])
def test_what_is_no_key_is_refused_before_a_trial_begins(
    content: bytes, store: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bad.key"
    file.touch(0o600)
    file.write_bytes(content)
    monkeypatch.setenv(TEAM, str(file))

    with pytest.raises(KeyFileError, match=r"no key of 32 bytes.*daskperiment key new FILE"):
        record(store)
    monkeypatch.setenv(TEAM, str(tmp_path / "absent"))
    with pytest.raises(KeyFileError, match=f"absent cannot be read .*set {TEAM}"):
        record(store)
    assert Experiment("trusted", backend=store).trial_id == 0


@needs_modes
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666, 0o610])
@pytest.mark.parametrize("whose", ["team", "user"])
def test_a_key_that_others_can_read_is_refused(
    mode: int, whose: str, store: Backend, team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = team
    if whose == "user":
        monkeypatch.delenv(TEAM)
        key.own_key()
        key._own_key.cache_clear()
        file = key.own_key_file()
    key.read_key.cache_clear()
    file.chmod(mode)

    with pytest.raises(KeyFileError, match=f"chmod 600 {re.escape(str(file))}"):
        record(store)
    file.chmod(0o600)
    record(store)


@needs_modes
def test_a_key_in_a_folder_that_others_can_write_to_is_refused(config: Path) -> None:
    key.own_key()
    key._own_key.cache_clear()
    (config / "daskperiment").chmod(0o770)

    with pytest.raises(KeyFileError, match="chmod 700"):
        key.own_key()


def test_where_no_key_can_be_made_a_trial_runs_and_its_pickles_are_not_loaded(
    store: Backend, config: Path
) -> None:
    config.write_text("a file where the directory should be")
    Path.cwd().joinpath("elsewhere").mkdir()

    with pytest.warns(DaskperimentWarning, match="kept without a signature"):
        ex = record(store)

    assert ex[1].state == "COMPLETE"
    with pytest.raises(UntrustedPayloadError, match="not signed"):
        _ = ex[1].result
    assert Experiment("trusted", backend=store, trust="all")[1].result == Thing("result 1")


def test_warnings_made_errors_do_not_end_a_trial_without_a_key(
    store: Backend, config: Path
) -> None:
    config.write_text("a file where the directory should be")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert record(store)[1].state == "COMPLETE"


def test_a_step_reads_its_parameters_whatever_is_signed(store: Backend, config: Path) -> None:
    config.write_text("a file where the directory should be")
    ex = Experiment("inside", backend=store)

    @ex.result
    def read(a: Thing) -> bool:
        return bool(daskperiment.current().parameters["a"] == a)

    assert read(ex.parameter("a", default=Thing("a"))).compute() is True


def test_the_command_makes_and_shows_keys(
    command: Command,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: Path,
) -> None:
    assert command("key", "show", "--json").document == [
        {"key": None, "of": "user", "file": str(config / "daskperiment" / "key")}
    ]
    assert not config.exists()
    file = tmp_path / "team.key"
    made = command("key", "new", str(file), "--json").document
    assert made == {"key": key.name_of(key.read_key(file)), "file": str(file)}
    if os.name != "nt":
        assert file.stat().st_mode & 0o777 == 0o600

    monkeypatch.setenv(TEAM, str(file))
    shown = command("key", "show", "--json").document
    assert [(row["key"], row["of"]) for row in shown] == [(made["key"], "team"), (None, "user")]
    assert file.read_text().strip() not in command("key", "show").out

    before = file.read_bytes()
    again = command("key", "new", str(file))
    assert again.code == 2 and "already" in again.err and file.read_bytes() == before


# -- worker processes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "store", [pytest.param("local", marks=needs_modes), "redis"], indirect=True
)
@pytest.mark.parametrize("route", ["compute", "dask.compute"])
def test_a_worker_without_the_teams_key_keeps_what_the_driver_loads(
    client: Any, team: Path, store: Backend, route: str
) -> None:
    ex = Experiment("trusted", backend=store)

    @ex.persist
    def build(a: Thing) -> Thing:
        ex.save_artifact("model", Thing("artifact 1"))
        assert daskperiment.current().parameters["a"] == a
        return Thing("output 1")

    @ex.result
    def score(model: Thing) -> Thing:
        assert TEAM not in os.environ
        return Thing("result 1")

    ex.parameter("a")
    ex.set_parameters(a=Thing("parameter 1"))
    node = score(build(ex.parameter("a")))
    if route == "compute":
        node.compute(scheduler=client)
    else:
        dask.compute(node, scheduler=client)

    assert [READ[part](ex[1]) for part in READ] == [Thing(VALUES[part]) for part in READ]
    names = {described(ex[1], part)["signed"].split(":")[1] for part in READ}
    assert names == {key.name_of(key.read_key(team))}


@pytest.mark.parametrize(
    "store", [pytest.param("local", marks=needs_modes), "redis"], indirect=True
)
def test_on_processes_pickles_are_signed_too(store: Backend) -> None:
    ex = record(store, scheduler="processes")

    assert [READ[part](ex[1]) for part in READ] == [Thing(VALUES[part]) for part in READ]


def spellings(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), base64.b64encode(secret)]


def ticket_of(ex: Experiment) -> Ticket:
    ticket = ex.begin(ex._steps, {"a": Thing("parameter")})
    assert isinstance(ticket, Ticket)
    return ticket


def test_no_key_but_that_of_the_trial_travels_in_the_graph(store: Backend, team: Path) -> None:
    ticket = ticket_of(record(store))
    mine = trial_key(ticket.row["uid"])

    sent = cloudpickle.dumps(ticket)

    for secret in (key.read_key(team), key.own_key()):
        assert not any(spelling in sent for spelling in spellings(secret))
    assert mine._secret in sent
    arrived = pickle.loads(sent)
    assert arrived.key._secret == mine._secret
    assert cloudpickle.dumps(arrived).count(mine._secret) == 1  # and further on
    shown = f"{arrived!r} {arrived.key!r} {arrived.place!r}"
    assert not any(spelling.decode("latin-1") in shown for spelling in spellings(mine._secret))
    assert repr(mine._secret)[2:-1] not in shown


def test_what_was_recorded_offline_is_loaded_once_it_is_synced(
    redis_running: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    backend = RedisBackend(redis_running.uri, prefix=uuid4().hex)
    with SpoolingBackend(backend, offline=True) as offline:
        record(offline)
        assert offline.sync(10)

    ex = Experiment("trusted", backend=backend)
    assert [READ[part](ex[1]) for part in READ] == [Thing(VALUES[part]) for part in READ]
    assert all("signed" in described(ex[1], part) for part in READ)


def test_the_key_of_a_trial_signs_for_no_other() -> None:
    mine, other = trial_key("1" * 32), trial_key("2" * 32)

    signature = mine.sign(b"message")

    assert mine.verifies(signature, b"message") and not mine.verifies(signature, b"massage")
    assert not other.verifies(signature, b"message")


def test_no_key_travels_where_the_store_is_this_users() -> None:
    arrived = pickle.loads(cloudpickle.dumps(ticket_of(record(MemoryBackend()))))

    assert arrived.key is None


@needs_modes
def test_no_key_is_in_the_store(team: Path, tmp_path: Path, client: Any) -> None:
    backend = shared_folder(tmp_path / "shared")
    ex = record(backend)
    record(backend, 2, scheduler=client)
    ticket_of(ex).announce()
    secrets = [key.read_key(team), key.own_key()]
    uids = [ex[1].uid, ex[2].uid, *(str(uid) for uid, _ in backend.find(paths.prepared(ex.id)))]
    assert len(uids) == 3
    secrets += [trial_key(uid)._secret for uid in uids]

    files = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    kept = [path.read_bytes() for path in files]
    kept += [content for _, content in cells(tmp_path / "shared" / "store.sqlite")]

    assert any(described(ex[1], "result")["signed"].encode() in content for content in kept)
    for secret in secrets:
        assert not any(s in content for s in spellings(secret) for content in kept)


# -- secrets ------------------------------------------------------------------------------------


def test_a_secret_is_kept_as_a_keyed_digest_alone(backend: Backend) -> None:
    ex = Experiment("secretive", backend=backend, seed=1)
    score = ex.result(lambda word: len(word.reveal()), name="score")(ex.parameter("word"))
    for word in ("hunter2!", "hunter2!", "hunter3!"):
        score.compute(parameters={"word": Secret(word)})

    documents = [described(ex[number], "parameters") for number in (1, 2, 3)]
    one, same, other = (document.pop("keyed") for document in documents)
    assert one == same != other
    assert one.partition(":")[0] == f"v1-{key.key_name()}"
    assert documents[0] == {
        "type": documents[0]["type"], "preview": "***", "secret": True,
        "reason": "it is a secret or holds one",
    }  # fmt: skip

    assert not ex.diff(1, 2) and "parameters" not in str(ex.diff(1, 2))
    assert ex.diff(1, 2).notes == ()
    assert "word: *** -> ***" in str(ex.diff(1, 3))
    assert [change.name for change in ex.diff(1, 3).parameters] == ["word"]


def test_secrets_under_keys_of_two_users_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ex = Experiment("secretive", backend="memory://")
    score = ex.result(lambda word: 1, name="score")(ex.parameter("word"))
    score.compute(parameters={"word": Secret("hunter2!")})
    as_user("somebody else", tmp_path, monkeypatch)
    score.compute(parameters={"word": Secret("hunter2!")})

    assert ex.diff(1, 2).parameters == ()
    assert any("word was not kept" in note for note in ex.diff(1, 2).notes)


def test_where_no_key_can_be_made_a_secret_has_no_digest(config: Path) -> None:
    config.write_text("a file where the directory should be")
    ex = Experiment("secretive", backend="memory://")
    ex.result(lambda word: 1, name="score")(ex.parameter("word")).compute(
        parameters={"word": Secret("hunter2!")}
    )

    assert ex[1].state == "COMPLETE" and "keyed" not in described(ex[1], "parameters")


def test_a_secret_whose_variable_is_not_set_does_not_stop_a_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SERVICE", raising=False)
    ex = Experiment("secretive", backend="memory://")
    score = ex.result(lambda word: 1, name="score")(ex.parameter("word"))

    assert score.compute(parameters={"word": Secret.from_env("SERVICE")}) == 1
