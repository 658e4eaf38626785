"""Another user of this machine, for tests of what is handed on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_another_user = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs to become another user",
)
ANOTHER = 65534
AS_ANOTHER = (
    # It may read the interpreter, wherever that is, and owns nothing else.
    "setpriv", f"--reuid={ANOTHER}", f"--regid={ANOTHER}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "env", "HOME=/tmp",
)  # fmt: skip
"""What to put before a command."""


@contextmanager
def folder_of_another(*files: Path) -> Iterator[Path]:
    """A folder that the other user owns, with copies of files."""
    # One that everybody may enter; those of pytest are for their owner.
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        for each in (place, *(Path(shutil.copy(file, place)) for file in files)):
            shutil.chown(each, ANOTHER, ANOTHER)
        yield place
    finally:
        shutil.rmtree(place)
