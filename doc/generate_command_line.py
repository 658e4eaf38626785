"""Write the reference of ``command_line.rst`` from the verbs themselves.

Run ``python doc/generate_command_line.py`` after a change; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from daskperiment.cli import cli
from daskperiment.cli.session import COMMON, DIRECTION

PAGE = Path(__file__).with_name("command_line.rst")
MARK = ".. The rest is written by generate_command_line.py.\n"


def page() -> str:
    """The whole page: what was written by hand, and the reference behind the mark."""
    by_hand = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    return "\n".join([by_hand + MARK, *_reference()])


def _reference() -> Iterator[str]:
    yield from _titled("Every verb", "-")
    yield "These options may stand behind each verb:\n"
    yield from _options(COMMON)
    yield "And this one behind each verb that takes a REF:\n"
    yield from _options([DIRECTION])
    for name, command in _commands(cli):
        yield from _titled(name, "~")
        yield from _about(name, command)


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _titled(title: str, line: str) -> Iterator[str]:
    yield f"{title}\n{line * len(title)}\n"


def _about(name: str, command: click.Command) -> Iterator[str]:
    pieces = command.collect_usage_pieces(click.Context(command))
    yield f"::\n\n    daskperiment {' '.join([name, *pieces])}\n"
    yield f"{_unwrapped(command.help or '')}\n"
    known = [*COMMON, DIRECTION]
    yield from _options([parameter for parameter in command.params if parameter not in known])


def _unwrapped(help: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in help.split("\n\n"))


def _options(parameters: list[click.Parameter]) -> Iterator[str]:
    for parameter in parameters:
        if isinstance(parameter, click.Option):
            names = ", ".join(parameter.opts)
            value = "" if parameter.is_flag else f" {_value(parameter)}"
            yield f"``{names}{value}``\n    {parameter.help}\n"


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "|".join(option.type.choices)
    return option.metavar or {"integer range": "N"}.get(option.type.name, "FOLDER")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
