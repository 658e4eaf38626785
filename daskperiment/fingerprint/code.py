"""The fingerprint of a function's code: its own, and all of the user's code that it reaches.

From a function the walk follows the names that it reads, through modules of the user's own,
to helpers, classes, constants, the variables of closures, defaults and decorators.  It ends
at the *border*: the standard library, installed distributions and daskperiment itself, which
count by name.  Their versions are reported, but they are not part of the digest: an upgraded
package is another cause of a changed output than changed code.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from daskperiment import platform
from daskperiment.fingerprint.origin import versions
from daskperiment.fingerprint.reach import Reach
from daskperiment.fingerprint.reading import SourceText
from daskperiment.fingerprint.source import source
from daskperiment.fingerprint.values import by_name
from daskperiment.fingerprint.watch import Watch


@dataclass(frozen=True, eq=False)
class Closure:
    """The code that a function computes with; compared by its `digest`.

    Attributes
    ----------
    digest : str
        One digest for all of it, with the scheme as prefix.  Names of modules are not part of
        it, so a script and the module made of it agree.  Versions of distributions are not
        part of it either: compare `borders`.
    functions : dict of str to str
        The user's own functions and classes that are reached, by qualified name, each with a
        digest of its text and of the values it reads.  Lambdas and others of equal name are
        numbered in the order in which they are reached.
    borders : dict of str to str
        The distributions at the border, and ``"python"``, with their versions.
    unhashed : tuple of str
        What is read but could not be hashed, such as ``"pipeline.LOCK: _thread.lock"``; the
        digest knows only its type.
    bytecode : tuple of str
        The functions and classes that no source text agrees with: made by ``exec``, or edited
        on disk after the import.  Functions count by bytecode, which changes between releases
        of Python; classes by their members.
    files : tuple of str
        The names of the files and cells that the reached functions were compiled from.
    sources : tuple of SourceText
        The texts of those that source was found in.
    source : str
        The function's own text, decorators included.
    name : str
        Its own name among the functions: of a partial or method, that of the function in it.
    """

    digest: str
    functions: dict[str, str]
    borders: dict[str, str]
    unhashed: tuple[str, ...]
    bytecode: tuple[str, ...]
    files: tuple[str, ...]
    sources: tuple[SourceText, ...]
    source: str
    name: str


_lock = threading.RLock()


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()  # another thread may have held the parent's


platform.at_fork(after_in_child=_in_child)
_closures: weakref.WeakKeyDictionary[object, tuple[Closure, Watch]] = weakref.WeakKeyDictionary()


def fingerprint(function: Callable[..., Any]) -> Closure:
    """The code that `function` computes with, as it is now.

    Comments, docstrings, formatting and annotations do not count, nor do decorators of
    daskperiment itself; the digest is equal on all supported releases of Python.  As long as
    nothing changed, a repeated call gives the same object after one look at each name
    and value that was read.  A helper that was bound anew, a changed constant and a list that
    was changed in place are noticed.

    A module of the user's that a function imports when it runs is not run for this: what the
    function reads of it counts by its text, also once it is imported.

    Not followed: what is found by name at run time.  ``getattr`` of an object is not noticed;
    ``eval``, ``exec``, ``globals()``, a module that is passed on, and imports of a name that is
    made at run time are listed as unhashed.  A decorator counts by its text only while the
    name it begins with can be looked up; what it returned is followed in any case.

    May be called from several threads.

    Parameters
    ----------
    function : callable
        A function; also a method, partial, class or callable object.  Only functions and
        classes are remembered.

    Examples
    --------
    >>> def double(x):
    ...     return 2 * x
    >>> def double_and_one(x):
    ...     return double(x) + 1
    >>> [name.rpartition(".")[2] for name in fingerprint(double).functions]
    ['double']
    >>> fingerprint(double).digest == fingerprint(double_and_one).digest
    False
    """
    with by_name():
        return _fingerprint(function)


def _fingerprint(function: Callable[..., Any]) -> Closure:
    known = _known(function)
    if known is not None and known[1].unchanged():
        return known[0]
    with _lock:
        again = _known(function)
        if again is not known and again is not None:
            return again[0]
        return _walk(function, known)


def _known(function: Callable[..., Any]) -> tuple[Closure, Watch] | None:
    return _closures.get(function) if isinstance(function, FunctionType | type) else None


def _walk(function: Callable[..., Any], known: tuple[Closure, Watch] | None) -> Closure:
    with _collecting_no_garbage():
        reach = Reach(function)
        closure = _closure(function, reach)
    if known is not None and vars(known[0]) == vars(closure):
        closure = known[0]
    if isinstance(function, FunctionType | type):
        _closures[function] = closure, reach.watch
    return closure


@contextlib.contextmanager
def _collecting_no_garbage() -> Iterator[None]:
    """Parsing makes many objects, of which none is garbage and most are kept.

    To look for some among them takes a third of the time, so they are made old at once.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:  # what somebody else has frozen stays so
            gc.freeze()
            gc.unfreeze()
        if collects:
            gc.enable()


def _closure(function: Callable[..., Any], reach: Reach) -> Closure:
    return Closure(
        digest=reach.digest,
        functions=reach.functions,
        borders=versions(reach.borders),
        unhashed=tuple(sorted(reach.unhashed)),
        bytecode=tuple(sorted(reach.bytecode)),
        files=tuple(sorted(reach.files)),
        sources=tuple(sorted(reach.texts, key=lambda text: (text.module, text.file))),
        source=source(function),
        name=reach.first,
    )
