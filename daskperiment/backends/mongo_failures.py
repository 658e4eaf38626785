"""What the errors of pymongo mean for a store in MongoDB."""

from __future__ import annotations

from typing import Any

from daskperiment.errors import (
    BackendAccessError,
    BackendError,
    StoreCorruptError,
    StoreFullError,
)

_ACCESS = "check the user's name, password and roles (readWrite on this database)"
_ROOM = "free some space on the server (or in its quota) and try again"
_SIZE = "store large values as payloads, or in parts"
_ALONE = "check the write concern in the URI (w=, journal=, wtimeoutMS=) and the replica set"

_CODES: dict[int, tuple[type[BackendError], str]] = {
    13: (BackendAccessError, _ACCESS),
    18: (BackendAccessError, _ACCESS),
    8000: (BackendAccessError, f"{_ACCESS}, and the quota of the cluster"),
    11: (BackendAccessError, _ACCESS),  # UserNotFound
    64: (BackendError, _ALONE),
    79: (BackendError, _ALONE),
    100: (BackendError, _ALONE),
    14031: (StoreFullError, _ROOM),
    12501: (StoreFullError, _ROOM),
    10334: (StoreFullError, _SIZE),
    17419: (StoreFullError, _SIZE),
    17420: (StoreFullError, _SIZE),
}

_PASSING = {6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
"""Codes of a server that is away, ends, or elects another primary."""


def translate(error: Exception, name: str) -> BackendError | None:
    """Return the error of ours that tells what pymongo's means; None if it may pass.

    A message of the server is not repeated, because it may quote what was to be stored; it is
    in the chained error.

    Parameters
    ----------
    error : Exception
        What was raised.
    name : str
        What the message calls the store.

    Raises
    ------
    Exception
        The error itself, where it is none of pymongo's.
    """
    from bson.errors import BSONError
    from pymongo import errors

    kind = type(error).__name__
    if isinstance(error, errors.DocumentTooLarge):
        return StoreFullError(f"{name}: a row is larger than MongoDB can keep; {_SIZE}")
    if isinstance(error, (errors.AutoReconnect, errors.WaitQueueTimeoutError)):
        return None
    if isinstance(error, (BSONError, TypeError, ValueError, KeyError)):  # others wrote into it
        return StoreCorruptError(
            f"{name}: what it holds cannot be decoded ({kind}); restore the collections named "
            "daskperiment_* from a copy"
        )
    codes = _codes(error)
    if codes and codes <= _PASSING:
        return None
    for code in sorted(codes):
        if code in _CODES:
            of, advice = _CODES[code]
            return of(f"{name}: the server answered {kind} (code {code}); {advice}")
    if isinstance(error, errors.PyMongoError):
        numbers = ", ".join(map(str, sorted(codes)))
        return BackendError(
            f"{name}: the server answered {kind}{f' (code {numbers})' if numbers else ''}; look at "
            "the chained error and at the server's log"
        )
    raise error


def is_read_only(error: Exception) -> bool:
    """Whether a server answered that is no primary."""
    from pymongo.errors import NotPrimaryError

    return isinstance(error, NotPrimaryError)


def _codes(error: Exception) -> set[int]:
    found: set[Any] = {getattr(error, "code", None)}
    details = getattr(error, "details", None)
    if isinstance(details, dict):
        for name in ("writeErrors", "writeConcernErrors"):
            found |= {each.get("code") for each in details.get(name, ()) if isinstance(each, dict)}
    # A bulk write has a code of its own, which says only that a part has failed.
    return {code for code in found if isinstance(code, int) and code not in (65, 11000)}
