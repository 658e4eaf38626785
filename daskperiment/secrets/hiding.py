"""Values with their secret parts hidden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from daskperiment.secrets.leaves import NUMBERS, TEXT, leaves, text_of
from daskperiment.secrets.names import is_secret_under
from daskperiment.secrets.scrubbing import holds_marked
from daskperiment.secrets.value import MASK, Secret, alive, forms, is_secret, refuse, texts


class Hidden(Secret):
    """A value that steps get as it is, and that records treat as a secret.

    Parameters
    ----------
    value : Any
        The value.
    found : iterable of str, optional
        Its secret parts, so that the rest of it may be shown; default all of it.

    Attributes
    ----------
    partly : bool
        Whether the rest of it may be shown.
    """

    __slots__ = ("partly",)

    def __init__(self, value: Any, found: Iterable[str] | None = None) -> None:
        super().__init__(value)
        self.partly = found is not None
        if found is not None:
            self._texts = forms(found)

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
            refuse()
        return Hidden, (self._value, ())


def parts(value: Any, named: bool = True, marked: bool = False) -> Iterator[str | Secret]:
    """The secret parts of a value: Secrets, and the text of what is marked or has a shape.

    Parameters
    ----------
    value : Any
        Looked into as :func:`~daskperiment.secrets.leaves.leaves` does.
    named : bool
        Whether names in it mark what they lead to.
    marked : bool
        Whether all of it is secret.
    """
    for leaf, inside in leaves(value, named, marked):
        if is_secret(leaf):
            yield leaf
        elif inside or holds_marked(text_of(leaf)):
            yield text_of(leaf)


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
    named = secret is None
    marked = named and is_secret_under(name, value)
    if (type(value) in NUMBERS and not (marked or secret)) or is_secret(value):
        return value
    if secret:
        return Hidden(value)
    found = list(parts(value, named, marked))
    if not found:
        return value
    if marked or issubclass(type(value), TEXT):
        return Hidden(value)
    return Hidden(value, [part for part in found if isinstance(part, str)])


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
    return any(text in part for part in texts(value) for text in living)


def revealed(value: Any) -> Any:
    """The value as steps get it: a hidden one in clear, a Secret as it is."""
    return value.reveal() if type(value) is Hidden else value


def kind(value: Any) -> type:
    """The type of a value, also of a hidden one."""
    return type(revealed(value))
