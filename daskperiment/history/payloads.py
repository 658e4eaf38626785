"""Values in documents: small plain ones inline, others as blobs, the rest by a reason."""

from __future__ import annotations

import functools
from types import NoneType
from typing import Any

from blake3 import blake3

from daskperiment.backends.base import Backend, Put
from daskperiment.errors import PayloadError, ValueNotKeptError
from daskperiment.serializers import NotEncodable, decode, encode, preview
from daskperiment.typing import Document

_INLINE_BYTES = 4096


def keep(value: Any, *, inline: bool = True) -> tuple[Document, list[Put]]:
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
    writes : list of Put
        At most one blob.

    Examples
    --------
    >>> keep(0.5)
    ({'type': "<class 'float'>", 'preview': '0.5', 'json': '0.5'}, [])
    """
    if inline and type(value) in (int, bool, str, NoneType) and (kept := _keep_scalar(value)):
        return kept, []
    return _keep(value, inline)


@functools.lru_cache(maxsize=1024, typed=True)
def _keep_scalar(value: int | bool | str | None) -> Document | None:
    document, writes = _keep(value, True)
    return None if writes else document


def _keep(value: Any, inline: bool) -> tuple[Document, list[Put]]:
    described: Document = {"type": preview(type(value)), "preview": preview(value)}
    try:
        encoded = encode(value)
    except NotEncodable as error:
        return described | {"reason": str(error)}, []
    if inline and encoded.codec == "json" and len(encoded.data) <= _INLINE_BYTES:
        return described | {"json": encoded.data.decode()}, []
    digest = blake3(encoded.data).hexdigest()
    size = len(encoded.data)
    return (
        described | {"codec": encoded.codec, "digest": digest, "size": size},
        [Put(encoded.data)],
    )


def load(backend: Backend, kept: Document) -> Any:
    """Read a value back.

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
    data = backend.fetch(kept["digest"])
    if blake3(data).hexdigest() != kept["digest"]:
        raise PayloadError(
            f"The stored bytes of {kept['preview']} were changed: their digest is not "
            f"{kept['digest'][:16]}... Restore the store from a copy"
        )
    return decode(kept["codec"], data)


def not_kept(kept: Document) -> ValueNotKeptError:
    """The error for a value that could not be encoded when it was recorded."""
    return ValueNotKeptError(
        f"The value {kept['preview']} was not kept, as it could not be encoded: "
        f"{kept['reason']}. Only what can be pickled can be read back"
    )


class Kept:
    """A value that stays in the store until it is asked for.

    Histories show it by its preview; nothing is decoded before :meth:`load`.
    """

    def __init__(self, backend: Backend, document: Document) -> None:
        self._backend = backend
        self._document = document

    def load(self) -> Any:
        """Decode the value; see :func:`load` for the errors."""
        return load(self._backend, self._document)

    def __repr__(self) -> str:
        return str(self._document["preview"])


def shown(backend: Backend, kept: Document) -> Any:
    """The value itself when it is inline plain data, else a :class:`Kept` handle."""
    return load(backend, kept) if "json" in kept else Kept(backend, kept)
