"""Secrets: values that steps use and nothing records, and text without them.

A value is secret because it is a :class:`Secret`, because a name such as ``api_key`` marks
it, or because it has the shape of a well-known token.
"""

from __future__ import annotations

from daskperiment.secrets.hiding import (
    Hidden,
    hide,
    holds_living,
    holds_secret,
    kind,
    parts,
    revealed,
)
from daskperiment.secrets.key import key_name, keyed_digest
from daskperiment.secrets.masking import Masking
from daskperiment.secrets.names import marks_secret
from daskperiment.secrets.scrubbing import masked_text, scrub, scrub_arguments, scrub_url
from daskperiment.secrets.value import MASK, Secret, is_secret

__all__ = [
    "MASK",
    "Hidden",
    "Secret",
    "hide",
    "holds_living",
    "holds_secret",
    "is_secret",
    "key_name",
    "keyed_digest",
    "kind",
    "marks_secret",
    "Masking",
    "masked_text",
    "parts",
    "revealed",
    "scrub",
    "scrub_arguments",
    "scrub_url",
]
