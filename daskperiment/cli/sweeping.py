"""What ``run --sweep`` runs: all combinations of values of a script's parameters."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from daskperiment.cli.session import Session
from daskperiment.conversion import literal
from daskperiment.errors import ParameterError

if TYPE_CHECKING:
    from daskperiment.script import Loaded

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER})(?::({_NUMBER}))?")
_MOST = 100_000


def sweep(
    session: Session, script: str, arguments: Sequence[str], swept: Sequence[str]
) -> tuple[int, list[dict[str, Any]]]:
    """Run a script's result for all combinations of values.

    Returns
    -------
    int
        The exit code: 1 when a trial has failed.
    list of dict
        The documents of the trials.
    """
    from daskperiment.cli.targets import target
    from daskperiment.history import documents
    from daskperiment.script.arguments import parse

    with target(session, script) as loaded:
        experiment = loaded.experiment
        fixed = parse(arguments, experiment._parameters)
        axes: dict[str, list[Any]] = {}
        for text in swept:
            name, values = _axis(text, loaded)
            if name in axes or name in fixed.values:
                raise ParameterError(f"Parameter {name!r} is given twice: give it once")
            axes[name] = values
        combined = itertools.product(*axes.values())
        chosen = [{**fixed.values, **dict(zip(axes, each, strict=True))} for each in combined]
        trials = experiment.map(loaded.result, chosen, seed=fixed.seed, on_error="continue")
        rows = [documents.summary(experiment.backend, each.number, each._row) for each in trials]
    failed = any(row["state"] not in ("COMPLETE", "PRUNED") for row in rows)
    return int(failed), rows


def _axis(text: str, loaded: Loaded) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    texts = list(split(values))
    if not equals or not texts:
        raise click.UsageError(
            f"--sweep takes a name and values, such as lr=0.1,0.01 or depth=3:10:2, not {text}"
        )
    parameters = loaded.experiment._parameters
    if callable(loaded.result) and name not in parameters.declared:
        return name, [literal(each) for each in texts]
    return name, [parameters.from_text(name, each) for each in texts]


def split(text: str) -> Iterator[str]:
    """The values that a text lists: between commas, or numbers of a range without its end.

    Examples
    --------
    >>> list(split("0.1,[1, 2],'a,b'")), list(split("3:10:2")), list(split("0:0.3:0.1,5"))
    (['0.1', '[1, 2]', "'a,b'"], ['3', '5', '7', '9'], ['0.0', '0.1', '0.2', '5'])
    """
    for part in _parts(text):
        found = _RANGE.fullmatch(part)
        if found is None:
            yield part
        else:
            yield from _range(part, *(Decimal(number or "1") for number in found.groups()))


def _parts(text: str) -> Iterator[str]:
    """What stands between commas that are in no bracket and no quoted text."""
    part, depth, quote = "", 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth <= 0:
            if part.strip():
                yield part.strip()
            part = ""
            continue
        part += char
    if part.strip():
        yield part.strip()


def _range(text: str, start: Decimal, end: Decimal, step: Decimal) -> Iterator[str]:
    count = math.ceil((end - start) / step) if step else 0
    if not 0 < count <= _MOST:
        raise ParameterError(
            f"The range {text} has no value, or more than {_MOST}: write start:end or "
            "start:end:step, without the end itself"
        )
    for index in range(count):
        yield str(start + index * step)
