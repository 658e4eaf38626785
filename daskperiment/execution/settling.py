"""Settling: how an attempt has ended that ran elsewhere, also where nobody told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import suppress

from daskperiment.errors import BatchError, TrialTimeoutError
from daskperiment.execution.attempt import Ended, following
from daskperiment.execution.carrying import arrive, bring
from daskperiment.execution.context import describe
from daskperiment.execution.trial import main_is_guarded, missing_main_guard
from daskperiment.execution.workers import WorkerDiedError
from daskperiment.history import spooling
from daskperiment.history.spooling import AWAY
from daskperiment.history.trials import Trials
from daskperiment.records import Number, Provisional, TrialState
from daskperiment.serializers.preview import preview_error

_PAUSE = 0.1
"""Seconds between two looks whether a trial has got its number."""


def settled(history: Trials, uid: str, future: Future[Ended]) -> Ended | None:
    """How an attempt has ended, with all that it has left in the store; None if never begun.

    Parameters
    ----------
    history : Trials
        Where it is recorded.
    uid : str
        Its trial.
    future : Future
        What its executor has given; it is done.
    """
    try:
        error = future.exception()
    except CancelledError:
        return None
    if isinstance(error, CancelledError):
        return None
    if isinstance(error, Exception):  # not of a step: of the executor, or of what was sent
        return found(history, uid, error)
    if error is not None:  # raised here, it would be taken for a Ctrl-C of this process
        return found(history, uid, BatchError("its process was interrupted"))
    ended = future.result()
    if ended.carried:
        arrive(history.backend, ended.carried)
        _chain(history, uid, ended.uid)
        ended = ended._replace(carried=b"")
    if isinstance(ended.number, Provisional):
        with suppress(*AWAY):
            ended = ended._replace(number=_arrived(history, ended.number) or ended.number)
    if ended.abandoned and ended.number is not None:
        assert ended.error is not None
        history.give_up(ended.number, ended.uid or uid, describe(ended.error))
    return ended


def found(history: Trials, uid: str, error: Exception) -> Ended:
    """How it has ended by its row, or by that of the last attempt that a scheduler made.

    No worker begins another attempt afterwards: of what nobody tells any more it is not known
    whether it still runs, and one in its place may begin now.

    Parameters
    ----------
    history, uid : Trials, str
        As for :func:`settled`.
    error : Exception
        Why nobody has told; of one that has not ended that is what its row says then.
    """
    died = isinstance(error, (BrokenExecutor, WorkerDiedError))
    last = None
    while True:
        later = _attempt(history, uid, "uid" if last is None else "retry_of")
        if later is not None:
            last, uid = later, str(later[1]["uid"])
        elif history.bar(uid if last is None else following(uid)):
            break
    if last is None:
        return Ended(None, missing_main_guard() if died and not main_is_guarded() else error)
    number = last[0]
    if isinstance(error, TrialTimeoutError):
        history.give_up(number, uid, describe(error))
        shown: BaseException = error
    else:
        reason = str(error) if isinstance(error, BatchError) else preview_error(error)
        history.lose(number, uid, reason)
        shown = BatchError(f"Trial {number} was lost: {reason}")
    # Asked afterwards: it may have come to its end a moment ago, or does so as long as it runs.
    state = TrialState(history.get(number)["state"])
    pruned = state is TrialState.PRUNED
    return Ended(number, None if state.done else shown, uid=uid, pruned=pruned)


def _chain(history: Trials, uid: str, carried: str) -> None:
    """Let an attempt follow the one that it did not know of, made by a worker that has died."""
    with suppress(*AWAY):
        before, number = history.number_of(uid), history.number_of(carried) if carried else None
        if before is not None and number is not None and carried != uid:
            history.lose(before, uid, "its worker died, and another one runs it again")
            history.change(number, {"retry_of": uid})


def numbered(history: Trials, numbers: Sequence[Number | None]) -> list[int]:
    """The numbers of trials that have ended, also of those whose records wait in a spool.

    They are waited for, for :data:`~daskperiment.history.spooling.LAST_WAIT` seconds; of one that
    has only begun in the store then, that is what its state says.

    Raises
    ------
    BatchError
        Nothing of a trial is in the store then.
    BackendUnreachableError
        The store cannot be asked.
    """
    known: dict[Provisional, int] = {}
    deadline = time.monotonic() + spooling.LAST_WAIT
    while True:
        unknown = [each for each in numbers if isinstance(each, Provisional) and each not in known]
        for number in unknown:
            if (now := _arrived(history, number, time.monotonic() > deadline)) is not None:
                known[number] = now
        missing = sum(number not in known for number in unknown)
        if not missing:
            return [
                known[each] if isinstance(each, Provisional) else each
                for each in numbers
                if each is not None
            ]
        if time.monotonic() > deadline:
            raise BatchError(
                f"{missing} trials have ended whose records wait in spools of the machines that "
                "ran them. Run there:  daskperiment sync"
            )
        bring(history.backend)
        time.sleep(_PAUSE)


def _arrived(history: Trials, number: Provisional, begun: bool = False) -> int | None:
    """The number of a trial whose end has arrived in the store, or at least its beginning."""
    row = _attempt(history, number.uid, "uid")
    return row[0] if row and (begun or row[1]["state"] != TrialState.RUNNING) else None


def _attempt(history: Trials, uid: str, field: str) -> tuple[int, dict[str, object]] | None:
    return next(history.find({field: uid}, ["uid", "state"], newest=True, limit=1), None)
