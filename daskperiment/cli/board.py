"""The verb that serves the dashboard, and the command of daskperiment 0.5 for it."""

from __future__ import annotations

import click

from daskperiment.cli.session import Session, verb


@verb("dashboard")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    help="The port; where it is taken the next one that is free.",
)
@click.option("--token", help="What whoever opens it has to bring; made where it is needed.")
@click.option(
    "--allowed-host", "allowed", multiple=True, metavar="NAME",
    help="A further name under which it is reached; may be repeated.",
)  # fmt: skip
def dashboard(
    session: Session, host: str, port: int, token: str | None, allowed: tuple[str, ...]
) -> None:
    """Serve pages that show trials in a browser, live; Ctrl-C stops it.

    Nothing can be changed there.  At any address but one of this machine alone a token is
    needed, which is a part of the address that is printed.
    """
    from daskperiment.dashboard import serving

    if session.as_json:
        raise click.UsageError("the dashboard answers browsers: leave out --json")
    opened = None if session.chosen is None else session.experiment
    served = serving.start(
        session.backend, opened, host=host, port=port, token=token, allowed_hosts=allowed
    )
    serving.show(served, blocking=True)


def main() -> None:
    """Run ``daskperimentboard EXPERIMENT [options]``, the same as ``daskperiment dashboard -e``."""
    import sys

    from daskperiment.cli.main import main as run

    arguments = sys.argv[1:]
    named = arguments and not arguments[0].startswith("-")
    run(["dashboard", *(["-e"] if named else []), *arguments])


VERBS: list[click.Command] = [dashboard]
