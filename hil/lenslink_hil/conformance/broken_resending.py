"""Modules that resend, use lanes or prove in a wrong way (SPEC.md, 6.1, 6.2 and 9).

Each class is the plain module with one rule wrong. Its docstring says which.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import (
    Capability,
    EndStatus,
    ErrorCode,
    FrameState,
    MessageType,
    ResendFlag,
)
from lenslink_protocol.messages import (
    Challenge,
    Header,
    Proof,
    Resend,
)

from .plain_module import (
    FIRMWARE,
    SERIAL,
    Frame,
    Item,
    PlainModule,
    Rectangle,
    Refused,
)
from .virtual_module import KEY


class ExactTilesOnly(PlainModule):
    """Sends again only rectangles that are exactly a tile."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        return super().tiles_again(frame, [each for each in rectangles if each in frame.held])


class SixteenRectangles(PlainModule):
    """Reads at most sixteen rectangles."""

    def rectangles_of(self, message: Resend) -> list[Rectangle]:
        return super().rectangles_of(message)[:16]


class StillsOnly(PlainModule):
    """Sends nothing of the preview again."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        return super().tiles_again(frame, rectangles) if frame.stream == 1 else []


class NothingIsGone(PlainModule):
    """Does not say what it no longer holds."""

    tiles_kept = 8

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        del frame, rectangles
        return []


class FirstRectangleOnly(PlainModule):
    """Answers only the first rectangle."""

    def rectangles_of(self, message: Resend) -> list[Rectangle]:
        return super().rectangles_of(message)[:1]


class ResentWithoutFlag(PlainModule):
    """Sends tiles again without the flag RESENT."""

    def encode(self, item: Item, lane: int) -> bytes:
        return super().encode(replace(item, flags=0), lane)


class ResendsNewPixels(PlainModule):
    """Reads the sensor again for a tile that is sent again."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        frame.pixels = frame.pixels + 1
        found = super().tiles_again(frame, rectangles)
        return [replace(each, payload=self.pack_tile(frame, each.rectangle)) for each in found]


class ResendsShifted(PlainModule):
    """Sends the bytes of the tile before, for a tile that is sent again."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        found = super().tiles_again(frame, rectangles)
        payloads = list(frame.held.values())
        return [replace(each, payload=payloads[0]) for each in found]


class FinishedFramesOnly(PlainModule):
    """Knows nothing of a frame that is under way."""

    def frame_of(self, index: int, number: int) -> Frame | None:
        frame = super().frame_of(index, number)
        return frame if frame is None or frame.end is not None else None


class StartAfterResent(PlainModule):
    """Sends FrameStart again after Resent."""

    def on_resend(self, header: Header, message: Resend) -> None:
        count = len(self.data)
        super().on_resend(header, message)
        added = len(self.data) - count
        front = self.data[:added]
        starts = [each for each in front if each.kind == MessageType.FRAME_START]
        rest = [each for each in front if each.kind != MessageType.FRAME_START]
        self.data[:added] = rest + starts


class FlagsUnsaid(PlainModule):
    """Does not say in Resent that it sends FrameStart or FrameEnd again."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.RESENT:
            item = replace(item, payload=item.payload[:2] + b"\0" + item.payload[3:])
        super().emit(item)


class AlwaysBothEnds(PlainModule):
    """Sends FrameStart and FrameEnd again whether they were asked for or not."""

    def on_resend(self, header: Header, message: Resend) -> None:
        both = ResendFlag.START | ResendFlag.END
        super().on_resend(header, replace(message, flags=int(both)))


class AnyStreamsFrame(PlainModule):
    """Looks for a frame by its number alone."""

    def frame_of(self, index: int, number: int) -> Frame | None:
        del index
        found = [each for each in self.frames if each.number == number]
        return found[0] if found else None


class SilentOnUnknown(PlainModule):
    """Does not answer Resend of a frame that it does not know."""

    def on_resend(self, header: Header, message: Resend) -> None:
        if self.frame_of(header.stream, header.frame) is not None:
            super().on_resend(header, message)


class UnknownIsEnded(PlainModule):
    """Calls a frame that it does not know ENDED."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.RESENT and item.payload[3] == FrameState.UNKNOWN:
            state = bytes([FrameState.ENDED])
            item = replace(item, payload=item.payload[:3] + state + item.payload[4:])
        super().emit(item)


class ControlOnOtherLanes(PlainModule):
    """Sends FrameEnd on whichever lane is free."""

    def lane_of(self, item: Item) -> int:
        if item.kind == MessageType.FRAME_END and self.used_lanes > 1:
            return 1
        return super().lane_of(item)


class UsesAllLanes(PlainModule):
    """Uses each lane of the bench, whatever the session has."""

    def lane_of(self, item: Item) -> int:
        return next(self.turn) % self.lanes if item.kind == MessageType.TILE else 0


class OneLastSequence(PlainModule):
    """States the last sequence of lane 0 for every lane."""

    def last_sequences(self) -> list[int]:
        return super().last_sequences()[:1] * 4


class KeepsDeadLane(PlainModule):
    """Goes on to send on a lane that has ended."""

    def lane_of(self, item: Item) -> int:
        return next(self.turn) % self.used_lanes if item.kind == MessageType.TILE else 0


class LaneEndsFrame(PlainModule):
    """Aborts the frame under way when a lane ends."""

    def end_lane(self, lane: int) -> bool:
        super().end_lane(lane)
        if self.readout is not None:
            self.end_frame(self.readout, EndStatus.ABORTED)
        return True


class LaneEndsSession(PlainModule):
    """Ends the session when a lane ends."""

    def end_lane(self, lane: int) -> bool:
        super().end_lane(lane)
        self.end_session()
        return True


class ProvesAnything(PlainModule):
    """Has a proof for every scheme."""

    def on_challenge(self, number: int, message: Challenge) -> None:
        if not self.used_capabilities & Capability.AUTH:
            raise Refused(ErrorCode.UNSUPPORTED)
        self.answer(number, Proof(message.scheme, self.proof_of(message.challenge)))


class ProvesWithoutCapability(PlainModule):
    """Proves in a session without AUTH."""

    def on_challenge(self, number: int, message: Challenge) -> None:
        if message.scheme != 0x8000:
            raise Refused(ErrorCode.UNSUPPORTED)
        self.answer(number, Proof(message.scheme, self.proof_of(message.challenge)))


class EmptyProof(PlainModule):
    """Has an empty proof."""

    def proof_of(self, challenge: bytes) -> bytes:
        del challenge
        return b""


class ProvesFirstHalf(PlainModule):
    """Proves over the first half of the challenge."""

    def proof_of(self, challenge: bytes) -> bytes:
        return super().proof_of(challenge[: len(challenge) // 2])


class ProvesSevenBytes(PlainModule):
    """Proves over the first seven bytes of the challenge."""

    def proof_of(self, challenge: bytes) -> bytes:
        return super().proof_of(challenge[:7])


class ProvesAllButTheLast(PlainModule):
    """Proves over all bytes of the challenge but the last."""

    def proof_of(self, challenge: bytes) -> bytes:
        return super().proof_of(challenge[:-1])


class HalfAProof(PlainModule):
    """Sends the first half of its proof."""

    def hmac_of(self, challenge: bytes) -> bytes:
        return super().hmac_of(challenge)[:16]


class ProvesForAnySession(PlainModule):
    """Leaves the session out of its proof: an old proof is as good as a new one."""

    def hmac_of(self, challenge: bytes) -> bytes:
        return make_proof(KEY, challenge, 0, SERIAL, FIRMWARE)


class ProvesForAnyModule(PlainModule):
    """Leaves its serial number out of its proof."""

    def hmac_of(self, challenge: bytes) -> bytes:
        assert self.session is not None
        return make_proof(KEY, challenge, self.session.nonce, "", FIRMWARE)


class ProvesForAnyFirmware(PlainModule):
    """Leaves its firmware out of its proof."""

    def hmac_of(self, challenge: bytes) -> bytes:
        assert self.session is not None
        return make_proof(KEY, challenge, self.session.nonce, SERIAL, "")


class HasAnotherKey(PlainModule):
    """Proves with a key that is not its maker's."""

    def hmac_of(self, challenge: bytes) -> bytes:
        assert self.session is not None
        return make_proof(bytes(32), challenge, self.session.nonce, SERIAL, FIRMWARE)


class TakesShortChallenges(PlainModule):
    """Fills a short challenge up with zeros, and cuts a long one."""

    def is_challenge(self, challenge: bytes) -> bool:
        return bool(challenge)

    def hmac_of(self, challenge: bytes) -> bytes:
        return super().hmac_of(challenge[:32].ljust(32, b"\0"))


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-RESEND-1": (
        ExactTilesOnly,
        SixteenRectangles,
        StillsOnly,
        NothingIsGone,
        FirstRectangleOnly,
    ),
    "M-RESEND-2": (
        ResentWithoutFlag,
        ResendsNewPixels,
        ResendsShifted,
    ),
    "M-RESEND-3": (
        FinishedFramesOnly,
        StartAfterResent,
        FlagsUnsaid,
        AlwaysBothEnds,
    ),
    "M-RESEND-4": (
        AnyStreamsFrame,
        SilentOnUnknown,
        UnknownIsEnded,
    ),
    "M-LANE-1": (
        ControlOnOtherLanes,
        UsesAllLanes,
        OneLastSequence,
    ),
    "M-LANE-2": (
        KeepsDeadLane,
        LaneEndsFrame,
        LaneEndsSession,
    ),
    "M-AUTH-1": (
        ProvesAnything,
        ProvesWithoutCapability,
        EmptyProof,
    ),
    "M-AUTH-2": (
        ProvesFirstHalf,
        ProvesSevenBytes,
        ProvesAllButTheLast,
    ),
    "M-AUTH-3": (
        HalfAProof,
        ProvesForAnySession,
        ProvesForAnyModule,
        ProvesForAnyFirmware,
        HasAnotherKey,
        TakesShortChallenges,
    ),
}
"""The broken modules of each clause."""
