"""Values in documents: small plain ones inline, others as blobs, the rest by a reason."""

from __future__ import annotations

import functools
import time
from datetime import datetime
from types import NoneType
from typing import Any

from blake3 import blake3

from daskperiment.backends.base import Backend, Write
from daskperiment.errors import PayloadError, ValueNotKeptError
from daskperiment.fingerprint.values import try_digest
from daskperiment.history.collection import referring
from daskperiment.secrets import (
    MASK,
    Hidden,
    Secret,
    holds_living,
    holds_secret,
    is_secret,
)
from daskperiment.serializers import (
    Encoded,
    NotEncodable,
    decode,
    encode,
    preview,
    preview_type,
    read_array,
)
from daskperiment.typing import Document

_INLINE_BYTES = 4096
_LARGE = 1 << 20
FORGOTTEN = "<forgotten>"
"""Stands where the preview of a value was."""
_SECRET = "it is a secret or holds one"


def keep(value: Any, *, inline: bool = True) -> tuple[Document, list[Write]]:
    """Describe a value for a document, with the writes that keep its bytes.

    Parameters
    ----------
    value : Any
        Anything; a value that cannot be encoded is described with the reason.
    inline : bool
        Whether short plain data goes into the document itself.

    Returns
    -------
    document : dict
        ``type`` and ``preview``, and one of ``json`` (inline text), ``digest`` with
        ``codec`` and ``size`` (a blob), or ``reason`` (not kept).
    writes : list of Write
        Those that must be committed together with the document.

    Examples
    --------
    >>> keep(0.5)
    ({'type': "<class 'float'>", 'preview': '0.5', 'json': '0.5'}, [])
    """
    if is_secret(value):
        return _secret(value), []
    if type(value) is str and holds_secret(value):
        return _secret(Hidden(value)), []
    if inline and type(value) in (int, bool, str, NoneType) and (kept := _keep_scalar(value)):
        return kept, []
    return _keep(value, inline)


def _secret(value: Secret) -> Document:
    shown = preview(value) if type(value) is Hidden else MASK
    described = {"type": preview_type(value), "preview": shown, "secret": True, "reason": _SECRET}
    keyed = _keyed_digest(value)
    return described if keyed is None else described | {"keyed": keyed}


def _keyed_digest(value: Secret) -> str | None:
    """What tells an equal secret from another to holders of this user's key, and to nobody else."""
    try:
        return try_digest(value)[0]
    except Exception:  # of a secret that is not in this process's environment
        return None


@functools.lru_cache(maxsize=1024, typed=True)
def _keep_scalar(value: int | bool | str | None) -> Document | None:
    document, writes = _keep(value, True)
    return None if writes else document


def encoded(value: Any) -> tuple[Document, Encoded | None]:
    """Describe a value, and encode it.

    Returns
    -------
    document : dict
        ``type`` and ``preview``; with ``reason`` where it cannot be encoded or is a secret.
    encoded : Encoded or None
        Its codec and its bytes, None where there is a reason.
    """
    if is_secret(value):
        return _secret(value), None
    if type(value) is str and holds_secret(value):
        return _secret(Hidden(value)), None
    return _encoded(value)


def _encoded(value: Any) -> tuple[Document, Encoded | None]:
    described: Document = {"type": preview_type(value), "preview": preview(value)}
    try:
        encoded = encode(value)
    except NotEncodable as error:
        return described | {"reason": str(error)}, None
    if holds_secret(value) if encoded.codec == "json" else holds_living(encoded.data):
        return _secret(Hidden(value)), None
    return described, encoded


def _keep(value: Any, inline: bool) -> tuple[Document, list[Write]]:
    described, encoded = _encoded(value)
    if encoded is None:
        return described, []
    if inline and encoded.codec == "json" and len(encoded.data) <= _INLINE_BYTES:
        return described | {"json": encoded.data.decode()}, []
    digest = blake3(encoded.data).hexdigest()
    size = len(encoded.data)
    return (
        described | {"codec": encoded.codec, "digest": digest, "size": size},
        referring(digest, encoded.data),
    )


def load(backend: Backend, kept: Document, *, pickles: bool = False) -> Any:
    """Read a value back.

    Parameters
    ----------
    backend : Backend
        Where its bytes are.
    kept : dict
        What describes it.
    pickles : bool
        Whether it may be a pickle, which runs the code that it names: only
        :class:`~daskperiment.history.places.Place` knows.

    Raises
    ------
    ValueNotKeptError
        It could not be encoded when it was recorded.
    PayloadError
        The stored bytes are not those of the record.
    """
    if "reason" in kept:
        raise not_kept(kept)
    if "json" in kept:
        return decode("json", kept["json"].encode())
    if kept["codec"] == "npy" and kept["size"] > _LARGE:
        return _array(backend, kept["digest"], kept["size"], kept["preview"])
    return decoded(kept, fetch(backend, kept["digest"], kept["preview"]), pickles)


def _array(backend: Backend, digest: str, size: int, what: str) -> Any:
    """An array whose bytes are not held besides."""
    hasher = blake3(max_threads=blake3.AUTO)
    with backend.open(digest) as file:
        try:
            array = read_array(file, size, hasher.update)
        except PayloadError as error:
            raise changed(digest, what) from error
    if hasher.hexdigest() != digest:
        raise changed(digest, what)
    return array


def decoded(kept: Document, data: bytes, pickles: bool) -> Any:
    """The value of bytes that were compared with the digest; ``pickles`` as for :func:`load`.

    Raises
    ------
    PayloadError
        They are a pickle and may not be one, or cannot be read.
    """
    return decode(kept["codec"], data, allow_pickle=pickles)


def fetch(backend: Backend, digest: str, what: str) -> bytes:
    """Bytes of a payload that are those of its digest; ``what`` is their name in an error.

    Raises
    ------
    PayloadError
        The stored bytes are not those of the digest, or absent.
    """
    data = backend.fetch(digest)
    threads = blake3.AUTO if len(data) > _LARGE else 1
    if blake3(data, max_threads=threads).hexdigest() != digest:
        raise changed(digest, what)
    return data


def changed(digest: str, what: str) -> PayloadError:
    """The error for stored bytes that are not those of their digest."""
    return PayloadError(
        f"The stored bytes of {what} were changed: their digest is not {digest[:16]}... "
        "Restore the store from a copy"
    )


def not_kept(kept: Document) -> ValueNotKeptError:
    """The error for a value that could not be encoded when it was recorded."""
    if "forgotten" in kept:
        return ValueNotKeptError(f"The value was {forgotten_on(kept['forgotten'])}")
    if kept.get("imported"):
        return ValueNotKeptError(f"The value was not imported: {kept['reason']}")
    if kept.get("secret"):
        return ValueNotKeptError(
            f"The value {kept['preview']} was not kept: {kept['reason']}. Take it from where the "
            "trial took it; where it is no secret, declare the parameter with secret=False"
        )
    return ValueNotKeptError(
        f"The value {kept['preview']} was not kept, as it could not be encoded: "
        f"{kept['reason']}. Only what can be pickled can be read back"
    )


def forgotten() -> Document:
    """What stands in place of the description of a value that is forgotten now."""
    at = time.time()
    return {"type": "None", "preview": FORGOTTEN, "reason": forgotten_on(at), "forgotten": at}


def forgotten_on(at: float) -> str:
    """How messages tell of a part that was forgotten at a Unix time.

    Examples
    --------
    >>> forgotten_on(1_700_000_000)
    'forgotten on 2023-11-...'
    """
    return f"forgotten on {datetime.fromtimestamp(at).date()}"
