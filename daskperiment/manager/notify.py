"""Notifications: callbacks that a file describes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from daskperiment.callbacks.base import Callback
from daskperiment.errors import CallbackError, ExperimentsFileError
from daskperiment.manager.grammar import check_keys, told_of
from daskperiment.search.values import nearest
from daskperiment.secrets.variables import VARIABLE


def _kinds() -> Mapping[str, Callable[..., Callback]]:
    from daskperiment.callbacks import Email, LogTrials, Webhook

    return {"webhook": Webhook, "email": Email, "log": LogTrials}


def notifications(tables: Iterable[Mapping[str, Any]]) -> list[Callback]:
    """The callbacks that tables describe: their ``type``, and its arguments.

    Raises
    ------
    ExperimentsFileError
        There is no such type or argument, a password stands in the file, or a variable of the
        environment that is named is not set.

    Examples
    --------
    >>> notifications([{"type": "webhook", "url": "http://127.0.0.1:9/hook"}])
    [Webhook('http://127.0.0.1:9/***', shape='json')]
    """
    found = []
    for number, table in enumerate(tables, 1):
        with told_of(f"notify {number}"):
            found.append(_notification(table))
    return found


def _notification(table: Mapping[str, Any]) -> Callback:
    kinds = _kinds()
    if "type" not in table:
        raise ExperimentsFileError(f"the key 'type' is missing: {nearest('', kinds)}")
    name = str(table["type"])
    if name not in kinds:
        raise ExperimentsFileError(f"type: there is no {name!r}: {nearest(name, kinds)}")
    given = {key: value for key, value in table.items() if key != "type"}
    known = [] if name == "log" else list(inspect.signature(kinds[name]).parameters)
    check_keys(given, known)
    password = given.get("password", "${NAME}")
    if not (isinstance(password, str) and VARIABLE.search(password)):
        raise ExperimentsFileError(
            "password: a file is no place for it: write ${NAME}, and set that environment variable"
        )
    if given.get("tls") is False:  # TOML has no None
        given["tls"] = None
    try:
        return kinds[name](**given)
    except CallbackError:
        raise
    except TypeError:
        missing = [n for n, p in inspect.signature(kinds[name]).parameters.items()
                   if p.default is p.empty and n not in given]  # fmt: skip
        raise ExperimentsFileError(f"{name} needs {', '.join(missing)}") from None
