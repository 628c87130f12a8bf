"""The process that sends: a module as fast as a socket, so that the host is what is measured.

It listens at a URL and serves one host at a time: a driver with a session, or, if the first bytes
are :data:`BARE`, a receiver that wants the same bytes and nothing else, or :data:`PING`, one that
wants a tile's bytes for each byte that it sends.

One frame in *damage_every* has a tile whose payload is damaged under the CRC of the original, and
behind it one that repeats what came before: both must be rejected. The damaged tile is sent again
if the host asks for it.
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

from .lines import Gone, Line, accept, listen
from .ready_module import ReadyModule
from .tiles import Picture, Tiles

BARE, PING = b"BARE", b"PING"
CONTENTS = 3
"""Frames of different contents follow each other, so that an old one is never right by chance."""
PREVIEW = 0
_CHUNK_BYTES = 2 << 20
# How long it waits for the host, before it looks after its module again.
_IDLE_S = 0.02
_FIRST_S = 5.0
_STAMPS = 4096
# A sensor that could not wait so long would send its pixels through the ring.
_SLOT_S = 0.05


class Source:
    """One connection after the other, for as long as standard input stays open."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.module = ReadyModule(options.width, options.height, options.tile, options.serial)
        self.plan = self.module.planned(options.tile)
        tiles = Tiles(self.plan)
        self.pictures = [Picture(self.plan, tiles, seed) for seed in range(CONTENTS)]
        self.damage_every: int = options.damage_every
        self.stalls = 0
        """How often tiles waited for credit."""
        self.stalled_s = 0.0
        self.stamps: dict[int, tuple[int, int, int, int]] = {}
        """When each frame, its first tile, its second half and its last tile were begun, ns."""

    def serve(self, line: Line) -> None:
        """Serve a host until it goes."""
        self.stalls, self.stalled_s = 0, 0.0
        self.stamps.clear()
        with contextlib.suppress(Gone):
            first = line.hear(_FIRST_S)
            if first == BARE:
                self._bare(line)
            elif first.startswith(PING):
                # The first ping may have come with it.
                self._ping(line, len(first) - len(PING))
            else:
                self.module.feed(first)
                Session(self, line).run()
        self.module.link.end_session()

    def _bare(self, line: Line) -> None:
        while True:
            for picture in self.pictures:
                for start in range(0, len(picture.view), _CHUNK_BYTES):
                    line.send(picture.view[start : start + _CHUNK_BYTES])

    def _ping(self, line: Line, owed: int) -> None:
        """Answer each byte with a first tile's."""
        tile = self.pictures[0].view[: self.pictures[0].tiles.offset(1)]
        while True:
            for _ in range(owed):
                line.send(tile)
            owed = len(line.hear(_FIRST_S))


class Session:
    """Serves a driver."""

    def __init__(self, source: Source, line: Line) -> None:
        self._source = source
        self._module = source.module
        self._line = line
        self._tiles = source.pictures[0].tiles
        self._opened = False
        self._sent_frames = 0
        self._next_start = 0.0

    def run(self) -> None:
        module = self._module
        while True:
            if not module.running(PREVIEW):
                self._listen(_IDLE_S)
                self._sent_frames = 0
                self._next_start = 0.0
                continue
            interval = module.streams[PREVIEW].interval_us / 1e6
            wait = self._next_start - time.monotonic()
            if interval and wait > 0:
                self._listen(min(wait, _IDLE_S))
                continue
            self._next_start = max(self._next_start, time.monotonic() - interval) + interval
            self._frame()

    def _listen(self, seconds: float) -> None:
        """Take what the host says, and answer."""
        self._hear(seconds)
        self._answer()

    def _hear(self, seconds: float) -> None:
        data = self._line.hear(seconds)
        if data:
            self._module.feed(data)
        self._module.step()
        if self._opened and self._module.link.nonce is None:
            raise Gone  # the host has said goodbye
        self._opened = self._module.link.nonce is not None

    def _answer(self) -> None:
        for packet in self._module.answers():
            self._line.send(packet)
        while self._module.asked:
            self._repeat(*self._module.asked.pop(0))

    # --- frames ---------------------------------------------------------------------------

    def _frame(self) -> None:
        """Send a frame, or as much of it as the host wants."""
        module, tiles, stream = self._module, self._tiles, PREVIEW
        number = module.begin_frame()
        picture = self._source.pictures[number % CONTENTS]
        placed = self._take(number)
        began = time.monotonic_ns()
        self._control(MessageType.FRAME_START, self._start(began // 1000), number)
        every = self._source.damage_every
        damaged = len(tiles) // 2 if every and self._sent_frames % every == every - 1 else -1
        self._sent_frames += 1
        half, final = len(tiles) // 2, len(tiles) - 1
        stamp: dict[int, int] = {}
        at = 0
        while at < len(tiles):
            stop = self._affordable(at, stream)
            if stop == at:
                self._stall(stream, int(tiles.lengths[at]))
                if not module.running(stream):
                    break
                continue
            # The first and the last tile go alone: when they went is known.
            for cut in (0, damaged, half - 1, final - 1):
                if at <= cut < stop:
                    stop = cut + 1
            stamp[at] = self._send(picture, range(at, stop), number, damaged, placed)
            module.spend(stream, int(tiles.lengths[at:stop].sum()))
            at = stop
            self._hear(0)
            if not module.running(stream):
                # Its answer comes after the end of the frame.
                break
            self._answer()
        if placed is not None:
            placed.return_slot()
        whole = at == len(tiles)
        self._end(number, EndStatus.OK if whole else EndStatus.ABORTED, at, began)
        if whole and len(self._source.stamps) < _STAMPS:
            self._source.stamps[number] = (began, stamp[0], stamp[half], stamp[final])
        # Also what was asked for while the frame was on its way, the answer to a stop for one.
        self._listen(0)

    def _send(
        self, picture: Picture, which: range, number: int, damaged: int, placed: DirectFrame | None
    ) -> int:
        """Send some tiles, the last of which may be the *damaged* one; when that began, ns."""
        module, tiles = self._module, self._tiles
        nonce = module.link.nonce
        sequence = module.number(len(which))
        stretch = picture.seal(which.start, which.stop, nonce, sequence, number)
        hurt = which[-1] == damaged
        if hurt:
            picture.flip(damaged)
        began = time.monotonic_ns()
        if placed is None:
            self._line.send(stretch)
        else:
            picture.place(which, placed)
        if hurt:
            picture.flip(damaged)
            # What was there before is sent again, and must be recognised.
            before = max(0, damaged - 1)
            self._line.send(picture.packet(before, nonce, module.number(1), number, 0))
            module.spend(PREVIEW, int(tiles.lengths[before]))
        return began

    def _take(self, number: int) -> DirectFrame | None:
        """Where a frame is put together, if both ends share memory for it and some is free soon."""
        slots = self._line.slots
        if slots is None or not slots.has_grants:
            return None
        end = time.monotonic() + _SLOT_S
        size = self._source.plan.frame_bytes
        while (placed := slots.take_slot(number, size)) is None and time.monotonic() < end:
            time.sleep(_SLOT_S / 1000)
        return placed

    def _affordable(self, at: int, stream: int) -> int:
        """Up to which tile may be sent at once."""
        ends = self._tiles.ends
        before = int(ends[at]) - int(self._tiles.lengths[at])
        budget = before + min(self._module.credit(stream), _CHUNK_BYTES)
        stop = int(ends.searchsorted(budget, side="right"))
        if stop <= at and self._module.credit(stream) >= self._tiles.lengths[at]:
            return at + 1
        return max(at, stop)

    def _stall(self, stream: int, wanted: int) -> None:
        """Wait for credit, or for the end of the stream."""
        began = time.monotonic()
        self._source.stalls += 1
        while self._module.credit(stream) < wanted and self._module.running(stream):
            self._hear(_IDLE_S)
            if self._module.running(stream):
                self._answer()
        self._source.stalled_s += time.monotonic() - began

    def _repeat(
        self, stream: int, frame: int, flags: int, asked: list[tuple[int, int, int, int]]
    ) -> None:
        """Send again what the host misses: every frame can be made again."""
        module, tiles = self._module, self._tiles
        picture = self._source.pictures[frame % CONTENTS]
        nonce = module.link.nonce
        for index, (x, y, width, height) in enumerate(tiles.places):
            if any(
                x < right and left < x + width and y < bottom and top < y + height
                for left, top, right, bottom in ((a, b, a + c, b + d) for a, b, c, d in asked)
            ):
                packet = picture.packet(index, nonce, module.number(1), frame, Flag.RESENT)
                module.spend(stream, int(tiles.lengths[index]))
                self._line.send(packet)
        answer = Resent(flags & 0, FrameState.UNDER_WAY, 0)
        self._control(MessageType.RESENT, answer.encode(), frame)

    def _control(self, kind: MessageType, payload: bytes, frame: int) -> None:
        packet = encode_packet(
            kind,
            payload,
            nonce=self._module.link.nonce,
            sequence=self._module.number(1),
            frame=frame,
            stream=PREVIEW,
        )
        self._line.send(packet)

    def _start(self, now_us: int) -> bytes:
        plan, module = self._source.plan, self._module
        return FrameStart(
            mode=plan.mode,
            request=module.streams[PREVIEW].request,
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
            exposure_us=module.exposure_us,
            gain_milli=module.gain_milli,
            focus_mdpt=0,
            temperature_mc=25_000,
        ).encode()

    def _end(self, frame: int, status: EndStatus, tiles: int, began_ns: int) -> None:
        module = self._module
        sequence = module.number(1)
        last = (sequence - 1) & 0xFFFFFFFF
        readout_us = (time.monotonic_ns() - began_ns) // 1000
        message = FrameEnd(status, 1, tiles, readout_us, (last, 0, 0, 0))
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
    """Serve; a line of JSON when ready, and one for each host that has gone."""
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
    _tell(
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
        _tell(stalls=source.stalls, stalled_s=source.stalled_s, stamps=source.stamps)


def _tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
