"""How a script ended: by its last line, by an exit that means success, or otherwise."""

from __future__ import annotations

import ast
import builtins
import dis
import sys
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

Span: TypeAlias = tuple[int | None, int | None, int | None, int | None]
"""First and last line, first and last column."""


class Returned(NamedTuple):
    """What a call has given.

    Parameters
    ----------
    instruction : int
        Which instruction the call is, as ``f_lasti`` of the frame tells.
    value : int or None
        The value.
    """

    instruction: int
    value: int | None


def ended_well(frame: FrameType, tree: ast.Module, returned: Returned | None) -> bool:
    """Whether the code of a module ends with success.

    Parameters
    ----------
    frame : frame
        Its frame at the moment when it is left.
    tree : ast.Module
        Its syntax.
    returned : Returned, optional
        The last call in it that returned, if that gave an integer or None: ``main()`` in
        ``sys.exit(main())``.
    """
    instruction = frame.f_code.co_code[frame.f_lasti]
    if dis.opname[instruction].startswith("RETURN_"):
        return True
    here = _position(frame, frame.f_lasti)
    exits = (_exit(node, frame) for node in ast.walk(tree) if _span(node) == here)
    return any(node is not None and _succeeds(node, frame, returned) for node in exits)


def _exit(node: ast.AST, frame: FrameType) -> ast.AST | None:
    """What gives the exit code in ``sys.exit(...)`` or ``raise SystemExit(...)``."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return _argument(node.exc) if _object(node.exc.func, frame) is SystemExit else None
    if isinstance(node, ast.Raise) and node.exc is not None:
        return ast.Constant(None) if _object(node.exc, frame) is SystemExit else None
    if isinstance(node, ast.Call):
        exits = (sys.exit, getattr(builtins, "exit", sys.exit), getattr(builtins, "quit", sys.exit))
        return _argument(node) if _object(node.func, frame) in exits else None
    return None


def _argument(call: ast.Call) -> ast.AST:
    return call.args[0] if call.args else ast.Constant(None)


def _succeeds(code: ast.AST, frame: FrameType, returned: Returned | None) -> bool:
    value = _object(code, frame)
    if returned is not None and _position(frame, returned.instruction) == _span(code):
        value = returned.value
    return value is None or (isinstance(value, int) and value == 0)


def _object(node: ast.AST, frame: FrameType) -> Any:
    """What a name or a constant stands for; of anything else the node itself."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return frame.f_globals.get(node.id, getattr(builtins, node.id, node))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return getattr(frame.f_globals.get(node.value.id), node.attr, node)
    return node


def _position(frame: FrameType, instruction: int) -> Span:
    return list(frame.f_code.co_positions())[instruction // 2]


def _span(node: ast.AST) -> Span:
    names = ("lineno", "end_lineno", "col_offset", "end_col_offset")
    first, last, start, end = (getattr(node, name, None) for name in names)
    return first, last, start, end
