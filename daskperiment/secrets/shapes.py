"""Shapes of well-known tokens, and of addresses with a login."""

from __future__ import annotations

import re

TOKEN = re.compile(
    r"\b(?:A[KS]IA[0-9A-Z]{16}\b"
    r"|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}"
    r"|gl(?:pat|ptt|dt|rt)-[\w-]{16,}"
    r"|xox[abeoprs]-[\w-]{10,}"
    r"|sk-(?=[a-z_-]{0,40}+[0-9A-Z])[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{20,}"
    r"|AIza[\w-]{30,}"
    r"|pypi-[\w-]{16,}"
    r"|npm_[A-Za-z0-9]{20,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"
    r"(?:.{0,16000}?-----END [A-Z ]{0,40}KEY-----|.{0,16000})",
    re.DOTALL,
)
LOGIN = re.compile(
    r"(?<=://)[^/\s?#:@\"'<>]{0,200}+:(?!\d{1,5}[/?#\s])[^\s\"'<>]{1,200}@(?=[\w\[.-])"
)


_HINTS = (
    "pass", "pwd", "secret", "token", "key", "credential", "bearer", "auth", "cookie", "://",
    "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glptt-",
    "gldt-", "glrt-", "xox", "sk-", "hf_", "aiza", "pypi-", "npm_", "eyj", "-----begin",
)  # fmt: skip


def may_hold(text: str) -> bool:
    """Whether there is a trace of a secret in the text; quick, and seldom wrongly True."""
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)
