"""The number of a store's schema, and the steps from older ones to the present one.

A step is a function that is given a connection and changes what the release before it
made.  All steps run in one transaction under the store's own lock for writing: of many
processes that open an older store at once, one migrates and the others find it done, and
a process that dies in the middle leaves the store as it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from daskperiment.errors import StoreCorruptError, StoreTooNewError

OLDEST = 1
"""The first number that a release has written."""

STEPS: list[Callable[[sqlite3.Connection], object]] = []
"""What leads from :data:`OLDEST` to the next number, from there to the one after, and so on."""


def version() -> int:
    """Return the number of the schema that this release writes, kept as ``user_version``.

    Examples
    --------
    >>> version() >= 1
    True
    """
    return OLDEST + len(STEPS)


def check(connection: sqlite3.Connection, name: str) -> int:
    """Return the number of a store's schema; nothing is written.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of the store.
    name : str
        What errors call the store.

    Raises
    ------
    StoreTooNewError
        If a newer release wrote it.
    StoreCorruptError
        If no release has written such a number.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > version():
        raise StoreTooNewError(
            f"{name}: a newer release of daskperiment wrote it, with schema {found}, and this "
            f"one knows schemas up to {version()}; upgrade daskperiment, or choose another "
            "directory. Nothing was changed"
        )
    if found < OLDEST:
        raise StoreCorruptError(
            f"{name}: {found} is the number of no schema, the file was not made by daskperiment "
            "or is damaged; `daskperiment salvage` saves what is left of a store"
        )
    return int(found)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring a store to the present schema, wholly or not at all.

    Waits for whoever migrates or writes at the moment.

    Raises
    ------
    StoreTooNewError
        If a newer release has migrated it meanwhile.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[check(connection, name) - OLDEST :]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {version()}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
