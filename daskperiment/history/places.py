"""Places of values in trials: what is kept there is signed, and read back only if it is genuine.

A pickle runs the code that it names.  In a store that others may write to, it is therefore
loaded only if the document that describes it is signed by a key that is never in the store.
The signature covers where the document stands, so that what is genuine in one place is not in
another.  JSON and ``.npy`` need none: they can run nothing, and their digests are compared.
"""

from __future__ import annotations

import functools
import json
import logging
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeAlias

from daskperiment.backends.base import Backend, Write
from daskperiment.errors import (
    BackendUnreachableError,
    DaskperimentWarning,
    KeyFileError,
    OptionError,
    UntrustedPayloadError,
)
from daskperiment.history import payloads
from daskperiment.history.collection import holding, referring
from daskperiment.namespace import namespaced
from daskperiment.secrets import scrub
from daskperiment.secrets.key import VARIABLE, signing_key
from daskperiment.secrets.signing import SCHEME, TrialKey, known_trial_key, trial_key
from daskperiment.serializers import preview
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

Trust: TypeAlias = Literal["signed", "all"]
"""Which pickles of a shared store are loaded."""
Slot: TypeAlias = tuple[str, ...]
"""Where in a trial: ``("result",)``, ``("parameters", name)``, ``("output", step, call)``,
``("artifacts", name)`` or ``("checkpoint", step, call, what the call is)``."""

_HEXADECIMAL = frozenset("0123456789abcdef")


def check_trust(trust: object) -> Trust:
    """Return what is trusted, or raise OptionError.

    Examples
    --------
    >>> check_trust("signed")
    'signed'
    """
    if trust == "signed" or trust == "all":
        return trust
    raise OptionError(
        f'trust must be "signed" or "all", not {preview(trust, 80)}: "all" loads every pickle of a '
        "store that others may write to, whoever has put it there"
    )


@dataclass(frozen=True)
class Place:
    """One trial, as what belongs to it is kept and read back.

    Parameters
    ----------
    backend : Backend
        Where it is recorded; one that this user owns needs no signatures.
    experiment, uid : str
        Of the trial.
    trust : str
        ``"signed"`` or ``"all"``.
    key : TrialKey, optional
        What to sign with; None derives it from the key of the team or the user.
    """

    backend: Backend
    experiment: str
    uid: str
    trust: Trust = "signed"
    key: TrialKey | None = field(default=None, repr=False, compare=False)

    def keep(self, slot: Slot, value: Any, *, inline: bool = True) -> tuple[Document, list[Write]]:
        """Describe a value and :meth:`sign` the description; see :func:`payloads.keep`."""
        document, writes = payloads.keep(value, inline=inline)
        return self.sign(slot, document), writes

    def sign(self, slot: Slot, document: Document, *, anywhere: bool = False) -> Document:
        """A description as it is kept here, with a signature if one is needed.

        Whoever takes a description from another place calls :meth:`check` there first.  Where no
        key can be had it stays unsigned, and a warning says so once.  Where the store is away and
        was never seen, so that its id is not known, the signature holds for this trial anywhere,
        and so it does where that is asked for: then the store is not asked.
        """
        if document.get("codec") != "pickle" or self.backend.owned:
            return document
        try:
            store = None if anywhere else self._store()
            signature = self._signer().sign(self._message(slot, document, store))
        except OSError as error:
            _warn_unsigned(scrub(str(error)))
            return {name: value for name, value in document.items() if name != "signed"}
        return document | {"signed": signature}

    def load(self, slot: Slot, kept: Document) -> Any:
        """Read a value back.

        Raises
        ------
        UntrustedPayloadError
            It is a pickle of a store that others may write to, without a valid signature.
        ValueNotKeptError
            It could not be encoded when it was recorded.
        PayloadError
            The stored bytes are not those of the record.
        """
        return payloads.load(self.backend, kept, pickles=self.check(slot, kept))

    def take(
        self, slot: Slot, source: Place, there: Slot, kept: Document
    ) -> tuple[Any, Document, list[Write]]:
        """Read a value of another trial of this store, and describe it as one of this trial.

        Returns
        -------
        value : Any
            The value.
        document, writes : dict, list of Write
            As :meth:`keep` returns them.  Errors as for :meth:`load`.
        """
        pickles = source.check(there, kept)
        if "digest" not in kept:
            return payloads.load(self.backend, kept), kept, []
        data = payloads.fetch(self.backend, kept["digest"], kept["preview"])
        bare = {name: value for name, value in kept.items() if name != "signed"}
        value = payloads.decoded(kept, data, pickles)
        return value, self.sign(slot, bare), referring(kept["digest"], data)

    def adopt(
        self, slot: Slot, source: Place, there: Slot, kept: Document
    ) -> tuple[Document, list[Write]]:
        """Describe a value of another trial of this store as one of this trial, without reading it.

        Returns
        -------
        document, writes : dict, list of Write
            As :meth:`keep` returns them; the group is refused where its bytes are gone.

        Raises
        ------
        UntrustedPayloadError
            It is a pickle of a store that others may write to, without a valid signature.
        """
        source.check(there, kept)
        if "digest" not in kept:
            return kept, []
        bare = {name: value for name, value in kept.items() if name != "signed"}
        return self.sign(slot, bare), holding(kept["digest"])

    def check(self, slot: Slot, kept: Document) -> bool:
        """Whether a description is that of a pickle, which may then be loaded.

        Raises
        ------
        UntrustedPayloadError
            It is a pickle of a store that others may write to, without a valid signature.
        """
        pickled = bool(kept.get("codec") == "pickle")
        if pickled and self.trust != "all" and not self.backend.owned:
            self._verify(slot, kept)
        return pickled

    def shown(self, slot: Slot, kept: Document) -> Any:
        """The value itself when it is inline plain data, else a :class:`Kept` handle.

        None for one that was forgotten.
        """
        if "forgotten" in kept:
            return None
        return self.load(slot, kept) if "json" in kept else Kept(self, slot, kept)

    def travelling_key(self) -> TrialKey | None:
        """What goes with the trial to other processes: a key that signs for this trial alone."""
        if self.backend.owned:
            return None
        with suppress(OSError):
            return self._signer()
        return None

    def _signer(self) -> TrialKey:
        return trial_key(self.uid) if self.key is None else self.key

    def _verify(self, slot: Slot, kept: Document) -> None:
        signature = kept.get("signed")
        if signature is None:
            self._refuse(slot, "it is not signed")
        scheme, name = _parts(signature)
        if scheme != SCHEME:
            self._refuse(slot, f"its signature is none of the scheme {SCHEME}")
        key = self.key
        if key is None or key.name != name:
            key = known_trial_key(name, self.uid)
        if key is None:
            where = f"Set {VARIABLE} to the file of the key {name}"
            self._refuse(slot, f"it is signed with the key {name}, which is not at hand", where)
        messages = (self._message(slot, kept, store) for store in (self.backend.store_id, None))
        if not any(key.verifies(signature, message) for message in messages):
            self._refuse(slot, "it was changed, or copied from another place")

    def _store(self) -> str | None:
        try:
            return self.backend.store_id
        except BackendUnreachableError:
            return None

    def _message(self, slot: Slot, kept: Document, store: str | None) -> bytes:
        bound = (kept.get(name) for name in ("codec", "digest", "size"))
        parts = [SCHEME, store, self.experiment, self.uid, list(slot), *bound]
        return json.dumps(parts).encode()

    def _refuse(self, slot: Slot, reason: str, instead: str = "") -> NoReturn:
        what = f"{preview('/'.join(slot), 80)} of trial {preview(str(self.uid)[:8], 20)}"
        raise UntrustedPayloadError(
            f"{what} is a pickle, which may run code, in a store that others may write to, and "
            f"{reason}. {instead or 'Record it again'}, or where you trust everybody who can write "
            'to the store, open it by Experiment(..., trust="all")'
        )


def check_key(backend: Backend) -> None:
    """Refuse to record where pickles could not be signed for a reason that can be removed.

    Raises
    ------
    KeyFileError
        Others may write to the store, and a key that is there cannot be used.
    """
    if not backend.owned:
        try:
            signing_key()
        except KeyFileError:
            raise
        except OSError as error:  # no home, or one that cannot be written
            logger.debug("No key can be made: %s", error)


def _parts(signature: object) -> tuple[str, str]:
    """Scheme of a signature, and name of the key; empty where it is no signature."""
    parts = signature.split(":") if isinstance(signature, str) else []
    if len(parts) != 3 or len(parts[1]) != 8 or not _HEXADECIMAL.issuperset(parts[1]):
        return "", ""
    return parts[0], parts[1]


@functools.lru_cache(maxsize=16)
def _warn_unsigned(reason: str) -> None:
    message = (
        f"Pickles are kept without a signature, so that nobody loads them by default: {reason}"
    )
    logger.warning(message)
    with suppress(DaskperimentWarning):  # made an error, it would end the step
        warnings.warn(message, DaskperimentWarning, stacklevel=2)


class Kept:
    """A value that stays in the store until it is asked for.

    Histories show it by its preview; nothing is decoded before :meth:`load`.
    """

    def __init__(self, place: Place, slot: Slot, document: Document) -> None:
        self._place = place
        self._slot = slot
        self._document = document

    def load(self) -> Any:
        """Decode the value; see :meth:`Place.load` for the errors."""
        return self._place.load(self._slot, self._document)

    def __repr__(self) -> str:
        return str(self._document["preview"])


class Values(dict[str, Any]):
    """Parameter values of a trial; asking for one that was not kept says why."""

    def __init__(self, place: Place, kept: Iterable[tuple[str, Document]]) -> None:
        documents = dict(kept)
        super().__init__(
            (name, namespaced(place.load(("parameters", name), document)))
            for name, document in documents.items()
            if "reason" not in document
        )
        self._lost = {name: doc for name, doc in documents.items() if "reason" in doc}

    def __missing__(self, name: str) -> Any:
        if name in self._lost:
            raise payloads.not_kept(self._lost[name])
        raise KeyError(name)
