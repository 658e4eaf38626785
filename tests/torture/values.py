"""Hostile values and names: each is kept as it is, or refused by an error that tells why."""

from __future__ import annotations

import datetime
import decimal
import math
import random
import re
import socket
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import daskperiment
from daskperiment import Experiment, Namespace, TrialState
from daskperiment.backends import Backend
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.errors import DaskperimentError, ValueNotKeptError
from daskperiment.history import doctor, paths, payloads, table
from daskperiment.serializers import payload
from tests.test_hostile_values import KEPT, LOST, nested
from tests.torture.harness import Outcome, scenario

SLOW = 30.0
BOX: dict[str, Any] = {}
"""What the steps take, which cannot be named in their code, as it would be a part of it."""


class Refusing:
    """Everything that it is asked raises."""

    def _refuse(self, *_: Any) -> Any:
        raise RuntimeError("it refuses")

    __reduce__ = __repr__ = __str__ = __eq__ = __hash__ = __len__ = __bool__ = _refuse  # type: ignore[assignment]


class Slow:
    """It takes its time to be pickled."""

    def __reduce__(self) -> Any:
        """Sleep."""
        time.sleep(0.05)
        return Slow, ()


class Odd(datetime.tzinfo):
    """A zone that has no opinion, or a wrong one."""

    def utcoffset(self, when: Any) -> Any:
        """Raise."""
        raise RuntimeError("no offset")

    tzname = dst = utcoffset


def mapped(folder: Path) -> Any:
    """A memory-mapped array."""
    np.save(folder / "mapped.npy", np.arange(1000.0))
    return np.load(folder / "mapped.npy", mmap_mode="r")


def corpus(folder: Path, size: int) -> Iterator[tuple[str, Any, bool | None]]:
    """Values by name, with whether each is kept, None where both will do."""
    for name, (make, _) in KEPT.items():
        yield name, make(), True
    for name, (lost, _) in LOST.items():
        yield name, lost(), False
    zone = datetime.timezone(datetime.timedelta(seconds=-1, microseconds=7))
    more: dict[str, Any] = {
        "long text": "x\0" * (size // 2), "100,000 levels": nested(100_000),
        "refusing": Refusing(), "slow": Slow(), "mapped": mapped(folder),
        "objects with a cycle": _cyclic_array(),
        "odd zone": datetime.datetime(1, 1, 1, tzinfo=Odd()),
        "offset of microseconds": datetime.datetime.max.replace(tzinfo=zone, fold=1),
        "year 1": datetime.datetime.min, "not a time": np.datetime64("NaT"),
    }  # fmt: skip
    for name, value in more.items():
        yield name, value, None
    with socket.socket() as open_socket:
        yield "socket", open_socket, False


def _cyclic_array() -> Any:
    array = np.array([1, None], dtype=object)
    array[1] = [array]
    return array


def generated(chance: random.Random, depth: int = 3) -> Any:
    """A value made at random, with the worst of every kind."""
    kind = chance.randrange(20 if depth else 14)
    if kind >= 14:
        return _container(chance, depth, kind)
    leaves: list[Callable[[], Any]] = [
        lambda: struct.unpack("d", chance.randbytes(8))[0],
        lambda: chance.choice([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.8e307]),
        lambda: chance.getrandbits(chance.choice([1, 53, 64, 16_000])) * chance.choice([1, -1]),
        lambda: _text(chance),
        lambda: chance.randbytes(chance.choice([0, 1, 30, 3000])),
        lambda: chance.choice([None, True, False, ..., NotImplemented, ""]),
        lambda: _moment(chance),
        lambda: datetime.timedelta(chance.randrange(-(10**8), 10**8), 1, chance.randrange(10**6)),
        lambda: decimal.Decimal(chance.choice(["NaN", "-0", "1E+999999", "0.10", "-Infinity"])),
        lambda: complex(-0.0, chance.choice([math.nan, -0.0, math.inf, 1.5])),
        lambda: np.frombuffer(chance.randbytes(48), chance.choice(["<f8", ">i2", "c16", "M8[s]"])),
        lambda: np.frombuffer(chance.randbytes(8), chance.choice(["f8", "i8", "u8", ">f8"]))[0],
        lambda: range(chance.randrange(10), 10**30, 7),
        lambda: datetime.date(chance.randrange(1, 10_000), 2, 28),
    ]  # fmt: skip
    return leaves[kind]()


def _text(chance: random.Random) -> str:
    points = [
        0,
        10,
        0x7F,
        0x85,
        0x202E,
        0x301,
        0xD800,
        0xDFFF,
        0xFEFF,
        0xFFFE,
        0x1F600,
        0x10FFFF,
        36,
        65,
    ]
    return "".join(chr(point) for point in chance.choices(points, k=chance.randrange(12)))


def _moment(chance: random.Random) -> datetime.datetime:
    minutes = chance.choice([0, 1, 839, -1439])
    zone = chance.choice(
        [None, datetime.UTC, datetime.timezone(datetime.timedelta(minutes=minutes))]
    )
    year = chance.choice([1, 1582, 1970, 2038, 9999])
    return datetime.datetime(
        year, 3, 29, 2, 30, microsecond=999_999, tzinfo=zone, fold=chance.randrange(2)
    )


def _container(chance: random.Random, depth: int, kind: int) -> Any:
    items = [generated(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == 14:
        return tuple(items)
    if kind == 15:
        return {chance.choice(["$", "", "a.b", "__proto__", _text(chance)]): item for item in items}
    if kind == 16:
        return {chance.choice([1, None, 2.5, (1, "a"), b"", True]): item for item in items}
    if kind == 17:
        return chance.choice([set, frozenset])(_text(chance) for _ in items)
    if kind == 18:
        array = np.empty(len(items), dtype=object)
        for at, item in enumerate(items):
            array[at] = item
        return array
    return items


def alike(one: Any, other: Any) -> bool:
    """Whether two generated values are the same, to the last bit."""
    kinds = [dict if type(value) is Namespace else type(value) for value in (one, other)]
    if kinds[0] is not kinds[1]:
        return False
    if isinstance(one, np.ndarray):
        return _same_arrays(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike(list(one), list(other)) and alike(list(one.values()), list(other.values()))
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or struct.pack("d", one) == struct.pack(
            "d", other
        )
    if isinstance(one, (set, frozenset, int, str)):
        return bool(one == other)
    return repr(one) == repr(other)


def _same_arrays(one: Any, other: Any) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return (
        alike(list(one), list(other)) if one.dtype.hasobject else one.tobytes() == other.tobytes()
    )


# -- one trial with a value everywhere --------------------------------------------------------


def give(x: Any) -> Any:
    """A persisted output."""
    return sys.modules["tests.torture.values"].BOX["value"]  # type: ignore[attr-defined]


def use(x: Any, y: Any) -> Any:
    """A metric, an artifact and the result."""
    trial, box = daskperiment.current(), sys.modules["tests.torture.values"].BOX  # type: ignore[attr-defined]
    try:
        trial.log_metric("m", box["value"])
    except TypeError as error:
        box["refused"] = str(error)
    trial.save_artifact("a", box["value"])
    return box["value"]


class Bench:
    """An experiment whose trials put a value in every place."""

    def __init__(self, backend: Backend) -> None:
        self.ex = Experiment("values", backend=backend)
        p = self.ex.parameter("p")
        self.node = self.ex.result(use)(p, self.ex.persist(give)(p))

    def tried(
        self, value: Any, kept: bool | None, same: Callable[[Any, Any], bool]
    ) -> Iterator[str]:
        """Violations of one value: `kept` tells whether it must be, None where both will do."""
        BOX.clear()
        BOX["value"] = value
        before, began = self.ex.trial_id, time.monotonic()
        try:
            returned = self.node.compute(parameters={"p": value}, scheduler="synchronous")
        except (Exception, SystemExit) as error:
            yield f"I7: compute raised {type(error).__name__}"
        else:
            if returned is not value:
                yield "I9: another value was returned"
        if time.monotonic() - began > SLOW:
            yield "I8: a trial took too long"
        if self.ex.trial_id != before + 1 or self.ex.latest.state is not TrialState.COMPLETE:
            yield "I1: the trial was not recorded"
            return
        yield from self._read(value, kept, same)
        yield from _metric(self.ex.latest, value)
        yield from _words(self.ex.latest, value)

    def _read(
        self, value: Any, kept: bool | None, same: Callable[[Any, Any], bool]
    ) -> Iterator[str]:
        trial = self.ex.latest
        places: dict[str, Callable[[], Any]] = {
            "parameter": lambda: trial.parameters["p"], "output": lambda: trial.persisted("give"),
            "result": lambda: trial.result, "artifact": lambda: trial.artifacts["a"].load(),
        }  # fmt: skip
        for place, read in places.items():
            try:
                found = read()
            except ValueNotKeptError as error:
                if kept or len(str(error)) < 20:
                    yield f"I1: {place} was not kept: {str(error)[:100]}"
            except Exception as error:
                yield f"I7: reading the {place} raised {error!r}"
            else:
                if kept is False or not same(found, value):
                    yield f"I1: {place} reads back as another value"


def _metric(trial: Any, value: Any) -> Iterator[str]:
    points = trial.metrics.get("m", [])
    if "refused" in BOX:
        if points or "must be one number" not in BOX["refused"]:
            yield f"I7: the metric was refused by {BOX['refused'][:80]}"
    elif len(points) != 1 or not alike(float(points[0].value), float(_item(value))):
        yield "I4: the metric is another number"


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _words(trial: Any, value: Any) -> Iterator[str]:
    """Tags and notes are texts: those of the value, or the error that it raises itself."""
    try:
        text, own = str(value), None
    except Exception as error:
        text, own = "", error
    try:
        trial.tags, trial.note = [value], value
    except Exception as error:
        if type(error) is not type(own) and not isinstance(error, DaskperimentError):
            yield f"I7: a note raised {error!r:.200}"
        return
    if trial.note != text or trial.tags != [text]:
        yield "I1: the note or the tag is another one"


@scenario(
    "F33",
    "hostile values in every place",
    plants=("surrogates-are-replaced", "encoding-is-unguarded"),
    short={"rounds": 50},
    long={"rounds": 10_000},
    planted={"rounds": 0},
)
def hostile_values(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Every value comes back as it was, or with the reason why it was not kept."""
    outcome = Outcome("F33", seed)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        payloads._keep_scalar.cache_clear()
        if plant:  # whose values must not stay behind
            stack.callback(payloads._keep_scalar.cache_clear)
            stack.enter_context(_PLANTED[plant]())
        for backend in (MemoryBackend(), LocalBackend(folder / "store")):
            stack.enter_context(closing(backend))
            bench = Bench(backend)
            for name, value, kept in corpus(folder, 10**7 if rounds > 1000 else 10**5):
                same = KEPT[name][1] if name in KEPT else _whatever
                outcome.add(f"{name}, {backend!r:.20}", bench.tried(value, kept, same))
                outcome.rounds += 1
            _generate(outcome, bench, rounds // 2)
            outcome.add("at the end", _readable(bench.ex, backend, full=rounds < 1000))
    outcome.faults = outcome.rounds
    return outcome


def _whatever(one: Any, other: Any) -> bool:
    return _same_arrays(one, other) if type(other) is np.memmap else type(one) is type(other)


def _generate(outcome: Outcome, bench: Bench, rounds: int) -> None:
    for n in range(rounds):
        number = outcome.seed * 10**6 + n
        value = generated(random.Random(number))
        outcome.add(f"value {number}", bench.tried(value, None, alike))
        outcome.rounds += 1


def _readable(ex: Experiment, backend: Backend, full: bool) -> Iterator[str]:
    try:
        # Not printed: pandas calls str() on integers in containers, which Python limits.
        frame = ex.get_history(verbose=True, where=None if full else "Success", limit=1000)
        if frame.empty:
            yield "I5: the history is empty"
        for finding in doctor.examine(backend):
            if finding.level == "problem":
                yield f"I5: doctor: {finding.what}"
    except Exception as error:
        yield f"I7: reading the history raised {error!r:.300}"


def _surrogates_are_replaced() -> Any:
    """What UTF-8 cannot hold becomes a question mark."""

    to_json = payload.to_json

    def replace(value: Any) -> Any:
        text = type(value) is str
        return to_json(value.encode(errors="replace").decode() if text else value)

    return mock.patch.object(payload, "to_json", replace)


def _encoding_is_unguarded() -> Any:
    """What goes wrong while a value is encoded ends the step."""

    def encode(value: Any) -> Any:
        try:
            return payload.encode(value)
        except payload.NotEncodable as error:
            raise error.__cause__ or error.__context__ or error from None

    return mock.patch.object(payloads, "encode", encode)


# -- names ------------------------------------------------------------------------------------

BITS = (
    "a", "A", "\ufb01", "fi", "\u212b", "\u00c5", "A\u030a", "\uff0e\uff0e", "..", "/", "%2e",
    "%2F", "#", "$", ".", ":", "*", "\n", "\0", "\u202e", "\u2066", "CON", "nul", "__proto__",
    "\U0001f600", "_", "1", " ", "\\", "\ud800", "\xa0", "\u3164", "x" * 300, "x" * 120,
    "Result", "Trial ID", " (parameter)", "constructor", "\u0131", "\u0130", "\xdf", "ss",
    "\u03c2", "\u03c3", "{", "'", '"', "?", "",
)  # fmt: skip


def names(chance: random.Random, count: int) -> list[str]:
    """Hostile names, each once; twins by case, by normal form and by quoting are among them."""
    made: dict[str, None] = dict.fromkeys(BITS)
    while len(made) < count:
        name = "".join(chance.choices(BITS, k=chance.randrange(1, 4)))
        made |= dict.fromkeys(chance.choice([[name], [name, name.swapcase()]]))
    return list(made)[-count:]


def several(trial_names: Any) -> Any:
    """A metric and an artifact for each name; gives those that were taken."""
    box = sys.modules["tests.torture.values"].BOX  # type: ignore[attr-defined]
    return box["several"](daskperiment.current())


def _accepted(
    outcome: Outcome, kind: str, made: list[str], attempt: Callable[[int, str], Any]
) -> dict[str, int]:
    """Names that were taken, with their numbers; others must be refused with the rule."""
    taken = {}
    for number, name in enumerate(made):
        try:
            attempt(number, name)
        except DaskperimentError as error:
            if not re.search(r"must be|at most|only one of them", str(error)) or "\n" in str(error):
                outcome.add(kind, [f"I7: {name!r} was refused without a rule: {error}"])
        except Exception as error:
            outcome.add(kind, [f"I7: {name!r} raised {error!r:.200}"])
        else:
            taken[name] = number
    outcome.count(f"{kind} taken", len(taken))
    outcome.faults += len(made)
    return taken


@scenario(
    "F34",
    "hostile names of everything that has one",
    plants=("experiments-are-folded", "columns-are-bare"),
    short={"rounds": 1},
    long={"rounds": 20},
)
def hostile_names(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Names that are taken stay distinct, and inside the store; others are refused."""
    outcome, chance = Outcome("F34", seed), random.Random(seed)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if plant:
            stack.enter_context(_PLANTED[plant]())
        for n in range(rounds):
            place = folder / f"names{n}"
            place.mkdir()
            with LocalBackend(place / "store") as backend:
                made = list(dict.fromkeys([*BITS, *names(chance, 100)]))
                outcome.add("experiments", _experiments(outcome, backend, names(chance, 100)))
                outcome.add("parameters", _parameters(outcome, backend, made))
                outcome.add("steps", _steps(outcome, backend, made))
                outcome.add("metrics", _inside(outcome, backend, made, place))
                outcome.add("doctor", _readable(Experiment("steps", backend), backend, True))
            found = {path.name for path in place.iterdir()}
            outcome.add("folder", [f"I10: {found}"] * (found != {"store", "saved"}))
            outcome.rounds += 1
    return outcome


def _experiments(outcome: Outcome, backend: Backend, made: list[str]) -> Iterator[str]:
    twins = ("\ufb01", "fi", "\u212b", "\u00e5", "\u00c5", "\u0131", "i", "\xdf", "ss", "a", "A")
    tried = [*made, *twins]
    handles: dict[str, Experiment] = {}

    def run(number: int, name: str) -> None:
        ex = Experiment(name, backend=backend)
        if ex.id not in handles:
            handles[ex.id] = ex
            ex.result(_given, name="given")(ex.parameter("p")).compute(parameters={"p": ex.id})

    _accepted(outcome, "experiments", tried, run)
    for name in handles:
        values = [trial.result for trial in Experiment(name, backend=backend).trials]
        if values != [name]:
            yield f"I1: experiment {name!r} has the trials of {values}"


def _given(p: Any) -> Any:
    return p


def _parameters(outcome: Outcome, backend: Backend, made: list[str]) -> Iterator[str]:
    ex = Experiment("parameters", backend=backend)
    nodes: dict[str, Any] = {}
    taken = _accepted(
        outcome, "parameters", made, lambda n, name: nodes.update({name: ex.parameter(name)})
    )
    node = ex.result(lambda *values: list(values), name="all")(*nodes.values())
    if node.compute(parameters=taken) != list(taken.values()):
        yield "I9: parameters were mixed up"
    if dict(ex.latest.parameters) != taken:
        yield "I1: parameters read back as others"
    history = ex.get_history()
    if not history.columns.is_unique:
        yield "I1: two parameters share a column"
        return
    row = history.iloc[0]
    for name, number in taken.items():
        if row[table.parameter_column(name)] != number:
            yield f"I1: the column of {name!r} is another one"


def _steps(outcome: Outcome, backend: Backend, made: list[str]) -> Iterator[str]:
    ex = Experiment("steps", backend=backend)
    p = ex.parameter("p", default=1)
    nodes: dict[str, Any] = {}

    def define(number: int, name: str) -> None:
        nodes[name] = ex.persist(lambda p: number, name=name)(p)

    taken = _accepted(outcome, "steps", made, define)
    if "all" in taken:
        del taken["all"], nodes["all"]
    ex.result(lambda values: values, name="all")(list(nodes.values())).compute()
    if set(ex.latest.steps["step"]) != {*taken, "all"}:
        yield "I1: steps have other names"
    for name, number in taken.items():
        if ex.get_persisted(name, 1) != number:
            yield f"I1: the output of {name!r} is another one"


def _inside(outcome: Outcome, backend: Backend, made: list[str], place: Path) -> Iterator[str]:
    ex = Experiment("inside", backend=backend)
    taken: dict[str, dict[str, int]] = {}

    def log(trial: Any) -> None:
        taken["metrics"] = _accepted(
            outcome, "metrics", made, lambda number, name: trial.log_metric(name, number)
        )
        taken["artifacts"] = _accepted(
            outcome, "artifacts", made, lambda number, name: trial.save_artifact(name, str(number))
        )

    BOX["several"] = log
    ex.result(several)(ex.parameter("p", default=1)).compute()
    points = {name: series[0].value for name, series in ex.latest.metrics.items()}
    if points != taken["metrics"]:
        yield "I4: metrics were mixed up"
    if {name: int(kept.load()) for name, kept in ex.latest.artifacts.items()} != taken["artifacts"]:
        yield "I1: artifacts were mixed up"
    for name, number in taken["artifacts"].items():
        file = ex.latest.artifacts[name].save(place / "saved" / str(number) / name)
        if not file.resolve().is_relative_to((place / "saved" / str(number)).resolve()):
            yield f"I10: {name!r} is saved as {file}"


def _experiments_are_folded() -> Any:
    """Experiments are found whatever the case of their names."""
    experiment = paths.experiment
    return mock.patch.object(paths, "experiment", lambda name: experiment(name.lower()))


def _columns_are_bare() -> Any:
    """A parameter's column is its name."""
    return mock.patch.object(table, "parameter_column", lambda name: name)


_PLANTED: dict[str, Callable[[], Any]] = {
    "surrogates-are-replaced": _surrogates_are_replaced,
    "encoding-is-unguarded": _encoding_is_unguarded,
    "experiments-are-folded": _experiments_are_folded,
    "columns-are-bare": _columns_are_bare,
}
