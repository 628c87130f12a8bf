"""Make a module prove that it is genuine: by HMAC-SHA256 with a shared key, or by another scheme.

The host sends a challenge and the module answers with a proof. A scheme says what they contain, and
has a number. :class:`SharedKey` is the scheme of SPEC.md, section 9. :class:`Authenticator` is the
protocol of all schemes.
:class:`lenslink.Device` calls :func:`authenticate` when a session opens, or when it is asked to.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import AuthScheme, Capability
from lenslink_protocol.manifest import Manifest
from lenslink_protocol.messages import Challenge, HelloReply, Proof
from lenslink_protocol.params import AUTH_BYTES, MAX_CONTROL

from .arguments import check_type
from .deadline import Deadline
from .errors import DeviceError, NotGenuine, StorageError, UsageError

if TYPE_CHECKING:
    # Importing the session imports numpy, which the help of a command does not need.
    from .session import Session

# Enough for a slow secure element. A module that never answers must not delay the opening further.
_PATIENCE_S = 10.0
_MAX_KEY_FILE_BYTES = 4096
_MAX_CHALLENGE_BYTES = MAX_CONTROL - Challenge.FIXED.size


class Authenticator(Protocol):
    """A scheme of authentication, for ``authenticate=`` of :func:`lenslink.open` and ``attach()``.

    The driver asks the module in every session: after a detachment it may be another module.

    :class:`SharedKey` is an authenticator. A vendor's authenticator has the same three members:

    >>> import hashlib, secrets
    >>> class Vendors:
    ...     scheme = 0x8001
    ...     def challenge(self):
    ...         return secrets.token_bytes(32)
    ...     def check(self, challenge, proof, manifest, nonce):
    ...         return hashlib.sha256(b"secret" + challenge).digest() == proof
    >>> lenslink.open("sim:?width=64&height=64", authenticate=Vendors())
    Traceback (most recent call last):
    lenslink.errors.NotGenuine: module ... cannot prove that it is genuine ...
    """

    @property
    def scheme(self) -> int:
        """The number of the scheme, below 2^16. Numbers from 0x8000 on are the vendor's."""

    def challenge(self) -> bytes:
        """Return a challenge of 1 to 1020 bytes. Each call returns new, unpredictable bytes."""

    def check(self, challenge: bytes, proof: bytes, manifest: Manifest, nonce: int) -> bool:
        """Return True if *proof* is the right answer to *challenge*.

        Args:
            challenge: What :meth:`challenge` returned.
            proof: 1 to 1020 bytes from the module.
            manifest: What the module says of itself, its serial number for example. Nothing proves
                that it is true.
            nonce: The session's nonce, which is in the header of every packet.
        """


class SharedKey:
    """The scheme HMAC_SHA256: module and host share a key of 32 bytes.

    The proof is bound to the challenge, to the session, and to the serial number and firmware in
    the manifest. It does not tell whether the module is at the other end of the cable: a relay that
    passes all packets on to a genuine module is not detected.

    >>> lenslink.SharedKey(bytes(32)).scheme
    <AuthScheme.HMAC_SHA256: 1>
    >>> lenslink.SharedKey(b"short")
    Traceback (most recent call last):
    lenslink.errors.UsageError: a key has 32 bytes, this one 5
    """

    scheme = AuthScheme.HMAC_SHA256

    def __init__(self, key: bytes) -> None:
        """Take the key: 32 bytes; see :func:`read_key_file`."""
        check_type("the key", key, bytes, f"{AUTH_BYTES} bytes")
        if len(key) != AUTH_BYTES:
            raise UsageError(f"a key has {AUTH_BYTES} bytes, this one {len(key)}")
        self._key = key

    def __repr__(self) -> str:
        return "<lenslink.SharedKey>"

    def challenge(self) -> bytes:
        """Return 32 random bytes."""
        return secrets.token_bytes(AUTH_BYTES)

    def check(self, challenge: bytes, proof: bytes, manifest: Manifest, nonce: int) -> bool:
        """Return True if *proof* is right. The comparison takes the same time for every proof."""
        firmware = manifest.firmware
        expected = make_proof(self._key, challenge, nonce, manifest.serial, firmware)
        return hmac.compare_digest(expected, proof)


def read_key_file(path: str | os.PathLike[str]) -> bytes:
    """Return the key in a file: 64 hexadecimal digits, with any white space around them.

    >>> from pathlib import Path
    >>> _ = Path("module.key").write_text("00" * 32 + "\\n")
    >>> len(lenslink.read_key_file("module.key"))
    32

    Raises:
        UsageError: The file is no key.
        StorageError: The file cannot be read.
    """
    name = Path(path)
    try:
        with name.open("rb") as file:
            text = file.read(_MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise StorageError(f"{name}: {error.strerror or error}") from None
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != AUTH_BYTES:
        raise UsageError(f"{name}: a key is {2 * AUTH_BYTES} hexadecimal digits")
    return key


def make_authenticator(key_or_authenticator: Authenticator | bytes) -> Authenticator:
    """Return a :class:`SharedKey` of a key. Return an authenticator unchanged."""
    if isinstance(key_or_authenticator, bytes):
        return SharedKey(key_or_authenticator)
    return key_or_authenticator


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
    if not 1 <= len(challenge) <= _MAX_CHALLENGE_BYTES:
        raise UsageError(
            f"a challenge has 1 to {_MAX_CHALLENGE_BYTES} bytes, this one {len(challenge)}"
        )
    patience = Deadline(min(_PATIENCE_S, deadline.remaining()), "authenticating the module")
    try:
        answer = session.call(Challenge(scheme, challenge), Proof, patience)
    except DeviceError as error:
        raise NotGenuine(f"{name} does not prove that it is genuine: {error}") from None
    if answer.scheme != scheme:
        raise NotGenuine(f"{name} proves by scheme {answer.scheme}, where {scheme} was asked for")
    if not answer.proof or not authenticator.check(
        challenge, answer.proof, manifest, session.link.nonce
    ):
        raise NotGenuine(f"{name} is not genuine: its proof is wrong")
