"""One line of text that shows a value, whatever the value does."""

from __future__ import annotations

import reprlib
from itertools import islice
from types import NoneType
from typing import Any

from daskperiment.namespace import Namespace
from daskperiment.secrets import MASK, Hidden, hide, kind, scrub

_WINDOW = 8192  # characters in which a secret is looked for, of which far fewer are shown
_TYPES = {kind: repr(kind) for kind in (NoneType, bool, int, float, str, list, tuple, dict)}
_ARRAY_LIBRARIES = ("numpy", "pandas", "scipy", "torch")


def preview(value: object, limit: int = 200) -> str:
    """At most `limit` printable characters that show `value`; never raises.

    Arrays and frames are shown by type, dtype and shape, long containers by their
    beginning, and secrets as ``***``.  Only an interrupt passes through.

    Examples
    --------
    >>> preview({"accuracy": 0.97, "n": 3})
    "{'accuracy': 0.97, 'n': 3}"
    >>> import numpy
    >>> preview({"X": numpy.zeros((569, 30))})
    "{'X': ndarray float64 (569, 30)}"
    """
    if _is_number(value) and len(text := repr(value)) <= limit:
        return text
    return _guarded(_Shortened(limit).repr, value, limit)


def preview_error(error: BaseException, limit: int = 200) -> str:
    """The type and message of an exception in one line; never raises.

    Examples
    --------
    >>> preview_error(ValueError("no such file"))
    'ValueError: no such file'
    """
    return _guarded(lambda error: f"{type(error).__name__}: {error}", error, limit)


def preview_type(value: object) -> str:
    """The type of a value, also of a hidden one; a Namespace counts as the dict it reads back as.

    Examples
    --------
    >>> preview_type(0.5)
    "<class 'float'>"
    """
    found = kind(value)
    # A metaclass may do anything when its class is looked up.
    known = _TYPES.get(found) if type(found) is type else None
    return known or preview(dict if found is Namespace else found)


class _Shortened(reprlib.Repr):
    """`repr` that stops at about `limit` items or characters of each container."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = self.maxstring = self.maxother = self.maxlong = limit
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = limit
        self.maxdeque = self.maxarray = self.maxdict = limit

    def repr1(self, x: Any, level: int) -> str:
        """As the original, which chooses by the name of the type."""
        return self.repr_dict(x, level) if type(x) is Namespace else super().repr1(x, level)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """In the order of the dict, where the original sorts."""
        first = islice(x.items(), self.limit if level > 0 else 0)
        shown = [(key, hide(key, value) if isinstance(key, str) else value) for key, value in first]
        pairs = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in shown]
        return "{" + ", ".join(pairs + ["..."] * (len(pairs) < len(x))) + "}"

    def repr_str(self, x: str, level: int) -> str:
        """Without secrets, which half of one could not be recognized as."""
        if len(x) > 2 * _WINDOW:
            x = x[:_WINDOW] + x[-_WINDOW:]
        return super().repr_str(scrub(x), level)

    def repr_Hidden(self, x: Hidden, level: int) -> str:  # noqa: N802 - named after the class
        """The part of it that may be shown."""
        return self.repr1(x.reveal(), level) if x.partly else MASK

    def repr_instance(self, x: Any, level: int) -> str:
        """The summary of an array, or the guarded repr of anything else."""
        return _guarded(lambda x: _summary(x) or repr(x), x, self.limit)


def _is_number(value: Any) -> bool:
    """Whether its repr is short and quick; a long integer has one that fails."""
    kind = type(value)
    return kind is float or (kind is int and -(2**63) <= value < 2**63)


def _summary(value: Any) -> str | None:
    kind = type(value)
    if _name(kind).partition(".")[0] not in _ARRAY_LIBRARIES:
        return None
    shape = getattr(value, "shape", None)
    if not shape:
        return None
    if hasattr(value, "dtype"):
        return f"{kind.__name__} {value.dtype} {tuple(shape)}"
    return f"{kind.__name__} {' x '.join(map(str, shape))}"


def _guarded(show: Any, value: object, limit: int) -> str:
    try:
        shown = show(value)
        # Not shown[:n]: the text may be of a subclass of str with methods of its own.
        start = scrub(str.__getitem__(shown, slice(_WINDOW)))[: limit + 1]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        start = f"<{_name(type(value))} object (repr failed: {type(error).__name__})>"
    line = "".join(char if char.isprintable() else " " for char in start)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _name(kind: type) -> str:
    module = kind.__module__
    return f"{module}.{kind.__qualname__}" if isinstance(module, str) else kind.__qualname__
