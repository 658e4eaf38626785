"""What bytecode tells about a function: its names, and a digest where there is no source."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from types import CodeType

from daskperiment.fingerprint.spelling import Path, constant
from daskperiment.fingerprint.syntax import Outline, combine

_ROOTS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}


def nested(code: CodeType) -> Iterator[CodeType]:
    """The code and all code in it, of inner functions, lambdas and comprehensions."""
    yield code
    for item in code.co_consts:
        if isinstance(item, CodeType):
            yield from nested(item)


def names(code: CodeType) -> set[str]:
    """The names that may be global or belong to the closure; attributes are among them.

    Only the outermost code's closure counts: from Python 3.12 on comprehensions are part of
    the code around them, so that what nested code closes over differs between releases.
    """
    return set(code.co_freevars).union(*map(_loaded, nested(code)))


def outline(code: CodeType) -> Outline:
    """The outline of code without source; its digest holds for one release of Python."""
    paths = {path for part in nested(code) for path in _paths(part)}
    known = names(code)
    if code.co_name == "<module>":  # variables that a script or cell sets are its own
        known -= {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
    return Outline(_digest(code), tuple(sorted(path for path in paths if path[0] in known)))


def _loaded(code: CodeType) -> set[str]:
    # An argument is never global in its own code, though an attribute may bear its name.
    arguments = code.co_argcount + code.co_kwonlyargcount
    return set(code.co_names) - set(code.co_varnames[:arguments])


def _digest(code: CodeType) -> str:
    constants = (
        _digest(item) if isinstance(item, CodeType) else constant(item) for item in code.co_consts
    )
    release = "{}.{}".format(*sys.version_info[:2])
    variables = (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
    return combine(
        "bytecode",
        release,
        code.co_code.hex(),
        " ".join(code.co_names),
        " ".join(variables),
        code.co_exceptiontable.hex(),
        *constants,
    )


def _paths(code: CodeType) -> Iterator[Path]:
    path: Path = ()
    for instruction in dis.get_instructions(code):
        if instruction.opname in _ATTRIBUTES and path:
            path = (*path, instruction.argval)
            continue
        if path:
            yield path
        path = (instruction.argval,) if instruction.opname in _ROOTS else ()
