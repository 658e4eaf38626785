"""A model check: any backend must do what :class:`MemoryBackend` does, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blake3 import blake3
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from daskperiment.backends.base import (
    Append,
    Backend,
    Clear,
    Discard,
    Hold,
    Insert,
    Order,
    Put,
    Remove,
    Update,
    Write,
)
from daskperiment.backends.memory import MemoryBackend
from daskperiment.errors import ConflictError
from daskperiment.typing import Document, Key

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=4)
paths = st.sampled_from(["x", "x/y", "x/y/z", "xy", "x\ud800"])
keys: st.SearchStrategy[Key] = st.one_of(
    st.integers(0, 12), st.sampled_from(["", "1", "a", "b", "\ud800"])
)
states = st.sampled_from(["RUNNING", "COMPLETE", "\ud83d\ude00", ""])
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), any_text, states
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(any_text | st.just("state"), inner, max_size=3)
    ),
    max_leaves=5,
)
documents = st.fixed_dictionaries({}, optional={"state": states | values, "n": values, "m": values})
expectations = st.none() | st.fixed_dictionaries({}, optional={"state": states, "n": any_text})
searches = st.none() | st.fixed_dictionaries({}, optional={"state": states | st.lists(states)})
sizes = st.sampled_from([0, 1, 100_000])
digests = sizes.map(lambda size: blake3(b"x" * size).hexdigest()) | st.just("../store")
writes: st.SearchStrategy[Write] = st.one_of(
    st.builds(Insert, paths, documents, st.none() | keys),
    st.builds(Update, paths, keys, documents, expectations),
    st.builds(Remove, paths, keys),
    st.builds(Append, paths, st.lists(values, max_size=3)),
    st.builds(Clear, paths),
    st.builds(Hold, digests),
    st.builds(Discard, digests),
)


def outcome(operation: Callable[[], Any]) -> str:
    """Return text that is equal for equal results; a conflict is a result, its message is not.

    Text, because NaN differs from itself, and ``-0.0`` does not differ from zero.
    """
    try:
        return repr(operation())
    except ConflictError:
        return "conflict"


def backend_machine(make: Callable[[], Backend]) -> type[RuleBasedStateMachine]:
    """Return a state machine that compares the backends that ``make`` makes with the model.

    Parameters
    ----------
    make
        Called once for each run, returns an empty store, which the run closes.

    Examples
    --------
    >>> from hypothesis import settings
    >>> from hypothesis.stateful import run_state_machine_as_test
    >>> run_state_machine_as_test(
    ...     backend_machine(MemoryBackend), settings=settings(max_examples=2, database=None)
    ... )
    """

    class BackendMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.model = MemoryBackend()
            self.backend = make()

        def teardown(self) -> None:
            self.backend.close()

        def compare(self, operation: Callable[[Backend], Any]) -> None:
            expected = outcome(lambda: operation(self.model))
            actual = outcome(lambda: operation(self.backend))
            assert actual == expected

        @rule(group=st.lists(writes, max_size=4))
        def apply(self, group: list[Write]) -> None:
            self.compare(lambda backend: backend.apply(*group))

        @rule(path=paths, document=documents)
        def insert(self, path: str, document: Document) -> None:
            self.compare(lambda backend: backend.insert(path, document))

        @rule(size=sizes)
        def put(self, size: int) -> None:
            self.compare(lambda backend: backend.apply(Put(b"x" * size)))

        @rule()
        def compact(self) -> None:
            self.compare(lambda backend: backend.compact())

        @rule(path=paths)
        def drop(self, path: str) -> None:
            self.compare(lambda backend: backend.drop(path))

        @rule(path=paths, key=keys)
        def get(self, path: str, key: Key) -> None:
            self.compare(lambda backend: _sorted(backend.get(path, key)))

        @rule(
            path=paths,
            where=searches,
            fields=st.none() | st.lists(st.sampled_from(["state", "n", "absent"]), unique=True),
            order_by=st.sampled_from(["key", "-key"]),
            after=st.none() | keys,
            limit=st.none() | st.integers(0, 3),
        )
        def find(
            self, path: str, where: Any, fields: Any, order_by: Order, after: Any, limit: Any
        ) -> None:
            self.compare(
                lambda backend: [
                    (key, _sorted(document))
                    for key, document in backend.find(
                        path, where, fields=fields, order_by=order_by, after=after, limit=limit
                    )
                ]
            )

        @rule(path=paths, where=searches, changes=documents)
        def claim(self, path: str, where: Any, changes: Document) -> None:
            self.compare(lambda backend: backend.claim(path, where or {}, changes))

        @rule(path=paths, start=st.integers(-6, 6))
        def read(self, path: str, start: int) -> None:
            self.compare(lambda backend: backend.read(path, start))

        @invariant()
        def payloads_are_equal(self) -> None:
            self.compare(lambda backend: sorted(backend.blobs()))

    return BackendMachine


def _sorted(document: Document | None) -> Any:
    return document and sorted(document.items(), key=lambda item: item[0])
