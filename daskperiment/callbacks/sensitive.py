"""Addresses and passwords of whoever is notified: used as they are, shown by nobody."""

from __future__ import annotations

import os
from collections.abc import Callable

from daskperiment.errors import CallbackError
from daskperiment.secrets import MASK, Secret
from daskperiment.secrets.variables import VARIABLE
from daskperiment.serializers.preview import preview


class Sensitive:
    """A text in which ``${NAME}`` stands for an environment variable.

    As long as it lives, a text without variables, or else the values of the variables, are masked
    in what this process records.

    Parameters
    ----------
    name : str
        What it is for, as an error names it.
    text : str or Secret
        The text.
    masked : bool
        Whether it is masked elsewhere; a Secret always is.

    Raises
    ------
    CallbackError
        It is no text, or a variable is not set.

    Examples
    --------
    >>> os.environ["DOC_TOKEN"] = "a/b"
    >>> address = Sensitive("url", "https://host/${DOC_TOKEN}")
    >>> address
    ***
    >>> address.reveal()
    'https://host/a/b'
    """

    def __init__(self, name: str, text: str | Secret, *, masked: bool = True) -> None:
        if not isinstance(text, (str, Secret)) or not text:
            raise CallbackError(f"{name} is a text, not {preview(text, 80)}")
        names = VARIABLE.findall(text) if isinstance(text, str) else []
        for variable in names:
            if variable not in os.environ:
                raise CallbackError(
                    f"{name} needs the environment variable {variable}, which is not set: set it, "
                    "or give the text itself"
                )
        self._text = Secret(text) if masked and isinstance(text, str) and not names else text
        self._kept = [Secret.from_env(variable) for variable in names if masked]

    def __repr__(self) -> str:
        return MASK

    def reveal(self, spelled: Callable[[str], str] = str) -> str:
        """The text, with the values of variables as ``spelled`` writes them."""
        if isinstance(self._text, Secret):
            return str(self._text.reveal())
        if VARIABLE.fullmatch(self._text):  # it is all of it, an address for example
            spelled = str
        return VARIABLE.sub(lambda found: spelled(os.environ[found[1]]), self._text)
