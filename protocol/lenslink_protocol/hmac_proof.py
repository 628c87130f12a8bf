"""The proof of the scheme HMAC_SHA256 (SPEC.md, section 9). The firmware has code of its own."""

from __future__ import annotations

import hmac
import struct

from .params import AUTH_BYTES

_NONCE = struct.Struct("<I")
_LENGTH = struct.Struct("<H")


def make_proof(key: bytes, challenge: bytes, nonce: int, serial: str, firmware: str) -> bytes:
    """Return the proof of a module: 32 bytes.

    >>> make_proof(bytes(32), bytes(32), 0x5EED, "LENS-1", "lensfw 0.1.0").hex()[:8]
    '00000000'

    Args:
        key: 32 bytes, which module and host share.
        challenge: 32 bytes, drawn by the host for this one proof.
        nonce: The number of the session, which is in each header.
        serial: The serial number in the manifest.
        firmware: The firmware in the manifest.

    Raises:
        ValueError: The key or the challenge has another length.
    """
    for name, value in (("key", key), ("challenge", challenge)):
        if len(value) != AUTH_BYTES:
            raise ValueError(f"a {name} has {AUTH_BYTES} bytes, this one {len(value)}")
    text = serial.encode()
    message = challenge + _NONCE.pack(nonce) + _LENGTH.pack(len(text)) + text + firmware.encode()
    return hmac.digest(key, message, "sha256")
