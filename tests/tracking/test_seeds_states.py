"""Where the streams of a call stand is plain data, from which another call goes on."""

from __future__ import annotations

import json
import random
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from daskperiment import PayloadError
from daskperiment.tracking import seeds
from daskperiment.tracking.seeds import Draws

DRAWS = {
    "random": lambda: random.random(),
    "gauss": lambda: random.gauss(0, 1),
    "numpy": lambda: float(np.random.random()),
    "numpy normal": lambda: float(np.random.normal()),
    "rng": lambda: float(_rng().random()),
    "rng integers": lambda: int(_rng().integers(10, dtype=np.int32)),
}


def _rng() -> np.random.Generator:
    draws = seeds.current()
    assert draws is not None
    return draws.rng()


def through_json(state: Any) -> Any:
    return json.loads(json.dumps(state))


@pytest.mark.parametrize("before", [0, 1, 2, 3])
@pytest.mark.parametrize("name", DRAWS)
def test_each_stream_goes_on_where_it_stood(name: str, before: int) -> None:
    draw = DRAWS[name]
    with seeds.seeded(3) as draws:
        for _ in range(before):
            draw()
        state = through_json(seeds.state_of(draws))
        expected = [draw() for _ in range(5)]
    with seeds.seeded(3) as other:
        for earlier in DRAWS.values():  # whatever was drawn before is undone
            earlier()
        seeds.restore(other, state)
        assert [draw() for _ in range(5)] == expected


@pytest.mark.parametrize("name", DRAWS)
def test_what_was_drawn_before_counts_and_asking_does_not(name: str) -> None:
    with seeds.seeded(3) as draws:
        nothing = seeds.state_of(draws)
        assert not draws.drew
        DRAWS[name]()
        uses, state = draws.uses, seeds.state_of(draws)
        assert draws.uses == uses
    with seeds.seeded(3) as draws:
        seeds.restore(draws, state)
        assert draws.drew and not draws.entropy
    with seeds.seeded(3) as draws:
        seeds.restore(draws, nothing)
        assert not draws.drew


def test_streams_of_other_threads_stay_where_they_are() -> None:
    with seeds.seeded(8) as draws:
        alone = [np.random.random() for _ in range(4)]
        state = seeds.state_of(draws)
    barrier = threading.Barrier(2, timeout=20)
    drawn = []

    def other() -> None:
        with seeds.seeded(8):
            for _ in range(4):
                drawn.append(np.random.random())
                barrier.wait()
                barrier.wait()

    thread = threading.Thread(target=other)
    thread.start()
    with seeds.seeded(9) as draws:
        for _ in range(4):
            barrier.wait()
            np.random.random()
            seeds.state_of(draws)
            seeds.restore(draws, state)
            barrier.wait()
        mine = np.random.random()
    thread.join()

    with seeds.seeded(8):
        expected = [np.random.random() for _ in range(5)]
    assert drawn == alone == expected[:4]
    assert mine == expected[4]


def test_the_users_own_streams_stay_where_they_are() -> None:
    random.seed(4), np.random.seed(4)
    expected = random.random(), np.random.random()
    random.seed(4), np.random.seed(4)
    with seeds.seeded(1) as draws:
        random.random(), np.random.random()
        seeds.restore(draws, seeds.state_of(draws))
        random.random(), np.random.random()

    assert (random.random(), np.random.random()) == expected


def _states() -> list[Any]:
    with seeds.seeded(1) as draws:
        for draw in DRAWS.values():
            draw()
        whole = through_json(seeds.state_of(draws))
    assert set(whole) == {"uses", "entropy", "random", "numpy", "rng"}
    random_, numpy_ = whole["random"], whole["numpy"]
    return [
        None, [], {}, {"uses": 1},
        {**whole, "uses": "many"},
        {**whole, "random": ["AAAA", *random_[1:]]},
        {**whole, "random": [random_[0], 625, None]},
        {**whole, "random": [random_[0][:-8], *random_[1:]]},
        {**whole, "numpy": [numpy_[0], -1, 0, 0.0]},
        {**whole, "numpy": 7},
        {**whole, "rng": {**whole["rng"], "bit_generator": "MT19937"}},
        {**whole, "rng": {"bit_generator": "PCG64"}},
        {**whole, "torch": ["not base 64!"]},
    ]  # fmt: skip


@pytest.mark.parametrize("state", _states(), ids=range(13))
def test_what_is_no_state_is_refused_and_changes_nothing(state: Any) -> None:
    with seeds.seeded(2):
        expected = [draw() for draw in DRAWS.values()]
    with seeds.seeded(2) as draws:
        with pytest.raises(PayloadError, match="random generators cannot be read"):
            seeds.restore(draws, state)
        assert not draws.drew
        assert [draw() for draw in DRAWS.values()] == expected


# -- torch, by a stand-in with the interface that is used ---------------------------------


class Generator:
    """A stream whose position is all of its state."""

    def __init__(self) -> None:
        self.state = np.zeros(8, dtype=np.uint8)

    def manual_seed(self, seed: int) -> None:
        self.state = np.frombuffer(seed.to_bytes(4) + bytes(4), dtype=np.uint8)

    def draw(self) -> int:
        number = int.from_bytes(self.state.tobytes()) + 1
        self.state = np.frombuffer(number.to_bytes(8), dtype=np.uint8)
        return number


class Tensor:
    """What holds a state."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values, dtype=np.uint8)

    def numpy(self) -> Any:
        return self.values


def stand_in(devices: int) -> tuple[Any, Generator, list[Generator]]:
    """A module with the functions of torch that are used here."""
    torch: Any = ModuleType("torch")
    torch.__spec__ = ModuleSpec("torch", None)
    cpu, cuda = Generator(), [Generator() for _ in range(devices)]

    def put(generator: Generator, state: Tensor) -> None:
        generator.state = state.values

    torch.default_generator, torch.uint8 = cpu, np.uint8
    torch.get_rng_state = lambda: Tensor(cpu.state)
    torch.set_rng_state = lambda state: put(cpu, state)
    torch.frombuffer = lambda data, dtype: Tensor(np.frombuffer(data, dtype=dtype))
    torch.equal = lambda one, other: bool((one.values == other.values).all())
    torch.cuda = SimpleNamespace(
        is_initialized=lambda: bool(cuda), is_available=lambda: bool(cuda),
        device_count=lambda: len(cuda),
        manual_seed_all=lambda seed: [each.manual_seed(seed) for each in cuda],
        get_rng_state_all=lambda: [Tensor(each.state) for each in cuda],
        set_rng_state_all=lambda states: list(map(put, cuda, states)),
    )  # fmt: skip
    return torch, cpu, cuda


@pytest.mark.parametrize("devices", [0, 2])
def test_frameworks_go_on_where_they_stood(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    torch, cpu, cuda = stand_in(devices)
    monkeypatch.setitem(sys.modules, "torch", torch)

    def drawing(draws: Draws) -> list[int]:
        return [each.draw() for each in (cpu, *cuda)]

    with seeds.seeded(5) as draws:
        drawing(draws)
        state = through_json(seeds.state_of(draws))
        expected = drawing(draws)
    with seeds.seeded(5) as draws:
        seeds.restore(draws, state)
        assert drawing(draws) == expected
    with seeds.seeded(5) as draws:
        seeds.restore(draws, state)
    assert draws.drew
    assert not any(each.state.any() for each in (cpu, *cuda))


def test_devices_that_are_not_here_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    torch, cpu, _ = stand_in(2)
    monkeypatch.setitem(sys.modules, "torch", torch)
    with seeds.seeded(5) as draws:
        cpu.draw()
        state, expected = seeds.state_of(draws), cpu.draw()

    torch, cpu, _ = stand_in(0)
    monkeypatch.setitem(sys.modules, "torch", torch)
    with seeds.seeded(5) as draws:
        seeds.restore(draws, state)
        assert cpu.draw() == expected
    assert "CUDA's generators is not restored" in caplog.text

    monkeypatch.delitem(sys.modules, "torch")
    with seeds.seeded(5) as draws:
        seeds.restore(draws, state)
    assert "torch is not imported yet" in caplog.text
