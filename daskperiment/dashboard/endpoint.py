"""Endpoints of the API: what each one is asked, how that is checked, and how it is described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from daskperiment.errors import QueryError
from daskperiment.typing import Document

if TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

ROOT = "/api/v1"
_LONGEST_NUMBER = 16


class Query(NamedTuple):
    """One parameter of a query.

    Parameters
    ----------
    name, about : str
        Its name, and what it means.
    kind : str
        ``"text"`` or ``"integer"``.
    default : str, int or None
        Its value where it is not given.
    least, most : int
        Bounds of an integer, or of the length of a text.
    many : int
        How often it may be given; above 1 the value is a list.
    choices : tuple of str
        The only values, if there are any.
    """

    name: str
    about: str
    kind: str = "text"
    default: str | int | None = None
    least: int = 0
    most: int = 1000
    many: int = 1
    choices: tuple[str, ...] = ()

    def read(self, given: list[str]) -> Any:
        """The value of what was given; QueryError where it is none."""
        if self.many > 1:
            if len(given) > self.many:
                raise QueryError(f"{self.name} may be given {self.many} times, not {len(given)}")
            return [self._value(text) for text in given]
        if len(given) > 1:
            raise QueryError(f"{self.name} may be given once")
        return self._value(given[0]) if given else self.default

    def _value(self, text: str) -> str | int:
        if self.kind == "integer":
            return self._integer(text)
        if not self.least <= len(text) <= self.most:
            raise QueryError(f"{self.name} is a text of {self.least} to {self.most} characters")
        if self.choices and text not in self.choices:
            raise QueryError(f"{self.name} is one of {', '.join(self.choices)}")
        return text

    def _integer(self, text: str) -> int:
        digits = text.removeprefix("-")
        whole = digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_NUMBER
        if not whole or not self.least <= int(text) <= self.most:
            raise QueryError(f"{self.name} is an integer from {self.least} to {self.most}")
        return int(text)

    def schema(self) -> Document:
        """JSON schema of one value."""
        if self.kind == "integer":
            return {"type": "integer", "minimum": self.least, "maximum": self.most}
        schema: Document = {"type": "string", "minLength": self.least, "maxLength": self.most}
        return schema | ({"enum": list(self.choices)} if self.choices else {})


Answer: TypeAlias = Callable[..., Any]


class Endpoint(NamedTuple):
    """One address of the API.

    Parameters
    ----------
    path : str
        Its path, with parts such as ``<experiment>``.
    answer : callable
        Gives the reply: called with the board, the parts of the path, and the query.
    queries : tuple of Query
        What may be asked.
    """

    path: str
    answer: Answer
    queries: tuple[Query, ...]

    @property
    def name(self) -> str:
        """Name of the endpoint."""
        return self.answer.__name__

    def read(self, arguments: MultiDict[str, str]) -> dict[str, Any]:
        """Values of all queries; QueryError where one is wrong or unknown."""
        known = {query.name for query in self.queries}
        if unknown := [name for name in arguments if name not in known]:
            raise QueryError(
                f"There is no parameter {unknown[0][:80]!r} here; there are: "
                f"{', '.join(sorted(known)) or 'none'}"
            )
        return {query.name: query.read(arguments.getlist(query.name)) for query in self.queries}


ENDPOINTS: list[Endpoint] = []
"""All endpoints, in the order in which the documentation has them."""


def get(path: str, *queries: Query) -> Callable[[Answer], Answer]:
    """Make a function the answer of a path below :data:`ROOT`.

    Parameters
    ----------
    path : str
        The path.
    *queries : Query
        What may be asked.

    Returns
    -------
    callable
        Decorates a function of the board, the parts of the path and the query's values.  It
        returns a JSON document, or a response of Flask.
    """

    def decorate(answer: Answer) -> Answer:
        ENDPOINTS.append(Endpoint(ROOT + path, answer, queries))
        return answer

    return decorate


PATH_PARTS: Mapping[str, Document] = {
    "experiment": {"type": "string", "minLength": 1, "maxLength": 64},
    "name": {"type": "string", "minLength": 1, "maxLength": 250},
    "number": {"type": "integer", "minimum": 1, "maximum": 10**_LONGEST_NUMBER - 1},
}
"""JSON schemas of the parts of paths."""
