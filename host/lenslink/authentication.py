"""The hook for a scheme of authentication, by which a module proves that it is genuine.

The protocol carries a challenge and a proof; the scheme defines what is in them. LensLink defines
no scheme yet. :class:`lenslink.Device` calls :func:`authenticate` when a session opens.
"""

from __future__ import annotations

from typing import Protocol

from lenslink_protocol.ids import Capability
from lenslink_protocol.manifest import Manifest
from lenslink_protocol.messages import Challenge, HelloReply, Proof
from lenslink_protocol.params import MAX_CONTROL

from .arguments import check_type
from .deadline import Deadline
from .errors import DeviceError, NotGenuine, UsageError
from .session import Session

# Enough for a slow secure element. A module that never answers must not delay the opening further.
_PATIENCE_S = 10.0
_LONGEST = MAX_CONTROL - Challenge.FIXED.size


class Authenticator(Protocol):
    """A scheme of authentication, for ``authenticate=`` of :func:`lenslink.open` and ``attach()``.

    The driver asks the module in every session: after a detachment it may be another module.

    >>> import hashlib, hmac, secrets
    >>> class SharedKey:
    ...     scheme = 0x8001
    ...     def challenge(self):
    ...         return secrets.token_bytes(32)
    ...     def check(self, challenge, proof, manifest):
    ...         expected = hmac.digest(b"our key", challenge, "sha256")
    ...         return hmac.compare_digest(expected, proof)
    >>> lenslink.open("sim:?width=64&height=64", authenticate=SharedKey())
    Traceback (most recent call last):
    lenslink.errors.NotGenuine: module ... cannot prove that it is genuine ...
    """

    @property
    def scheme(self) -> int:
        """The number of the scheme, below 2^16. Numbers from 0x8000 on are the vendor's."""

    def challenge(self) -> bytes:
        """Return 1 to 1020 bytes for the module to prove itself by: unpredictable, never reused."""

    def check(self, challenge: bytes, proof: bytes, manifest: Manifest) -> bool:
        """Return True if *proof* is the right answer to *challenge*.

        Args:
            challenge: What :meth:`challenge` returned.
            proof: 1 to 1020 bytes from the module.
            manifest: What the module says of itself, its serial number for example. Nothing proves
                that it is true.
        """


def authenticate(
    session: Session,
    reply: HelloReply,
    manifest: Manifest,
    authenticator: Authenticator,
    deadline: Deadline,
) -> None:
    """Ask the module to prove that it is genuine.

    Raises:
        NotGenuine: The proof is wrong or missing.
        UsageError: The scheme or its challenge does not fit into the message.
        Timeout: The module does not answer.
    """
    name = f"module {manifest.serial}"
    if not reply.capabilities & Capability.AUTH:
        raise NotGenuine(f"{name} cannot prove that it is genuine (it has no authentication)")
    scheme, challenge = authenticator.scheme, authenticator.challenge()
    check_type("the authenticator's challenge", challenge, bytes, "bytes")
    check_type("the authenticator's scheme", scheme, int, "a whole number")
    if not 0 <= scheme <= 0xFFFF:
        raise UsageError(f"a scheme of authentication is 0 to 65535, not {scheme}")
    if not 1 <= len(challenge) <= _LONGEST:
        raise UsageError(f"a challenge has 1 to {_LONGEST} bytes, this one {len(challenge)}")
    patience = Deadline(min(_PATIENCE_S, deadline.remaining()), "authenticating the module")
    try:
        answer = session.call(Challenge(scheme, challenge), Proof, patience)
    except DeviceError as error:
        raise NotGenuine(f"{name} does not prove that it is genuine: {error}") from None
    if answer.scheme != scheme:
        raise NotGenuine(f"{name} proves by scheme {answer.scheme}, where {scheme} was asked for")
    if not answer.proof or not authenticator.check(challenge, answer.proof, manifest):
        raise NotGenuine(f"{name} is not genuine: its proof is wrong")
