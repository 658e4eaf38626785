"""Checkout: the files of a recorded commit, with its uncommitted changes, in a folder of their own.

The user's working tree and index stay as they are, and the repository does not learn of it.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from daskperiment.errors import RebuildError
from daskperiment.secrets.value import MASK
from daskperiment.tracking import git
from daskperiment.typing import Document

_SETTINGS = {
    "core_hooksPath": os.devnull,
    "core_sparseCheckout": "false",
    "core_splitIndex": "false",
    "core_untrackedCache": "false",
}
_COMMIT = re.compile("[0-9a-f]{40,64}")
_INDEX = re.compile(r"index [0-9a-f]+\.\.([0-9a-f]+)")
_HEADER, _HUNK, _NAME = "diff --git ", "@@ ", "+++ "


def restore(seen: Document | None, text: Callable[[str], str], folder: Path) -> Path:
    """Put the files of a recorded commit into a folder, and apply the recorded changes.

    Files that git did not know are there, too, where their text was recorded as it was.

    Parameters
    ----------
    seen : dict or None
        What was seen of the repository; see :class:`daskperiment.tracking.git.Look`.
    text : callable
        Gives the text of a digest.
    folder : Path
        An empty folder.

    Returns
    -------
    Path
        The top folder that the repository had when it was recorded.

    Raises
    ------
    RebuildError
        The commit is not to be found, or the changes were not recorded as they were.
    """
    seen, commit = _checked(seen)
    tree = _Tree(_repository(Path(seen["repository"]), commit), folder)
    tree.git("read-tree", commit)
    tree.git("checkout-index", "--all")
    if seen["diff"] is not None:
        tree.apply(text(seen["diff"]))
    for name, digest in seen["untracked"].items():
        _add(folder, name, text(digest))
    return Path(seen["repository"])


def _checked(seen: Document | None) -> tuple[Document, str]:
    """What was seen, where it is whole, and the commit."""
    if not seen or seen["repository"] is None:
        raise RebuildError("It was recorded outside of any git repository")
    if "error" in seen:
        raise RebuildError(f"git could not be asked when it was recorded: {seen['error']}")
    if not _COMMIT.fullmatch(seen["commit"] or ""):
        raise RebuildError("It was recorded before the first commit of its repository")
    left = seen["left_out"]
    for name in ["diff"] * bool(seen["dirty"]) + seen["changed"]:
        if name in left:
            raise RebuildError(f"Uncommitted changes were not recorded: {name}: {left[name]}")
    return seen, seen["commit"]


def _repository(recorded: Path, commit: str) -> Path:
    """A repository that has the commit: the recorded one, or that of the working directory."""
    here = git.top([Path.cwd()])
    for root in filter(None, (recorded, here)):
        if root.is_dir() and not _run(root, ["cat-file", "-e", f"{commit}^{{commit}}"]).returncode:
            return root
    raise RebuildError(
        f"Commit {commit} is not in {recorded}: start this in a clone that has it, or fetch it"
    )


class _Tree:
    """A working tree with an index of its own."""

    def __init__(self, root: Path, folder: Path) -> None:
        found = _run(root, ["rev-parse", "--absolute-git-dir"])
        self._folder = folder
        self._variables = {
            "GIT_DIR": found.stdout.strip(),
            "GIT_WORK_TREE": str(folder),
            "GIT_INDEX_FILE": str(folder.with_name("index")),
        }

    def git(self, *arguments: str, given: str | None = None) -> str:
        """What git prints."""
        return _told(_run(self._folder, arguments, self._variables, given), "The commit")

    def apply(self, diff: str) -> None:
        """Apply changes, and compare what comes out with the digests in them."""
        done = _run(self._folder, ["apply", "--whitespace=nowarn", "-"], {}, diff)
        _told(done, "The recorded changes, without secrets that were in them,")
        names = dict(_results(diff))
        found = self.git("hash-object", "--stdin-paths", given="\n".join(names)).split()
        for (name, digest), now in zip(names.items(), found, strict=True):
            if not now.startswith(digest):
                raise RebuildError(
                    f"The changes of {name} were not recorded as they were, which is so where "
                    "they had a secret or no UTF-8 text"
                )


def _results(diff: str) -> Iterator[tuple[str, str]]:
    """Names of files that a diff changes, each with the beginning of what git calls it then."""
    inside, digest = False, ""  # what the header of a file says ends where its lines begin
    for line in diff.split("\n"):
        if line.startswith((_HEADER, _HUNK)):
            inside, digest = line.startswith(_HEADER), ""
        elif inside and (found := _INDEX.match(line)):
            digest = found.group(1)
        elif inside and line.startswith(_NAME):
            name = line.removeprefix(_NAME).rstrip("\t")
            name = ast.literal_eval(name) if name.startswith('"') else name
            if name.startswith("b/"):
                yield name.removeprefix("b/"), digest


def _add(folder: Path, name: str, text: str) -> None:
    path = folder / name
    inside = path.resolve().is_relative_to(folder.resolve())
    if MASK not in text and inside and not os.path.lexists(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")


def _run(
    folder: Path, arguments: Sequence[str], variables: Mapping[str, str] | None = None,
    given: str | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    try:
        return subprocess.run(
            [*git.program(folder, **_SETTINGS), *arguments],
            env={**git.environment(folder), **(variables or {})}, input=given or "",
            capture_output=True, encoding="utf-8", errors="surrogateescape", check=False,
        )  # fmt: skip
    except OSError as error:
        raise RebuildError(f"git cannot be run: {error}") from error


def _told(done: subprocess.CompletedProcess[str], what: str) -> str:
    if done.returncode:
        raise RebuildError(f"{what} cannot be restored: {done.stderr.strip()}")
    return done.stdout
