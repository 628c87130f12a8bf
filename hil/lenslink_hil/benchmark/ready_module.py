"""The firmware's own module with a sensor that needs no reading: its tiles come packed.

Hello, manifest, configuration, credits, stop: all of it is the firmware, on CPython. Its rows never
come; whoever owns it sends the tiles, in the module's name and sequence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lensfw import module as firmware
from lensfw import outbox
from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import Capability, MessageType, PixelFormat
from lenslink_protocol.messages import Configure, Configured, Hello
from lenslink_protocol.params import HEADER_BYTES, MAX_PAYLOAD, MAX_STREAMS

from ..benches.board_profile import load_board, make_configuration
from ..virtual_time import InstantPorts, feed_module

MODE = 1
_TYPE = 5
_ATTACH_S = 5.0


class Clock:
    """Microseconds of this machine's monotonic clock, which all its processes share."""

    def now(self) -> int:
        return time.monotonic_ns() // 1000


class _Outbox(outbox.Outbox):  # type: ignore[misc]
    """Credits for tiles that do not pass through it."""

    def __init__(self) -> None:
        super().__init__()
        self.granted = [0] * MAX_STREAMS
        self.spent = [0] * MAX_STREAMS

    def grant_credits(self, limits: list[int]) -> None:
        super().grant_credits(limits)
        self.granted = [max(old, new) for old, new in zip(self.granted, limits, strict=True)]

    def count_sent(self) -> list[int]:
        return list(self.spent)


Ask = tuple[int, int, int, list[tuple[int, int, int, int]]]
"""Stream, frame, flags and rectangles of a Resend."""


class ReadyModule(firmware.Module):  # type: ignore[misc]
    """``configured`` is what the module last answered; ``asked`` the resends that are owed."""

    def __init__(self, width: int, height: int, tile_bytes: int, serial: str) -> None:
        super().__init__(
            _configuration(width, height, tile_bytes, serial),
            InstantPorts(lambda _: b""),
            Clock(),
        )
        self.link.outbox = _Outbox()
        self.configured: dict[int, Configured] = {}
        self.asked: list[Ask] = []

    def resend_ranges(self, stream: int, frame: int, flags: int, ranges: Any) -> None:
        self.asked.append((stream, frame, flags, [tuple(each) for each in ranges]))

    def running(self, stream: int) -> bool:
        """Whether frames of that stream are owed."""
        return bool(self.streams[stream].frames_left)

    def answers(self) -> Iterator[memoryview]:
        """What the module has to say, packet by packet."""
        while (item := self.link.take_packet(0)) is not None:
            packet: memoryview = item[0]
            if packet[_TYPE] == MessageType.CONFIGURED:
                answer = Configured.decode(packet[HEADER_BYTES:])
                self.configured[answer.stream] = answer
            yield packet

    def feed(self, data: bytes) -> None:
        """Receive bytes from the host."""
        feed_module(self.link, data, self.clock.now())

    def credit(self, stream: int) -> int:
        """Bytes of tiles that may be sent."""
        box: _Outbox = self.link.outbox
        return box.granted[stream] - box.spent[stream]

    def spend(self, stream: int, count: int) -> None:
        """*count* bytes of tiles have been sent."""
        self.link.outbox.spent[stream] += count

    def number(self, count: int) -> int:
        """The first of *count* sequence numbers of lane 0, which are used up."""
        first: int = self.link._tx[0]
        self.link._tx[0] = (first + count) & 0xFFFFFFFF
        return first

    def begin_frame(self) -> int:
        """The number of the next frame."""
        frame: int = self.next_frame
        self.next_frame += 1
        return frame

    def planned(self, tile_bytes: int) -> Configured:
        """What the module answers if it is asked for tiles of that size.

        Asked of it by a session of its own, before there is a host: so the packets can be made
        while nobody waits for them.
        """
        hello = Hello(VERSION, VERSION, 1, Capability(0), MAX_PAYLOAD)
        end = time.monotonic() + _ATTACH_S
        while self.link.nonce is None and time.monotonic() < end:
            # Its contacts have to settle before it answers.
            self.feed(encode_packet(hello.TYPE, hello.encode(), nonce=1, sequence=0, frame=1))
            self.step()
            time.sleep(0.001)
        configure = Configure(0, 0, MODE, 0, tile_bytes)
        self.feed(encode_packet(configure.TYPE, configure.encode(), nonce=1, sequence=1, frame=2))
        self.step()
        for _ in self.answers():
            pass
        self.link.end_session()
        return self.configured.pop(0)


def _configuration(width: int, height: int, tile_bytes: int, serial: str) -> dict[str, Any]:
    mode = {
        "id": MODE,
        "name": "bench",
        "width": width,
        "height": height,
        "binning": 1,
        "use": ["preview", "still"],
        "active_area": [0, 0, height, width],
    }
    sensor = {
        "maker": None,
        "model": "bench",
        "width": width,
        "height": height,
        "bits": 12,
        "cfa": "RGGB",
        "orientation": 1,
        "white": 4095,
        "black": [0.0] * 4,
        "illuminant": 21,
        "color_matrix": [1, 1] * 9,
        "neutral": [1, 1] * 3,
        "modes": [mode],
        "formats": [PixelFormat.RG12p],
    }
    limits = {"tile_bytes": tile_bytes, "tiles": 1, "in_flight": 1, "rate": 0, "latency_us": 0}
    return make_configuration(replace(load_board("sim"), limits=limits), sensor, serial, 1)
