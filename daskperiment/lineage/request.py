"""Requests: what a process is asked for that runs recorded code again, and where it answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle

from daskperiment.errors import RebuildError
from daskperiment.history import signatures
from daskperiment.history.forgetting import check_kept
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.tracking.environment import VARIABLES
from daskperiment.typing import Document

REQUEST, ANSWER, STORE, INPUTS = "request.pickle", "answer.json", "store", "inputs.pickle"
"""Files in the folder that both have."""
_ABOUT = ("place", "repeat", "repeats", "pruned_at")


class Request(NamedTuple):
    """What is to be run again.

    Parameters
    ----------
    experiment, uid : str
        The experiment, and the trial.
    seed : int
        Its seed.
    parameters : bytes
        Values by name, pickled: their classes are found when the code is there.
    about : dict
        Fields of its row that its steps can see.
    code : dict
        The capture of its code.
    texts : dict of str to str
        The stored texts, by their names in the capture.
    graph : bytes
        The recipe of its graph.
    threads : dict
        Threads in force, by library.
    variables : dict of str to str
        Environment variables that change results.
    task : str
        ``trial``, ``inputs`` (of a call, to be kept) or ``calls`` (of a step, with these).
    call : tuple of (str, int)
        Which call of which step.
    seeds : tuple of int
        Seeds of the calls.
    scheduler : str
        Where they run.
    directory, script : str
        The working directory, and where the script is to be taken to lie; empty for none but the
        folder of both.
    places : tuple of str
        Folders with modules of the user that the texts do not hold.
    """

    experiment: str
    uid: str
    seed: int
    parameters: bytes
    about: Document
    code: Document
    texts: dict[str, str]
    graph: bytes
    threads: dict[str, Any]
    variables: dict[str, str]
    task: str = "trial"
    call: tuple[str, int] = ("", 0)
    seeds: tuple[int, ...] = ()
    scheduler: str = "synchronous"
    directory: str = ""
    script: str = ""
    places: tuple[str, ...] = ()


def request_of(trials: Trials, row: Document, given: Mapping[str, Any]) -> Request:
    """The request to run a trial again.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    row : dict
        Its row.
    given : mapping
        Values of parameters that were not kept.

    Raises
    ------
    RebuildError, AlteredRecordError, PayloadError, ValueNotKeptError, BackendError
        Something of it is not there, was changed, or may not be run.
    """
    if not TrialState(row["state"]).ended:
        raise RebuildError("It is still running")
    check_kept(row, "code", "graph")
    snapshots, place = Snapshots(trials.backend), trials.place(row["uid"])
    code = snapshots.checked(row["code"]) if row.get("code") else {}
    if not code.get("with_text"):
        raise RebuildError(
            "Its sources were not kept: it was imported, or DASKPERIMENT_DISABLE_CODE was set"
        )
    if row.get("graph") is None:
        raise RebuildError(
            "Its graph was not kept: it holds what cannot be pickled, the trial is a block (with "
            "ex.trial()), or it was not trusted where it was copied from"
        )
    signatures.check(place, row)
    parameters = {
        name: given[name] if name in given else place.load(("parameters", name), kept)
        for name, kept in row["parameters"]
    }
    records = Steps(trials.backend, trials.name).read(row["uid"])
    variables = (snapshots.find(row.get("environment")) or {}).get("variables")
    return Request(
        trials.name, row["uid"], row["seed"], cloudpickle.dumps(parameters),
        {name: row[name] for name in _ABOUT if name in row},
        code, {name: snapshots.text(text) for name, text in code["sources"].items()},
        snapshots.content(row["graph"]), records[0].threads if records else {},
        dict(variables) if isinstance(variables, dict) else {},
    )  # fmt: skip


def ask(
    folder: Path, request: Request, python: str | Path = sys.executable,
    inherited: Mapping[str, str] | None = None,
) -> Document:  # fmt: skip
    """Let a process of its own do what is asked for in a folder, and return its answer.

    Parameters
    ----------
    folder : Path
        The folder.
    request : Request
        What is asked for.
    python : path, optional
        The interpreter; this one unless told.
    inherited : mapping of str to str, optional
        Its environment variables, but for those that were recorded; as here unless told.
    """
    (folder / REQUEST).write_bytes(cloudpickle.dumps(request))
    (folder / ANSWER).unlink(missing_ok=True)
    inherited = os.environ if inherited is None else inherited
    kept = {name: value for name, value in inherited.items() if name not in VARIABLES}
    done = subprocess.run(
        [python, "-m", "daskperiment.rerun", str(folder)],
        cwd=folder, env={**kept, **request.variables}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        answer: Document = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
    except OSError:
        last = done.stderr.strip().rpartition("\n")[2]
        return {"error": f"Its process ended with status {done.returncode}: {last}"}
    return answer
