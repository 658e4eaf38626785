"""Errors of the system: broken disks, full disks, limits of files, descriptors and memory."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.torture import tracing
from tests.torture.harness import (
    Ended,
    ForkServer,
    Outcome,
    check,
    events,
    finish,
    fork_server,
    scenario,
    spawn,
    unrecorded,
)

SCRIPT = {"worker": "faulty", "shape": "mixed", "seed": 7, "trials": 5, "size": 256 * 1024}
"""Five trials: the later ones show whether the process recovers."""
_FITS = {768: 10, 1024: 100}
"""Kilobytes of results that fit on disks of so many kilobytes: in rows, and in files."""
_MUTE = 120
"""How Python ends that cannot write what it has to say."""
LACKS_SPACE = ("pwrite64", "write", "openat", "mkdir", "link", "rename")


@scenario(
    "F04",
    "EIO at every system call that writes, once and from then on",
    plants=("swallow-errors", "rename-before-write"),
    short={"each": 1},
    long={"each": None},
    planted={"each": 5},
)
def broken_disk(seed: int, folder: Path, plant: str | None, *, each: int | None) -> Outcome:
    """The disk gives an error at one call; nothing is acknowledged that is not there."""
    return _at_every_point(Outcome("F04", seed), folder, plant, "EIO", tracing.WRITING, each)


@scenario(
    "F05",
    "a full disk: ENOSPC at every call",
    plants=("swallow-errors",),
    short={"each": 1},
    long={"each": None},
    planted={"each": 5},
)
def full_at_every_call(seed: int, folder: Path, plant: str | None, *, each: int | None) -> Outcome:
    """The disk is full at one call, and at all that follow; then a small disk is filled."""
    outcome = Outcome("F05", seed)
    for size in _FITS:
        _fill(outcome, folder, plant, size)
    return _at_every_point(outcome, folder, plant, "ENOSPC", LACKS_SPACE, each)


def _fill(outcome: Outcome, folder: Path, plant: str | None, size: int) -> None:
    """The store is on a disk of some kilobytes, which is full during two trials."""
    disk = folder / f"disk{size}"
    disk.mkdir()
    script = {
        **_script(folder, f"filled{size}", plant), "store": str(disk / "store"),
        "size": _FITS[size] * 1024, "before": {"3": "fill_disk", "6": "free_disk"}, "trials": 7,
        "copy": str(folder / f"copy{size}"),
    }  # fmt: skip
    mount = f'mount -t tmpfs -o size={size}k none {disk} 2>/dev/null || exit 77; exec "$@"'
    ended = finish(spawn(script, "unshare", "-rm", "sh", "-c", mount, "sh"))
    if ended.status in (1, 77) and not Path(script["log"]).exists():
        outcome.figures["full disk"] = "not run: no mount"
        return
    _settle(outcome, disk.name, script, ended)
    outcome.faults += bool(unrecorded(Path(script["log"])))
    outcome.add(disk.name, _not_recovered(script, 3))
    outcome.add(disk.name, _last_is_missing(script))
    outcome.add(disk.name, check(script["copy"], [Path(script["log"])]))


def _last_is_missing(script: dict[str, Any]) -> list[str]:
    last = script["trials"] - 1
    missing = last in unrecorded(Path(script["log"]))
    return [f"I6: trial {last} was not recorded though the fault was over"] * missing


@scenario(
    "F06",
    "a limit of the size of files",
    plants=("bare-errors",),
    short={"limits": [128]},
    long={"limits": [32, 48, 64, 96, 128, 200]},  # below, what was promised cannot be logged
)
def small_files(seed: int, folder: Path, plant: str | None, *, limits: list[int]) -> Outcome:
    """Files may not grow over some kilobytes during three trials."""
    outcome = Outcome("F06", seed)
    with fork_server() as server:
        for limit in limits:
            script = _script(folder, f"limit{limit}", plant) | {
                "trials": 7, "before": {"2": "limit_files", "5": "lift_limits"}, "limit": limit,
            }  # fmt: skip
            _limited(outcome, server, script)
    return outcome


@scenario(
    "F07",
    "no descriptor left",
    plants=("bare-errors", "leak-descriptors"),
    short={"spare": [0, 2, 5]},
    long={"spare": list(range(12))},
)
def few_descriptors(seed: int, folder: Path, plant: str | None, *, spare: list[int]) -> Outcome:
    """Some few files can be opened during three trials, with and without the store open."""
    outcome = Outcome("F07", seed)
    with fork_server() as server:
        for number, limit in enumerate(spare):
            hook = "limit_descriptors_closed" if number % 2 else "limit_descriptors"
            script = _script(folder, f"spare{limit}", plant) | {
                "trials": 8, "before": {"2": hook, "5": "lift_limits", "7": "count_descriptors"},
                "limit": limit,
            }  # fmt: skip
            _limited(outcome, server, script)
    return outcome


@scenario(
    "F08",
    "no memory for a result",
    plants=("encoding-is-unguarded",),
    short={"sizes": [200]},
    long={"sizes": [50, 100, 200, 500]},
)
def little_memory(seed: int, folder: Path, plant: str | None, *, sizes: list[int]) -> Outcome:
    """A result of some megabytes cannot be encoded; then a step runs out of memory itself."""
    outcome = Outcome("F08", seed)
    with fork_server() as server:
        for size in sizes:
            script = _script(folder, f"memory{size}", plant) | {
                "shape": "memory", "trials": 4, "before": {"1": "limit_memory", "3": "lift_limits"},
                "size": size * 1024 * 1024,
            }  # fmt: skip
            _limited(outcome, server, script)
    return outcome


def _limited(outcome: Outcome, server: ForkServer, script: dict[str, Any]) -> None:
    name, log = Path(script["store"]).name, Path(script["log"])
    _settle(outcome, name, script, server.run(script))
    outcome.faults += any(
        not event.get("recorded", True) or "error" in event for event in events(log)
    )
    outcome.add(name, _last_is_missing(script))
    outcome.add(name, check(script["store"], [log]))


def _at_every_point(
    outcome: Outcome,
    folder: Path,
    plant: str | None,
    error: str,
    calls: tuple[str, ...],
    each: int | None,
) -> Outcome:
    chance = random.Random(outcome.seed)
    with fork_server() as server:
        try:
            every = tracing.points(server, _script(folder, "survey", plant), folder / "trace")
        except tracing.RefusedError as refused:
            outcome.not_run = str(refused)
            return outcome
        every = [point for point in every if point.call in calls]
        outcome.figures["points"] = len(every)
        for point in tracing.sample(every, each, chance):
            ways = ["", "+"] if each is None else [chance.choice(["", "+"])]
            if point.call == "openat":  # ever after, it would keep Python from importing
                ways = [""]
            for again in ways:
                _inject(outcome, server, folder, plant, (error, point, again))
    return outcome


def _inject(
    outcome: Outcome,
    server: ForkServer,
    folder: Path,
    plant: str | None,
    fault: tuple[str, tracing.Point, str],
) -> None:
    error, point, again = fault
    name = f"{error}-{point.call}-{point.n}{again}"
    script, output = _script(folder, name, plant), folder / f"{name}.trace"
    options = point.inject(f"error={error}", again)
    _, ended = tracing.traced(server, script, options, output)
    after = {**SCRIPT, "store": script["store"], "log": str(folder / f"{name}-after.log"),
             "worker": "after", "shape": "tiny", "trials": 1}  # fmt: skip
    _settle(outcome, name, script, ended, *[_MUTE] * (point.call == "write" and bool(again)))
    outcome.faults += "(INJECTED)" in output.read_text(errors="replace")
    if not again:
        outcome.add(name, _not_recovered(script, 1))
    outcome.add(name, server.run(after).violations())
    outcome.add(name, _not_recovered(after, 0))
    outcome.add(name, check(script["store"], [Path(script["log"]), Path(after["log"])]))


def _not_recovered(script: dict[str, Any], most: int) -> list[str]:
    missing = unrecorded(Path(script["log"]))
    return [f"I6: trials {missing} were not recorded after the fault"] * (len(missing) > most)


def _settle(
    outcome: Outcome, name: str, script: dict[str, Any], ended: Ended, *expected: int
) -> None:
    outcome.rounds += 1
    outcome.add(name, ended.violations(*expected))
    logged = events(Path(script["log"]))
    outcome.count("acked", sum(bool(event.get("recorded")) for event in logged))
    outcome.count("warned", sum(event.get("recorded") is False for event in logged))
    outcome.count("refused", sum("error" in event for event in logged))


def _script(folder: Path, name: str, plant: str | None) -> dict[str, Any]:
    return {**SCRIPT, "store": str(folder / name), "log": str(folder / f"{name}.log"),
            "plant": plant}  # fmt: skip
