"""Scripts: ``python script.py a=1`` runs one trial of the result that the script builds.

A result that a script's own code builds waits.  When the last line of the script is done,
and before the interpreter shuts down, one trial of it runs with the values of the command
line; so it does earlier when the script reads the history.  As soon as the script runs a
trial by itself, nothing waits any more.
"""

from __future__ import annotations

from daskperiment.script.pending import begun, built, main, plan_path, reading, run_path
from daskperiment.script.target import Loaded, load_target

__all__ = [
    "Loaded", "begun", "built", "load_target", "main", "plan_path", "reading", "run_path",
]  # fmt: skip
