"""Names that users give to parameters, steps and metrics."""

from __future__ import annotations

from daskperiment.errors import InvalidNameError
from daskperiment.serializers import preview

_LENGTH = 250


def check_name(name: object, kind: str, example: str = "") -> str:
    """Return a name: any printable text of 1 to 250 characters.

    Parameters
    ----------
    name : object
        What was given as a name.
    kind : str
        What it names, as the first word of the message.
    example : str, optional
        A name to show in the message.

    Raises
    ------
    InvalidNameError
        It is none.

    Examples
    --------
    >>> check_name("train/loss", "Metric")
    'train/loss'
    """
    if isinstance(name, str) and 0 < len(name) <= _LENGTH and name.isprintable():
        return name
    such_as = f"such as {example!r}, " if example else ""
    raise InvalidNameError(
        f"{kind} name must be a printable text of 1 to {_LENGTH} characters, "
        f"{such_as}not {preview(name, 80)}"
    )
