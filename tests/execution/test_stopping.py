"""Stopping a step in another thread, which must harm no other one."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from daskperiment.execution.stopping import Stop


class Step:
    """A function that runs in a thread of its own, within a stop."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.stop, self.began = Stop(), threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.began.wait()

    def _run(self) -> None:
        try:
            with self.stop:
                self.began.set()
                self.value = self._function()
        except BaseException as error:
            self.error = error

    def ended(self) -> Step:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self


def for_ever() -> None:
    while True:
        sum(range(10))


def test_a_step_in_python_raises_what_was_asked_for() -> None:
    step = Step(for_ever)

    step.stop.request(TimeoutError("too long"))

    assert isinstance(step.ended().error, TimeoutError)


def test_a_step_that_waits_in_c_is_stopped_when_that_is_over() -> None:
    gate = threading.Lock()
    gate.acquire()

    def wait() -> None:
        gate.acquire()
        for_ever()

    step = Step(wait)
    step.stop.request(TimeoutError("too long"))
    time.sleep(0.5)
    assert step.error is None
    gate.release()

    assert isinstance(step.ended().error, TimeoutError)


def profiled() -> int:
    return 1


@pytest.mark.parametrize("tracer", [sys.setprofile, sys.settrace])
def test_threads_that_are_profiled_go_on_while_one_is_stopped(tracer: Any) -> None:
    gate, before = (
        threading.Lock(),
        sys.getprofile() if tracer is sys.setprofile else sys.gettrace(),
    )
    gate.acquire()
    step = Step(gate.acquire)
    step.stop.request(TimeoutError("too long"))

    tracer(lambda *_: None)
    try:
        done = [profiled() for _ in range(10)]
    finally:
        tracer(before)
    gate.release()
    step.ended()
    tracer(lambda *_: None)
    try:
        done += [profiled() for _ in range(10)]
    finally:
        tracer(before)

    assert done == [1] * 20


def test_what_cleans_up_is_not_stopped_again() -> None:
    cleaned: list[int] = []

    def clean() -> None:
        try:
            for_ever()
        finally:
            deadline = time.monotonic() + 0.7
            while time.monotonic() < deadline:
                sum(range(10))
            cleaned.append(1)

    step = Step(clean)
    step.stop.request(TimeoutError("too long"))

    assert isinstance(step.ended().error, TimeoutError)
    assert cleaned == [1]


def test_nothing_arrives_after_the_step() -> None:
    for _ in range(200):
        step = Step(lambda: sum(range(1000)))
        step.stop.request(TimeoutError("too long"))
        step.ended()
        assert step.error is None or isinstance(step.error, TimeoutError)
        assert step.error is not None or step.value == 499500


def test_a_step_that_swallows_it_is_not_stopped_and_the_next_one_does_not_begin() -> None:
    def swallow() -> str:
        try:
            for_ever()
        except BaseException:
            time.sleep(0.5)
        return "stayed"

    step = Step(swallow)
    step.stop.request(TimeoutError("too long"))

    assert step.ended().value == "stayed"
    with pytest.raises(TimeoutError), step.stop:
        raise AssertionError("it has begun")
