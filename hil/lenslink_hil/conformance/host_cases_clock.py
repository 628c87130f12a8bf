"""Cases for hosts: the host's clock (SPEC.md, 3.4)."""

from __future__ import annotations

from itertools import pairwise

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Heartbeat

from .cases import Cases, check
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
        beats = []
        for packet in self.find_packets(MessageType.HEARTBEAT):
            message = packet.message()
            assert isinstance(message, Heartbeat)
            beats.append((packet.at, message.time_us))
        for (_, before), (_, after) in pairwise(beats):
            check(before <= after, f"time_us {before}, then {after}")
        first, last = beats[0], beats[-1]
        arrived, stated = last[0] - first[0], (last[1] - first[1]) / 1e6
        said = f"time_us goes on by {stated:.3f} s within {arrived:.3f} s"
        check(abs(arrived - stated) <= _TOLERANCE_S, said)
