"""Test the bad vectors on the host's receiver, and on the firmware's in both interpreters."""

from __future__ import annotations

from collections import Counter

import pytest
from helpers import byte_listener
from helpers.vectors import each

from lenslink.receive.frame_pool import Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.ids import DiscardReason
from lenslink_protocol.link import Link
from lenslink_protocol.messages import Configured

PLAN = Configured(0, 0, 1, 0x01100010, 16, 16, 32, 512, 256)
CHUNKS = (1, 7, 40, 1000, 1 << 20)


class Listening(Link):
    """Records type and sequence of the packets that were used, or skipped as a vendor's."""

    def __init__(self, nonce: int) -> None:
        discards: Counter[DiscardReason] = Counter()
        super().__init__(nonce, Reassembly(Pool(), discards, {0: PLAN}.get), discards)
        self.used: list[list[int]] = []

    def on_packet(self, header, *rest):
        before = self.discards.total()
        super().on_packet(header, *rest)
        if self.discards.total() == before:
            self.used.append([header.type, header.sequence])


def check(vector, used, discards):
    assert used == vector["packets"]
    noise = discards.pop("noise", 0)
    expected = dict(vector["discards"])
    assert noise >= expected.pop("noise", 0)
    assert ("noise" in vector["discards"]) == (noise > 0)
    assert discards == expected


@pytest.mark.parametrize("chunk", CHUNKS)
@each("bad", receiver="host")
def test_the_host(vector, chunk):
    link = Listening(vector["nonce"])
    now = 0.0
    for step in vector["stream"]:
        if "idle_ms" in step:
            now += step["idle_ms"] / 1000
            link.receiver.poll(now)
            continue
        data = bytes.fromhex(step["hex"])
        for start in range(0, len(data), chunk):
            link.receiver.feed(data[start : start + chunk], now)
    check(vector, link.used, {cause.value: n for cause, n in link.discards.items() if n})


@pytest.mark.parametrize("chunk", CHUNKS)
@each("bad", receiver="module")
def test_the_module_on_cpython(vector, chunk):
    used, discards = byte_listener.listen(vector["stream"], chunk)
    check(vector, used, dict(discards))


@pytest.mark.parametrize("chunk", CHUNKS)
@each("bad", receiver="module")
def test_the_module_on_micropython(vector, chunk, twin):
    used, discards = twin.ask("listen", vector["stream"], chunk)
    check(vector, used, discards)


@each("bad")
def test_every_cause_is_known(vector):
    assert set(vector["discards"]) <= {cause.value for cause in DiscardReason}
    assert vector["receiver"] in ("host", "module")
