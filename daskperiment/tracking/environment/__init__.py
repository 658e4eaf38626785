"""What surrounds a trial, as plain data.

:func:`snapshot` is what can change results: machine, Python, packages, the settings of
:data:`VARIABLES`.  It is captured once in each process and is equal for equal environments,
without user names, home directories or figures that change by themselves.

:func:`session` is what explains a trial but does not change its results: git, the script and
its arguments, the working directory, the shell, memory, how NumPy, SciPy and pandas are
configured.

:func:`threads` and :func:`process` are small facts for each step record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

from daskperiment import platform as system
from daskperiment.fingerprint import values
from daskperiment.tracking import git
from daskperiment.tracking.environment import libraries, machine, packages, usage
from daskperiment.tracking.environment.blas import threads
from daskperiment.tracking.environment.collectors import Collectors, Snapshot, taken
from daskperiment.tracking.environment.machine import VARIABLES
from daskperiment.tracking.environment.owner import process
from daskperiment.tracking.environment.text import detail, requirements, summary
from daskperiment.tracking.environment.usage import main_file, working_directory
from daskperiment.typing import JSON, Document

__all__ = [
    "VARIABLES",
    "Snapshot",
    "capture",
    "collector",
    "detail",
    "main_file",
    "process",
    "receive",
    "requirements",
    "sent",
    "session",
    "snapshot",
    "summary",
    "threads",
    "working_directory",
]

_RESULTS = Collectors(
    platform=machine.platform_,
    cpu=machine.cpu,
    gpu=machine.gpu,
    python=machine.python,
    packages=packages.installed,
    conda=packages.conda,
    variables=machine.variables,
    daskperiment=packages.daskperiment,
)
_SESSION = Collectors(shell=usage.shell, memory=machine.memory, visible_gpus=machine.visible_gpus)
_LOOKED_AT_AGAIN = ("git", "script", "working_directory", *libraries.NAMES)

system.at_fork(after_in_child=_RESULTS.forget)
system.at_fork(after_in_child=_SESSION.forget)


def snapshot() -> Snapshot:
    """What can change results, of this process.

    Captured at the first call in each process, a forked one included, and kept; a collector
    that is added later is asked at the next call.  The document is shared: do not change it.
    May be called from several threads.

    Examples
    --------
    >>> digest, document, texts = snapshot()
    >>> digest.startswith("v1:"), document["python"]["implementation"]
    (True, 'CPython')
    """
    return _RESULTS.snapshot()


def capture() -> Document:
    """Capture now what can change results, by every collector.

    Two captures on one machine are equal as long as nothing was installed or set in between.

    Examples
    --------
    >>> {"cpu", "gpu", "packages", "platform", "python"} <= set(capture())
    True
    """
    return _RESULTS.capture()


_last: tuple[tuple[Any, ...], Snapshot] | None = None


def session(repository: git.Look | None = None) -> Snapshot:
    """What explains a trial of this process but does not change its results.

    The same object as long as nothing changed, at the price of some microseconds.  May be
    called from several threads.

    Parameters
    ----------
    repository : Look, optional
        What was seen of the git repository.

    Examples
    --------
    >>> document = session().document
    >>> document["git"] is None, "arguments" in document["script"]
    (True, True)
    """
    global _last
    parts = (
        _SESSION.document(),
        libraries.configurations(),
        repository,
        usage.script(),
        usage.working_directory(),
    )
    known = _last
    if known and known[0] == parts:
        return known[1]
    found = _session(*parts)
    _last = parts, found
    return found


def _session(
    constant: Document,
    configurations: Document,
    repository: git.Look | None,
    script: JSON,
    working_directory: str | None,
) -> Snapshot:
    document = {
        "git": repository and repository.document,
        "script": script,
        "working_directory": working_directory,
        **configurations,
        **constant,
    }
    return Snapshot(values.digest(document), document, repository.texts if repository else {})


@overload
def collector(function: Callable[[], Any]) -> Callable[[], Any]: ...


@overload
def collector(
    function: None = None, *, session: bool = False
) -> Callable[[Callable[[], Any]], Callable[[], Any]]: ...


def collector(function: Any = None, *, session: bool = False) -> Any:
    """Decorate a function that captures one more part of the environment.

    Its name is the category.  It is called without arguments, once in each process that runs
    steps, before the next trial; what it returns is kept with the trial.

    Parameters
    ----------
    function : callable
        Takes no arguments and returns text or other JSON data.  When it raises, the text of
        the error is kept in place of a value.
    session : bool
        False for what can change results, such as the version of a driver: when it changes,
        that is warned of and named as the cause of another output.  True for what only
        explains a trial, such as the number of a batch job.

    Returns
    -------
    callable
        The function itself.

    Raises
    ------
    CollectorError
        The category exists already, or the function needs arguments.  Running the same
        definition again replaces it, as in a notebook.

    Examples
    --------
    >>> @collector(session=True)
    ... def queue():
    ...     return {"name": "long", "nodes": 2}
    >>> queue()
    {'name': 'long', 'nodes': 2}
    """

    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        target, other = (_SESSION, _RESULTS) if session else (_RESULTS, _SESSION)
        name = getattr(function, "__name__", "")
        if name in _LOOKED_AT_AGAIN or name in other:
            raise taken(name)
        target.add(name, function)
        return function

    return add if function is None else add(function)


def sent() -> tuple[tuple[str, bytes | str], ...]:
    """The users' collectors of what can change results, for worker processes."""
    return _RESULTS.sent()


def receive(collectors: Iterable[tuple[str, bytes | str]]) -> None:
    """Take over what :func:`sent` gave in another process."""
    _RESULTS.receive(collectors)
