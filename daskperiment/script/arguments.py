"""The arguments of a script: values of parameters and a seed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from daskperiment.errors import ParameterError
from daskperiment.parameters import UNDEFINED, Declaration, Parameters
from daskperiment.secrets import scrub
from daskperiment.serializers import preview


class Arguments(NamedTuple):
    """What the command line asks for.

    Parameters
    ----------
    values : dict
        Values of parameters by name.
    seed : int, optional
        Seed of the trial.
    help : bool
        Whether only help is asked for.
    """

    values: dict[str, Any]
    seed: int | None = None
    help: bool = False


def parse(texts: Sequence[str], parameters: Parameters) -> Arguments:
    """Read ``name=value``, ``--seed N`` and ``--help``.

    Raises
    ------
    ParameterError
        An argument is none of them, or a value does not fit; the message says what would.

    Examples
    --------
    >>> parameters = Parameters()
    >>> parameters.declare(Declaration("a"))
    >>> parse(["a=[1, 2]", "--seed", "3"], parameters)
    Arguments(values={'a': [1, 2]}, seed=3, help=False)
    """
    values: dict[str, Any] = {}
    seed = None
    rest = iter(texts)
    for text in rest:
        name, equals, value = text.partition("=")
        if text in ("-h", "--help"):
            return Arguments({}, help=True)
        if name == "--seed":
            seed = _seed(value if equals else next(rest, ""))
        elif not equals or name.startswith("-"):
            raise _unknown(name, parameters)
        elif name in values:
            raise ParameterError(f"Parameter {name!r} is given twice: give it once")
        else:
            values[name] = parameters.from_text(name, value)
    return Arguments(values, seed)


def _seed(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 2**32:
        return int(text)
    raise ParameterError(f"--seed takes an integer from 0 to 2**32 - 1, not {scrub(text)!r}")


def _unknown(text: str, parameters: Parameters) -> ParameterError:
    options = {"seed": "--seed 1", "help": "--help"}
    known = options | {name: f"{name}=1" for name in parameters.declared}
    near = difflib.get_close_matches(text.lstrip("-"), known, n=1)
    hint = f"did you mean {known[near[0]]}?" if near else "write name=value, --seed N or --help"
    return ParameterError(f"Argument cannot be read: {scrub(text)}; {hint}")


def usage(program: str, parameters: Parameters) -> str:
    """What ``--help`` shows: each parameter with default, type, choices and help.

    Examples
    --------
    >>> parameters = Parameters()
    >>> parameters.declare(Declaration("a", type=int, help="Size of the step."))
    >>> print(usage("script.py", parameters))
    usage: script.py name=value ... [--seed N] [--help]
    <BLANKLINE>
    a=...   int; Size of the step.
    """
    lines = [(_form(declared), _about(declared)) for declared in parameters.declared.values()]
    width = max((len(form) for form, _ in lines), default=0)
    table = [f"{form:{width}}   {about}".rstrip() for form, about in lines]
    return "\n".join([f"usage: {program} name=value ... [--seed N] [--help]", "", *table])


def _form(declared: Declaration) -> str:
    if declared.default is UNDEFINED:
        return f"{declared.name}=..."
    return f"{declared.name}={preview(declared.hidden(declared.default), 40)}"


def _about(declared: Declaration) -> str:
    def parts() -> Iterator[str]:
        if declared.type is not None:
            yield getattr(declared.type, "__name__", None) or preview(declared.type)
        if declared.choices is not None:
            yield f"one of {', '.join(preview(declared.hidden(c)) for c in declared.choices)}"
        if declared.help:
            yield " ".join(declared.help.split())

    return "; ".join(parts())
