"""What recording costs: each figure is a ratio to the same work without recording.

Run it by ``make bench``.  Recorded and bare computations alternate in one process, so that a
busy machine disturbs both alike; the figures are medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import dask

from daskperiment import Experiment


def prepare(a: int, b: int) -> int:
    return a + b


def train(data: int) -> int:
    return data * 2


def score(model: int) -> int:
    return model - 1


def bare() -> Any:
    d = dask.delayed(prepare, pure=False)(dask.delayed(1), dask.delayed(2))
    return dask.delayed(score, pure=False)(dask.delayed(train, pure=False)(d))


def recorded(ex: Experiment) -> Any:
    a, b = ex.parameter("a", default=1), ex.parameter("b", default=2)
    return ex.result(score)(ex(train)(ex(prepare)(a, b)))


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    value = function()
    seconds = time.perf_counter() - start
    assert value in (5, (5,)), value
    return seconds


def alternate(functions: dict[str, Callable[[], Any]], times: int) -> dict[str, float]:
    """Median seconds of each function, called in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(times):
        for name, function in functions.items():
            seconds[name].append(timed(function))
    return {name: statistics.median(values) for name, values in seconds.items()}


def around(
    trial: int, ex: Experiment, s: Any, functions: dict[str, Callable[[], Any]]
) -> dict[str, float]:
    """Median seconds of each function over the sixty trials that follow this one."""
    while ex.trial_id < trial:
        s.compute(scheduler="synchronous")
        functions["bare"]()
    for function in functions.values():
        function()
    return alternate(functions, 29)


def overhead(scheduler: str, place: str) -> None:
    ex = Experiment("bench", backend=place)
    s, plain = recorded(ex), bare()
    functions = {
        "bare": lambda: dask.compute(plain, scheduler=scheduler),
        "s.compute()": lambda: s.compute(scheduler=scheduler),
        "dask.compute(s)": lambda: dask.compute(s, scheduler=scheduler),
    }
    first = around(10, ex, s, functions)
    last = around(2000, ex, s, functions)
    for name in ("s.compute()", "dask.compute(s)"):
        print(
            f"{scheduler:12} {name:16} over bare dask.compute: "
            f"{first[name] / first['bare']:.2f} at trial 10, "
            f"{last[name] / last['bare']:.2f} at trial 2,000 "
            f"({last[name] * 1e6:.0f} us and {last['bare'] * 1e6:.0f} us)",
            flush=True,
        )


_IMPORT = "from daskperiment import Experiment"


def import_time() -> None:
    # Compiled files are kept, as they are for an installed package.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def start(code: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=variables)
        return time.perf_counter() - begun

    for code in ("import dask.delayed", _IMPORT):
        start(code)
    ours, theirs, nothing = ([], [], [])  # type: ignore[var-annotated]
    for _ in range(11):
        nothing.append(start("pass"))
        theirs.append(start("import dask.delayed"))
        ours.append(start(_IMPORT))
    base = statistics.median(nothing)
    ratio = (statistics.median(ours) - base) / (statistics.median(theirs) - base)
    print(f"{_IMPORT} over import dask.delayed: {ratio:.2f}")


def main() -> None:
    os.environ["DASKPERIMENT_LOG_LEVEL"] = "WARNING"  # no lines on the screen
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for scheduler in ("synchronous", "threads"):
            overhead(scheduler, f"{folder}/{scheduler}")
        os.chdir("/")
    import_time()


if __name__ == "__main__":
    main()
