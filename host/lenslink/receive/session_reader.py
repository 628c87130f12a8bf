"""Read the bytes of a session's transport and pass them to the link.

:class:`SessionReader` is the only code that receives from a transport. It asks each lane's
:class:`~.batch.Batch` where the next bytes go, lets the transport fill those buffers, and tells the
batch how many bytes arrived. :meth:`lenslink.session.Session.run_until` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lenslink_protocol.link import Link

from ..transports.base import FillingTransport, MultiLaneTransport, Transport
from .batch import Batch
from .reassembly import Reassembly

# Above this rate, in bytes a second, the 2 MB that a batch predicts at most arrive within 7 ms.
# Then waiting for all of them saves a system call and nobody notices the wait.
_FAST_RATE: Final = 300e6


class SessionReader:
    """Receives for all lanes of one session.

    Args:
        transport: Where the bytes come from. The caller keeps ownership.
        link: Gets every packet.
        frames: The link's frame sink, which the batches write tiles into.
        has_direct_placement: The transport's module writes pixels into the frame's memory itself.
        now: The link's clock, in seconds.
    """

    def __init__(
        self,
        transport: Transport,
        link: Link,
        frames: Reassembly,
        has_direct_placement: bool,
        now: Callable[[], float],
    ) -> None:
        self.wire_bytes = 0
        """Bytes received since the session began."""
        self._transport = transport
        self._filling = transport if isinstance(transport, FillingTransport) else None
        self._link = link
        self._frames = frames
        self._has_direct_placement = has_direct_placement
        self._batches = self._make_batches()
        self._now = now
        self._is_fast = False
        self._last_read = 0.0

    def _make_batches(self) -> list[Batch]:
        lanes = range(len(self._link.lanes))
        return [Batch(self._link, self._frames, lane, self._has_direct_placement) for lane in lanes]

    def restart(self) -> None:
        """Forget what each lane was about to receive."""
        self._batches = self._make_batches()
        self._is_fast = False

    def receive(self, seconds: float) -> bool:
        """Wait up to *seconds* for bytes and pass them to the link.

        Returns:
            True if any lane had bytes or ended.

        Raises:
            Disconnected: The module is gone.
        """
        if len(self._batches) == 1:
            return self._receive_single(seconds)
        return self._receive_lanes(seconds)

    def _receive_single(self, seconds: float) -> bool:
        batch = self._batches[0]
        buffers = batch.get_buffers()
        if self._filling is not None and self._is_fast and len(buffers) > 2:
            count = self._filling.fill_into(buffers)
        else:
            count = self._transport.receive_into(buffers, seconds)
        now = self._now()
        batch.on_received(count, now)
        self.wire_bytes += count
        self._is_fast = count > (now - self._last_read) * _FAST_RATE
        self._last_read = now
        return count > 0

    def _receive_lanes(self, seconds: float) -> bool:
        transport = self._transport
        assert isinstance(transport, MultiLaneTransport)
        ready = transport.ready(seconds)
        for lane in ready:
            batch = self._batches[lane]
            count = transport.receive_lane_into(lane, batch.get_buffers())
            if count is None:
                self._link.on_lane_end(lane)
            else:
                batch.on_received(count, self._now())
                self.wire_bytes += count
        return bool(ready)
