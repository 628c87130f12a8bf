"""Find, check and map a frame ring's file, and sleep on its doorbell: the readers' side.

:class:`.reader.FrameRingReader` opens a :class:`MappedRing` and shares it with its frames
(:class:`.shared_frame.SharedFrame`). Values in the shared memory are not trusted. Offsets and sizes
are checked against the file before anything is mapped, and each frame's geometry before the frame
is delivered.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.ids import Cfa
from lenslink_protocol.messages import FrameStart
from lenslink_protocol.packings import Layout, find_layout
from lenslink_protocol.params import MAX_HEIGHT, MAX_WIDTH
from lenslink_protocol.ringlayout import (
    HEADER,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    MAX_SLOTS,
    PAYLOADS_AT,
    READER,
    READERS,
    SLOT,
    VERSION,
    Asleep,
    file_bytes,
)

from ..deadline import Deadline
from ..errors import Disconnected, NotFound, ProtocolError, StorageError, VersionMismatch
from . import segment
from .sync import fence, sleep

DOORBELL, _ASLEEP = HEADER.at["doorbell"] // 4, HEADER.at["asleep"]
_AWAKE = int(Asleep.AWAKE)
_CLOSED = HEADER.at["closed"] // 4
_CFAS = tuple(cfa.name for cfa in Cfa)
# A sleeper wakes at least this often, to notice the writer's death.
_MAX_SLEEP_S = 0.1
# Look this often for a ring that does not exist yet.
_POLL_S = 0.02

Geometry = tuple[Layout, str, NDArray[np.uint8]]
"""How a frame's pixels lie in its bytes, its CFA, and those bytes as (height, stride) uint8."""


class MappedRing:
    """Map the ring called *name*, whose file is at *path*, as soon as it has a writer.

    Attributes:
        control: The control data.
        q: The control data as 64-bit words.
        i: The control data as 32-bit words.
        slot_words: For each slot, its number and the index of its first 64-bit word.
    """

    def __init__(self, name: str, path: Path, deadline: Deadline) -> None:
        self.name = name
        self.path = path
        self.is_closed = False
        """True once this process has closed its mapping. The ring itself may go on."""
        self._geometries: dict[int, tuple[tuple[int, ...], Geometry]] = {}
        self.descriptor, header = _open_ring(path, deadline)
        try:
            self._map(header)
        except (OSError, ValueError) as error:  # ValueError: the file has been truncated
            segment.close(self.descriptor)
            raise StorageError(f"cannot map the frame ring {path}: {error}") from None

    def _map(self, header: dict[str, int]) -> None:
        slots, at = header["slots"], header["slots_at"]
        self.slot_words = [(slot, (at + slot * header["slot_bytes"]) // 8) for slot in range(slots)]
        self.readers_at, self.reader_bytes = header["readers_at"], header["reader_bytes"]
        self.payload_bytes = header["payload_bytes"]
        at, size = header["payloads_at"], slots * self.payload_bytes
        self.control = mmap.mmap(self.descriptor, at)
        self._payloads = mmap.mmap(self.descriptor, size, prot=mmap.PROT_READ, offset=at)
        view = memoryview(self.control)
        self.q, self.i = view.cast("Q"), view.cast("I")
        word = np.frombuffer(self.control, np.uint32, 1, HEADER.at["doorbell"])
        self._doorbell_address: int = word.ctypes.data

    def close(self) -> None:
        """Close the file, and remove it if its writer is dead. Arrays of frames stay readable."""
        self.is_closed = True
        segment.remove(self.descriptor, self.path)
        segment.close(self.descriptor)

    # --- the writer -------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """True if the writer has closed the ring. A writer that died has not."""
        return self.i[_CLOSED] != 0

    def is_over(self) -> bool:
        """Return True if no frame will come any more: the writer closed the ring or died."""
        return self.has_ended or not segment.is_locked(self.descriptor, segment.WRITER)

    def make_disconnected(self) -> Disconnected:
        """Return the error that says why the ring is over."""
        ended = "was closed by its writer" if self.has_ended else "has lost its writer: it is gone"
        return Disconnected(f"the frame ring {self.name} {ended}")

    def make_damaged(self, what: str) -> ProtocolError:
        """Return the error for a frame whose description makes no sense."""
        return ProtocolError(f"the frame ring {self.name} is damaged: a frame {what}")

    # --- waiting ----------------------------------------------------------------------------

    def sleep(self, number: int, doorbell: int, deadline: Deadline, asleep: Asleep) -> None:
        """Sleep as reader *number* while the doorbell is *doorbell*, for at most 100 ms."""
        self.control[_ASLEEP + number] = asleep
        fence()
        try:
            if self.i[DOORBELL] == doorbell:
                sleep(self._doorbell_address, doorbell, min(_MAX_SLEEP_S, deadline.remaining()))
        finally:
            self.control[_ASLEEP + number] = _AWAKE

    # --- frames -----------------------------------------------------------------------------

    def get_geometry(self, slot: int, start: FrameStart) -> Geometry:
        """Check and return how the pixels in a slot lie.

        The result is kept for the slot, because its next frame usually has the same geometry.
        """
        pixel_format, width, height = start.pixel_format, start.width, start.height
        stride, cfa = start.stride, start.cfa
        key = (pixel_format, width, height, stride, cfa)
        known = self._geometries.get(slot)
        if known is not None and known[0] == key:
            return known[1]
        try:
            form, name = find_layout(pixel_format), _CFAS[cfa]
        except (KeyError, IndexError):
            raise self.make_damaged("has pixels of no known kind") from None
        size = stride * height
        if not (
            0 < width <= MAX_WIDTH
            and 0 < height <= MAX_HEIGHT
            and form.count_bytes(width) == stride
            and size <= self.payload_bytes
        ):
            raise self.make_damaged("has an impossible size")
        memory = np.frombuffer(self._payloads, np.uint8, size, slot * self.payload_bytes)
        geometry = form, name, memory.reshape(height, stride)
        self._geometries[slot] = key, geometry
        return geometry


def _open_ring(path: Path, deadline: Deadline) -> tuple[int, dict[str, int]]:
    """Open the ring's file once it has a writer, and check its header."""
    while True:
        is_last_try = not deadline.remaining()
        try:
            descriptor = segment.attach(path)
        except NotFound:
            if is_last_try:
                raise
        else:
            try:
                header = _read_header(descriptor, path)
                if header is not None and segment.is_locked(descriptor, segment.WRITER):
                    return descriptor, header
            except OSError as error:
                segment.close(descriptor)
                raise StorageError(
                    f"cannot read the frame ring {path}: {error.strerror or error}"
                ) from None
            except BaseException:
                segment.close(descriptor)
                raise
            segment.remove(descriptor, path)
            segment.close(descriptor)
            if is_last_try:
                raise NotFound(f"the frame ring {path} has no writer")
        time.sleep(min(_POLL_S, deadline.remaining()))


def _read_header(descriptor: int, path: Path) -> dict[str, int] | None:
    """Check and return the header's fields; None while the writer is creating it."""
    data = os.pread(descriptor, HEADER.size, 0)
    if len(data) < HEADER.size or not any(data[:8]):
        return None
    values = {name: value for name, value in HEADER.unpack(data).items() if isinstance(value, int)}
    if values["magic"] != MAGIC:
        raise ProtocolError(f"{path} is no frame ring")
    if values["version"] != VERSION:
        raise VersionMismatch(
            f"the frame ring {path} has version {values['version']}, not {VERSION}"
        )
    slots, payload = values["slots"], values["payload_bytes"]
    readers_end = values["readers_at"] + values["readers"] * values["reader_bytes"]
    slots_end = values["slots_at"] + slots * values["slot_bytes"]
    granularity = mmap.ALLOCATIONGRANULARITY
    is_sound = (
        1 <= slots <= MAX_SLOTS
        and values["readers"] == READERS
        and HEADER.size <= values["header_bytes"] <= values["readers_at"]
        and values["reader_bytes"] >= READER.size
        and values["slot_bytes"] >= SLOT.size
        and readers_end <= values["slots_at"]
        and slots_end <= values["payloads_at"] == PAYLOADS_AT
        and all(values[name] % 8 == 0 for name in ("readers_at", "slots_at"))
        and all(values[name] % 8 == 0 for name in ("reader_bytes", "slot_bytes"))
        and 0 < payload <= MAX_PAYLOAD_BYTES
        and payload % granularity == 0
        and values["file_bytes"] == file_bytes(slots, payload)
        and os.fstat(descriptor).st_size >= values["file_bytes"]
    )
    if not is_sound:
        raise ProtocolError(f"the frame ring {path} is damaged: its header makes no sense")
    return values
