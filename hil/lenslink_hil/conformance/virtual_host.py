"""The driver's link and reassembly, in this process and on virtual time, as a wire."""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Callable, Generator
from typing import Self

from lenslink.context import ClosesOnExit
from lenslink.receive.assembly import Assembly
from lenslink.receive.frame_pool import Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.crc import crc32
from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import (
    AuthScheme,
    CalibrationKind,
    Capability,
    CloseReason,
    DiscardReason,
    EndStatus,
)
from lenslink_protocol.link import Link, Request
from lenslink_protocol.manifest import Manifest, Mode, parse_manifest
from lenslink_protocol.messages import (
    AnyMessage,
    CalibrationEntry,
    CalibrationPiece,
    Capture,
    Challenge,
    Configure,
    Configured,
    Error,
    GetCalibration,
    GetManifest,
    HelloReply,
    Malformed,
    ManifestPiece,
    Proof,
    StartStream,
    Stop,
)
from lenslink_protocol.params import AUTH_BYTES, EVERY_FRAME, MAX_MANIFEST

from ..virtual_time import VirtualClock
from .module_peer import STILL_TASK, HostResult
from .peer_wire import ConnectionEnded, Tamper
from .virtual_module import KEY

_PREVIEW, _STILL = 0, 1
_STEP_US = 1000
_PATIENCE_S = 6.0

Steps = Generator[None, None, None]


class _GivenUp(Exception):
    """The host ends without a frame. The message says why."""


class VirtualHost(ClosesOnExit):
    """A host that takes one still, or runs a preview if ``task`` says so.

    *tamper* is a defect on its line; subclasses have others.
    """

    lanes = 2

    def __init__(self, tamper: Tamper | None = None, nonce: int | None = None) -> None:
        self.clock = VirtualClock()
        self.discards: Counter[DiscardReason] = Counter()
        self.configurations: dict[int, Configured] = {}
        self.frames = self.reassembly()
        self.link = Link(nonce or secrets.randbits(32), self.frames, self.discards, 2)
        self._tamper = tamper or Tamper()
        self._coming: deque[bytes] = deque()
        self._outcome: HostResult | None = None
        self.task = STILL_TASK
        self.always_authenticates = False
        """True: it refuses a module without AUTH."""
        self._script: Steps | None = None

    # --- what a broken one does otherwise -------------------------------------------------

    def reassembly(self) -> Reassembly:
        return Reassembly(Pool(), self.discards, self.configurations.get)

    def is_gone(self) -> bool:
        """Return True if the module is gone."""
        return self.link.is_silent(self.clock.seconds)

    def give_up(self, why: str) -> None:
        """End without a frame."""
        self._outcome = self._outcome or HostResult(False, None, why)

    def is_whole(self, frame: Assembly) -> bool:
        sound = frame.frame_end is None or frame.frame_end.status == EndStatus.OK
        return frame.received_ranges.is_complete and sound

    def settings(self, manifest: Manifest) -> bytes:
        """Return a settings list: the initial values of the controls that the module has."""
        return encode_settings(
            Setting(each.control, EVERY_FRAME, each.initial) for each in manifest.controls
        )

    def is_piece_wrong(self, piece: ManifestPiece, data: bytes, total: int) -> bool:
        """Return True if a piece does not fit behind *data*, in a manifest of *total* bytes."""
        whole = len(data) + len(piece.piece)
        is_odd = piece.offset != len(data) or not piece.piece or piece.total != total
        return is_odd or whole > total or total > MAX_MANIFEST

    def is_known_calibration(self, entry: CalibrationEntry) -> bool:
        return entry.kind in set(CalibrationKind)

    def is_calibration_piece_wrong(
        self, piece: CalibrationPiece, data: bytes, entry: CalibrationEntry
    ) -> bool:
        """Return True if a piece does not fit behind *data*."""
        head = piece.kind, piece.offset, piece.total
        fits = head == (entry.kind, len(data), entry.total) and piece.piece
        return not fits or len(data) + len(piece.piece) > entry.total

    def challenge(self) -> bytes:
        return secrets.token_bytes(AUTH_BYTES)

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        """Return True if *reply* is the right proof."""
        expected = make_proof(KEY, challenge, self.link.nonce, serial, firmware)
        return reply == Proof(AuthScheme.HMAC_SHA256, expected)

    def refuse_without_auth(self) -> None:
        raise _GivenUp("the module does not have AUTH")

    # --- Wire -----------------------------------------------------------------------------

    def now(self) -> float:
        return self.clock.seconds

    def send(self, data: bytes, lane: int = 0) -> None:
        if self._outcome is not None:
            raise ConnectionEnded("the host has ended")
        for piece in self._tamper.pass_to_tested(data):
            self.link.feed(piece, self.clock.seconds, lane)

    def receive(self, seconds: float) -> bytes:
        end = self.clock.us + max(1, round(seconds * 1e6))
        while not self._coming and self.clock.us < end:
            if self._outcome is not None:
                raise ConnectionEnded("the host has ended")
            self.clock.us = min(end, self.clock.us + _STEP_US)
            self._step()
        data = b"".join(self._coming)
        self._coming.clear()
        return data

    def receive_lane(self, lane: int) -> bytes:
        """Return b"": a host sends nothing on other lanes."""
        del lane
        return b""

    def end_lane(self, lane: int) -> bool:
        self.link.on_lane_end(lane)
        return True

    def set_attached(self, seated: bool) -> bool:
        """Return False: a host is not attached to anything."""
        del seated
        return False

    def reopen(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is held."""

    # --- HostRun --------------------------------------------------------------------------

    @property
    def wire(self) -> Self:
        return self

    def finish(self) -> HostResult:
        """Let the host run to its end, and return its result."""
        limit = self.clock.seconds + 2 * _PATIENCE_S
        while self._outcome is None and self.clock.seconds < limit:
            self.clock.us += _STEP_US
            self._step()
        return self._outcome or HostResult(False, None, "it did not end")

    # --- the host -------------------------------------------------------------------------

    def _step(self) -> None:
        if self._outcome is None:
            try:
                self.link.poll(self.clock.seconds)
                if self.link.close_message is not None:
                    raise _GivenUp("the module ended the session")  # noqa: TRY301
                if self.is_gone():
                    raise _GivenUp("the module is silent")  # noqa: TRY301
                if self._script is None:
                    takes = self._takes_a_still if self.task == STILL_TASK else self._runs_a_preview
                    self._script = takes()
                next(self._script)
            except _GivenUp as reason:
                self._outcome = self._outcome or HostResult(False, None, str(reason))
            except StopIteration:
                pass
        while self.link.outgoing:
            self._coming.extend(self._tamper.pass_to_tester(self.link.outgoing.popleft()))

    def _runs_a_preview(self) -> Steps:
        """Take three frames of the preview, and stop it."""
        found: list[Assembly] = []
        try:
            yield from self._open_and_configure(_PREVIEW)
            yield from self._call(StartStream(_PREVIEW, 0), None)
            for _ in range(3):
                yield from self._until(lambda: bool(self.frames.finished_frames))
                found.append(self.frames.finished_frames.popleft())
            yield from self._call(Stop(_PREVIEW), None)
            end = HostResult(all(self.is_whole(frame) for frame in found))
        except _GivenUp as reason:
            end = HostResult(False, None, str(reason))
        self._close_session(end)

    def _open_and_configure(self, stream: int) -> Generator[None, None, Manifest]:
        """Open the session and configure a stream in the first mode."""
        hello = yield from self._answer(self.link.send_hello(self.now()), HelloReply)
        assert isinstance(hello, HelloReply)
        self.frames.can_resend = bool(hello.capabilities & Capability.RESEND)
        manifest = yield from self._manifest(hello.manifest_bytes)
        for entry in manifest.calibrations:
            if self.is_known_calibration(entry):
                yield from self._calibration(entry)
        mode = manifest.modes[0]
        if hello.capabilities & Capability.AUTH:
            yield from self._authenticate(manifest)
        elif self.always_authenticates:
            self.refuse_without_auth()
        answer = yield from self._call(
            Configure(stream, 0, mode.id, 0, 0, *self.choose_crop(mode)), Configured
        )
        assert isinstance(answer, Configured)
        sizes = [(mode.width, mode.height), self.choose_crop(mode)[2:]]
        if not answer.width or (answer.width, answer.height) not in sizes:
            raise _GivenUp(f"the module configured something else: {answer}")
        self.configurations[stream] = answer
        return manifest

    def choose_crop(self, mode: Mode) -> tuple[int, int, int, int]:
        """Return the crop that is configured: x, y, width and height."""
        del mode
        return 0, 0, 0, 0

    def _takes_a_still(self) -> Steps:
        try:
            manifest = yield from self._open_and_configure(_STILL)
            yield from self._call(Capture(_STILL, 1, self.settings(manifest)), None)
            yield from self._until(lambda: bool(self.frames.finished_frames))
            frame = self.frames.finished_frames.popleft()
            whole = self.is_whole(frame)
            pixels = frame.unpack_pixels().tobytes() if whole else None
            end = HostResult(whole, pixels, "an incomplete frame")
        except _GivenUp as reason:
            end = HostResult(False, None, str(reason))
        self._close_session(end)

    def _close_session(self, result: HostResult) -> None:
        self.link.send_close(CloseReason.ORDERLY)
        while self.link.outgoing:
            self._coming.extend(self._tamper.pass_to_tester(self.link.outgoing.popleft()))
        self._outcome = result

    def _authenticate(self, manifest: Manifest) -> Steps:
        challenge = self.challenge()
        message = Challenge(AuthScheme.HMAC_SHA256, challenge)
        request = self.link.send_request(message, self.now())
        yield from self._until(lambda: request.is_done)
        if not self.is_genuine(challenge, request.reply, manifest.serial, manifest.firmware):
            raise _GivenUp(f"the module is not genuine: {request.reply}")

    def _manifest(self, total: int) -> Generator[None, None, Manifest]:
        data = b""
        while True:
            piece = yield from self._call(GetManifest(len(data)), ManifestPiece)
            assert isinstance(piece, ManifestPiece)
            if self.is_piece_wrong(piece, data, total):
                raise _GivenUp("the manifest does not fit together")
            data = (data + piece.piece)[: piece.total]
            if len(data) >= piece.total:
                break
        try:
            manifest = parse_manifest(data)
        except Malformed as error:
            raise _GivenUp(f"the manifest is malformed: {error}") from None
        self.frames.mode_sizes = {each.id: (each.width, each.height) for each in manifest.modes}
        return manifest

    def _calibration(self, entry: CalibrationEntry) -> Generator[None, None, bytes | None]:
        """Read a calibration; None if it cannot be used. The still needs none of them."""
        data = b""
        while len(data) < entry.total:
            piece = yield from self._call(GetCalibration(entry.kind, len(data)), CalibrationPiece)
            assert isinstance(piece, CalibrationPiece)
            if self.is_calibration_piece_wrong(piece, data, entry):
                return None
            data += piece.piece
        return data if crc32(data) == entry.crc32 else None

    def _call(
        self, message: AnyMessage, kind: type[AnyMessage] | None
    ) -> Generator[None, None, AnyMessage]:
        return (yield from self._answer(self.link.send_request(message, self.now()), kind))

    def _answer(
        self, request: Request, kind: type[AnyMessage] | None
    ) -> Generator[None, None, AnyMessage]:
        yield from self._until(lambda: request.is_done)
        reply = request.reply
        if reply is None or isinstance(reply, Error) or (kind and not isinstance(reply, kind)):
            raise _GivenUp(f"refused: {reply}")
        return reply

    def _until(self, done: Callable[[], bool]) -> Steps:
        end = self.now() + _PATIENCE_S
        while not done():
            if self.now() > end:
                raise _GivenUp("it took too long")
            yield
