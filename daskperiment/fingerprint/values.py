"""The digest of a value: what tells whether two inputs or outputs are equal.

Two values have one digest if they have the same types and equal parts, whatever process,
machine or version of Python, NumPy and pandas they live in.  ``1``, ``1.0`` and ``True``
differ, ``-0.0`` differs from ``0.0``, all NaNs are one.  The order of a dict is not part of
it, as in ``==``; nor is it whether two equal parts are one object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import FunctionType

from blake3 import blake3

from daskperiment import secrets
from daskperiment.errors import DaskperimentError
from daskperiment.fingerprint import arrays, arrow, files, frames, objects
from daskperiment.fingerprint.origin import border
from daskperiment.fingerprint.plain import ATOMS, RULES
from daskperiment.fingerprint.registry import generation, registered
from daskperiment.fingerprint.walk import Rule, Stuck, Walk, type_name

SCHEME = "v1"
"""Prefix of every digest; digests of different schemes must not be compared."""

_CODE = 16  # characters of the digest of a function or class

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


def digest(value: object, name: str = "value") -> str:
    """The digest of `value`: the scheme and 32 hexadecimal characters.

    Functions, classes and modules count by their names.  Of any other object count its
    class and its state; a method ``__daskperiment_digest__(self)``, or a function given to
    :func:`~daskperiment.fingerprint.register`, returns what counts instead.
    A :class:`~daskperiment.Secret` counts by a digest that only this user can compute.
    A value that another thread changes meanwhile gives `Unhashed` or the digest
    of a mixture.

    What functions and classes of the user do is part of the scheme, as in
    ``v1+5c0f3a90b1d2e4f7:...``: what their code gives cannot be told from an earlier value.  So
    values of equal state whose class was edited have two digests, of which neither is taken
    for a change of the other.

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
    return digest_of_form(*form(value, name))


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


def form(value: object, name: str = "value") -> tuple[str, bytes]:
    """The scheme and the form of a value: what its digest, and that of all that holds it, need.

    A form has fewer than a hundred bytes, whatever the size of the value.

    Parameters
    ----------
    value, name
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
    walk = Walk(ATOMS, _rule_for, contents=not _by_name.get())
    return _encoded(walk, value, name)


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
    walk = Walk(ATOMS, _rule_for, contents=not _by_name.get())
    return digest_of_form(*_encoded(walk, value, name)), walk.named


@contextmanager
def by_name() -> Iterator[None]:
    """A block in which code of the user counts by its names only, and paths by their text.

    This is for the fingerprint of code, which finds code itself: a constant that holds the
    folder of a project must not make all files in it part of the code.

    Examples
    --------
    >>> from pathlib import Path, PurePath
    >>> with by_name():
    ...     digest(Path()) == digest(PurePath())
    True
    """
    token = _by_name.set(True)
    try:
        yield
    finally:
        _by_name.reset(token)


_by_name = ContextVar("daskperiment_by_name", default=False)


def _encoded(walk: Walk, value: object, name: str) -> tuple[str, bytes]:
    try:
        found = walk.encode(value)
    except Stuck as stuck:
        raise Unhashed(f"{name}{stuck.where}: {stuck.what}") from stuck.__cause__
    scheme = SCHEME
    if (walk.named or walk.codes) and not _by_name.get():
        try:
            scheme = "+".join((SCHEME, *sorted(walk.codes | _codes_of(walk.named))))
        except Exception as error:  # of a metaclass of the user's
            why = type_name(type(error))
            raise Unhashed(f"{name}: reading the code of its classes raised {why}") from error
    # By another user's key the same secret has another digest: that is another scheme.
    return f"{scheme}-{secrets.key_name()}" if walk.keyed else scheme, found


def _codes_of(named: Iterable[object]) -> set[str]:
    """What schemes say of the code of functions and classes: nothing of those of libraries."""
    users = {id(item): item for item in named if isinstance(item, type | FunctionType)}
    own = [item for item in users.values() if border(item.__module__) is None]
    if not own:
        return set()
    from daskperiment.fingerprint.code import fingerprint  # which reads values

    return {fingerprint(item).digest.partition(":")[2][:_CODE] for item in own}


def digest_of_form(scheme: str, form: bytes) -> str:
    """The digest of the value that has this form.

    Examples
    --------
    >>> digest_of_form(*form([1, 2])) == digest([1, 2])
    True
    """
    return f"{scheme}:{blake3(form).digest(16).hex()}"


def is_keyed(digest: str) -> bool:
    """Whether a digest can be computed by one user only, as the value holds a secret.

    Examples
    --------
    >>> is_keyed(digest(3))
    False
    """
    return "-" in digest.partition(":")[0]


class Known:
    """A value that is not at hand, and whose form is known.

    What holds it has the digest of what holds the value itself, in every container but an
    array or a frame.  Instances of subclasses count in the same way.

    Parameters
    ----------
    form : bytes
        The form of the value, as :func:`form` gives it.
    scheme : str
        The scheme of the form, with the code that the value holds.  With that of another
        user's key, or of another release, what holds the value is unhashed.

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


def _known(walk: Walk, value: Known) -> bytes:
    scheme, _, key = value.scheme.partition("-")
    release, *codes = scheme.split("+")
    if release != SCHEME or key not in ("", secrets.key_name() if key else ""):
        raise Stuck(f"a digest of the scheme {value.scheme}")
    walk.codes = walk.codes.union(codes)
    walk.keyed = walk.keyed or bool(key)
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
