"""The contract of a backend as tests: subclass the suite and give it a ``backend``."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from daskperiment.backends.base import (
    Append,
    Backend,
    Clear,
    Discard,
    Hold,
    Insert,
    Put,
    Remove,
    Update,
)
from daskperiment.errors import (
    BackendError,
    ConflictError,
    DocumentError,
    PayloadNotFoundError,
)
from daskperiment.typing import JSON, Key

HOSTILE_TEXTS = [
    "",
    " ",
    "..",
    "../../etc/passwd",
    "a/b",
    "C:\\x",
    "%2F",
    "*",
    "[a-z]?",
    "x:y{z}",
    "'; DROP TABLE documents; --",
    "$where",
    "a.b",
    "__proto__",
    "line\nbreak",
    "nul\0nul",
    "é",
    "e\u0301",
    "\u202eabc",
    "😀",
    "\ud800",
    "\ud83d\ude00",
    "x" * 300,
]
"""Texts that some store or file system has been known to mistake for something else."""

VALUES: list[JSON] = [
    None,
    True,
    0,
    -(2**63),
    2**63 - 1,
    0.1,
    1e308,
    5e-324,
    [],
    {},
    [[{"a": [1, "1", 1.5]}]],
    {"": 1, "a.b": {"$set": None}, "1": [False]},
    *HOSTILE_TEXTS,
]

NOT_JSON: list[Any] = [
    (1, 2),
    {1},
    b"bytes",
    1j,
    object(),
    {1: 2},
    {None: 1},
    2**63,
    -(2**63) - 1,
    10**5000,
    [[10**5000]],
]


def insert_many(pickled: bytes, count: int) -> list[Key]:
    """Insert documents into a backend that arrived pickled; return their keys."""
    backend: Backend = pickle.loads(pickled)
    return [backend.insert("x/trials", {"n": n}) for n in range(count)]


def in_threads(work: Callable[[int], Any], count: int = 8) -> list[Any]:
    """Run ``work(0)``, ``work(1)``, ... in threads that start together; return the results."""
    gate = threading.Barrier(count)

    def begin(n: int) -> Any:
        gate.wait()
        return work(n)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


class BackendContract:
    """What every backend promises, one test for each promise.

    A subclass supplies the fixture ``backend``, an empty store.

    Examples
    --------
    >>> from daskperiment.backends.memory import MemoryBackend
    >>> class TestMemory(BackendContract):
    ...     @pytest.fixture
    ...     def backend(self):
    ...         return MemoryBackend()
    """

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Give the empty store to test."""
        raise NotImplementedError

    # documents

    def test_numbers_begin_at_one_and_leave_no_gap(self, backend: Backend) -> None:
        assert [backend.insert("x", {}) for _ in range(12)] == list(range(1, 13))
        assert backend.insert("y", {}) == 1

    def test_a_number_is_not_given_again(self, backend: Backend) -> None:
        backend.apply(Insert("x", {}), Insert("x", {}), Remove("x", 2), Remove("x", 1))

        assert backend.insert("x", {}) == 3

    def test_a_refused_group_takes_no_number(self, backend: Backend) -> None:
        with pytest.raises(ConflictError):
            backend.apply(Insert("x", {}), Update("x", "absent", {}))

        assert backend.insert("x", {}) == 1

    def test_numbers_go_on_behind_a_given_integer(self, backend: Backend) -> None:
        backend.insert("x", {}, key=7)

        assert backend.insert("x", {}) == 8

    def test_a_given_key_is_kept_once(self, backend: Backend) -> None:
        assert backend.insert("x", {"by": "first"}, key="k") == "k"
        with pytest.raises(ConflictError, match="'k' exists at 'x'"):
            backend.insert("x", {"by": "second"}, key="k")

        assert backend.get("x", "k") == {"by": "first"}

    def test_a_removed_key_can_be_given_again(self, backend: Backend) -> None:
        for key in ("k", 5):
            backend.insert("x", {"old": 1}, key=key)
            assert backend.apply(Remove("x", key), Remove("x", key)) == [True, False]
            assert backend.get("x", key) is None
            assert backend.insert("x", {"new": 1}, key=key) == key
            assert backend.get("x", key) == {"new": 1}

    def test_a_removed_document_is_found_no_more(self, backend: Backend) -> None:
        backend.apply(Insert("x", {"s": "a"}), Insert("x", {"s": "a"}), Remove("x", 2))

        assert [key for key, _ in backend.find("x", {"s": "a"})] == [1]
        assert not backend.update("x", 2, {"s": "b"})

    def test_integer_and_text_keys_are_distinct(self, backend: Backend) -> None:
        backend.apply(Insert("x", {"is": "int"}, 1), Insert("x", {"is": "text"}, "1"))

        assert backend.get("x", 1) == {"is": "int"}
        assert backend.get("x", "1") == {"is": "text"}

    def test_an_update_merges_top_level_fields(self, backend: Backend) -> None:
        backend.insert("x", {"a": 1, "b": {"c": 1}})

        assert backend.update("x", 1, {"b": {"d": 2}, "e": None})
        assert backend.get("x", 1) == {"a": 1, "b": {"d": 2}, "e": None}

    def test_an_update_of_an_absent_document_is_a_conflict(self, backend: Backend) -> None:
        with pytest.raises(ConflictError):
            backend.apply(Update("x", 1, {}))
        assert not backend.update("x", 1, {})
        assert backend.get("x", 1) is None

    @pytest.mark.parametrize("actual", ["COMPLETE", None, 1, True, ["RUNNING"], {"RUNNING": 1}])
    def test_an_update_is_refused_unless_the_text_is_as_expected(
        self, backend: Backend, actual: JSON
    ) -> None:
        backend.insert("x", {"state": actual})

        assert not backend.update("x", 1, {"n": 1}, expect={"state": "RUNNING"})
        assert not backend.update("x", 1, {"n": 1}, expect={"absent": ""})
        assert backend.get("x", 1) == {"state": actual}

    def test_an_update_is_made_where_all_texts_are_as_expected(self, backend: Backend) -> None:
        backend.insert("x", {"state": "RUNNING", "owner": "\ud800\0"})

        assert backend.update("x", 1, {"n": 1}, expect={"state": "RUNNING", "owner": "\ud800\0"})
        assert backend.get("x", 1) == {"state": "RUNNING", "owner": "\ud800\0", "n": 1}

    def test_many_documents_come_in_the_order_asked_for(self, backend: Backend) -> None:
        for key in ("b", 10, "a", 9):
            backend.insert("x", {"is": str(key)}, key=key)

        assert backend.get_many("x", ["a", "absent", 9]) == [{"is": "a"}, None, {"is": "9"}]

    # find

    def test_integers_sort_by_value_and_before_texts(self, backend: Backend) -> None:
        keys: list[Key] = [1, 2, 9, 10, 100, "", "1", "10", "9", "a", "a\0", "é", "\ud800", "😀"]
        for key in reversed(keys):
            backend.insert("x", {}, key=key)

        assert [key for key, _ in backend.find("x")] == keys
        assert [key for key, _ in backend.find("x", order_by="-key")] == keys[::-1]

    def test_a_search_goes_on_strictly_behind_a_key(self, backend: Backend) -> None:
        keys: list[Key] = [1, 2, 3, "a", "b"]
        for key in keys:
            backend.insert("x", {}, key=key)

        def found(**options: Any) -> list[Key]:
            return [key for key, _ in backend.find("x", **options)]

        assert found(after=2) == [3, "a", "b"]
        assert found(after=3, limit=1) == ["a"]
        assert found(after="a") == ["b"]
        assert found(after="a", order_by="-key", limit=2) == [3, 2]
        assert found(after=1, order_by="-key") == found(after="b") == found(limit=0) == []

    def test_a_search_compares_only_top_level_texts(self, backend: Backend) -> None:
        documents: list[JSON] = [
            {"s": "a", "t": "x"},
            {"s": "b", "t": "x"},
            {"s": None},
            {"s": 1},
            {},
            {"inner": {"s": "a"}},
            {"s": ["a"]},
            {"note": '"s":"a"'},
            {"s": "a\ud800\0\"'"},
        ]
        for document in documents:
            backend.insert("x", document)

        def found(**where: Any) -> list[Key]:
            return [key for key, _ in backend.find("x", where)]

        assert found(s="a") == [1]
        assert found(s=["b", "a"]) == [1, 2]
        assert found(s=["b", "a"], t="x") == [1, 2]
        assert found(s="a", t="y") == found(s=[]) == found(s="None") == found(s="1") == []
        assert found(s="a\ud800\0\"'") == [9]
        assert found(s=[str(n) for n in range(2000)] + ["b"]) == [2]

    def test_a_limit_counts_only_what_matches(self, backend: Backend) -> None:
        for n in range(8):
            backend.insert("x", {"inner": {"s": "a"}} if n % 2 else {"s": "a"})

        assert [key for key, _ in backend.find("x", {"s": "a"}, limit=3)] == [1, 3, 5]

    def test_a_search_returns_the_fields_asked_for(self, backend: Backend) -> None:
        backend.insert("x", {"a": 1, "b": 2, "c": 3})

        assert list(backend.find("x", fields=["a", "c", "z"])) == [(1, {"a": 1, "c": 3})]
        assert list(backend.find("x", {}, fields=[])) == [(1, {})]

    def test_a_search_for_keys_alone_has_conditions_order_and_limit_too(
        self, backend: Backend
    ) -> None:
        for n in range(1, 8):
            backend.insert("x", {"parity": "odd" if n % 2 else "even"})
        backend.apply(Remove("x", 4))

        def keys(**how: Any) -> list[Key]:
            return [key for key, _ in backend.find("x", fields=[], **how)]

        assert keys() == [1, 2, 3, 5, 6, 7]
        assert keys(order_by="-key", after=6, limit=3) == [5, 3, 2]
        assert keys(where={"parity": "even"}) == [2, 6]

    def test_a_search_spans_many_pages(self, backend: Backend) -> None:
        backend.apply(*(Insert("x", {"parity": "even" if n % 2 else "odd"}) for n in range(1201)))

        assert [key for key, _ in backend.find("x")] == list(range(1, 1202))
        assert len(list(backend.find("x", {"parity": "odd"}))) == 601
        assert len(list(backend.find("x", limit=1100, order_by="-key"))) == 1100

    def test_the_store_can_be_written_while_a_search_is_read(self, backend: Backend) -> None:
        backend.apply(*(Insert("x", {"n": n}) for n in range(3)))

        for key, _ in backend.find("x"):
            backend.update("x", key, {"seen": True})

        assert all(document["seen"] for _, document in backend.find("x"))

    # logs

    def test_a_log_keeps_every_entry_in_order(self, backend: Backend) -> None:
        lengths = [backend.append("x", list(range(n, n + 3))) for n in range(0, 3000, 3)]

        assert lengths == list(range(3, 3001, 3))
        assert backend.read("x") == list(range(3000))
        assert backend.append("x", []) == 3000

    @pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 6, 7, 8, -1, -2, -4, -7, -8])
    def test_a_log_is_read_from_any_position(self, backend: Backend, start: int) -> None:
        for batch in ([0, 1], [2], [3, 4, 5], [6]):
            backend.append("x", batch)

        assert backend.read("x", start) == list(range(7))[start:]

    def test_waiting_ends_with_the_first_new_entry(self, backend: Backend) -> None:
        backend.append("x", ["old"])
        later = threading.Timer(0.05, backend.append, ("x", ["new"]))
        later.start()

        assert backend.wait("x", 1, timeout=60) == ["new"]
        later.join()

    def test_waiting_ends_with_the_time(self, backend: Backend) -> None:
        assert backend.wait("x", 0, timeout=0.01) == []

    # values

    def test_values_come_back_equal(self, backend: Backend) -> None:
        for value in VALUES:
            key = backend.insert("x", {"value": value})
            backend.append("log", [value])

            assert backend.get("x", key) == {"value": value}
            assert backend.read("log", -1) == [value]
            assert type(backend.read("log", -1)[0]) is type(value)

    def test_numbers_that_are_not_finite_come_back(self, backend: Backend) -> None:
        backend.append("x", [math.nan, math.inf, -math.inf, -0.0])

        nan, inf, minus_inf, zero = backend.read("x")

        assert math.isnan(nan)
        assert (inf, minus_inf) == (math.inf, -math.inf)
        assert math.copysign(1, zero) == -1

    @pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: type(value).__name__)
    def test_what_is_not_json_is_refused_before_anything_is_written(
        self, backend: Backend, value: Any
    ) -> None:
        backend.insert("x", {"a": 1})
        writes: list[Callable[[], Any]] = [
            lambda: backend.apply(Insert("x", {}), Insert("x", {"value": [value]})),
            lambda: backend.apply(Insert("x", {}), Update("x", 1, {"value": value})),
            lambda: backend.apply(Insert("x", {}), Append("x", [value])),
        ]

        for write in writes:
            with pytest.raises(DocumentError):
                write()

        assert list(backend.find("x")) == [(1, {"a": 1})]
        assert backend.read("x") == []

    def test_a_value_without_end_is_refused(self, backend: Backend) -> None:
        circle: list[Any] = []
        circle.append(circle)

        with pytest.raises(DocumentError, match="nested"):
            backend.append("x", circle)

    @pytest.mark.parametrize(
        "call",
        [
            lambda backend: backend.insert(1, {}),
            lambda backend: backend.insert("x", []),
            lambda backend: backend.insert("x", {"a.b": 1}),
            lambda backend: backend.insert("x", {}, key=True),
            lambda backend: backend.insert("x", {}, key=1.0),
            lambda backend: backend.insert("x", {}, key=-1),
            lambda backend: backend.insert("x", {}, key=2**53),
            lambda backend: backend.update("x", 1, {}, expect={"s": 1}),
            lambda backend: backend.append("x", "text"),
            lambda backend: backend.put("text"),
            lambda backend: backend.get("x", None),
            lambda backend: backend.find("x", {"s": 1}),
            lambda backend: backend.find("x", {"s": [None]}),
            lambda backend: backend.find("x", order_by="s"),
            lambda backend: backend.find("x", limit=-1),
            lambda backend: backend.apply("insert"),
        ],
    )
    def test_a_wrong_argument_is_a_typed_error(
        self, backend: Backend, call: Callable[[Backend], Any]
    ) -> None:
        with pytest.raises(DocumentError):
            call(backend)

    def test_what_was_given_and_returned_is_never_aliased(self, backend: Backend) -> None:
        given = {"list": [1]}
        backend.insert("x", given)
        backend.append("x", [given])
        given["list"].append(2)
        for returned in (backend.get("x", 1), next(backend.find("x"))[1], backend.read("x")[0]):
            assert returned == {"list": [1]}
            returned["list"].append(3)

        assert backend.get("x", 1) == backend.read("x")[0] == {"list": [1]}

    # paths

    def test_paths_and_keys_may_be_any_text(self, backend: Backend) -> None:
        for text in HOSTILE_TEXTS:
            backend.insert(f"x/{text}", {"path": text})
            backend.insert("keys", {"key": text}, key=text)
            backend.append(f"x/{text}", [text])

        for text in HOSTILE_TEXTS:
            assert list(backend.find(f"x/{text}")) == [(1, {"path": text})]
            assert backend.read(f"x/{text}") == [text]
            assert backend.get("keys", text) == {"key": text}
        assert sorted(key for key, _ in backend.find("keys")) == sorted(HOSTILE_TEXTS)

    def test_what_is_missing_is_empty(self, backend: Backend) -> None:
        assert backend.get("x", 1) is None
        assert list(backend.find("x")) == backend.read("x") == list(backend.blobs()) == []
        assert backend.apply(Remove("x", 1)) == [False]
        assert backend.apply() == []
        backend.drop("x")

    def test_documents_do_not_show_at_the_path_above(self, backend: Backend) -> None:
        backend.insert("x/trials", {})

        assert list(backend.find("x")) == list(backend.find("x/")) == []

    @pytest.mark.parametrize("name", ["x", "*", "%", "_", "x%2F", "a/b"])
    def test_drop_spares_the_neighbours(self, backend: Backend, name: str) -> None:
        inside = [name, f"{name}/", f"{name}/trials", f"{name}/trials/1/metrics", f"{name}/\ud800"]
        beside = [f"{name}y", f"{name}0", f"{name}.", f"{name}-/trials", f"y{name}", "y", ""]
        for path in inside + beside:
            backend.apply(Insert(path, {"at": path}), Append(path, [path]))
        digest = backend.put(b"payload")

        backend.drop(name)

        for path in inside:
            assert list(backend.find(path)) == backend.read(path) == []
        for path in beside:
            assert backend.get(path, 1) == {"at": path}
            assert backend.read(path) == [path]
        assert backend.fetch(digest) == b"payload"

    def test_a_dropped_path_begins_anew(self, backend: Backend) -> None:
        backend.apply(Insert("x", {}), Insert("x", {}), Append("x", [1, 2]))
        backend.drop("x")

        assert backend.apply(Insert("x", {}), Append("x", [3])) == [1, 1]
        assert backend.read("x") == [3]

    # payloads

    @pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
    def test_a_payload_comes_back_by_its_digest(
        self, backend: Backend, tmp_path: Path, size: int
    ) -> None:
        data = bytes(range(256)) * (size // 256 + 1)
        data = data[:size]
        file = tmp_path / "payload"
        file.write_bytes(data)

        digest = backend.put(data)

        assert digest == blake3(data).hexdigest() == backend.put(file) == backend.put(data)
        assert backend.fetch(digest) == data
        with backend.open(digest) as payload:
            assert payload.read() == data
        assert list(backend.blobs()) == [(digest, size)]

    @pytest.mark.parametrize("digest", ["0" * 64, "", "../store", "0" * 63 + "G", "/etc/passwd"])
    def test_an_absent_payload_is_a_typed_error(self, backend: Backend, digest: str) -> None:
        backend.put(b"another")

        for look in (backend.fetch, backend.open):
            with pytest.raises(PayloadNotFoundError):
                look(digest)

    def test_an_absent_file_is_a_typed_error(self, backend: Backend, tmp_path: Path) -> None:
        with pytest.raises(BackendError):
            backend.put(tmp_path / "absent")

    # deleting

    @pytest.mark.parametrize("size", [0, 1, 65_537])
    def test_a_discarded_payload_is_absent_until_it_is_put_again(
        self, backend: Backend, size: int
    ) -> None:
        data = b"x" * size
        digest, other = backend.put(data), backend.put(b"another")

        assert backend.apply(Discard(digest), Discard(digest)) == [True, False]
        assert list(backend.blobs()) == [(other, 7)]
        for look in (backend.fetch, backend.open):
            with pytest.raises(PayloadNotFoundError):
                look(digest)

        assert backend.put(data) == digest
        assert backend.fetch(digest) == data

    @pytest.mark.parametrize("size", [1, 65_537])
    def test_in_a_group_the_last_word_on_a_payload_counts(
        self, backend: Backend, size: int
    ) -> None:
        data = b"x" * size
        digest = blake3(data).hexdigest()

        assert backend.apply(Put(data), Discard(digest)) == [digest, True]
        assert list(backend.blobs()) == []
        assert backend.apply(Put(data), Discard(digest), Put(data)) == [digest, True, digest]
        assert backend.fetch(digest) == data

    @pytest.mark.parametrize("size", [1, 65_537])
    def test_a_refused_group_discards_and_clears_nothing(self, backend: Backend, size: int) -> None:
        digest = backend.put(b"x" * size)
        backend.append("x", [1, 2])

        with pytest.raises(ConflictError):
            backend.apply(Discard(digest), Append("x", [3]), Clear("x"), Update("x", "absent", {}))

        assert backend.fetch(digest) == b"x" * size
        assert backend.read("x") == [1, 2]

    @pytest.mark.parametrize("size", [1, 65_537])
    def test_a_payload_that_is_not_there_cannot_be_held(self, backend: Backend, size: int) -> None:
        digest = backend.put(b"x" * size)
        assert backend.apply(Hold(digest), Append("x", [digest])) == [True, 1]

        with pytest.raises(ConflictError):
            backend.apply(Append("x", ["refused"]), Discard(digest), Hold(digest))
        backend.apply(Discard(digest))
        with pytest.raises(ConflictError):
            backend.apply(Append("x", ["refused"]), Hold(digest))

        assert backend.read("x") == [digest]

    @pytest.mark.parametrize("digest", ["", "../store.sqlite", "../../x", "0" * 63 + "G"])
    def test_what_is_no_digest_discards_nothing(self, backend: Backend, digest: str) -> None:
        kept = backend.put(b"x" * 65_537)

        assert backend.apply(Discard(digest)) == [False]
        assert backend.apply(Hold(kept)) == [True]
        assert list(backend.blobs()) == [(kept, 65_537)]

    def test_a_cleared_log_begins_anew(self, backend: Backend) -> None:
        backend.apply(Append("x", [1, 2]), Append("x/y", ["beside"]), Insert("x", {}))

        assert backend.apply(Clear("x"), Clear("x"), Append("x", [3])) == [2, 0, 1]
        assert backend.read("x") == [3]
        assert backend.read("x/y") == ["beside"]
        assert backend.get("x", 1) == {}
        assert backend.apply(Clear("absent")) == [0]

    def test_an_update_without_changes_only_checks(self, backend: Backend) -> None:
        backend.insert("x", {"state": "RUNNING"})

        assert backend.apply(Update("x", 1, {})) == [True]
        assert backend.update("x", 1, {}, expect={"state": "RUNNING"})
        assert not backend.update("x", 1, {}, expect={"state": "COMPLETE"})
        backend.apply(Remove("x", 1))
        assert not backend.update("x", 1, {})

    def test_compacting_loses_nothing(self, backend: Backend) -> None:
        large = backend.put(b"x" * 65_537)
        backend.apply(Insert("x", {"n": 1}), Insert("x", {}), Remove("x", 2), Append("x", [1, 2]))
        small = backend.put(b"small")

        backend.compact()

        assert list(backend.find("x")) == [(1, {"n": 1})]
        assert backend.read("x") == [1, 2]
        assert sorted(backend.blobs()) == sorted([(large, 65_537), (small, 5)])
        assert backend.insert("x", {}) == 3

    def test_compacting_an_empty_store_does_nothing(self, backend: Backend) -> None:
        backend.compact()

        assert list(backend.blobs()) == []

    def test_what_was_put_while_others_discard_it_is_there_whole(self, backend: Backend) -> None:
        data = b"x" * 65_537
        digest = blake3(data).hexdigest()
        backend.insert("permits", {}, digest)
        done = threading.Event()

        def discard() -> None:
            # A permission that is asked for in the same group, as collecting does.
            while not done.is_set():
                with suppress(ConflictError):
                    backend.apply(Update("permits", digest, {}), Discard(digest))

        def put() -> None:
            try:
                for _ in range(30):
                    backend.apply(Put(data), Remove("permits", digest))
                    assert backend.fetch(digest) == data
                    backend.insert("permits", {}, digest)
            finally:
                done.set()

        in_threads(lambda n: discard() if n else put(), 3)

    def test_threads_use_what_another_compacts(self, backend: Backend) -> None:
        def work(n: int) -> None:
            for _ in range(10):
                if n:
                    backend.append("x", [1])
                else:
                    backend.compact()

        in_threads(work, 3)
        assert len(backend.read("x")) == 20

    def test_a_diagnosis_says_what_to_do_about_each_finding(self, backend: Backend) -> None:
        backend.insert("x", {})

        for level, what, advice in backend.diagnose():
            assert level in ("ok", "note", "problem")
            assert what
            assert advice or level == "ok"

    # groups

    def test_a_group_returns_the_result_of_each_write(self, backend: Backend) -> None:
        results = backend.apply(
            Insert("x", {"state": "RUNNING"}),
            Update("x", 1, {"state": "COMPLETE"}, {"state": "RUNNING"}),
            Append("x", ["a", "b"]),
            Put(b""),
            Insert("x", {}, "k"),
            Remove("x", "k"),
            Remove("x", "k"),
        )

        assert results == [1, True, 2, blake3(b"").hexdigest(), "k", True, False]
        assert list(backend.find("x")) == [(1, {"state": "COMPLETE"})]

    def test_a_refused_group_leaves_nothing_behind(self, backend: Backend) -> None:
        backend.apply(Insert("x", {"a": 1}, "k"), Insert("x", {"a": 2}, 4), Append("x", ["old"]))
        before = list(backend.find("x"))

        for refused in (Insert("x", {}, "k"), Update("x", 9, {}), Update("x", "k", {}, {"a": "1"})):
            with pytest.raises(ConflictError):
                backend.apply(
                    Append("x", ["new"]),
                    Insert("x", {}),
                    Update("x", "k", {"a": 3}),
                    Update("x", "k", {"a": 4}),
                    Insert("y", {}),
                    Append("y", [1]),
                    Remove("x", 4),
                    refused,
                )

        assert list(backend.find("x")) == before
        assert backend.read("x") == ["old"]
        assert list(backend.find("y")) == backend.read("y") == []

    # many at once

    def test_threads_share_the_numbers(self, backend: Backend) -> None:
        keys = in_threads(lambda _: [backend.insert("x", {}) for _ in range(25)])

        assert sorted(chain(*keys)) == list(range(1, 201))

    def test_threads_lose_no_update(self, backend: Backend) -> None:
        backend.insert("x", {"n": 0, "version": "0"})

        def count(_: int) -> None:
            left = 10
            while left:
                document = backend.get("x", 1)
                assert document is not None
                n = document["n"]
                if backend.update(
                    "x", 1, {"n": n + 1, "version": str(n + 1)}, expect={"version": str(n)}
                ):
                    left -= 1

        in_threads(count, 4)
        assert backend.get("x", 1) == {"n": 40, "version": "40"}

    def test_threads_claim_each_document_once(self, backend: Backend) -> None:
        for _ in range(40):
            backend.insert("x", {"state": "WAITING"})

        def claim_all(n: int) -> list[Key]:
            claimed = []
            while taken := backend.claim("x", {"state": "WAITING"}, {"state": "RUNNING", "by": n}):
                key, document = taken
                assert document == {"state": "RUNNING", "by": n}
                claimed.append(key)
            return claimed

        assert sorted(chain(*in_threads(claim_all))) == list(range(1, 41))
        assert backend.claim("x", {"state": "WAITING"}, {"state": "RUNNING"}) is None

    def test_a_batch_stays_together(self, backend: Backend) -> None:
        in_threads(lambda n: [backend.append("x", [n] * 5) for _ in range(10)])

        entries = backend.read("x")
        assert len(entries) == 400
        assert all(len(set(entries[at : at + 5])) == 1 for at in range(0, 400, 5))

    def test_a_reader_never_sees_half_a_group(self, backend: Backend) -> None:
        backend.insert("x", {"a": 0, "b": 0})
        done = threading.Event()

        def write(_: int) -> None:
            for n in range(100):
                backend.apply(Update("x", 1, {"a": n}), Update("x", 1, {"b": n}))
            done.set()

        def look(_: int) -> None:
            while not done.is_set():
                document = backend.get("x", 1)
                assert document is not None
                assert document["a"] == document["b"]

        in_threads(lambda n: look(n) if n else write(n), 3)

    def test_processes_share_the_numbers(self, backend: Backend) -> None:
        pickled = pickle.dumps(backend)

        with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
            keys = list(pool.map(insert_many, [pickled] * 4, [25] * 4))

        assert sorted(chain(*keys)) == list(range(1, 101))
        assert len(list(backend.find("x/trials"))) == 100

    def test_a_pickled_backend_reaches_the_same_store(self, backend: Backend) -> None:
        digest = backend.put(b"secret payload")
        pickled = pickle.dumps(backend)

        again = pickle.loads(pickled)
        again.insert("x", {"by": "copy"})

        assert backend.get("x", 1) == {"by": "copy"}
        assert again.fetch(digest) == b"secret payload"
        assert again.store_id == backend.store_id
        assert b"secret payload" not in pickled

    def test_a_closed_backend_opens_again(self, backend: Backend) -> None:
        with backend as entered:
            entered.insert("x", {})

        assert entered is backend
        assert backend.insert("x", {}) == 2

    def test_a_location_shows_the_path(self, backend: Backend) -> None:
        assert "quickstart_pj" in backend.locate("quickstart_pj")
