"""Chance: pymongo draws pauses and servers from a stream that is not the user's."""

from __future__ import annotations

import random
import sys

OWN = random.Random()
"""The stream of pymongo and of our own pauses."""


def separate() -> None:
    """Give pymongo this stream in place of that of ``random``, also in its threads.

    Otherwise a server that is away for a moment would change what the user's code draws.
    """
    for name, module in tuple(sys.modules.items()):
        if name.partition(".")[0] == "pymongo" and vars(module).get("random") is random:
            vars(module)["random"] = OWN
