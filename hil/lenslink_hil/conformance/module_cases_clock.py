"""Cases for modules: the module's clock (SPEC.md, 3.4 and 6)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.ids import ControlId

from .cases import Cases, check
from .host_peer import STILL, HostPeer, read_frame_start
from .module_steps import CLOCK_TOLERANCE_US, LONG_EXPOSURE_US, every, exchange_heartbeat

CASES: Cases[Callable[[HostPeer], None]] = Cases()


@CASES.add("M-TIME-1")
def times_of_heartbeats(peer: HostPeer) -> None:
    """HeartbeatReply repeats the host's time, and states when that arrived and was answered."""
    peer.open_session()
    before = -1
    for time_us in (7, (1 << 64) - 1, 0, 1 << 40, 8):
        reply = exchange_heartbeat(peer, time_us)
        check(reply.host_us == time_us, f"host_us {reply.host_us} after time_us {time_us}")
        said = f"received_us {reply.received_us}, after a reply at {before}"
        check(reply.received_us >= before, said)
        said = f"received_us {reply.received_us} is after uptime_us {reply.uptime_us}"
        check(reply.received_us <= reply.uptime_us, said)
        before = reply.uptime_us


@CASES.add("M-TIME-1")
def times_go_on(peer: HostPeer) -> None:
    """Between two Heartbeats, both times of the module go on as the time does."""
    sent = peer.wire.now()
    opened = peer.open_session()
    first = exchange_heartbeat(peer, 1)
    peer.collect(0.4)
    again = peer.wire.now()
    second = exchange_heartbeat(peer, 2)
    arrived = peer.wire.now()
    passed = second.uptime_us - opened.uptime_us
    said = f"uptime_us goes on by {passed} us from HelloReply in {arrived - sent:.3f} s"
    check(0 <= passed <= (arrived - sent) * 1e6 + CLOCK_TOLERANCE_US, said)
    for name in ("received_us", "uptime_us"):
        passed = getattr(second, name) - getattr(first, name)
        least, most = (again - sent) * 1e6, (arrived - sent) * 1e6
        fits = least - CLOCK_TOLERANCE_US <= passed <= most + CLOCK_TOLERANCE_US
        check(fits, f"{name} goes on by {passed} us within {least:.0f} to {most:.0f} us")


@CASES.add("M-TIME-2")
def time_of_a_readout(peer: HostPeer) -> None:
    """A readout begins when the exposure is over, and before its FrameStart is sent."""
    peer.open_session()
    peer.configure(STILL)
    for _ in range(2):
        before = exchange_heartbeat(peer, 1).uptime_us
        mark = len(peer.log)
        peer.start_capture(1, [every(ControlId.EXPOSURE, LONG_EXPOSURE_US)])
        start = read_frame_start(peer.wait_for_frame(STILL, mark))
        after = exchange_heartbeat(peer, 2).uptime_us
        earliest = before + start.exposure_us
        said = f"timestamp_us {start.timestamp_us} of a readout between {earliest} and {after}"
        check(earliest <= start.timestamp_us <= after, said)
