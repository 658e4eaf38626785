"""Branches: a choice that brings parameters of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from daskperiment.errors import SearchSpaceError
from daskperiment.search.choices import _Choices
from daskperiment.search.distribution import Level
from daskperiment.search.levels import document, level, told_of
from daskperiment.search.values import plain


@dataclass(frozen=True, eq=False)
class Branch(_Choices):
    """One of these names, each equally likely, with the parameters of that name only.

    They are named beside the branch's own parameter: a branch ``model.kind`` that has ``C`` in its
    branch ``svm`` is ``{"model.kind": "svm", "model.C": 1.0}``.

    Parameters
    ----------
    branches : mapping of str to mapping
        The parameters of each branch, as for a :class:`SearchSpace`; an empty mapping for none.

    Examples
    --------
    >>> model = Branch({"svm": {"C": [1, 10]}, "mean": {}})
    >>> list(model.values())
    ['svm', 'mean']
    >>> model.branches["svm"]
    {'C': Categorical(choices=(1, 10))}
    """

    type: ClassVar[str] = "branch"
    branches: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.branches, Mapping) or not self.branches:
            raise SearchSpaceError("a branch needs a mapping of names to parameters")
        levels: dict[str, Level] = {}
        for name, parameters in self.branches.items():
            if not isinstance(name, str) or not name:
                raise SearchSpaceError(f"the name of a branch must be text, not {name!r}")
            with told_of(plain(name)):
                levels[name] = level(parameters)
        self._keep(branches={name: dict(inner) for name, inner in levels.items()}, _levels=levels)

    @property
    def levels(self) -> Mapping[str, Level]:
        """The parameters of each branch by their dotted names."""
        return self._levels  # type: ignore[attr-defined,no-any-return]

    @property
    def choices(self) -> Sequence[str]:  # type: ignore[override]
        """The names of the branches."""
        return tuple(self.levels)

    def _document(self) -> dict[str, Any]:
        inner = {name: document(parameters) for name, parameters in self.levels.items()}
        return {"type": self.type, "branches": inner}
