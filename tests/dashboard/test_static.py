"""The files of the page: complete, unchanged where they are others', and under a licence."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import metadata

import pytest

from daskperiment.dashboard.files import static_files

VENDORED = json.loads(static_files()["vendor/vendor.json"].content)


@pytest.mark.parametrize("library", VENDORED, ids=lambda library: library["name"])
def test_a_library_of_others_is_as_it_was_published(library: dict[str, object]) -> None:
    files = library["files"]
    assert isinstance(files, dict)
    for path, digest in files.items():
        content = static_files()[f"vendor/{path}"].content
        assert hashlib.sha256(content).hexdigest() == digest, path


def test_every_library_of_others_has_its_licence_and_is_declared() -> None:
    folders = {
        path.split("/")[1]
        for path in static_files()
        if path.count("/") > 1 and path.startswith("vendor/")
    }
    declared = {path.split("/")[0] for library in VENDORED for path in library["files"]}

    assert folders == declared
    for folder in folders:
        assert f"vendor/{folder}/LICENSE" in static_files()
    assert {library["licence"] for library in VENDORED} == {"MIT"}
    assert metadata("daskperiment")["License-Expression"] == "BSD-3-Clause AND MIT"


def test_every_file_that_a_file_names_is_there() -> None:
    files = static_files()
    for path, file in files.items():
        text = file.content.decode("utf-8", "replace")
        if path.endswith(".html"):
            named = re.findall(r'(?:src|href)="/static/([^"]+)"', text)
        elif path.endswith(".js") and not path.startswith("vendor/"):
            folder = path.rpartition("/")[0]
            found = re.findall(r'(?:from|import)\s*\(?"(\.[^"]+)"', text)
            named = [_resolved(folder, relative) for relative in found]
        else:
            continue
        for name in named:
            assert name in files, f"{path} names {name}"


def _resolved(folder: str, relative: str) -> str:
    parts = folder.split("/")
    for part in relative.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def test_no_script_makes_markup_or_code_of_text() -> None:
    for path, file in static_files().items():
        if path.endswith(".js") and not path.startswith("vendor/"):
            text = file.content.decode()
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
                assert word not in text, f"{path} uses {word}"
