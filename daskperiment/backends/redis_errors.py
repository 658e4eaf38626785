"""What the errors and the settings of a Redis server mean for a store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from daskperiment.backends.base import Finding
from daskperiment.backends.server import masked
from daskperiment.errors import (
    BackendAccessError,
    BackendError,
    BackendURIError,
    StoreCorruptError,
    StoreFullError,
    StoreIOError,
    StoreReadOnlyError,
)

if TYPE_CHECKING:
    from redis import Redis

_REWRITING = 60.0
"""Seconds for which a server's rewriting of its files is waited for."""

_PASSWORD = (
    "the server asks for another password or user: put the password into an environment variable "
    "and ${NAME} with its name into the address"
)
_RIGHTS = (
    "this user may not do it: give it the commands that the documentation names, for the keys "
    '"{daskperiment}*"'
)
_REPLICA = "it is a replica: connect to the server that is written to"
_ROOM = "the server's memory is full: raise its maxmemory, or remove old trials"
_DISK = "the server cannot save to its disk: free some space there, and see its log"
_FOREIGN = "a key that begins with {daskperiment} was written by something else: remove it"
_COMMAND = (
    "the server does not know a command: use Redis 6 or later (fakeredis needs fakeredis[lua])"
)
# Codes, as a script passes them on, and texts, from which the library has taken the code.
_MEANINGS: tuple[tuple[tuple[str, ...], type[BackendError], str], ...] = (
    (
        ("NOAUTH", "WRONGPASS", "invalid password", "invalid username"),
        BackendAccessError,
        _PASSWORD,
    ),
    (("without any password",), BackendAccessError, "leave the password out of the address"),
    (("NOPERM", "no permissions", "can't access"), BackendAccessError, _RIGHTS),
    (("READONLY", "read only replica"), StoreReadOnlyError, _REPLICA),
    (("OOM", "used memory > 'maxmemory'"), StoreFullError, _ROOM),
    (("MISCONF",), StoreIOError, _DISK),
    (("WRONGTYPE",), StoreCorruptError, _FOREIGN),
    (("unknown command",), BackendError, _COMMAND),
    (("MOVED",), BackendError, "the server is a part of a cluster: connect to the part named"),
)
_TRY_AGAIN = (
    "LOADING",
    "BUSY",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "NOREPLICAS",
    "UNKILLABLE",
)


def meaning(error: Exception, where: str) -> BackendError | None:
    """The typed error for one of the client library's; None where trying again may help."""
    from redis import exceptions

    text = str(error)
    for words, kind, advice in _MEANINGS:
        if any(word in text for word in words):
            return kind(f"{where}: {advice}")
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return BackendAccessError(f"{where}: {_PASSWORD}")
    if isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError)):
        return None
    if isinstance(error, exceptions.ResponseError) and text.startswith(_TRY_AGAIN):
        return None
    if isinstance(error, exceptions.RedisError):
        return BackendError(f"{where}: the server has refused: {text[:200]}")
    raise error


def bad_uri(uri: str, error: Exception) -> BackendURIError:
    """The error for a URI that the client library refuses."""
    return BackendURIError(
        f"{masked(uri)} is no address of a Redis server ({str(error)[:100]}): write "
        '"redis://host:6379/0", and a password as "redis://:${NAME}@host:6379/0"'
    )


def findings(client: Redis) -> Iterator[Finding]:
    """What there is to say of a server, with its risks first."""
    info = _asked(client, "info")
    yield from _risks(info)
    if info:
        yield Finding("ok", f"Redis {info.get('redis_version', 'of an unknown version')}")
        used = info.get("used_memory_human", "an unknown amount")
        yield Finding("ok", f"its memory holds {used}")


def risks(client: Redis) -> Iterator[Finding]:
    """How the server is set up to lose what it has promised to keep."""
    yield from _risks(_asked(client, "info"))


def _risks(info: Any) -> Iterator[Finding]:
    if info is None:
        return
    if not info.get("aof_enabled"):
        yield Finding(
            "problem",
            "the Redis server keeps no append-only file: what was recorded since its last "
            "snapshot is lost when it stops",
            "set `appendonly yes` in its configuration",
        )
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        yield Finding(
            "problem",
            f"the Redis server evicts keys when its memory is full "
            f"({info['maxmemory_policy']}): trials would vanish",
            "set `maxmemory-policy noeviction` in its configuration",
        )
    if info.get("role") == "slave":
        yield Finding(
            "problem",
            "the Redis server is a replica: nothing can be recorded there",
            "connect to the server that it follows",
        )


def rewrite_files(client: Redis) -> None:
    """Let the server write its files anew, and wait until it has done so."""
    persistence = _asked(client, "info", "persistence")
    if not persistence:
        return
    if persistence.get("aof_enabled"):
        command, going_on = "bgrewriteaof", "aof_rewrite_in_progress"
    else:
        command, going_on = "bgsave", "rdb_bgsave_in_progress"
    _asked(client, command)
    deadline = time.monotonic() + _REWRITING
    while time.monotonic() < deadline:
        persistence = _asked(client, "info", "persistence") or {}
        if not persistence.get(going_on):
            return
        time.sleep(0.05)


def _asked(client: Redis, command: str, *arguments: str) -> Any:
    """What the server answers, None where it does not know the command or forbids it."""
    from redis import exceptions

    try:
        return getattr(client, command)(*arguments)
    except exceptions.ResponseError:
        return None
