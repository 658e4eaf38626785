"""Workers under strace: which of their system calls write to a store, and faults at the n-th."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.torture.harness import WATCHDOG, Ended, ForkServer

WRITING = (
    "pwrite64", "write", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "link", "linkat",
    "mkdir", "openat",
)  # fmt: skip

_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)")


class RefusedError(Exception):
    """strace is absent, or may not trace here."""


class Point(NamedTuple):
    """The n-th call of a system call in the main thread of a worker; it writes to the store."""

    call: str
    n: int

    def inject(self, fault: str, again: str = "") -> list[str]:
        """Options that inject a fault here; with ``again="+"`` here and ever after."""
        return [
            "-e",
            f"trace={self.call}",
            "-e",
            f"inject={self.call}:{fault}:when={self.n}{again}",
        ]


def traced(
    server: ForkServer, argument: dict[str, Any], options: list[str], output: Path
) -> tuple[int, Ended]:
    """Run a forked worker under strace from its first line on; its pid and how it ended."""
    if shutil.which("strace") is None:
        raise RefusedError("there is no strace")
    pid = server.start({**argument, "gate": True})
    command = ["strace", "-f", "-o", str(output), *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr
        try:
            said = strace.stderr.readline()
            os.kill(pid, signal.SIGUSR1)
            ended = server.wait(pid)
            strace.communicate(timeout=WATCHDOG)
        finally:
            strace.kill()  # leaving the block waits for it, without end
    if "attached" not in said:
        raise RefusedError(said.strip())
    return pid, ended


def points(server: ForkServer, argument: dict[str, Any], output: Path) -> list[Point]:
    """Every point of a run that has no fault."""
    pid, _ = traced(server, argument, ["-y", "-e", f"trace={','.join(WRITING)}"], output)
    return list(_found(output, pid, str(argument["store"])))


def _found(output: Path, pid: int, store: str) -> Iterator[Point]:
    counts: Counter[str] = Counter()
    within = re.compile(re.escape(store) + '[/">]')  # and not the log beside it
    for line in output.read_text(errors="replace").splitlines():
        found = _LINE.match(line)
        if found and int(found["pid"]) == pid:
            call, rest = found["call"], found["rest"]
            counts[call] += 1
            if within.search(rest) and (call != "openat" or "O_CREAT" in rest):
                yield Point(call, counts[call])


def sample(every: list[Point], each: int | None, chance: random.Random) -> list[Point]:
    """Some points of each system call, or all of them; those of rare calls come first."""
    by_call: dict[str, list[Point]] = {}
    for point in every:
        by_call.setdefault(point.call, []).append(point)
    rare_first = sorted(by_call.values(), key=len)
    return [p for found in rare_first for p in chance.sample(found, min(each or 10**9, len(found)))]
