"""The code of a trial: what its steps compute with, and the text to run it again from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import PurePath
from typing import Any

from blake3 import blake3

from daskperiment.fingerprint.code import Closure, fingerprint
from daskperiment.fingerprint.source import newest_text
from daskperiment.fingerprint.values import digest
from daskperiment.typing import Document


@dataclass(frozen=True)
class StepCode:
    """The code of one step, as `daskperiment.fingerprint.code.Closure` describes it.

    Attributes
    ----------
    source : str
        Its own text, decorator lines included; empty where there is none.
    function : str
        Its own name among the functions.
    digest : str
        The fingerprint of its whole closure.
    functions : dict of str to str
        Digest of each of the user's functions and classes that it reaches.
    unhashed, bytecode : tuple of str
        What could not be hashed; what no source text agrees with.
    files : tuple of str
        Names of the files and cells that it reaches, as in `CodeCapture.sources`.
    borders : dict of str to str
        The distributions that it calls, and ``"python"``, with their versions.
    """

    source: str
    function: str
    digest: str
    functions: dict[str, str]
    unhashed: tuple[str, ...]
    bytecode: tuple[str, ...]
    files: tuple[str, ...]
    borders: dict[str, str]


@dataclass(frozen=True, eq=False)
class CodeCapture:
    """The code that a trial runs; equal captures have equal digests.

    Attributes
    ----------
    steps : dict of str to StepCode
        By name, in order of definition.
    sources : dict of str to str
        The whole text of each file or cell that a step reaches, named ``module:file.py``,
        without the folder.
    borders : dict of str to str
        The distributions that the code calls, and ``"python"``, with their versions.
    with_text : bool
        Whether its texts are to be kept.
    """

    steps: dict[str, StepCode]
    sources: dict[str, str]
    borders: dict[str, str]
    with_text: bool = True

    @cached_property
    def bare(self) -> CodeCapture:
        """The same fingerprints without any text to be kept."""
        return CodeCapture(self.steps, {}, self.borders, with_text=False)

    @cached_property
    def document(self) -> Document:
        """The capture as JSON, with the digest of its bytes in place of each text."""
        steps = [
            {"name": name, **asdict(step), "source": _text_digest(step.source)}
            for name, step in self.steps.items()
        ]
        for step in steps:
            step.update({key: list(step[key]) for key in ("unhashed", "bytecode", "files")})
        sources = {name: _text_digest(text) for name, text in self.sources.items()}
        return {
            "steps": steps,
            "sources": sources,
            "borders": dict(self.borders),
            "with_text": self.with_text,
        }

    @cached_property
    def texts(self) -> dict[str, str]:
        """All texts by the digest of their UTF-8 bytes: hexadecimal BLAKE3, 64 characters."""
        if not self.with_text:
            return {}
        own = (step.source for step in self.steps.values())
        return {_text_digest(text): text for text in (*own, *self.sources.values())}

    @cached_property
    def digest(self) -> str:
        """The digest of the document."""
        return digest(self.document)

    @cached_property
    def text(self) -> str:
        """The sources of the steps in order of definition, joined by two line breaks."""
        return "\n\n".join(step.source for step in self.steps.values())


def capture(steps: Mapping[str, Callable[..., Any]]) -> CodeCapture:
    """The code of some steps, as it is now.

    As long as no code and no value that it reads changed, repeated calls give the same
    object, after one look at each name.  May be called from several threads.

    Parameters
    ----------
    steps : mapping of str to callable
        The plain functions by the names of their steps, in order of definition.

    Examples
    --------
    >>> def clean(x):
    ...     return x + 1
    >>> found = capture({"clean": clean})
    >>> print(found.text)
    def clean(x):
        return x + 1
    >>> found is capture({"clean": clean})
    True
    """
    return _assemble(tuple((name, fingerprint(function)) for name, function in steps.items()))


@lru_cache(maxsize=64)
def _assemble(closures: tuple[tuple[str, Closure], ...]) -> CodeCapture:
    names: dict[str, str] = {}
    sources: dict[str, str] = {}
    borders: dict[str, str] = {}
    for _, closure in closures:
        borders.update(closure.borders)
        for item in closure.sources:
            if item.file not in names:
                names[item.file] = _name(item.module, item.file, sources)
            if names[item.file] not in sources or item.text == newest_text(item.file):
                sources[names[item.file]] = item.text
    return CodeCapture(
        steps={name: _step(closure, names) for name, closure in closures},
        sources=dict(sorted(sources.items())),
        borders=dict(sorted(borders.items())),
    )


def _step(closure: Closure, names: Mapping[str, str]) -> StepCode:
    return StepCode(
        source=closure.source,
        function=closure.name,
        digest=closure.digest,
        functions=closure.functions,
        unhashed=closure.unhashed,
        bytecode=closure.bytecode,
        files=tuple(sorted(names.get(file, PurePath(file).name) for file in closure.files)),
        borders=closure.borders,
    )


def _name(module: str, file: str, taken: Mapping[str, str]) -> str:
    name = f"{module}:{PurePath(file).name}"
    alike = sum(other.partition("#")[0] == name for other in taken)
    return f"{name}#{alike + 1}" if alike else name


def _text_digest(text: str) -> str:
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()
