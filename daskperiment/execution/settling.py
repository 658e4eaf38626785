"""Settling: how an attempt has ended that ran elsewhere, also where nobody told."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, CancelledError, Future

from daskperiment.errors import BatchError, TrialTimeoutError
from daskperiment.execution.attempt import Ended
from daskperiment.execution.carrying import arrive
from daskperiment.execution.context import describe
from daskperiment.execution.trial import main_is_guarded, missing_main_guard
from daskperiment.execution.workers import WorkerDiedError
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.serializers.preview import preview_error


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
        ended = future.result()
    except CancelledError:
        return None
    except Exception as error:  # not of a step: of the executor, or of what was sent
        return found(history, uid, error)
    if ended.carried:
        ended = ended._replace(number=arrive(history.backend, ended.carried), carried=b"")
    if ended.abandoned and ended.number is not None:
        assert ended.error is not None
        history.give_up(ended.number, ended.uid or uid, describe(ended.error))
    return ended


def found(history: Trials, uid: str, error: Exception) -> Ended:
    """How it has ended by its row, or by that of the last attempt that a scheduler made.

    Parameters
    ----------
    history, uid : Trials, str
        As for :func:`settled`.
    error : Exception
        Why nobody has told; of one that has not ended that is what its row says then.
    """
    died = isinstance(error, (BrokenExecutor, WorkerDiedError))
    last = None
    while (later := _attempt(history, uid, "uid" if last is None else "retry_of")) is not None:
        last = later
        uid = str(last[1]["uid"])
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
    complete = history.get(number)["state"] == TrialState.COMPLETE
    return Ended(number, None if complete else shown, uid=uid)


def _attempt(history: Trials, uid: str, field: str) -> tuple[int, dict[str, object]] | None:
    return next(history.find({field: uid}, ["uid"], newest=True, limit=1), None)
