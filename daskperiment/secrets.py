"""Secrets: values that steps use and nothing records, and text without them.

A value is secret because it is a :class:`Secret`, because a name such as ``api_key`` marks
it, or because it has the shape of a well-known token.
"""

from __future__ import annotations

import os
import re
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from json import dumps
from pathlib import Path
from typing import Any, NoReturn, TypeGuard
from urllib.parse import quote

from daskperiment.errors import SecretError
from daskperiment.platform import config_directory

MASK = "***"
"""What stands in place of a secret."""

_SHORTEST = 4
_KEY_BYTES = 32

# -- a secret value ---------------------------------------------------------------------


class Secret:
    """A value that is never recorded: steps get this object and call :meth:`reveal`.

    It stays in the process that made it; pickling it raises SecretError.  Worker processes
    take a secret from their own environment, see :meth:`from_env`.  As long as it lives, its
    text (of 4 characters or more) is masked in what this process records.

    Parameters
    ----------
    value : Any
        The value, mostly text.

    Examples
    --------
    >>> password = Secret("hunter2")
    >>> password
    Secret(***)
    >>> f"login: {password}"
    'login: Secret(***)'
    >>> password.reveal()
    'hunter2'
    """

    __slots__ = ("__weakref__", "_texts", "_value", "_variable")

    def __init__(self, value: Any) -> None:
        self._value = value
        self._variable: str | None = None
        self._texts = _forms(_texts(value))
        _alive[id(self)] = self

    @classmethod
    def from_env(cls, name: str) -> Secret:
        """A secret that is read from an environment variable where it is revealed.

        It travels to other processes as the name alone.

        Parameters
        ----------
        name : str
            Name of the variable; it need not be set yet.

        Examples
        --------
        >>> Secret.from_env("SERVICE_TOKEN")
        Secret(***)
        """
        secret = cls(None)
        secret._variable = name
        return secret

    def reveal(self) -> Any:
        """The value.

        Raises
        ------
        SecretError
            The environment variable is not set in this process.
        """
        if self._variable is None:
            return self._value
        try:
            return os.environ[self._variable]
        except KeyError:
            raise SecretError(
                f"The secret cannot be revealed: the environment variable {self._variable} is "
                "not set in this process. Set it wherever the trial runs, also for its workers"
            ) from None

    @property
    def stays(self) -> bool:
        """Whether it may not leave this process."""
        return self._variable is None

    def texts(self) -> Iterable[str]:
        """The forms in which it may show up in text; those too short to tell are left out."""
        if self._variable is None:
            return self._texts
        return _forms([os.environ.get(self._variable, "")])

    def _identity(self) -> Any:
        return self._value if self._variable is None else os.environ.get(self._variable)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._identity() == other._identity())

    def __hash__(self) -> int:
        return hash((Secret, self._identity()))

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __format__(self, form: str) -> str:
        return format(repr(self), form)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._variable is None:
            _refuse()
        return Secret.from_env, (self._variable,)


class Hidden(Secret):
    """A value that steps get as it is, and that records treat as a secret.

    Parameters
    ----------
    value : Any
        The value.
    texts : iterable of str, optional
        Its secret parts; default all text in it.
    partly : bool
        Whether the rest of it may be shown.
    """

    __slots__ = ("partly",)

    def __init__(self, value: Any, texts: Iterable[str] | None = None, partly: bool = False):
        super().__init__(value)
        if texts is not None:
            self._texts = _forms(texts)
        self.partly = partly

    @property
    def stays(self) -> bool:
        """Whether it holds more than secrets of the environment, which travel by name."""
        return not self.partly or any(
            part.stays if is_secret(part) else True for part in parts(self._value)
        )

    def __repr__(self) -> str:
        return MASK

    def __reduce__(self) -> tuple[Any, ...]:
        if self.stays:
            _refuse()
        return Hidden, (self._value, (), True)


def _refuse() -> NoReturn:
    raise SecretError(
        "A secret stays in this process and cannot be pickled; workers take it from their "
        'environment: Secret.from_env("NAME"). A parameter that only has the name of a secret '
        "is declared with secret=False"
    )


_alive: weakref.WeakValueDictionary[int, Secret] = weakref.WeakValueDictionary()


def alive() -> list[str]:
    """Texts of the secrets that live in this process, the longest first."""
    secrets = [reference() for reference in _alive.valuerefs()]
    texts = {text for secret in secrets if secret is not None for text in secret.texts()}
    return sorted(texts, key=len, reverse=True)


def _forms(texts: Iterable[str]) -> tuple[str, ...]:
    """Each text as it is, in a Python or JSON literal, and in a URL."""
    forms = [
        form
        for text in texts
        if len(text) >= _SHORTEST
        for form in (
            text, repr(text)[1:-1], dumps(text)[1:-1], quote(text, safe="", errors="replace"),
        )
    ]  # fmt: skip
    return tuple(dict.fromkeys(forms))


# -- which values are secret ------------------------------------------------------------

_WORDS = frozenset(
    {
        "password", "passwd", "passphrase", "pwd", "secret", "token", "credential",
        "credentials", "apikey", "authorization",
    }
)  # fmt: skip
_KEYS = frozenset({"api", "access", "private", "secret", "account", "signing", "encryption"})
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
    if last == "key":
        return before in _KEYS
    if last == "token":
        return before not in _OF_LANGUAGE
    return last in _WORDS or last.endswith(("password", "passwd", "apikey"))


_SHAPES = re.compile(
    r"\b(?:A[KS]IA[0-9A-Z]{16}\b"
    r"|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}"
    r"|gl(?:pat|ptt|dt|rt)-[\w-]{16,}"
    r"|xox[abeoprs]-[\w-]{10,}"
    r"|sk-(?=[\w-]{0,200}[0-9A-Z])[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{20,}"
    r"|AIza[\w-]{30,}"
    r"|pypi-[\w-]{16,}"
    r"|npm_[A-Za-z0-9]{20,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"
    r"(?:.{0,16000}?-----END [A-Z ]{0,40}KEY-----|.{0,16000})",
    re.DOTALL,
)
_LOGIN = re.compile(
    r"(?<=://)[^/\s?#:@\"'<>]{0,200}+:(?!\d{1,5}[/?#\s])[^\s\"'<>]{1,200}@(?=[\w\[.-])"
)


def _has_shape(text: str) -> bool:
    return _may_hold(text) and bool(_SHAPES.search(text) or _LOGIN.search(text))


def is_secret(value: Any) -> TypeGuard[Secret]:
    """Whether a value is a Secret; unlike isinstance it asks the value nothing."""
    return issubclass(type(value), Secret)


_TEXT = (str, bytes, bytearray)
_PLAIN = (int, float, bool, type(None))


def parts(value: Any, named: bool = True, marked: bool = False) -> Iterator[str | Secret]:
    """The secret parts of plain data: Secrets, and text of a marked key or a token's shape.

    Parameters
    ----------
    value : Any
        Containers of the builtin types are looked into.
    named : bool
        Whether keys of dicts mark what they lead to.
    marked : bool
        Whether all text in it is secret.
    """
    waiting, seen = [(value, marked)], set()
    while waiting:
        part, inside = waiting.pop()
        if is_secret(part):
            yield part
        elif issubclass(type(part), _TEXT):
            text = _text(part)
            if inside or _has_shape(text):
                yield text
        elif (id(part), inside) not in seen:
            seen.add((id(part), inside))
            waiting += _items(part, named, inside)


def _items(value: Any, named: bool, inside: bool) -> list[tuple[Any, bool]]:
    # By the methods of the builtin types: those of their subclasses may do anything.
    if issubclass(type(value), dict):
        return [
            (item, inside or (named and type(key) is str and marks_secret(key)))
            for key, item in dict.items(value)
            if type(item) not in _PLAIN
        ]
    for base in (list, tuple, set, frozenset):
        if issubclass(type(value), base):
            return [(item, inside) for item in base.__iter__(value) if type(item) not in _PLAIN]
    return []


def _text(value: Any) -> str:
    if issubclass(type(value), str):
        return str.__getitem__(value, slice(None))
    base = bytes if issubclass(type(value), bytes) else bytearray
    return base.decode(value, "utf-8", "replace")


def _texts(value: Any) -> list[str]:
    return [part for part in parts(value, marked=True) if isinstance(part, str)]


def hide(name: str, value: Any, secret: bool | None = None) -> Any:
    """The value, or where it is or holds a secret, a :class:`Hidden` of it.

    Parameters
    ----------
    name : str
        Name of the parameter or argument.
    value : Any
        Its value.
    secret : bool, optional
        True hides any value, False lets names mark nothing.

    Examples
    --------
    >>> hide("token", 3), hide("token", "abc"), hide("token", "abc", secret=False)
    (3, ***, 'abc')
    """
    if (type(value) in _PLAIN and not secret) or is_secret(value):
        return value
    if secret:
        return Hidden(value)
    named = secret is None
    marked = named and marks_secret(name)
    found = list(parts(value, named, marked))
    if not found:
        return value
    whole = marked or issubclass(type(value), _TEXT)
    return Hidden(value, [part for part in found if isinstance(part, str)], partly=not whole)


def holds_secret(value: Any) -> bool:
    """Whether a value is or holds a Secret, a token's shape, or the text of a living secret."""
    return any(True for _ in parts(value, named=False)) or holds_living(value)


def holds_living(value: Any) -> bool:
    """Whether text in a value, or in encoded bytes, is that of a secret of this process."""
    if not (living := alive()):
        return False
    if type(value) is bytes:
        forms = [text.encode(code, "replace") for text in living for code in ("utf-8", "utf-32-le")]
        return any(form in value for form in forms)
    return any(text in part for part in _texts(value) for text in living)


def revealed(value: Any) -> Any:
    """The value as steps get it: a hidden one in clear, a Secret as it is."""
    return value.reveal() if type(value) is Hidden else value


def kind(value: Any) -> type:
    """The type of a value, also of a hidden one."""
    return type(revealed(value))


# -- text without secrets ---------------------------------------------------------------

_HINTS = (
    "pass", "pwd", "secret", "token", "key", "credential", "bearer", "authorization", "://",
    "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glptt-",
    "gldt-", "glrt-", "xox", "sk-", "hf_", "aiza", "pypi-", "npm_", "eyj", "-----begin",
)  # fmt: skip
_QUOTED = r"""[bru]?"[^"\n]{0,4000}+"|[bru]?'[^'\n]{0,4000}+'"""
_VALUE = re.compile(rf"""{_QUOTED}|[^\s,;&"'(){{}}\[\]<>]{{1,4000}}+""")
_NAME = re.compile(r"(?<![\w.-])(-{0,2}[A-Za-z_][\w.-]{0,100}+)[\"']?[ \t]{0,4}[=:][ \t]{0,4}")
_OPTION = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]{0,100}+) +(?!-)")
_USER = re.compile(r"(?<=://)[^/\s?#\"'<>]{1,400}@")
_HEADER = re.compile(
    r"(?i)(\bauthorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?)(?:(?:bearer|basic|token|digest) +)?"
    r"[^\s\"',;]+"
)
_BEARER = re.compile(r"(?i)(\bbearer +)[\w.~+/-]{8,}=*")
_WORTH_NOTHING = frozenset({"None", "True", "False", "null", "true", "false", "str", "bytes", MASK})


def scrub(text: str) -> str:
    """The text with ``***`` in place of secrets.

    Masked are user-info in URLs, tokens of well-known shapes, values of ``name=value``,
    ``name: value`` and ``--name value`` where the name marks a secret, and the texts of the
    Secrets that live in this process.

    Parameters
    ----------
    text : str
        Any text; text without a trace of a secret costs about a microsecond a line.

    Examples
    --------
    >>> scrub("redis://user:pa55@host:6379/0 api_key=abc --password x n_tokens=5")
    'redis://***@host:6379/0 api_key=*** --password *** n_tokens=5'
    """
    for secret in alive() if _alive else ():
        text = text.replace(secret, MASK)
    if not _may_hold(text):
        return text
    text = _SHAPES.sub(MASK, text)
    if "://" in text and "@" in text:
        text = _USER.sub(f"{MASK}@", _LOGIN.sub(f"{MASK}@", text))
    text = _BEARER.sub(rf"\1{MASK}", _HEADER.sub(rf"\1{MASK}", text))
    return _without_values(_without_values(text, _NAME), _OPTION)


def _may_hold(text: str) -> bool:
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)


def _without_values(text: str, names: re.Pattern[str]) -> str:
    """The text with the values masked that follow names that mark secrets."""
    pieces, done = [], 0
    for name in names.finditer(text):
        value = _VALUE.match(text, name.end())
        if name.start() >= done and value and _is_worth(name[1], value[0]):
            quoting = value[0][-1] if value[0][-1] in "\"'" else ""
            pieces += [text[done : name.end()], quoting, MASK, quoting]
            done = value.end()
    return "".join([*pieces, text[done:]])


def _is_worth(name: str, value: str) -> bool:
    bare = value.strip("\"'")
    return marks_secret(name) and bare not in _WORTH_NOTHING and not _counts(name, bare)


def _counts(name: str, value: str) -> bool:
    """Whether it is a number of tokens, or the number of one."""
    return name.lower().endswith("token") and value.isdigit()


def scrub_url(url: str) -> str:
    """The address without user-info, query and fragment.

    Parameters
    ----------
    url : str
        A URL, or an address such as ``git@host:path``.

    Examples
    --------
    >>> scrub_url("https://user:token@example.org/a/b.git?key=1#x")
    'https://example.org/a/b.git'
    >>> scrub_url("git@github.com:owner/name.git")
    'github.com:owner/name.git'
    """
    scheme, separator, rest = url.rpartition("://") if "://" not in url else url.partition("://")
    return scrub(scheme + separator + re.split(r"[?#]", _without_user(rest), maxsplit=1)[0])


def _without_user(rest: str) -> str:
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        return rest[host.rindex("@") + 1 :]
    # A password with a slash in it: what follows the colon is neither a port nor a path.
    port = host.partition(":")[2]
    odd = port and not port.isdigit() and not port.startswith("[")
    return rest.rpartition("@")[2] if odd and "@" in rest else rest


def scrub_arguments(arguments: Sequence[str]) -> list[str]:
    """Command line arguments with ``***`` in place of secrets.

    Parameters
    ----------
    arguments : sequence of str
        As in ``sys.argv``.

    Examples
    --------
    >>> scrub_arguments(["--api-key", "abc", "password=a b", "--rate", "3"])
    ['--api-key', '***', 'password=***', '--rate', '3']
    """
    return [
        _scrub_argument(argument, before)
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]


def _scrub_argument(argument: str, before: str) -> str:
    if before.startswith("-") and "=" not in before and marks_secret(before):
        return MASK
    name, equals, value = argument.partition("=")
    if equals and value and marks_secret(name) and not _counts(name, value):
        return f"{name}={MASK}"
    return scrub(argument)


# -- digests ----------------------------------------------------------------------------


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
