"""The verb that looks at searches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from daskperiment.cli import text
from daskperiment.cli.searching import summary
from daskperiment.cli.session import Session, verb
from daskperiment.errors import DaskperimentError

if TYPE_CHECKING:
    from daskperiment.history.searches import Tried
    from daskperiment.search import Search


class _Name(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The name of a search."""

    name = "search"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        session = Session(ctx.params.get("named"), ctx.params.get("chosen"))
        try:
            known = _known(session)
        except DaskperimentError:
            return []  # a shell that completes has no place for a message
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]


@verb("searches")
@click.argument("name", required=False, type=_Name(), metavar="[NAME]")
def searches(session: Session, name: str | None) -> None:
    """List the searches of an experiment, or show one with its trials."""
    from daskperiment.history import documents

    if name is None:
        session.answer(
            documents.plain([_listed(_search(session, each)) for each in _known(session)]), _list
        )
    else:
        found = _search(session, name)
        session.answer(documents.plain(_shown(session, found)), lambda shown: _show(shown, found))


def _known(session: Session) -> list[str]:
    """Names of the searches, the last one first."""
    from daskperiment.history.searches import Searches

    found = Searches(session.trials.backend, session.experiment).find()
    return [name for name, _ in found]


def _search(session: Session, name: str) -> Search:
    from daskperiment.search import Search
    from daskperiment.trial import Trial

    trials = session.trials
    return Search(trials, name, lambda number: Trial(trials.backend, trials.name, number))


def _listed(search: Search) -> dict[str, Any]:
    return {
        **search.document(), "metrics": search.metrics, "main_metric": search.main_metric,
        "sampler": search.sampler["name"], "seed": search.seed, "description": search.description,
    }  # fmt: skip


def _shown(session: Session, search: Search) -> dict[str, Any]:
    from daskperiment.history.searches import SearchRows
    from daskperiment.search.objective import RESULT

    names = [None if title == RESULT else title for title in search.metrics]
    rows = SearchRows(session.trials, search.uid, names)
    last = {tried.place: tried for tried in rows.look()}  # of several attempts
    return {
        **_listed(search),
        "space": search.space.document(),
        "rows": [_row(search, last[place]) for place in sorted(last)],
    }


def _row(search: Search, tried: Tried) -> dict[str, Any]:
    found = search.space.within(tried.parameters)
    return {
        "place": tried.place, "trial": tried.number, "state": tried.state.value,
        "values": dict(zip(search.metrics, tried.values, strict=True)),
        "parameters": tried.parameters if found is None else found,
        "seconds": tried.row.get("seconds"),
    }  # fmt: skip


def _list(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return iter(["No search."])
    return text.table(
        [
            {
                "search": row["search"],
                "state": row["state"],
                "sampler": row["sampler"],
                "trials": row["trials"],
                "failed": row["failed"] or "",
                "pruned": row["pruned"] or "",
                **_best(row),
            }
            for row in rows
        ]
    )


def _best(row: dict[str, Any]) -> dict[str, Any]:
    best = row.get("best") or {}
    return {
        "best": text.brief(best["value"]) if best else "",
        "trial": best.get("number"),
        "parameters": text.pairs(best.get("parameters", {})),
        "description": row["description"],
    }


def _show(shown: dict[str, Any], search: Search) -> Iterator[str]:
    yield from summary(shown, search.main_metric or "result")
    best = (shown.get("best") or {}).get("number")
    if shown["rows"]:
        yield ""
        yield from text.table([_line(row, best) for row in shown["rows"]])


def _line(row: dict[str, Any], best: int | None) -> dict[str, Any]:
    values = {n: None if v is None else text.brief(v) for n, v in row["values"].items()}
    return {
        "place": row["place"],
        "trial": row["trial"],
        "state": row["state"],
        **values,
        "": "best" if row["trial"] == best else "",
        "seconds": text.seconds(row["seconds"]),
        "parameters": text.pairs(row["parameters"]),
    }


VERBS: list[click.Command] = [searches]
