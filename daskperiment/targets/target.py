"""Target: a result step made of something that was not decorated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from daskperiment.errors import (
    ComputeArgumentError,
    ParameterError,
    ParameterUndeclaredError,
    StepDefinitionError,
)
from daskperiment.graph import Node, Owner, Step, layout_of, undefined
from daskperiment.importing import by_value
from daskperiment.namespace import namespaced
from daskperiment.parameters import UNDEFINED, Declaration, Parameter, Parameters
from daskperiment.serializers import preview
from daskperiment.targets.classes import class_style, is_class_style
from daskperiment.targets.designs import design, is_design
from daskperiment.targets.kinds import Kind, function

_KEPT = 256
"""Targets of which an experiment remembers the nodes."""


class Target(Step[..., Any]):
    """A result step whose parameters are those that a function, or a class, takes.

    Parameters
    ----------
    owner : Owner
        The experiment.
    fn : callable or object
        What is run.

    Raises
    ------
    StepDefinitionError
        It cannot be run; the message says what can.
    """

    def __init__(self, owner: Owner, fn: Any) -> None:
        kind = _kind(fn)
        super().__init__(owner, fn, is_result=True)
        self._kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.owner, by_value(self.fn))

    def _check(self) -> None:
        if callable(self.fn):  # an instance with main() or step() need not be
            super()._check()

    def invoke(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call what is run."""
        return self._kind.invoke(*args, **kwargs)

    def node(self, parameters: Parameters) -> Node:
        """The graph of one call with its parameters."""
        names = list(self._kind.declarations)
        nodes = [Parameter(self.owner, name, parameters) for name in names]
        by_name = self._kind.positional
        keywords = dict(zip(names[by_name:], nodes[by_name:], strict=True))
        return self._node(nodes[:by_name], keywords, self._kind.asks)

    def values(self, parameters: Parameters, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of all that one call of it gets, in the order of its signature.

        What is given goes before what was set, then come the defaults: that of a declared
        parameter, else that of the signature.  A name that nobody has declared is, then.

        Raises
        ------
        ParameterUndeclaredError
            It takes no such parameter.
        ParameterUndefinedError
            One has no value.
        ParameterError
            A value does not fit.
        """
        self._check_known(given)
        parameters.imply(self._kind.declarations)
        parameters.imply(given)
        accepted = parameters.checked(given)
        present = parameters.values()
        own = [name for name in self._kind.asks if not parameters.is_implied(name)]
        values: dict[str, Any] = {}
        for name in (*self._kind.declarations, *own):
            declaration = self._kind.declarations.get(name, Declaration(name))
            value = accepted.get(name, present.get(name, UNDEFINED))
            if value is UNDEFINED:
                value = _default(declaration)
            elif parameters.is_implied(name):
                value = declaration.accept(value)
            values[name] = value
        if missing := [name for name, value in values.items() if value is UNDEFINED]:
            raise undefined(missing)
        values |= {name: value for name, value in accepted.items() if name not in values}
        return parameters.hidden({name: namespaced(value) for name, value in values.items()})

    def _check_known(self, given: Mapping[str, Any]) -> None:
        known = (*self._kind.declarations, *self._kind.asks)
        for name in given:
            if name not in known and not self._kind.takes_all:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ParameterUndeclaredError(
                    f"{self.name}() takes no parameter {name!r}{hint} (it takes: "
                    f"{', '.join(known) or 'none'})"
                )


def _kind(target: Any) -> Kind:
    if is_class_style(target):
        return class_style(target)
    if is_design(target):
        return design(target)
    return function(target)


def _default(declaration: Declaration) -> Any:
    try:
        return declaration.accept(declaration.default)
    except ParameterError:  # as a call of the function would, which looks at no annotation
        return declaration.default


def _rebuilt(owner: Owner, fn: bytes) -> Target:
    import pickle

    return Target(owner, pickle.loads(fn))


class Targets:
    """The nodes of all that was run in one experiment: one for each function or class.

    Parameters
    ----------
    owner : Owner
        The experiment.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._nodes: dict[Any, Node] = {}

    def node(self, target: Any, parameters: Parameters) -> Node:
        """The graph that runs a target; a graph is itself.

        Raises
        ------
        StepDefinitionError
            It cannot be run; the message says what can.
        ComputeArgumentError
            It is a graph without a result.
        """
        if isinstance(target, Node):
            if not layout_of(target).records:
                raise ComputeArgumentError(
                    "There is no result step in this graph, so that it is no trial: decorate its "
                    "last step by @ex.result"
                )
            return target
        if isinstance(target, Step):
            raise StepDefinitionError(
                f"{target.name!r} is a step: run what calling it gives, such as "
                f'{target.name}(ex.parameter("a")), or a function that is not decorated'
            )
        try:
            known = self._nodes.get(target)
        except TypeError:  # it has no hash
            return Target(self._owner, target).node(parameters)
        if known is None:
            while len(self._nodes) >= _KEPT:
                self._nodes.pop(next(iter(self._nodes)), None)
            made = Target(self._owner, target).node(parameters)
            known = self._nodes.setdefault(target, made)
        return known


def merged(parameters: Mapping[str, Any] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters given as a mapping and by name.

    Raises
    ------
    ParameterError
        One is given both ways, or what should be a mapping is none.
    """
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ParameterError(
            f"Parameters are given by name or as a mapping, not as {preview(parameters, 80)}"
        )
    given = dict(parameters or {})
    if twice := given.keys() & values.keys():
        raise ParameterError(f"Parameter {min(twice)!r} is given twice; keep one value")
    return {**given, **values}
