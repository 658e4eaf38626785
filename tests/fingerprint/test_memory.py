"""Large values are read piece by piece."""

from __future__ import annotations

import array
import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from daskperiment.fingerprint.values import digest

SIZE = 64 << 20
BOUND = SIZE // 3


def strided():
    return np.zeros(2 * SIZE // 8)[::2]


VALUES = {
    "C order": lambda: np.zeros((1024, SIZE // 8192)),
    "Fortran order": lambda: np.zeros((1024, SIZE // 8192), order="F"),
    "one wide row": lambda: strided()[None, :],
    "a few wide rows": lambda: np.zeros((SIZE // 32, 4)).T,
    "strided": strided,
    "read backwards": lambda: np.zeros(SIZE // 8)[::-1],
    "big-endian": lambda: np.zeros(SIZE // 8, ">f8"),
    "NaN": lambda: np.full(SIZE // 8, np.nan),
    "complex": lambda: np.zeros(SIZE // 16, complex),
    "broadcast": lambda: np.broadcast_to(np.zeros(8), (SIZE // 64, 8)),
    "a field": lambda: np.zeros(SIZE // 16, [("a", "f8"), ("b", "f8")]),
    "moments": lambda: np.zeros(SIZE // 8, "M8[ns]"),
    "text": lambda: "x" * SIZE,
    "bytes": lambda: bytes(SIZE),
    "bytearray": lambda: bytearray(SIZE),
    "memoryview": lambda: memoryview(bytes(SIZE)),
    "array.array": lambda: array.array("d", [0.0]) * (SIZE // 8),
    "frame": lambda: pd.DataFrame(np.zeros((SIZE // 64, 8))),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_large_value_is_not_copied(name):
    value = VALUES[name]()
    digest(np.zeros(1)), digest(pd.DataFrame())  # imports take memory
    tracemalloc.start()
    try:
        digest({"value": value})
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()


def test_a_large_sparse_matrix_is_not_copied():
    sparse = pytest.importorskip("scipy.sparse")
    items = SIZE // 16
    places = np.arange(items, dtype="i4"), np.arange(items + 1, dtype="i4")
    value = sparse.csr_array((np.ones(items), *places), shape=(items, items))
    digest(sparse.csr_array(np.ones((2, 2)))), value.has_canonical_format
    tracemalloc.start()
    try:
        digest(value)
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["int64", "string", "list"])
def test_a_large_table_is_not_copied(kind):
    pa = pytest.importorskip("pyarrow")
    rows = SIZE // 16
    numbers = pa.array(np.zeros(rows, "i8"))
    columns = {"int64": numbers, "string": numbers.cast(pa.string())}
    places = pa.array(np.arange(0, rows + 1, 8, dtype="i4"))
    columns["list"] = pa.ListArray.from_arrays(places, numbers)
    table = pa.table({"x": columns[kind]})
    digest(table.slice(0, 2))
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()
    try:
        digest(table)
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()
    assert pool.bytes_allocated() <= before


GROWTH = """
import pathlib, resource, sys
from daskperiment.fingerprint.values import digest
path = pathlib.Path(sys.argv[1])
digest(path.parent / "small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
digest(path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="units differ")
def test_a_large_file_is_not_held(tmp_path):
    (tmp_path / "small").write_bytes(b"1")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(4 * SIZE)
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path / "large")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) * 1024 < BOUND
