"""Modules that break a clause inside, as an implementer would: subclasses of the plain module.

Each class gets one rule of SPEC.md wrong. Its docstring says how; :data:`PLAIN` names its clause.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lenslink.receive.unpacking import pack
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import (
    Capability,
    CloseReason,
    ConfigureFlag,
    EndStatus,
    ErrorCode,
    FrameState,
    ManifestKey,
    MessageType,
    Outcome,
    PixelFormat,
    ResendFlag,
)
from lenslink_protocol.manifest import encode_entry, iterate_entries
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Challenge,
    Close,
    Configure,
    Configured,
    Error,
    Flushed,
    FrameEnd,
    FrameStart,
    GetManifest,
    Header,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    Malformed,
    ManifestPiece,
    Proof,
    Query,
    Resend,
    StartStream,
    Stop,
)
from lenslink_protocol.packings import Layout, Packing, find_layout
from lenslink_protocol.params import MAX_CONTROL, MAX_STREAMS

from .defects import Broken
from .plain_module import (
    HEIGHT,
    MODE,
    WIDTH,
    Frame,
    Item,
    PlainModule,
    Rectangle,
    Refused,
    State,
    Stream,
)

# --- packets: M-FRAME, M-GROW -----------------------------------------------------------------


class KeepsSequences(PlainModule):
    """Counts on in the second session of a connection."""

    def reset_session(self) -> None:
        kept = getattr(self, "sequences", None)
        super().reset_session()
        self.sequences = kept or self.sequences


class CountsFromOne(PlainModule):
    """Gives its first packet the sequence 1."""

    def reset_session(self) -> None:
        super().reset_session()
        self.sequences = [1] * self.lanes


class OneCountForAllLanes(PlainModule):
    """Numbers the packets of all lanes by one counter."""

    def encode(self, item: Item, lane: int) -> bytes:
        self.sequences = [max(self.sequences)] * self.lanes
        return super().encode(item, lane)


class CountsTilesApart(PlainModule):
    """Gives tiles the sequence of the packet before them."""

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind == MessageType.TILE and self.sequences[lane]:
            self.sequences[lane] -= 1
        return super().encode(item, lane)


class StreamInReplies(PlainModule):
    """Names a stream in the headers of replies."""

    def emit(self, item: Item) -> None:
        is_reply = item.kind in (MessageType.CONFIGURED, MessageType.ACCEPTED)
        super().emit(replace(item, stream=1) if is_reply else item)


class _ActsOnDamage(PlainModule):
    kind: int = 0

    def is_payload_sound(self, header: Header, payload: bytes) -> bool:
        return header.type == self.kind or super().is_payload_sound(header, payload)


class ActsOnDamagedHeartbeat(_ActsOnDamage):
    """Takes a Heartbeat whose payload CRC fails."""

    kind = MessageType.HEARTBEAT


class ActsOnDamagedResend(_ActsOnDamage):
    """Takes a Resend whose payload CRC fails."""

    kind = MessageType.RESEND


class ActsOnDamagedClose(_ActsOnDamage):
    """Takes a Close whose payload CRC fails."""

    kind = MessageType.CLOSE


class ActsOnDamagedHello(_ActsOnDamage):
    """Takes a Hello whose payload CRC fails."""

    kind = MessageType.HELLO


class NoHeaderCrc(PlainModule):
    """Does not look at the header's CRC."""

    def is_header_sound(self, header: Header) -> bool:
        return header.length <= MAX_CONTROL


class SkipsDamagedPayload(PlainModule):
    """Throws a damaged payload away instead of searching it."""

    def on_damaged_payload(self, header: Header) -> None:
        super().on_damaged_payload(header)
        del self.buffer[: header.length]


class SkipsAfterBadHeader(PlainModule):
    """Throws 40 bytes away behind a header whose CRC fails."""

    def is_header_sound(self, header: Header) -> bool:
        if super().is_header_sound(header):
            return True
        del self.buffer[1:41]
        return False


class RestartsAfterHalfAMagic(PlainModule):
    """Looks for a magic only where the previous attempt ended."""

    def parse_buffer(self) -> None:
        at = self.buffer.find(b"\x8a\x4c")
        if (
            at >= 0
            and len(self.buffer) - at > 0
            and not self.buffer[at:].startswith(b"\x8a\x4c\x4c\x4b")
        ):
            del self.buffer[: at + 4]
        super().parse_buffer()


class OnePacketAPiece(PlainModule):
    """Handles one packet of each piece that it receives."""

    def send(self, data: bytes, lane: int = 0) -> None:
        self.is_taken = False
        super().send(data, lane)

    def on_packet(self, header: Header, payload: bytes) -> None:
        if not self.is_taken:
            self.is_taken = True
            super().on_packet(header, payload)


class WaitsHalfASecond(PlainModule):
    """Waits 500 ms for the rest of a packet."""

    stall_s = 0.5


class ForgetsStalledBytes(PlainModule):
    """Throws away all that came of a packet that stopped."""

    def check_stall(self) -> None:
        if self.buffer and self.time - self.last_byte >= self.stall_s:
            self.buffer.clear()


class GivesUpEarly(PlainModule):
    """Gives a packet up after 20 ms."""

    stall_s = 0.02


class NoWrap(PlainModule):
    """Compares sequences as plain numbers."""

    def use_sequence(self, sequence: int) -> bool:
        if sequence <= self.newest_sequence:
            return False
        self.newest_sequence = sequence
        return True


class AnyStep(PlainModule):
    """Takes every sequence but the newest."""

    def use_sequence(self, sequence: int) -> bool:
        fresh = sequence != self.newest_sequence
        self.newest_sequence = sequence
        return fresh


class DamageKeepsSequence(PlainModule):
    """Does not use up the sequence of a packet whose payload is damaged."""

    def on_damaged_payload(self, header: Header) -> None:
        del self.buffer[:40]


class _NotFresh(PlainModule):
    kinds: tuple[int, ...] = ()

    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.type in self.kinds and self.session is not None:
            step = self.newest_sequence + 1
            header = header._replace(nonce=self.session.nonce, sequence=step)
        super().on_packet(header, payload)


class StaleHeartbeats(_NotFresh):
    """Takes every Heartbeat, fresh or not."""

    kinds = (MessageType.HEARTBEAT,)


class StaleClose(_NotFresh):
    """Takes every Close, fresh or not."""

    kinds = (MessageType.CLOSE,)


class ShorterThanAllowed(PlainModule):
    """Rejects a header that announces exactly MAX_CONTROL bytes."""

    def is_header_sound(self, header: Header) -> bool:
        return super().is_header_sound(header) and header.length < MAX_CONTROL


class LongTilesFromHost(PlainModule):
    """Believes a header of a tile that announces more than MAX_CONTROL."""

    def is_header_sound(self, header: Header) -> bool:
        if header.type == MessageType.TILE:
            header = header._replace(length=0)
        return super().is_header_sound(header)


class OwnMinorOnly(PlainModule):
    """Rejects packets of a newer minor version."""

    def is_header_sound(self, header: Header) -> bool:
        return super().is_header_sound(header) and header.version & 0xF == 0


class _Exact(PlainModule):
    kind: int = 0

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        message = super().decode(kind, payload)
        if kind == self.kind and len(payload) != message.FIXED.size:
            raise Malformed("another size than expected")
        return message


class ExactHello(_Exact):
    """Takes a Hello of exactly the known size."""

    kind = MessageType.HELLO


class ExactCapture(_Exact):
    """Takes a Capture of exactly the known size."""

    kind = MessageType.CAPTURE


class ExactHeartbeat(_Exact):
    """Takes a Heartbeat of exactly the known size."""

    kind = MessageType.HEARTBEAT


class ExactFlush(_Exact):
    """Takes a Flush of exactly the known size."""

    kind = MessageType.FLUSH


class TailAtFixedOffset(PlainModule):
    """Reads the rectangles of Resend from byte 6, however long the fixed part is."""

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        message = super().decode(kind, payload)
        return replace(message, ranges=payload[6:]) if isinstance(message, Resend) else message


class PadsShortMessages(PlainModule):
    """Takes a message that is too short, as if zeros followed."""

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        try:
            return super().decode(kind, payload)
        except (Malformed, KeyError):
            padded = b"\x40\x00" + payload[2:] + bytes(64)
            return super().decode(kind, padded)


class _SeesVendor(PlainModule):
    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.type >= 0xE0 and self.is_of_session(header):
            self.on_vendor(header)
        super().on_packet(header, payload)

    def on_vendor(self, header: Header) -> None:
        """Do what the module should not do."""


class VendorUsesIds(_SeesVendor):
    """Lets a vendor's packet use up its id."""

    def on_vendor(self, header: Header) -> None:
        assert self.session is not None
        self.session.last_request = max(self.session.last_request, header.frame)


class VendorIsRefused(_SeesVendor):
    """Refuses a vendor's packet."""

    def on_vendor(self, header: Header) -> None:
        self.send_control(Error(ErrorCode.UNKNOWN_REQUEST, b""), header.frame)


class VendorEndsSession(_SeesVendor):
    """Ends the session at a vendor's packet."""

    def on_vendor(self, header: Header) -> None:
        del header
        self.end_session()


class DeafAfterStrangers(PlainModule):
    """Ignores Hello once a packet has come without a session."""

    is_deaf = False

    def on_packet(self, header: Header, payload: bytes) -> None:
        self.is_deaf = self.is_deaf or (self.session is None and header.type >= 0xE0)
        if not self.is_deaf:
            super().on_packet(header, payload)


# --- sessions: M-HELLO, M-CLOSE, M-LIVE -------------------------------------------------------


class HelloOnce(PlainModule):
    """Answers only the first Hello of a session."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        if self.session is None or header.nonce != self.session.nonce or self.is_refused:
            super().on_hello(header, payload)


class HelloStartsAnew(PlainModule):
    """Takes a repeated Hello for a new session."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        self.end_session()
        super().on_hello(header, payload)


class HelloUnderOwnNonce(PlainModule):
    """Answers Hello under a nonce of its own."""

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind != MessageType.HELLO_REPLY:
            return super().encode(item, lane)
        self.sequences[lane] += 1
        return encode_packet(item.kind, item.payload, nonce=7, sequence=0, frame=item.number)


class _OtherReply(PlainModule):
    def change(self, reply: HelloReply, message: Hello) -> HelloReply:
        del message
        return reply

    def hello_reply(self, message: Hello) -> HelloReply:
        return self.change(super().hello_reply(message), message)


class StatesAllLanes(_OtherReply):
    """States as many lanes as it has."""

    def change(self, reply: HelloReply, message: Hello) -> HelloReply:
        del message
        return replace(reply, lanes=self.lanes)


class StatesOwnCapabilities(_OtherReply):
    """States all that it can do."""

    def change(self, reply: HelloReply, message: Hello) -> HelloReply:
        del message
        return replace(reply, capabilities=self.capabilities)


class StatesNewestVersion(_OtherReply):
    """States a newer version than the host offered."""

    def change(self, reply: HelloReply, message: Hello) -> HelloReply:
        return replace(reply, version=max(0x11, message.version_max))


class AlwaysLogs(PlainModule):
    """Sends LOG whether the host wants it or not."""

    def log(self, text: str) -> None:
        kept, self.used_capabilities = self.used_capabilities, int(Capability.LOG)
        super().log(text)
        self.used_capabilities = kept


class _Keeps(PlainModule):
    names: tuple[str, ...] = ()

    def reset_session(self) -> None:
        kept = {name: getattr(self, name) for name in self.names if hasattr(self, name)}
        super().reset_session()
        for name, value in kept.items():
            setattr(self, name, value)


class KeepsConfiguration(_Keeps):
    """Lets streams stay configured in the next session."""

    names = ("streams",)

    def reset_session(self) -> None:
        super().reset_session()
        for each in self.streams:
            each.state = State.CONFIGURED if each.plan else State.UNCONFIGURED


class KeepsStreaming(_Keeps):
    """Lets a stream run on in the next session."""

    names = ("streams", "limits")


class KeepsCredits(_Keeps):
    """Spends the credits of the session before."""

    names = ("limits",)


class KeepsAnswers(_Keeps):
    """Answers ids of the session before with its answers."""

    names = ("answers",)


class KeepsCounts(_Keeps):
    """Counts the bytes of the session before."""

    names = ("sent",)


class AnswersDetached(PlainModule):
    """Answers Hello while it is detached."""

    def set_attached(self, attached: bool) -> bool:
        super().set_attached(attached)
        self.is_attached = True
        return True


class StaysDetached(PlainModule):
    """Never notices that it is attached again."""

    def set_attached(self, attached: bool) -> bool:
        super().set_attached(attached)
        self.is_attached = False
        return True


class SilentToOtherVersions(PlainModule):
    """Does not answer a Hello of another version."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        message = Hello.decode(payload)
        if self.is_version_shared(header, message):
            super().on_hello(header, payload)


class AcceptsOtherVersions(PlainModule):
    """Opens a session of any version."""

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        del header, message
        return True


class RefusesAsUnsupported(PlainModule):
    """Refuses another version with UNSUPPORTED."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Error) and message.code == ErrorCode.VERSION:
            message = replace(message, code=ErrorCode.UNSUPPORTED)
        super().answer(number, message)


class LooksAtNewestOnly(PlainModule):
    """Compares only the host's newest version."""

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        return message.version_max >> 4 >= 1


class AnswersRefused(PlainModule):
    """Serves a host that it has refused."""

    def is_of_session(self, header: Header) -> bool:
        return self.session is not None and header.nonce == self.session.nonce


class AnswersRefusedHeartbeats(PlainModule):
    """Answers Heartbeats of a host that it has refused."""

    def is_of_session(self, header: Header) -> bool:
        same = self.session is not None and header.nonce == self.session.nonce
        return super().is_of_session(header) or (same and header.type == MessageType.HEARTBEAT)


class RefusesForEver(PlainModule):
    """Never opens a session for a host that it has refused once."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        same = self.session is not None and header.nonce == self.session.nonce
        if not (same and self.is_refused):
            super().on_hello(header, payload)


class StreamsAfterClose(PlainModule):
    """Stops answering at Close, and streams on."""

    def connect(self) -> None:
        self.is_deaf = False
        super().connect()

    def on_close(self, payload: bytes) -> None:
        del payload
        self.is_deaf = True

    def on_hello(self, header: Header, payload: bytes) -> None:
        self.is_deaf = False
        super().on_hello(header, payload)

    def is_of_session(self, header: Header) -> bool:
        return super().is_of_session(header) and not self.is_deaf


class AnswersAfterClose(PlainModule):
    """Answers Heartbeats after Close."""

    def on_close(self, payload: bytes) -> None:
        del payload
        for stream in self.streams:
            stream.state = State.UNCONFIGURED


class CloseKeepsConfiguration(KeepsConfiguration):
    """Lets streams stay configured after Close."""


class NoFarewell(PlainModule):
    """Ends the session without Close when it is detached."""

    def set_attached(self, attached: bool) -> bool:
        self.is_attached = attached
        if not attached:
            self.end_session()
        return True


class WrongFarewell(PlainModule):
    """Says ORDERLY when it is detached."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        is_close = isinstance(message, Close)
        super().send_control(Close(CloseReason.ORDERLY) if is_close else message, number)


class DeafInsideFrames(PlainModule):
    """Does not answer Heartbeats while a frame is under way."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        self.raise_limits(message)
        if self.readout is None and not self.data:
            self.send_control(self.heartbeat_reply(), header.frame)


class AnswersRaisedLimits(PlainModule):
    """Answers only a Heartbeat that raises a limit."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        before = list(self.limits)
        self.raise_limits(message)
        if self.limits != before:
            self.send_control(self.heartbeat_reply(), header.frame)


class _OtherCounts(PlainModule):
    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return reply

    def heartbeat_reply(self) -> HeartbeatReply:
        return self.change(super().heartbeat_reply())


class BegunIsANumber(_OtherCounts):
    """States the newest frame's number instead of the number plus 1."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return replace(reply, begun=(max(0, reply.begun[0] - 1), max(0, reply.begun[1] - 1)))


class BegunOfBoth(_OtherCounts):
    """States the newest frame of any stream for each stream."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return replace(reply, begun=(max(reply.begun),) * 2)


class CountsFirstTimeOnly(PlainModule):
    """Does not count tiles that are sent again."""

    def count_tile(self, item: Item) -> None:
        if not item.flags:
            super().count_tile(item)


class CountsPerCapture(PlainModule):
    """Counts bytes from the beginning of each capture."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count, interval_us)
        self.sent = [0] * MAX_STREAMS


class CountsHeaders(PlainModule):
    """Counts the headers of tiles too."""

    def count_tile(self, item: Item) -> None:
        super().count_tile(item)
        self.sent[item.stream] += 40


# --- requests: M-REQ, M-QUERY -----------------------------------------------------------------


class SilentRefusals(PlainModule):
    """Does not answer what it refuses."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if not isinstance(message, Error):
            super().answer(number, message)


class AnswersUnderZero(PlainModule):
    """Answers under id 0."""

    def emit(self, item: Item) -> None:
        is_reply = item.kind in (MessageType.MANIFEST, MessageType.CONFIGURED)
        super().emit(replace(item, number=0) if is_reply else item)


class AcceptsStopAsFlushed(PlainModule):
    """Answers Stop with Flushed."""

    def on_stop(self, number: int, message: Stop) -> None:
        self.stop(message.stream)
        flushed = Flushed(self.used_lanes, self.previous_request, (0, 0, 0, 0))
        self.answer_in_order(number, flushed)


class KeepsThreeAnswers(PlainModule):
    """Repeats the answers to the last three requests."""

    answers_kept = 3


class ForgetsRefusals(PlainModule):
    """Repeats no refusal."""

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        super().remember(number, payload, kind)
        if kind == MessageType.ERROR:
            self.answers.pop()


class ForgetsBarriers(PlainModule):
    """Repeats no answer to Stop."""

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        super().remember(number, payload, kind)
        if kind == MessageType.ACCEPTED:
            self.answers.pop()


class SilentToOldRequests(PlainModule):
    """Does not answer a repeated request whose answer it no longer has."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        if not (isinstance(message, Error) and message.code == ErrorCode.REPEATED):
            super().send_control(message, number)


class OldIsWrongState(PlainModule):
    """Refuses a request of long ago with STATE."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        if isinstance(message, Error) and message.code == ErrorCode.REPEATED:
            message = replace(message, code=ErrorCode.STATE)
        super().send_control(message, number)


class ExecutesOldRequests(PlainModule):
    """Executes a request again once its answer is forgotten."""

    def repeat_answer(self, number: int) -> bool:
        if any(known == number for known, _, _ in self.answers):
            return super().repeat_answer(number)
        return any(each.number == number and each.is_barrier for each in self.data)


class UnknownIsUnsupported(PlainModule):
    """Refuses an unknown type with UNSUPPORTED."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST:
            message = replace(message, code=ErrorCode.UNSUPPORTED)
        super().answer(number, message)


class UnknownIsMalformed(PlainModule):
    """Refuses an unknown type with MALFORMED unless its size field is right."""

    def on_request(self, header: Header, payload: bytes) -> None:
        unknown = header.type not in set(MessageType)
        if unknown and int.from_bytes(payload[:2], "little") != len(payload):
            self.answer(header.frame, Error(ErrorCode.MALFORMED, b""))
            return
        super().on_request(header, payload)


class KnowsLastSessionOnly(PlainModule):
    """Remembers the requests of one session that ended."""

    sessions_kept = 1


class ForgetsWithTheConnection(PlainModule):
    """Forgets the requests of sessions with their connection."""

    def connect(self) -> None:
        super().connect()
        self.past.clear()


class KnowsThreeRequests(PlainModule):
    """Remembers what became of three requests."""

    def outcome_of(self, message: Query) -> Outcome:
        for session in [self.session, *self.past]:
            if session is not None:
                for old in list(session.outcomes)[:-3]:
                    del session.outcomes[old]
        return super().outcome_of(message)


class RefusedIsDone(PlainModule):
    """Says DONE of what it has refused."""

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        super().remember(number, payload, kind)
        assert self.session is not None
        self.session.outcomes[number] = Outcome.DONE


class NeverUnknown(PlainModule):
    """Says NOT_DONE of a session that it does not know."""

    def outcome_of(self, message: Query) -> Outcome:
        found = super().outcome_of(message)
        return Outcome.NOT_DONE if found is Outcome.UNKNOWN else found


class QueriesPushOut(PlainModule):
    """Counts a Query as one of the four requests that it remembers."""

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        super().on_unnumbered(header, message)
        if isinstance(message, Query) and self.session is not None and self.session.outcomes:
            del self.session.outcomes[next(iter(self.session.outcomes))]


# --- streams: M-STATE, M-STOP, M-CREDIT -------------------------------------------------------


class StaysStreaming(PlainModule):
    """Stays STREAMING after the last frame of a Capture."""

    def state_after_capture(self) -> State:
        return State.STREAMING

    def begin_frame(self) -> None:
        if any(each.remaining for each in self.streams):
            super().begin_frame()


class UnconfiguresAfterCapture(PlainModule):
    """Goes back to UNCONFIGURED after a Capture."""

    def state_after_capture(self) -> State:
        return State.UNCONFIGURED


class UnconfiguresOnStop(PlainModule):
    """Goes back to UNCONFIGURED at Stop."""

    def stop(self, index: int) -> None:
        super().stop(index)
        self.streams[index].state = State.UNCONFIGURED


class StopsBoth(PlainModule):
    """Stops both streams at a Stop of one."""

    def on_stop(self, number: int, message: Stop) -> None:
        self.stream_at(message.stream)
        for index in range(MAX_STREAMS):
            self.stop(index)
        self.answer_in_order(number, Accepted(message.stream, self.next_frame))


class OneStreamAtATime(PlainModule):
    """Refuses to configure a stream while the other one runs."""

    def check_configurable(self, stream: Stream) -> None:
        if any(each.state is State.STREAMING for each in self.streams):
            raise Refused(ErrorCode.STATE)


class StartsUnconfigured(PlainModule):
    """Starts a stream that is not configured, in its first mode."""

    def check_startable(self, stream: Stream) -> None:
        if stream.state is State.UNCONFIGURED:
            index = self.streams.index(stream)
            stream.plan = self.plan_of(Configure(index, 0, MODE, 0, 0))
            return
        super().check_startable(stream)


class ReconfiguresRunning(PlainModule):
    """Configures a stream that runs."""

    def check_configurable(self, stream: Stream) -> None:
        del stream


class StartsTwice(PlainModule):
    """Accepts StartStream of a stream that runs."""

    def check_startable(self, stream: Stream) -> None:
        if stream.state is State.UNCONFIGURED:
            raise Refused(ErrorCode.STATE)


class TrialApplies(PlainModule):
    """Applies what is only to be tried, to a stream that is configured."""

    def on_configure(self, number: int, message: Configure) -> None:
        stream = self.stream_at(message.stream)
        if message.flags & ConfigureFlag.TEST_ONLY and stream.state is State.CONFIGURED:
            stream.plan = self.plan_of(message)
        super().on_configure(number, message)


class TrialWithoutFlag(PlainModule):
    """Answers a trial without TEST_ONLY."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        return replace(plan, flags=plan.flags & ConfigureFlag.ADJUSTED)


class TrialUnconfigures(PlainModule):
    """Forgets the configuration at a trial."""

    def on_configure(self, number: int, message: Configure) -> None:
        super().on_configure(number, message)
        if message.flags & ConfigureFlag.TEST_ONLY:
            self.stream_at(message.stream).state = State.UNCONFIGURED


class ShorterTiles(PlainModule):
    """Makes tiles of half the length that was asked for, and does not say so."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        return replace(plan, tile_bytes=max(2, plan.tile_bytes // 2))


class OtherFormatUnsaid(PlainModule):
    """Applies another format than was asked for, and does not say so."""

    def plan_of(self, message: Configure) -> Configured:
        known = message.pixel_format in [each.code for each in self.formats()]
        return super().plan_of(message if known else replace(message, pixel_format=0))


class LongTilesUnsaid(PlainModule):
    """Does not say ADJUSTED where tiles are longer than was asked for."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        if 0 < message.tile_bytes < plan.tile_bytes:
            return replace(plan, flags=plan.flags & ConfigureFlag.TEST_ONLY)
        return plan


class AnyStream(PlainModule):
    """Takes the last bit of a stream's number."""

    def stream_at(self, index: int) -> Stream:
        return self.streams[index % MAX_STREAMS]

    def stop(self, index: int) -> None:
        super().stop(index % MAX_STREAMS)


class CapturesNothing(PlainModule):
    """Accepts a Capture of no frames."""

    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Capture) and message.count == 0:
            self.answer(number, Accepted(message.stream, self.next_frame))
            return
        super().execute(number, message)


class UnsupportedIsState(PlainModule):
    """Refuses what it does not have with STATE."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Error) and message.code == ErrorCode.UNSUPPORTED:
            message = replace(message, code=ErrorCode.STATE)
        super().answer(number, message)


class StopsAnything(PlainModule):
    """Accepts Stop of a stream that does not exist."""

    def on_stop(self, number: int, message: Stop) -> None:
        if message.stream >= MAX_STREAMS:
            self.answer(number, Accepted(message.stream, self.next_frame))
            return
        super().on_stop(number, message)


class TileAfterStop(PlainModule):
    """Sends a tile right after the answer to Stop."""

    def send_data(self) -> None:
        before = list(self.data)
        super().send_data()
        gone = [each for each in before if each not in self.data]
        if any(each.kind == MessageType.ACCEPTED for each in gone) and self.frames:
            frame = self.frames[-1]
            rectangle = frame.rectangles[0]
            payload = self.pack_tile(frame, rectangle)
            item = Item(MessageType.TILE, payload, frame.number, frame.stream, 0, rectangle)
            self.emit(item)


class AbortedIsOk(PlainModule):
    """Says OK of a frame that Stop has cut."""

    def end_frame(self, frame: Frame, status: EndStatus) -> None:
        del status
        super().end_frame(frame, EndStatus.OK)

    def stop(self, index: int) -> None:
        super().stop(index)
        for each in self.data:
            if each.kind == MessageType.FRAME_END:
                each.payload = replace(FrameEnd.decode(each.payload), status=0).encode()


class NoEndAfterStop(PlainModule):
    """Sends no FrameEnd of a frame that Stop has cut."""

    def stop(self, index: int) -> None:
        super().stop(index)
        kinds = (MessageType.FRAME_END,)
        self.data = [each for each in self.data if each.kind not in kinds or each.stream != index]


class AnswersStopAtOnce(PlainModule):
    """Answers Stop before the end of the frame."""

    def answer_in_order(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Accepted):
            self.answer(number, message)
        else:
            super().answer_in_order(number, message)


class FlushesOneStream(PlainModule):
    """Ends only the preview at Flush."""

    def flushed_streams(self) -> list[int]:
        return [0]


class FlushNamesItself(PlainModule):
    """Names the Flush itself as the last request."""

    def on_flush(self, number: int) -> None:
        self.previous_request = number
        super().on_flush(number)


class FlushedTooEarly(PlainModule):
    """Sends a tile on lane 1 after Flushed."""

    def send_data(self) -> None:
        before = list(self.data)
        super().send_data()
        gone = [each for each in before if each not in self.data]
        if any(each.kind == MessageType.FLUSHED for each in gone) and self.frames:
            frame = self.frames[-1]
            rectangle = frame.rectangles[0]
            item = Item(
                MessageType.TILE, self.pack_tile(frame, rectangle), frame.number, frame.stream, 0,
                rectangle,
            )  # fmt: skip
            self.put(self.used_lanes - 1, self.encode(item, self.used_lanes - 1))


class FlushedStatesZero(PlainModule):
    """States no sequences in Flushed."""

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind != MessageType.FLUSHED:
            return super().encode(item, lane)
        kept, self.sequences = self.sequences, [1, 1]
        self.sequences[lane] = kept[lane]
        data = super().encode(replace(item, kind=MessageType.FLUSHED), lane)
        kept[lane] = self.sequences[lane]
        self.sequences = kept
        return data


class SpendsBelowLimit(PlainModule):
    """Sends a tile as long as less than the limit was sent."""

    def has_credit(self, item: Item) -> bool:
        return self.sent[item.stream] < self.limits[item.stream]


class ResendsWithoutCredit(PlainModule):
    """Sends tiles again without credit."""

    def has_credit(self, item: Item) -> bool:
        return bool(item.flags) or super().has_credit(item)


class AddsLimits(PlainModule):
    """Adds each limit to those before."""

    def raise_limits(self, message: Heartbeat) -> None:
        self.limits = [a + b for a, b in zip(self.limits, message.limit, strict=True)]


class SharesLimits(PlainModule):
    """Spends the credits of one stream on the other."""

    def has_credit(self, item: Item) -> bool:
        return sum(self.sent) + len(item.payload) <= sum(self.limits)


class LimitPerFrame(PlainModule):
    """Counts each frame's bytes against the limit from 0."""

    def has_credit(self, item: Item) -> bool:
        frame = self.frame_of(item.stream, item.number)
        sent = 0 if frame is None else frame.sent_tiles * len(item.payload)
        return sent + len(item.payload) <= self.limits[item.stream]


class QueuesAnswers(PlainModule):
    """Lets answers wait behind the tiles."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if self.data:
            self.answer_in_order(number, message)
        else:
            super().answer(number, message)


class NoQueryWhileBlocked(PlainModule):
    """Does not answer Query while tiles wait."""

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        if not (isinstance(message, Query) and self.data):
            super().on_unnumbered(header, message)


class NoRefusalWhileBlocked(PlainModule):
    """Does not answer Configure while tiles wait."""

    def on_configure(self, number: int, message: Configure) -> None:
        if not self.data:
            super().on_configure(number, message)


# --- frames: M-CAM, M-PACK, M-MANIFEST --------------------------------------------------------


class NumbersPerStream(PlainModule):
    """Numbers the frames of each stream for itself."""

    def new_frame(self, index: int, stream: Stream) -> Frame:
        counts: dict[int, int] = getattr(self, "counts", {})
        self.counts = counts
        self.next_frame = counts.get(index, 0)
        frame = super().new_frame(index, stream)
        counts[index] = frame.number + 1
        return frame


class NumbersPerCapture(PlainModule):
    """Numbers the frames of each capture from 0."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        self.next_frame = 0
        super().on_start(number, message, count, interval_us)


class EndBeforeTheLastTile(PlainModule):
    """Sends FrameEnd before the last tile."""

    def end_frame(self, frame: Frame, status: EndStatus) -> None:
        super().end_frame(frame, status)
        if len(self.data) > 1 and self.data[-2].kind == MessageType.TILE:
            self.data[-2:] = [self.data[-1], self.data[-2]]


class TileBeforeStart(PlainModule):
    """Sends the first tile before FrameStart."""

    def read_tiles(self) -> None:
        super().read_tiles()
        for at, item in enumerate(self.data[:-1]):
            after = self.data[at + 1]
            if item.kind == MessageType.FRAME_START and after.kind == MessageType.TILE:
                self.data[at], self.data[at + 1] = after, item
                return


class _OtherStart(PlainModule):
    def change(self, start: FrameStart) -> FrameStart:
        return start

    def frame_start(self, stream: Stream, plan: Configured) -> FrameStart:
        return self.change(super().frame_start(stream, plan))


class StatesDefaults(_OtherStart):
    """States its default settings, whatever was asked for."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, exposure_us=10_000, gain_milli=1000)


class NamesTheLastRequest(_OtherStart):
    """Names the last request of the session in FrameStart."""

    def change(self, start: FrameStart) -> FrameStart:
        assert self.session is not None
        return replace(start, request=self.session.last_request)


class StatesOtherHeight(_OtherStart):
    """States the sensor's height in FrameStart."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, height=start.height * 2)


class IgnoresGain(_OtherStart):
    """States the right exposure and a gain of 1."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, gain_milli=1000)


class SendsATileTwice(PlainModule):
    """Sends the first tile of a frame twice."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        return [found[0], *found]


class OverTheEdge(PlainModule):
    """Lets the last tile reach beyond the frame."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        x, y, width, height = found[-1]
        return [*found[:-1], (x, y + 1, width, height)]

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        x, y, width, height = rectangle
        top = min(y, HEIGHT - height)
        return super().pack_tile(frame, (x, top, width, height))


class LongerThanTaken(PlainModule):
    """Ignores the longest payload that the host takes."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        super().on_hello(header, payload)
        self.max_payload = 1 << 20


class LosesTheLastTile(PlainModule):
    """Leaves the last tile of a frame out, and says OK."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        return super().rectangles_to_read(plan)[:-1]


class CountsResentTiles(PlainModule):
    """Counts tiles sent again in FrameEnd."""

    def on_resend(self, header: Header, message: Resend) -> None:
        frame = self.frame_of(header.stream, header.frame)
        if frame is not None and frame.end is not None:
            end = FrameEnd.decode(frame.end)
            frame.end = replace(end, tiles=end.tiles + message.count).encode()
        super().on_resend(header, message)


class OldEndAgain(PlainModule):
    """Sends FrameEnd again with the sequences of the first time."""

    def encode(self, item: Item, lane: int) -> bytes:
        ends: dict[int, list[int]] = getattr(self, "ends", {})
        self.ends = ends
        if item.kind != MessageType.FRAME_END:
            return super().encode(item, lane)
        first = ends.setdefault(item.number, self.last_sequences())
        self.is_old, self.old = True, first
        try:
            return super().encode(item, lane)
        finally:
            self.is_old = False

    def last_sequences(self) -> list[int]:
        return self.old if getattr(self, "is_old", False) else super().last_sequences()


class EndCountsItself(PlainModule):
    """States its own sequence in FrameEnd."""

    def last_sequences(self) -> list[int]:
        found = super().last_sequences()
        return [(found[0] + 1) & 0xFFFFFFFF, *found[1:]]


class OneFrameLess(PlainModule):
    """Sends one frame less than a Capture of several asked for."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count - 1 if count > 1 else count, interval_us)


class AlwaysOneFrame(PlainModule):
    """Sends one frame whatever a Capture asks for."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, min(count, 1), interval_us)


class _OtherPacking(PlainModule):
    wrong: tuple[Packing, Packing] | None = None
    """A packing, and the one that is sent instead."""

    def packing_of(self, frame: Frame) -> Layout:
        form = super().packing_of(frame)
        if self.wrong is None or form.packing != self.wrong[0]:
            return form
        return next(each for each in self.formats() if each.packing == self.wrong[1])


class MipiAsLsb(_OtherPacking):
    """Sends MIPI formats with the bytes of lsb."""

    wrong = (Packing.MIPI, Packing.LSB)


class LegacyAsMipi(_OtherPacking):
    """Sends the legacy format with the bytes of MIPI."""

    wrong = (Packing.LEGACY, Packing.MIPI)


class BigEndianWords(PlainModule):
    """Sends 16-bit words with the high byte first."""

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        if self.packing_of(frame).packing != Packing.UNPACKED:
            return data
        return np.frombuffer(data, "<u2").astype(">u2").tobytes()


class AlwaysUnpacked(PlainModule):
    """Applies its first format, whatever Configure names."""

    def chosen_format(self, message: Configure) -> Layout:
        del message
        return self.formats()[0]


class _OtherPlan(PlainModule):
    def change(self, plan: Configured) -> Configured:
        return plan

    def plan_of(self, message: Configure) -> Configured:
        return self.change(super().plan_of(message))


class FrameBytesOfWords(_OtherPlan):
    """States the bytes of an unpacked frame for each format."""

    def change(self, plan: Configured) -> Configured:
        return replace(plan, frame_bytes=2 * WIDTH * HEIGHT)


class UnlistedDefault(_OtherPlan):
    """States a format that its manifest does not list."""

    def change(self, plan: Configured) -> Configured:
        if find_layout(plan.pixel_format).packing == Packing.LSB:
            return replace(plan, pixel_format=PixelFormat.GR12p)
        return plan


class CutsInsideGroups(PlainModule):
    """Cuts tiles at odd columns."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        if found[0][2] == WIDTH or find_layout(plan.pixel_format).group == 1:
            return found
        return [place for y in range(HEIGHT) for place in ((0, y, 7, 1), (7, y, WIDTH - 7, 1))]

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        x, y, width, height = rectangle
        rows = frame.pixels[y : y + height, x : x + width]
        return pack(np.ascontiguousarray(rows), self.packing_of(frame)).tobytes()


class EndsInsideGroups(PlainModule):
    """Ends a tile inside a group, and begins the next one with the same group."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        if found[0][2] == WIDTH or find_layout(plan.pixel_format).group == 1:
            return found
        return [place for y in range(HEIGHT) for place in ((0, y, 31, 1), (31, y, WIDTH - 31, 1))]


class PiecesFromZero(PlainModule):
    """Sends the first piece of the manifest, whatever offset is asked for."""

    def on_get_manifest(self, number: int, message: GetManifest) -> None:
        data = self.manifest_bytes()
        self.answer(number, ManifestPiece(message.offset, len(data), data[: self.piece_bytes()]))


class EmptyBeyondTheEnd(PlainModule):
    """Sends an empty piece beyond the manifest's end."""

    def on_get_manifest(self, number: int, message: GetManifest) -> None:
        data = self.manifest_bytes()
        piece = data[message.offset :][: self.piece_bytes()]
        self.answer(number, ManifestPiece(message.offset, len(data), piece))


class TotalOfThePiece(PlainModule):
    """States as the total what is left from the offset on."""

    def on_get_manifest(self, number: int, message: GetManifest) -> None:
        data = self.manifest_bytes()
        if message.offset >= len(data):
            raise Refused(ErrorCode.UNSUPPORTED)
        piece = data[message.offset :][: self.piece_bytes()]
        self.answer(number, ManifestPiece(message.offset, len(data) - message.offset, piece))


class _OtherManifest(PlainModule):
    def change(self, key: int, value: bytes) -> bytes | None:
        del key
        return value

    def manifest_bytes(self) -> bytes:
        data = b""
        for key, value in iterate_entries(super().manifest_bytes()):
            changed = self.change(key, value)
            if changed is not None:
                data += encode_entry(key, changed)
        return data


class NoColors(_OtherManifest):
    """Has no colours in its manifest."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return None if key == ManifestKey.COLOR else value


class NoSerial(_OtherManifest):
    """Has no serial in its manifest."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return None if key == ManifestKey.SERIAL else value


class OddMode(_OtherManifest):
    """Has a mode with an odd width."""

    def change(self, key: int, value: bytes) -> bytes | None:
        if key != ManifestKey.MODE:
            return value
        return value[:2] + (WIDTH - 1).to_bytes(2, "little") + value[4:]


# --- asking again: M-RESEND; lanes: M-LANE; proofs: M-AUTH ------------------------------------


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


_CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-FRAME-1": (
        KeepsSequences, CountsFromOne, OneCountForAllLanes, CountsTilesApart, StreamInReplies,
    ),
    "M-FRAME-2": (
        ActsOnDamagedHeartbeat, ActsOnDamagedResend, ActsOnDamagedClose, ActsOnDamagedHello,
        NoHeaderCrc,
    ),
    "M-FRAME-3": (
        SkipsDamagedPayload, SkipsAfterBadHeader, RestartsAfterHalfAMagic, OnePacketAPiece,
    ),
    "M-FRAME-4": (WaitsHalfASecond, ForgetsStalledBytes, GivesUpEarly),
    "M-FRAME-5": (NoWrap, AnyStep, DamageKeepsSequence, StaleHeartbeats, StaleClose),
    "M-FRAME-6": (ShorterThanAllowed, LongTilesFromHost, OwnMinorOnly),
    "M-GROW-1": (
        ExactHello, ExactCapture, ExactHeartbeat, ExactFlush, TailAtFixedOffset, PadsShortMessages,
    ),
    "M-GROW-2": (VendorUsesIds, VendorIsRefused, VendorEndsSession, DeafAfterStrangers),
    "M-HELLO-1": (HelloOnce, HelloStartsAnew, HelloUnderOwnNonce),
    "M-HELLO-2": (StatesAllLanes, StatesOwnCapabilities, StatesNewestVersion, AlwaysLogs),
    "M-HELLO-3": (KeepsConfiguration, KeepsStreaming, KeepsCredits, KeepsAnswers, KeepsCounts),
    "M-HELLO-4": (AnswersDetached, StaysDetached),
    "M-HELLO-5": (
        SilentToOtherVersions, AcceptsOtherVersions, RefusesAsUnsupported, LooksAtNewestOnly,
    ),
    "M-HELLO-6": (AnswersRefused, AnswersRefusedHeartbeats, RefusesForEver),
    "M-CLOSE-1": (StreamsAfterClose, AnswersAfterClose, CloseKeepsConfiguration),
    "M-CLOSE-2": (NoFarewell, WrongFarewell),
    "M-LIVE-1": (DeafInsideFrames, AnswersRaisedLimits),
    "M-LIVE-2": (BegunIsANumber, BegunOfBoth, CountsFirstTimeOnly, CountsPerCapture, CountsHeaders),
    "M-REQ-1": (SilentRefusals, AnswersUnderZero, AcceptsStopAsFlushed),
    "M-REQ-2": (KeepsThreeAnswers, ForgetsRefusals, ForgetsBarriers),
    "M-REQ-3": (SilentToOldRequests, OldIsWrongState, ExecutesOldRequests),
    "M-REQ-4": (UnknownIsUnsupported, UnknownIsMalformed),
    "M-QUERY-1": (
        KnowsLastSessionOnly, ForgetsWithTheConnection, KnowsThreeRequests, RefusedIsDone,
        NeverUnknown, QueriesPushOut,
    ),
    "M-STATE-1": (
        StaysStreaming, UnconfiguresAfterCapture, UnconfiguresOnStop, StopsBoth, OneStreamAtATime,
        StartsUnconfigured, ReconfiguresRunning, StartsTwice,
    ),
    "M-STATE-2": (TrialApplies, TrialWithoutFlag, TrialUnconfigures),
    "M-STATE-3": (ShorterTiles, OtherFormatUnsaid, LongTilesUnsaid),
    "M-STATE-4": (AnyStream, CapturesNothing, UnsupportedIsState, StopsAnything),
    "M-STOP-1": (
        TileAfterStop, AbortedIsOk, NoEndAfterStop, AnswersStopAtOnce, FlushesOneStream, StopsBoth,
    ),
    "M-STOP-2": (FlushNamesItself, FlushedTooEarly, FlushedStatesZero),
    "M-CREDIT-1": (
        SpendsBelowLimit, ResendsWithoutCredit, AddsLimits, SharesLimits, LimitPerFrame,
    ),
    "M-CREDIT-2": (QueuesAnswers, NoQueryWhileBlocked, NoRefusalWhileBlocked),
    "M-CAM-1": (NumbersPerStream, NumbersPerCapture, EndBeforeTheLastTile, TileBeforeStart),
    "M-CAM-2": (StatesDefaults, NamesTheLastRequest, StatesOtherHeight, IgnoresGain),
    "M-CAM-3": (SendsATileTwice, OverTheEdge, LongerThanTaken, LosesTheLastTile),
    "M-CAM-4": (CountsResentTiles, OldEndAgain, EndCountsItself),
    "M-CAM-5": (OneFrameLess, AlwaysOneFrame),
    "M-PACK-1": (MipiAsLsb, LegacyAsMipi, BigEndianWords, AlwaysUnpacked),
    "M-PACK-2": (FrameBytesOfWords, UnlistedDefault),
    "M-PACK-3": (CutsInsideGroups, EndsInsideGroups),
    "M-MANIFEST-1": (PiecesFromZero, EmptyBeyondTheEnd, TotalOfThePiece),
    "M-MANIFEST-2": (NoColors, NoSerial, OddMode),
    "M-RESEND-1": (
        ExactTilesOnly, SixteenRectangles, StillsOnly, NothingIsGone, FirstRectangleOnly,
    ),
    "M-RESEND-2": (ResentWithoutFlag, ResendsNewPixels, ResendsShifted),
    "M-RESEND-3": (FinishedFramesOnly, StartAfterResent, FlagsUnsaid, AlwaysBothEnds),
    "M-RESEND-4": (AnyStreamsFrame, SilentOnUnknown, UnknownIsEnded),
    "M-LANE-1": (ControlOnOtherLanes, UsesAllLanes, OneLastSequence),
    "M-LANE-2": (KeepsDeadLane, LaneEndsFrame, LaneEndsSession),
    "M-AUTH-1": (ProvesAnything, ProvesWithoutCapability, EmptyProof),
    "M-AUTH-2": (ProvesFirstHalf, ProvesSevenBytes, ProvesAllButTheLast),
}  # fmt: skip

PLAIN: dict[str, tuple[Broken, ...]] = {
    clause: tuple(Broken(each.__name__, each) for each in classes)
    for clause, classes in _CLASSES.items()
}
"""The broken modules of each clause."""
