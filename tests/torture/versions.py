"""Stores of other releases: many processes open an older one, and old code opens a newer one."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import ExitStack, closing
from pathlib import Path
from unittest import mock

from daskperiment.backends import migration
from daskperiment.backends.local import LocalBackend
from daskperiment.errors import StoreTooNewError
from tests.backends.schemas.make import FOLDER
from tests.torture.harness import ROOT, WATCHDOG, Outcome, check, scenario

KILLED = -9
STATEMENTS = 40
PROGRAM = f"""
import os, sqlite3, sys, time
from daskperiment import Experiment
from daskperiment.backends import migration

dies, plant = int(sys.argv[2]), sys.argv[3]

def step(connection):
    run = connection.execute
    if dies >= 0:
        print("begun", flush=True)
    run("CREATE TABLE IF NOT EXISTS added (n)")
    for n in range({STATEMENTS}):
        run("INSERT INTO added VALUES (?)", (n,))
        if n == dies:
            time.sleep(0.05)  # until the others wait for the lock
            os.kill(os.getpid(), 9)

migration.STEPS.append(step)
if plant == "no-transaction":
    def migrate(connection, name):
        step(connection)
        connection.execute("PRAGMA user_version = 2")
    migration.migrate = migrate
if plant == "no-second-look":
    def migrate(connection, name):
        connection.execute("BEGIN IMMEDIATE")
        step(connection)
        connection.execute("PRAGMA user_version = 2")
        connection.execute("COMMIT")
    migration.migrate = migrate
print("ready", flush=True)
sys.stdin.readline()
ex = Experiment("fixture", backend=sys.argv[1])
ex.result(lambda: 42, name="s")().compute()
print(ex.trial_id)
"""


@scenario(
    "F17",
    "8 processes open an older store, one is killed in the migration; old code opens a newer store",
    plants=("no-transaction", "no-second-look", "newer-is-opened"),
    short={"rounds": 1},
    long={"rounds": 100},
    planted={"rounds": 3},
)
def migrations(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """The killed one comes first or among the others; one statement of its step kills it."""
    outcome, chance = Outcome("F17", seed), random.Random(seed)
    for n in range(rounds):
        place = folder / str(n)
        with zipfile.ZipFile(FOLDER / "schema_1.zip") as archive:
            archive.extractall(place)
        store = place / "store"
        outcome.add(f"round {n}", _migrate(store, chance, plant, outcome))
        outcome.add(f"round {n}", _open_newer(store, plant))
        outcome.rounds += 1
    return outcome


def _migrate(store: Path, chance: random.Random, plant: str | None, outcome: Outcome) -> list[str]:
    dies = chance.randrange(STATEMENTS)
    processes = [_start(store, dies if n == 0 else -1, plant) for n in range(8)]
    for process in processes:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        if process is processes[0]:
            process.stdout.readline()  # it has begun
    ended = [process.communicate(timeout=WATCHDOG) for process in processes]
    outcome.faults += processes[0].returncode == KILLED
    found = [
        f"I7: a process that opened an older store failed: {err[-500:]}"
        for process, (_, err) in zip(processes, ended, strict=True)
        if process.returncode not in (0, KILLED)
    ]
    with closing(sqlite3.connect(store / "store.sqlite")) as connection:
        rows = connection.execute("SELECT n FROM added ORDER BY rowid").fetchall()
    if [n for (n,) in rows] != list(range(STATEMENTS)):
        found.append(f"I1: the migration was not made once: {len(rows)} of {STATEMENTS} rows")
    with mock.patch.object(migration, "STEPS", [lambda connection: None]):
        return found + [v for v in check(store, []) if not v.startswith("I10")]


def _start(store: Path, dies: int, plant: str | None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(store), str(dies), str(plant)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def _open_newer(store: Path, plant: str | None) -> list[str]:
    """This code knows schema 1 only; the store has schema 2 now."""
    before = {file.name: file.read_bytes() for file in store.glob("store.sqlite*")}
    found = []
    with ExitStack() as stack:
        if plant == "newer-is-opened":
            stack.enter_context(mock.patch.object(migration, "check", lambda *_: 1))
        with LocalBackend(store) as backend:
            try:
                backend.insert("x", {})
                found.append("I6: old code wrote to a newer store")
            except StoreTooNewError:
                pass
    after = {file.name: file.read_bytes() for file in store.glob("store.sqlite*")}
    if before != after:
        found.append("I6: old code changed the files of a newer store")
    return found
