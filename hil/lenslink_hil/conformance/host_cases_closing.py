"""Cases for hosts: Close (SPEC.md, 3.2)."""

from __future__ import annotations

from typing import Any

from lenslink_protocol.ids import (
    BusyReason,
    CloseReason,
    ErrorCode,
    MessageType,
)
from lenslink_protocol.messages import (
    Busy,
    Close,
    Configure,
    Error,
    GetManifest,
    Pending,
    Stop,
)

from .cases import Cases, check
from .host_steps import LosingModule, Preview, lose_tile
from .module_peer import HostResult, Item, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_NEW_REASON = 9


@CASES.add("H-CLOSE-1")
class EndsInOrder(Script):
    """After its frame the host says goodbye."""

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check(self.is_closed, "the host went without Close")


@CASES.add("H-CLOSE-1")
class ClosesAfterRefusal(Script):
    """Capture is refused: the host ends the session with Close."""

    limit_s = 12.0

    def on_capture(self, packet: Packet) -> None:
        self.send_reply(packet, Error(ErrorCode.POWER, b"the supply is too low"))

    def judge(self, result: HostResult) -> None:
        check(self.is_closed, "the host went without Close after its Capture was refused")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-CLOSE-1")
class ClosesWithoutFrame(LosingModule):
    """A tile is lost for ever: the host gives the frame up, and ends the session with Close."""

    capabilities = 0
    limit_s = 12.0

    def judge(self, result: HostResult) -> None:
        check(self.is_closed, "the host went without Close after a frame that was not whole")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-CLOSE-1")
class CloseAfterLosses(Preview):
    """A tile of the second frame of a preview is gone for ever: the host closes all the same."""

    capabilities = 0

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [lose_tile(item) for item in found] if self.frame == 1 else found

    def judge(self, result: HostResult) -> None:
        del result
        stopped = self.find_packets(MessageType.STOP, MessageType.FLUSH)
        check(not stopped or self.is_closed, "the host went without Close behind a lost tile")


class _Refuses(Script):
    """Refuses requests of some types: the host ends the session with Close."""

    refused: tuple[int, ...] = ()
    limit_s = 12.0

    def on_packet(self, packet: Packet) -> None:
        if packet.kind in self.refused:
            self.send_reply(packet, Error(ErrorCode.STATE, b"not now"))
        else:
            super().on_packet(packet)

    def judge(self, result: HostResult) -> None:
        asked = [str(packet) for packet in self.find_packets(*self.refused)]
        said = f"the host went without Close after a refusal of {asked[:1]}"
        check(not asked or self.is_closed, said)


@CASES.add("H-CLOSE-1")
class ClosesWithoutManifest(_Refuses):
    """GetManifest is refused."""

    refused = (MessageType.GET_MANIFEST,)


@CASES.add("H-CLOSE-1")
class ClosesUnconfigured(_Refuses):
    """Configure is refused."""

    refused = (MessageType.CONFIGURE,)


@CASES.add("H-CLOSE-1")
class ClosesAfterRefusedStop(_Refuses):
    """Stop and Flush are refused behind a still."""

    refused = (MessageType.STOP, MessageType.FLUSH)


@CASES.add("H-CLOSE-1")
class ClosesARunningPreview(_Refuses, Preview):
    """Stop and Flush of a preview are refused: frames go on to come."""

    refused = (MessageType.STOP, MessageType.FLUSH)


@CASES.add("H-CLOSE-2")
class ClosedByModule(Script):
    """The module closes the session instead of sending a frame."""

    limit_s = 3.0
    linger_s = 0.8
    _end = 0.0

    def start_frame(self) -> None:
        self.send_message(Close(CloseReason.DETACH))
        self._end = self.wire.now()

    def judge(self, result: HostResult) -> None:
        # What was on its way when Close came does not count.
        after = [p for p in self.log if self._end and p.at > self._end + 0.3]
        more = [str(p) for p in after if p.kind != MessageType.CLOSE]
        check(not more, f"after the module's Close the host sends {more[:3]}")
        check(not result.ok, "the host claims to have a frame")


class _Closed(Script):
    """The module closes the session. What was on its way then does not count."""

    limit_s = 3.0
    linger_s = 0.8
    _end = 0.0

    def close_session(self, reason: int) -> None:
        """Send Close, and from then on answer nothing."""
        self.send_message(Close(reason))
        self._end = self.wire.now()

    def on_packet(self, packet: Packet) -> None:
        if not self._end:
            super().on_packet(packet)
        elif packet.kind == MessageType.CLOSE:
            self.is_closed = True

    def judge(self, result: HostResult) -> None:
        after = [p for p in self.log if self._end and p.at > self._end + 0.1]
        more = [str(p) for p in after if p.kind != MessageType.CLOSE]
        check(not more, f"after the module's Close the host sends {more[:3]}")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-CLOSE-2")
class ClosedWhileAsking(_Closed):
    """The module closes the session instead of answering Configure: it is not repeated."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.close_session(CloseReason.POWER)


@CASES.add("H-CLOSE-2")
class ClosedForANewReason(_Closed):
    """The module closes the session for a reason of a newer version."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.close_session(_NEW_REASON)


@CASES.add("H-CLOSE-2")
class ClosedByANewerModule(_Closed):
    """The module closes the session, instead of sending a frame, with a Close that has grown."""

    def start_frame(self) -> None:
        self.close_session(0xFF)

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: Any) -> bytes:
        if kind == MessageType.CLOSE:
            payload = (len(payload) + 4).to_bytes(2, "little") + payload[2:] + b"more"
        return super().pack(kind, payload, number, **more)


@CASES.add("H-CLOSE-2")
class ClosedInAFrame(_Closed):
    """The module closes the session inside a frame: the rest is not asked for, nothing is sent."""

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        self.queue += self.make_items()[:5]
        self.send_waiting()
        self.call_later(0.02, lambda: self.close_session(CloseReason.INTERNAL))


@CASES.add("H-CLOSE-2")
class ClosedAtStop(Preview):
    """The module closes the session while Stop waits for its answer: nothing follows but Close."""

    linger_s = 1.2
    _at = 0.0

    def on_stop(self, packet: Packet, message: Stop) -> None:
        del message
        self.end_frame()
        self._at = self._at or packet.at
        self.send_message(Close(CloseReason.INTERNAL))

    def judge(self, result: HostResult) -> None:
        check(not result.ok or self._at, "the preview is not stopped")
        later = [p for p in self.log if p.at > self._at + 0.2 and p.kind != MessageType.CLOSE]
        check(not later or not self._at, f"behind the module's Close come {later[:2]}")


@CASES.add("H-CLOSE-2")
class ClosedInAPreview(_Closed, Preview):
    """The module closes the session behind the first frame of a preview: no Stop follows."""

    def end_frame(self) -> None:
        self._is_running = False

    def start_frame(self) -> None:
        super().start_frame()
        if not self._end:
            self._is_running = False
            self.call_later(0.05, lambda: self.close_session(CloseReason.POWER))


class _ClosedInALease(_Closed):
    """The module takes a lease of 3 s, and closes the session in it."""

    def take_lease(self, packet: Packet) -> None:
        """Send Busy or Pending."""
        raise NotImplementedError

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.take_lease(packet)
        self.call_later(0.1, lambda: self.close_session(CloseReason.INTERNAL))


@CASES.add("H-CLOSE-2")
class ClosedWhilePending(_ClosedInALease):
    """Configure is pending when the module closes the session."""

    def take_lease(self, packet: Packet) -> None:
        self.send_reply(packet, Pending(3000))


@CASES.add("H-CLOSE-2")
class ClosedWhileBusy(_ClosedInALease):
    """The module is BUSY when it closes the session."""

    def take_lease(self, packet: Packet) -> None:
        self.send_message(Busy(BusyReason.FLASH, 3000))


@CASES.add("H-CLOSE-2")
class ClosedAtTheManifest(_Closed):
    """The module closes the session instead of answering GetManifest."""

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.close_session(CloseReason.ORDERLY)
