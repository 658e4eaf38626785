"""Verbs that move histories from one place to another: copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, chosen_trials, verb

if TYPE_CHECKING:
    from daskperiment.history.copying import Copied


@verb("copy")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@chosen_trials
def copy(session: Session, source: str, target: str, reference: Sequence[str]) -> int:
    """Copy experiments, or trials of one, from one store to another.

    SRC and DST are paths or URIs.  Trials that DST has already stay as they are, the others get
    the next numbers there; what is told of numbers is SRC -> DST.  The exit code is 1 when
    something could not be copied; a copy that was interrupted goes on when it is repeated.
    """
    from daskperiment.history.copying import copy_trials

    if session.named is not None:
        raise click.UsageError("copy takes the stores as SRC and DST, not by --backend")
    here = Session(source, session.chosen, direction=session.direction)
    name = here.experiment if here.chosen or reference or not here.experiments else None
    numbers = here.numbers(reference) if reference else None
    done = copy_trials(here.backend, Session(target).backend, name, numbers)
    session.answer(document(done), lines)
    return int(bool(done.left_out))


def document(done: Copied) -> dict[str, Any]:
    """What a copy has done, as JSON."""
    return {
        "copied": [moved._asdict() for moved in done.copied],
        "present": done.present,
        "left_out": [left._asdict() for left in done.left_out],
    }


def lines(shown: dict[str, Any]) -> Iterator[str]:
    """What a copy has done, for people."""
    yield from _lost(shown["left_out"])
    moved: dict[str, list[tuple[int, int]]] = {}
    for each in shown["copied"]:
        moved.setdefault(each["experiment"], []).append((each["source"], each["target"]))
    for name, numbers in moved.items():
        renumbered = list(_runs(numbers))
        other = f"; other numbers: {', '.join(renumbered)}" if renumbered else ""
        line = f"{'copied':<9}{text.count(len(numbers), 'trial')} of {name}{other}"
        yield text.escaped(line, keep="")
    if shown["present"]:
        yield f"{'present':<9}{text.count(shown['present'], 'trial')}, left as they are"
    if not moved:
        yield "Nothing was copied."


def _lost(left_out: Iterable[dict[str, Any]]) -> Iterator[str]:
    for left in left_out:
        what = f"{left['field']} of trial" if left["field"] else "trial"
        line = f"{what} {left['trial']} of {left['experiment']}: {left['reason']}"
        yield click.style(f"{'left out':<9}", fg="red") + text.escaped(line, keep="")


def _runs(numbers: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Other numbers, those of neighbours as one.

    Examples
    --------
    >>> list(_runs([(1, 1), (3, 2), (4, 3), (5, 4), (9, 5)]))
    ['3:5 -> 2:4', '9 -> 5']
    """
    run: list[tuple[int, int]] = []
    for pair in [*(pair for pair in numbers if pair[0] != pair[1]), (0, 0)]:
        if run and pair != (run[-1][0] + 1, run[-1][1] + 1):
            (first, to), (last, end) = run[0], run[-1]
            yield f"{first} -> {to}" if first == last else f"{first}:{last} -> {to}:{end}"
            run = []
        run.append(pair)


VERBS: list[click.Command] = [copy]
