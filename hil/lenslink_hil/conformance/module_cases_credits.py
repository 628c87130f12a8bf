"""Cases for modules: credits (SPEC.md, 5.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from lenslink_protocol.ids import ErrorCode, MessageType
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    GetManifest,
    ManifestPiece,
    Query,
    QueryReply,
    Resend,
    SetBudget,
    SetSettings,
    Stop,
)
from lenslink_protocol.params import MAX_STREAMS

from .cases import Cases, check
from .host_peer import PLENTY, PREVIEW, STILL, HostPeer
from .module_steps import (
    ALL_STREAMS,
    block_frame,
    check_answers,
    check_cover,
    count_tile_bytes,
    place_of,
    take_resendable_still,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()


@CASES.add("M-CREDIT-1")
def no_more_than_granted(peer: HostPeer) -> None:
    """No tile without credit; with credit for a few, no more; an older limit takes none away."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    configured = peer.configure(STILL, 4 * mode.width)
    peer.start_capture()
    early = count_tile_bytes(peer.collect(), STILL)
    check(early == 0, f"{early} bytes of tiles before the first grant")
    # Not a whole number of tiles: the last tile must fit, not only begin below the limit.
    limit = 3 * configured.tile_bytes + configured.tile_bytes // 2
    peer.grant_credits(PLENTY, limit)
    peer.collect()
    peer.grant_credits(0, configured.tile_bytes)
    peer.collect()
    came = count_tile_bytes(peer.log, STILL)
    check(came <= limit, f"{came} bytes of tiles where {limit} were granted")
    check(came > limit - configured.tile_bytes, f"{came} bytes where {limit} were granted")
    peer.grant_credits(0, PLENTY)
    peer.wait_for_frame()


@CASES.add("M-CREDIT-1")
def credits_do_not_add_up(peer: HostPeer) -> None:
    """A limit that is repeated, or of the other stream, grants nothing more."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    configured = peer.configure(STILL, 4 * mode.width)
    limit = 2 * configured.tile_bytes + 2
    peer.start_capture()
    for _ in range(5):
        peer.grant_credits(PLENTY, limit)
    peer.collect()
    came = count_tile_bytes(peer.log, STILL)
    check(came <= limit, f"{came} bytes of tiles where a limit of {limit} was repeated")
    peer.grant_credits(PLENTY, PLENTY)
    peer.wait_for_frame()


@CASES.add("M-CREDIT-1")
def credits_of_later_frames(peer: HostPeer) -> None:
    """The limit counts from the beginning of the session, not from that of a frame."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    configured = peer.configure(STILL, 4 * mode.width)
    limit = configured.frame_bytes + configured.tile_bytes + 3
    peer.grant_credits(0, limit)
    peer.start_capture(2)
    peer.wait_for_frame()
    peer.collect()
    came = count_tile_bytes(peer.log, STILL)
    check(came <= limit, f"{came} bytes of tiles in two frames where {limit} were granted")
    mark = len(peer.log)
    peer.grant_credits(0, PLENTY)
    peer.wait_for(lambda p: p.kind == MessageType.FRAME_END, 5.0, mark)


@CASES.add("M-CREDIT-1")
def tiles_sent_again_need_credit(peer: HostPeer) -> None:
    """A tile that is sent again waits for credit as any other, and comes once there is some."""
    take_resendable_still(peer)
    fresh = peer.start_session()
    fresh.open_session()
    configured = fresh.configure(STILL, 4 * fresh.find_smallest_mode().width)
    fresh.grant_credits(0, configured.frame_bytes)
    fresh.start_capture()
    picture = fresh.wait_for_frame()
    assert picture.end is not None
    tile = picture.tiles[-1]
    ask = Resend(0, 1, struct.pack("<4H", *place_of(tile)))
    fresh.send(ask, picture.end.id, STILL)
    # With a byte less than the tile has, it waits too.
    for more in (0, 1, tile.header.length - 1):
        limit = configured.frame_bytes + more
        fresh.grant_credits(0, limit)
        fresh.collect(0.15)
        came = count_tile_bytes(fresh.log, STILL)
        said = f"{came} bytes of tiles, sent again ones included, with {limit} granted"
        check(came <= limit, said)
    fresh.grant_credits(0, PLENTY)
    resent = fresh.wait_for(lambda p: p.kind == MessageType.RESENT, 2.0)
    check(resent, "Resend is not answered once there is credit")


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


@CASES.add("M-CREDIT-2")
def answers_need_no_credit(peer: HostPeer) -> None:
    """A module whose tiles wait answers requests."""
    block_frame(peer)
    peer.call(GetManifest(0), ManifestPiece)
    answer = peer.call(Configure(STILL, 0, peer.find_smallest_mode().id, 0, 0), Configured)
    check(answer.stream == STILL, f"Configure of the still: {describe(answer)}")


@CASES.add("M-CREDIT-2")
def everything_is_answered_while_tiles_wait(peer: HostPeer) -> None:
    """Query, a refusal, and Stop of the other stream are answered while tiles wait."""
    block_frame(peer)
    peer.call(Query(peer.nonce, 1), QueryReply)
    peer.expect_error(Configure(STILL, 0, 65000, 0, 0), ErrorCode.UNSUPPORTED)
    peer.call(GetManifest(0), ManifestPiece)
    peer.configure(STILL)
    peer.grant_credits(0, PLENTY)
    answer = peer.try_call(Stop(PREVIEW))
    check(isinstance(answer, Accepted), f"Stop of a stream that waits gets {describe(answer)}")


@CASES.add("M-CREDIT-2")
def requests_while_a_frame_waits(peer: HostPeer) -> None:
    """Every request is answered while a frame of any stream waits for credits."""
    for stream in ALL_STREAMS:
        session = peer.start_session()
        block_frame(session, stream, is_capture=True)
        other = (stream + 1) % MAX_STREAMS
        check_answers(session)
        session.call(Query(session.nonce, 1), QueryReply)
        session.configure(other)
        session.call(SetSettings(other, b""), Accepted)
        session.call(SetBudget(0xFFFFFFFF), Accepted)
        session.expect_error(SetSettings(stream, b""), ErrorCode.STATE)
        session.expect_error(Capture(stream, 1), ErrorCode.STATE)
        session.call(Capture(other, 1), Accepted)
        session.call(Stop(other), Accepted)
        session.call(Stop(stream), Accepted)
        session.close()
