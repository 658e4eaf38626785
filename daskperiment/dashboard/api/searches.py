"""The searches of an experiment, and how one of them goes."""

from __future__ import annotations

from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.typing import Document


@get("/experiments/<experiment>/searches")
def searches(board: Board, experiment: str, query: dict[str, Any]) -> Document:
    """All searches of an experiment, the last one first, each with what has become of it.

    Each has ``search`` (its name), ``uid``, ``state``, ``description``, ``sampler``, ``metrics``
    with their directions, ``main`` (the one that it searches by), ``n_trials``, ``seed``,
    ``started``, and the numbers of trials in ``trials``, ``complete``, ``pruned``, ``failed`` and
    ``running``.  With one metric to search by ``best`` has the ``trial``, its ``value`` and its
    ``parameters``; with several ``pareto`` has the numbers of the trials that none is better than.
    """
    shown = board.experiment(experiment)
    return {"experiment": experiment, "searches": shown.watches.documents()}


@get(
    "/experiments/<experiment>/searches/<search:name>",
    Query("since", "The cursor of the reply before.", most=40),
    Query("limit", "Trials of a reply.", "integer", default=2000, least=1, most=10_000),
)
def search(board: Board, experiment: str, name: str, query: dict[str, Any]) -> Document:
    """One search, by its name or uid, with the trials that have changed since the reply before.

    Besides what the list of searches has, ``scales`` says of each parameter whether its values
    are a ``number``, from ``low`` to ``high``, or a ``category`` with ``choices``.  Each of
    ``rows`` is a trial as it is now: ``place``, ``trial``, ``state``, ``parameters`` (only those
    that are active), ``values`` of the ``metrics`` in their order, ``reported`` (the last report
    of one that is PRUNED), ``started`` and ``seconds``.  With ``since`` these are the trials that
    are new or have changed; where ``whole`` is true, they are all there are.  ``more`` says
    whether others are left for the next ``cursor``.
    """
    watches = board.experiment(experiment).watches
    told, changes = watches.changes(name, query["since"], query["limit"])
    return {
        "experiment": experiment,
        **told,
        "rows": changes.trials,
        "cursor": changes.cursor,
        "whole": changes.whole,
        "more": changes.more,
    }
