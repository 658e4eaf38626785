"""Text, addresses and arguments without the secrets in them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from daskperiment.secrets.names import marks_secret, may_count
from daskperiment.secrets.shapes import LOGIN, TOKEN, may_hold
from daskperiment.secrets.value import MASK, alive, forms

_TRIPLE = r"""[bru]?\"{3}(?s:.{0,4000}?)\"{3}|[bru]?'{3}(?s:.{0,4000}?)'{3}"""
_QUOTED = r"""[bru]?"[^"\n]{0,4000}+"|[bru]?'[^'\n]{0,4000}+'"""
_NESTED = r"""\[[^][\"']{0,4000}+[\"'][^][]{0,4000}+\]|\{[^}{\"']{0,4000}+[\"'][^}{]{0,4000}+\}"""
_VALUE = re.compile(rf"""{_TRIPLE}|{_QUOTED}|{_NESTED}|[^\s,;&"'(){{}}\[\]<>]{{1,4000}}+""")
_NAME = re.compile(r"(?<![\w.-])(-{0,2}[A-Za-z_][\w.-]{0,100}+)[\"']?\]?[ \t]{0,4}[=:]=?[ \t]{0,4}")
_BLOCK = re.compile(
    r"(?m)^([ \t]*+)(?:- )?[\"']?([A-Za-z_][\w.-]{0,100}+)[\"']?[ \t]*+:[ \t]*+"
    r"(?:[|>][-+\d]{0,2})?[ \t]*+\n"
)
_OPTION = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]{0,100}+) ++(?!-)")
_USER = re.compile(r"(?<=://)[^/\s?#\"'<>]{1,400}@")
_HEADER = re.compile(
    r"(?i)(\bauthorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?)(?:(?:bearer|basic|token|digest) ++)?"
    r"[^\s\"',;]+"
)
_COOKIE = re.compile(r"(?i)(\bcookie[\"']?:[ \t]{0,4}[\"']?)[^\r\n\"']+")
_BEARER = re.compile(r"(?i)(\bbearer ++)[\w.~+/-]{8,}=*")
_LINE = re.compile(r"([ \t]*+)([^\n]*+)\n?")
_LONGEST_LINE = 1000
_WORTH_NOTHING = frozenset(
    {"", "None", "True", "False", "null", "true", "false", "str", "bytes", MASK}
)


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
    for secret in alive():
        text = text.replace(secret, MASK)
    return _unmarked(text) if may_hold(text) else text


def holds_marked(text: str) -> bool:
    """Whether a token or a login is in the text, or in a short line a name that marks its value.

    Examples
    --------
    >>> holds_marked("host=local user=me password=hunter2"), holds_marked("pass the salt")
    (True, False)
    """
    if not may_hold(text):
        return False
    if len(text) <= _LONGEST_LINE and "\n" not in text:
        return _unmarked(text) != text
    return bool(TOKEN.search(text) or LOGIN.search(text))


def _unmarked(text: str) -> str:
    text = TOKEN.sub(MASK, text)
    if "://" in text and "@" in text:
        text = _USER.sub(f"{MASK}@", LOGIN.sub(f"{MASK}@", text))
    for header in (_HEADER, _COOKIE, _BEARER):
        text = header.sub(rf"\1{MASK}", text)
    return _without_values(_without_values(_without_blocks(text), _NAME), _OPTION)


def _without_blocks(text: str) -> str:
    """The text without the indented lines below a line that ends with ``name:``."""
    pieces, done = [], 0
    for head in _BLOCK.finditer(text):
        if head.start() >= done and marks_secret(head[2]):
            below = _below(text, head.end(), len(head[1]))
            if below > head.end():
                pieces += [text[done : head.end()], head[1], f"  {MASK}\n"]
                done = below
    return "".join([*pieces, text[done:]])


def _below(text: str, start: int, indentation: int) -> int:
    """Where the lines end that are indented deeper, or are items of a list."""
    end = start
    while start < len(text) and (line := _LINE.match(text, start)):
        start = line.end()
        if line[2] and len(line[1]) <= indentation and not line[2].startswith("- "):
            break
        end = start if line[2] else end
    return end


def _without_values(text: str, names: re.Pattern[str]) -> str:
    """The text with the values masked that follow names that mark secrets."""
    pieces, done = [], 0
    for name in names.finditer(text):
        if name.start() < done or not marks_secret(name[1]):
            continue
        value = _VALUE.match(text, name.end())
        if value and _is_worth(name[1], value[0].strip("\"'")):
            quoting = value[0][-1] if value[0][-1] in "\"'" else ""
            pieces += [text[done : name.end()], quoting, MASK, quoting]
            done = value.end()
    return "".join([*pieces, text[done:]])


def _is_worth(name: str, value: str) -> bool:
    return value not in _WORTH_NOTHING and not (value.isdigit() and may_count(name))


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
    if equals and marks_secret(name) and _is_worth(name, value):
        return f"{name}={MASK}"
    return scrub(argument)


def masked_text(text: str, secrets: Sequence[str]) -> str:
    """The text of a file without these secrets; nothing of it if one cannot be found in it.

    Parameters
    ----------
    text : str
        What the file holds.
    secrets : sequence of str
        What was read from it.

    Examples
    --------
    >>> masked_text('password = "hunter2"  # hunter2', ["hunter2"])
    'password = "***"  # ***'
    """
    clean = text
    for secret in sorted(secrets, key=len, reverse=True):
        spellings = forms([secret])
        if spellings and not any(spelling in text for spelling in spellings):
            return MASK
        for spelling in spellings:
            clean = clean.replace(spelling, MASK)
    clean = scrub(clean)
    return MASK if any(_stands_in(clean, short) for short in secrets) else clean


def _stands_in(text: str, word: str) -> bool:
    return word not in ("", MASK) and bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text))
