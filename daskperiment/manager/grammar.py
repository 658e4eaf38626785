"""The grammar of a file of experiments: which keys there are, and what each holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from daskperiment.errors import DaskperimentError, ExperimentsFileError
from daskperiment.search.values import is_number, nearest
from daskperiment.serializers import preview


class Kind(NamedTuple):
    """What a key may hold.

    Parameters
    ----------
    expected : str
        It in words.
    holds : callable
        Whether a value is so.
    words : tuple of str
        The only values, where these are words.
    """

    expected: str
    holds: Callable[[Any], bool]
    words: tuple[str, ...] = ()

    def check(self, key: str, value: Any) -> None:
        """Raise ExperimentsFileError where a value is something else."""
        if not self.holds(value):
            near = nearest(value, self.words)
            hint = f": {near}" if near.startswith("did") else ""
            raise ExperimentsFileError(
                f"{key}: expected {self.expected}, not {preview(value, 80)}{hint}"
            )


def _words(*words: str) -> Kind:
    expected = f"{', '.join(words[:-1])} or {words[-1]}"
    return Kind(expected, lambda value: value in words, words)


def _is_count(value: Any, least: int = 1) -> bool:
    return type(value) is int and value >= least


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _either(expected: str, *kinds: Callable[[Any], bool]) -> Kind:
    return Kind(expected, lambda value: any(kind(value) for kind in kinds))


TEXT = Kind("a text", _is_text)
TABLE = Kind("a table", _is_table)
TABLES = Kind("a list of tables", lambda value: _is_list(value) and all(map(_is_table, value)))
COUNT = Kind("an integer from 1 on", _is_count)
NUMBER = Kind("a number", is_number)
SECONDS = Kind("a number of seconds above 0", lambda value: is_number(value) and value > 0)
FLAG = Kind("true or false", _is_flag)
LIST = Kind("a list", _is_list)
NAMED = _either("a name, or a table with a name and options", _is_text, _is_table)

OWN: Mapping[str, Kind] = {
    "function": TEXT,
    "script": TEXT,
    "experiment": TEXT,
    "space": _either(
        "a table of names, a list, or the path of a file", _is_table, _is_list, _is_text
    ),
    "sampler": NAMED,
    "pruner": NAMED,
    "cluster": TABLE,
    "artifacts": _words("all", "best", "none"),
    "notify": TABLES,
}
"""Keys that mean more here than an argument of ``ex.search``."""

ARGUMENTS: Mapping[str, Kind] = {
    "name": TEXT,
    "description": TEXT,
    "direction": _words("minimize", "maximize"),
    "metrics": TABLE,
    "main_metric": TEXT,
    "n_trials": COUNT,
    "seed": Kind("an integer from 0 to 2**32 - 1", lambda n: _is_count(n, 0) and n < 2**32),
    "resume": FLAG,
    "enqueue": TABLES,
    "warm_start": _either(
        "true or false, the name of a search, or a list of numbers of trials",
        _is_flag, _is_text, _is_list,
    ),
    "deterministic": _either("true or false, or an integer from 1 on", _is_flag, _is_count),
    "batch_size": COUNT,
    "timeout": SECONDS,
    "target": NUMBER,
    "patience": COUNT,
    "delta": Kind("a number from 0 on", lambda value: is_number(value) and value >= 0),
    "on_stop": _words("finish", "cancel"),
    "executor": TEXT,
    "max_workers": COUNT,
    "on_error": _words("raise", "continue"),
    "retries": Kind("an integer from 0 on", lambda value: _is_count(value, 0)),
    "trial_timeout": SECONDS,
    "spread": FLAG,
    "gpus": LIST,
}  # fmt: skip
"""Keys that are arguments of ``ex.search``."""

KEYS: Mapping[str, Kind] = {**OWN, **ARGUMENTS}
"""Every key of an experiment."""


@contextmanager
def told_of(*where: object) -> Iterator[None]:
    """Let the message of an error of ours begin with the place, as an ExperimentsFileError."""
    try:
        yield
    except DaskperimentError as error:
        told = ": ".join(str(part) for part in (*where, error) if part)
        raise ExperimentsFileError(told) from error.__cause__


def check_keys(found: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ExperimentsFileError for a key that nobody knows.

    Examples
    --------
    >>> check_keys({"sampel": 1}, ["space", "sampler"])
    Traceback (most recent call last):
    daskperiment.errors.ExperimentsFileError: unknown key 'sampel': did you mean 'sampler'?
    """
    known = list(known)
    for key in found:
        if key not in known:
            raise ExperimentsFileError(f"unknown key {preview(key, 80)}: {nearest(key, known)}")


def check(values: Mapping[str, Any], kinds: Mapping[str, Kind] = KEYS) -> None:
    """Raise ExperimentsFileError where a key is none of these, or holds something else.

    Examples
    --------
    >>> check({"n_trials": "ten"})
    Traceback (most recent call last):
    daskperiment.errors.ExperimentsFileError: n_trials: expected an integer from 1 on, not 'ten'
    """
    check_keys(values, kinds)
    for key, value in values.items():
        kinds[key].check(key, value)
