"""A transport that keeps what goes through another one."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from importlib.metadata import version

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected
from lenslink.transports.base import MultiLaneTransport, Transport
from lenslink.url import Url
from lenslink_protocol.params import VERSION_MAJOR, VERSION_MINOR

from .lcap import Direction, Writer


def make_info(url: Url, lanes: int) -> dict[str, object]:
    """The INFO of a recording that begins now."""
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
    """How many lanes it has."""
    return transport.lanes if isinstance(transport, MultiLaneTransport) else 1


def wrap_transport(transport: Transport, writer: Writer) -> Transport:
    """*transport*, with all its bytes written to *writer*, which stays the caller's."""
    if isinstance(transport, MultiLaneTransport):
        return RecordingLanes(transport, writer)
    return RecordingTransport(transport, writer)


class RecordingTransport:
    """A transport of one lane around another."""

    def __init__(self, transport: Transport, writer: Writer) -> None:
        self.private = transport.private
        self.note = transport.note
        self.window: int | None = getattr(transport, "window", None)
        self._inner = transport
        self._writer = writer
        self._gone = False

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        try:
            count = self._inner.receive_into(buffers, seconds)
        except Disconnected as error:
            self._lost(str(error))
            raise
        self._keep(0, buffers, count)
        return count

    def send(self, data: bytes, deadline: Deadline) -> None:
        # First, so that in the file too a request comes before its answer.
        self._writer.write_data(0, Direction.TO_MODULE, [data])
        try:
            self._inner.send(data, deadline)
        except Disconnected as error:
            self._lost(str(error))
            raise

    def close(self) -> None:
        self._inner.close()

    def _lost(self, reason: str) -> None:
        if not self._gone:
            self._gone = True
            self._writer.write_lane_end(0, reason)

    def _keep(self, lane: int, buffers: Sequence[memoryview], count: int) -> None:
        rest = count
        pieces = []
        for buffer in buffers:
            if rest <= 0:
                break
            pieces.append(buffer[:rest])
            rest -= len(buffer)
        self._writer.write_data(lane, Direction.TO_HOST, pieces)


class RecordingLanes(RecordingTransport):
    """The same for several lanes."""

    def __init__(self, transport: MultiLaneTransport, writer: Writer) -> None:
        super().__init__(transport, writer)
        self.lanes = transport.lanes
        self._lanes = transport
        self._ended: set[int] = set()

    def ready(self, seconds: float) -> Sequence[int]:
        return self._lanes.ready(seconds)

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        try:
            count = self._lanes.receive_lane_into(lane, buffers)
        except Disconnected as error:
            self._lost(str(error))
            raise
        if count is not None:
            self._keep(lane, buffers, count)
        elif lane not in self._ended:
            self._ended.add(lane)
            self._writer.write_lane_end(lane, "the lane ended")
        return count
