"""YAML by the rules of version 1.2: ``1e3`` is a number, ``yes`` and ``on`` are text.

References, merge keys (``<<``) and the tags of plain data work, tags that would make objects
are refused, and so are keys that stand twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml import YAMLError

__all__ = ["YAMLError", "parse", "reason"]

_PREFIX = "tag:yaml.org,2002:"
_MERGE = f"{_PREFIX}merge"
_BASES = {"0o": 8, "0x": 16}


def parse(text: str) -> Any:
    """What a YAML text holds; an empty one an empty mapping.

    Raises
    ------
    YAMLError, ValueError
        It is no YAML, or more than one document.

    Examples
    --------
    >>> parse("{rate: 1e3, answer: yes, mode: 0o17, nothing: ~}")
    {'rate': 1000.0, 'answer': 'yes', 'mode': 15, 'nothing': None}
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return {} if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def reason(error: YAMLError) -> str:
    """One line that says what is wrong and where.

    Examples
    --------
    >>> try:
    ...     parse("a: [1")
    ... except YAMLError as error:
    ...     print(reason(error))
    expected ',' or ']', but got '<stream end>' (at line 1, column 6)
    """
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = error.problem or error.context  # type: ignore[attr-defined]
    return f"{problem} (at line {mark.line + 1}, column {mark.column + 1})"


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if _name(key) in seen:
                problem = f"the key {key.value!r} stands twice in one mapping"
                raise yaml.MarkedYAMLError(None, None, problem, key.start_mark)
            seen.add(_name(key))
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what ``<<`` names in its place: keys beside it win, then those of the first source.

        PyYAML 6.0.4 lets a source's own sources win over it where keys are one letter long.
        """
        sources = [value for key, value in node.value if key.tag == _MERGE]
        if not sources:
            return
        node.value = own = [pair for pair in node.value if pair[0].tag != _MERGE]
        merged = {_name(pair[0]): pair for pair in [*self._merged(sources), *own]}
        node.value = list(merged.values())

    def _merged(self, sources: list[yaml.Node]) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        for source in reversed(sources):
            if isinstance(source, yaml.SequenceNode):
                yield from self._merged(source.value)
            elif isinstance(source, yaml.MappingNode):
                self.flatten_mapping(source)
                yield from source.value
            else:
                problem = "expected a mapping or a list of mappings to merge"
                raise yaml.MarkedYAMLError(None, None, problem, source.start_mark)


def _name(key: yaml.Node) -> Any:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, _BASES.get(text[:2], 10))


def _resolve(tag: str, pattern: str) -> None:
    _Loader.add_implicit_resolver(_PREFIX + tag, re.compile(rf"(?:{pattern})\Z"), None)


_Loader.yaml_implicit_resolvers = {}
_resolve("null", r"~|null|Null|NULL|")
_resolve("bool", r"true|True|TRUE|false|False|FALSE")
_resolve("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_resolve(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
    r"|\.(?:nan|NaN|NAN)",
)
_resolve("merge", r"<<")
_Loader.add_constructor(f"{_PREFIX}int", _int)
