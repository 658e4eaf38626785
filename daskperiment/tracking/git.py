"""The git repository that a script or a session works in, as plain data.

Read by the ``git`` program, which is asked to change nothing, run nothing of the user's,
reach no network and wait for nobody.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from blake3 import blake3

from daskperiment import platform
from daskperiment.secrets import marks_secret, scrub, scrub_url
from daskperiment.typing import Document

_TIMEOUT = 10.0
"""Seconds after which git is given up."""
_MOST_NAMES = 1000
"""Names of changed and of untracked files that are recorded."""
_KEPT_IN_A_SECOND = 20_000
"""Bytes of new text for which the next look waits a second more: a log that grows inside the
repository must not fill the store."""

_SETTINGS = {
    "color.ui": "false",
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "diff.mnemonicPrefix": "false",
    "diff.noprefix": "false",
}
_VARIABLES = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
# They name a repository, as for programs that a hook starts: what counts is the folder.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR",
            "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_EXTERNAL_DIFF")  # fmt: skip
_PRIVATE_SUFFIXES = {".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx"}
_PRIVATE_NAMES = {"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", ".pgpass", ".htpasswd",
                  ".npmrc", ".pypirc", ".git-credentials"}  # fmt: skip


class Look(NamedTuple):
    """What was seen of a repository.

    Parameters
    ----------
    document : dict
        ``repository`` (its folder, None where there is none) and, unless git failed with an
        ``error``: ``branch`` (None when detached), ``commit`` (None before the first),
        ``dirty``, ``remote``, names of ``changed`` files, ``diff`` (digest of the text, None
        without one), ``untracked`` (digests by name) and ``left_out`` (reasons by name).
    texts : dict of str to str
        The texts by digest.
    """

    document: Document
    texts: dict[str, str]


class _GitError(Exception):
    """git could not answer."""


# -- looking again ------------------------------------------------------------------------


class Repository:
    """The repository of a script or folder, looked at again when it may have changed.

    That is when the head, the branch or the index changed, when the code did, and otherwise
    when more than a second and a hundred times the duration of the last look have passed.  May be
    used from several threads.

    Parameters
    ----------
    places : sequence of Path
        The first one that lies in a repository decides.
    limit : int
        Bytes of uncommitted text to take in.
    clock : callable
        Seconds that never go back.

    Examples
    --------
    >>> Repository([], limit=0).look().document
    {'repository': None}
    """

    def __init__(
        self, places: Sequence[Path], limit: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._places = places
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: _Seen | None = None

    def look(self, code: object = None) -> Look:
        """What there is to see; the same object as long as that did not change.

        Parameters
        ----------
        code : str, optional
            Digest of the code that runs: another one asks for a new look.
        """
        seen = self._seen
        if seen is not None and seen.holds(code, self._clock()):
            return seen.look
        with self._lock:
            if self._seen is not seen and self._seen is not None:
                return self._seen.look
            self._seen = self._look(code, seen)
            return self._seen.look

    def _look(self, code: object, before: _Seen | None) -> _Seen:
        started = self._clock()
        root = top(self._places)
        files = _marks(root) if root else tuple(str(place / ".git") for place in self._places)
        state = tuple(map(_state, files))
        found = look(root, self._limit) if root else Look({"repository": None}, {})
        if before is not None and before.look.document == found.document:
            found = before.look
        known = before.look.texts.keys() if before else set()
        new = sum(len(text) for name, text in found.texts.items() if name not in known)
        ended = self._clock()
        pause = max(1.0, 100 * (ended - started), new / _KEPT_IN_A_SECOND)
        return _Seen(found, code, files, state, ended + pause)


class _Seen(NamedTuple):
    look: Look
    code: object
    files: tuple[str, ...]
    state: tuple[object, ...]
    until: float

    def holds(self, code: object, now: float) -> bool:
        return (
            now < self.until and code == self.code and tuple(map(_state, self.files)) == self.state
        )


def _state(file: str) -> object:
    try:
        seen = os.stat(file)  # noqa: PTH116  # at every trial: half the time of Path.stat
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def repository(script: str | None, folder: str | None, limit: int) -> Repository:
    """The repository of the main script, else of the working directory.

    A script that is installed, such as that of pytest, does not count.  The same object for
    equal arguments in one process.
    """
    return _repository(script, folder, limit)


@lru_cache(maxsize=16)
def _repository(script: str | None, folder: str | None, limit: int) -> Repository:
    places = [Path(folder)] if folder else []
    if script and not (path := Path(script).resolve()).is_relative_to(Path(sys.prefix).resolve()):
        places.insert(0, path.parent)
    return Repository(places, limit)


platform.at_fork(after_in_child=_repository.cache_clear)  # another thread may hold their locks


def top(places: Sequence[Path]) -> Path | None:
    """The top folder of the first of these places that lies in a repository."""
    folders = (folder for place in places for folder in (place, *place.parents))
    return next(filter(_is_repository, folders), None)


def _is_repository(folder: Path) -> bool:
    bare = (folder / "objects", folder / "refs", folder / "HEAD")
    return os.path.lexists(folder / ".git") or all(map(os.path.lexists, bare))


def _marks(root: Path) -> tuple[str, ...]:
    """The files that change with a commit, a checkout or an addition."""
    dot = root / ".git" if os.path.lexists(root / ".git") else root
    try:
        own = root / _content(dot).removeprefix("gitdir:").strip() if dot.is_file() else dot
        common = own / _content(own / "commondir") if (own / "commondir").exists() else own
        branch = common / _content(own / "HEAD").removeprefix("ref:").strip()
    except (OSError, ValueError):
        return (str(dot),)
    log = own / "logs" / "HEAD"  # grows with each change of head and branch
    heads = [log] if os.path.lexists(log) else [own / "HEAD", branch]
    return tuple(map(str, [own / "index", *heads]))


def _content(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()


# -- one look -----------------------------------------------------------------------------


def look(root: Path, limit: int) -> Look:
    """Look at a repository now.

    Parameters
    ----------
    root : Path
        Its top folder.
    limit : int
        Bytes of uncommitted text to take in; what is beyond is named in ``left_out``.
    """
    try:
        status = _status(root)
        changes = _Changes(root, limit)
        if status.changed:
            changes.take_diff(status)
        if status.untracked:
            changes.take_untracked(status.untracked)
        remote = _remote(root)
    except (_GitError, OSError, ValueError) as error:
        return Look({"repository": str(root), "error": scrub(str(error))}, {})
    document = {
        "repository": str(root),
        "branch": status.branch,
        "commit": status.commit,
        "dirty": bool(status.changed),
        "remote": remote,
        "changed": [_shown(name) for name in status.changed[:_MOST_NAMES]],
        "diff": changes.diff,
        "untracked": changes.untracked,
        "left_out": changes.left_out,
    }
    return Look(document, changes.texts)


@dataclass
class _Status:
    branch: str | None = None
    commit: str | None = None
    changed: list[bytes] = field(default_factory=list)
    untracked: list[bytes] = field(default_factory=list)


def _status(root: Path) -> _Status:
    status = _Status()
    text = _git(
        root, "status", "--porcelain=v2", "-z", "--branch", "--untracked-files=normal",
        "--ignore-submodules=untracked",
    )  # fmt: skip
    entries = iter(text.split(b"\0"))
    for entry in entries:
        kind, _, rest = entry.partition(b" ")
        if kind == b"#":
            _header(status, rest)
        elif kind in _FIELDS:
            status.changed.append(rest.split(b" ", _FIELDS[kind])[-1])
        elif kind == b"?":
            status.untracked.append(rest)
        if kind == b"2":
            next(entries, None)  # the name before the file was renamed
    return status


_FIELDS = {b"1": 7, b"2": 8, b"u": 9}
"""Fields before the name, by kind of entry: changed, renamed, unmerged."""


def _header(status: _Status, text: bytes) -> None:
    name, _, value = _shown(text).partition(" ")
    if name == "branch.head" and value != "(detached)":
        status.branch = value
    if name == "branch.oid" and value != "(initial)":
        status.commit = value


class _Changes:
    """Uncommitted text of a repository, up to a limit."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root = root
        self.limit = self.free = limit
        self.diff: str | None = None
        self.untracked: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.texts: dict[str, str] = {}

    def take_diff(self, status: _Status) -> None:
        """Take in the difference from the last commit."""
        if not self.limit:
            self.left_out["diff"] = "uncommitted text is switched off"
            return
        without = [name for name in status.changed if self._is_unfit(name)]
        base = "HEAD" if status.commit else _empty_tree(self.root)
        text = _git(
            self.root, "diff", base, "--no-color", "--no-ext-diff", "--no-textconv",
            "--submodule=short", "--ignore-submodules=untracked",
            "--", *[b":(top,exclude,literal)" + name for name in without],
            limit=self.limit,
        )  # fmt: skip
        if len(text) > self.limit:
            whole, _, _ = text[: self.limit].rpartition(b"\ndiff --git ")
            text = whole + b"\n" if whole else b""
            self.left_out["diff"] = f"the rest of it, beyond {self.limit} bytes"
        if text:
            self.diff = self._keep(text.decode("utf-8", "replace"))
        self.free -= len(text)

    def _is_unfit(self, name: bytes) -> bool:
        size = _size(self.root, name)
        reason = _reason(_shown(name), size or 0, self.limit)
        if reason:
            self.left_out[_shown(name)] = reason
        return bool(reason)

    def take_untracked(self, names: list[bytes]) -> None:
        """Take in the text of files that git does not know yet, the smallest first."""
        if self.limit:
            text = _git(self.root, "ls-files", "--others", "--exclude-standard", "-z")
            names = [name for name in text.split(b"\0") if name]
        sizes = {name: _size(self.root, name) for name in names[:_MOST_NAMES]}
        for name, size in sorted(sizes.items(), key=lambda item: (item[1] or 0, item[0])):
            self._take(name, size)
        if len(names) > _MOST_NAMES:
            self.left_out["..."] = f"{len(names) - _MOST_NAMES} more files"
        self.untracked = dict(sorted(self.untracked.items()))

    def _take(self, name: bytes, size: int | None) -> None:
        shown = _shown(name)
        text = None
        reason = "not a file" if size is None else _reason(shown, size, self.free)
        if not reason and (text := _text(self.root, name)) is None:
            reason = f"binary, {size} bytes"
        if text is None:
            self.left_out[shown] = reason
            return
        self.untracked[shown] = self._keep(text)
        self.free -= size or 0

    def _keep(self, text: str) -> str:
        clean = scrub(text)
        digest = blake3(clean.encode("utf-8", "surrogatepass")).hexdigest()
        self.texts[digest] = clean
        return digest


def _reason(name: str, size: int, limit: int) -> str:
    """Why the text of a file stays out; empty when it does not."""
    path = PurePosixPath(name)
    private = path.name in _PRIVATE_NAMES or path.name.startswith(".env")
    if private or path.suffix in _PRIVATE_SUFFIXES or marks_secret(path.stem):
        return f"may hold a secret, {size} bytes"
    return f"too large, {size} bytes" if size > limit else ""


def _size(root: Path, name: bytes) -> int | None:
    """Bytes of a plain file; None where there is none."""
    path = root / os.fsdecode(name)
    try:
        return None if path.is_symlink() or not path.is_file() else path.stat().st_size
    except OSError:
        return None


def _text(root: Path, name: bytes) -> str | None:
    try:
        content = (root / os.fsdecode(name)).read_bytes()
        return None if b"\0" in content else content.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _empty_tree(root: Path) -> str:
    return _git(root, "hash-object", "-t", "tree", "--stdin").decode().strip()


def _remote(root: Path) -> str | None:
    """Address of ``origin``, else of the first remote."""
    text = _git(root, "config", "--null", "--get-regexp", r"^remote\..*\.url$", codes=(0, 1))
    pairs = [entry.partition("\n") for entry in _shown(text).split("\0") if entry]
    urls = {name: url for name, _, url in reversed(pairs)}
    url = urls.get("remote.origin.url") or next(reversed(urls.values()), None)
    return None if url is None else scrub_url(url)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


# -- the program --------------------------------------------------------------------------


def _git(
    root: Path,
    verb: str,
    *arguments: str | bytes,
    limit: int | None = None,
    codes: Sequence[int] = (0,),
) -> bytes:
    """What git prints, and one byte beyond the limit when it is more."""
    try:
        with subprocess.Popen(
            [*program(root), verb, *map(os.fsdecode, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(root),
        ) as process:
            return _answer(process, verb, limit, codes)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise _GitError("there is no git program" if missing else str(error)) from error


def _answer(
    process: subprocess.Popen[bytes], verb: str, limit: int | None, codes: Sequence[int]
) -> bytes:
    assert process.stdout is not None
    assert process.stderr is not None
    with _Stopper(process) as stopper:
        text = process.stdout.read(-1 if limit is None else limit + 1)
        if limit is not None and len(text) > limit:
            process.kill()
            return text
        trouble = process.stderr.read(2000)
        code = process.wait()
    if stopper.stopped:
        raise _GitError(f"git {verb} took more than {_TIMEOUT:g} seconds")
    if code not in codes:
        raise _GitError(_shown(trouble).strip() or f"git {verb} failed with {code}")
    return text


class _Stopper:
    """Kills a process that takes too long."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.stopped = False
        self._process = process
        self._timer = threading.Timer(_TIMEOUT, self._stop)
        self._timer.daemon = True

    def _stop(self) -> None:
        self.stopped = True
        self._process.kill()

    def __enter__(self) -> _Stopper:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def program(folder: Path, **settings: str) -> list[str]:
    """The beginning of a command that works in a folder, with more settings."""
    pairs = {**_SETTINGS, **{name.replace("_", "."): value for name, value in settings.items()}}
    options = [part for item in pairs.items() for part in ("-c", "=".join(item))]
    return ["git", *options, "-C", str(folder)]


def environment(root: Path) -> dict[str, str]:
    """The environment variables for git, which looks for no repository above a folder."""
    inherited = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return {**inherited, **_VARIABLES, "GIT_CEILING_DIRECTORIES": str(root.parent)}
