"""The digest of a value: what tells whether two inputs or outputs are equal.

Two values have one digest if they have the same types and equal parts, whatever process,
machine or version of Python, NumPy and pandas they live in.  ``1``, ``1.0`` and ``True``
differ, ``-0.0`` differs from ``0.0``, all NaNs are one.  The order of a dict is not part of
it, as in ``==``; nor is it whether two equal parts are one object.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from blake3 import blake3

from daskperiment import secrets
from daskperiment.errors import DaskperimentError
from daskperiment.fingerprint import arrays, frames, objects
from daskperiment.fingerprint.plain import ATOMS, RULES
from daskperiment.fingerprint.walk import Rule, Stuck, Walk, type_name

SCHEME = "v1"
"""Prefix of every digest; digests of different schemes must not be compared."""

_LIBRARIES: dict[str, Callable[[type], Rule | None]] = {
    "numpy": arrays.rule_for,
    "pandas": frames.rule_for,
    "scipy": arrays.sparse_rule_for,
    "torch": arrays.tensor_rule_for,
}


class Unhashed(DaskperimentError, TypeError):  # noqa: N818 - the word of the records
    """The value holds something that cannot be hashed by its structure."""


def digest(value: object, name: str = "value") -> str:
    """The digest of `value`: the scheme and 32 hexadecimal characters.

    Functions, classes and modules count by their names only.  Of any other object count its
    class and its state; a method ``__daskperiment_digest__(self)`` returns what counts
    instead.  A :class:`~daskperiment.Secret` counts by a digest that only this user can compute.
    A value that another thread changes meanwhile gives `Unhashed` or the digest
    of a mixture.

    Parameters
    ----------
    value
        Any value.
    name
        What messages call the value.

    Raises
    ------
    Unhashed
        The value, or a part of it, has no structure that could be read: the message names
        the type and where it sits.  Errors of the value's own methods are never passed on.

    Examples
    --------
    >>> digest({"alpha": 0.5, "n": 3})
    'v1:...'
    >>> digest(1) == digest(1.0)
    False
    >>> digest([1, lambda: 0])
    Traceback (most recent call last):
    daskperiment.fingerprint.values.Unhashed: value[1]: ... (its name does not lead to it)
    """
    maker = ATOMS.get(type(value))
    scheme, form = (SCHEME, maker(value)) if maker is not None else _form(value, name)
    return f"{scheme}:{blake3(form).digest(16).hex()}"


def try_digest(value: object, name: str = "value") -> tuple[str | None, str | None]:
    """The digest and None, or None and the reason why there is none.

    Examples
    --------
    >>> import threading
    >>> try_digest([open])
    ('v1:...', None)
    >>> try_digest({"f": threading.Lock()}, name="state")
    (None, "state['f']: _thread.lock...")
    """
    try:
        return digest(value, name), None
    except Unhashed as error:
        return None, str(error)


def digest_and_named(value: object, name: str = "value") -> tuple[str, list[object]]:
    """The digest, and the functions and classes that are part of it by their names only.

    Classes of instances are among them.

    Raises
    ------
    Unhashed
        As `digest`.

    Examples
    --------
    >>> digest_and_named({"f": open, "more": [1, 2]})
    ('v1:...', [<built-in function open>])
    """
    walk = Walk(ATOMS, _rule_for)
    scheme, form = _encoded(walk, value, name)
    return f"{scheme}:{blake3(form).digest(16).hex()}", walk.named


def _form(value: object, name: str) -> tuple[str, bytes]:
    return _encoded(Walk(ATOMS, _rule_for), value, name)


def _encoded(walk: Walk, value: object, name: str) -> tuple[str, bytes]:
    try:
        form = walk.encode(value)
        # By another user's key the same secret has another digest: that is another scheme.
        return (f"{SCHEME}-{secrets.key_name()}" if walk.keyed else SCHEME), form
    except Stuck as stuck:
        raise Unhashed(f"{name}{stuck.where}: {stuck.what}") from stuck.__cause__


@lru_cache(maxsize=1024)
def _rule_for(kind: type) -> Rule:
    rule = RULES.get(kind)
    if rule is not None:
        return rule
    for base in kind.__mro__:
        find = _LIBRARIES.get(base.__module__.partition(".")[0])
        rule = find(base) if find is not None else None
        if rule is not None:
            return rule if base is kind else _foreign_subclass
    return objects.rule_for(kind)


def _foreign_subclass(walk: Walk, value: object) -> bytes:
    """A subclass of an array or frame may hold more than the library's rule reads."""
    if hasattr(type(value), objects.OWN):
        return objects.own(walk, value)
    raise Stuck(f"{type_name(type(value))} (a subclass from outside its library)")
