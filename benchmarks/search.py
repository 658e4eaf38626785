"""How good searches are, and what a suggestion costs: print tables, write them to ``README.rst``.

Every sampler minimises each function with as many evaluations, seed by seed: what remains to the
minimum is its regret.  Those of other tools are asked in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna

from benchmarks import report
from benchmarks.dashboard import mongo_server
from benchmarks.functions import FUNCTIONS, HARTMANN6, Function
from benchmarks.measure import BUILD, Row, duration, surroundings
from benchmarks.peers import AbsentError, Peer, interpreter
from benchmarks.redis_server import AbsentError as ServerAbsentError
from benchmarks.redis_server import server
from daskperiment import Experiment
from daskperiment.errors import SamplerError
from daskperiment.records import TrialState
from daskperiment.search.loop import Loop
from daskperiment.search.samplers import sampler_of
from daskperiment.search.trials import SearchTrial, SearchTrials

SAMPLERS = ("random", "quasi-random", "tpe", "cma-es", "gp", "forest", "extra-trees")
_SKOPT = ["scikit-optimize==0.10.2", "scikit-learn==1.9.1", "numpy==2.4.6", "scipy==1.17.1"]
_OPTUNA = ["optuna==5.0.0", "scipy==1.17.1", "torch==2.13.0"]
PEERS = {
    "skopt gp": Peer("with_search.py", "", _SKOPT, environment="skopt"),
    "skopt forest": Peer("with_search.py", "", _SKOPT, environment="skopt"),
    "skopt extra-trees": Peer("with_search.py", "", _SKOPT, environment="skopt"),
    "optuna tpe": Peer("with_search.py", "", _OPTUNA, environment="optuna-search"),
    "optuna gp": Peer("with_search.py", "", _OPTUNA, environment="optuna-search"),
}
PAIRS = (
    ("gp", "skopt gp"),
    ("gp", "optuna gp"),
    ("forest", "skopt forest"),
    ("forest", "skopt extra-trees"),
    ("extra-trees", "skopt extra-trees"),
)
"""Ours, and the peer whose regrets it is tested against."""

EARLIER = {
    ("skopt gp", "branin"): (3, 3.87e-4, 0.180),
    ("skopt gp", "hartmann6"): (3, 8.66e-4, 0.209),
    ("skopt gp", "rosenbrock5"): (3, 1.35, 0.250),
    ("skopt extra-trees", "branin"): (3, 0.18, 0.160),
    ("skopt extra-trees", "hartmann6"): (3, 0.2, 0.209),
    ("skopt extra-trees", "rosenbrock5"): (3, 59.8, 0.219),
    ("optuna tpe", "branin"): (5, 0.0217, 0.000697),
    ("optuna tpe", "hartmann6"): (5, 0.17, 0.00125),
    ("optuna tpe", "rosenbrock5"): (5, 8.58, 0.00118),
    ("optuna gp", "branin"): (5, 7.99e-6, 0.047),
    ("optuna gp", "hartmann6"): (5, 1.15e-4, 0.0517),
    ("optuna gp", "rosenbrock5"): (5, 2.03, 0.0832),
}
"""Seeds, median regret and seconds per evaluation of 2026-11, for a peer that does not install."""

_SMALLEST = 1e-12  # regrets below it are of rounding
_BEGIN, _END = ".. the tables of searches begin", ".. the tables of searches end"
Suggest = Callable[[float | None], tuple[Sequence[float], float]]
"""Takes the loss of the last point, gives the next one and the seconds of CPU that took."""


@dataclass(frozen=True)
class Run:
    """One search: what remained to the minimum, and the CPU seconds that each suggestion took."""

    regret: float
    seconds: float


# -- quality --------------------------------------------------------------------------------


def run(function: Function, suggest: Suggest) -> Run:
    """Minimise the function by suggestions."""
    names, best, loss, spent = function.space.names, float("inf"), None, 0.0
    for _ in range(function.evaluations):
        point, seconds = suggest(loss)
        loss = function.of(dict(zip(names, point, strict=True)))
        best, spent = min(best, loss), spent + seconds
    return Run(best - function.minimum, spent / function.evaluations)


def ours(name: str, function: Function, seed: int) -> Suggest:
    """Suggestions of a sampler of this package."""
    sampler = sampler_of(name).begun(function.space, seed, 1)  # type: ignore[attr-defined]
    trials = SearchTrials()

    def suggest(loss: float | None) -> tuple[Sequence[float], float]:
        start = time.process_time()
        place = len(trials)
        if loss is not None:
            last = trials.running[0]
            trials.end(SearchTrial(place - 1, last.parameters, TrialState.COMPLETE, (loss,)))
        found = sampler.sample(function.space, trials, np.random.default_rng([seed, place]))
        trials.begin(SearchTrial(place, found))
        return list(found.values()), time.process_time() - start

    return suggest


@contextmanager
def theirs(name: str) -> Iterator[Callable[[Function, int], Suggest]]:
    """Suggestions of another tool, from a process in its environment."""
    peer = PEERS[name]
    script = Path(__file__).parent / "peers" / peer.script
    variables = {**surroundings(), "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    command = [interpreter(peer), str(script), name]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=variables, text=True, **pipes) as process:

        def answer(order: Mapping[str, Any]) -> tuple[Sequence[float], float]:
            assert process.stdin and process.stdout
            print(json.dumps(order), file=process.stdin, flush=True)
            point, seconds = json.loads(process.stdout.readline())
            return point, seconds

        def begun(function: Function, seed: int) -> Suggest:
            ranges = [function.space.domain(each) for each in function.space.names]
            first = {"bounds": [(one["low"], one["high"]) for one in ranges], "seed": seed}
            return lambda loss: answer(first if loss is None else {"loss": loss})

        try:
            yield begun
        finally:
            process.kill()


class Kept:
    """Runs of a peer that were made before; they depend on nothing here but the functions."""

    def __init__(self, name: str) -> None:
        folder = BUILD / "search"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{name.replace(' ', '-')}.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self._known = {tuple(key): Run(*values) for key, values in map(json.loads, lines)}
        self._wanted = PEERS[name].requirements

    def run(self, function: Function, seed: int, make: Callable[[], Run]) -> Run:
        """That of this seed, made where it is not known."""
        key = (function.name, function.evaluations, seed, " ".join(self._wanted))
        if key not in self._known:
            found = self._known[key] = make()
            with self._path.open("a") as file:
                print(json.dumps([key, [found.regret, found.seconds]]), file=file)
        return self._known[key]


Runs = dict[tuple[str, str], list[Run]]
"""Runs by sampler and function, one for each seed."""


def our_runs(names: Sequence[str], seeds: int) -> Runs:
    """Those of our samplers, without one that is not there."""
    found: Runs = {}
    for name in names:
        try:
            sampler_of(name)
        except SamplerError as error:
            said(f"{name}: {error}")
            continue
        said(name)
        for function in FUNCTIONS:
            made = [run(function, ours(name, function, seed)) for seed in range(seeds)]
            found[name, function.name] = made
    return found


def peer_runs(names: Sequence[str], seeds: int) -> Runs:
    """Those of other tools, without one that does not install."""
    found: Runs = {}
    for name in names:
        said(name)
        try:
            with theirs(name) as begun:
                kept = Kept(name)
                for function in FUNCTIONS:
                    found[name, function.name] = [
                        kept.run(function, seed, lambda f=function, s=seed: run(f, begun(f, s)))  # type: ignore[misc]
                        for seed in range(seeds)
                    ]
        except AbsentError as error:
            said(f"{name}: not installed: {error}")
    return found


def said(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


_QUALITY = ("function", "sampler", "seeds", "median regret", "quartiles",
            "CPU time per evaluation")  # fmt: skip


def quality(runs: Runs, peers: bool) -> list[tuple[str, ...]]:
    """Lines of the table of regrets."""
    lines: list[tuple[str, ...]] = [_QUALITY]
    for function in FUNCTIONS:
        title = f"{function.name}, {function.evaluations} evaluations"
        for name in (*SAMPLERS, *PEERS):
            made = runs.get((name, function.name))
            earlier = EARLIER.get((name, function.name)) if peers else None
            if made:
                lines.append((title, name, *_figures(made)))
            elif earlier:
                seeds, regret, seconds = earlier
                lines.append((title, f"{name}, measured before", str(seeds), f"{regret:.2g}", "",
                              duration(seconds)))  # fmt: skip
    return lines


def _figures(runs: Sequence[Run]) -> tuple[str, str, str, str]:
    regrets = [run.regret for run in runs]
    low, high = np.quantile(regrets, [0.25, 0.75])
    return (
        str(len(runs)),
        f"{statistics.median(regrets):.2g}",
        f"{low:.2g} - {high:.2g}",
        duration(statistics.median(run.seconds for run in runs)),
    )


_TESTS = ("function", "sampler", "peer", "seeds", "better in", "p that it is not better",
          "p that it is not worse")  # fmt: skip


def tests(runs: Runs) -> list[tuple[str, ...]]:
    """Lines of the table of paired tests: Wilcoxon's signed ranks of the logarithms of regrets."""
    from scipy.stats import wilcoxon

    lines: list[tuple[str, ...]] = [_TESTS]
    for function in FUNCTIONS:
        for mine, peer in PAIRS:
            pair = [runs.get((name, function.name), []) for name in (mine, peer)]
            if not all(pair):
                continue
            pair = [one[: min(map(len, pair))] for one in pair]  # of the same seeds
            ours, theirs = (np.log10([max(run.regret, _SMALLEST) for run in one]) for one in pair)
            p = [wilcoxon(ours, theirs, alternative=kind).pvalue for kind in ("less", "greater")]
            lines.append((function.name, mine, peer, str(len(ours)), str(int(sum(ours < theirs))),
                          *(f"{each:.2g}" for each in p)))  # fmt: skip
    return lines


# -- what a suggestion costs ------------------------------------------------------------------

_AIM = 1.3
_PLACES = (10, 500)
_TURNS = 40
_WRAPPED = {"tpe": optuna.samplers.TPESampler, "cma-es": optuna.samplers.CmaEsSampler}


def overheads(repeats: int) -> list[Row]:
    """Suggesting and telling, beside Optuna by hand: of samplers alone, and in whole searches."""
    rows = [_suggestion(name, at, repeats) for name in _WRAPPED for at in _PLACES]
    with tempfile.TemporaryDirectory(prefix="daskperiment-") as folder:
        rows += _searches("memory", lambda number: "memory://", repeats)
        rows += _searches("local", lambda number: f"{folder}/{number}", repeats)
        for where, serve in (("Redis", server), ("MongoDB", mongo_server)):
            try:
                with serve(folder) as uri:
                    rows += _searches(where, lambda number, uri=uri: f"{uri}/{number}", repeats)  # type: ignore[misc]
            except ServerAbsentError as error:
                rows.append(Row(f"searches on {where}", str(error), "", []))
    return rows


def _suggestion(name: str, at: int, repeats: int) -> Row:
    """From this trial on, the same ten suggestions by us and by hand, in turns: time of the CPU."""
    ours_s, theirs_s = list[float](), list[float]()
    for seed in range(repeats):
        mine, bare = _ours(name, seed), _by_hand(name, seed)
        for _ in range(at):
            assert mine() == bare()
        for turn in range(10):
            pair = [(mine, ours_s), (bare, theirs_s)]
            for function, seconds in pair[:: 1 if turn % 2 else -1]:
                start = time.thread_time()  # which other processes do not add to
                function()
                seconds.append(time.thread_time() - start)
    ratios = [a / b for a, b in zip(ours_s, theirs_s, strict=True)]
    took, beside = (duration(statistics.median(seconds)) for seconds in (ours_s, theirs_s))
    return Row(f"suggestion of {name}, from trial {at}", took, f"study.ask, tell: {beside}", ratios,
               _AIM)  # fmt: skip


def _searches(where: str, place: Callable[[int], str], repeats: int) -> list[Row]:
    """What the process of a search does between its trials, beside Optuna by hand: wall time."""
    taken: dict[int, list[float]] = {at: [] for at in _PLACES}
    bare: dict[int, list[float]] = {at: [] for at in _PLACES}
    # Means, as some places wait for a write or a look that serves several.
    for seed in range(repeats):
        spent: dict[int, float] = defaultdict(float)
        theirs: dict[int, float] = {}
        with _watched(spent, theirs, _by_hand("tpe", seed)):
            _searched(place(seed), seed)
        for at in _PLACES:
            taken[at].append(statistics.mean(spent[n] for n in range(at, at + _TURNS, 2)))
            bare[at].append(statistics.mean(theirs[n] for n in range(at + 1, at + _TURNS, 2)))
    rows = []
    for at in _PLACES:
        ratios = [a / b for a, b in zip(taken[at], bare[at], strict=True)]
        took, beside = (duration(statistics.median(each[at])) for each in (taken, bare))
        rows.append(Row(f"ex.search by tpe, {where}, between trials, from trial {at}", took,
                        f"study.ask, tell: {beside}", ratios, _AIM))  # fmt: skip
    return rows


def _timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@contextmanager
def _watched(
    spent: dict[int, float], theirs: dict[int, float], by_hand: Callable[[], object]
) -> Iterator[None]:
    """Seconds that a loop spends on its even places: suggesting one, and hearing how it has ended.

    By hand the same is done at the odd places, in the same process and after a trial, too: what
    runs again and again without one is faster, as nothing else is in the caches.
    """
    take, tell = Loop.take, Loop.tell

    def timed_take(loop: Loop) -> Any:
        place = len(spent)
        if place % 2:
            theirs[place] = _timed(by_hand)
        start = time.perf_counter()
        suggestion = take(loop)
        if suggestion is not None:
            spent[suggestion.place] += time.perf_counter() - start
        if place % 2 == 0:
            by_hand()
        return suggestion

    def timed_tell(loop: Loop, place: int, *rest: Any) -> None:
        start = time.perf_counter()
        tell(loop, place, *rest)
        spent[place] += time.perf_counter() - start

    with patch.object(Loop, "take", timed_take), patch.object(Loop, "tell", timed_tell):
        yield


def _searched(place: str, seed: int) -> None:
    def loss(**point: float) -> float:
        return HARTMANN6.of(point)

    ex = Experiment("searched", backend=place)
    ex.search(loss, HARTMANN6.space, _PLACES[-1] + _TURNS, sampler="tpe", seed=seed,
              max_workers=1, progress=False)  # fmt: skip


def _ours(name: str, seed: int) -> Callable[[], list[float]]:
    sampler = sampler_of(name).begun(HARTMANN6.space, seed, 1)  # type: ignore[attr-defined]
    trials, rng = SearchTrials(), np.random.default_rng(0)

    def step() -> list[float]:
        place = len(trials)
        found = sampler.sample(HARTMANN6.space, trials, rng)
        trials.begin(SearchTrial(place, found))
        loss = HARTMANN6.of(found)
        trials.end(SearchTrial(place, found, TrialState.COMPLETE, (loss,)))
        return list(found.values())

    return step


def _by_hand(name: str, seed: int) -> Callable[[], list[float]]:
    study = optuna.create_study(sampler=_WRAPPED[name](seed=seed))

    def step() -> list[float]:
        trial = study.ask()
        found = {f"x{i}": trial.suggest_float(f"x{i}", 0, 1) for i in range(6)}
        study.tell(trial, HARTMANN6.of(found))
        return list(found.values())

    return step


# -- the page ---------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("daskperiment").setLevel(logging.WARNING)
    runs = our_runs(options.only or SAMPLERS, options.seeds)
    if options.peers:
        seeds = options.peer_seeds or options.seeds
        runs |= peer_runs(options.peer or list(PEERS), seeds)
    said("overheads")
    rows = overheads(max(options.seeds // 5, 3))
    tables = [quality(runs, options.peers), tests(runs), report.lines(rows)]
    tables = [table for table in tables if len(table) > 1]
    print(*map(report.aligned, tables), versions(), sep="\n\n")
    if options.write:
        report.put("\n\n".join([*map(report.listed, tables), versions()]), _BEGIN, _END)
    return 0


def versions() -> str:
    names = ("numpy", "scipy", "scikit-learn", "optuna", "cmaes")
    return ", ".join(f"{name} {version(name)}" for name in names) + f"; {report.machine()}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.search", description=__doc__)
    parser.add_argument("--seeds", type=int, default=30, help="how many searches each; default 30")
    several: dict[str, Any] = {"action": "append", "metavar": "NAME"}
    parser.add_argument("--only", choices=SAMPLERS, **several, help=", ".join(SAMPLERS))
    parser.add_argument("--peer", choices=PEERS, **several, help=", ".join(PEERS))
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="measure others too"
    )
    parser.add_argument(
        "--peer-seeds", type=int, metavar="SEEDS", help="how many of others; default as many"
    )
    parser.add_argument("--write", action="store_true", help="write the tables to README.rst")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
