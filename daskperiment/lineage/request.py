"""What a process is asked for that runs a recorded trial again, and where it answers."""

from __future__ import annotations

from typing import Any, NamedTuple

from daskperiment.typing import Document

REQUEST, ANSWER, STORE = "request.pickle", "answer.json", "store"
"""Files in the folder that both have."""


class Request(NamedTuple):
    """What is to be run again.

    Parameters
    ----------
    experiment, uid : str
        The experiment, and the trial.
    seed : int
        Its seed.
    parameters : dict
        Values by name.
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
    """

    experiment: str
    uid: str
    seed: int
    parameters: dict[str, Any]
    about: Document
    code: Document
    texts: dict[str, str]
    graph: bytes
    threads: dict[str, Any]
