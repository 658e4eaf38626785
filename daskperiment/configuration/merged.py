"""Sources of parameters, and what they are together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

from blake3 import blake3

from daskperiment.configuration.formats import read_file
from daskperiment.errors import ParameterFileError
from daskperiment.fingerprint.values import digest
from daskperiment.secrets import Masking, masked_text
from daskperiment.serializers import NotPlain, preview, to_json
from daskperiment.typing import Document

Given: TypeAlias = "str | PathLike[str] | Mapping[str, Any]"


class Source(NamedTuple):
    """One file or mapping.

    Parameters
    ----------
    name : str
        The path as it was given, or what it is.
    values : dict
        Its content; dotted names at the top are nested.
    text : str or None
        Text of the file.
    """

    name: str
    values: dict[str, Any]
    text: str | None = None


class Configuration:
    """Parameters that sources give together: later ones win, nested mappings are merged.

    Parameters
    ----------
    sources : mapping of str to Source
        The sources by name, in order.
    resolved : mapping
        What they give together.
    secret : mapping of str to bool
        Dotted names that are declared to be secrets, or to be none.

    Attributes
    ----------
    document, texts, digest
        What is kept with trials, without secrets: digests of the resolved mapping as JSON and
        of each file; their texts by digest; the digest of the document.

    Examples
    --------
    >>> first = Configuration().then(read([{"model": {"lr": 1, "depth": 3}}]), {})
    >>> loaded = first.then(read([], {"model.lr": 0.5}), {})
    >>> loaded.resolved
    {'model': {'lr': 0.5, 'depth': 3}}
    >>> loaded.origin("model.depth"), loaded.origin("model.lr")
    ('a mapping', 'overrides')
    """

    def __init__(
        self,
        sources: Mapping[str, Source] | None = None,
        resolved: Mapping[str, Any] | None = None,
        secret: Mapping[str, bool] | None = None,
    ) -> None:
        self.sources = dict(sources or {})
        self.resolved = dict(resolved or {})
        self.secret = dict(secret or {})
        text = json.dumps(to_json(self._masking(self.resolved).values), allow_nan=False)
        bare = map(self._without_secrets, self.sources.values())
        files = {source.name: source.text for source in bare if source.text is not None}
        self.document: Document = {
            "resolved": _text_digest(text),
            "files": {name: _text_digest(text) for name, text in files.items()},
        }
        self.texts = {_text_digest(text): text for text in (text, *files.values())}
        self.digest = digest(self.document)

    def __reduce__(self) -> tuple[Any, ...]:
        # Secrets stay in this process.
        sources = {name: self._without_secrets(source) for name, source in self.sources.items()}
        values = self._masking(self.resolved).values
        return Configuration, (sources, values, self.secret)

    def _without_secrets(self, source: Source) -> Source:
        masking = self._masking(source.values)
        text = None if source.text is None else masked_text(source.text, masking.found)
        return Source(source.name, masking.values, text)

    def _masking(self, values: Mapping[str, Any]) -> Masking:
        return Masking(values, _plain, self.secret)

    def then(self, sources: Iterable[Source], secret: Mapping[str, bool]) -> Configuration:
        """Return a new one with these sources after its own; one of the same name replaces."""
        resolved, known = self.resolved, self.sources
        for source in sources:
            resolved = merge(resolved, source.values)
            known = {name: other for name, other in known.items() if name != source.name}
            known[source.name] = source
        return Configuration(known, resolved, secret)

    def origin(self, name: str) -> str:
        """Names of the sources that give a parameter, or of the last one if it is one value."""
        parts = name.split(".")
        found = {source: _at(self.sources[source].values, parts) for source in self.sources}
        names = [source for source, value in found.items() if value is not _NOTHING]
        if names and not isinstance(found[names[-1]], Mapping):
            names = names[-1:]
        return ", ".join(names or found)


def read(
    given: Iterable[Given], overrides: Mapping[str, Any] | None = None, evaluate: bool = False
) -> list[Source]:
    """Read sources.

    Parameters
    ----------
    given : iterable of path or mapping
        Files by their suffix ``.toml``, ``.json``, ``.yaml``, ``.yml`` or ``.py``, and
        mappings.
    overrides : mapping, optional
        The last source.
    evaluate : bool
        Whether a Python file may be run.

    Raises
    ------
    ParameterFileError
        A file cannot be read; the message names it, the place and what was expected.
    """
    sources = [_source(one, evaluate) for one in given]
    if overrides is not None:
        sources.append(Source("overrides", nested("overrides", overrides)))
    return sources


def _source(given: Given, evaluate: bool) -> Source:
    if isinstance(given, Mapping):
        return Source("a mapping", nested("a mapping", given))
    if not isinstance(given, (str, PathLike)):
        raise TypeError(f"Parameters come from a path or a mapping, not from {preview(given, 80)}")
    name, text, values = read_file(given, evaluate)
    return Source(name, nested(name, values), text)


def nested(source: str, values: Any) -> dict[str, Any]:
    """Return the mapping with dotted names at its top as nested mappings.

    Raises
    ------
    ParameterFileError
        It is no mapping of names, or gives one name twice.

    Examples
    --------
    >>> nested("overrides", {"model.lr": 0.1, "model": {"depth": 3}})
    {'model': {'lr': 0.1, 'depth': 3}}
    """
    if not isinstance(values, Mapping):
        raise ParameterFileError(
            f"{source}: expected a mapping of parameter names to values at the top, not "
            f"{type(values).__name__}"
        )
    tree: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise ParameterFileError(
                f"{source}: expected a parameter's name, a text, not {preview(name, 80)}"
            )
        first, *rest = name.split(".")
        branch = {first: reduce(lambda inner, part: {part: inner}, reversed(rest), value)}
        if (twice := _common(tree, branch)) is not None:
            raise ParameterFileError(f"{source}: {twice!r} is given twice; keep one of them")
        tree = merge(tree, branch)
    return tree


def _common(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> str | None:
    """The dotted name of the first value that both give."""
    for key in one:
        if key not in other:
            continue
        if not (isinstance(one[key], Mapping) and isinstance(other[key], Mapping)):
            return str(key)
        if (inner := _common(one[key], other[key])) is not None:
            return f"{key}.{inner}"
    return None


def merge(base: Mapping[Any, Any], later: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the two as one: where both have a mapping they are merged, else the later wins.

    Examples
    --------
    >>> merge({"a": {"x": 1, "y": [1, 2]}}, {"a": {"y": [3]}, "b": None})
    {'a': {'x': 1, 'y': [3]}, 'b': None}
    """
    merged = dict(base)
    for key, value in later.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


_NOTHING = object()


def _at(values: Any, parts: list[str]) -> Any:
    for part in parts:
        if not isinstance(values, Mapping) or part not in values:
            return _NOTHING
        values = values[part]
    return values


def _plain(value: Any) -> Any:
    try:
        to_json(value)
    except NotPlain:
        return preview(value)
    return value


def _text_digest(text: str) -> str:
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()
