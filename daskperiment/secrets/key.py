"""Keys: the one of this user, the one that a team shares, and digests that need them."""

from __future__ import annotations

import os
from base64 import b64decode
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from daskperiment import platform
from daskperiment.errors import KeyFileError

VARIABLE = "DASKPERIMENT_KEY_FILE"
"""The environment variable that names the file of the team's key."""

_KEY_BYTES = 32


def keyed_digest(data: bytes) -> bytes:
    """A digest that only this user can compute, so that nobody else can try out guesses.

    Its key is made when it is first needed, in the user's configuration directory, readable
    by the user alone.

    Raises
    ------
    KeyFileError
        Others can read the key, or change it.
    OSError
        The key can neither be read nor made.
    """
    return _keyed(own_key(), data)


def key_name() -> str:
    """A short name of the key of this user's keyed digests; it tells nothing of the key."""
    return name_of(own_key())


def name_of(key: bytes) -> str:
    """A short name of a key; it tells nothing of the key.

    Examples
    --------
    >>> name_of(bytes(32))
    'b962e211'
    """
    return _keyed(key, b"name of the key")[:4].hex()


def own_key_file() -> Path:
    """Where the key of this user is, or will be when it is first needed."""
    return platform.config_directory() / "daskperiment" / "key"


def team_key_file() -> Path | None:
    """Where the key of the team is, if there is one."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def present() -> dict[str, tuple[Path, bytes | None]]:
    """File and key by owner, ``team`` and ``user``; the one to sign with is the first.

    The key is None where the user's is not there yet.  Errors as for `signing_key`.
    """
    team, own = team_key_file(), own_key_file()
    found: dict[str, tuple[Path, bytes | None]] = {}
    if team is not None:
        found["team"] = team, read_key(team)
    return found | {"user": (own, own_key() if _exists(own) else None)}


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # in a folder that may not be entered
        return False


def own_key() -> bytes:
    """The key of this user, which is made if it is absent; errors as for `keyed_digest`."""
    return _own_key(own_key_file())


def signing_key() -> bytes:
    """The key that this process signs with: that of the team if there is one, else the user's.

    Raises
    ------
    KeyFileError
        The team's key cannot be used, or others can read the user's.
    OSError
        The user's key can neither be read nor made.
    """
    team = team_key_file()
    return own_key() if team is None else read_key(team)


def known_key(name: str) -> bytes | None:
    """The key of a name, if it is the team's or the user's; errors as for `signing_key`.

    The user's is not made for it.
    """
    keys = (key for _, key in present().values() if key is not None)
    return next((key for key in keys if name_of(key) == name), None)


@lru_cache(maxsize=16)
def read_key(file: Path) -> bytes:
    """The key in a file, of 32 bytes or their text in hexadecimal or base64.

    Raises
    ------
    KeyFileError
        It cannot be read, it is no key, or others can read it, too.
    """
    try:
        exposed, content = platform.is_exposed(file), file.read_bytes()
    except OSError as error:
        raise KeyFileError(
            f"The key {file} cannot be read ({error.strerror}): set {VARIABLE} to the file of a "
            "key that you may read, or make one with  daskperiment key new FILE"
        ) from error
    if exposed:
        raise KeyFileError(
            f"Others can read the key {file} or change it: run  chmod 600 {file}  and, if somebody "
            "else may have seen it, replace it by another"
        )
    return _parsed(file, content)


def new_key(file: Path) -> None:
    """Make a key as text in a new file that only this user can read.

    Raises
    ------
    KeyFileError
        There is such a file, which stays as it is.
    OSError
        It cannot be made.
    """
    try:
        _write(file, f"{os.urandom(_KEY_BYTES).hex()}\n".encode())
    except FileExistsError as error:
        raise KeyFileError(f"There is a file {file} already: choose another name") from error


def _keyed(key: bytes, data: bytes) -> bytes:
    from blake3 import blake3

    return blake3(data, key=key).digest()


def _parsed(file: Path, content: bytes) -> bytes:
    if len(content) == _KEY_BYTES:
        return content
    for decode in (bytes.fromhex, _from_base64):
        with suppress(ValueError):
            if len(key := decode(content.decode("ascii").strip())) == _KEY_BYTES:
                return key
    raise KeyFileError(
        f"{file} holds no key of {_KEY_BYTES} bytes: make one with  daskperiment key new FILE, or "
        "move the file away where it is that of this user alone"
    )


def _from_base64(text: str) -> bytes:
    return b64decode(text, validate=True)


@lru_cache(maxsize=16)
def _own_key(file: Path) -> bytes:
    if not file.exists():
        file.parent.parent.mkdir(parents=True, exist_ok=True)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):  # of two processes one wins
            _write(file, os.urandom(_KEY_BYTES))
    if platform.is_changeable(file.parent):
        raise KeyFileError(
            f"Others can replace the key {file}: run  chmod 700 {file.parent}  and look at what "
            "is in there"
        )
    return read_key(file)


def _write(file: Path, content: bytes) -> None:
    import tempfile

    # Exclusive, readable by the user only, and never half a key.
    descriptor, draft = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        os.link(draft, file)
    finally:
        Path(draft).unlink()
