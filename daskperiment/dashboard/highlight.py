"""Python source as pairs of class and text, for colours."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_LONGEST = 500_000
"""Characters of a source whose words are told apart."""


@lru_cache(maxsize=32)
def tokens(source: str) -> list[list[str]]:
    """Classes and texts, which joined are the source.

    The classes are ``k`` keyword, ``s`` text, ``n`` number, ``c`` comment, ``o`` operator,
    ``nf`` function, ``nc`` class, ``nd`` decorator, ``nb`` built-in, ``e`` error, and empty.

    Examples
    --------
    >>> tokens("def f(): ...")[:3]
    [['k', 'def'], ['', ' '], ['nf', 'f']]
    """
    if len(source) > _LONGEST:
        return [["", source]]
    from pygments.lexers.python import PythonLexer

    lexer = PythonLexer(ensurenl=False, stripnl=False)
    found: list[list[str]] = []
    for kind, text in lexer.get_tokens(source):
        word = _class(kind)
        if found and found[-1][0] == word:
            found[-1][1] += text
        else:
            found.append([word, text])
    return found


@lru_cache(maxsize=256)
def _class(kind: Any) -> str:
    from pygments.token import Comment, Error, Keyword, Name, Number, Operator, String

    classes = (
        (Keyword, "k"), (String, "s"), (Number, "n"), (Comment, "c"), (Operator, "o"),
        (Name.Function, "nf"), (Name.Class, "nc"), (Name.Decorator, "nd"),
        (Name.Builtin, "nb"), (Name.Exception, "nb"), (Error, "e"),
    )  # fmt: skip
    return next((word for parent, word in classes if kind in parent), "")
