"""How functions, classes, modules and instances of any other class are written.

An instance is taken apart as :func:`copy.copy` takes it apart: ``__reduce_ex__`` tells its
class, the arguments that make it and its state, and each of these is hashed structurally.
That covers plain classes, dataclasses, named tuples, subclasses of containers, fitted
estimators and the extension types inside them, and refuses what Python itself cannot take
apart (locks, sockets, connections).  Refused as well:

- a recipe of its own that does not start from the class, since such ones usually hold
  serialized bytes, which may differ from run to run;
- a class that its name does not lead to, since two of them may behave differently;
- iterators and open files, which reading would use up;
- lazy Dask collections: their keys are random or made by Dask's tokens, their functions count
  by name only, and what their tasks read is known only when they are computed.

A class names itself what identifies its instances by ``__daskperiment_digest__(self)``.
"""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from daskperiment.fingerprint.walk import Rule, Stuck, Walk, attribute, seal, text, type_name

OWN = "__daskperiment_digest__"
_MAIN = ("__main__", "__mp_main__")  # the second is its name in a spawned process


class _Recipe(NamedTuple):
    """What makes an instance, as ``object.__reduce_ex__`` describes it."""

    arguments: tuple[object, ...]
    state: object = None
    items: Iterable[object] | None = None
    pairs: Iterable[tuple[object, object]] | None = None


def rule_for(kind: type) -> Rule:
    """The rule of a type that no other module knows."""
    if issubclass(kind, type):
        return _named
    return _KINDS.get(kind, instance)


def instance(walk: Walk, value: object) -> bytes:
    """The form of an instance: its class and what makes it."""
    kind = type(value)
    if hasattr(kind, OWN):
        return own(walk, value)
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        raise Stuck(f"{type_name(kind)} (an iterator, which reading would use up)")
    if hasattr(kind, "__dask_graph__"):
        raise Stuck(f"{type_name(kind)} (a lazy collection: compute it first)")
    name = _named(walk, kind)
    if isinstance(value, Enum):
        return seal(b"enum", name, text(value.name or ""), walk.encode(value.value))
    if isinstance(value, (set, frozenset)):
        return seal(b"set of", name, walk.unordered(value), _state(walk, vars(value)))
    return seal(b"object", name, *_parts(walk, value, _recipe(value)))


def own(walk: Walk, value: object) -> bytes:
    """The form of an instance whose class says what identifies it."""
    return _identified(walk, value, getattr(type(value), OWN), f".{OWN}()")


def by_function(function: Callable[[Any], object]) -> Rule:
    """The rule of a type for which a function says what identifies its instances."""
    step = f" by {getattr(function, '__qualname__', type_name(type(function)))}"
    return lambda walk, value: _identified(walk, value, function, step)


def _identified(walk: Walk, value: object, function: Callable[[Any], object], step: str) -> bytes:
    kind = type(value)
    walk.named.append(kind)
    try:
        identity = function(value)
        if identity is value:
            raise Stuck("it gives the value itself")
        form = walk.encode(identity)
    except Stuck as stuck:
        stuck.steps.append(step)
        raise
    return seal(b"own", text(_module_name(kind.__module__)), text(kind.__qualname__), form)


def reference(value: object, path: str) -> str:
    """The name ``module:path`` that leads to `value`; `Stuck` if it leads elsewhere."""
    module = getattr(value, "__module__", None)
    found: object = sys.modules.get(module) if isinstance(module, str) else None
    for name in path.split("."):
        found = getattr(found, name, None)
    # A worker gets the classes of the driver's main module by their code, and may have the same
    # ones again in a main module of its own; the scheme tells whether their code is the same.
    if found is not value and (module not in _MAIN or "<" in path):
        raise Stuck(f"{module}.{path} (its name does not lead to it)")
    return f"{_module_name(module)}:{path}"


def _module_name(module: str | None) -> str:
    return "__main__" if module in _MAIN else str(module)


def _named(walk: Walk, value: Any) -> bytes:
    walk.named.append(value)
    return seal(b"reference", text(reference(value, value.__qualname__)))


def _module(walk: Walk, value: types.ModuleType) -> bytes:
    if sys.modules.get(value.__name__) is not value:
        raise Stuck(f"module {value.__name__} (its name does not lead to it)")
    return seal(b"module", text(value.__name__))


def _method(walk: Walk, value: types.MethodType) -> bytes:
    name = value.__name__
    found = getattr(value.__self__, name, None)
    if getattr(found, "__func__", None) is not value.__func__:
        raise Stuck(f"method {name} (its name does not lead to it)")
    return seal(b"method", walk.encode(value.__self__), text(name))


def _descriptor(walk: Walk, value: Any) -> bytes:
    owner, name = value.__objclass__, value.__name__
    if vars(owner).get(name) is not value:
        raise Stuck(f"method {name} (its name does not lead to it)")
    return seal(b"reference", text(f"{reference(owner, owner.__qualname__)}.{name}"))


def _recipe(value: object) -> _Recipe:
    kind = type(value)
    recipe: Any = value.__reduce_ex__(4)
    if isinstance(recipe, str):
        return _Recipe((reference(value, recipe),))
    maker, arguments, *rest = recipe
    if maker is kind:
        return _Recipe(arguments, *rest[:3])
    if arguments and arguments[0] is kind:
        return _Recipe(arguments[1:], *rest[:3])
    raise Stuck(f"{type_name(kind)} (its own __reduce__ does not start from its class)")


def _parts(walk: Walk, value: object, recipe: _Recipe) -> Iterator[bytes]:
    yield walk.encode(recipe.arguments)
    yield _state(walk, _unversioned(value, recipe.state))
    yield walk.sequence(recipe.items or ())
    ordered = isinstance(value, OrderedDict)
    yield walk.sequence(recipe.pairs or ()) if ordered else walk.pairs(recipe.pairs or ())


def _unversioned(value: object, state: Any) -> Any:
    """Without the release that made an estimator: packages are compared apart from values."""
    if type(value).__module__.startswith("sklearn.") and type(state) is dict:
        return {name: part for name, part in state.items() if name != "_sklearn_version"}
    return state


def _state(walk: Walk, state: object) -> bytes:
    """The form of attributes: a dict, or a dict and another one of the slots."""
    if type(state) is dict:
        return seal(b"attributes", walk.pairs(state.items(), attribute))
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        return seal(b"slots", *(_state(walk, part) for part in state))
    return walk.encode(state)


_KINDS: Mapping[type, Rule] = {
    types.ModuleType: _module,
    types.FunctionType: _named,
    types.BuiltinFunctionType: _named,
    types.MethodType: _method,
    types.MethodDescriptorType: _descriptor,
    types.WrapperDescriptorType: _descriptor,
}
