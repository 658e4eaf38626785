"""Namespace: a mapping whose items are attributes as well."""

from __future__ import annotations

import difflib
from typing import Any


class Namespace(dict[Any, Any]):
    """A dict with attribute access: ``model.lr`` is ``model["lr"]``.

    Dicts in it, also those in lists and tuples, are namespaces, too.  It equals the plain
    dict of the same content and is recorded, digested and shown exactly as that one.  What a
    dict has itself, such as ``items`` and ``keys``, stays what it is: a key of such a name
    is reached by ``model["items"]`` only.

    Parameters
    ----------
    *args, **kwargs
        As for :class:`dict`.

    Raises
    ------
    AttributeError
        There is no such key, the nearest one is suggested; or an attribute is to be set that
        a dict has itself.

    Examples
    --------
    >>> model = Namespace(lr=0.1, optimizer={"name": "adam"})
    >>> model.optimizer.name, model["optimizer"]["name"]
    ('adam', 'adam')
    >>> model.depth = 3
    >>> model
    {'lr': 0.1, 'optimizer': {'name': 'adam'}, 'depth': 3}
    >>> model == {"lr": 0.1, "optimizer": {"name": "adam"}, "depth": 3}
    True
    """

    __slots__ = ()

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        super().__init__(namespaced(dict(*args, **kwargs)) if args or kwargs else ())

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, namespaced(value))

    def __getattr__(self, name: str) -> Any:
        # What copy, pickle and notebooks look for must not be mistaken for a key.
        if name in self and not name.startswith("__"):
            return self[name]
        raise self._no(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise AttributeError(
                f"{name!r} is an attribute of every dict: for the key write [{name!r}] = ..."
            )
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise self._no(name)
        del self[name]

    def _no(self, name: str) -> AttributeError:
        keys = [str(key) for key in self]
        near = difflib.get_close_matches(name, keys, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(keys) or 'no key'}"
        return AttributeError(f"There is no {name!r} in this mapping; {hint}")

    def __dir__(self) -> list[str]:
        keys = [key for key in self if isinstance(key, str) and key.isidentifier()]
        return [*super().__dir__(), *keys]

    def __or__(self, other: Any) -> Any:
        merged = super().__or__(other)
        return merged if merged is NotImplemented else Namespace(merged)

    def copy(self) -> Namespace:
        """Return a shallow copy, a namespace again."""
        return Namespace(self)


def namespaced(value: Any) -> Any:
    """Return the value with every plain dict in it, also in lists and tuples, as a namespace.

    Lists and tuples that hold none, and values of any other type, are returned as they are;
    so is what is nested deeper than Python can recurse.

    Examples
    --------
    >>> namespaced([{"a": 1}])[0].a
    1
    """
    if type(value) not in (dict, list, tuple):
        return value
    try:
        return _wrapped(value, {})
    except RecursionError:
        return value


def _wrapped(value: Any, made: dict[int, Any]) -> Any:
    kind = type(value)
    if kind not in (dict, list, tuple):
        return value
    if id(value) in made:  # shared, or part of itself
        return made[id(value)]
    if kind is dict:
        space = made[id(value)] = Namespace()
        for key, part in value.items():
            dict.__setitem__(space, key, _wrapped(part, made))
        return space
    made[id(value)] = value
    parts = [_wrapped(part, made) for part in value]
    if any(new is not old for new, old in zip(parts, value, strict=True)):
        made[id(value)] = kind(parts)
    return made[id(value)]
