"""Make the stored fixture of the present schema: ``python -m tests.backends.schemas.make``.

To be run once for each release that changes the schema.  Beside the store stands what it
holds, as the operations of the contract tell it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from daskperiment import Experiment, TrialState
from daskperiment.backends import Append, Insert, migration
from daskperiment.backends.local import LocalBackend

FOLDER = Path(__file__).parent
LARGEST = 100_000
_LOGS = ("steps", "metrics", "artifacts", "output")


def record(backend: LocalBackend) -> None:
    """Record trials of each state, with all that a trial may hold."""
    ex = Experiment("fixture", backend=backend, seed=1)

    @ex.persist
    def clean(text: str) -> str:
        return text * 20_000

    @ex.result
    def score(text: str, a: int) -> dict[str, int]:
        ex.save_artifact("notes", f"notes {a}")
        for epoch in range(20):
            ex.save_metric("loss", epoch, 1 / (a + epoch + 1))
        if a == 3:
            raise ValueError("three is refused")
        return {"length": len(text), "a": a}

    result = score(clean("large"), ex.parameter("a"))
    for a in range(5):
        try:
            result.compute(parameters={"a": a})
        except ValueError:
            continue
    ex[5].remove()
    row = backend.get("experiment/fixture/trials", 1) or {}
    for n, state in enumerate(TrialState, 6):
        changes = {"uid": f"{n:032x}", "state": state.value}
        backend.apply(
            Insert("experiment/fixture/trials", row | changes),
            Append(f"experiment/fixture/steps/{n:032x}", []),
        )


def content(backend: LocalBackend) -> dict[str, Any]:
    """What a store of :func:`record` holds."""
    trials = dict(backend.find("experiment/fixture/trials"))
    return {
        "experiments": dict(backend.find("experiments")),
        "snapshots": dict(backend.find("snapshots")),
        "trials": {str(number): row for number, row in trials.items()},
        "logs": {
            f"{kind}/{row['uid']}": backend.read(f"experiment/fixture/{kind}/{row['uid']}")
            for row in trials.values()
            for kind in _LOGS
        },
        "payloads": {digest: len(backend.fetch(digest)) for digest, _ in sorted(backend.blobs())},
    }


def main() -> None:
    """Make the fixture of the present schema anew, in a folder that is no repository."""
    if len(sys.argv) == 1:
        with tempfile.TemporaryDirectory() as folder:
            program = shutil.copy(__file__, folder)
            subprocess.run([sys.executable, program, FOLDER], cwd=folder, check=True)
        return
    with LocalBackend("store") as backend:
        record(backend)
        backend.compact()
        told = json.dumps(content(backend), sort_keys=True)
    name = Path(sys.argv[1], f"schema_{migration.version()}.zip")
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("content.json", told)
        for file in sorted(Path("store").rglob("*")):
            if file.is_file() and file.name != ".gitignore":
                archive.write(file)
    if name.stat().st_size > LARGEST:
        sys.exit(f"{name.stat().st_size} bytes are too many for a fixture")


if __name__ == "__main__":
    main()
