"""Signatures of what may run code when it is read back."""

from __future__ import annotations

from daskperiment.secrets.key import known_key, name_of, signing_key

SCHEME = "v1"
"""What signatures begin with; those of another scheme are not understood."""


class TrialKey:
    """A key by which parts of one trial can be signed, and nothing else.

    It is derived from the key of the team or of the user and from the trial's uid.  It is what
    travels in the task graph, so that a worker process that holds no key can sign what it
    keeps for this trial.  Whoever sees it can neither sign for another trial nor find the key
    that it was derived from; whoever holds that key derives it again to verify a signature.

    Parameters
    ----------
    name : str
        Name of the key that it was derived from.
    secret : bytes
        The derived key.
    """

    __slots__ = ("_secret", "name")

    def __init__(self, name: str, secret: bytes) -> None:
        self.name = name
        self._secret = secret

    def __reduce__(self) -> tuple[type[TrialKey], tuple[str, bytes]]:
        return TrialKey, (self.name, self._secret)

    def __repr__(self) -> str:
        return f"<TrialKey of the key {self.name}>"

    def sign(self, message: bytes) -> str:
        """The signature of a message: scheme, name of the key, and digest."""
        from blake3 import blake3

        return f"{SCHEME}:{self.name}:{blake3(message, key=self._secret).hexdigest()}"

    def verifies(self, signature: str, message: bytes) -> bool:
        """Whether a signature is that of a message; takes the same time for any wrong one."""
        from hmac import compare_digest

        given = signature.encode("utf-8", "surrogatepass")
        return compare_digest(self.sign(message).encode(), given)


def trial_key(uid: str) -> TrialKey:
    """The key of a trial by which this process signs.

    Raises
    ------
    OSError
        There is no key that can be used, see `daskperiment.secrets.key.signing_key`.
    """
    return _derived(signing_key(), uid)


def known_trial_key(name: str, uid: str) -> TrialKey | None:
    """The key of a trial, derived from the key of this name; None if that is not at hand.

    Raises
    ------
    KeyFileError
        The team's key cannot be used, or others can read the user's.
    """
    key = known_key(name)
    return None if key is None else _derived(key, uid)


def _derived(key: bytes, uid: str) -> TrialKey:
    from blake3 import blake3

    # In a mode of its own: no digest that is stored elsewhere can equal the derived key.
    material = key + str(uid).encode("utf-8", "surrogatepass")
    secret = blake3(material, derive_key_context="daskperiment v1 key of a trial").digest()
    return TrialKey(name_of(key), secret)
