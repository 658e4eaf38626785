"""Venv: the recorded packages in a virtual environment of their own, made by uv."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from daskperiment import platform
from daskperiment.errors import OptionError, RebuildError
from daskperiment.fingerprint.origin import OWN
from daskperiment.secrets import scrub
from daskperiment.tracking.environment.packages import requirement
from daskperiment.typing import Document

_INSTALL = 'pip install "daskperiment[uv]"'
_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
}
"""What is set up for pip, by the variables that uv reads."""
_OLD_NAMES = {"UV_INDEX_URL", "UV_EXTRA_INDEX_URL"}
# They would bring packages that were not recorded.
_FOREIGN = ("CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
_LAST_LINES = 12


class Venv(NamedTuple):
    """A virtual environment.

    Parameters
    ----------
    python : Path
        Its interpreter.
    variables : dict of str to str
        The environment variables to start it with.
    local : tuple of str
        Recorded packages that it lacks, since they are in folders of this machine.
    """

    python: Path
    variables: dict[str, str]
    local: tuple[str, ...]


def uv() -> str:
    """The program ``uv``.

    Raises
    ------
    OptionError
        It is not installed; the message says how to get it.
    """
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which("uv", path=os.pathsep.join(places))
    if found is None:
        raise OptionError(f'env="uv" needs the program uv: {_INSTALL}')
    return found


def venv(folder: Path, recorded: Document | None) -> Venv:
    """Make one with the recorded Python and packages, and daskperiment as it is here.

    Parameters
    ----------
    folder : Path
        An empty folder.
    recorded : dict or None
        The environment snapshot of a trial.

    Raises
    ------
    OptionError
        There is no uv.
    RebuildError
        Nothing of the kind was recorded, or something of it cannot be had.
    """
    program = uv()
    python, packages = (recorded or {}).get("python"), (recorded or {}).get("packages")
    if not isinstance(python, dict) or "version" not in python or not isinstance(packages, dict):
        raise RebuildError("Its Python and packages were not recorded")
    place = folder / "venv"
    _make(program, place, str(python["implementation"]), str(python["version"]))
    interpreter = platform.interpreter(place)
    others = {name: version for name, version in packages.items() if name != OWN}
    local = tuple(name for name, version in others.items() if _is_local(name, version))
    wanted = {name: version for name, version in others.items() if name not in local}
    _fill(program, interpreter, wanted, folder / "requirements.txt")
    inherited = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    own = {"PYTHONPATH": str(_own(folder / "own"))}
    return Venv(interpreter, inherited | own, local)


def _make(program: str, place: Path, implementation: str, version: str) -> None:
    """Make an empty one of the recorded Python, or else of one with other bug fixes."""
    kind, minor = implementation.lower(), ".".join(version.split(".")[:2])
    for wanted in (version, minor):
        done = _run([program, "venv", "--no-project", "--python", f"{kind}@{wanted}", str(place)])
        if not done.returncode:
            return
    raise RebuildError(
        f"There is no {implementation} {version} here and no other {minor}, and uv could not get "
        f"one: install it.\n{_told(done)}"
    )


def _fill(program: str, interpreter: Path, packages: Mapping[str, str], file: Path) -> None:
    """Install exactly these packages."""
    lines = (f"{requirement(name, version)}\n" for name, version in packages.items())
    file.write_text("".join(lines), encoding="utf-8")
    command = [
        program,
        "pip",
        "install",
        "--no-deps",
        "--python",
        str(interpreter),
        "-r",
        str(file),
    ]
    done = _run(command, _index())
    if done.returncode:
        raise RebuildError(
            "The recorded packages cannot be installed: set the index up for uv or pip, and give "
            "it what comes from no index as wheels in a folder that UV_FIND_LINKS names.\n"
            f"{_told(done)}"
        )


def _run(
    command: Sequence[str], variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**(variables or {}), **os.environ}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip


def _told(done: subprocess.CompletedProcess[str]) -> str:
    return scrub("\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:]))


def _index() -> dict[str, str]:
    """Where pip is told to look for packages, for uv, unless that is told itself."""
    told = {*_PIP.values(), *_OLD_NAMES} - {_PIP["cert"]}
    if not told.isdisjoint(os.environ):
        return {}
    found = {_PIP[name]: value for name, value in _pip_settings() if name in _PIP}
    # As pip does: uv would look no further than the first index that has the package at all.
    return found and {"UV_INDEX_STRATEGY": "unsafe-best-match", **found}


def _pip_settings() -> Iterator[tuple[str, str]]:
    for line in _run([sys.executable, "-m", "pip", "config", "list"]).stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, name = name.rpartition(".")
        if section in ("global", "install", ":env:"):
            values = str(ast.literal_eval(value)).split()
            yield name, ("," if name == "find-links" else " ").join(values)


def _is_local(name: str, version: str) -> bool:
    """Whether a package is installed from a folder here, as one that is being worked on."""
    try:
        found = metadata.distribution(name)
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return False
    # Versions of such packages often move with every commit, and no index has them.
    return "dir_info" in origin and (found.version == version or ".dev" in version)


def _own(folder: Path) -> Path:
    """A folder with daskperiment as it is running here, and nothing else."""
    source = Path(__file__).parent.parent
    shutil.copytree(source, folder / OWN, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        version = metadata.version(OWN)
    except metadata.PackageNotFoundError:
        return folder
    about = folder / f"{OWN}-{version}.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: {OWN}\nVersion: {version}\n")
    return folder
