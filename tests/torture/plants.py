"""Planted bugs: what the product could have got wrong, patched into a worker by name.

Every one is a defect that a store of trials has had somewhere.  None is a switch of the product.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from blake3 import blake3

from daskperiment import platform
from daskperiment.backends import (
    files,
    local,
    migration,
    mongo_session,
    redis,
    sqlite,
    tables,
)
from daskperiment.backends.base import Insert, Remove, Update
from daskperiment.backends.files import PayloadFiles
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.spool import Spool
from daskperiment.backends.sqlite import Store
from daskperiment.errors import BackendUnreachableError
from daskperiment.execution import checkpoints, context, current, jobs, reuse, step, trial
from daskperiment.execution.context import TrialContext
from daskperiment.execution.interrupts import HeldBack
from daskperiment.history import payloads, spooling, trials
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.serializers import payload
from daskperiment.tracking import seeds
from daskperiment.tracking.environment import owner

PLANTS: dict[str, Callable[[], None]] = {}
LEAKED: list[int] = []


def plant(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function that patches the product as a planted bug."""

    def register(patch: Callable[[], None]) -> Callable[[], None]:
        PLANTS[name] = patch
        return patch

    return register


@plant("end-behind")
def _end_behind() -> None:
    """The end of a trial is written with the next flush, after the value was returned."""
    end = TrialContext._end

    def later(self: TrialContext, *arguments: Any) -> None:
        def write() -> None:
            time.sleep(0.1)
            end(self, *arguments)

        threading.Thread(target=write).start()

    TrialContext._end = later  # type: ignore[method-assign]


@plant("owner-of-the-parent")
def _owner_of_the_parent() -> None:
    """A forked process still says that it is its parent."""
    here = {**owner.process(), "pid": os.getppid()}
    import psutil

    here["started"] = psutil.Process(os.getppid()).create_time()
    here["since_boot"] = platform.since_boot(os.getppid())
    owner._process.cache_clear()
    owner._process = lambda pid: here  # type: ignore[assignment]


@plant("running-row-at-end")
def _running_row_at_end() -> None:
    """The row is inserted when the trial ends; until then its number is only promised."""
    end, waiting = Trials.end, {}

    def begin(self: Trials, document: Any, once: bool = False, writes: Any = ()) -> int:
        number = self.last() + 1
        waiting[document["uid"]] = (document, list(writes))
        return number

    def end_with_row(self: Trials, number: int, uid: str, changes: Any, writes: Any = ()) -> bool:
        document, first = waiting.pop(uid)
        self.backend.apply(Insert(self._path, document), Insert(self._running, {}, uid), *first)
        return end(self, number, uid, changes, writes)

    Trials.begin = begin  # type: ignore[method-assign]
    Trials.end = end_with_row  # type: ignore[method-assign]


@plant("rename-before-write")
def _rename_before_write() -> None:
    """A payload's file gets its name first, and then its bytes."""

    def write(self: PayloadFiles, source: Any) -> str:
        content = source.read() if not source.seek(0) else b""
        digest = blake3(content).hexdigest()
        if not self._holds(digest, len(content)):
            file = self.path(digest)
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as target:
                target.write(content)
        return digest

    PayloadFiles.write = write  # type: ignore[method-assign]


@plant("group-in-pieces")
def _group_in_pieces() -> None:
    """Each write of a group is committed by itself, and what decides comes first."""
    apply = LocalBackend.apply

    def one_by_one(self: LocalBackend, *writes: Any) -> list[Any]:
        first = sorted(writes, key=lambda write: not isinstance(write, Update))
        results = {id(write): apply(self, write)[0] for write in first}
        return [results[id(write)] for write in writes]

    LocalBackend.apply = one_by_one  # type: ignore[method-assign]


@plant("swallow-errors")
def _swallow_errors() -> None:
    """What cannot be recorded is nobody's business."""
    TrialContext._trouble = lambda self, error: None  # type: ignore[method-assign,assignment]


@plant("copy-in-place")
def _copy_in_place() -> None:
    """The new store is copied to its place, byte by byte, instead of getting its name at once."""

    def publish(draft: Path, file: Path) -> None:
        if not file.exists():
            content = draft.read_bytes()
            with file.open("wb") as target:
                target.write(content[: len(content) // 2])
                target.flush()
                time.sleep(0.5)
                target.write(content[len(content) // 2 :])

    sqlite._publish = publish


@plant("leak-descriptors")
def _leak_descriptors() -> None:
    """Whatever fails to open the store leaves something open."""
    failure = Store.failure

    def leaking(self: Store, error: BaseException) -> Any:
        with suppress(OSError):
            LEAKED.append(os.open(self.file.parent, os.O_RDONLY))
        return failure(self, error)

    Store.failure = leaking  # type: ignore[method-assign]


@plant("bare-errors")
def _bare_errors() -> None:
    """The driver's own errors reach the user."""
    Store.failure = lambda self, error: None  # type: ignore[method-assign]


@plant("encoding-is-unguarded")
def _encoding_is_unguarded() -> None:
    """What goes wrong while a value is encoded ends the step."""

    def encode(value: Any) -> Any:
        try:
            return payload.encode(value)
        except payload.NotEncodable as error:
            raise error.__cause__ or error.__context__ or error from None

    payloads.encode = encode
    TrialContext.recording = lambda self: nullcontext()  # type: ignore[method-assign]


@plant("rename-before-fsync")
def _rename_before_fsync() -> None:
    """A payload's file gets its name before its bytes are synced."""
    files.os = SimpleNamespace(fsync=lambda descriptor: None)  # type: ignore[attr-defined]


@plant("power-is-process")
def _power_is_process() -> None:
    """The setting of the durability is read and forgotten."""
    prepare = Store._prepare
    Store._prepare = lambda self, connection: prepare(  # type: ignore[method-assign]
        replace(self, durability="process"), connection
    )


@plant("wall-clock-durations")
def _wall_clock_durations() -> None:
    """A duration is the difference of two times of day."""
    times = TrialContext._times

    def by_time_of_day(self: TrialContext) -> Any:
        found = times(self)
        return {**found, "seconds": found["finished"] - self.ticket.row["started"]}

    TrialContext._times = by_time_of_day  # type: ignore[method-assign]


@plant("started-by-wall-clock")
def _started_by_wall_clock() -> None:
    """A process is known by the time of day at which it started."""
    platform.since_boot = lambda pid: None


@plant("deferred-begin")
def _deferred_begin() -> None:
    """A transaction takes the lock only when it writes, after it has read."""
    enter = local._Transaction.__enter__

    class Deferred:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def execute(self, statement: str, *rest: Any) -> Any:
            return self._connection.execute(statement.replace(" IMMEDIATE", ""), *rest)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    def begin(self: local._Transaction) -> None:
        self._connection = Deferred(self._connection)  # type: ignore[assignment]
        enter(self)

    local._Transaction.__enter__ = begin  # type: ignore[method-assign]


@plant("one-current-trial")
def _one_current_trial() -> None:
    """The current trial is a global variable."""

    class Global:
        value: Any = None

        def get(self) -> Any:
            return self.value

        def set(self, value: Any) -> Any:
            before, self.value = self.value, value
            return before

        reset = set

    current.CURRENT = step.CURRENT = Global()  # type: ignore[assignment]


@plant("create-in-place")
def _create_in_place() -> None:
    """A store is made where it shall be, statement by statement."""

    def create(self: Store) -> None:
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            connection.executescript(tables.SCHEMA)
            connection.execute("CREATE TABLE store (id)")
            connection.execute("INSERT INTO store VALUES ('made')")
            connection.execute(f"PRAGMA user_version = {migration.version()}")

    Store.create = create  # type: ignore[method-assign]


@plant("impatient")
def _impatient() -> None:
    """Nobody waits for another process."""
    sqlite.TIMEOUT = 0.0


@plant("log-without-limit")
def _log_without_limit() -> None:
    """The log's file keeps the length that it once had."""
    sqlite.LONGEST_LOG = -1


@plant("drops-its-locks")
def _drops_its_locks() -> None:
    """A file of the store is opened and closed, by which POSIX drops the process's locks on it."""
    enter = local._Transaction.__enter__

    def begin(self: local._Transaction) -> None:
        enter(self)
        file = self._connection.execute("PRAGMA database_list").fetchone()[2]
        Path(f"{file}-shm").open("rb").close()

    local._Transaction.__enter__ = begin  # type: ignore[method-assign]


@plant("exit-is-success")
def _exit_is_success() -> None:
    """Whoever calls ``sys.exit(0)`` means that all went well."""
    after = trial.state_after

    def state_after(error: BaseException) -> TrialState:
        return TrialState.COMPLETE if isinstance(error, SystemExit) else after(error)

    trial.state_after = context.state_after = state_after


@plant("swallows-interrupts")
def _swallows_interrupts() -> None:
    """What was held back is forgotten."""
    HeldBack._let_through = lambda self: None  # type: ignore[method-assign]


@plant("stopped-is-dead")
def _stopped_is_dead() -> None:
    """Who gives no sign of life is dead."""
    alive = platform.is_alive

    def is_alive(owner: dict[str, Any]) -> bool:
        import psutil

        return alive(owner) and psutil.Process(owner["pid"]).status() != psutil.STATUS_STOPPED

    platform.is_alive = is_alive


@plant("late-result-is-dropped")
def _late_result_is_dropped() -> None:
    """A trial that was taken for dead stays so."""
    trials.PRESUMED_DEAD = {"state": "nowhere"}


@plant("lost-workers-are-nobodys")
def _lost_workers_are_nobodys() -> None:
    """Only what a step has raised ends a trial."""
    end = TrialContext.end

    def end_of_steps(self: TrialContext, state: Any, error: BaseException | None = None) -> None:
        if type(error).__name__ != "BrokenProcessPool":
            end(self, state, error)

    TrialContext.end = end_of_steps  # type: ignore[method-assign]


@plant("child-is-the-parent")
def _child_is_the_parent() -> None:
    """A forked child believes that the trial is its own."""
    TrialContext._forked = property(  # type: ignore[assignment]
        lambda self: False, lambda self, value: None
    )


@plant("numbers-by-client")
def _numbers_by_client() -> None:
    """The next number is asked for, and then taken, whoever has it."""
    apply = redis.RedisBackend.apply

    def asking(self: Any, *writes: Any) -> list[Any]:
        numbered = []
        for write in writes:
            if isinstance(write, Insert) and write.key is None:
                last = next(iter(self.find(write.path, fields=[], order_by="-key", limit=1)), (0,))
                numbered.append(Insert(write.path, write.document, last[0] + 1))
            else:
                numbered.append(write)
        return [*apply(self, *numbered)]

    redis.RedisBackend.apply = asking  # type: ignore[method-assign]
    script = redis._script
    redis._script = lambda name: script(name).replace("refuse('exists')", "")  # type: ignore[assignment]


@plant("spool-forgets")
def _spool_forgets() -> None:
    """What is written while a server is away goes nowhere."""
    Spool.append = lambda self, writes, unsure=None: None  # type: ignore[method-assign]


@plant("commits-are-not-compared")
def _commits_are_not_compared() -> None:
    """A group is committed whichever one was before it."""

    def commit(self: Any, number: int, group: str, written: Any) -> bool:
        self._latest = None
        head = {"seq": number, "group": group, "turn": "", **written}
        self.store.update_one({"_id": mongo_session.HEAD}, {"$set": head})
        return True

    mongo_session.Session.commit = commit  # type: ignore[method-assign]


@plant("loss-unnoticed")
def _loss_unnoticed() -> None:
    """Nobody looks whether the store is still the same."""
    script = redis._script
    redis._script = lambda name: script(name).replace("~= ARGV[3]", "== 'another'")  # type: ignore[assignment]


@plant("full-is-nothing")
def _full_is_nothing() -> None:
    """A server that has no room is nobody's business."""
    spooling.AWAY = (BackendUnreachableError,)  # type: ignore[assignment]
    _swallow_errors()


@plant("finished-steps-run-again")
def _finished_steps_run_again() -> None:
    """What an earlier attempt has finished is nobody's business."""
    reuse.take = lambda trial, call, wanted: None


@plant("finished-steps-wait")
def _finished_steps_wait() -> None:
    """The record of a step waits with the others for the next flush."""
    add = TrialContext.add

    def later(self: TrialContext, record: Any) -> None:
        add(self, record if record.kept is None else record._replace(kept=None))
        if record.kept is not None:
            self._waiting[-1:] = [record]

    TrialContext.add = later  # type: ignore[method-assign]


@plant("attempts-draw-seeds")
def _attempts_draw_seeds() -> None:
    """Each attempt draws a seed of its own."""
    about = jobs.Job.about

    def anew(self: jobs.Job) -> Any:
        if self.before is not None:
            self.seed = seeds.draw_seed()
        return about(self)

    jobs.Job.about = anew  # type: ignore[method-assign]


@plant("checkpoints-wait")
def _checkpoints_wait() -> None:
    """A checkpoint is written with the next flush, as metrics are."""

    def commit(self: TrialContext, writes: Any) -> None:
        self._writes += writes
        self._await()

    TrialContext.commit = commit  # type: ignore[method-assign]


@plant("generators-begin-anew")
def _generators_begin_anew() -> None:
    """A state is all that a checkpoint gives back."""
    checkpoints.seeds = SimpleNamespace(  # type: ignore[attr-defined]
        state_of=seeds.state_of, restore=lambda draws, state: None
    )


@plant("deletes-before-it-writes")
def _deletes_before_it_writes() -> None:
    """The checkpoint before is deleted to make room, then the new one is written."""
    commit = TrialContext.commit

    def in_turn(self: TrialContext, writes: Any) -> None:
        last = [write for write in writes if isinstance(write, Insert)]
        gone = [Remove(write.path, write.key) for write in last]
        commit(self, gone)
        commit(self, writes)

    TrialContext.commit = in_turn  # type: ignore[method-assign]
