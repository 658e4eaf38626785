"""Values made to fit a declared type: from text, from files, without loss."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import warnings
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from daskperiment.errors import DaskperimentError
from daskperiment.serializers import preview

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
_TOML_WORDS = {word: float(word) for word in ("nan", "inf", "+inf", "-inf", "+nan", "-nan")}
_UNIONS = (Union, UnionType)
_MOST_DIGITS = 4300  # where Python's own int() of a text stops


class Unfit(DaskperimentError, TypeError):  # noqa: N818 - a fact about a value, told by others
    """A value does not fit a type; ``where`` leads from the whole value to the part."""

    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(why, where)
        self.why = why
        self.where = where


def literal(text: str) -> Any:
    """The value that a text on a command line stands for.

    A Python literal (a number, quoted text, a list, a dict, ``None``, ``True``) or JSON, or
    one of TOML's words ``inf`` and ``nan``; any other text is itself.

    Examples
    --------
    >>> literal("1e3"), literal("[1, 'a']"), literal('{"a": true}'), literal("two words")
    (1000.0, [1, 'a'], {'a': True}, 'two words')
    """
    if text in _TOML_WORDS:
        return _TOML_WORDS[text]
    for read in (ast.literal_eval, json.loads):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return text


def supports(kind: Any) -> bool:
    """Whether values can be converted to it: a class, a function, or a form of ``typing``.

    The forms are ``Any``, ``Optional``, ``Union``, ``Literal``, and ``list``, ``tuple``,
    ``set``, ``frozenset`` and ``dict`` of supported ones.

    Examples
    --------
    >>> supports(dict[str, float | None]), supports("float")
    (True, False)
    """
    origin = get_origin(kind)
    if origin is not None and origin is not Literal:
        parts = (part for part in get_args(kind) if part is not Ellipsis)
        return origin in _FORMS and all(map(supports, parts))
    return kind is None or kind is Any or origin is Literal or callable(kind)


def reads_literals(kind: Any) -> bool:
    """Whether a text given for it is first tried as a literal, not as itself.

    So it is where text is one possibility of several: ``5`` for ``int | str`` is a number.
    """
    return kind is None or kind is Any or kind is object or get_origin(kind) in (*_UNIONS, Literal)


def convert(kind: Any, value: Any) -> Any:
    """The value as one of this type.

    Text is converted; any other value is accepted if the conversion loses nothing.

    Parameters
    ----------
    kind : type, callable or form of typing
        What :func:`supports` accepts.
    value : Any
        A value.

    Raises
    ------
    Unfit
        The value is no such thing.

    Examples
    --------
    >>> convert(list[int], ["1e3", 2.0])
    [1000, 2]
    >>> convert(bool, "Yes"), convert(int | None, "none")
    (True, None)
    """
    try:
        return _maker(kind)(kind, value)
    except Unfit:
        raise
    except Exception as error:  # of a user's converter, whatever it raises
        raise _unfit(kind, value) from error


def _maker(kind: Any) -> Callable[[Any, Any], Any]:
    form = get_origin(kind) or kind
    if form is None or form is Any or form in _UNIONS:
        return _FORMS[form]
    if not isinstance(form, type):
        return _literal if form is Literal else _plain
    if issubclass(form, Enum):
        return _enum
    if dataclasses.is_dataclass(form):
        return _dataclass
    return _FORMS.get(form, _plain)


def _plain(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and isinstance(value, kind) and not isinstance(value, bool):
        return value
    converted = kind(value)
    if isinstance(value, str) or not isinstance(kind, type) or _same(converted, value):
        return converted
    raise _unfit(kind, value)


def _anything(kind: Any, value: Any) -> Any:
    return value


def _none(kind: Any, value: Any) -> None:
    if value is not None and str(value).strip().lower() not in ("none", "null"):
        raise _unfit(None, value)


def _bool(kind: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise _unfit(kind, value)
    return word in _TRUE


def _int(kind: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return _plain(kind, value)
    try:
        return int(value)
    except ValueError:
        return _whole(value)


def _whole(text: str) -> int:
    """The integer that a text such as ``1e3`` or ``2.0`` writes."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise _unfit(int, text) from None
    if not number.is_finite() or number.adjusted() > _MOST_DIGITS:
        raise _unfit(int, text)
    if number != number.to_integral_value():
        raise _unfit(int, text)
    return int(number)


def _moment(kind: Any, value: Any) -> Any:
    return kind.fromisoformat(value) if isinstance(value, str) else _plain(kind, value)


def _enum(kind: type[Enum], value: Any) -> Enum:
    """A member by its name, or else by its value."""
    if isinstance(value, kind):
        return value
    if isinstance(value, str) and value in kind.__members__:
        return kind[value]
    try:
        return kind(value)
    except ValueError:
        raise Unfit(f"must be one of {', '.join(kind.__members__)}, not {preview(value)}") from None


def _dataclass(kind: Any, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise _unfit(kind, value)
    types = get_type_hints(kind)
    fields = {field.name: types[field.name] for field in dataclasses.fields(kind) if field.init}
    for name in value:
        if name not in fields:
            raise Unfit(f"is no field of {kind.__name__}: {_nearest(name, fields)}", f"[{name!r}]")
    given = {name: _part(fields[name], part, name) for name, part in value.items()}
    return kind(**given)


def _nearest(name: Any, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"


def _union(kind: Any, value: Any) -> Any:
    """The value as it is if that fits one of the types, else as the first that it fits."""
    found = []
    for part in get_args(kind):
        try:
            converted = convert(part, value)
        except Unfit:
            continue
        if type(converted) is type(value):
            return converted
        found.append(converted)
    if found:
        return found[0]
    raise _unfit(kind, value)


def _literal(kind: Any, value: Any) -> Any:
    for option in get_args(kind):
        if _same(option, value) and isinstance(option, bool) == isinstance(value, bool):
            return option
    raise Unfit(f"must be one of {', '.join(map(repr, get_args(kind)))}, not {preview(value)}")


def _list(kind: Any, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _unfit(kind, value)
    return _each(kind, value) if get_args(kind) else value


def _tuple(kind: Any, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _unfit(kind, value)
    kinds = get_args(kind)
    if not kinds:
        return value if isinstance(value, tuple) else tuple(value)
    if kinds[-1:] == (Ellipsis,):
        return tuple(_each(kind, value))
    if len(kinds) != len(value):
        raise Unfit(f"must hold {len(kinds)} values, not {len(value)}")
    return tuple(_part(*pair, place) for place, pair in enumerate(zip(kinds, value, strict=True)))


def _set(kind: Any, value: Any) -> Any:
    make = get_origin(kind) or kind
    if not isinstance(value, (list, set, frozenset)):
        raise _unfit(kind, value)
    if isinstance(value, make) and not get_args(kind):
        return value
    made = make(_each(kind, value) if get_args(kind) else value)
    if len(made) != len(value):
        raise _unfit(kind, value)
    return made


def _dict(kind: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise _unfit(kind, value)
    kinds = get_args(kind)
    if not kinds:
        return value if isinstance(value, dict) else dict(value)
    keys = [_part(kinds[0], key, key) for key in value]
    return {key: _part(kinds[1], value[old], old) for key, old in zip(keys, value, strict=True)}


def _each(kind: Any, values: Any) -> list[Any]:
    return [_part(get_args(kind)[0], value, place) for place, value in enumerate(values)]


def _part(kind: Any, value: Any, place: Any) -> Any:
    try:
        return convert(kind, value)
    except Unfit as error:
        raise Unfit(error.why, f"[{preview(place, 80)}]{error.where}") from error


def _unfit(kind: Any, value: Any) -> Unfit:
    return Unfit(
        f"must be of type {_name(kind)}: {preview(value)} is of type {type(value).__name__} and "
        "cannot be converted without loss"
    )


def _name(kind: Any) -> str:
    plain = None if get_origin(kind) else getattr(kind, "__name__", None)
    return plain or preview(kind)


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:
        return False


_FORMS: dict[Any, Callable[[Any, Any], Any]] = {
    Any: _anything,
    object: _anything,
    None: _none,
    NoneType: _none,
    bool: _bool,
    int: _int,
    date: _moment,
    datetime: _moment,
    time: _moment,
    Union: _union,
    UnionType: _union,
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: _set,
    dict: _dict,
}
