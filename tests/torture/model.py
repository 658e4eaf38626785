"""A model check: histories against a dictionary, with several handles and processes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from daskperiment.backends.local import LocalBackend
from daskperiment.history.mirror import Mirror
from daskperiment.history.trials import Trials
from daskperiment.testing.stateful import backend_machine
from tests.torture.handles import CANCELLED, DIES, Actor, Elsewhere
from tests.torture.harness import ROOT, Outcome, scenario

ABSENT, AT_WORK = "TrialIDNotFoundError", "TrialRunningError"
QUESTIONS = ("history", "chosen", "trials", "latest", "counts")
CRASH = "CRASHED(the process that ran the trial is gone)"


@dataclass
class Row:
    """A trial as the model has it."""

    number: int
    a: int | None
    state: str = "RUNNING"
    provisional: bool = False
    result: Any = None
    description: str | None = None
    late: bool = False
    tags: list[str] = field(default_factory=list)
    note: str = ""
    metrics: Any = field(default_factory=dict)
    removed: bool = False
    collected: bool = False

    def end(self, state: str, result: Any = None, description: str | None = None) -> None:
        """End it if it may still end."""
        late = self.state == "CRASHED" and state in ("COMPLETE", "PRUNED")
        if self.collected or not (self.state == "RUNNING" or self.provisional or late):
            return
        self.state, self.result, self.description = state, result, description
        self.provisional, self.late = False, late

    def forget(self, part: str) -> str | None:
        """Forget a part; the name of the error where there is none."""
        if part == "parameters.a":
            self.a = None
        elif part == "result":
            self.result = "not kept" if self.state == "COMPLETE" else None
        elif part == "error":
            self.description = None
        elif part == "metrics":
            self.metrics = "not kept"
        elif not self.metrics or self.metrics == "not kept":
            return "FieldNotFoundError"
        else:
            self.metrics = {}
        return None


class Model:
    """All trials of an experiment; it answers what an actor must."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, a: int) -> Row:
        """A trial that begins."""
        self.rows.append(Row(len(self.rows) + 1, a))
        return self.rows[-1]

    def run(self, a: int) -> None:
        """A trial from its begin to its end."""
        row = self.add(a)
        if a == DIES:
            return row.end("CRASHED", description=CRASH)
        row.metrics = {"loss": [a, a + 1, a + 2]}
        if a == CANCELLED:
            return row.end("CANCELLED", description="KeyboardInterrupt()")
        if a == 0:
            return row.end("FAILED", description="ZeroDivisionError(division by zero)")
        return row.end("COMPLETE", 6 / a)

    def edit(self, number: int, change: Callable[[Row], Any], ended: bool = False) -> Any:
        """Change a trial that is there and, if need be, has ended."""
        if number > len(self.rows) or self.rows[number - 1].removed:
            return ABSENT
        row = self.rows[number - 1]
        return AT_WORK if ended and row.state == "RUNNING" else change(row)

    def restore(self, number: int) -> Any:
        """Bring back what was not collected."""
        if number > len(self.rows) or self.rows[number - 1].collected:
            return ABSENT
        self.rows[number - 1].removed = False
        return None

    def gc(self) -> int:
        """Collect what was removed."""
        doomed = [row for row in self.rows if row.removed and not row.collected]
        for row in doomed:
            row.collected = True
        return len(doomed)

    @property
    def _there(self) -> Iterator[Row]:
        return (row for row in self.rows if not row.removed)

    def history(self) -> Any:
        """As `Actor.history`."""
        shown = [row for row in self._there if row.state != "RUNNING"]
        return [
            [
                row.number, row.a, None if row.result == "not kept" else row.result, row.state,
                row.tags, row.note, row.late, row.description,
            ]
            for row in shown
        ]  # fmt: skip

    def chosen(self) -> Any:
        """As `Actor.chosen`."""
        found = [row for row in self._there if row.state == "COMPLETE" and (row.a or 0) > 1]
        return [row.number for row in sorted(found, key=lambda row: -(row.a or 0))]

    def trials(self) -> Any:
        """As `Actor.trials`."""
        return [
            [
                row.number, row.state, {} if row.a is None else {"a": row.a}, row.result,
                row.tags, row.note, row.metrics,
            ]
            for row in self._there
        ]  # fmt: skip

    def latest(self) -> Any:
        """As `Actor.latest`."""
        return max((row.number for row in self._there), default=ABSENT)

    def counts(self) -> Any:
        """As `Actor.counts`."""
        restorable = [row.number for row in self.rows if row.removed and not row.collected]
        return [len(list(self._there)), len(self.rows), restorable]


def history_machine(folder: Path, other: Elsewhere) -> type[RuleBasedStateMachine]:
    """The machine: two handles in this process and two in another, on one store."""
    hands = st.sampled_from(["a", "b", "other c", "other d"])
    picks = st.integers(0, 10**6)
    values = st.sampled_from([0, 1, 2, 3, CANCELLED])

    class HistoryMachine(RuleBasedStateMachine):
        stores = 0

        def __init__(self) -> None:
            super().__init__()
            HistoryMachine.stores += 1
            self.store = folder / f"model{HistoryMachine.stores}"
            self.model, self.here = Model(), Actor(str(self.store))
            self.running: dict[int, str] = {}
            other.ask("open", str(self.store))

        def teardown(self) -> None:
            try:
                for hand in ("a", "b", "other c", "other d"):
                    for question in QUESTIONS:
                        self.compare(hand, question)
            finally:
                self.here.close()
                other.ask("close")
                shutil.rmtree(self.store, ignore_errors=True)

        def act(self, hand: str, *action: Any) -> Any:
            if hand.startswith("other"):
                return other.ask(hand, *action)
            return self.here.act(hand, *action)

        def expect(self, expected: Any, hand: str, *action: Any) -> None:
            actual = self.act(hand, *action)
            assert actual == expected, f"{hand} {action}: {actual} instead of {expected}"

        def compare(self, hand: str, question: str) -> None:
            self.expect(getattr(self.model, question)(), hand, question)

        def edit(self, watcher: str, expected: Any, hand: str, *action: Any) -> None:
            """Let one hand edit while another one looks, before and after."""
            with suppress(AssertionError):  # the model has changed already
                self.compare(watcher, "history")
            self.expect(expected, hand, *action)
            self.compare(watcher, "history")

        def number(self, pick: int) -> int:
            return 1 + pick % (len(self.model.rows) + 1)

        @rule(hand=hands, a=values)
        def run(self, hand: str, a: int) -> None:
            self.model.run(a)
            self.expect(None, hand, "run", a)

        @rule(hand=st.sampled_from(["other c", "other d"]))
        def die(self, hand: str) -> None:
            self.model.run(DIES)
            self.expect(None, hand, "die")

        @rule(hand=hands, a=values)
        def begin(self, hand: str, a: int) -> None:
            row = self.model.add(a)
            self.running[row.number] = hand
            self.expect(row.number, hand, "begin", a)

        @rule(hand=hands, eye=hands, how=st.sampled_from(["finish", "fail"]))
        def end_late(self, hand: str, eye: str, how: str) -> None:
            self.begin(hand, 2)
            row = self.model.rows[-1]
            self._bury(row, "b" if hand.startswith("other") else "other d")
            self.compare(eye, "history")
            del self.running[row.number]
            self._end(row, hand, how)
            self.compare(eye, "history")

        @rule(
            pick=picks, eye=hands, how=st.sampled_from(["finish", "fail", "fail for now", "bury"])
        )
        def go_on(self, pick: int, eye: str, how: str) -> None:
            if not self.running:
                return
            self.compare(eye, "history")
            self._go_on(pick, how)
            self.compare(eye, "history")

        def _go_on(self, pick: int, how: str) -> None:
            number = list(self.running)[pick % len(self.running)]
            row, hand = self.model.rows[number - 1], self.running[number]
            if how == "fail for now":
                self._fail_for_now(row, hand)
            elif how == "bury":
                self._bury(row, "a" if hand.startswith("other") else "other c")
            else:
                del self.running[number]
                self._end(row, hand, how)

        def _fail_for_now(self, row: Row, hand: str) -> None:
            row.description = "UnluckyError(for now)"
            if row.state == "RUNNING":
                row.state, row.provisional = "FAILED", True
            self.expect(None, hand, "fail_for_now", row.number)

        def _bury(self, row: Row, hand: str) -> None:
            if row.removed:
                return
            if row.state == "RUNNING":
                row.end("CRASHED", description=CRASH)
            row.provisional = False
            self.expect(None, hand, "bury", row.number)

        def _end(self, row: Row, hand: str, how: str) -> None:
            if how == "finish":
                row.end("COMPLETE", row.number / 2)
                self.expect(None, hand, "finish", row.number, row.number / 2)
            else:
                row.end("FAILED", description="UnluckyError(for good)")
                self.expect(None, hand, "fail", row.number)

        @rule(hand=hands, eye=hands, pick=picks, tags=st.lists(st.sampled_from("xyz"), unique=True))
        def tag(self, hand: str, eye: str, pick: int, tags: list[str]) -> None:
            number = self.number(pick)
            expected = self.model.edit(number, lambda row: setattr(row, "tags", tags))
            self.edit(eye, expected, hand, "tag", number, tags)

        @rule(hand=hands, eye=hands, pick=picks, note=st.text(max_size=3))
        def note(self, hand: str, eye: str, pick: int, note: str) -> None:
            number = self.number(pick)
            expected = self.model.edit(number, lambda row: setattr(row, "note", note))
            self.edit(eye, expected, hand, "note", number, note)

        @rule(hand=hands, eye=hands, pick=picks)
        def remove(self, hand: str, eye: str, pick: int) -> None:
            number = self.number(pick)
            gone = self.model.edit(number, lambda row: setattr(row, "removed", True), ended=True)
            self.edit(eye, gone, hand, "remove", number)

        @rule(hand=hands, eye=hands, pick=picks)
        def restore(self, hand: str, eye: str, pick: int) -> None:
            number = self.number(pick)
            self.edit(eye, self.model.restore(number), hand, "restore", number)

        @rule(
            hand=hands,
            eye=hands,
            pick=picks,
            part=st.sampled_from(["result", "parameters.a", "error", "metrics", "metrics.loss"]),
        )
        def forget(self, hand: str, eye: str, pick: int, part: str) -> None:
            number = self.number(pick)
            expected = self.model.edit(number, lambda row: row.forget(part), ended=True)
            self.edit(eye, expected, hand, "forget", number, part)

        @rule(hand=hands)
        def gc(self, hand: str) -> None:
            self.expect(self.model.gc(), hand, "gc")

        @rule(hand=hands)
        def reopen(self, hand: str) -> None:
            self.expect(None, hand, "reopen")

        @rule(hand=hands, question=st.sampled_from(QUESTIONS))
        def ask(self, hand: str, question: str) -> None:
            self.compare(hand, question)

        @rule(question=st.sampled_from(QUESTIONS))
        def ask_all(self, question: str) -> None:
            for hand in ("a", "b", "other c", "other d"):
                self.compare(hand, question)

    return HistoryMachine


@scenario(
    "F41",
    "histories against a model, with handles in two processes",
    plants=("rows-are-kept", "late-is-refused", "edit-untold"),
    short={"runs": 8, "steps": 30, "contract": 0},
    long={"runs": 300, "steps": 50, "contract": 300},
    planted={"runs": 15, "steps": 20, "contract": 0},
)
def model_check(
    start: int, folder: Path, plant: str | None, *, runs: int, steps: int, contract: int
) -> Outcome:
    """Everything that several hands do is seen by all of them as by a dictionary."""
    outcome = Outcome("F41", start)
    other = Elsewhere(ROOT)
    with ExitStack() as stack:
        stack.callback(other.close)
        logging.disable()
        stack.callback(logging.disable, logging.NOTSET)
        if plant:
            _plant(stack, plant)
        machine = history_machine(folder, other)
        _check(outcome, machine, runs, steps, shrunk=plant is None)
        outcome.rounds = outcome.faults = machine.stores  # type: ignore[attr-defined]
    if contract:
        made = iter(range(10**9))
        backends = backend_machine(lambda: LocalBackend(folder / f"contract{next(made)}"))
        _check(outcome, backends, contract, steps)
        outcome.figures["runs of the contract"] = next(made)
    return outcome


def _check(outcome: Outcome, machine: Any, runs: int, steps: int, shrunk: bool = True) -> None:
    phases = [Phase.generate, Phase.shrink] if shrunk else [Phase.generate]
    form = settings(
        max_examples=runs, stateful_step_count=steps, phases=phases, deadline=None,
        database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    try:
        run_state_machine_as_test(seed(outcome.seed)(machine), settings=form)
    except Exception as error:
        how = "\n".join(getattr(error, "__notes__", []))
        outcome.add("model", [f"I1: {type(error).__name__}: {error}\n{how}"])


def _plant(stack: ExitStack, plant: str) -> None:
    """Plant a bug in this process; the other one stays as it is."""
    patches = {
        "rows-are-kept": _rows_are_kept,
        "late-is-refused": _late_is_refused,
        "edit-untold": _edit_untold,
    }
    stack.enter_context(patches[plant]())


def _rows_are_kept() -> Any:
    """Rows that were read once are not read again, whatever becomes of their trials."""
    return mock.patch.object(Mirror, "_look_again", lambda *_: True)


def _late_is_refused() -> Any:
    """A trial that was thought dead stays dead."""
    from daskperiment.history import trials

    return mock.patch.object(trials, "PRESUMED_DEAD", {"state": "never"})


def _edit_untold() -> Any:
    """Rows are edited, and the log of changes does not tell of it."""

    def edit(self: Trials, number: int, changes: Any, expect: Any = None) -> bool:
        return bool(self.backend.update(self._path, number, changes, expect))

    return mock.patch.object(Trials, "edit", edit)
