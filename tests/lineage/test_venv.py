"""Running a recorded trial again with the packages that it had."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from daskperiment import Experiment, OptionError
from daskperiment.fingerprint.values import digest
from daskperiment.history import paths
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.trials import Trials
from daskperiment.lineage import venv
from daskperiment.lineage.bundle import bundle, verify
from daskperiment.lineage.venv import uv

pytestmark = pytest.mark.xdist_group("venv")  # its wheels are made once

ROOT = Path(__file__).parent.parent.parent
SCRIPT = """
    import sys

    import numpy as np

    from daskperiment import Experiment
    from tiny import number

    ex = Experiment("packed", backend=sys.argv[1], seed=3)


    @ex
    def load(n):
        return np.random.rand(n) * number()


    @ex.result
    def total(rows):
        return float(rows.sum())


    if __name__ == "__main__":
        total(load(ex.parameter("n", default=20))).compute(scheduler="synchronous")
"""


@pytest.fixture(autouse=True, scope="module")
def _needs_uv() -> None:
    try:
        uv()
    except OptionError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels: two of a tiny package, and what daskperiment needs, as it is here."""
    folder = tmp_path_factory.mktemp("wheels")
    for version in (1, 2):
        tiny(folder, version)
    for distribution in needed():
        pack(folder, distribution)
    return folder


def tiny(folder: Path, version: int) -> None:
    about = f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}.0\n"
    write(folder / f"tiny-{version}.0-py3-none-any.whl", "tiny", f"{version}.0", {
        "tiny.py": f"def number():\n    return {version}\n".encode(),
        f"tiny-{version}.0.dist-info/METADATA": about.encode(),
        f"tiny-{version}.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    })  # fmt: skip


def write(file: Path, name: str, version: str, contents: dict[str, bytes]) -> None:
    record = f"{name}-{version}.dist-info/RECORD"
    lines = "".join(f"{each},,\n" for each in [*contents, record])
    with zipfile.ZipFile(file, "w") as archive:
        for each, content in (contents | {record: lines.encode()}).items():
            archive.writestr(each, content)


def needed() -> Iterator[metadata.Distribution]:
    """What the requirements of daskperiment bring, as it is installed here."""
    waiting, known = (ROOT / "requirements.txt").read_text().splitlines(), set()
    while waiting:
        asked = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "_", asked.name).lower()
        if name not in known and (asked.marker is None or asked.marker.evaluate({"extra": ""})):
            known.add(name)
            found = metadata.distribution(name)
            yield found
            waiting += found.requires or []


def pack(folder: Path, distribution: metadata.Distribution) -> None:
    """An installed distribution as a wheel."""
    version = distribution.version
    name = re.sub(r"[-_.]+", "_", distribution.name)
    contents = {
        str(file): Path(str(file.locate())).read_bytes()
        for file in distribution.files or ()
        if ".." not in file.parts and file.suffix != ".pyc" and "tests" not in file.parts
    }
    moved = {
        re.sub(r"^[^/]+\.dist-info/", f"{name}-{version}.dist-info/", each): content
        for each, content in contents.items()
        if not each.endswith((".dist-info/RECORD", ".dist-info/direct_url.json"))
    }
    tags = re.findall(r"^Tag: (\S+)", distribution.read_text("WHEEL") or "", re.MULTILINE)
    write(
        folder / f"{name}-{distribution.version}-{tags[-1]}.whl", name, distribution.version, moved
    )


@pytest.fixture(scope="module")
def recorded(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a trial of an environment with version 1."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    names = ["tiny==1.0", "-r", str(ROOT / "requirements.txt")]
    python = str(folder / "there" / "bin" / "python")
    alone = ["--no-index", "--find-links", str(wheels)]
    for command in (
        [uv(), "venv", "--python", sys.executable, str(folder / "there")],
        [uv(), "pip", "install", *alone, "--python", python, *names],
        [python, "script.py", "store"],
    ):
        variables = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True)
    return folder / "store"


@pytest.fixture
def ex(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheels: Path) -> Experiment:
    """The experiment, where version 2 is installed now and wheels come from the folder."""
    here = tmp_path / "site-packages"
    with zipfile.ZipFile(wheels / "tiny-2.0-py3-none-any.whl") as archive:
        archive.extractall(here)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(here)]))
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return Experiment("packed", backend=recorded)


def environment(ex: Experiment, **changes: Any) -> Any:
    """What was recorded around the trial; with changes, which a test may make, of that."""
    snapshots, path = Snapshots(ex.backend), paths.trials("packed")
    recorded = snapshots.get((ex.backend.get(path, 1) or {})["environment"])
    if changes:
        other = {**recorded, **changes}
        snapshots.keep(digest(other), other)
        ex.backend.update(path, 1, {"environment": digest(other)})
    return recorded


def told(again: Any) -> list[str]:
    """What was not as it was, but for daskperiment, which the recording had in a folder."""
    return [str(each) for each in again.differences if "daskperiment" not in each.name]


def test_the_recorded_packages_give_the_recorded_numbers(ex: Experiment) -> None:
    now = ex[1].reproduce()
    assert now.match == "different", str(now)
    assert "tiny 1.0 -> 2.0" in map(str, now.differences)

    again = ex[1].reproduce(env="uv")

    assert again.match == "bitwise", str(again)
    assert told(again) == []


def test_a_bundle_verifies_with_its_own_packages(ex: Experiment, tmp_path: Path) -> None:
    bundle(Trials(ex.backend, "packed"), 1, tmp_path / "packed.zip")

    assert verify(tmp_path / "packed.zip").reproduction.match == "different"
    assert verify(tmp_path / "packed.zip", "uv").reproduction.match == "bitwise"


def test_a_package_that_is_not_to_be_had_is_named(
    ex: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))

    again = ex[1].reproduce(env="uv")

    assert (again.match, again.number) == ("error", None)
    assert "cannot be installed" in str(again)
    assert "tiny==1.0" in str(again)


def test_python_with_other_bug_fixes_and_what_lies_in_a_folder_here_are_told(
    ex: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    about = tmp_path / "here" / "lab-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 0.1\n")
    (about / "direct_url.json").write_text('{"url": "file:///lab", "dir_info": {"editable": true}}')
    monkeypatch.syspath_prepend(tmp_path / "here")
    version = f"{sys.version_info.major}.{sys.version_info.minor}.99"
    recorded = environment(ex)
    environment(
        ex, python={**recorded["python"], "version": version},
        packages={**recorded["packages"], "lab": "0.1"},
    )  # fmt: skip
    try:
        again = ex[1].reproduce(env="uv")
    finally:
        environment(ex, **recorded)

    assert again.match == "bitwise", str(again)
    now = sys.version.partition(" ")[0]
    assert told(again) == [f"python.version {version} -> {now}", "lab 0.1 -> absent"]


def test_the_index_of_the_user_has_the_recorded_packages(
    ex: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(tmp_path, 1)
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))

    again = ex[1].reproduce(env="uv")
    if again.match == "error" and "cannot be installed" in str(again):
        pytest.skip(f"no index is reached: {again.reason}")

    assert again.match == "bitwise", str(again)


def test_what_is_set_up_for_pip_counts_unless_uv_is_set_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in os.environ:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = file:///one\nfind-links =\n    /a\n    /b\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "file:///two")

    found = venv._index()

    assert (found["UV_DEFAULT_INDEX"], found["UV_FIND_LINKS"]) == ("file:///two", "/a,/b")
    monkeypatch.setenv("UV_INDEX", "file:///three")
    assert venv._index() == {}


def test_without_uv_the_error_says_how_to_get_it(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)

    with pytest.raises(OptionError, match=r"pip install .daskperiment\[uv\]"):
        ex[1].reproduce(env="uv")
    with pytest.raises(OptionError, match="env"):
        ex[1].reproduce(env="conda")  # type: ignore[arg-type]
