"""From the start of a process to the first stored trial, and what an import costs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Pairs, Row, duration, in_turns, surroundings
from benchmarks.records import RecordError
from daskperiment import Experiment

_STEPS = """
def prepare(a, b):
    return a + b

def train(data):
    return data * 2

def score(model):
    return model - 1
"""
BARE = f"""
import dask
{_STEPS}
d = dask.delayed
result = d(score)(d(train)(d(prepare)(d(1), d(2))))
assert dask.compute(result, scheduler="synchronous") == (5,)
"""
_OURS = f"""
from daskperiment import Experiment
{_STEPS}
ex = Experiment("first")
a, b = ex.parameter("a", default=1), ex.parameter("b", default=2)
s = ex.result(score)(ex(train)(ex(prepare)(a, b)))
assert s.compute(scheduler="synchronous") == 5
"""
_IMPORTS = ("import dask.delayed", "from daskperiment import Experiment", "import daskperiment")
_TIMES = 11


def measure(folder: str) -> list[Row]:
    rows = _imports(folder) + _memory(folder)
    with tempfile.TemporaryDirectory() as outside:
        rows.append(_first_trial(f"{outside}/plain", "no git repository"))
        _repository(f"{outside}/git")
        rows.append(_first_trial(f"{outside}/git", "in a git repository"))
    return rows


def run(folder: str, *arguments: str) -> None:
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, cwd=folder, env=surroundings(), stderr=subprocess.DEVNULL)


def _net(pairs: Pairs, name: str) -> list[float]:
    """Seconds less those of a process that does nothing."""
    nothing = statistics.median(pairs["nothing"])
    return [seconds - nothing for seconds in pairs[name]]


def net_row(
    subject: str, pairs: Pairs, ours: str, reference: str, aim: float | None, note: str
) -> Row:
    net = {name: _net(pairs, name) for name in (ours, reference)}
    took = {name: duration(statistics.median(seconds)) for name, seconds in net.items()}
    values = [a / b for a, b in zip(net[ours], net[reference], strict=True)]
    return Row(subject, took[ours], f"{reference}: {took[reference]}", values, aim, note=note)


_LESS = "less the start of an interpreter"


def _imports(folder: str) -> list[Row]:
    functions = {code: lambda code=code: run(folder, "-c", code) for code in _IMPORTS}
    functions["nothing"] = lambda: run(folder, "-c", "pass")
    in_turns(functions, 1)
    pairs = in_turns(functions, _TIMES)
    return [net_row(ours, pairs, ours, _IMPORTS[0], 1.2, _LESS) for ours in _IMPORTS[1:]]


def _first_trial(folder: str, where: str) -> Row:
    Path(folder).mkdir(exist_ok=True)
    scripts = {"bare dask": BARE, "recorded": _OURS, "nothing": "pass"}
    for name, text in scripts.items():
        _written(folder, name).write_text(text)
    _committed(folder)
    functions = {n: lambda n=n: _script(folder, n) for n in scripts}
    in_turns(functions, 1)
    _check(folder)
    pairs = in_turns(functions, _TIMES)
    subject = f"import to first stored trial, fresh process, {where}"
    return net_row(subject, pairs, "recorded", "bare dask", 1.3, f"{_LESS}; new store each time")


def _written(folder: str, name: str) -> Path:
    return Path(folder, f"{name.replace(' ', '_')}.py")


def _script(folder: str, name: str) -> None:
    # A store of its own for each run: its making is part of the first trial.
    with tempfile.TemporaryDirectory(dir=folder) as place:
        script = str(_written(folder, name))
        run(place, script)
        if name == "recorded":
            _stored(place)


def _stored(place: str) -> None:
    if not Path(place, "daskperiment_cache", "store.sqlite").is_file():
        raise RecordError("the script stored nothing")


def _check(folder: str) -> None:
    place = Path(folder, "checked")
    place.mkdir()
    run(str(place), str(_written(folder, "recorded")))
    trial = Experiment("first", backend=place / "daskperiment_cache").latest
    git = trial.environment.get("git")
    found = {
        "number": trial.number == 1,
        "state": trial.state == "COMPLETE",
        "values": (trial.parameters, trial.result) == ({"a": 1, "b": 2}, 5),
        "steps": len(trial.steps) == 3 and trial.steps["output"].notna().all(),
        "source": any("recorded" in name for name in trial.sources),
        "git": bool(git["repository"]) == Path(folder, ".git").exists(),
    }
    if not all(found.values()):
        raise RecordError(f"the first trial is not as it should be: {found}")


def _repository(folder: str) -> None:
    Path(folder).mkdir()
    _git(folder, "init", "-q")


def _committed(folder: str) -> None:
    if Path(folder, ".git").exists():
        _git(folder, "add", ".")
        author = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        _git(folder, *author, "commit", "-q", "-m", "Begin")


def _git(folder: str, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


# -- memory ---------------------------------------------------------------------------------


_RESIDENT = (
    "import sys; heavy = {'pandas', 'numpy'} & set(sys.modules); "
    "print(open('/proc/self/statm').read().split()[1], ','.join(heavy))"
)


def _memory(folder: str) -> list[Row]:
    """Memory after the imports, from a process that imports nothing else."""
    if not Path("/proc/self/statm").exists():
        return []
    sizes: dict[str, list[float]] = {code: [] for code in _IMPORTS}
    for _ in range(5):
        for code in _IMPORTS:
            sizes[code].append(_size(folder, code))
    reference = sizes[_IMPORTS[0]]
    return [
        Row(
            f"memory after {code}",
            _megabytes(sizes[code]),
            f"{_IMPORTS[0]}: {_megabytes(reference)}",
            [a / b for a, b in zip(sizes[code], reference, strict=True)],
            1.3,
            note="neither pandas nor NumPy is imported",
        )
        for code in _IMPORTS[1:]
    ]


def _size(folder: str, code: str) -> float:
    command = [sys.executable, "-c", f"{code}\n{_RESIDENT}"]
    pipes: Mapping[str, Any] = {"capture_output": True, "text": True, "check": True}
    answer = subprocess.run(command, cwd=folder, env=surroundings(), **pipes).stdout
    pages, heavy = answer.rstrip("\n").split(" ")
    if heavy:
        raise RecordError(f"{code} imports {heavy}")
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _megabytes(sizes: Sequence[float]) -> str:
    return f"{statistics.median(sizes):.1f} MB"


def profiled(folder: str) -> None:
    """The work that a profile shows; ``python -X importtime`` shows the imports."""
    from benchmarks import work

    work.recorded(Experiment("bench", backend=f"{folder}/profiled")).compute()
