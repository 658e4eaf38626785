"""What every verb shares: its options, the store and experiment it looks at, how it answers."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from daskperiment.errors import DaskperimentError, ExperimentNotFoundError

if TYPE_CHECKING:
    from daskperiment.backends import Backend
    from daskperiment.history.trials import Trials

_FROM_THE_END = re.compile(r"-[0-9]+(:.*)?")
_MARK = "\0"
"""Put before a reference such as -1, which would be taken for an option; no argument has it."""


@dataclass
class Session:
    """One call of a verb.

    Parameters
    ----------
    named : str or None
        The backend as the user named it.
    chosen : str or None
        The experiment as the user named it.
    as_json : bool
        Whether to answer with a JSON document.
    direction : str or None
        Which result is the best.
    """

    named: str | None = None
    chosen: str | None = None
    as_json: bool = False
    direction: Any = None

    @functools.cached_property
    def backend(self) -> Backend:
        """The backend that was named, or that the options name."""
        from daskperiment.backends import open_backend

        return open_backend(self.named)

    @functools.cached_property
    def experiments(self) -> list[str]:
        """Ids of the experiments of the backend, of which there is one at least."""
        from daskperiment.history.experiments import experiments

        if found := experiments(self.backend):
            return found
        raise ExperimentNotFoundError(
            f"There is no store at {self.backend!r}, or no trial in it: run one, or name "
            "another place with --backend"
        )

    @functools.cached_property
    def experiment(self) -> str:
        """Id of the experiment that was named, or of the only one."""
        known = self.experiments
        if self.chosen in known:
            return self.chosen
        if self.chosen is not None:
            near = difflib.get_close_matches(self.chosen, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise ExperimentNotFoundError(f"There is no experiment {self.chosen!r}; {hint}")
        if len(known) > 1:
            raise ExperimentNotFoundError(f"Choose an experiment with -e: {', '.join(known)}")
        return known[0]

    @functools.cached_property
    def trials(self) -> Trials:
        """Rows of the experiment; those of processes that are gone have ended."""
        from daskperiment.history.trials import Trials

        trials = Trials(self.backend, self.experiment)
        trials.bury()
        return trials

    def numbers(self, references: Iterable[str]) -> list[int]:
        """Numbers of the trials that references name."""
        from daskperiment.references import resolve

        return resolve(references, self.trials, self.direction)

    def number(self, reference: str) -> int:
        """Number of the one trial that a reference names."""
        from daskperiment.references import resolve_one

        return resolve_one(reference, self.trials, self.direction)

    def answer(self, document: Any, lines: Callable[[Any], Iterable[str]]) -> None:
        """Show a document as JSON, or as the lines that are made of it."""
        if self.as_json:
            click.echo(json.dumps(document, indent=2, allow_nan=False))
        else:
            for line in lines(document):
                click.echo(line)


class _Reference(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A text that names trials."""

    name = "reference"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value).removeprefix(_MARK)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        words = [("latest", "the last trial"), ("best", "the best result")]
        try:
            session = Session(ctx.params.get("named"), ctx.params.get("chosen"))
            newest = session.trials.find(fields=["state"], newest=True, limit=50)
            words += [(str(number), row["state"]) for number, row in newest]
        except DaskperimentError:
            pass  # a shell that completes has no place for a message
        return [CompletionItem(w, help=help) for w, help in words if w.startswith(incomplete)]


class Verb(click.Command):
    """A command that takes -1 for a reference where it takes references, not for an option."""

    @property
    def takes_references(self) -> bool:
        """Whether one of its arguments names trials."""
        return any(isinstance(parameter.type, _Reference) for parameter in self.params)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments."""
        return super().parse_args(ctx, self._marked(args) if self.takes_references else args)

    def _marked(self, args: list[str]) -> list[str]:
        takes_value = {
            name
            for parameter in self.params
            if isinstance(parameter, click.Option) and not parameter.is_flag
            for name in parameter.opts
        }
        return [
            _MARK + argument
            if _FROM_THE_END.fullmatch(argument) and previous not in takes_value
            else argument
            for previous, argument in zip(["", *args], args, strict=False)
        ]


def _complete_experiment(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    try:
        known = Session(ctx.params.get("named")).experiments
    except DaskperimentError:
        return []
    return [name for name in known if name.startswith(incomplete)]


COMMON: list[click.Parameter] = [
    click.Option(
        ["-e", "--experiment", "chosen"], metavar="ID", shell_complete=_complete_experiment,
        help="The experiment; needed where there are several.",
    ),
    click.Option(["--backend", "named"], metavar="PLACE", help="Path or URI of the store."),
    click.Option(["--json", "as_json"], is_flag=True, help="Answer with one JSON document."),
    click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
]  # fmt: skip
"""Options of every verb."""

DIRECTION = click.Option(
    ["--direction"], type=click.Choice(["minimize", "maximize"]), help="Which result is best."
)
"""Option of every verb that takes references."""


def verb(
    name: str, kind: type[Verb] = Verb, **settings: Any
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Make a verb of a function, whose first argument is the session."""

    def decorate(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def call(
            named: str | None, chosen: str | None, as_json: bool, debug: bool, **arguments: Any
        ) -> int | None:
            direction = arguments.pop("direction", None)
            return function(Session(named, chosen, as_json, direction), **arguments)

        made = click.command(name, cls=kind, **settings)(call)
        if made.takes_references:
            made.params.append(DIRECTION)
        made.params += COMMON
        return made

    return decorate


def references(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Let a verb take references to trials as these arguments."""

    def decorate(function: Any) -> Any:
        for name in reversed(names):
            function = click.argument(name, type=_Reference(), **settings)(function)
        return function

    return decorate


def one_trial(function: Any) -> Any:
    """Let a verb take the reference of one trial, the latest one unless told."""
    return references("reference", default="latest", metavar="[REF]")(function)


def some_trials(function: Any) -> Any:
    """Let a verb take references to one trial or to several."""
    return references("reference", nargs=-1, required=True, metavar="REF...")(function)


def chosen_trials(function: Any) -> Any:
    """Let a verb take references as values of ``--trials``, which may be left out."""
    return click.option(
        "--trials", "reference", multiple=True, type=_Reference(), metavar="REF",
        help="Only these, such as 3:7; may be repeated.",
    )(function)  # fmt: skip


def unmarked(texts: Sequence[str]) -> list[str]:
    """Arguments that are no references, as the user wrote them."""
    return [text.removeprefix(_MARK) for text in texts]
