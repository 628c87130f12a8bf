"""``.lcap``: a recorded session, both directions of every lane, in one file.

::

    file    magic, record, record, ...
    magic   8A 4C 43 41 50 0D 0A 01: no text, broken by whoever "corrects" line ends; then the
            version of the format, 1
    record  a head of 20 bytes (:data:`RecordHead`, little-endian), then ``length`` bytes

    offset  type  field      meaning
    0       u8    kind       1 INFO, 2 MANIFEST, 3 DATA, 4 LANE_END, 5 END; others are skipped
    1       u8    lane       of DATA and LANE_END, else 0
    2       u8    direction  of DATA: 0 to the module, 1 to the host; else 0
    3       u8    reserved   0
    4       u32   length     bytes that follow the head, at most MAX_RECORD
    8       u64   time_ns    monotonic, since the recording began
    16      u32   crc        CRC-32/ISO-HDLC of the 16 bytes before it and of what follows

The first record is INFO, a JSON object: ``lenslink``, ``protocol`` and ``python`` (versions),
``url``, ``seed`` (of the URL, or null), ``lanes``, ``began`` (UTC). MANIFEST is the module's, as
it is on the wire. DATA are bytes as the transport took or gave them, damaged ones too: its bounds
are those of the calls, not of packets. LANE_END says in UTF-8 that the lane ended and why; on
lane 0 that is the module. END, a JSON object, is the last: ``ended`` says why.

Each record is written by one call and needs nothing behind it, so that whatever kills the writer
costs at most the record under way: a reader gives all that is whole and says where it was cut.
"""

from __future__ import annotations

import contextlib
import enum
import json
import secrets
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from construct import Int8ul, Int32ul, Int64ul, Struct

from lenslink.errors import StorageError, UsageError
from lenslink.image_files.atomic_file import format_path, make_exists_error, make_storage_error
from lenslink_protocol.crc import crc32

MAGIC = b"\x8aLCAP\r\n\x01"
MAX_RECORD = 1 << 20
"""Bytes in one record; a longer transfer becomes several of them."""
MAX_JSON = 65536
"""Bytes of an INFO or END record."""
MAX_LANE = 15

RecordHead = Struct(
    "kind" / Int8ul,
    "lane" / Int8ul,
    "direction" / Int8ul,
    "reserved" / Int8ul,
    "length" / Int32ul,
    "time_ns" / Int64ul,
    "crc" / Int32ul,
)
"""The definition and the oracle; :data:`HEAD` is its fast twin."""

HEAD = struct.Struct("<4BIQI")
_CHECKED = struct.Struct("<4BIQ")


class Kind(enum.IntEnum):
    """What a record holds."""

    INFO = 1
    MANIFEST = 2
    DATA = 3
    LANE_END = 4
    END = 5


class Direction(enum.IntEnum):
    """Which way bytes went."""

    TO_MODULE = 0
    TO_HOST = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A record whose CRC holds."""

    kind: int
    lane: int
    direction: int
    time_ns: int
    payload: bytes


@dataclass(slots=True)
class Recording:
    """A recording as far as it could be read; ``records`` are its DATA and LANE_END in order."""

    info: Mapping[str, object]
    manifest: bytes = b""
    records: list[Record] = field(default_factory=list)
    end_reason: str | None = None
    """Why the session ended; None if the writer was killed before it could say so."""
    truncation: str | None = None
    """Why nothing was read beyond the last record, if that is not the end of a whole file."""

    @property
    def lanes(self) -> int:
        """How many lanes the host offered."""
        lanes = self.info.get("lanes")
        least = 1 + max((record.lane for record in self.records), default=0)
        return max(lanes, least) if isinstance(lanes, int) and lanes <= MAX_LANE + 1 else least

    def join_stream(self, lane: int, direction: int) -> bytes:
        """All bytes of one lane and direction."""
        return b"".join(
            r.payload
            for r in self.records
            if (r.kind, r.lane, r.direction) == (Kind.DATA, lane, direction)
        )


# --- writing ---------------------------------------------------------------------------------


class Writer:
    """Writes a recording, record by record; nothing stays in this process's memory.

    After the first error nothing is written any more: what ends the session must not hide it.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.data_bytes = 0
        """Of DATA, both directions."""
        self._file = file
        self._size = 0
        self._start = time.monotonic_ns()
        self._closed = False
        self._put([MAGIC])

    @classmethod
    def create(cls, path: Path, force: bool, info: Mapping[str, object]) -> Writer:
        """Begin a recording at *path*, where nothing may be unless *force*.

        The file has its name from the first record on, so that it is found whatever happens.
        Raises :exc:`~lenslink.errors.StorageError`.
        """
        name = path.with_name(f".lenslink-{secrets.token_hex(6)}.tmp") if force else path
        try:
            # Unbuffered: a record that was written is the kernel's, and outlives us.
            file = name.open("xb", buffering=0)
        except FileExistsError:
            raise make_exists_error(path) from None
        except OSError as error:
            raise make_storage_error(path, error) from error
        try:
            writer = cls(path, file)
            writer.write_record(Kind.INFO, [json.dumps(dict(info)).encode()])
            if force:
                name.replace(path)
        except BaseException as error:
            file.close()
            with contextlib.suppress(OSError):
                name.unlink()
            if isinstance(error, OSError):
                raise make_storage_error(path, error) from error
            raise
        return writer

    def write_data(
        self, lane: int, direction: Direction, pieces: Sequence[memoryview | bytes]
    ) -> None:
        """Bytes that went over a lane, in *pieces*."""
        batch: list[memoryview] = []
        room = MAX_RECORD
        for piece in pieces:
            rest = memoryview(piece)
            self.data_bytes += len(rest)
            while rest:
                batch.append(rest[:room])
                room -= len(batch[-1])
                rest = rest[len(batch[-1]) :]
                if not room:
                    self.write_record(Kind.DATA, batch, lane, direction)
                    batch, room = [], MAX_RECORD
        if batch:
            self.write_record(Kind.DATA, batch, lane, direction)

    def write_manifest(self, data: bytes) -> None:
        """What the module says of itself."""
        self.write_record(Kind.MANIFEST, [data])

    def write_lane_end(self, lane: int, reason: str) -> None:
        """A lane has ended; on lane 0, the module is gone."""
        self.write_record(Kind.LANE_END, [reason.encode()[:MAX_JSON]], lane)

    def finish(self, ended: str) -> None:
        """The session is over, and why; then the file is closed. Idempotent."""
        if not self._closed:
            self.write_record(Kind.END, [json.dumps({"ended": ended}).encode()])
        self.close()

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._closed = True
        self._file.close()

    def write_record(
        self,
        kind: Kind,
        payload: Sequence[memoryview | bytes],
        lane: int = 0,
        direction: int = 0,
    ) -> None:
        """One record; :exc:`~lenslink.errors.StorageError` if it cannot be written."""
        length = sum(map(len, payload))
        moment = time.monotonic_ns() - self._start
        checked = _CHECKED.pack(kind, lane, direction, 0, length, moment)
        crc = crc32(checked)
        for piece in payload:
            crc = crc32(piece, crc)
        self._put([checked + crc.to_bytes(4, "little"), *payload])

    def _put(self, pieces: Sequence[memoryview | bytes]) -> None:
        if self._closed:
            return
        try:
            for piece in _joined(pieces):
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._file.write(rest) :]
            self._size += sum(map(len, pieces))
        except OSError as error:
            # What is on the disk ends with a whole record.
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            self.close()
            raise make_storage_error(self.path, error) from error


def _joined(pieces: Sequence[memoryview | bytes]) -> Iterator[memoryview | bytes]:
    """Small records in one piece, so that they are written by one call."""
    if sum(map(len, pieces)) <= 65536:
        yield b"".join(pieces)
    else:
        yield from pieces


# --- reading ---------------------------------------------------------------------------------


def read_records(file: BinaryIO) -> Iterator[Record | str]:
    """Records up to the end or the first that is not whole; then, if so, why, as a string.

    Never more than MAX_RECORD bytes are asked for at once, whatever the file says of itself.
    """
    at = len(MAGIC)
    while head := file.read(HEAD.size):
        if len(head) < HEAD.size:
            yield f"cut inside a record at byte {at}"
            return
        kind, lane, direction, _, length, time_ns, crc = HEAD.unpack(head)
        limit = MAX_JSON if kind in (Kind.INFO, Kind.END, Kind.LANE_END) else MAX_RECORD
        if length > limit or lane > MAX_LANE:
            yield f"damaged at byte {at}: a record of {length} bytes on lane {lane}"
            return
        payload = file.read(length)
        if len(payload) < length:
            yield f"cut inside a record at byte {at}"
            return
        if crc32(payload, crc32(head[:16])) != crc:
            yield f"damaged at byte {at}: its CRC does not hold"
            return
        at += HEAD.size + length
        yield Record(kind, lane, direction, time_ns, payload)


def load(path: Path) -> Recording:
    """The recording at *path*.

    Raises :exc:`~lenslink.errors.StorageError` if it cannot be read, and
    :exc:`~lenslink.errors.UsageError` if it is none. One that was cut short, or is damaged
    further on, is given up to there and says so in ``cut``.
    """
    try:
        with path.open("rb") as file:
            return parse(file, format_path(path))
    except OSError as error:
        raise StorageError(f"cannot read {format_path(path)}: {error.strerror or error}") from error


def parse(file: BinaryIO, name: str) -> Recording:
    """As :func:`load`, from an open file that errors call *name*."""
    magic = file.read(len(MAGIC))
    if magic[:-1] != MAGIC[:-1]:
        raise UsageError(f"{name} is no recording of LensLink")
    if magic != MAGIC:
        raise UsageError(f"{name} is a recording of format {magic[-1]}; this reads {MAGIC[-1]}")
    recording: Recording | None = None
    for record in read_records(file):
        if isinstance(record, str):
            if recording is None:
                raise UsageError(f"{name} holds nothing: {record}")
            recording.truncation = record
        elif recording is None:
            if record.kind != Kind.INFO:
                raise UsageError(f"{name} is no recording of LensLink: it does not begin with INFO")
            recording = Recording(_object(record, name))
        else:
            _add(recording, record, name)
    if recording is None:
        raise UsageError(f"{name} holds nothing")
    return recording


def _add(recording: Recording, record: Record, name: str) -> None:
    match record.kind:
        case Kind.DATA | Kind.LANE_END:
            recording.records.append(record)
        case Kind.MANIFEST:
            recording.manifest = record.payload
        case Kind.END:
            recording.end_reason = str(_object(record, name).get("ended"))


def _object(record: Record, name: str) -> Mapping[str, object]:
    try:
        value = json.loads(record.payload)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{name} is no recording of LensLink: a record is no JSON object")
    return value
