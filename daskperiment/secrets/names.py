"""Names that mark what they name as a secret."""

from __future__ import annotations

import re
from functools import lru_cache
from numbers import Number

_WORDS = frozenset(
    {
        "password", "passwords", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets",
        "token", "credential", "credentials", "apikey", "authorization", "auth", "cookie",
    }
)  # fmt: skip
_ENDINGS = (
    "password", "passwd", "secret", "apikey", "accesskey", "secretkey", "privatekey",
    "apitoken", "authtoken", "accesstoken",
)  # fmt: skip
_KEYS = frozenset({"api", "access", "private", "secret", "account", "signing", "encryption"})
_OF_ACCOUNTS = frozenset(
    {
        "db", "database", "user", "root", "admin", "login", "mysql", "postgres", "redis", "mongo",
        "smtp", "imap", "mail", "ftp", "ssh", "http", "proxy",
    }
)  # fmt: skip
_OF_LANGUAGE = frozenset(
    {
        "pad", "unk", "eos", "bos", "cls", "sep", "mask", "special", "stop", "start", "end",
        "image", "next", "first", "last", "max", "min", "num", "n",
    }
)  # fmt: skip
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")


@lru_cache(maxsize=4096)
def marks_secret(name: str) -> bool:
    """Whether a name says that its value is a secret.

    Its last word counts, or its last two; ``_``, ``-``, ``.`` and a change of case are
    borders of words.

    Parameters
    ----------
    name : str
        Name of a parameter, a variable, a key or an option.

    Examples
    --------
    >>> [marks_secret(name) for name in ("api_key", "db.password", "hfToken", "AWS-SECRET")]
    [True, True, True, True]
    >>> [marks_secret(name) for name in ("max_tokens", "tokenizer", "key", "password_length")]
    [False, False, False, False]
    """
    words = [word.lower().rstrip("0123456789") for word in _BORDER.split(name)]
    words = [word for word in words if word]
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in ("key", "keys"):
        return before in _KEYS
    if last == "pass":
        return not before or before in _OF_ACCOUNTS
    if last == "token":
        return before not in _OF_LANGUAGE
    return last in _WORDS or last.endswith(_ENDINGS)


def is_secret_under(name: object, value: object) -> bool:
    """Whether a name makes a value a secret.

    None and booleans are none, and neither are numbers under a name such as ``token``.

    Examples
    --------
    >>> is_secret_under("password", "abc"), is_secret_under("password", 1234)
    (True, True)
    >>> is_secret_under("token", "abc"), is_secret_under("token", 3)
    (True, False)
    """
    if type(name) is not str or value is None or type(value) is bool or not marks_secret(name):
        return False
    return not (may_count(name) and issubclass(type(value), Number))


def may_count(name: str) -> bool:
    """Whether a number under a name that marks a secret is just a number: of tokens, of passes."""
    return name.lower().endswith(("token", "pass"))
