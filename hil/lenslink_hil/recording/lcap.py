"""The file format ``.lcap``: a recorded session, both directions of every lane.

::

    file    magic, record, record, ...
    magic   8A 4C 43 41 50 0D 0A 01: the first byte is no text, and bytes 6 and 7 show whether a
            tool has changed line ends; the last byte is the version of the format
    record  a head of 20 bytes (:data:`RecordHead`, little-endian), then ``length`` bytes

    offset  type  field      meaning
    0       u8    kind       1 INFO, 2 MANIFEST, 3 DATA, 4 LANE_END, 5 END, 6 FILE; others are
                             skipped
    1       u8    lane       for DATA and LANE_END, else 0
    2       u8    direction  for DATA: 0 to the module, 1 to the host; else 0
    3       u8    reserved   0
    4       u32   length     bytes that follow the head, at most MAX_RECORD
    8       u64   time_ns    monotonic, from the start of the recording
    16      u32   crc        CRC-32/ISO-HDLC of the 16 bytes before it and of the payload

The first record is INFO, a JSON object with ``lenslink``, ``protocol`` and ``python`` (versions),
``url``, ``seed`` (the URL's option, or null), ``lanes`` and ``began`` (UTC). MANIFEST is the
module's, as on the wire. DATA are bytes as the transport took or gave them, damaged bytes too; a
record's bounds are those of a call, not of a packet. LANE_END says in UTF-8 why a lane ended; the
end of lane 0 is the end of the module. FILE is a file that belongs to the recording: its name in
UTF-8, a zero byte and its bytes. The last record is END, a JSON object: ``ended`` says why the
session ended.

No record depends on a later one. So whatever kills the writer costs at most the last record: a
reader returns all whole records and reports where the file is cut.
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
"""The definition. :data:`HEAD` is the same for :mod:`struct`, which is faster."""

HEAD = struct.Struct("<4BIQI")
_CHECKED = struct.Struct("<4BIQ")


class Kind(enum.IntEnum):
    """The kind of a record."""

    INFO = 1
    MANIFEST = 2
    DATA = 3
    LANE_END = 4
    END = 5
    FILE = 6


class Direction(enum.IntEnum):
    """The direction of a record's bytes."""

    TO_MODULE = 0
    TO_HOST = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A record whose CRC is correct."""

    kind: int
    lane: int
    direction: int
    time_ns: int
    payload: bytes


@dataclass(slots=True)
class Recording:
    """A recording as far as it could be read; ``records`` holds DATA and LANE_END in order."""

    info: Mapping[str, object]
    manifest: bytes = b""
    records: list[Record] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """Files that belong to the recording, by name: the log of a test that failed, for example."""
    end_reason: str | None = None
    """Why the session ended; None if the writer was killed before it wrote END."""
    truncation: str | None = None
    """Why the last record could not be read; None if the file ends with a whole record."""

    @property
    def lanes(self) -> int:
        """The number of lanes that the host offered, at least those that carried bytes."""
        lanes = self.info.get("lanes")
        least = 1 + max((record.lane for record in self.records), default=0)
        return max(lanes, least) if isinstance(lanes, int) and lanes <= MAX_LANE + 1 else least

    def join_stream(self, lane: int, direction: int) -> bytes:
        """Return all bytes of one lane and direction."""
        return b"".join(
            r.payload
            for r in self.records
            if (r.kind, r.lane, r.direction) == (Kind.DATA, lane, direction)
        )


# --- writing ---------------------------------------------------------------------------------


class Writer:
    """Writes a recording, record by record, without a buffer in this process.

    After the first error the writer writes nothing more. So the error that ended the recording is
    the one that the user sees.

    >>> writer = Writer.create(Path("session.lcap"), False, info)  # doctest: +SKIP
    >>> writer.write_data(0, Direction.TO_HOST, [b"bytes"])  # doctest: +SKIP
    >>> writer.finish("frames")  # doctest: +SKIP
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.data_bytes = 0
        """Bytes in the DATA records that are in the file, both directions."""
        self._file = file
        self._size = 0
        self._start = time.monotonic_ns()
        self._is_closed = False
        self._put([MAGIC])

    @classmethod
    def create(cls, path: Path, force: bool, info: Mapping[str, object]) -> Writer:
        """Start a recording at *path*. With *force*, replace a file that exists.

        The file has its final name from the first record on, so that it is found whatever happens.

        Raises:
            StorageError: the file exists or cannot be written.
        """
        name = path.with_name(f".lenslink-{secrets.token_hex(6)}.tmp") if force else path
        try:
            # Unbuffered: the kernel has each written record, even if this process is killed.
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
        """Write bytes that went over a lane, given in *pieces*."""
        batch: list[memoryview] = []
        room = MAX_RECORD
        for piece in pieces:
            rest = memoryview(piece)
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
        """Write the module's manifest, as it is on the wire."""
        self.write_record(Kind.MANIFEST, [data])

    def write_lane_end(self, lane: int, reason: str) -> None:
        """Write that a lane has ended; on lane 0, that the module is gone."""
        self.write_record(Kind.LANE_END, [reason.encode()[:MAX_JSON]], lane)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file that belongs to the recording; at most MAX_RECORD bytes of it."""
        head = name.encode()[:255] + b"\0"
        self.write_record(Kind.FILE, [head, data[: MAX_RECORD - len(head)]])

    def finish(self, ended: str) -> None:
        """Write why the session ended, and close the file. Idempotent."""
        if not self._is_closed:
            self.write_record(Kind.END, [json.dumps({"ended": ended}).encode()])
        self.close()

    def close(self) -> None:
        """Close the file without an END record. Idempotent."""
        self._is_closed = True
        self._file.close()

    def write_record(
        self,
        kind: Kind,
        payload: Sequence[memoryview | bytes],
        lane: int = 0,
        direction: int = 0,
    ) -> None:
        """Write one record.

        Raises:
            StorageError: the disk is full, for example. The file then ends with a whole record.
        """
        length = sum(map(len, payload))
        moment = time.monotonic_ns() - self._start
        checked = _CHECKED.pack(kind, lane, direction, 0, length, moment)
        crc = crc32(checked)
        for piece in payload:
            crc = crc32(piece, crc)
        if self._put([checked + crc.to_bytes(4, "little"), *payload]) and kind == Kind.DATA:
            self.data_bytes += length

    def _put(self, pieces: Sequence[memoryview | bytes]) -> bool:
        """Write one record; return False if the writer is closed."""
        if self._is_closed:
            return False
        try:
            for piece in _joined(pieces):
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._file.write(rest) :]
            self._size += sum(map(len, pieces))
        except OSError as error:
            # Cut off the part of a record, so that the file ends with a whole one.
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            self.close()
            raise make_storage_error(self.path, error) from error
        return True


def _joined(pieces: Sequence[memoryview | bytes]) -> Iterator[memoryview | bytes]:
    """Join the pieces of a record of up to 64 KiB, so that one call writes it."""
    if sum(map(len, pieces)) <= 65536:
        yield b"".join(pieces)
    else:
        yield from pieces


# --- reading ---------------------------------------------------------------------------------


def read_records(file: BinaryIO) -> Iterator[Record | str]:
    """Yield the whole records. If one is cut or damaged, yield the reason as text, and end.

    Whatever the file claims, no single read asks for more than MAX_RECORD bytes.
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
            yield f"damaged at byte {at}: its CRC is wrong"
            return
        at += HEAD.size + length
        yield Record(kind, lane, direction, time_ns, payload)


def load(path: Path) -> Recording:
    """Read the recording at *path*, up to the first damage; ``truncation`` reports the damage.

    Raises:
        StorageError: the file cannot be read.
        UsageError: the file is no recording.
    """
    try:
        with path.open("rb") as file:
            return parse(file, format_path(path))
    except OSError as error:
        raise StorageError(f"cannot read {format_path(path)}: {error.strerror or error}") from error


def parse(file: BinaryIO, name: str) -> Recording:
    """Read a recording from an open file. Errors call it *name*. See :func:`load`."""
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
            recording = Recording(_parse_object(record, name))
        else:
            _add(recording, record, name)
    if recording is None:
        raise UsageError(f"{name} holds nothing")
    return recording


def _add(recording: Recording, record: Record, name: str) -> None:
    match record.kind:
        case Kind.DATA | Kind.LANE_END:
            recording.records.append(record)
        case Kind.FILE:
            file_name, _, data = record.payload.partition(b"\0")
            recording.files[file_name.decode("utf-8", "replace")] = data
        case Kind.MANIFEST:
            recording.manifest = record.payload
        case Kind.END:
            recording.end_reason = str(_parse_object(record, name).get("ended"))


def _parse_object(record: Record, name: str) -> Mapping[str, object]:
    try:
        value = json.loads(record.payload)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{name} is no recording of LensLink: a record is no JSON object")
    return value
