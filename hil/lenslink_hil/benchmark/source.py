"""The process that sends: a module as fast as a socket, so that the host limits the rate.

The process listens at a URL and serves one host at a time. The first bytes of a host choose:
:data:`BARE` gets the bytes of frames without a protocol, :data:`PING` gets the bytes of one tile
for each byte that it sends, and anything else is a session of the driver.

One frame in *damage_every* has a tile whose payload does not match its CRC, and after it a repeated
tile. The host must discard both. The damaged tile is sent again if the host asks for it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import sys
import time
from contextlib import closing

from lenslink.transports.direct_placement import DirectFrame
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import Cfa, EndStatus, Flag, FrameState, MessageType
from lenslink_protocol.messages import FrameEnd, FrameStart, Resent

from .lines import Line, LineClosed, accept, listen
from .ready_module import ReadyModule
from .tiles import Picture, Tiles

BARE, PING = b"BARE", b"PING"
CONTENTS = 3
"""Successive frames have different contents, so that an old frame is never right by chance."""
PREVIEW = 0
_CHUNK_BYTES = 2 << 20
# How long to wait for the host before the module runs again.
_IDLE_S = 0.02
_FIRST_S = 5.0
_STAMPS = 4096
# A sensor that cannot wait longer for a slot sends its pixels through the byte ring.
_SLOT_S = 0.05


class Source:
    """Serves one connection after another while standard input is open."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.module = ReadyModule(options.width, options.height, options.tile, options.serial)
        self.plan = self.module.plan_stream(options.tile)
        tiles = Tiles(self.plan)
        self.pictures = [Picture(self.plan, tiles, seed) for seed in range(CONTENTS)]
        self.damage_every: int = options.damage_every
        self.stalls = 0
        """How often tiles waited for credit."""
        self.stalled_s = 0.0
        self.stamps: dict[int, tuple[int, int, int, int]] = {}
        """When sending began of each frame, its first tile, second half and last tile, in ns."""

    def serve(self, line: Line) -> None:
        """Serve a host until the host closes the line."""
        self.stalls, self.stalled_s = 0, 0.0
        self.stamps.clear()
        with contextlib.suppress(LineClosed):
            first = line.receive(_FIRST_S)
            if first == BARE:
                self._send_bare(line)
            elif first.startswith(PING):
                # The first ping may have arrived together with the command.
                self._answer_pings(line, len(first) - len(PING))
            else:
                self.module.feed(first)
                Session(self, line).run()
        self.module.link.end_session()

    def _send_bare(self, line: Line) -> None:
        while True:
            for picture in self.pictures:
                for start in range(0, len(picture.view), _CHUNK_BYTES):
                    line.send(picture.view[start : start + _CHUNK_BYTES])

    def _answer_pings(self, line: Line, owed: int) -> None:
        """Answer each byte with the bytes of a first tile."""
        tile = self.pictures[0].view[: self.pictures[0].tiles.packet_offset(1)]
        while True:
            for _ in range(owed):
                line.send(tile)
            owed = len(line.receive(_FIRST_S))


class Session:
    """Serves a driver: answers, and frames while a stream runs."""

    def __init__(self, source: Source, line: Line) -> None:
        self._source = source
        self._module = source.module
        self._line = line
        self._tiles = source.pictures[0].tiles
        self._is_open = False
        self._sent_frames = 0
        self._next_start = 0.0

    def run(self) -> None:
        module = self._module
        while True:
            if not module.is_running(PREVIEW):
                self._serve(_IDLE_S)
                self._sent_frames = 0
                self._next_start = 0.0
                continue
            interval = module.streams[PREVIEW].interval_us / 1e6
            wait = self._next_start - time.monotonic()
            if interval and wait > 0:
                self._serve(min(wait, _IDLE_S))
                continue
            self._next_start = max(self._next_start, time.monotonic() - interval) + interval
            self._send_frame()

    def _serve(self, seconds: float) -> None:
        """Receive from the host, and answer."""
        self._receive(seconds)
        self._send_answers()

    def _receive(self, seconds: float) -> None:
        data = self._line.receive(seconds)
        if data:
            self._module.feed(data)
        self._module.step()
        if self._is_open and self._module.link.nonce is None:
            raise LineClosed  # the host has sent Close
        self._is_open = self._module.link.nonce is not None

    def _send_answers(self) -> None:
        for packet in self._module.take_packets():
            self._line.send(packet)
        while self._module.resends:
            self._resend(*self._module.resends.pop(0))

    # --- frames ---------------------------------------------------------------------------

    def _send_frame(self) -> None:
        """Send a frame, or its part until the host stops the stream."""
        module, tiles, stream = self._module, self._tiles, PREVIEW
        number = module.begin_frame()
        picture = self._source.pictures[number % CONTENTS]
        slot = self._take_slot(number)
        began = time.monotonic_ns()
        self._send_control(MessageType.FRAME_START, self._make_start(began // 1000), number)
        every = self._source.damage_every
        damaged = len(tiles) // 2 if every and self._sent_frames % every == every - 1 else -1
        self._sent_frames += 1
        half, final = len(tiles) // 2, len(tiles) - 1
        stamp: dict[int, int] = {}
        at = 0
        while at < len(tiles):
            stop = self._find_affordable(at, stream)
            if stop == at:
                self._wait_for_credit(stream, int(tiles.lengths[at]))
                if not module.is_running(stream):
                    break
                continue
            # Cut here, so that each of these tiles begins or ends a send of its own.
            for cut in (0, damaged, half - 1, final - 1):
                if at <= cut < stop:
                    stop = cut + 1
            stamp[at] = self._send_tiles(picture, range(at, stop), number, damaged, slot)
            module.count_sent(stream, int(tiles.lengths[at:stop].sum()))
            at = stop
            self._receive(0)
            if not module.is_running(stream):
                # The answer to Stop follows the end of the frame.
                break
            self._send_answers()
        if slot is not None:
            slot.return_slot()
        whole = at == len(tiles)
        self._send_end(number, EndStatus.OK if whole else EndStatus.ABORTED, at, began)
        if whole and len(self._source.stamps) < _STAMPS:
            self._source.stamps[number] = (began, stamp[0], stamp[half], stamp[final])
        # Answer what was asked for while the frame was sent, such as Stop.
        self._serve(0)

    def _send_tiles(
        self, picture: Picture, which: range, number: int, damaged: int, slot: DirectFrame | None
    ) -> int:
        """Send tiles, the last of which may be the *damaged* one. Return when that began, in ns."""
        module, tiles = self._module, self._tiles
        nonce = module.link.nonce
        sequence = module.take_sequences(len(which))
        stretch = picture.number_packets(which.start, which.stop, nonce, sequence, number)
        is_damaged = which[-1] == damaged
        if is_damaged:
            picture.toggle_damage(damaged)
        began = time.monotonic_ns()
        if slot is None:
            self._line.send(stretch)
        else:
            picture.write_payloads(which, slot)
        if is_damaged:
            picture.toggle_damage(damaged)
            # The tile before is sent again, and the host must recognise it.
            before = max(0, damaged - 1)
            self._line.send(
                picture.build_packet(before, nonce, module.take_sequences(1), number, 0)
            )
            module.count_sent(PREVIEW, int(tiles.lengths[before]))
        return began

    def _take_slot(self, number: int) -> DirectFrame | None:
        """Return shared memory for a frame, None if there is none or none is free soon."""
        slots = self._line.slots
        if slots is None or not slots.has_grants:
            return None
        end = time.monotonic() + _SLOT_S
        size = self._source.plan.frame_bytes
        while (slot := slots.take_slot(number, size)) is None and time.monotonic() < end:
            time.sleep(_SLOT_S / 1000)
        return slot

    def _find_affordable(self, at: int, stream: int) -> int:
        """Return the index after the last tile that credits allow to send at once."""
        ends = self._tiles.ends
        before = int(ends[at]) - int(self._tiles.lengths[at])
        budget = before + min(self._module.count_credit(stream), _CHUNK_BYTES)
        stop = int(ends.searchsorted(budget, side="right"))
        if stop <= at and self._module.count_credit(stream) >= self._tiles.lengths[at]:
            return at + 1
        return max(at, stop)

    def _wait_for_credit(self, stream: int, wanted: int) -> None:
        """Wait until there is credit, or the stream has ended."""
        began = time.monotonic()
        self._source.stalls += 1
        while self._module.count_credit(stream) < wanted and self._module.is_running(stream):
            self._receive(_IDLE_S)
            if self._module.is_running(stream):
                self._send_answers()
        self._source.stalled_s += time.monotonic() - began

    def _resend(
        self, stream: int, frame: int, flags: int, asked: list[tuple[int, int, int, int]]
    ) -> None:
        """Send tiles again. Every frame can be made again from its number."""
        module, tiles = self._module, self._tiles
        picture = self._source.pictures[frame % CONTENTS]
        nonce = module.link.nonce
        for index, (x, y, width, height) in enumerate(tiles.places):
            if any(
                x < right and left < x + width and y < bottom and top < y + height
                for left, top, right, bottom in ((a, b, a + c, b + d) for a, b, c, d in asked)
            ):
                packet = picture.build_packet(
                    index, nonce, module.take_sequences(1), frame, Flag.RESENT
                )
                module.count_sent(stream, int(tiles.lengths[index]))
                self._line.send(packet)
        answer = Resent(flags & 0, FrameState.UNDER_WAY, 0)
        self._send_control(MessageType.RESENT, answer.encode(), frame)

    def _send_control(self, kind: MessageType, payload: bytes, frame: int) -> None:
        packet = encode_packet(
            kind,
            payload,
            nonce=self._module.link.nonce,
            sequence=self._module.take_sequences(1),
            frame=frame,
            stream=PREVIEW,
        )
        self._line.send(packet)

    def _make_start(self, now_us: int) -> bytes:
        plan, module = self._source.plan, self._module
        return FrameStart(
            mode=plan.mode,
            request=module.streams[PREVIEW].request_id,
            width=plan.width,
            height=plan.height,
            cfa=Cfa.RGGB,
            orientation=1,
            bits=12,
            pixel_format=plan.pixel_format,
            stride=plan.stride,
            white=4095,
            black_milli=(0, 0, 0, 0),
            timestamp_us=now_us,
            flags=0,
            exposure_us=10_000,
            gain_milli=1000,
            focus_mdpt=0,
            aperture_milli=1400,
            interval_us=0,
            row_time_ns=0,
            noise_slope=0,
            noise_offset=0,
            focus_ring=0,
            temperature_mc=25_000,
        ).encode()

    def _send_end(self, frame: int, status: EndStatus, tiles: int, began_ns: int) -> None:
        module = self._module
        sequence = module.take_sequences(1)
        last = (sequence - 1) & 0xFFFFFFFF
        readout_us = (time.monotonic_ns() - began_ns) // 1000
        message = FrameEnd(status, 1, tiles, readout_us, (last, 0, 0, 0), 0)
        packet = encode_packet(
            message.TYPE,
            message.encode(),
            nonce=module.link.nonce,
            sequence=sequence,
            frame=frame,
            stream=PREVIEW,
        )
        self._line.send(packet)


def main() -> None:
    """Serve hosts. Print a line of JSON when ready, and one after each host."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--tile", type=int, required=True)
    parser.add_argument("--serial", default="BENCH-1")
    parser.add_argument("--damage-every", type=int, default=0)
    options = parser.parse_args()
    source = Source(options)
    listener, url = listen(options.url)
    plan = source.plan
    _print_json(
        url=url,
        tile_bytes=int(source.pictures[0].tiles.lengths[0]),
        frame_bytes=plan.frame_bytes,
        pixel_format=plan.pixel_format,
        tiles=len(source.pictures[0].tiles),
        crcs=[picture.crc for picture in source.pictures],
    )
    while True:
        ready = select.select([listener, sys.stdin], [], [])[0]
        if sys.stdin in ready:
            return
        with closing(accept(listener, url.partition(":")[0], plan.frame_bytes)) as line:
            source.serve(line)
        _print_json(stalls=source.stalls, stalled_s=source.stalled_s, stamps=source.stamps)


def _print_json(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
