"""Running the searches of a file, one after the other or several at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any

from daskperiment.callbacks.base import BatchView, Callback
from daskperiment.errors import ExperimentsFileError
from daskperiment.manager.entries import chosen, read
from daskperiment.manager.grammar import COUNT, told_of
from daskperiment.manager.prepared import Prepared, prepare
from daskperiment.manager.sources import Given, Sources
from daskperiment.search import Search
from daskperiment.typing import Document

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ran:
    """What has become of one search of a file.

    Parameters
    ----------
    name : str
        Its name in the file.
    search : Search, optional
        The search; None where it has raised.
    error : Exception, optional
        What it has raised.
    seconds : float
        How long it took.
    """

    name: str
    search: Search | None
    error: Exception | None
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it has raised, or has not one trial that is COMPLETE."""
        return self.search is None or self.search.document()["complete"] == 0

    def document(self) -> Document:
        """It as plain data: that of the search, with its name in the file and the error."""
        told: Document = {} if self.search is None else self.search.document()
        error = self.error
        return {
            "name": self.name,
            **told,
            "seconds": self.seconds,
            "error": None if error is None else f"{type(error).__name__}: {error}",
        }


def run_experiments(
    source: str | PathLike[str] | Mapping[str, Any],
    functions: Given | None = None,
    *,
    only: Iterable[str] | None = None,
    backend: Any = None,
    parallel: int = 1,
    progress: bool = True,
    callbacks: Sequence[object] = (),
) -> list[Ran]:
    """Run the searches that a file describes.

    The whole file is checked before the first trial begins.  A search that fails does not stop
    the others.

    Parameters
    ----------
    source : path or mapping
        A file ``.toml``, ``.json`` or ``.yaml``, also a configuration of Labs, or what one holds.
    functions : mapping of str to callable or str, optional
        What to run by the names of experiments, in place of what the file says; a text is a file
        and a name in it, such as ``"models.py:train"``.
    only : iterable of str, optional
        Names of the experiments to run; default all.
    backend : str, Path or Backend, optional
        Where trials are recorded; default what the file says, else as for :class:`Experiment`.
    parallel : int
        How many searches run at the same time, each with workers of its own.
    progress : bool
        Whether a bar is shown, where there is a terminal and one search runs at a time.
    callbacks : sequence
        Who is told what happens in each search, besides those that the file names.

    Returns
    -------
    list of Ran
        For each search, in the order of the file, its handle or what it has raised.

    Raises
    ------
    ExperimentsFileError
        Something in the file cannot be so; the message names the file, the experiment, the key,
        and what was expected.  Nothing has begun.
    KeyboardInterrupt
        After Ctrl-C; searches that have not begun do not.

    Examples
    --------
    >>> def loss(rate):
    ...     return (rate - 0.3) ** 2
    >>> described = {"doc_run": {"space": {"rate": [0.1, 0.3]}, "sampler": "grid"}}
    >>> (ran,) = run_experiments({"experiments": described}, {"doc_run": loss}, backend="memory://")
    >>> ran.failed, ran.search.best.result
    (False, 0.0)
    """
    COUNT.check("parallel", parallel)
    with opened(source, functions, only=only, backend=backend) as searches:
        if parallel == 1 or len(searches) == 1:
            return _one_after_the_other(searches, progress, callbacks)
        for each in searches:
            if each.source.script is not None:
                raise ExperimentsFileError(
                    f"{each.entry.source}: {each.name}: a script is the program of its process, so "
                    "that it runs alone: leave out parallel, or name a function"
                )
        return _at_the_same_time(searches, parallel, callbacks)


def plan_experiments(
    source: str | PathLike[str] | Mapping[str, Any],
    functions: Given | None = None,
    *,
    only: Iterable[str] | None = None,
    backend: Any = None,
) -> list[Document]:
    """What :func:`run_experiments` would run, as plain data; it runs nothing and keeps nothing.

    Parameters
    ----------
    source, functions, only, backend
        As for :func:`run_experiments`.

    Examples
    --------
    >>> def double(a):
    ...     return 2 * a
    >>> described = {"doc_plan": {"space": {"a": [1, 2]}, "sampler": "grid"}}
    >>> (plan,) = plan_experiments({"experiments": described}, {"doc_plan": double})
    >>> plan["size"], plan["trials"], plan["sampler"]["name"]
    (2, 2, 'grid')
    """
    with opened(source, functions, only=only, backend=backend) as searches:
        return [each.document() for each in searches]


@contextmanager
def opened(
    source: str | PathLike[str] | Mapping[str, Any],
    functions: Given | None,
    *,
    only: Iterable[str] | None,
    backend: Any,
) -> Iterator[list[Prepared]]:
    """The searches of a file, checked, for as long as the context lasts."""
    described = read(source)
    with ExitStack() as stack:
        sources = Sources(functions or {}, stack)
        sources.check((entry.name for entry in described.entries), described.source)
        place = described.backend if backend is None else backend
        searches = []
        for entry in chosen(described.entries, only):
            with told_of(described.source, entry.name):
                searches.append(prepare(entry, sources.find(entry), place))
        yield searches


def _one_after_the_other(
    searches: list[Prepared], progress: bool, callbacks: Sequence[object]
) -> list[Ran]:
    ended = []
    for left, each in zip(reversed(range(len(searches))), searches, strict=True):
        ended.append(_run(each, progress, callbacks))
        if left:
            logger.info("%d of %d searches are left", left, len(searches))
    return ended


def _at_the_same_time(
    searches: list[Prepared], parallel: int, callbacks: Sequence[object]
) -> list[Ran]:
    stopping = _Stopping()
    watching = [*callbacks, stopping]
    with ThreadPoolExecutor(parallel, thread_name_prefix="daskperiment-search") as pool:
        begun = [pool.submit(_run, each, False, watching) for each in searches]
        try:
            return [each.result() for each in begun]
        except KeyboardInterrupt:
            for each in begun:
                each.cancel()
            stopping.stop()
            raise


def _run(search: Prepared, progress: bool, watching: Sequence[object]) -> Ran:
    logger.info("Search %r begins: %s", search.name, search.source.shown)
    started, found, failure = time.monotonic(), None, None
    try:
        found = search.run(progress, watching)
    except Exception as error:
        failure = error
        logger.error("Search %r has failed: %s: %s", search.name, type(error).__name__, error)
    else:
        logger.info("Search %r has ended: %r", search.name, found)
    return Ran(search.name, found, failure, time.monotonic() - started)


class _Stopping(Callback):
    """Stops the batches of all searches, from another thread."""

    def __init__(self) -> None:
        self._running: dict[int, BatchView] = {}
        self._reason: str | None = None

    def before_batch(self, *, batch: BatchView) -> None:
        """Know of one more."""
        self._running[id(batch)] = batch
        if self._reason is not None:
            batch.stop(self._reason)

    def after_batch(self, *, batch: BatchView) -> None:
        """Know of one less."""
        del self._running[id(batch)]

    def stop(self) -> None:
        """Let no more trials begin."""
        self._reason = "the searches were interrupted"
        for batch in list(self._running.values()):
            batch.stop(self._reason)
