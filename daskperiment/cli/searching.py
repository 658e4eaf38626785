"""The verbs that search: for the best configuration, or through all of a grid."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskperiment.cli import text
from daskperiment.cli.running import _stdout_aside
from daskperiment.cli.session import Session, verb
from daskperiment.cli.targets import target
from daskperiment.errors import SearchError, SearchSpaceError

if TYPE_CHECKING:
    from daskperiment.experiment import Experiment
    from daskperiment.script import Loaded
    from daskperiment.search import Search, SearchSpace

_SAMPLERS = (
    "tpe", "cma-es", "quasi-random", "random", "grid", "list", "gp", "forest", "extra-trees",
)  # fmt: skip
_PRUNERS = {"median": "MedianPruner", "successive-halving": "SuccessiveHalving"}
_DIRECTIONS = {
    "min": "minimize", "max": "maximize", "minimize": "minimize", "maximize": "maximize",
}  # fmt: skip
_FILE = click.Path(dir_okay=False, path_type=Path)
_COUNT = click.IntRange(1)

_WHAT = [
    click.argument("file", type=click.Path(exists=True, dir_okay=False)),
    click.option(
        "--space", "space_file", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
        help="The search space; default the space= of the script's parameters.",
    ),
]  # fmt: skip
_HOW = [
    click.option("--workers", type=_COUNT, metavar="N", help="How many trials run at a time."),
    click.option(
        "--executor", metavar="WHERE",
        help="threads, processes, or the address of a scheduler such as tcp://host:8786.",
    ),
    click.option("--direction", type=click.Choice(["minimize", "maximize"]),
                 help="Which results are good; default minimize."),
    click.option(
        "--metric", "metrics", multiple=True, metavar="NAME=min|max",
        help="Look at this metric instead of the result; may be repeated.",
    ),
    click.option("--main-metric", metavar="NAME", help="Which of several to search by."),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N",
                 help="From what all chance follows."),
    click.option("--name", metavar="NAME", help="Name of the search."),
    click.option("--resume", is_flag=True, help="Go on with a search that was interrupted."),
    click.option("--trial-timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
                 help="How long one trial may take."),
    click.option("--csv", "csv_file", type=_FILE, metavar="FILE",
                 help="Write a row for each trial as soon as it has ended."),
    click.option("--plot", type=_FILE, metavar="FILE", help="Draw the best value so far."),
]  # fmt: skip
_SAMPLING = [
    click.option("-n", "--n-trials", type=_COUNT, metavar="N", help="How many trials there are."),
    click.option("--sampler", type=click.Choice(_SAMPLERS), default="tpe",
                 help="Who suggests the trials; default tpe."),
    click.option("--acquisition", type=click.Choice(["EI", "LCB", "PI"]),
                 help="What gp, forest and extra-trees maximize."),
    click.option("--kappa", type=float, metavar="X", help="How far LCB goes from the mean."),
    click.option("--xi", type=float, metavar="X", help="By how much EI and PI are to improve."),
    click.option("--pruner", type=click.Choice(list(_PRUNERS)),
                 help="Who ends trials early that are not promising."),
    click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
                 help="When no more trials begin."),
    click.option("--target", type=float, metavar="VALUE", help="End with a value as good as it."),
    click.option("--patience", type=_COUNT, metavar="N",
                 help="End after so many trials that were not better."),
    click.option("--delta", type=click.FloatRange(0), default=0.0, metavar="X",
                 help="By how much better, for --patience."),
    click.option("--batch-size", type=_COUNT, metavar="N",
                 help="Begin so many together and wait for all of them."),
    click.option("--sync", is_flag=True, help="As --batch-size with the number of --workers."),
    click.option("--deterministic", is_flag=True,
                 help="The same trials on any number of workers, up to 8."),
]  # fmt: skip


def _with(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@verb("search")
@_with(*_WHAT, *_SAMPLING, *_HOW)
def search(
    session: Session,
    file: str,
    space_file: str | None,
    sampler: str,
    acquisition: str | None,
    kappa: float | None,
    xi: float | None,
    pruner: str | None,
    batch_size: int | None,
    sync: bool,
    deterministic: bool,
    **asked: Any,
) -> int:
    """Search for the parameters with which the result of a script is best.

    FILE is a script that builds a result, or a module with a function run(**parameters).  The exit
    code is 1 when a trial has failed, or none has given a number.
    """
    from daskperiment.search.samplers import sampler_of

    given = {"acquisition": acquisition, "kappa": kappa, "xi": xi}
    options = {name: value for name, value in given.items() if value is not None}
    asked |= {
        "pruner": _pruner(pruner),
        "batch_size": _batch_size(asked["workers"], batch_size, sync),
        "deterministic": deterministic,
    }
    ends = ("n_trials", "timeout", "target", "patience")
    if sampler not in ("grid", "list") and all(asked[name] is None for name in ends):
        raise click.UsageError("The search has no end: give -n, such as -n 50, or --timeout, "
                               "--target or --patience")  # fmt: skip
    return _run(session, file, space_file, lambda _: sampler_of(sampler, **options), asked)


@verb("grid")
@_with(*_WHAT)
@click.option(
    "--repeats", type=_COUNT, default=1, metavar="N",
    help="How often each comes, with a seed of its own each time.",
)  # fmt: skip
@click.option(
    "--ids", multiple=True, metavar="ID",
    help="Only this configuration, by its id or its index in --list; may be repeated.",
)  # fmt: skip
@click.option(
    "--list", "only_list", is_flag=True,
    help="Show the configurations, and run none; with --csv they are written.",
)  # fmt: skip
@_with(*_HOW)
def grid(
    session: Session,
    file: str,
    space_file: str | None,
    repeats: int,
    ids: Sequence[str],
    only_list: bool,
    **asked: Any,
) -> int | None:
    """Run all configurations of a grid, or list them.

    FILE is a script that builds a result, or a module with a function run(**parameters).  The exit
    code is 1 when a trial has failed.
    """
    from daskperiment.search.samplers import GridSampler, ListSampler

    def sampler(space: SearchSpace) -> Any:
        if not ids:
            return GridSampler(repeats)
        configurations = list(space.grid())
        chosen = [configurations[index] for index in _indices(ids, configurations)]
        return ListSampler(chosen, repeats)

    if only_list:
        _list(session, file, space_file, repeats, ids, asked["csv_file"])
        return None
    return _run(session, file, space_file, sampler, asked)


def _list(
    session: Session,
    file: str,
    space_file: str | None,
    repeats: int,
    ids: Sequence[str],
    csv_file: Path | None,
) -> None:
    from daskperiment.cli.following import check_folder
    from daskperiment.search import configuration_id, write_csv

    with target(session, file) as loaded:
        configurations = list(_space(loaded, space_file, 0).grid())
    chosen = _indices(ids, configurations) if ids else range(len(configurations))
    if csv_file is not None:
        check_folder(csv_file)
        write_csv(csv_file, [configurations[index] for index in chosen for _ in range(repeats)])
    rows = [
        {"index": index, "id": configuration_id(found), "parameters": found}
        for index, found in ((index, configurations[index]) for index in chosen)
    ]
    session.answer(rows, _listed)


def _listed(rows: list[dict[str, Any]]) -> Iterator[str]:
    return text.table([{**row, "parameters": text.pairs(row["parameters"])} for row in rows])


def _indices(ids: Sequence[str], configurations: Sequence[Any]) -> list[int]:
    """Positions of configurations that are named by their ids or positions."""
    from daskperiment.search import configuration_id

    known = {configuration_id(each): index for index, each in enumerate(configurations)}
    texts = [each.strip() for given in ids for each in given.split(",") if each.strip()]
    return list(dict.fromkeys(_index(each, known) for each in texts))


def _index(name: str, known: dict[str, int]) -> int:
    if name in known:
        return known[name]
    if name.isascii() and name.isdigit() and int(name) < len(known):
        return int(name)
    near = difflib.get_close_matches(name, known, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "--list shows their ids"
    raise SearchSpaceError(
        f"There is no configuration {name!r} among the {len(known)}, which have indices from 0 to "
        f"{len(known) - 1}: {hint}"
    )


def _run(
    session: Session,
    file: str,
    space_file: str | None,
    sampler: Callable[[SearchSpace], Any],
    asked: dict[str, Any],
) -> int:
    """Run a search, and show it."""
    csv_file, plot = asked.pop("csv_file"), asked.pop("plot")
    aside = _stdout_aside() if session.as_json else contextlib.nullcontext()
    with aside, target(session, file) as loaded:
        found = _found(session, loaded, space_file, sampler, asked, csv_file, plot)
    shown = found.document()
    _answer(session, shown, found)
    if plot is not None:
        drawn: Any = found
        drawn.plot("convergence", plot)
    return 1 if shown["failed"] or not shown.get("best", shown.get("pareto")) else 0


def _found(
    session: Session,
    loaded: Loaded,
    space_file: str | None,
    sampler: Callable[[SearchSpace], Any],
    asked: dict[str, Any],
    csv_file: Path | None,
    plot: Path | None,
) -> Search:
    from daskperiment.callbacks import Progress
    from daskperiment.cli.following import Lines, Table, check_folder
    from daskperiment.search.objective import objective_of

    metrics = _metrics(asked.pop("metrics"))
    if metrics is None and asked["main_metric"] is not None:
        raise click.UsageError("--main-metric is one of several: name each by --metric NAME=min")
    if metrics is not None and session.direction is not None:
        raise click.UsageError("Each --metric has its own direction: leave out --direction")
    objective = objective_of(metrics, asked["main_metric"], session.direction)
    space = _space(loaded, space_file, asked["seed"])
    bar = Progress(*_compared(objective))
    lines = Lines(space, objective, bar)
    callbacks: list[Any] = [bar, lines]
    if plot is not None:
        check_folder(plot)
        _check_plot(plot)
    if csv_file is not None:
        callbacks.append(Table(csv_file, space, objective, asked["resume"]))
    _check_name(loaded.experiment, asked["name"], asked["resume"])
    workers = asked.pop("workers")
    try:
        return loaded.experiment.search(
            loaded.result, space, sampler=sampler(space), metrics=metrics,
            direction=session.direction, max_workers=workers, callbacks=callbacks, **asked,
        )  # fmt: skip
    except KeyboardInterrupt:
        if lines.begun:
            _tell_interrupted(loaded.experiment, asked["name"])
        raise click.Abort from None


def _check_plot(path: Path) -> None:
    """Raise where nothing could be drawn in the end."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ModuleNotFoundError:
        raise SearchError(
            'Plots need the library matplotlib: pip install "daskperiment[plot]"'
        ) from None
    if path.suffix[1:].lower() not in FigureCanvasBase.filetypes:
        raise click.UsageError(
            f"--plot takes a file such as out.png, out.pdf or out.svg, not {path}"
        )


def _check_name(experiment: Experiment, name: str | None, resume: bool) -> None:
    if name is not None and not resume and any(each.name == name for each in experiment.searches):
        raise click.UsageError(
            f"There is a search {name!r} already: --resume goes on with it, another --name begins "
            "a new one"
        )


def _compared(objective: Any) -> tuple[Any, str | None]:
    alone = objective.sought[0] if len(objective.sought) == 1 else None
    return (None, None) if alone is None else (alone.direction, alone.name)


def _space(loaded: Loaded, path: str | None, seed: int | None) -> SearchSpace:
    """The space of a file, else that of the script's parameters."""
    from daskperiment.search import SearchSpace

    if path is not None:
        return SearchSpace.read(path, seed=seed or 0)
    experiment = loaded.experiment
    try:
        return experiment._space(experiment._node(loaded.result), None, "random")[0]
    except SearchError:
        raise click.UsageError(
            "There is nothing to search in: give --space FILE, or parameters of the script with "
            "space="
        ) from None


def _metrics(texts: Sequence[str]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for each in texts:
        name, _, direction = each.rpartition("=")
        if not name or direction not in _DIRECTIONS:
            raise click.UsageError(f"--metric is a name and a direction, such as loss=min: {each}")
        found[name] = _DIRECTIONS[direction]
    return found or None


def _pruner(name: str | None) -> Any:
    from daskperiment.search.pruners import pruner_of

    return None if name is None else pruner_of({"name": _PRUNERS[name]})


def _batch_size(workers: int | None, size: int | None, sync: bool) -> int | None:
    if not sync:
        return size
    if workers is None or size is not None:
        raise click.UsageError("--sync waits for all --workers, of which it needs the number: "
                               "give --workers, and no --batch-size")  # fmt: skip
    return workers


def _tell_interrupted(experiment: Experiment, name: str | None) -> None:
    known = experiment.searches
    found = next((each for each in known if each.name == name or each.state == "CANCELLED"), None)
    if found is None:
        return
    shown = found.document()
    ended = shown["complete"] + shown["pruned"]
    click.echo(
        f"Interrupted: {text.count(ended, 'trial')} of {found.name} are done and kept; the same "
        "command with --resume goes on",
        err=True,
    )


def _answer(session: Session, shown: dict[str, Any], found: Search) -> None:
    import json

    from daskperiment.history import documents

    if session.as_json:  # on one line, as programs read what else a program has printed
        click.echo(json.dumps(documents.plain(shown), allow_nan=False))
        return
    for line in summary(shown, found.main_metric or "result"):
        click.echo(line)


def summary(shown: dict[str, Any], title: str) -> Iterator[str]:
    """Lines of a search: how it stands, and its best trial."""
    yield f"{text.heading(shown['search'])} of {shown['experiment']}  {text.state(shown['state'])}"
    parts = [f"{shown[each]} {each}" for each in ("complete", "pruned", "failed") if shown[each]]
    yield f"trials  {shown['trials']}" + (f": {', '.join(parts)}" if parts else "")
    if "pareto" in shown:
        yield f"pareto  {text.count(len(shown['pareto']), 'trial')} that none is better than"
        yield from text.table([_pareto(each) for each in shown["pareto"]])
    elif shown["best"] is None:
        yield "No trial is complete with a number."
    else:
        best = shown["best"]
        yield text.escaped(f"best    {title} {text.value(best['value'])} of trial {best['number']}")
        yield text.escaped(f"with    {_exact(best['parameters'])}", keep="")


def _exact(parameters: dict[str, Any]) -> str:
    return " ".join(f"{name}={text.value(value)}" for name, value in parameters.items())


def _pareto(each: dict[str, Any]) -> dict[str, Any]:
    values = {name: text.brief(value) for name, value in each["values"].items()}
    return {"trial": each["number"], **values, "parameters": text.pairs(each["parameters"])}


VERBS: list[click.Command] = [search, grid]
