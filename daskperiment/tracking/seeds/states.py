"""Where the streams of a step call stand, as plain data, and putting them there again."""

from __future__ import annotations

import struct
from _random import Random as Twister
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from daskperiment.errors import PayloadError
from daskperiment.tracking.seeds import frameworks, numpy_stream
from daskperiment.tracking.seeds.draws import Draws
from daskperiment.typing import Document

_WORDS = 624
"""Words of the state of a Mersenne twister."""


def state_of(draws: Draws) -> Document:
    """Where the streams of a running call stand, as JSON; asking is no use of them.

    Examples
    --------
    >>> import random
    >>> from daskperiment.tracking import seeds
    >>> with seeds.seeded(1) as draws:
    ...     before = state_of(draws)
    ...     first, here = random.random(), state_of(draws)
    ...     then = random.random()
    >>> before["uses"], here["uses"]
    (0, 1)
    >>> with seeds.seeded(1) as draws:
    ...     restore(draws, here)
    ...     random.random() == then, draws.drew
    (True, True)
    """
    state: Document = {"uses": draws.uses, "entropy": draws.entropy}
    if draws.twister is not None:
        words = Twister.getstate(draws.twister)
        state["random"] = [_text(words[:_WORDS]), words[_WORDS], draws.gauss]
    legacy = numpy_stream.state_of(draws)
    if legacy is not None:
        words, place = legacy["state"]["key"].tolist(), legacy["state"]["pos"]
        state["numpy"] = [_text(words), int(place), int(legacy["has_gauss"]), legacy["gauss"]]
    if (generator := draws.generator_state()) is not None:
        state["rng"] = generator
    if torch := frameworks.torch_states():
        state["torch"] = [b64encode(each).decode() for each in torch]
    return state


def restore(draws: Draws, state: Document) -> None:
    """Put the streams of a running call where they stood; all of them or, when one is wrong, none.

    What the call has drawn and read up to there counts as drawn and read by this one.

    Raises
    ------
    PayloadError
        It is not what :func:`state_of` gave.
    """
    try:
        uses, entropy = int(state["uses"]), bool(state["entropy"])
        twister, gauss = _twister(*state["random"]) if "random" in state else (None, None)
        legacy = _legacy(*state["numpy"]) if "numpy" in state else None
        torch = [b64decode(text, validate=True) for text in state.get("torch", ())]
        draws.set_generator_state(state.get("rng"))
    except (TypeError, ValueError, KeyError, AttributeError, struct.error) as error:
        raise PayloadError(f"the state of the random generators cannot be read: {error}") from error
    draws.uses += uses
    draws.unseeded |= entropy
    draws.twister, draws.gauss = twister, gauss
    numpy_stream.set_state_of(draws, legacy)
    if torch:
        frameworks.set_torch_states(torch)


def _text(words: Sequence[int]) -> str:
    return b64encode(struct.pack(f"<{_WORDS}I", *words)).decode()


def _words(text: str) -> tuple[int, ...]:
    return struct.unpack(f"<{_WORDS}I", b64decode(text, validate=True))


def _place(place: int) -> int:
    if not 0 <= int(place) <= _WORDS:
        raise ValueError(f"{place} is no place in it")
    return int(place)


def _twister(words: str, place: int, gauss: float | None) -> tuple[Twister, float | None]:
    twister = Twister(0)
    twister.setstate((*_words(words), _place(place)))
    return twister, None if gauss is None else float(gauss)


def _legacy(words: str, place: int, has_gauss: int, gauss: float) -> dict[str, Any]:
    import numpy as np

    key = np.array(_words(words), dtype=np.uint32)
    return {
        "bit_generator": "MT19937", "state": {"key": key, "pos": _place(place)},
        "has_gauss": int(bool(has_gauss)), "gauss": float(gauss),
    }  # fmt: skip
