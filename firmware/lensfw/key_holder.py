"""Prove with a key that the module is genuine: the scheme HMAC_SHA256 (SPEC.md, section 9).

``module`` imports this if the configuration has a key. ``boot`` reads the key of a board from a
file of its own, so an update of the firmware or of the configuration leaves it alone.
"""

import binascii
import hashlib
import struct

from . import manifest, wire

# The block of SHA-256 in bytes. MicroPython has no module hmac.
_BLOCK = 64


def compute_hmac(key, message):
    """Return the HMAC-SHA256 of a message (RFC 2104). The key has at most 64 bytes."""
    key = key + bytes(_BLOCK - len(key))
    inner = hashlib.sha256(bytes([byte ^ 0x36 for byte in key]))
    inner.update(message)
    outer = hashlib.sha256(bytes([byte ^ 0x5C for byte in key]))
    outer.update(inner.digest())
    return outer.digest()


def parse_key(text):
    """Return the bytes of a key in hexadecimal digits. Raise ValueError if it is none."""
    key = binascii.unhexlify(text.strip())
    if len(key) != wire.AUTH_BYTES:
        raise ValueError("a key has %d bytes, not %d" % (wire.AUTH_BYTES, len(key)))
    return key


def make_key_holder(text, serial):
    """Return a KeyHolder, or None for a text that is no key: the module then has no AUTH."""
    try:
        return KeyHolder(parse_key(text), serial)
    except ValueError as error:
        print("lensfw: the module cannot prove that it is genuine:", error)
        return None


class KeyHolder:
    """The module's key, and what the proof binds to it: serial number and firmware."""

    def __init__(self, key, serial):
        self._key = key
        serial = serial.encode()
        self._identity = struct.pack("<H", len(serial)) + serial + manifest.FIRMWARE.encode()

    def prove(self, challenge, nonce):
        """Return the proof for a challenge in the session *nonce*, or None if it is no challenge.

        A challenge has AUTH_BYTES.
        """
        if len(challenge) != wire.AUTH_BYTES:
            return None
        message = bytes(challenge) + struct.pack("<I", nonce) + self._identity
        return compute_hmac(self._key, message)
