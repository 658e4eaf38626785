"""The key of this user, and digests that need it."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

from daskperiment.platform import config_directory

_KEY_BYTES = 32


def keyed_digest(data: bytes) -> bytes:
    """A digest that only this user can compute, so that nobody else can try out guesses.

    Its key is made when it is first needed, in the user's configuration directory, readable
    by the user alone.

    Raises
    ------
    OSError
        The key can neither be read nor made.
    """
    from blake3 import blake3

    return blake3(data, key=_key()).digest()


def key_name() -> str:
    """A short name of the key of this user's keyed digests; it tells nothing of the key."""
    return keyed_digest(b"name of the key")[:4].hex()


@lru_cache(maxsize=1)
def _key() -> bytes:
    path = config_directory() / "daskperiment" / "key"
    if not path.exists():
        _make_key(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise OSError(f"{path} is no key of {_KEY_BYTES} bytes: remove it, and it is made anew")
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent)  # exclusive, readable by the user only
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
        os.link(draft, path)  # never half a key, and of two processes one wins
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()
