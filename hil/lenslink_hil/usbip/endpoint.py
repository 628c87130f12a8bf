"""One bulk or interrupt endpoint of a virtual device, without I/O.

:class:`~lenslink_hil.usbip.device.VirtualDevice` calls it with the transfers that the board arms
and the URBs that the host submits. The endpoint moves packets between the two, and reports each
transfer that has ended to the side that started it.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable

from .descriptors import IN_FLAG
from .protocol import ECONNRESET, EOVERFLOW, EPIPE
from .urb import Complete, Urb

_log = logging.getLogger(__name__)


class EndpointState(enum.Enum):
    """Which sides have started a transfer on an endpoint: the board, the host, both, or neither."""

    IDLE = "idle"
    BOARD_READY = "board ready"
    HOST_WAITING = "host waiting"
    MOVING = "moving"
    HALTED = "halted"


class BoardTransfer:
    """The transfer that the board has armed: data to send, or space to fill."""

    def __init__(self, buffer: memoryview) -> None:
        self.buffer = buffer
        self.offset = 0

    @property
    def is_complete(self) -> bool:
        """Whether all bytes have moved."""
        return self.offset == len(self.buffer)

    @property
    def remaining(self) -> int:
        """The number of bytes that have not moved yet."""
        return len(self.buffer) - self.offset


class Endpoint:
    """One direction of an endpoint number.

    =============  ============  ==============  ======================  =============  ==========
    State          board arms    host submits    board's transfer ends   last URB ends  halt
    =============  ============  ==============  ======================  =============  ==========
    IDLE           BOARD_READY   HOST_WAITING    --                      --             HALTED
    BOARD_READY    BOARD_READY   MOVING          --                      --             HALTED
    HOST_WAITING   MOVING        HOST_WAITING    --                      IDLE           HALTED
    MOVING         MOVING        MOVING          HOST_WAITING            BOARD_READY    HALTED
    HALTED         HALTED [1]    HALTED [2]      --                      --             HALTED
    =============  ============  ==============  ======================  =============  ==========

    1. The endpoint ignores what the board arms.
    2. The URB ends at once with EPIPE.

    Entering HALTED drops the board's transfer and ends each URB with EPIPE. Clearing the halt leads
    to IDLE; in any other state it changes nothing. A bus reset, or a new configuration, ends each
    URB with ECONNRESET and makes a new endpoint.

    Packets move in MOVING only: nothing moves for a host that does not read. A URB ends when it is
    full or with a short packet, as on a wire. The board's transfer ends when all its bytes have
    moved, or with a short packet of the host.

    ``generation`` is a number that the device changes at each reset and at each halt by the host.
    Each record of the board (:mod:`~lenslink_hil.usbip.cable`) carries the board's last known
    generation. The device ignores a record whose generation is older: the board sent it before it
    knew of the reset or the halt.

    Args:
        address: the endpoint's number, with bit 7 set for IN.
        packet_bytes: the longest packet, wMaxPacketSize.
        generation: the generation in which the host configured the device.
        complete: takes each URB that has ended, and its status.
        report_done: takes the endpoint, the number of bytes that the board's transfer moved, and
            the host's data if the endpoint is OUT.
    """

    def __init__(
        self,
        address: int,
        packet_bytes: int,
        generation: int,
        complete: Complete,
        report_done: Callable[[Endpoint, int, bytes], None],
    ) -> None:
        self.address = address
        self.packet_bytes = packet_bytes
        self.generation = generation
        self._complete = complete
        self._report_done = report_done
        self._urbs: deque[Urb] = deque()
        self._board_transfer: BoardTransfer | None = None
        self._is_halted = False

    @property
    def state(self) -> EndpointState:
        """The state, which follows from the transfers of both sides."""
        if self._is_halted:
            return EndpointState.HALTED
        if self._board_transfer is None:
            return EndpointState.HOST_WAITING if self._urbs else EndpointState.IDLE
        return EndpointState.MOVING if self._urbs else EndpointState.BOARD_READY

    @property
    def is_in(self) -> bool:
        """Whether data goes from the board to the host."""
        return bool(self.address & IN_FLAG)

    # --- the board's side -----------------------------------------------------------------

    def arm(self, data: bytes, length: int) -> None:
        """Start a transfer of the board: *data* to send, or space for *length* bytes."""
        if not self._is_halted:
            self._board_transfer = BoardTransfer(
                memoryview(data if self.is_in else bytearray(length))
            )
        self._log_event("armed by the board")

    # --- the host's side ------------------------------------------------------------------

    def submit(self, urb: Urb) -> None:
        """Queue a URB, or end it with EPIPE if the endpoint is halted."""
        if self._is_halted:
            self._complete(urb, -EPIPE)
        else:
            self._urbs.append(urb)
        self._log_event("URB submitted")

    def unlink(self, seqnum: int) -> int | None:
        """Take a URB back. Return the status of the answer, or None if the URB is not here.

        A URB that has moved bytes ends with them, as if the unlink had come too late: the bytes
        have left the board and would be lost otherwise.
        """
        for urb in self._urbs:
            if urb.seqnum == seqnum:
                self._urbs.remove(urb)
                self._log_event("URB unlinked")
                if not urb.actual_length:
                    return -ECONNRESET
                self._complete(urb, 0)
                return 0
        return None

    def halt(self) -> None:
        """Enter HALTED: drop the board's transfer without a report, and end each URB with EPIPE."""
        self._is_halted = True
        self._board_transfer = None
        self.cancel_urbs(EPIPE)
        self._log_event("halted")

    def clear_halt(self) -> None:
        """Leave HALTED."""
        self._is_halted = False
        self._log_event("halt cleared")

    def cancel_urbs(self, error: int) -> None:
        """End each URB with *error*, an errno."""
        while self._urbs:
            self._complete(self._urbs.popleft(), -error)

    # --- packets --------------------------------------------------------------------------

    def move_packets(self, limit: int) -> int:
        """Move at most *limit* bytes of the first URB; return how many have moved.

        Call it in state MOVING only. Ends the URB and the board's transfer if they are complete.
        """
        urb, transfer = self._urbs[0], self._board_transfer
        assert transfer is not None
        if self.is_in:
            return self._move_in(urb, transfer, limit)
        return self._move_out(urb, transfer, limit)

    def _move_in(self, urb: Urb, transfer: BoardTransfer, limit: int) -> int:
        room = urb.length - urb.actual_length
        count = min(transfer.remaining, limit)
        if count > room:
            count = room - room % self.packet_bytes
            if not count:
                # The board's next packet is longer than the rest of the host's buffer. It is lost:
                # the board counts it as sent, and the URB ends with EOVERFLOW.
                transfer.offset += min(transfer.remaining, self.packet_bytes)
                self._end_first_urb(-EOVERFLOW)
        if count:
            end = transfer.offset + count
            urb.received_pieces.append(transfer.buffer[transfer.offset : end])
            urb.actual_length += count
            transfer.offset = end
        is_short = False
        if transfer.is_complete:
            length = len(transfer.buffer)
            is_short = not length or length % self.packet_bytes != 0
            self._end_board_transfer(transfer)
        # The URB may have ended above, and the report may have cancelled all URBs.
        is_pending = bool(self._urbs) and self._urbs[0] is urb
        if is_pending and (is_short or urb.actual_length == urb.length):
            self._end_first_urb(0)
        return count

    def _move_out(self, urb: Urb, transfer: BoardTransfer, limit: int) -> int:
        assert urb.data is not None
        count = min(len(urb.data) - urb.actual_length, transfer.remaining, limit)
        end = transfer.offset + count
        piece = urb.data[urb.actual_length : urb.actual_length + count]
        transfer.buffer[transfer.offset : end] = piece
        urb.actual_length += count
        transfer.offset = end
        has_sent_all = urb.actual_length == len(urb.data)
        fills_packets = urb.actual_length > 0 and urb.actual_length % self.packet_bytes == 0
        if fills_packets and urb.has_zero_packet:
            # An empty packet follows the data, in a call of its own that moves 0 bytes.
            ends_urb = ends_short = has_sent_all and count == 0
        else:
            ends_urb = has_sent_all
            # An empty URB is one empty packet, and an empty packet is a short one.
            ends_short = has_sent_all and not fills_packets
        if ends_short or transfer.is_complete:
            self._end_board_transfer(transfer)
        if ends_urb:
            self._end_first_urb(0)
        return count

    def _end_board_transfer(self, transfer: BoardTransfer) -> None:
        self._board_transfer = None
        count = transfer.offset
        self._report_done(self, count, b"" if self.is_in else bytes(transfer.buffer[:count]))
        self._log_event("the board's transfer is done")

    def _end_first_urb(self, status: int) -> None:
        self._complete(self._urbs.popleft(), status)
        self._log_event("URB ended")

    def _log_event(self, event: str) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("endpoint 0x%02x: %s: %s", self.address, event, self.state.value)
