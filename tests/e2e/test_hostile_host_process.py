"""A host floods the module's process and reads nothing; then another one is served by it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from helpers import bench_scale
from helpers.nightly_scale import choose

import lenslink
from lenslink import FrameStatus
from lenslink.deadline import Deadline
from lenslink.transports.base import Transport
from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.link import CAPABILITIES
from lenslink_protocol.messages import (
    Capture,
    Configure,
    GetManifest,
    Heartbeat,
    Hello,
    Resend,
    SetSettings,
    StartStream,
)
from lenslink_protocol.params import EVERY_FRAME, MAX_PAYLOAD, MAX_SETTING, MAX_SETTINGS

PACKETS = choose(8000, 100_000)
NONCE = 0x12345678
LONGEST_LIST = encode_settings(
    Setting(1 + at, EVERY_FRAME, MAX_SETTING) for at in range(MAX_SETTINGS)
)

HELLO = Hello(VERSION, VERSION, 1, CAPABILITIES, MAX_PAYLOAD)


def garbage(number: int) -> Iterator[tuple[int, bytes]]:
    yield 0x3F, random.Random(number).randbytes(900)


def manifests(number: int) -> Iterator[tuple[int, bytes]]:
    yield GetManifest.TYPE, GetManifest(0).encode()


def heartbeats(number: int) -> Iterator[tuple[int, bytes]]:
    yield Heartbeat.TYPE, Heartbeat((0, 0, 0), 0).encode()


def hellos(number: int) -> Iterator[tuple[int, bytes]]:
    yield Hello.TYPE, HELLO.encode()


def captures_of_what_may_not_be_sent(number: int) -> Iterator[tuple[int, bytes]]:
    yield Configure.TYPE, Configure(0, 0, 0, 0, 0).encode()
    yield Capture.TYPE, Capture(0, 65535, b"\xff" * 768).encode()
    yield Capture.TYPE, Capture(0, 65535, LONGEST_LIST).encode()
    yield StartStream.TYPE, StartStream(0, 0).encode()
    yield SetSettings.TYPE, SetSettings(0, LONGEST_LIST).encode()
    yield Resend.TYPE, Resend(3, 32, b"\0\0\0\0\xff\xff\xff\xff" * 32).encode()


FLOODS = [garbage, manifests, heartbeats, hellos, captures_of_what_may_not_be_sent]


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood(
    own_url: Callable[..., str],
    scale: bench_scale.Scale,
    flood: Callable[[int], Iterator[tuple[int, bytes]]],
) -> None:
    """With a Pico's heap, and no more: a module that kept all it was asked would run out of it."""

    def flooded(transport: Transport) -> Transport:
        deadline = Deadline(scale.seconds(60))
        sequence = 0
        transport.send(encode_packet(Hello.TYPE, HELLO.encode(), nonce=NONCE, sequence=0), deadline)
        for number in range(scale.count(PACKETS)):
            for kind, payload in flood(number):
                sequence += 1
                packet = encode_packet(
                    kind, payload, nonce=NONCE, sequence=sequence, frame=sequence + 1
                )
                transport.send(packet, deadline)
        return transport

    url = own_url(scene="prbs", width=64, height=64, board="pico")
    with lenslink.open(url, wrap=flooded, timeout=scale.seconds(60)) as device:
        with closing(device.stream(timeout=scale.seconds(10))) as frames:
            for _ in range(3):
                with next(frames) as frame:
                    assert frame.status is FrameStatus.COMPLETE
        # Nothing of the flooder's session was taken for the next one's.
        assert set(device.stats.discards) >= {"nonce"}
        assert (
            not {k for k, n in device.stats.discards.items() if n}
            - {"nonce", "noise"}
            - scale.repeated
        )
