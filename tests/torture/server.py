"""The fork server: ``python -m tests.torture.server`` reads requests and forks workers."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from typing import Any

from tests.torture import programs


def serve() -> None:
    """Answer requests until the input ends, and end the workers that nobody has waited for."""
    programs.warm_up()
    gc.freeze()  # no worker looks for garbage in what all have in common, least of all as it ends
    workers: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer = {"pid": start(request["start"], request["folder"])}
            workers.add(answer["pid"])
        elif "wait" in request:
            answer = wait(request["wait"], request["timeout"])
            workers.discard(request["wait"])
        else:
            answer = {"ended": end(workers)}
        print(json.dumps(answer), flush=True)
    end(workers)


def end(workers: set[int]) -> int:
    """Kill workers; how many there were."""
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    count = len(workers)
    workers.clear()
    return count


def start(argument: dict[str, Any], folder: str) -> int:
    """Fork a worker in a folder; with ``gate`` in its argument it waits for SIGUSR1 first."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        if argument.pop("gate", False):
            signal.sigwait([signal.SIGUSR1])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        sys.exit(programs.run(argument))
    return pid


def wait(pid: int, timeout: float) -> dict[str, Any]:
    """Wait for a worker, and kill it when that takes too long."""
    deadline = time.monotonic() + timeout
    hung = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return {"status": os.waitstatus_to_exitcode(status), "hung": hung}
        if time.monotonic() > deadline and not hung:
            hung = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


if __name__ == "__main__":
    serve()
