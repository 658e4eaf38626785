"""The same work by other tools, each in an environment of its own under ``build/peers``."""

from __future__ import annotations

import functools
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import crowd, dashboard, startup
from benchmarks.measure import BUILD, ROOT, Row, duration, fresh, in_turns, surroundings
from benchmarks.peers import references

_SCRIPTS = Path(__file__).parent
_TIMES, _NUMBER, _LIMIT = 3, 120, 150
_LISTS = (1_000, 100_000)


@dataclass(frozen=True)
class Peer:
    """A tool that is measured.

    Parameters
    ----------
    script, variant : str
        The script of its work, and what it is told.
    requirements, alone : sequence of str
        What pip installs, and what it installs without its dependencies.
    records : str
        What it records of a trial, and what that survives.
    python : str
        Version of Python that it needs, empty for ours.
    number, points : int
        Trials and metric points of one measurement, fewer where they are slow.
    lists : sequence of int
        Numbers of trials of which a page is listed, beside the dashboard.
    query : str
        What lists them.
    batch : int
        Trials on two threads, 0 where it runs none so.
    """

    script: str
    records: str
    requirements: Sequence[str] = ()
    alone: Sequence[str] = ()
    variant: str = ""
    python: str = ""
    number: int = _NUMBER
    points: int = 10_000
    environment: str = field(default="")
    lists: Sequence[int] = ()
    query: str = ""
    batch: int = 0


PEERS = {
    "this": Peer(
        "with_this.py",
        "step records with digests, code, sources, environment, git, seeds, output, purity; "
        "survives the death of the process",
        batch=1000,
    ),
    "original 0.5.0": Peer(
        "with_original.py",
        "code and environment a trial in files, hashes for purity; no fsync; metrics are in "
        "memory until the trial ends; on dask 2022.12.1",
        [
            "pandas==1.5.3", "numpy==1.24.4", "dask==2022.12.1", "setuptools==65.5.0",
            "py-cpuinfo", "GitPython", "pyparsing",
        ],
        ["daskperiment==0.5.0"],
        python="3.11",
        environment="original",
    ),
    "Sacred, files": Peer(
        "with_sacred.py",
        "configuration, host, dependencies, sources, output; no fsync; metrics wait for a "
        "heartbeat",
        [
            "sacred==0.8.7", "setuptools==65.5.0", "numpy==2.4.6", "pandas==3.1.1",
        ],
        environment="sacred",
    ),
    "MLflow, SQLite": Peer(
        "with_mlflow.py",
        "parameters and metrics, by its client; no code, no environment; every write is synced",
        ["mlflow==3.17.2", "setuptools==65.5.0"],
        number=60,
        points=1000,
        environment="mlflow",
        lists=_LISTS,
        query="client.search_runs(max_results=50), filtered and ordered by a metric",
    ),
    "Optuna, SQLite": Peer(
        "with_optuna.py",
        "parameters and value; no code, no environment; every write is synced",
        ["optuna==5.0.0", "pandas==3.1.1", "numpy==2.4.6", "SQLAlchemy==2.1.9"],
        variant="sqlite",
        number=60,
        points=1000,
        environment="optuna",
        lists=_LISTS,
        query="study.get_trials(deepcopy=False), the cheapest way, chosen and sorted in Python",
        batch=100,
    ),
    "Optuna, journal": Peer(
        "with_optuna.py",
        "parameters and value; no code, no environment; every write is synced",
        ["optuna==5.0.0", "pandas==3.1.1", "numpy==2.4.6", "SQLAlchemy==2.1.9"],
        variant="journal",
        points=2000,
        environment="optuna",
        batch=1000,
    ),
    "smallab": Peer(
        "with_smallab.py",
        "specification, result and log in files; no fsync; points are a list in the result",
        ["smallab==2.3.1", "setuptools==65.5.0", "numpy==2.4.6", "pandas==3.1.1"],
        number=60,
        environment="smallab",
    ),
}  # fmt: skip


class AbsentError(Exception):
    """A peer does not install."""


def measure(folder: str, only: Sequence[str] | None = None) -> tuple[list[Row], list[str]]:
    """Rows of every peer that installs, sorted by figure, and a line for each that does not."""
    found: list[list[Row]] = []
    others, lines = list[Row](), list[str]()
    shown = functools.cache(lambda trials: _shown(folder, trials))
    for name in only or PEERS:
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        try:
            peer = _Measured(name, PEERS[name], Path(folder))
            found.append(peer.rows())
            others += [peer.listed(number, shown(number)) for number in PEERS[name].lists]
            if PEERS[name].batch:
                others.append(peer.batch(PEERS[name].batch))
        except AbsentError as error:
            lines.append(f"{name}: not installed: {error}")
        except Exception as error:  # one peer that fails is said and passed over
            lines.append(f"{name}: {type(error).__name__}: {str(error)[-300:]}")
    return [*(row for figure in zip(*found, strict=True) for row in figure), *others], lines


def _shown(folder: str, trials: int) -> list[float]:
    """Seconds of our page of so many trials."""
    uri = f"{folder}/shown{trials}"
    fresh(dashboard.filled, uri, trials, folder=folder)
    return list(fresh(dashboard.listed, uri, trials, folder=folder))


def interpreter(peer: Peer) -> str:
    """Python of the peer's environment, which is made where it is not there or is another."""
    if not peer.environment:
        return sys.executable
    place = BUILD / "peers" / peer.environment
    wanted = " ".join([*peer.requirements, *peer.alone])
    mark, python = place / "installed", str(place / "bin" / "python")
    if mark.is_file() and mark.read_text() == wanted:
        return python
    shutil.rmtree(place, ignore_errors=True)
    _called([_base(peer), "-m", "venv", str(place)])
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    _called([*install, *peer.requirements])
    if peer.alone:
        _called([*install, "--no-deps", *peer.alone])
    mark.write_text(wanted)
    return python


def _base(peer: Peer) -> str:
    if not peer.python or sys.version.startswith(f"{peer.python}."):
        return sys.executable
    found = shutil.which(f"python{peer.python}")
    if found is None:
        raise AbsentError(f"it needs Python {peer.python}")
    return found


def _called(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise AbsentError(lines[-1] if lines else f"exit status {result.returncode}")


class _Measured:
    """One peer on one machine: each figure beside its reference, taken in the same minute."""

    def __init__(self, name: str, peer: Peer, folder: Path) -> None:
        self.name, self.peer = name, peer
        self.python = interpreter(peer)
        self.folder = folder / peer.script.removesuffix(".py") / (peer.variant or "only")

    def rows(self) -> list[Row]:
        return [self._first(), *self._trials(), self._points(), self._together()]

    def _begun(self, place: Path, *command: Any) -> subprocess.Popen[str]:
        place.mkdir(parents=True, exist_ok=True)
        variables = surroundings()
        variables["PYTHONPATH"] = "" if self.peer.environment else str(ROOT)
        variables["MLFLOW_DISABLE_TELEMETRY"] = (
            "true"  # nobody is told, nothing waits for a network
        )
        arguments = [self.python, str(_SCRIPTS / self.peer.script), json.dumps(command)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*arguments, self.peer.variant], cwd=place, env=variables, text=True, **pipes
        )

    def _ended(self, process: subprocess.Popen[str]) -> Any:
        try:
            out, messages = process.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        if process.returncode:
            raise RuntimeError(messages)
        return json.loads(out.rstrip().splitlines()[-1])

    def _answer(self, place: Path, *command: Any) -> Any:
        return self._ended(self._begun(place, *command))

    def _row(
        self, figure: str, took: str, beside: str, values: Sequence[float], **more: Any
    ) -> Row:
        return Row(f"{figure}: {self.name}", took, beside, values, **more)

    def _first(self) -> Row:
        place = self.folder / "bare"
        place.mkdir(parents=True)
        (place / "bare.py").write_text(startup.BARE)
        turns = iter(range(100))
        functions = {
            "ours": lambda: self._answer(self.folder / f"first{next(turns)}", "first"),
            "bare dask": lambda: startup.run(str(place), "bare.py"),
            "nothing": lambda: startup.run(str(place), "-c", "pass"),
        }
        in_turns(functions, 1)
        pairs = in_turns(functions, _TIMES)
        row = startup.net_row("first trial", pairs, "ours", "bare dask", None, "")
        return self._row("fresh process to first trial", row.figure, row.reference, row.values,
            note=f"{self.name} records {self.peer.records}")  # fmt: skip

    def _trials(self) -> list[Row]:
        number = self.peer.number
        found, graphs, selects = [], [], []
        for turn in range(_TIMES):
            graphs.append(fresh(references.graph, folder=str(self.folder)))
            selects.append(fresh(references.select, number, folder=str(self.folder)))
            found.append(self._answer(self.folder / f"trials{turn}", "trials", number))
            if found[-1]["stored"] != number:
                raise RuntimeError(f"{found[-1]['stored']} trials of {number} are stored")
        took = {name: [answer[name] for answer in found] for name in found[0]}
        return [
            self._ratio(f"trial at {number}", took["trial"], graphs, "bare dask graph"),
            self._ratio(f"history of {number}", took["history"], selects, "one SELECT"),
            self._row("bytes per trial", f"{number} trials", "", took["bytes"], unit="bytes"),
            self._row("files per trial", f"{number} trials", "", took["files"], unit="files"),
        ]

    def _ratio(
        self, figure: str, ours: Sequence[float], beside: Sequence[float], reference: str
    ) -> Row:
        values = [a / b for a, b in zip(ours, beside, strict=True)]
        text = f"{reference}: {duration(statistics.median(beside))}"
        return self._row(figure, duration(statistics.median(ours)), text, values)

    def _points(self) -> Row:
        number, ours, beside = self.peer.points, [], []
        for turn in range(_TIMES):
            beside.append(fresh(references.point, number, folder=str(self.folder)))
            ours.append(self._answer(self.folder / f"points{turn}", "points", number))
        return self._ratio(f"a metric point of {number:,}", ours, beside, "of a WAL batch")

    def listed(self, number: int, ours: Sequence[float]) -> Row:
        """A page of 50 of so many trials, beside the same of the dashboard."""
        found = self._answer(self.folder / f"listed{number}", "listed", number)
        if found["rows"] != 50:
            raise RuntimeError(f"the page has {found['rows']} rows")
        beside = statistics.median(ours)
        how = (
            "by its interface" if number <= 1000 else "one by its interface and copies of its rows"
        )
        return self._row(
            f"sorted, filtered 50 of {number:,}",
            f"{duration(statistics.median(found['pages']))}, the first {duration(found['first'])}",
            f"a reply of our dashboard: {duration(beside)}",
            [seconds / beside for seconds in found["pages"]],
            note=f"{self.peer.query}; {number:,} were made in {duration(found['made'])}, {how}",
        )

    def batch(self, number: int) -> Row:
        """Trials on two threads, beside the bare graph on two threads."""
        ours, beside = [], []
        for turn in range(_TIMES):
            beside.append(fresh(references.pool, number, folder=str(self.folder)))
            found = self._answer(self.folder / f"batch{turn}", "batch", number)
            if found["stored"] != number:
                raise RuntimeError(f"{found['stored']} trials of {number} are stored")
            ours.append(found["trial"])
        return self._ratio(f"one of {number:,} on 2 threads", ours, beside, "bare dask graph there")

    def _together(self) -> Row:
        floor, graphs = (
            crowd.together(kind, str(self.folder / kind)) for kind in ("floor", "dask")
        )
        place, gate = self.folder / "together", self.folder / "gate"
        gate.mkdir()
        self._answer(place, "first")
        workers = [
            self._begun(place, "worker", crowd.TRIALS, 1000 * n, str(gate))
            for n in range(crowd.PROCESSES)
        ]
        crowd.open_gate(workers, gate)
        answers = [self._ended(process) for process in workers]
        seconds = max(a["end"] for a in answers) - min(a["start"] for a in answers)
        errors = [error for answer in answers for error in answer["errors"]]
        stored = self._stored(place)
        figure = f"{duration(seconds)}, {stored} of {crowd.PROCESSES * crowd.TRIALS} stored"
        figure += f", {len(errors)} errors ({errors[0][:60]})" if errors else ""
        beside = f"SQLite by hand and dask: {duration(floor + graphs)}"
        return self._row("4 processes x 50 trials", figure, beside, [seconds / (floor + graphs)])

    def _stored(self, place: Path) -> str:
        try:
            return str(self._answer(place, "count") - 1)  # less the one that made the store
        except RuntimeError:
            return "an unreadable number"
