"""Type aliases shared by all layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

JSON: TypeAlias = Any
"""None, bool, 64-bit int, float (NaN and infinities too), str, list or str-keyed dict of JSON."""

Document: TypeAlias = dict[str, JSON]
"""A small JSON object; its top-level field names are identifiers."""

Audit: TypeAlias = Literal["off", "warn", "strict"] | None
"""What becomes of what a step touches beside its arguments; None leaves it to somebody else."""

Key: TypeAlias = int | str
"""Key of a document within its path; integers sort before strings."""

Where: TypeAlias = Mapping[str, str | list[str]]
"""Top-level string fields that must equal the given text, or one of the given texts."""
