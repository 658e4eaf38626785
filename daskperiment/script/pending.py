"""The result of a script that waits for its one trial."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from daskperiment import caller, logs
from daskperiment.backends.base import Backend
from daskperiment.caller import Globals
from daskperiment.errors import ComputeArgumentError, ParameterError, TrialPruned
from daskperiment.execution.trial import main_is_guarded
from daskperiment.graph import Node, layout_of
from daskperiment.history.trials import Trials
from daskperiment.lineage.plan import Plan
from daskperiment.parameters import Parameters
from daskperiment.script.arguments import Arguments, parse, usage
from daskperiment.script.ending import Returned, ended_well
from daskperiment.script.intent import OwnCode
from daskperiment.secrets import scrub
from daskperiment.serializers import preview
from daskperiment.tracebacks import without_ours
from daskperiment.trial import Trial

logger = logging.getLogger(__name__)


def main(node: Any, parameters: Parameters, arguments: Sequence[str] | None = None) -> Any:
    """Run one trial as the command line says; see :meth:`Experiment.main`."""
    if not isinstance(node, Node) or not layout_of(node).records:
        raise ComputeArgumentError("main() takes what calling a result step has given")
    if _builds:
        raise _Built([node])
    logs.show()
    given = _given(node, parameters, sys.argv[1:] if arguments is None else arguments)
    value = node.compute(seed=given.seed, parameters=given.values)
    logger.info("Result: %s", scrub(preview(value)))
    return value


def _given(node: Node, parameters: Parameters, texts: Sequence[str]) -> Arguments:
    try:
        given = parse(texts, parameters)
    except ParameterError as error:
        _refuse(str(error))
    if given.help:
        print(usage(_program(), parameters))
        raise SystemExit(0)
    if missing := layout_of(node).missing(parameters.values() | given.values):
        example = " ".join(f"{name}=..." for name in missing)
        _refuse(f"No value for {', '.join(missing)}: give it as in  {_program()} {example}")
    return given


def _refuse(message: str) -> NoReturn:
    _say(message)
    raise SystemExit(2)


def _say(message: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)


def _program() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or sys.argv[0] in sys.orig_argv:
        return f"python {sys.argv[0]}"
    return f"python -m {spec.name.removesuffix('.__main__')}"


class Script:
    """A script that runs, and the results that it has built and not computed.

    Parameters
    ----------
    names : dict
        The names of the script.
    """

    def __init__(self, names: Globals) -> None:
        self.names = names
        self._process = os.getpid()
        self._waiting: list[tuple[Node, Parameters]] = []
        self._settled = _begun_under is sys.modules.get("__main__")
        self._frame: FrameType | None = None
        self._returned: Returned | None = None

    def add(self, node: Node, parameters: Parameters) -> None:
        """Let a result wait for the end of the script."""
        if not self._settled and (self._frame is not None or self._watch()):
            self._waiting.append((node, parameters))

    def settle(self) -> None:
        """Forget what waits, for good."""
        if self._settled:
            return
        self._settled = True
        self._waiting.clear()
        self._frame = self._returned = None
        atexit.unregister(self._missed)
        if sys.getprofile() == self._profile:
            sys.setprofile(None)

    def before_reading(self) -> None:
        """Run what waits when it is clear that the script means one trial, and now."""
        if self._waiting and self._is_here():
            code = OwnCode(self.names)
            if not code.computes and len(self._results()) == 1:
                self._run(code)

    def _is_here(self) -> bool:
        forked = os.getpid() != self._process
        return not forked and caller.running_frame(self.names) is not None

    # -- the end of the script --------------------------------------------------------------

    def _watch(self) -> bool:
        """See to it that the end of the script's last line is noticed.

        Only a profile function is told of it early enough: at exit pools refuse work and the
        exit code is settled.  It costs nothing before the first result and after the first trial.
        """
        self._frame = caller.running_frame(self.names)
        if self._frame is None:
            return False
        if sys.getprofile() is None:
            sys.setprofile(self._profile)
        atexit.register(self._missed)
        return True

    def _profile(self, frame: FrameType, event: str, value: Any) -> None:
        if self._settled:
            sys.setprofile(None)
        elif event == "return" and frame is self._frame:
            sys.setprofile(None)
            try:
                sys.call_tracing(self._ended, (frame,))  # breakpoints work inside
            except BaseException as error:
                without_ours(error)
                raise
            finally:
                self.settle()
        elif event == "return" and self._frame is not None and frame.f_back is self._frame:
            is_code = value is None or isinstance(value, int)
            self._returned = Returned(self._frame.f_lasti, value) if is_code else None

    def _ended(self, frame: FrameType) -> None:
        if os.getpid() != self._process:
            return
        code = OwnCode(self.names)
        if ended_well(frame, code.tree, self._returned):
            self._run(code)

    def _missed(self) -> None:
        if self._waiting and os.getpid() == self._process:
            _say(
                "No trial was recorded: a profiler hides the end of the script; "
                "call ex.main(...) with the result"
            )

    # -- what waits ------------------------------------------------------------------------

    def take(self) -> list[Node]:
        """What waits, which waits no more."""
        results = [node for node, _ in self._results()]
        self.settle()
        return results

    def _results(self) -> list[tuple[Node, Parameters]]:
        """What waits and is not part of something else that waits."""
        inner = {
            key
            for node, _ in self._waiting
            for key in layout_of(node).nodes
            if key != layout_of(node).key
        }
        return [(n, p) for n, p in self._waiting if layout_of(n).key not in inner]

    def _run(self, code: OwnCode) -> None:
        if _builds:
            raise _Built(self.take())
        results = self._results()
        self.settle()
        if code.computes:
            _say(
                "No trial was recorded: the script mentions computing and has computed no "
                "result; call ex.main(...) with the result"
            )
            return
        if len(results) > 1:
            names = ", ".join(_step_name(node) for node, _ in results)
            _refuse(f"{len(results)} results are built ({names}): say which by ex.main(...)")
        ((node, parameters),) = results
        try:
            main(node, parameters, [] if code.reads_arguments else _own_arguments())
        except TrialPruned as error:  # an end like any other: nobody has called for a value
            _say(scrub(f"The trial was pruned: {error}".removesuffix(": ")))


def _step_name(result: Node) -> str:
    return next(call.step.name for call in layout_of(result).calls if call.final)


def _own_arguments() -> list[str]:
    """Arguments of the script, not of a host program that runs it, such as a test runner."""
    texts = sys.argv[1:]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    names = {sys.argv[0], getattr(spec, "name", ""), getattr(spec, "parent", "")}
    of_the_host = texts == sys.orig_argv[len(sys.orig_argv) - len(texts) :]
    return [] if of_the_host and names.isdisjoint(sys.orig_argv) else texts


_current: Script | None = None
_begun_under: ModuleType | None = None
"""The main module at the time when a trial began last."""
_stores: list[tuple[Backend, str]] | None = None
"""While :func:`run_path` runs, where a trial began last."""
_plans = False
"""Whether the script that runs is to plan its trial in place of running it."""


_builds = False
"""Whether the script that runs is to tell what it builds in place of running it."""


class _Built(SystemExit):
    """What ends a script that would run what it has built."""

    def __init__(self, results: list[Node]) -> None:
        super().__init__(0)
        self.results = results


class _Planned(SystemExit):
    """What ends a script at the trial that it would begin."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(0)
        self.plan = plan


def built(node: Node, parameters: Parameters, owner: Globals | None) -> None:
    """Note that a result was built: by a script, or for an experiment that a script owns."""
    global _current
    names = caller.script() or owner
    if names is None or caller.at_prompt():
        return
    if _current is None or _current.names is not names:
        _current = Script(names)
    _current.add(node, parameters)


def begun(backend: Backend, experiment: str, plan: Callable[[], Plan] | None = None) -> None:
    """Note that a trial begins: from now on the script decides by itself what runs.

    Parameters
    ----------
    backend, experiment : Backend, str
        Where.
    plan : callable, optional
        Gives the plan of it; None where there is none.

    Raises
    ------
    ComputeArgumentError
        The script is to plan it, and it cannot be planned.
    """
    if _builds:
        raise _Built([] if _current is None else _current.take())
    if _plans:
        if _current is not None:
            _current.settle()
        if plan is None:
            raise ComputeArgumentError(
                "The script begins a batch or a search, or leaves computing to Dask: call "
                "ex.plan(...) with the result and the values of one trial"
            )
        raise _Planned(plan())
    global _begun_under, _stores
    program = sys.modules.get("__main__")
    if _begun_under is not program:
        logs.follow()
    _begun_under = program
    if _stores is not None:
        _stores = [(backend, experiment)]
    if _current is not None:
        _current.settle()


def reading() -> None:
    """Note that the history is read: it must hold the trial that waits."""
    if _current is not None:
        _current.before_reading()


def run_path(
    path: str | Path, arguments: Sequence[str] = ()
) -> tuple[Trial | None, BaseException | None]:
    """Run a script as ``python path arguments...`` does, in this process.

    Parameters
    ----------
    path : str or path
        The script.
    arguments : sequence of str
        What follows it on the command line.

    Returns
    -------
    Trial or None
        The trial that it has recorded, the last one of several.
    BaseException or None
        What it raised; None also for a ``SystemExit`` that means success.
    """
    started = time.time()
    stores, failure = _executed(path, arguments)
    if isinstance(failure, SystemExit) and failure.code in (None, 0):
        failure = None
    trials = (_own_trial(*store, started) for store in stores)
    return next(trials, None), failure


def plan_path(
    path: str | Path, arguments: Sequence[str] = ()
) -> tuple[Plan | None, BaseException | None]:
    """Run a script up to the trial that it begins, and plan that.

    Parameters
    ----------
    path, arguments : str or path, sequence of str
        As for :func:`run_path`.

    Returns
    -------
    Plan or None
        The plan; None where the script has come to no trial.
    BaseException or None
        What it raised.
    """
    global _plans
    outer, _plans = _plans, True
    try:
        _, failure = _executed(path, arguments)
    finally:
        _plans = outer
    if isinstance(failure, _Planned):
        return failure.plan, None
    return None, failure


@contextlib.contextmanager
def built_by(path: str | Path) -> Iterator[tuple[list[Node], BaseException | None]]:
    """Run a script up to its first trial, and be that script for as long as the context lasts.

    Parameters
    ----------
    path : str or path
        The script, which gets no arguments.

    Yields
    ------
    list of Node
        The results that it has built by then and not as parts of others.
    BaseException or None
        What it raised.
    """
    global _builds
    with _program_of(path, ()) as module:
        outer, _builds = _builds, True
        try:
            failure = _failure_of(module)
        finally:
            _builds = outer
        if not main_is_guarded():
            # What a process that is spawned looks at, so that it does not run the script again.
            module.__spec__ = ModuleSpec("__main__", None)
        if isinstance(failure, _Built):
            yield failure.results, None
        else:
            yield [], failure


def _executed(
    path: str | Path, arguments: Sequence[str]
) -> tuple[list[tuple[Backend, str]], BaseException | None]:
    """Run a script; return where it has begun a trial last, and what it raised."""
    with _program_of(path, arguments) as module:
        failure = _failure_of(module)
        return _stores or [], failure


@contextlib.contextmanager
def _program_of(path: str | Path, arguments: Sequence[str]) -> Iterator[ModuleType]:
    """Make this process one that runs a script, whose module is still empty."""
    global _current, _stores
    file = Path(path).absolute()  # as Python itself names a script, whatever it changes to
    outer, argv, folders = (_current, _stores), sys.argv, sys.path[:]
    program = sys.modules["__main__"]
    _current, _stores = None, []
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(file.resolve().parent))
    sys.modules["__main__"] = module = ModuleType("__main__")
    vars(module).update(__file__=str(file), __spec__=None)
    try:
        yield module
    finally:
        _current, _stores = outer
        sys.modules["__main__"] = program
        sys.argv, sys.path[:] = argv, folders


def _failure_of(module: ModuleType) -> BaseException | None:
    """Run a script in its module; return what it raised."""
    file = Path(str(module.__file__))
    try:
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        return error
    return None


def _own_trial(backend: Backend, experiment: str, since: float) -> Trial | None:
    """The trial that this process has begun last, after a time."""
    for number, row in Trials(backend, experiment).find(newest=True):
        if row["started"] < since:
            break
        if row["owner"]["pid"] == os.getpid():
            return Trial(backend, experiment, number, row)
    return None
