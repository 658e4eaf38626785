"""Plan: what each step call of a graph would do and why, before any of them runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from dask.task_spec import Alias, DataNode, GraphNode, Task, TaskRef
from dask.utils import funcname

from daskperiment.execution.offers import NEW, OFF, Answer, Offer, Offers
from daskperiment.execution.reuse import IMPURE, Reuse, Rules, saved
from daskperiment.execution.shared import compared, unreadable
from daskperiment.execution.step import digested, identity_of, seed_of
from daskperiment.fingerprint.plain import ATOMS
from daskperiment.graph import OUTSIDE, Layout, StepCall
from daskperiment.history import payloads
from daskperiment.history.comparison import Code
from daskperiment.history.observations import Observations
from daskperiment.history.trials import Trials, duration
from daskperiment.lineage import why
from daskperiment.lineage.why import Call, Past, Place, gives
from daskperiment.records import Argument, CallIdentity, Origin, StepRecord
from daskperiment.tracking import code, seeds
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd

Action: TypeAlias = Literal["reuse", "run", "depends"]
_NO_SEED = -1
"""Seed of a call of which none is known."""
_UNKNOWN = "?"
"""Digest of an input that is not known yet."""


class Planned(NamedTuple):
    """What one step call would do.

    Parameters
    ----------
    step, call : str, int
        Name of the step and which call of it in graph order, from 0.
    action : str
        ``reuse``, ``run``, or ``depends`` where it may be reused and that is known only later.
    reason : str
        Why, as a clause.
    seconds : float or None
        How long it took last time: what it will take, or what reuse saves.
    bytes : int or None
        Size of its output then.
    inputs : tuple of Argument
        Its arguments; the digest of one that is not known yet is ``?``.
    """

    step: str
    call: int
    action: Action
    reason: str
    seconds: float | None
    bytes: int | None
    inputs: tuple[Argument, ...]

    @property
    def place(self) -> Place:
        """The step, and which call of it."""
        return self.step, self.call


class Plan:
    """What each step call of a graph would do, in graph order.

    ``str`` gives it as text, a notebook shows it as a graph, iterating gives each
    :class:`Planned`, and columns are asked for as of a data frame.

    Parameters
    ----------
    calls : sequence of Planned
        The calls.
    values : mapping of str to str
        Texts of the parameters.

    Attributes
    ----------
    calls : list of Planned
        The calls.

    Examples
    --------
    >>> from daskperiment import Experiment
    >>> ex = Experiment("doc_plan", backend="memory://", seed=1, reuse=True)
    >>> @ex
    ... def clean(a):
    ...     return [a]
    >>> @ex.result
    ... def score(data, b):
    ...     return len(data) + b
    >>> s = score(clean(ex.parameter("a", default=1)), ex.parameter("b", default=2))
    >>> s.compute()
    3
    >>> ex.plan(s, {"b": 3})[["step", "action", "reason"]]
        step action                              reason
    0  clean  reuse                        from trial 1
    1  score    run  input 'b' is 3, it was 2 in trial 1
    """

    def __init__(self, calls: Sequence[Planned], values: Mapping[str, str]) -> None:
        self.calls = list(calls)
        self._values = dict(values)

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each call: step, call, action, reason, seconds and bytes."""
        import pandas as pd

        columns = list(Planned._fields[:-1])
        return pd.DataFrame([each[:-1] for each in self.calls], columns=columns)

    def __getitem__(self, column: Any) -> Any:
        return self.frame[column]

    def __iter__(self) -> Iterator[Planned]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    @property
    def summary(self) -> str:
        """How many calls would run, and how long that may take."""
        return ", ".join(_counted(self.calls, action) for action in ("reuse", "run", "depends"))

    def document(self) -> Document:
        """The plan as JSON: its ``calls``, and how many of them there are by action."""
        calls = [dict(zip(Planned._fields[:-1], each[:-1], strict=True)) for each in self.calls]
        counts = {
            action: sum(each.action == action for each in self.calls)
            for action in ("reuse", "run", "depends")
        }
        return {"calls": calls, **counts}

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
        lines = [
            f"{name:{widths[0]}}  {action:{widths[1]}}  {reason:{widths[2]}}  {took}".rstrip()
            for name, action, reason, took in rows
        ]
        return "\n".join([*lines, self.summary])

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (self._label(each), each.action, each.reason, duration(each.seconds) or "")
            for each in self.calls
        ]

    def _label(self, planned: Planned) -> str:
        return why.label(planned.place, [each.step for each in self.calls])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from daskperiment.lineage.dag import dag
        from daskperiment.lineage.picture import picture

        sentences = {each.place: f"{each.action} {each.reason}" for each in self.calls}
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._rows()
        )
        graph = picture(dag([_record(each) for each in self.calls]), self._values, sentences)
        return f"{graph}<table>{rows}</table><div>{escape(self.summary)}</div>"


def _record(planned: Planned) -> StepRecord:
    """A planned call as if it had ended, to be drawn."""
    seconds = math.nan if planned.seconds is None else planned.seconds
    return StepRecord(
        "", planned.step, planned.call, planned.inputs, None, None, _NO_SEED, False, False, {},
        "", "", 0, 0.0, seconds, planned.action,
    )  # fmt: skip


def _counted(calls: Sequence[Planned], action: Action) -> str:
    chosen = [each for each in calls if each.action == action]
    took = [each.seconds for each in chosen if each.seconds is not None]
    about = f" ({'saves ' if action == 'reuse' else ''}{duration(sum(took))})" if took else ""
    return f"{action} {len(chosen)}{about}"


def plan(
    layout: Layout, trials: Trials, reuse: Reuse | None, values: Mapping[str, Any],
    seed: int | None,
) -> Plan:  # fmt: skip
    """What a trial of a graph would do; nothing of it runs, and nothing is written.

    Parameters
    ----------
    layout : Layout
        The graph.
    trials : Trials
        The trials of its experiment.
    reuse : Reuse or None
        What may be taken; None where nothing is recorded.
    values : mapping
        Values of its parameters.
    seed : int or None
        Seed of the trial; None where it draws one.
    """
    seeds.install()  # as before a trial: functions of `random` are then the same
    captured = code.capture({name: step.fn for name, step in layout.steps.items()})
    planner = _Planner(layout, trials, reuse, captured, values, seed)
    documents = {name: payloads.keep(value)[0] for name, value in values.items()}
    planner.secret = {name for name, document in documents.items() if document.get("secret")}
    shown = {name: str(document["preview"]) for name, document in documents.items()}
    return Plan(list(planner.calls()), shown)


class _Unknown(NamedTuple):
    """A value that is known only when the trial runs."""

    waits: tuple[str, ...]


class _Planner:
    """Goes through a graph and says of each call what it would do."""

    secret: set[str]

    def __init__(
        self, layout: Layout, trials: Trials, reuse: Reuse | None, captured: code.CodeCapture,
        values: Mapping[str, Any], seed: int | None,
    ) -> None:  # fmt: skip
        rules = None if reuse is None else reuse.rules(layout.steps, captured)
        self._graph = layout.local(None, values)
        self._parameters = set(layout.parameters.values())
        self._names = [call.step.name for call in layout.calls]
        self._rules = rules or Rules({}, {}, {})
        self._packages = reuse.packages if reuse is not None else "exact"
        self._fingerprints = {name: step.digest for name, step in captured.steps.items()}
        self._code = Code(captured.document, captured.texts.__getitem__)
        self._seed = seed
        observations = Observations(trials.backend, trials.name)
        self._offers = Offers(trials, self._rules, observations)
        self._past = Past(trials)
        self._values: dict[Any, Any] = {}
        self._taken: dict[Place, int] = {}
        self._running: dict[str, str] = {}
        self._open: set[str] = set()

    def calls(self) -> Iterator[Planned]:
        """What each call would do."""
        for key, node in self._graph.items():
            if key in self._parameters:
                self._values[key] = node({})
            elif isinstance(call := getattr(node, "func", None), StepCall):
                planned, self._values[key] = self._planned(call, node)
                yield planned
            else:
                self._values[key] = self._value(node)

    # -- values

    def _value(self, part: Any) -> Any:
        """What a part of the graph stands for, as far as that is known without running it."""
        if isinstance(part, TaskRef):
            return self._values.get(part.key)
        if isinstance(part, Alias):
            return self._values.get(part.target)
        if isinstance(part, DataNode):
            return part.value
        if not isinstance(part, GraphNode):
            return part
        args = [self._value(each) for each in part.args]
        kwargs = {name: self._value(each) for name, each in part.kwargs.items()}
        if unknown := [v for v in (*args, *kwargs.values()) if isinstance(v, _Unknown)]:
            return _Unknown(tuple(dict.fromkeys(w for each in unknown for w in each.waits)))
        if type(part) is not Task or _is_plain(part, (*args, *kwargs.values())):
            try:
                return part.func(*args, **kwargs)
            except Exception:  # the trial will say so
                return _Unknown((f"{funcname(part.func)}, which fails",))
        return _Unknown((f"{funcname(part.func)}, which is no step",))

    # -- one call

    def _planned(self, call: StepCall, node: Any) -> tuple[Planned, Any]:
        args = [self._value(part) for part in node.args[1:]]
        named = {name: self._value(part) for name, part in node.kwargs.items()}
        given = [*args, *call.completed(named, OUTSIDE).values()]
        inputs, waits = self._inputs(call, given)
        seed = _NO_SEED if self._seed is None else seed_of(self._seed, call)
        name = call.step.name
        identity = identity_of(call, self._fingerprints.get(name), inputs, seed)
        if name not in self._rules.packages:
            return self._ran(call, inputs, OFF)
        if waits:
            return self._waiting(call, identity, inputs, waits)
        answer = self._offers.ask(call, identity)
        if answer.offer is not None:
            return self._offered(call, inputs, answer.offer)
        if answer.why != NEW:
            return self._ran(call, inputs, str(answer.why))
        return self._new(call, identity, inputs, answer)

    def _inputs(
        self, call: StepCall, given: Sequence[Any]
    ) -> tuple[tuple[Argument, ...], tuple[str, ...]]:
        """The arguments of a call, and what those of them wait for that are not known."""
        found: list[Argument] = []
        waits: list[str] = []
        for position, value in enumerate(given):
            name, origins, keyword = call.inputs[position]
            if isinstance(value, _Unknown):
                waits += value.waits
                found.append(Argument(name, _UNKNOWN, "", origins, keyword))
            else:
                one = call.placed(call.call, call.final, (call.inputs[position],))
                found += digested(self.secret, one, [value])[0]
        return tuple(found), tuple(dict.fromkeys(waits))

    def _offered(
        self, call: StepCall, inputs: tuple[Argument, ...], offer: Offer
    ) -> tuple[Planned, Any]:
        try:
            value = offer.known()
        except Exception as error:  # whatever decoding raises
            return self._ran(call, inputs, unreadable(error, offer.number))
        if self._rules.verify >= 1:
            return self._ran(call, inputs, compared(offer.number))
        self._taken[call.step.name, call.call] = offer.number
        action: Action = "depends" if self._rules.verify else "reuse"
        reason = f"from trial {offer.number}"
        if self._rules.verify:
            reason += ", unless it is one of those that are compared (reuse_verify)"
        spent, size = saved(offer.candidate.record), _size(offer.kept)
        return self._told(call, action, reason, inputs, (spent, size)), value

    def _new(
        self, call: StepCall, identity: CallIdentity, inputs: tuple[Argument, ...], answer: Answer
    ) -> tuple[Planned, Any]:
        key, name = self._offers.key(identity), call.step.name
        assert key is not None and answer.found is not None
        label = self._label(call)
        if self._seed is None and answer.found.key == key.seeded:
            on = "the seed, which is drawn"
            return self._depending(call, inputs, on, (f"{label}, which depends on the seed",))
        if key.call in self._running:
            on = f"{self._running[key.call]}, which is the same call"
            return self._depending(call, inputs, on, (on,))
        if name in self._open:
            on = f"other calls of {name}, of which one may be the same"
            return self._depending(call, inputs, on, (on,))
        self._running[key.call] = label
        return self._ran(call, inputs, self._reason(call, identity, inputs))

    def _waiting(
        self, call: StepCall, identity: CallIdentity, inputs: tuple[Argument, ...],
        waits: tuple[str, ...],
    ) -> tuple[Planned, Any]:  # fmt: skip
        """A call whose inputs are not known: it may be the same as an earlier one all the same."""
        name = call.step.name
        if (never := self._offers.never(identity)) is not None:
            return self._ran(call, inputs, never)
        if self._offers.is_impure(identity):
            return self._ran(call, inputs, IMPURE)
        alone = self._names.count(name) == 1
        if alone and self._past.whole and not self._past.has_run(name, identity.fingerprint):
            return self._ran(call, inputs, self._reason(call, identity, inputs))
        self._open.add(name)
        more = f" and {len(waits) - 1} more" if len(waits) > 1 else ""
        return self._depending(call, inputs, waits[0] + more, waits)

    def _reason(self, call: StepCall, identity: CallIdentity, inputs: tuple[Argument, ...]) -> str:
        found = Call(
            (call.step.name, call.call), identity.fingerprint, inputs, self._code, self._seed,
            self._packages,
        )  # fmt: skip
        return why.compared(self._past, found, self._above).text

    def _above(self, origins: Sequence[Origin]) -> str | None:
        for kind, step, call in origins:
            if kind == "step" and (number := self._taken.get((step, call))) is not None:
                return gives(why.label((step, call), self._names), number)
        return None

    def _ran(
        self, call: StepCall, inputs: tuple[Argument, ...], reason: str
    ) -> tuple[Planned, Any]:
        told = self._told(call, "run", reason, inputs, self._before(call))
        return told, _Unknown((f"{self._label(call)}, which runs",))

    def _depending(
        self, call: StepCall, inputs: tuple[Argument, ...], on: str, waits: tuple[str, ...]
    ) -> tuple[Planned, Any]:
        told = self._told(call, "depends", f"on {on}", inputs, self._before(call))
        return told, _Unknown(waits)

    def _told(
        self, call: StepCall, action: Action, reason: str, inputs: tuple[Argument, ...],
        cost: tuple[float | None, int | None],
    ) -> Planned:  # fmt: skip
        return Planned(call.step.name, call.call, action, reason, *cost, inputs)

    def _before(self, call: StepCall) -> tuple[float | None, int | None]:
        """How long a call took last time, and how large its output was."""
        before = self._past.latest((call.step.name, call.call))
        if before is None:
            return None, None
        record = before.record
        kept = record.kept or (before.row.get("result") if call.final else None)
        return saved(record), _size(kept)

    def _label(self, call: StepCall) -> str:
        return why.label((call.step.name, call.call), self._names)


def _is_plain(task: Task, values: Sequence[Any]) -> bool:
    """Whether a task is an operator on plain values, as in ``a + 3``: nobody's code runs."""
    plain = getattr(task.func, "__module__", None) == "_operator"
    return plain and all(type(value) in ATOMS for value in values)


def _size(kept: Document | None) -> int | None:
    if kept is None:
        return None
    size = kept.get("size")
    return len(kept["json"]) if size is None and "json" in kept else size
