"""A toy that stands where a scheme of authentication would: in the common subset.

The proof is a CRC of a key that everybody knows and of the challenge: it proves nothing. It is for
tests, and the simulated module of one of them loads it by its name.
"""

import binascii

SCHEME = 0x8000
SCHEMES = (SCHEME,)
_KEY = b"everybody knows"


def authenticate(scheme, challenge):
    """The module's end."""
    return proof(challenge) if scheme == SCHEME else None


def proof(challenge):
    return binascii.crc32(_KEY + bytes(challenge)).to_bytes(4, "little")
