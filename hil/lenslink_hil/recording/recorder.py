"""A transport that writes all bytes of another transport to a recording.

``lenslink record`` passes :func:`wrap_transport` to :func:`lenslink.open`. The driver then uses the
wrapper as it would use the transport itself.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected
from lenslink.transports.base import (
    ClockedTransport,
    KnownLine,
    MultiLaneTransport,
    Transport,
)
from lenslink.url import Url
from lenslink_protocol.params import VERSION_MAJOR, VERSION_MINOR

from .lcap import Direction


class DataWriter(Protocol):
    """What a recorded transport writes to: a :class:`.lcap.Writer`, or what passes it on to one."""

    def write_data(
        self, lane: int, direction: Direction, pieces: Sequence[memoryview | bytes]
    ) -> None:
        """Write bytes that went over a lane."""

    def write_lane_end(self, lane: int, reason: str) -> None:
        """Write that a lane has ended."""


def make_info(url: Url, lanes: int) -> dict[str, object]:
    """Return the INFO record of a recording that begins now."""
    return {
        "lenslink": version("lenslink"),
        "protocol": f"{VERSION_MAJOR}.{VERSION_MINOR}",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "url": url.text,
        "seed": url.options.get("seed"),
        "lanes": lanes,
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
    }


def count_lanes(transport: Transport) -> int:
    """Return the number of lanes of *transport*."""
    return transport.lanes if isinstance(transport, MultiLaneTransport) else 1


def wrap_transport(transport: Transport, writer: DataWriter) -> Transport:
    """Return *transport* with all its bytes written to *writer*. The caller closes *writer*."""
    if isinstance(transport, MultiLaneTransport):
        return RecordingLanes(transport, writer)
    return RecordingTransport(transport, writer)


class RecordingTransport:
    """A transport of one lane around another transport."""

    def __init__(self, transport: Transport, writer: DataWriter) -> None:
        self.private = transport.private
        self.note = transport.note
        self.window: int | None = getattr(transport, "window", None)
        self._inner = transport
        self._writer = writer
        self._is_lost = False
        if isinstance(transport, KnownLine):
            self.line = transport.line
        if isinstance(transport, ClockedTransport):
            # The link's timers must go by the clock of the bench, recorded or not.
            self.now = transport.now
            self.reading = transport.reading

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        try:
            count = self._inner.receive_into(buffers, seconds)
        except Disconnected as error:
            self._record_loss(str(error))
            raise
        self._record_received(0, buffers, count)
        return count

    def send(self, data: bytes, deadline: Deadline) -> None:
        # Written first, so that the file holds a request before its answer.
        self._writer.write_data(0, Direction.TO_MODULE, [data])
        try:
            self._inner.send(data, deadline)
        except Disconnected as error:
            self._record_loss(str(error))
            raise

    def close(self) -> None:
        self._inner.close()

    def _record_loss(self, reason: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._writer.write_lane_end(0, reason)

    def _record_received(self, lane: int, buffers: Sequence[memoryview], count: int) -> None:
        rest = count
        pieces = []
        for buffer in buffers:
            if rest <= 0:
                break
            pieces.append(buffer[:rest])
            rest -= len(buffer)
        self._writer.write_data(lane, Direction.TO_HOST, pieces)


class RecordingLanes(RecordingTransport):
    """A transport of several lanes around another transport."""

    def __init__(self, transport: MultiLaneTransport, writer: DataWriter) -> None:
        super().__init__(transport, writer)
        self.lanes = transport.lanes
        self._lanes = transport
        self._ended_lanes: set[int] = set()

    def ready(self, seconds: float) -> Sequence[int]:
        return self._lanes.ready(seconds)

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        try:
            count = self._lanes.receive_lane_into(lane, buffers)
        except Disconnected as error:
            self._record_loss(str(error))
            raise
        if count is not None:
            self._record_received(lane, buffers, count)
        elif lane not in self._ended_lanes:
            self._ended_lanes.add(lane)
            self._writer.write_lane_end(lane, "the lane ended")
        return count
