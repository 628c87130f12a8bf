"""Test that host and firmware compute the proofs of HMAC_SHA256 that openssl computes."""

from __future__ import annotations

import pytest
from helpers.vectors import each, load

from lenslink_protocol.hmac_proof import make_proof


@each("authentication")
def test_host_and_firmware_agree(vector, twin):
    key, challenge = bytes.fromhex(vector["key"]), bytes.fromhex(vector["challenge"])
    identity = (vector["nonce"], vector["serial"], vector["firmware"])
    assert make_proof(key, challenge, *identity).hex() == vector["proof"]
    assert twin.ask("prove", vector["key"], vector["challenge"], *identity) == vector["proof"]


def test_each_vector_has_a_proof_of_its_own():
    assert len({vector["proof"] for vector in load("authentication")}) == len(
        load("authentication")
    )


def test_other_lengths_have_no_proof(twin):
    for length in (0, 31, 33, 64):
        with pytest.raises(ValueError, match="challenge has 32 bytes"):
            make_proof(bytes(32), bytes(length), 1, "S", "F")
        with pytest.raises(ValueError, match="key has 32 bytes"):
            make_proof(bytes(length), bytes(32), 1, "S", "F")
        assert twin.ask("prove", "00" * 32, "00" * length, 1, "S", "F") is None
