"""Measure, print one table and write it to ``README.rst``."""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import pstats
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    batches,
    code,
    crowd,
    dashboard,
    explain,
    history,
    metrics,
    peers,
    redis_server,
    report,
    reuse,
    size,
    startup,
    trials,
)
from benchmarks.measure import Row, workplace
from benchmarks.records import check_switches

SUBJECTS: dict[str, Callable[[str], list[Row]]] = {
    "trials": trials.measure,
    "startup": startup.measure,
    "code": code.measure,
    "metrics": metrics.measure,
    "history": history.measure,
    "crowd": crowd.measure,
    "batches": batches.measure,
    "reuse": reuse.measure,
    "explain": explain.measure,
    "size": size.measure,
    "redis": redis_server.measure,
    "dashboard": dashboard.measure,
}
_MODULES = (
    trials,
    startup,
    code,
    metrics,
    history,
    crowd,
    batches,
    reuse,
    explain,
    size,
    redis_server,
    dashboard,
)
PROFILES = {module.__name__.rpartition(".")[2]: module.profiled for module in _MODULES}


def main(argv: Sequence[str] | None = None) -> int:
    """Return 1 when something could not be measured; a missed aim is no error.

    Raises
    ------
    RecordError
        An option is set; figures of a reduced run are none.
    """
    options = _parser().parse_args(argv)
    check_switches()
    if options.profile:
        _profile(options.profile)
        return 0
    chosen = options.only or list(SUBJECTS)
    rows, failures = _measured(chosen)
    if options.peers:
        with workplace() as folder:
            found, absent = peers.measure(folder, options.peer)
        rows, failures = rows + found, failures + absent
    print(report.text(rows), *failures, report.versions(), sep="\n")
    if options.write:
        report.write(rows, failures)
    return int(any(failure.startswith("failed") for failure in failures))


def _measured(names: Sequence[str]) -> tuple[list[Row], list[str]]:
    rows, failures = [], []
    for name in names:
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        try:
            with workplace() as folder:
                rows += SUBJECTS[name](folder)
        except Exception as error:  # the other subjects are measured all the same
            failures.append(f"failed: {name}: {error}")
    return rows, failures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    subjects = {"action": "append", "metavar": "NAME"}
    parser.add_argument("--only", choices=SUBJECTS, **subjects, help=", ".join(SUBJECTS))
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="measure others too"
    )
    parser.add_argument("--peer", choices=peers.PEERS, **subjects, help="only this peer")
    parser.add_argument("--write", action="store_true", help="write the table to README.rst")
    parser.add_argument("--profile", choices=PROFILES, help="show where a subject spends its time")
    return parser


def _profile(name: str) -> None:
    profile = cProfile.Profile()
    with workplace() as folder, contextlib.chdir(folder):
        Path("profile").mkdir()
        profile.runcall(PROFILES[name], folder)
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    raise SystemExit(main())
