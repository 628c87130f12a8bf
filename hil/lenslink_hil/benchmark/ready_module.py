"""The firmware's module on CPython, with tiles that its owner sends.

Hello, manifest, configuration, credits and stop are the firmware's. The sensor delivers no rows.
:mod:`.source` owns the module, and sends the tiles with the module's nonce and sequence.
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
    """Gives microseconds of the machine's monotonic clock, which all processes share."""

    def now(self) -> int:
        return time.monotonic_ns() // 1000


class _Outbox(outbox.Outbox):  # type: ignore[misc]
    """An outbox that counts credits for tiles that do not pass through the outbox."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = [0] * MAX_STREAMS
        self.sent_bytes = [0] * MAX_STREAMS

    def grant_credits(self, limits: list[int]) -> None:
        super().grant_credits(limits)
        # The time of the heartbeat stands behind the limits.
        self.limits = [max(old, new) for old, new in zip(self.limits, limits, strict=False)]

    def count_sent(self) -> list[int]:
        return list(self.sent_bytes)


Ask = tuple[int, int, int, list[tuple[int, int, int, int]]]
"""Stream, frame, flags and rectangles of a Resend."""


class ReadyModule(firmware.Module):  # type: ignore[misc]
    """A module that answers a host and sends no tiles.

    ``configured`` holds the last Configured of each stream, ``resends`` the Resends to answer.
    """

    def __init__(self, width: int, height: int, tile_bytes: int, serial: str) -> None:
        super().__init__(
            _configuration(width, height, tile_bytes, serial),
            InstantPorts(lambda _: b""),
            Clock(),
        )
        self.link.outbox = _Outbox()
        self.configured: dict[int, Configured] = {}
        self.resends: list[Ask] = []

    def resend_ranges(self, stream: int, frame: int, flags: int, ranges: Any) -> None:
        self.resends.append((stream, frame, flags, [tuple(each) for each in ranges]))

    def is_running(self, stream: int) -> bool:
        """Return True if the stream is running."""
        return bool(self.streams[stream].frames_left)

    def take_packets(self) -> Iterator[memoryview]:
        """Yield and remove the packets that the module wants to send."""
        while (item := self.link.take_packet(0)) is not None:
            packet: memoryview = item[0]
            if packet[_TYPE] == MessageType.CONFIGURED:
                answer = Configured.decode(packet[HEADER_BYTES:])
                self.configured[answer.stream] = answer
            yield packet

    def feed(self, data: bytes) -> None:
        """Receive bytes from the host."""
        feed_module(self.link, data, self.clock.now())

    def count_credit(self, stream: int) -> int:
        """Return how many bytes of tiles may be sent."""
        box: _Outbox = self.link.outbox
        return box.limits[stream] - box.sent_bytes[stream]

    def count_sent(self, stream: int, count: int) -> None:
        """Count *count* bytes of tiles as sent."""
        self.link.outbox.sent_bytes[stream] += count

    def take_sequences(self, count: int) -> int:
        """Use up *count* sequence numbers of lane 0, and return the first."""
        first: int = self.link._tx[0]
        self.link._tx[0] = (first + count) & 0xFFFFFFFF
        return first

    def begin_frame(self) -> int:
        """Use up a frame number, and return it."""
        frame: int = self.next_frame
        self.next_frame += 1
        return frame

    def plan_stream(self, tile_bytes: int) -> Configured:
        """Return the module's answer to Configure with tiles of that size.

        This opens and ends a session before a host connects, so that the packets can be made ahead.
        """
        hello = Hello(VERSION, VERSION, 1, Capability(0), MAX_PAYLOAD)
        end = time.monotonic() + _ATTACH_S
        while self.link.nonce is None and time.monotonic() < end:
            # The contacts have to settle before the module answers.
            self.feed(encode_packet(hello.TYPE, hello.encode(), nonce=1, sequence=0, frame=1))
            self.step()
            time.sleep(0.001)
        configure = Configure(0, 0, MODE, 0, tile_bytes)
        self.feed(encode_packet(configure.TYPE, configure.encode(), nonce=1, sequence=1, frame=2))
        self.step()
        for _ in self.take_packets():
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
