"""Files of experiments on the command line: their options, their plan and their summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from daskperiment.cli import text
from daskperiment.cli.session import Session, Verb

SUFFIXES = (".toml", ".json", ".yaml", ".yml")
"""How files of experiments end; all else is a script."""


def is_file(path: str | None) -> bool:
    """Whether this is a file of experiments, by its name."""
    return isinstance(path, str) and Path(path).suffix.lower() in SUFFIXES


class Run(Verb):
    """A command whose options stand before a script, and anywhere with a file of experiments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments."""
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        ctx.allow_interspersed_args = is_file(given.get("script"))
        return super().parse_args(ctx, args)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a verb take the options of a file of experiments."""
    for option in (
        click.option("--only", multiple=True, metavar="NAME", help="Of a file only these."),
        click.option("--dry-run", is_flag=True, help="Of a file show the plan, and run nothing."),
        click.option("--parallel", type=click.IntRange(1), metavar="N",
                     help="Of a file run so many searches at a time."),
        click.option("--function", "functions", multiple=True, metavar="NAME=FILE:FUNCTION",
                     help="What an experiment of a file runs."),
    ):  # fmt: skip
        function = option(function)
    return function


def refuse(options: Mapping[str, Any]) -> None:
    """Raise UsageError where one of the options is given, though it is no file of experiments."""
    for name, value in options.items():
        if value:
            named = name.replace("_", "-").removesuffix("s")
            raise click.UsageError(f"--{named} is for a file of experiments, not for a script")


def plan(
    session: Session, path: str, functions: Sequence[str], only: Sequence[str]
) -> Mapping[str, Any]:
    """What a file would run."""
    from daskperiment.manager import plan_experiments

    found = plan_experiments(path, _named(functions), only=only or None, backend=session.named)
    return {"experiments": found}


def run(
    session: Session, path: str, functions: Sequence[str], only: Sequence[str], parallel: int
) -> Mapping[str, Any]:
    """Run the searches of a file, and return what has become of them."""
    from daskperiment import logs
    from daskperiment.manager import run_experiments

    logs.show_mainly("daskperiment.manager", "daskperiment.callbacks")
    ran = run_experiments(
        path, _named(functions), only=only or None, backend=session.named, parallel=parallel
    )
    return {
        "searches": [each.document() for each in ran],
        "failed": [each.name for each in ran if each.failed],
    }


def _named(functions: Sequence[str]) -> dict[str, str]:
    named = {}
    for given in functions:
        name, equals, function = given.partition("=")
        if not equals or not name or not function:
            raise click.UsageError(
                f"--function takes NAME=FILE:FUNCTION, such as forest=models.py:train, not {given}"
            )
        named[name] = function
    return named


def summary(document: Mapping[str, Any]) -> Iterator[str]:
    """Each search with its best."""
    yield from text.table([_row(each) for each in document["searches"]])
    for each in document["searches"]:
        if each["error"] is not None:
            yield text.escaped(f"{each['name']}: {each['error']}", keep="")


def _row(told: Mapping[str, Any]) -> dict[str, str | None]:
    best = told.get("best") or {}
    front = [f"{len(told['pareto'])} trials"] if "pareto" in told else []
    return {
        "name": told["name"],
        "state": told.get("state", "FAILED"),
        "search": told.get("search"),
        "trials": str(told.get("trials", "")),
        "pruned": str(told.get("pruned") or ""),
        "failed": str(told.get("failed") or ""),
        "best": text.brief(best["value"]) if best else "".join(front),
        "trial": str(best.get("number", "")),
        "parameters": text.pairs(best.get("parameters", {})),
        "seconds": text.seconds(told["seconds"]),
    }


def plans(document: Mapping[str, Any]) -> Iterator[str]:
    """Each search as it would run."""
    for index, told in enumerate(document["experiments"]):
        if index:
            yield ""
        title = [told["name"], *filter(None, [told["description"]])]
        yield text.heading(text.escaped("  ".join(title), keep=""))
        for name, shown in _lines(told):
            yield text.escaped(f"  {name:<10} {shown}", keep="")


def _lines(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "runs", told["runs"]
    yield "experiment", f"{told['experiment']} in {told['store']}"
    size = "infinitely many" if told["size"] is None else f"{told['size']}"
    noun = "configuration" if told["size"] == 1 else "configurations"
    yield "space", f"{size} {noun}"
    for name, entry in _parameters(told["space"]):
        yield "", f"{name}: {entry}"
    yield "sampler", _named_options(told["sampler"])
    if told["pruner"]:
        yield "pruner", _named_options(told["pruner"])
    metrics = [f"{name} ({way})" for name, way in told["metrics"].items()]
    by = f", searched by {told['main_metric']}" if told["main_metric"] else ""
    yield "metrics", ", ".join(metrics) + by
    together = f", {told['batch_size']} together" if told["batch_size"] else ""
    count = "as many as the time allows" if told["trials"] is None else f"at most {told['trials']}"
    yield "trials", count + together
    yield "workers", told["workers"]
    rules = [f"{name}={rule:g}" for name, rule in told["stop"].items() if name != "on_stop"]
    if rules:
        yield "stops", f"{', '.join(rules)}; trials that run then: {told['stop']['on_stop']}"
    if told["seed"] is not None:
        yield "seed", str(told["seed"])
    if told["resume"]:
        yield "resume", "goes on with the search of before"
    if told["artifacts"] != "all":
        yield "artifacts", f"keeps {told['artifacts']}"
    if told["notify"]:
        yield "notify", ", ".join(told["notify"])
    if told["ignored"]:
        yield "ignored", ", ".join(told["ignored"])


def _parameters(space: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    blocks = space.get("blocks")
    for number, block in enumerate(blocks if isinstance(blocks, list) else [space], 1):
        if block is not space:
            yield f"block {number}", ""
        for name, entry in block.items():
            yield name, _named_options(entry, "type")


def _named_options(document: Mapping[str, Any], key: str = "name") -> str:
    if not isinstance(document, Mapping) or key not in document:
        return text.brief(document)
    rest = {name: value for name, value in document.items() if name != key and value is not None}
    return " ".join([str(document[key]), *filter(None, [text.pairs(rest)])])
