"""The walk over a value, and the canonical bytes that it makes.

Every part of a value has a *form*: bytes that begin with a tag of its type and never
continue another form.  A short part (a number, a word) stands for itself; a long one, and
everything that holds other parts, is the tag and the 32-byte digest of its content.  So
forms can be joined, compared and sorted whatever the size of what they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from blake3 import blake3

Atom: TypeAlias = Callable[[Any], bytes]
"""Makes the form of a value that holds no other values and runs no code of the user."""

Rule: TypeAlias = Callable[["Walk", Any], bytes]
"""Makes the form of any other value."""

LONGEST_ATOM = 64
LONGEST_WAY = 200
LARGE = 1 << 20  # bytes: from here on, threads save more than they cost
DEEPEST = 100
MOST_BACK_REFERENCES = 1_000_000


class Stuck(Exception):  # noqa: N818 - a signal inside this package, not an error
    """The walk met something that it does not know how to hash."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.steps: list[str] = []

    @property
    def where(self) -> str:
        """The way from the root to the part, such as ``.layers[3]``; its beginning if long."""
        way = "".join(reversed(self.steps))
        return way if len(way) <= LONGEST_WAY else way[:LONGEST_WAY] + "..."


def seal(tag: bytes, *parts: bytes) -> bytes:
    """The form of what holds parts: the digest of its tag and their forms."""
    return b"#" + blake3(b"%b:%b" % (tag, b"".join(parts))).digest()


def seal_stream(tag: bytes, buffers: Iterable[Any], size: int) -> bytes:
    """`seal` of buffers of together about `size` bytes, without holding or copying them."""
    hasher = blake3(tag + b":", max_threads=blake3.AUTO if size > LARGE else 1)
    for buffer in buffers:
        hasher.update(buffer)
    return b"#" + hasher.digest()


def atom(tag: bytes, data: bytes | bytearray) -> bytes:
    """The form of `data`: itself, or sealed when it is long."""
    if len(data) > LONGEST_ATOM:
        return seal_stream(tag, (data,), len(data))
    return b"%b:%c" % (tag, len(data)) + data


def text(value: str) -> bytes:
    """The form of a string; lone surrogates are allowed."""
    if len(value) > LARGE:
        starts = range(0, len(value), LARGE)
        pieces = (value[start : start + LARGE] for start in starts)
        return seal_stream(b"str", map(_utf8, pieces), len(value))
    return atom(b"str", _utf8(value))


def _utf8(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def whole(value: int) -> bytes:
    """The form of an integer of any size."""
    size = (value.bit_length() + 8) // 8
    return atom(b"int", value.to_bytes(size, "little", signed=True))


def type_name(kind: type) -> str:
    """The name of a type as messages show it."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    return name.removeprefix("builtins.")


def item(key: object) -> str:
    """The step to an item, as messages show it."""
    return f"[{key!r:.80}]" if type(key) in (int, str, bool, float) else f"[{type_name(type(key))}]"


def attribute(name: object) -> str:
    """The step to an attribute, as messages show it."""
    return f".{name}" if type(name) is str else item(name)


class Walk:
    """One walk over one value; not for use by several threads.

    A part that holds itself is written as the number of levels up to where it began, and a
    part that is met twice is read once and written twice: equality decides, not identity.

    Parameters
    ----------
    atoms
        The makers of forms by exact type, tried first.
    rule_for
        Gives the rule of any other type.
    contents
        Whether paths count by the content that they name, else by their text.

    Attributes
    ----------
    contents
        As given.
    keyed
        Whether a part of the form depends on the user's key: it holds a secret.
    named
        The functions and classes that are part of the form by their names only, those of
        instances among them.
    codes
        The code of further ones, of parts that are not at hand.
    """

    def __init__(
        self, atoms: Mapping[type, Atom], rule_for: Callable[[type], Rule], contents: bool = True
    ) -> None:
        self._atoms = atoms
        self._rule_for = rule_for
        self._open: dict[int, int] = {}
        self._closed: dict[int, tuple[object, bytes]] = {}
        self._back_references = 0
        self.contents = contents
        self.keyed = False
        self.named: list[object] = []
        self.codes: frozenset[str] = frozenset()

    def encode(self, value: object) -> bytes:
        """The form of `value`; `Stuck` if it has none."""
        maker = self._atoms.get(type(value))
        return maker(value) if maker is not None else self._compound(value)

    def sequence(self, values: Iterable[object]) -> bytes:
        """The number of the values and their forms, in order."""
        forms: list[bytes] = []
        try:
            for value in values:
                forms.append(self.encode(value))
        except Stuck as stuck:
            stuck.steps.append(f"[{len(forms)}]")
            raise
        return len(forms).to_bytes(8, "little") + b"".join(forms)

    def unordered(self, values: Iterable[object]) -> bytes:
        """The number of the values and their forms, in the order of the forms."""
        forms = sorted(self.encode(value) for value in values)
        return len(forms).to_bytes(8, "little") + b"".join(forms)

    def pairs(
        self, pairs: Iterable[tuple[object, object]], step: Callable[[object], str] = item
    ) -> bytes:
        """The number of the pairs and their forms, in the order of the forms."""
        forms: list[bytes] = []
        for key, value in pairs:
            try:
                forms.append(self.encode(key) + self.encode(value))
            except Stuck as stuck:
                stuck.steps.append(step(key))
                raise
        forms.sort()
        return len(forms).to_bytes(8, "little") + b"".join(forms)

    def _compound(self, value: object) -> bytes:
        known = self._closed.get(id(value))
        if known is not None:
            return known[1]
        level = self._open.get(id(value))
        if level is not None:
            return self._back_reference(len(self._open) - level)
        if len(self._open) == DEEPEST:
            raise Stuck(f"nested deeper than {DEEPEST} levels")
        before = self._back_references
        form = self._enter(value)
        # A part of a cycle looks different from each of its members, so only parts without
        # any back-reference may be taken from here; else the order of a dict would matter.
        # Holding the value keeps its id from being given to another one.
        if self._back_references == before:
            self._closed[id(value)] = value, form
        return form

    def _enter(self, value: object) -> bytes:
        self._open[id(value)] = len(self._open)
        try:
            return self._rule_for(type(value))(self, value)
        except (Stuck, KeyboardInterrupt):
            raise
        except BaseException as error:
            why = type_name(type(error))
            raise Stuck(f"{type_name(type(value))} (reading it raised {why})") from error
        finally:
            del self._open[id(value)]

    def _back_reference(self, levels_up: int) -> bytes:
        self._back_references += 1
        if self._back_references > MOST_BACK_REFERENCES:
            raise Stuck("its cycles are too entangled to follow")
        return atom(b"cycle", levels_up.to_bytes(2, "little"))
