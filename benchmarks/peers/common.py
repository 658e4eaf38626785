"""What every peer's script does: ``python with_NAME.py COMMAND ARGUMENTS`` prints JSON.

It runs in the peer's own environment and imports nothing but the standard library.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple


def prepare(a, b):
    return a + b


def train(data):
    return data * 2


def score(model):
    return model - 1


class Peer(NamedTuple):
    """The same work in the words of one tool; a store lies in the working directory.

    Parameters
    ----------
    open : callable
        Opens the store, or makes it.
    trial : callable
        ``trial(store, a, b)`` records one trial of the three steps: parameters and result.
    points : callable
        ``points(store, n)`` saves so many metric points one by one, and returns when stored.
    history : callable
        ``history(store)`` reads all trials into a data frame.
    """

    open: Callable[[], Any]
    trial: Callable[[Any, int, int], Any]
    points: Callable[[Any, int], Any]
    history: Callable[[Any], Any]
    fill: Callable[[Any, int], Any] | None = None
    """``fill(store, n)`` makes so many trials quickly, nearly all as copies in its database."""
    page: Callable[[Any], int] | None = None
    """``page(store)`` lists 50 trials: sorted, of those that fit a condition."""
    batch: Callable[[Any, int], Any] | None = None
    """``batch(store, n)`` records so many trials on two threads."""


def timed(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def disk():
    """Bytes and number of files, after what waits in a write-ahead log is in its database."""
    for file in [*Path().rglob("*.sqlite"), *Path().rglob("*.db")]:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    files = [path for path in Path().rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def first(peer):
    peer.trial(peer.open(), 900_000, 2)  # values differ: smallab passes over equal ones


def trials(peer, number):
    """Seconds of the last trials, and what each of them added to the disk."""
    store = peer.open()
    for n in range(10):
        peer.trial(store, n, 2)
    before = disk()
    seconds = [timed(peer.trial, store, n, 2) for n in range(10, number)]
    after, more = disk(), number - 10
    reads = [timed(peer.history, store) for _ in range(4)]
    return {
        "trial": statistics.median(seconds[-40:]),
        "bytes": (after[0] - before[0]) / more,
        "files": (after[1] - before[1]) / more,
        "history": statistics.median(reads[1:]),
        "stored": len(peer.history(store)),
    }


def points(peer, number):
    store = peer.open()
    peer.points(store, 10)
    return timed(peer.points, store, number) / number


def listed(peer, number):
    """Seconds of making so many trials, of the first page of them in a process and of others."""
    if number <= 1000:
        store = peer.open()
        made = timed(lambda: [peer.trial(store, n, 2 + n % 7) for n in range(number)])
    else:
        made = timed(peer.fill, peer.open(), number)
    store = peer.open()
    first, pages = timed(peer.page, store), []
    while len(pages) < 3 or (len(pages) < 9 and sum(pages) < 3):
        pages.append(timed(peer.page, store))
    return {"made": made, "first": first, "pages": pages, "rows": peer.page(store)}


def batch(peer, number):
    """Seconds of each of so many trials on two threads, and how many of them are stored."""
    store = peer.open()
    peer.batch(store, 20)
    seconds = timed(peer.batch, store, number)
    return {"trial": seconds / number, "stored": len(peer.history(store)) - 20}


def copied(file, tables, number, change):
    """Copy the rows of the only trial of an SQLite database, until there are so many trials.

    ``change(table, row, n)`` gives the row of copy n the values that differ.
    """
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        kept = [
            (table, connection.execute(f"SELECT * FROM {table}").fetchall()) for table in tables
        ]
        for n in range(1, number):
            for table, rows in kept:
                for row in map(dict, rows):
                    change(table, row, n)
                    names, marks = ", ".join(row), ", ".join("?" * len(row))
                    insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"
                    connection.execute(insert, list(row.values()))
        connection.commit()


def worker(peer, number, first_number, gate):
    """So many trials as soon as all workers are ready; how long, and what went wrong."""
    store, errors = peer.open(), []
    Path(gate, f"ready-{first_number}").touch()
    late = time.monotonic() + 120
    while not Path(gate, "go").exists():
        if time.monotonic() > late:  # whoever waits for us has been killed
            raise TimeoutError("nobody opened the gate")
        time.sleep(0.001)
    start = time.monotonic()
    for n in range(number):
        try:
            peer.trial(store, first_number + n, 2)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:200])
    return {"start": start, "end": time.monotonic(), "errors": errors}


def count(peer):
    return len(peer.history(peer.open()))


COMMANDS = {
    function.__name__: function
    for function in (first, trials, points, listed, batch, worker, count)
}


def run(peer):
    name, *arguments = json.loads(sys.argv[1])
    answer = COMMANDS[name](peer, *arguments)
    print("\n" + json.dumps(answer), flush=True)
