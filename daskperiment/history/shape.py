"""The shape of a trial's row: in a shared store others may have written something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daskperiment.errors import PayloadError
from daskperiment.records import TrialState
from daskperiment.serializers import decode

_STATES = frozenset(TrialState)
_KEPT = ("type", "preview")
_LONGEST = 1_000_000
_DIGITS = frozenset("0123456789abcdef")
_MOST = 1e11
"""More seconds, or a higher seed, than any trial has; infinities and NaN are not below it."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST


def _is_name(value: Any) -> bool:
    """Whether it can be a column: Arrow has no halves of surrogate pairs."""
    try:
        return _is_text(value) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST


def _is_number_as_text(value: Any) -> bool:
    try:
        return _is_text(value) and _is_number(float(value))
    except ValueError:
        return False


def _is_json(text: Any) -> bool:
    try:
        decode("json", text.encode("utf-8", "surrogatepass"))
    except PayloadError:
        return False
    return True


def _is_kept(value: Any) -> bool:
    """Whether it describes a value: with texts for people, and where its bytes are."""
    if not isinstance(value, dict) or not all(_is_text(value.get(name)) for name in _KEPT):
        return False
    texts = (value[name] for name in ("json", "codec", "digest", "signed") if name in value)
    return all(map(_is_text, texts)) and ("json" not in value or _is_json(value["json"]))


def _are_parameters(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, list) and len(each) == 2 and _is_name(each[0]) and _is_kept(each[1])
        for each in value
    )


def _is_owner(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_text(value.get("host")):
        return False
    return value.get("user") is None or _is_text(value["user"])


def _is_report(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and _is_text(value[0])
        and all(map(_is_number, value[1:]))
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_NEEDED: Mapping[str, Callable[[Any], bool]] = {
    "uid": _is_text,
    "state": lambda value: isinstance(value, str) and value in _STATES,
    "seed": _is_number,
    "started": _is_number,
    "parameters": _are_parameters,
    "owner": _is_owner,
}
_POSSIBLE: Mapping[str, Callable[[Any], bool]] = {
    "finished": _is_number,
    "seconds": _is_number,
    "result": _is_kept,
    "tags": _are_texts,
    "note": _is_text,
    "description": _is_text,
    "traceback": _is_text,
    "ended_by": _is_text,
    "reproduces": _is_text,
    "verdict": _is_text,
    "search": _is_text,
    "pruned_at": _is_report,
    "place": _is_count,
    "queued": _is_count,
    "removed": _is_number_as_text,
    **dict.fromkeys(("code", "environment", "session", "configuration", "graph"), _is_text),
}
_NEVER_NONE = frozenset({"result", "tags", "note"})


def _is_uid(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 32 and set(value) <= _DIGITS


def _are_metrics(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, list) and len(each) == 2 for each in value)
        and all(name is None or _is_name(name) for name, _ in value)
        and all(direction in ("minimize", "maximize") for _, direction in value)
    )


def _are_known(value: Any) -> bool:
    """Whether these are trials that a search begins from."""
    return isinstance(value, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("parameters"), dict)
        and isinstance(each.get("losses"), list)
        and all(map(_is_float, each["losses"]))
        for each in value
    )


def _is_float(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_sampler(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("name"))


_OF_SEARCH: Mapping[str, Callable[[Any], bool]] = {
    "uid": _is_uid,
    "started": _is_number,
    "space": _is_mapping,
    "sampler": _is_sampler,
    "metrics": _are_metrics,
    "seed": _is_count,
}
_POSSIBLY_OF_SEARCH: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("main", "n_trials", "batch_size", "window"), _is_count),
    **dict.fromkeys(("pruner", "stop"), _is_mapping),
    **dict.fromkeys(("code", "description"), _is_text),
    "warm": _are_known,
}


def problem(number: object, row: Mapping[str, Any]) -> str | None:
    """What makes a document no row of a trial; None where nothing does.

    Examples
    --------
    >>> problem(7, {"state": "COMPLETE", "uid": 3})
    "its field 'uid' is not as a trial writes it"
    """
    if not isinstance(number, int):
        return "its number is none"
    if "collected" in row:
        needed: Mapping[str, Callable[[Any], bool]] = {"uid": _is_text}
    else:
        needed = _NEEDED
    wrong = _wrong(row, needed, _POSSIBLE)
    return None if wrong is None else f"its field {wrong!r} is not as a trial writes it"


def problem_of_search(document: Mapping[str, Any]) -> str | None:
    """What makes a document none of a search; None where nothing does.

    What is in its space and its sampler, they check themselves.

    Examples
    --------
    >>> problem_of_search({"uid": "../trials"})
    "its field 'uid' is not as a search writes it"
    """
    wrong = _wrong(document, _OF_SEARCH, _POSSIBLY_OF_SEARCH)
    if wrong is None and (document.get("main") or 0) >= len(document["metrics"]):
        wrong = "main"
    return None if wrong is None else f"its field {wrong!r} is not as a search writes it"


def _wrong(
    document: Mapping[str, Any],
    needed: Mapping[str, Callable[[Any], bool]],
    possible: Mapping[str, Callable[[Any], bool]],
) -> str | None:
    """The first field that is not as it should be."""
    for name, fits in needed.items():
        if not fits(document.get(name)):
            return name
    for name, fits in possible.items():
        there = name in document and (document[name] is not None or name in _NEVER_NONE)
        if there and not fits(document[name]):
            return name
    return None
