"""Endpoint 0 of a virtual device: control transfers, one after the other.

:class:`~lenslink_hil.usbip.device.VirtualDevice` submits the host's control transfers here. Most
have their answer at once (:mod:`~lenslink_hil.usbip.standard_requests`). A class request goes to
the board, and the transfers behind it wait for the board's reply.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable

from .protocol import ECONNRESET, EPIPE
from .setup_packet import SetupPacket
from .standard_requests import FORWARD
from .urb import Complete, Urb

_log = logging.getLogger(__name__)


class ControlState(enum.Enum):
    """What endpoint 0 waits for."""

    IDLE = "idle"
    AWAITING_REPLY = "awaiting the board's reply"
    DISCARDING_REPLY = "discarding the board's reply"


class ControlEndpoint:
    """The control transfers that wait, and the one that the board answers.

    =================  =====================  ==============================  =====================
    State              event                  action                          next state
    =================  =====================  ==============================  =====================
    IDLE               request, known here    answer it                       IDLE
    IDLE               class request          send it to the board            AWAITING_REPLY
    AWAITING_REPLY     request                queue it                        AWAITING_REPLY
    AWAITING_REPLY     reply of the board     end the transfer, serve next    as for IDLE
    AWAITING_REPLY     unlink                 drop the transfer               DISCARDING_REPLY
    DISCARDING_REPLY   request                queue it                        DISCARDING_REPLY
    DISCARDING_REPLY   reply of the board     ignore it, serve next           as for IDLE
    any                cancel_all()           end all with ECONNRESET         IDLE
    =================  =====================  ==============================  =====================

    Args:
        answer: returns a request's data, None for a stall, or FORWARD.
        send_to_board: sends a request and the host's data to the board.
        complete: takes each transfer that has ended, and its status.
    """

    def __init__(
        self,
        answer: Callable[[SetupPacket], bytes | None],
        send_to_board: Callable[[bytes], None],
        complete: Complete,
    ) -> None:
        self.state = ControlState.IDLE
        self._answer = answer
        self._send_to_board = send_to_board
        self._complete = complete
        self._queue: deque[tuple[Urb, bytes]] = deque()
        self._forwarded: Urb | None = None

    def submit(self, urb: Urb, setup: bytes) -> None:
        """Queue a control transfer, and answer it at once if endpoint 0 is idle."""
        self._queue.append((urb, setup))
        self._serve_queue()

    def handle_reply(self, is_accepted: bool, data: bytes) -> None:
        """End the transfer that the board has answered, and serve those behind it.

        Args:
            is_accepted: False if the board stalls the request.
            data: what the host asked for.
        """
        if self.state is ControlState.IDLE:
            return
        urb, self._forwarded = self._forwarded, None
        self._enter(ControlState.IDLE)
        if urb is not None:
            self._end(urb, data if is_accepted else None)
        self._serve_queue()

    def unlink(self, seqnum: int) -> bool:
        """Take a transfer back without ending it; return False if it is not here."""
        if self._forwarded is not None and self._forwarded.seqnum == seqnum:
            # The board still answers this transfer. The transfers behind it wait for that answer.
            self._forwarded = None
            self._enter(ControlState.DISCARDING_REPLY)
            return True
        for entry in self._queue:
            if entry[0].seqnum == seqnum:
                self._queue.remove(entry)
                return True
        return False

    def cancel_all(self) -> None:
        """End all transfers with ECONNRESET and enter IDLE."""
        urbs = [urb for urb, _ in self._queue]
        if self._forwarded is not None:
            urbs.insert(0, self._forwarded)
        self._queue.clear()
        self._forwarded = None
        self._enter(ControlState.IDLE)
        for urb in urbs:
            self._complete(urb, -ECONNRESET)

    def _serve_queue(self) -> None:
        while self._queue and self.state is ControlState.IDLE:
            # Remove the URB first: a request that resets the device ends all URBs in the queue.
            urb, setup = self._queue.popleft()
            answer = self._answer(SetupPacket.parse(setup))
            if answer is FORWARD:
                self._forwarded = urb
                self._enter(ControlState.AWAITING_REPLY)
                self._send_to_board(setup + bytes(urb.data or b""))
            else:
                self._end(urb, answer)

    def _end(self, urb: Urb, answer: bytes | None) -> None:
        if answer is None:
            self._complete(urb, -EPIPE)
            return
        if urb.data is None:
            answer = answer[: urb.length]
            urb.received_pieces.append(memoryview(answer))
            urb.actual_length = len(answer)
        else:
            urb.actual_length = len(urb.data)
        self._complete(urb, 0)

    def _enter(self, state: ControlState) -> None:
        if state is not self.state:
            _log.debug("endpoint 0: %s -> %s", self.state.value, state.value)
        self.state = state
