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
from daskperiment.fingerprint import arrays, arrow, files, frames, objects
from daskperiment.fingerprint.plain import ATOMS, RULES
from daskperiment.fingerprint.registry import generation, registered
from daskperiment.fingerprint.walk import Rule, Stuck, Walk, type_name

SCHEME = "v1"
"""Prefix of every digest; digests of different schemes must not be compared."""

_LIBRARIES: dict[str, Callable[[type], Rule | None]] = {
    "numpy": arrays.rule_for,
    "pandas": frames.rule_for,
    "pathlib": files.rule_for,
    "pyarrow": arrow.rule_for,
    "scipy": arrays.sparse_rule_for,
    "torch": arrays.tensor_rule_for,
}


class Unhashed(DaskperimentError, TypeError):  # noqa: N818 - the word of the records
    """The value holds something that cannot be hashed by its structure."""


def digest(value: object, name: str = "value", contents: bool = True) -> str:
    """The digest of `value`: the scheme and 32 hexadecimal characters.

    Functions, classes and modules count by their names only.  Of any other object count its
    class and its state; a method ``__daskperiment_digest__(self)``, or a function given to
    :func:`~daskperiment.fingerprint.register`, returns what counts instead.
    A :class:`~daskperiment.Secret` counts by a digest that only this user can compute.
    A value that another thread changes meanwhile gives `Unhashed` or the digest
    of a mixture.

    A :class:`pathlib.Path` counts by the content that it names: a file by its bytes, a folder by
    all files in it and their names below it, what does not exist by its text.  Its own name
    does not count.  Every file is read when it is first met in a process, and looked at again
    each time: for a folder of a million files that takes many seconds.  Let a path that is
    only written to, or whose content is of no concern, be a str or a :class:`pathlib.PurePath`.

    Parameters
    ----------
    value
        Any value.
    name
        What messages call the value.
    contents
        Whether paths count by the content that they name, else by their text.

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
    return digest_of_form(*form(value, name, contents))


def try_digest(
    value: object, name: str = "value", contents: bool = True
) -> tuple[str | None, str | None]:
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
        return digest(value, name, contents), None
    except Unhashed as error:
        return None, str(error)


def form(value: object, name: str = "value", contents: bool = True) -> tuple[str, bytes]:
    """The scheme and the form of a value: what its digest, and that of all that holds it, need.

    A form has fewer than a hundred bytes, whatever the size of the value.

    Parameters
    ----------
    value, name, contents
        As in :func:`digest`.

    Raises
    ------
    Unhashed
        As in :func:`digest`.

    Examples
    --------
    >>> form(3)
    ('v1', b'int:\\x01\\x03')
    >>> digest_of_form(*form("x" * 1000)) == digest("x" * 1000)
    True
    """
    maker = ATOMS.get(type(value))
    if maker is not None:
        return SCHEME, maker(value)
    return _encoded(Walk(ATOMS, _rule_for, contents), value, name)


def digest_and_named(
    value: object, name: str = "value", contents: bool = True
) -> tuple[str, list[object]]:
    """The digest, and the functions and classes that are part of it by their names only.

    Classes of instances are among them.  Parameters and errors as for :func:`digest`.

    Examples
    --------
    >>> digest_and_named({"f": open, "more": [1, 2]})
    ('v1:...', [<built-in function open>])
    """
    walk = Walk(ATOMS, _rule_for, contents)
    return digest_of_form(*_encoded(walk, value, name)), walk.named


def _encoded(walk: Walk, value: object, name: str) -> tuple[str, bytes]:
    try:
        found = walk.encode(value)
        # By another user's key the same secret has another digest: that is another scheme.
        return _keyed_scheme() if walk.keyed else SCHEME, found
    except Stuck as stuck:
        raise Unhashed(f"{name}{stuck.where}: {stuck.what}") from stuck.__cause__


def digest_of_form(scheme: str, form: bytes) -> str:
    """The digest of the value that has this form.

    Examples
    --------
    >>> digest_of_form(*form([1, 2])) == digest([1, 2])
    True
    """
    return f"{scheme}:{blake3(form).digest(16).hex()}"


class Known:
    """A value that is not at hand, and whose form is known.

    What holds it has the digest of what holds the value itself, in every container but an
    array or a frame.  Instances of subclasses count in the same way.

    Parameters
    ----------
    form : bytes
        The form of the value, as :func:`form` gives it.
    scheme : str
        The scheme of the form.  With that of another user's key, or of another release, what
        holds the value is unhashed.

    Examples
    --------
    >>> scheme, found = form({"alpha": 0.5})
    >>> digest([1, Known(found, scheme)]) == digest([1, {"alpha": 0.5}])
    True
    """

    __slots__ = ("form", "scheme")

    def __init__(self, form: bytes, scheme: str = SCHEME) -> None:
        self.form = form
        self.scheme = scheme


def _keyed_scheme() -> str:
    return f"{SCHEME}-{secrets.key_name()}"


def _known(walk: Walk, value: Known) -> bytes:
    if value.scheme != SCHEME:
        if value.scheme != _keyed_scheme():
            raise Stuck(f"a digest of the scheme {value.scheme}")
        walk.keyed = True
    return value.form


def _rule_for(kind: type) -> Rule:
    return RULES.get(kind) or _rule(kind, generation())


@lru_cache(maxsize=1024)
def _rule(kind: type, generation: int) -> Rule:
    function = registered(kind)
    if function is not None:
        return objects.by_function(function)
    if issubclass(kind, Known):
        return _known
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
