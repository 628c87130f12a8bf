"""Whether a module is genuine: the hook that a scheme of authentication is plugged into.

The protocol carries a challenge and its proof; what they hold is the scheme's. None is defined yet.
"""

from __future__ import annotations

from typing import Protocol

from lenslink_protocol.ids import Capability
from lenslink_protocol.manifest import Manifest
from lenslink_protocol.messages import Challenge, HelloReply, Proof
from lenslink_protocol.params import MAX_CONTROL

from .deadline import Deadline
from .errors import DeviceError, NotGenuine, UsageError
from .session import Session

# Enough for a slow secure element; a module that never answers must not hold an opening for longer.
_PATIENCE_S = 10.0
_LONGEST = MAX_CONTROL - Challenge.FIXED.size


class Authenticator(Protocol):
    """A scheme, as ``authenticate=`` of :func:`lenslink.open` and :func:`lenslink.attach` takes it.

    It is asked in every session: a module that was taken off may be another when it is back.
    """

    @property
    def scheme(self) -> int:
        """Its number, below 2^16: from 0x8000 the vendor's."""

    def challenge(self) -> bytes:
        """What the module has to prove itself by: unpredictable, never used again, 1 to 1020 B."""

    def check(self, challenge: bytes, proof: bytes, manifest: Manifest) -> bool:
        """Whether *proof* (1 to 1020 B, from the module) is that of *challenge*.

        *manifest* is what the module says of itself, its serial number for one: that too is only
        what the module says.
        """


def authenticate(
    session: Session,
    reply: HelloReply,
    manifest: Manifest,
    authenticator: Authenticator,
    deadline: Deadline,
) -> None:
    """Have the module prove that it is genuine; :exc:`~lenslink.errors.NotGenuine` if it does not.

    Raises :exc:`~lenslink.errors.Timeout` where it does not answer.
    """
    name = f"module {manifest.serial}"
    if not reply.capabilities & Capability.AUTH:
        raise NotGenuine(f"{name} cannot prove that it is genuine (it has no authentication)")
    scheme, challenge = authenticator.scheme, authenticator.challenge()
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
