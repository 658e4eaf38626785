"""From values to what can be stored, and back.

:func:`to_json` and :func:`from_json` write plain data into documents, :func:`encode` and
:func:`decode` any value into the bytes of a payload, :func:`preview` any value into a line
of text that is safe to show.
"""

from __future__ import annotations

from daskperiment.serializers.payload import Encoded, NotEncodable, decode, encode, read_array
from daskperiment.serializers.plain import NotPlain, from_json, to_json
from daskperiment.serializers.preview import preview, preview_type

__all__ = [
    "Encoded",
    "NotEncodable",
    "NotPlain",
    "decode",
    "encode",
    "from_json",
    "preview",
    "preview_type",
    "read_array",
    "to_json",
]
