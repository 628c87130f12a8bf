"""Cases for hosts: the host's clock (SPEC.md, 3.4)."""

from __future__ import annotations

from itertools import pairwise

from lenslink_protocol.ids import BusyReason, MessageType
from lenslink_protocol.messages import Busy, Heartbeat

from .cases import Cases, check
from .host_steps import BusyModule
from .module_peer import HostResult, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_WAIT_S = 1.5

# So much longer a Heartbeat may be on its way than another, on a machine that does other things.
_TOLERANCE_S = 0.4


@CASES.add("H-TIME-1")
class TimesOfHeartbeats(Script):
    """A frame takes 1.5 s. The times of the Heartbeats go on as the time does."""

    limit_s = 12.0

    def on_capture(self, packet: Packet) -> None:
        self.send_accepted(packet)
        self.call_later(_WAIT_S, self.start_frame)

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_times(self.find_packets(MessageType.HEARTBEAT))


@CASES.add("H-TIME-1")
class TimesInSilence(BusyModule):
    """The module is silent for 1.5 s. The times of the Heartbeats go on all the same."""

    silence_s = _WAIT_S

    def make_busy(self) -> bytes:
        return self.pack(MessageType.BUSY, Busy(BusyReason.FLASH, 2000).encode())

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        end = self._began + self.silence_s
        beats = self.find_packets(MessageType.HEARTBEAT)
        check_times([p for p in beats if self._began < p.at < end])


def check_times(heartbeats: list[Packet]) -> None:
    """Check that the times of Heartbeats go on as those of their arrival do."""
    check(len(heartbeats) > 1, f"{len(heartbeats)} Heartbeats come in {_WAIT_S:g} s")
    beats = []
    for packet in heartbeats:
        message = packet.message()
        assert isinstance(message, Heartbeat)
        beats.append((packet.at, message.time_us))
    for (_, before), (_, after) in pairwise(beats):
        check(before <= after, f"time_us {before}, then {after}")
    first, last = beats[0], beats[-1]
    arrived, stated = last[0] - first[0], (last[1] - first[1]) / 1e6
    said = f"time_us goes on by {stated:.3f} s within {arrived:.3f} s"
    check(abs(arrived - stated) <= _TOLERANCE_S, said)
