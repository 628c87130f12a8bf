"""Cases for modules: streams, frames, credits and test actions in each shape (SPEC.md, 5 to 10)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from lenslink_protocol.ids import (
    BusyReason,
    Capability,
    CloseReason,
    ConfigureFlag,
    Damage,
    EndStatus,
    ErrorCode,
    FrameState,
    ManifestKey,
    MessageType,
    TestAction,
)
from lenslink_protocol.manifest import iterate_entries
from lenslink_protocol.messages import (
    Accepted,
    Busy,
    Capture,
    Challenge,
    Close,
    Configure,
    Configured,
    Error,
    Flush,
    Flushed,
    GetManifest,
    Heartbeat,
    ManifestPiece,
    Notice,
    Pending,
    Proof,
    Resend,
    StartStream,
    Stop,
    Test,
)
from lenslink_protocol.params import MAX_BUSY_MS

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import (
    ALL,
    PLENTY,
    PREVIEW,
    STILL,
    HostPeer,
    Picture,
    read_frame_end,
)
from .module_cases_demand import EXACT, open_test_session, wait_for_type
from .module_steps import (
    ask_again,
    block_frame,
    check_answers,
    check_cover,
    count_tile_bytes,
    cover,
    gone_rectangles,
    place_of,
    take_resendable_still,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_NO_PACKET = 0xFFFFFFFF
_START = StartStream(PREVIEW, 20000)
_BUSY_MS = 500
_DETACH_MS = 400


# --- streams ----------------------------------------------------------------------------------


@CASES.add("M-STATE-1")
def every_mode_of_both_streams(peer: HostPeer) -> None:
    """Each mode of the manifest is configured on each stream, with its own size."""
    peer.open_session()
    for mode in peer.read_manifest().modes:
        for stream in (PREVIEW, STILL):
            answer = peer.call(Configure(stream, 0, mode.id, 0, 0), Configured)
            got = (answer.stream, answer.mode, answer.width, answer.height)
            wanted = (stream, mode.id, mode.width, mode.height)
            check(got == wanted, f"mode {mode.id} of stream {stream} gets {describe(answer)}")
            size = answer.stride * answer.height
            check(answer.frame_bytes == size, f"{answer.frame_bytes} bytes a frame, not {size}")


@CASES.add("M-STATE-1")
def each_stream_does_both(peer: HostPeer) -> None:
    """StartStream of the still and Capture of the preview work, and end as the others do."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.call(StartStream(STILL, 20000), Accepted)
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)
    for _ in range(2):
        peer.wait_for_frame(STILL, len(peer.log))
    peer.call(Stop(STILL), Accepted)
    mark = len(peer.log)
    peer.call(Capture(PREVIEW, 2), Accepted)
    first = peer.wait_for_frame(PREVIEW, mark)
    assert first.end is not None
    peer.wait_for_frame(PREVIEW, peer.log.index(first.end) + 1)
    peer.collect(0.1)
    count = sum(p.kind == MessageType.FRAME_END for p in peer.log[mark:])
    check(count == 2, f"a Capture of two frames of the preview sends {count}")
    peer.call(Capture(PREVIEW, 1), Accepted)


@CASES.add("M-STATE-1")
def the_newest_configuration_counts(peer: HostPeer) -> None:
    """A second Configure of a stream replaces the first one."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    peer.configure(STILL, 8 * width)
    second = peer.configure(STILL, 2 * width)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture()
    picture = peer.wait_for_frame()
    check_cover(second, picture)
    mark = len(peer.log)
    third = peer.configure(STILL, 8 * width)
    peer.start_capture()
    picture = peer.wait_for_frame(STILL, mark)
    check_cover(third, picture)
    longest = max(tile.header.length for tile in picture.tiles)
    said = f"tiles of {longest} bytes, {third.tile_bytes} are configured"
    check(longest > second.tile_bytes or second.tile_bytes == third.tile_bytes, said)


@CASES.add("M-STATE-2")
def a_trial_without_a_configuration(peer: HostPeer) -> None:
    """TEST_ONLY of a stream that is not configured leaves it so; a wrong mode is refused."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    for stream in (PREVIEW, STILL):
        trial = Configure(stream, ConfigureFlag.TEST_ONLY, mode, 0, 0)
        answer = peer.call(trial, Configured)
        check(answer.flags & ConfigureFlag.TEST_ONLY, f"a trial gets {describe(answer)}")
        peer.expect_error(replace(trial, mode=65000), ErrorCode.UNSUPPORTED)
        peer.expect_error(Capture(stream, 1), ErrorCode.STATE)
        plain = peer.call(Configure(stream, 0, mode, 0, 0), Configured)
        said = f"{describe(plain)} says TEST_ONLY"
        check(not plain.flags & ConfigureFlag.TEST_ONLY, said)
        alike = replace(plain, flags=0) == replace(answer, flags=0)
        check(alike, f"a trial said {describe(answer)}, and {describe(plain)} is applied")


@CASES.add("M-STOP-1")
def stop_beside_a_frame(peer: HostPeer) -> None:
    """Stop of one stream does not touch a frame of the other that waits for credits."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    still = peer.configure(STILL, 4 * width)
    peer.configure(PREVIEW, 4 * width)
    peer.grant_credits(PLENTY, still.tile_bytes)
    peer.start_capture()
    found = peer.wait_for(
        lambda p: p.kind == MessageType.TILE and p.header.stream == STILL, 5.0
    )  # fmt: skip
    check(found, "no tile of the still within 5 s of the credit for it")
    peer.call(_START, Accepted)
    peer.call(Stop(PREVIEW), Accepted)
    peer.grant_credits(PLENTY, PLENTY)
    picture = peer.wait_for_frame(STILL)
    check_cover(still, picture)


@CASES.add("M-STOP-1", "M-CAM-4")
def what_an_aborted_frame_says(peer: HostPeer) -> None:
    """The FrameEnd of an aborted frame states ABORTED, the packet before it, and a bound."""
    block_frame(peer)
    answer = peer.wait_for_answer(peer.send_request(Stop(PREVIEW)))
    check(answer, "Stop inside a frame is not answered")
    ends = [p for p in peer.log if p.kind == MessageType.FRAME_END]
    check(len(ends) == 1, f"{len(ends)} FrameEnds of a frame that Stop ends")
    end = read_frame_end(Picture(end=ends[0]))
    check(end.status == EndStatus.ABORTED, f"a frame that Stop ends has status {end.status}")
    last = (ends[0].header.sequence - 1) & 0xFFFFFFFF
    check(end.last_sequence[0] == last, f"last_sequence {end.last_sequence[0]} after {last}")
    check(end.last_sequence[1:] == (_NO_PACKET,) * 3, f"of one lane: {end.last_sequence}")
    tiles = sum(p.kind == MessageType.TILE for p in peer.log)
    check(end.tiles >= tiles, f"{tiles} tiles were sent, FrameEnd says {end.tiles} at most")


@CASES.add("M-STOP-2")
def what_flushed_says(peer: HostPeer) -> None:
    """Flushed states the lanes, and no packet for lanes that the session does not have."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.wait_for_frame(PREVIEW)
    for _ in range(2):
        number = peer.send_request(Flush())
        answer = peer.wait_for_answer(number)
        message = answer.message() if answer is not None else None
        if answer is None or not isinstance(message, Flushed):
            raise Failed(f"Flush gets {describe(answer)}")
        last = (answer.header.sequence - 1) & 0xFFFFFFFF
        wanted = (last, _NO_PACKET, _NO_PACKET, _NO_PACKET)
        check(message.last_sequence == wanted, f"{describe(message)} after sequence {last}")
        check(message.lanes == 1, f"Flushed states {message.lanes} lanes")
        check(message.last_request == number - 1, f"last_request {message.last_request}")


# --- credits and frames -----------------------------------------------------------------------


@CASES.add("M-CREDIT-1")
def the_highest_limit_counts(peer: HostPeer) -> None:
    """A limit that is lower than one before changes nothing, and limits have 64 bits."""
    peer.open_session()
    configured = peer.configure(STILL, 4 * peer.find_smallest_mode().width)
    peer.grant_credits(0, PLENTY)
    peer.grant_credits(0, 0)
    peer.start_capture()
    picture = peer.wait_for_frame()
    check_cover(configured, picture)
    fresh = peer.start_session()
    fresh.open_session()
    fresh.configure(STILL)
    fresh.grant_credits(0, 1 << 32)
    fresh.start_capture()
    fresh.wait_for_frame()
    fresh.close()


@CASES.add("M-CREDIT-1")
def exact_credits(peer: HostPeer) -> None:
    """With credit for a tile less one byte nothing comes; with that byte one tile comes."""
    peer.open_session()
    configured = peer.configure(STILL, 4 * peer.find_smallest_mode().width)
    size = configured.tile_bytes
    peer.start_capture()
    for limit, wanted in ((size - 1, 0), (size, size), (2 * size - 1, size), (2 * size, 2 * size)):
        peer.grant_credits(0, limit)
        peer.collect(0.15)
        came = count_tile_bytes(peer.log, STILL)
        said = f"{came} bytes of tiles came with a limit of {limit}, {wanted} may come"
        check(came <= wanted, said)
    peer.grant_credits(0, PLENTY)
    peer.wait_for_frame()


@CASES.add("M-CAM-4")
def lanes_of_frame_end(peer: HostPeer) -> None:
    """FrameEnd states the session's lanes, and no packet for lanes that there are not."""
    peer.open_session()
    _, picture = peer.take_still()
    end = read_frame_end(picture)
    check(end.lanes == 1, f"FrameEnd states {end.lanes} lanes, the session has 1")
    check(end.last_sequence[1:] == (_NO_PACKET,) * 3, f"last_sequence {end.last_sequence}")


@CASES.add("M-RESEND-1")
def an_aborted_frame(peer: HostPeer) -> None:
    """Of a frame that Stop has ended, each pixel is sent again or gone, also what was not sent."""
    configured = block_frame(peer)
    if peer.session is None or not peer.session.capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    peer.call(Stop(PREVIEW), Accepted)
    number = next(p.id for p in peer.log if p.kind == MessageType.FRAME_START)
    peer.grant_credits(PLENTY, PLENTY)
    width, height = configured.width, configured.height
    for asked in ([(0, height - 2, width, 2)], [(0, 0, width, 2)], [(0, height // 2, width, 2)]):
        message, came = ask_again(peer, number, 0, asked, PREVIEW)
        if message.state == FrameState.UNKNOWN:
            return
        check(message.state == FrameState.ENDED, f"an aborted frame has state {message.state}")
        again = [place_of(p) for p in came if p.kind == MessageType.TILE]
        answered = cover(again + gone_rectangles(message), configured)
        wanted = cover(asked, configured)
        missing = sum(w and not a for w, a in zip(wanted, answered, strict=True))
        check(missing == 0, f"{missing} pixels of an aborted frame are neither sent nor gone")


@CASES.add("M-RESEND-1", "M-RESEND-3")
def what_resent_names(peer: HostPeer) -> None:
    """Resent names the stream and the frame of its Resend, and each gone tile once."""
    configured, picture, number = take_resendable_still(peer)
    for stream, frame in ((STILL, number), (STILL, number + 500), (PREVIEW, number)):
        mark = len(peer.log)
        places = [(0, 0, 2, 2), (0, 0, 2, 2), (0, 0, configured.width, configured.height)]
        ranges = b"".join(struct.pack("<4H", *place) for place in places)
        peer.send(Resend(0, len(places), ranges), frame, stream)
        found = wait_for_type(peer, MessageType.RESENT, mark, 2.0)
        if found is None:
            raise Failed("Resend is not answered within 2 s")
        got = (found.header.stream, found.id)
        check(got == (stream, frame), f"Resent of {stream}, {frame} names {got}")
        message, _ = ask_again(peer, frame, 0, places, stream)
        gone = gone_rectangles(message)
        said = f"Resent names rectangles twice: {gone}"
        check(message.state == FrameState.UNKNOWN or len(gone) == len(set(gone)), said)
        check(message.flags == 0, f"Resent's flags are {message.flags}, nothing was asked for")
    del picture


@CASES.add("M-RESEND-2")
def sent_again_twice(peer: HostPeer) -> None:
    """A tile that is asked for three times comes alike each time, with new sequences."""
    _, picture, number = take_resendable_still(peer)
    tile = picture.tiles[-1]
    for _ in range(3):
        message, came = ask_again(peer, number, 0, [place_of(tile)])
        again = [p for p in came if place_of(p) == place_of(tile)]
        check(again or message.count, f"{place_of(tile)} is neither sent again nor gone")
        for packet in again:
            check(packet.payload == tile.payload, f"{place_of(tile)} has other pixels than before")
            check(packet.header.flags & 1, "a tile sent again has no flag RESENT")


# --- manifest and proofs ----------------------------------------------------------------------


@CASES.add("M-MANIFEST-2")
def the_same_in_each_session(peer: HostPeer) -> None:
    """The manifest is the same in the next session, and while a stream runs."""
    peer.open_session()
    data = peer.read_manifest_bytes()
    peer.close()
    fresh = peer.start_session()
    fresh.open_session()
    check(fresh.read_manifest_bytes() == data, "the manifest differs in the next session")
    fresh.configure(PREVIEW)
    fresh.grant_credits(PLENTY, PLENTY)
    fresh.start_stream(20000)
    check(fresh.read_manifest_bytes() == data, "the manifest differs while a stream runs")


@CASES.add("M-MANIFEST-2", "M-AUTH-1")
def schemes_are_listed(peer: HostPeer) -> None:
    """The manifest lists the schemes of a module with AUTH: each is proved, and some other not."""
    has_auth = peer.open_session(ALL | Capability.AUTH).capabilities & Capability.AUTH
    listed = [
        struct.unpack_from("<H", value)[0]
        for key, value in iterate_entries(peer.read_manifest_bytes())
        if key == ManifestKey.AUTH
    ]
    if not has_auth:
        raise NotClaimed("the module proves nothing (no AUTH)")
    check(listed, "the module has AUTH, and the manifest lists no scheme")
    for scheme in listed:
        answer = peer.try_call(Challenge(scheme, peer.source.randbytes(32)))
        said = f"scheme {scheme:#x} is listed, and a challenge gets {describe(answer)}"
        check(isinstance(answer, Proof), said)
    other = next(each for each in range(0x8000, 0x9000) if each not in listed)
    peer.expect_error(Challenge(other, b"c"), ErrorCode.UNSUPPORTED)


# --- test actions -----------------------------------------------------------------------------


@CASES.add("M-TEST-1")
def unsupported_before_state(peer: HostPeer) -> None:
    """While an action is under way, one that there is not is UNSUPPORTED, the others are STATE."""
    open_test_session(peer)
    peer.call(Test(TestAction.DETACH, 0, 600), Accepted)
    peer.expect_error(Test(99, 0, 0), ErrorCode.UNSUPPORTED)
    peer.expect_error(Test(TestAction.BUSY, 0, MAX_BUSY_MS + 1), ErrorCode.UNSUPPORTED)
    peer.expect_error(Test(TestAction.DETACH, 0, 100), ErrorCode.STATE)
    peer.expect_error(Test(TestAction.PENDING, 0, 100), ErrorCode.STATE)
    closed = wait_for_type(peer, MessageType.CLOSE, 0, 2.0)
    check(closed, "an action ends when others are refused")


@CASES.add("M-TEST-2", "M-LIVE-3")
def requests_during_busy(peer: HostPeer) -> None:
    """BUSY has the reason and the lease of Table 13; what was asked meanwhile is answered then."""
    open_test_session(peer)
    mark = len(peer.log)
    answer = peer.call(Test(TestAction.BUSY, 0, _BUSY_MS), Accepted)
    check(answer.stream == 0, f"Accepted of Test names stream {answer.stream}")
    found = wait_for_type(peer, MessageType.BUSY, mark)
    if found is None:
        raise Failed("BUSY is accepted, and Busy is not said")
    message = found.message()
    assert isinstance(message, Busy)
    wanted = (BusyReason.OTHER, _BUSY_MS)
    check((message.reason, message.lease_ms) == wanted, f"BUSY is said as {describe(message)}")
    number = peer.send_request(GetManifest(0))
    early = peer.wait_for_answer(number, 0.6 * _BUSY_MS / 1000)
    check(early is None, "a request is answered while the module is BUSY")
    late = peer.wait_for_answer(number, _BUSY_MS / 1000 + 0.45)
    check(late, "a request that came while the module was BUSY is not answered after it")
    mark = len(peer.log)
    peer.send(Heartbeat((0, 0, 0), 0))
    peer.wait_for_heartbeat_reply(mark, 1.0)
    again = peer.call(Test(TestAction.REJECT, Damage.HEADER, 0), Accepted)
    check(again.stream == 0, "the next action is not accepted")
    check_answers(peer)


@CASES.add("M-TEST-2", "M-REQ-5")
def the_lease_of_pending(peer: HostPeer) -> None:
    """PENDING has the lease that was asked for; other requests are answered meanwhile."""
    open_test_session(peer)
    mark = len(peer.log)
    number = peer.send_request(Test(TestAction.PENDING, 0, 450))
    found = wait_for_type(peer, MessageType.PENDING, mark)
    message = found.message() if found is not None else None
    fits = isinstance(message, Pending) and message.lease_ms == 450
    check(fits, f"PENDING of 450 ms is said as {describe(message)}")
    early = peer.wait_for_answer(number, 0.3, mark)
    check(early is None, f"a Test of PENDING is answered early, with {describe(early)}")
    late = peer.wait_for_answer(number, 1.0, mark)
    accepted = late is not None and late.kind == MessageType.ACCEPTED
    check(accepted, f"a Test of PENDING gets {describe(late)}")


@CASES.add("M-TEST-2", "M-CLOSE-2")
def the_time_of_detach(peer: HostPeer) -> None:
    """DETACH: Accepted, Notice with the time, Close after that time and not before."""
    open_test_session(peer)
    mark, began = len(peer.log), peer.wire.now()
    peer.call(Test(TestAction.DETACH, 0, _DETACH_MS), Accepted)
    notice = wait_for_type(peer, MessageType.NOTICE, mark)
    message = notice.message() if notice else None
    fits = isinstance(message, Notice) and message.within_ms == _DETACH_MS
    check(fits, f"DETACH in {_DETACH_MS} ms is said as {describe(message)}")
    kinds = [p.kind for p in peer.log[mark:] if p.kind != MessageType.LOG]
    check(kinds[0] == MessageType.ACCEPTED, "the Notice comes before Accepted")
    check_answers(peer)
    closed = wait_for_type(peer, MessageType.CLOSE, mark, 2.0)
    if closed is None:
        raise Failed("DETACH is accepted, and the session is not closed")
    after = closed.at - began
    check(after >= EXACT * _DETACH_MS / 1000, f"closed after {after:.2f} s, not {_DETACH_MS} ms")
    end = closed.message()
    said = isinstance(end, Close) and end.reason == CloseReason.DETACH
    check(said, f"a module that detaches says {describe(end)}")


@CASES.add("M-TEST-2")
def a_session_ends_its_action(peer: HostPeer) -> None:
    """An action ends with its session: the next one is not closed by it, and can begin another."""
    open_test_session(peer)
    peer.call(Test(TestAction.DETACH, 0, 500), Accepted)
    fresh = peer.start_session()
    open_test_session(fresh)
    fresh.call(Test(TestAction.REJECT, Damage.PAYLOAD, 0), Accepted)
    fresh.collect(0.8)
    closed = [p for p in fresh.log if p.kind == MessageType.CLOSE]
    check(not closed, "an action of the session before closes the next one")
    check_answers(fresh)
    fresh.close()


@CASES.add("M-TEST-2")
def one_close_is_damaged(peer: HostPeer) -> None:
    """REJECT sends one damaged packet for each Test, behind Accepted, and the session goes on."""
    open_test_session(peer)
    for count in range(1, 4):
        peer.call(Test(TestAction.REJECT, Damage.PAYLOAD, 0), Accepted)
        check_answers(peer)
        found = len([each for each in peer.damage if "payload" in each])
        check(found == count, f"{found} damaged packets after {count} tests of REJECT")
    closed = wait_for_type(peer, MessageType.CLOSE, 0, 0.0)
    check(closed is None, "the session is closed")
    answer = peer.try_call(GetManifest(0))
    check(isinstance(answer, (ManifestPiece, Error)), "the session is over after REJECT")


@CASES.add("M-LIVE-1", "M-TEST-2")
def heartbeats_during_busy(peer: HostPeer) -> None:
    """Six Heartbeats that arrive while the module is BUSY are answered when it is over, each."""
    open_test_session(peer)
    mark = len(peer.log)
    peer.call(Test(TestAction.BUSY, 0, 300), Accepted)
    check(wait_for_type(peer, MessageType.BUSY, mark), "BUSY is accepted, and Busy is not said")
    for _ in range(6):
        peer.send(Heartbeat((0, 0, 0), 0))
    peer.collect(0.8)
    count = sum(p.kind == MessageType.HEARTBEAT_REPLY for p in peer.log[mark:])
    check(count == 6, f"{count} answers to six Heartbeats that came during BUSY")


@CASES.add("M-REQ-5", "M-TEST-2")
def asked_again_while_pending(peer: HostPeer) -> None:
    """A request that is repeated while it is pending gets Pending under its id, or nothing."""
    open_test_session(peer)
    mark = len(peer.log)
    test = Test(TestAction.PENDING, 0, 500)
    number = peer.send_request(test)
    check(wait_for_type(peer, MessageType.PENDING, mark), "Pending does not come within 1 s")
    for _ in range(2):
        peer.send(test, number)
        peer.collect(0.1)
    check_answers(peer)
    late = peer.wait_for_answer(number, 2.0, mark)
    accepted = late is not None and late.kind == MessageType.ACCEPTED
    check(accepted, f"a Test that is repeated while it is pending gets {describe(late)}")
    leases = [p for p in peer.log[mark:] if p.kind == MessageType.PENDING]
    other = [describe(p) for p in leases if p.id != number]
    check(not other, f"Pending of request {number} comes as {other}")
    peer.collect(0.6)
    count = sum(p.kind == MessageType.ACCEPTED and p.id == number for p in peer.log[mark:])
    check(count == 1, f"a Test that was repeated is accepted {count} times")


@CASES.add("M-HELLO-3")
def what_was_pending_is_over(peer: HostPeer) -> None:
    """A request that is pending when another Hello comes is never answered."""
    open_test_session(peer)
    number = peer.send_request(Test(TestAction.PENDING, 0, 400))
    check(wait_for_type(peer, MessageType.PENDING, 0), "Pending does not come within 1 s")
    fresh = peer.start_session()
    open_test_session(fresh)
    fresh.collect(0.7)
    check(not fresh.strangers, f"of the session before: {[str(p) for p in fresh.strangers[:2]]}")
    late = [describe(p) for p in fresh.log if p.kind == MessageType.ACCEPTED]
    check(not late, f"request {number} of the session before is answered with {late}")
    fresh.call(Test(TestAction.REJECT, Damage.HEADER, 0), Accepted)
    check_answers(fresh)
    fresh.close()


# --- the same on the other stream, and with other limits --------------------------------------


@CASES.add("M-CAM-3")
def parts_of_rows(peer: HostPeer) -> None:
    """Tiles that are parts of rows cover the frame exactly, whatever their limit."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.grant_credits(PLENTY, PLENTY)
    for limit in (mode.width * 4 // 3, 2 * mode.width - 2):
        mark = len(peer.log)
        configured = peer.call(Configure(STILL, 0, mode.id, 0, limit), Configured)
        peer.call(Capture(STILL, 1), Accepted)
        check_cover(configured, peer.wait_for_frame(STILL, mark))


@CASES.add("M-CAM-3")
def two_limits_of_a_tile(peer: HostPeer) -> None:
    """A tile keeps the limit of Configure and the `max_payload` of Hello, on both streams."""
    peer.max_payload = 1024
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.grant_credits(PLENTY, PLENTY)
    for stream in (STILL, PREVIEW):
        for limit in (0, 1000, 1 << 16, 0xFFFFFFFF):
            mark = len(peer.log)
            peer.call(Configure(stream, 0, mode.id, 0, limit), Configured)
            peer.call(Capture(stream, 1), Accepted)
            tiles = peer.wait_for_frame(stream, mark).tiles
            longest = max(tile.header.length for tile in tiles)
            most = min(peer.max_payload, limit or peer.max_payload)
            said = f"a tile of {longest} bytes with tile_bytes {limit} and max_payload 1024"
            check(longest <= most, said)


@CASES.add("M-RESEND-2", "M-CAM-4", "M-LIVE-2", "M-CREDIT-1")
def all_of_it_on_the_preview(peer: HostPeer) -> None:
    """Credits, counts, and what is sent again are the same on the preview as on the still."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    configured = peer.configure(PREVIEW, 4 * peer.find_smallest_mode().width)
    size = configured.tile_bytes
    peer.call(Capture(PREVIEW, 1), Accepted)
    for limit in (size - 1, 2 * size - 1):
        peer.grant_credits(limit, PLENTY)
        peer.collect(0.15)
        came = count_tile_bytes(peer.log, PREVIEW)
        check(came <= limit, f"{came} bytes of the preview came with a limit of {limit}")
    peer.grant_credits(PLENTY, 0)
    picture = peer.wait_for_frame(PREVIEW)
    check_cover(configured, picture)
    assert picture.end is not None
    end = read_frame_end(picture)
    check(end.tiles == len(picture.tiles), f"{len(picture.tiles)} tiles, FrameEnd says {end.tiles}")
    number = picture.end.id
    first = {place_of(tile): tile.payload for tile in picture.tiles}
    whole = [(0, 0, configured.width, configured.height)]
    _, came_again = ask_again(peer, number, 0, whole, PREVIEW)
    tiles = [p for p in came_again if p.kind == MessageType.TILE]
    for tile in tiles:
        check(tile.header.flags & 1, f"{describe(tile)} is sent again without the flag RESENT")
        check(first.get(place_of(tile)) == tile.payload, f"{describe(tile)} has other pixels")
    reply = peer.grant_credits(PLENTY, PLENTY)
    total = count_tile_bytes(peer.log, PREVIEW)
    check(
        reply.sent == (total, 0, 0), f"sent is {reply.sent}, and {total} bytes of the preview came"
    )
    check(reply.begun == (number + 1, 0, 0), f"begun is {reply.begun} after frame {number}")
