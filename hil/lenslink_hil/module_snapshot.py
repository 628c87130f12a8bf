"""Take a snapshot of the firmware's machines: the one place that reads their private fields.

The machines have no ``snapshot()`` of their own, because a board pays for each method with memory.
:func:`snapshot_module` works on a :class:`lensfw.module.Module` that runs on CPython. The explorer
compares the snapshots. ``tests/unit/test_snapshots.py`` fails if a machine gets a field that
neither changes its snapshot nor is listed there with a reason.

A snapshot is an immutable, hashable value. Two modules of the same configuration, with equal
snapshots and equal ports, answer the same input in the same way. Times are in microseconds on the
module's clock. A tile is named by its number among the module's tiles.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from lensfw import exposure, sensor
from lenslink_protocol.params import HEADER_BYTES


class StreamSnapshot(NamedTuple):
    """A configured stream."""

    mode: int | None
    width: int
    height: int
    pixel_format: int
    rows_format: int
    """The format in which the sensor delivers rows; another one if the module codes tiles."""
    bits: int
    tile_columns: int
    tile_rows: int
    values: tuple[int | None, ...]
    """The settings that last; None before the host set one."""
    entries: bytes
    """The settings list of a Capture with settings for single frames."""
    is_focus_manual: bool
    remaining: int
    """Frames that are still owed; -1 until the host stops the stream."""
    unexposed: int
    frame_index: int
    has_begun: bool
    """A frame of the last request has begun."""
    request: int
    interval_us: int
    last_start: int | None


class ReadoutSnapshot(NamedTuple):
    """A frame that is being read from the sensor, or was read."""

    plan: StreamSnapshot
    number: int
    request: int
    settings: tuple[int, int, int, int]
    """Exposure, gain, focus and aperture."""
    tiles_sent: int
    has_failed: bool
    is_done: bool
    began: int | None
    """When the first rows arrived."""
    tile: int | None
    """The tile that is being filled."""
    fill: int
    whole: int
    """Bytes that the tile holds, and bytes that it will hold."""
    bits: int
    """Bits of a pixel as the sensor delivers it."""
    columns: int
    rows: int
    """Size of the tile that is being filled."""
    x: int
    y: int
    progress: int
    """When the last rows arrived, or when there was no memory for them."""


class RecordSnapshot(NamedTuple):
    """A frame that the module can still send parts of."""

    stream: int
    number: int
    start: bytes
    end: bytes | None
    readout: ReadoutSnapshot


class ExposureSnapshot(NamedTuple):
    """The next frame of a channel. Of an idle one only the state says something."""

    state: int
    stream: int = 0
    number: int = 0
    values: tuple[int | None, ...] = ()
    is_adjusted: bool = False
    is_moving: bool = False
    start_us: int = 0
    end_us: int = 0
    focus_mdpt: int | None = None


class ChannelSnapshot(NamedTuple):
    """A way into the sensor."""

    streams: tuple[int, ...]
    stream: int
    has_started: bool
    """The readout's frame-start has been queued."""
    readout: ReadoutSnapshot | None
    flags: int
    """Of the FrameStart of the frame that is read."""
    crop: tuple[int, int, int, int]
    """First column, first row, columns and rows of the frame that is read."""
    is_previews_turn: bool
    """A frame of the ROI was chosen since the last one of the preview."""
    exposure: ExposureSnapshot


class TileSnapshot(NamedTuple):
    """A tile's memory. Of a free tile only the state and the rank say something."""

    state: int
    stream: int = 0
    frame: int = 0
    place: tuple[int, int, int, int] = (0, 0, 0, 0)
    length: int = 0
    payload_crc: int = 0
    pixels: bytes = b""
    rank: int | None = None
    """Which of the idle tiles it is: the tile of rank 0 is taken next. None if it is not idle."""


class TilesSnapshot(NamedTuple):
    """All tiles."""

    size: int
    crc_bytes: int
    spare: int
    """Idle tiles that are never taken."""
    tiles: tuple[TileSnapshot, ...]


class ItemSnapshot(NamedTuple):
    """A packet that waits to be sent."""

    kind: int
    frame: int
    stream: int
    payload: bytes
    tile: int | None
    flags: int
    is_barrier: bool
    is_incomplete: bool


class OutboxSnapshot(NamedTuple):
    """Packets that wait, and credits. Limit, sent bytes and budget are by stream."""

    control: tuple[ItemSnapshot, ...]
    data: tuple[ItemSnapshot, ...]
    limit: tuple[int, ...]
    """Bytes of tiles that the host granted since the session began."""
    sent: tuple[int, ...]
    """Bytes of tiles that were sent since the session began."""
    budget: tuple[int, ...]
    """Bytes of tiles that may still be sent."""


class ModuleReceiverSnapshot(NamedTuple):
    """The module's receiver."""

    backlog: bytes
    """Bytes that have not been used."""
    progress: int
    """When the last bytes arrived."""


class ModuleLinkSnapshot(NamedTuple):
    """The module's link machine, without its outbox."""

    nonce: int | None
    offered_capabilities: int
    capabilities: int
    is_refused: bool
    """The nonce is good for the refusal and for another hello only."""
    max_payload: int
    offered_lanes: int
    lanes: int
    last_received: int | None
    """Sequence of the last packet of this session from the host."""
    next_sequences: tuple[int, ...]
    """Sequence of the next packet, by lane."""
    answers: tuple[tuple[int, int, bytes, bool], ...]
    """Of the last answers: request, type, payload, and whether a newer request came before."""
    unanswered: int | None
    """The newest request that was not answered yet."""
    hello_reply: bytes | None
    """The answer to another hello of this session."""
    past: tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...]
    """Of earlier sessions: nonce, oldest remembered request, and the outcome of each request."""
    farewell: bytes | None
    """A close packet that waits."""
    begun_frames: tuple[int, ...]
    """The number after the newest frame that has begun, by stream."""
    last_request: int
    previous_request: int
    receiver: ModuleReceiverSnapshot


class ModuleSnapshot(NamedTuple):
    """A module, without what its ports drive: contacts, power supply, focus motor, focus ring."""

    link: ModuleLinkSnapshot
    outbox: OutboxSnapshot
    tiles: TilesSnapshot
    records: tuple[RecordSnapshot, ...]
    streams: tuple[StreamSnapshot, ...]
    channels: tuple[ChannelSnapshot, ...]
    turn: int
    """Whose turn it is to read a tile."""
    next_frame: int


def snapshot_module(module: Any) -> ModuleSnapshot:
    """Return everything that the module's future behaviour depends on, as a hashable value.

    Raises:
        ValueError: The module has the test capability; its state is not part of a snapshot.
    """
    if module._fault_injection is not None or module.link.send_filter is not None:
        raise ValueError("a module with the test capability has no snapshot")
    numbers = {id(tile): number for number, tile in enumerate(module.tiles._tiles)}
    return ModuleSnapshot(
        link=snapshot_link(module.link),
        outbox=snapshot_outbox(module.link.outbox, numbers),
        tiles=snapshot_tiles(module.tiles),
        records=tuple([_snapshot_record(each, numbers) for each in module.frame_history._records]),
        streams=tuple([_snapshot_stream(each) for each in module.streams]),
        channels=tuple([_snapshot_channel(each, numbers) for each in module._channels]),
        turn=module._position,
        next_frame=module.next_frame,
    )


def snapshot_link(link: Any) -> ModuleLinkSnapshot:
    """Return the state of a :class:`lensfw.link.Link`, without its outbox."""
    farewell = link._farewell
    return ModuleLinkSnapshot(
        nonce=link.nonce,
        offered_capabilities=link.capabilities,
        capabilities=link._capabilities,
        is_refused=link._refused,
        max_payload=link.max_payload,
        offered_lanes=link.max_lanes,
        lanes=link.lanes,
        last_received=link._rx,
        next_sequences=tuple(link._tx),
        answers=tuple(
            [(number, kind, bytes(data), late) for number, kind, data, late in link._answers]
        ),
        unanswered=link._unanswered,
        hello_reply=None if link._hello_reply is None else bytes(link._hello_reply),
        past=tuple(
            [(nonce, oldest, tuple(sorted(found.items()))) for nonce, oldest, found in link._past]
        ),
        farewell=None if farewell is None else bytes(farewell[0]),
        begun_frames=tuple(link._begun),
        last_request=link.last_request,
        previous_request=link.previous_request,
        receiver=snapshot_receiver(link.receiver),
    )


def snapshot_receiver(receiver: Any) -> ModuleReceiverSnapshot:
    """Return the state of a :class:`lensfw.framing.Receiver`."""
    backlog = bytes(receiver._buffer[receiver._used : receiver._count])
    return ModuleReceiverSnapshot(backlog, receiver._progress)


def snapshot_outbox(outbox: Any, numbers: dict[int, int]) -> OutboxSnapshot:
    """Return the state of a :class:`lensfw.outbox.Outbox`.

    Args:
        outbox: The outbox.
        numbers: The number of each tile by its ``id()``.
    """
    return OutboxSnapshot(
        control=tuple([_snapshot_item(item, numbers) for item in outbox._control]),
        data=tuple([_snapshot_item(item, numbers) for item in outbox._data]),
        limit=tuple(outbox._limits),
        sent=tuple(outbox.count_sent()),
        budget=tuple(outbox._credits),
    )


def snapshot_tiles(tiles: Any) -> TilesSnapshot:
    """Return the state of a :class:`lensfw.sensor.Tiles`."""
    ranks = {id(tile): rank for rank, tile in enumerate(tiles._idle)}
    found = [_snapshot_tile(each, tiles.crc_bytes, ranks.get(id(each))) for each in tiles._tiles]
    return TilesSnapshot(tiles.size, tiles.crc_bytes, tiles._reserve, tuple(found))


def _snapshot_tile(tile: Any, crc_bytes: int, rank: int | None) -> TileSnapshot:
    if tile.state == sensor.FREE:
        return TileSnapshot(tile.state, rank=rank)
    return TileSnapshot(
        state=tile.state,
        stream=tile.stream,
        frame=tile.frame,
        place=tile.read_rectangle(),
        length=tile.length,
        payload_crc=struct.unpack_from("<I", tile.packet, HEADER_BYTES - 8)[0],
        pixels=bytes(tile.pixels[: tile.length + crc_bytes]),
        rank=rank,
    )


def _snapshot_item(item: Any, numbers: dict[int, int]) -> ItemSnapshot:
    return ItemSnapshot(
        kind=item.kind,
        frame=item.frame,
        stream=item.stream,
        payload=bytes(item.payload),
        tile=None if item.tile is None else numbers[id(item.tile)],
        flags=item.flags,
        is_barrier=item.barrier,
        is_incomplete=item.is_incomplete,
    )


def _snapshot_stream(stream: Any) -> StreamSnapshot:
    return StreamSnapshot(
        mode=None if stream.mode is None else stream.mode["id"],
        width=stream.width,
        height=stream.height,
        pixel_format=stream.pixel_format,
        rows_format=stream.rows_format,
        bits=stream.bits,
        tile_columns=stream.tile_columns,
        tile_rows=stream.tile_rows,
        values=tuple(stream.values),
        entries=bytes(stream.entries),
        is_focus_manual=stream.is_focus_manual,
        remaining=stream.frames_left,
        unexposed=stream.unexposed,
        frame_index=stream.frame_index,
        has_begun=stream.has_begun,
        request=stream.request_id,
        interval_us=stream.interval_us,
        last_start=stream.last_start,
    )


def _snapshot_readout(readout: Any, numbers: dict[int, int]) -> ReadoutSnapshot:
    return ReadoutSnapshot(
        plan=_snapshot_stream(readout.plan),
        number=readout.number,
        request=readout.request_id,
        settings=readout.settings,
        tiles_sent=readout.tile_count,
        has_failed=readout.failed,
        is_done=readout.done,
        began=readout.start_us,
        tile=None if readout._tile is None else numbers[id(readout._tile)],
        fill=readout._fill,
        whole=readout._size,
        bits=readout._bits,
        columns=readout._columns,
        rows=readout._rows,
        x=readout._x,
        y=readout._y,
        progress=readout._progress,
    )


def _snapshot_record(record: Any, numbers: dict[int, int]) -> RecordSnapshot:
    return RecordSnapshot(
        stream=record.stream,
        number=record.number,
        start=bytes(record.start),
        end=None if record.end is None else bytes(record.end),
        readout=_snapshot_readout(record.readout, numbers),
    )


def _snapshot_channel(channel: Any, numbers: dict[int, int]) -> ChannelSnapshot:
    readout = channel.readout
    return ChannelSnapshot(
        streams=tuple(channel.streams),
        stream=channel.stream,
        has_started=channel.has_started,
        readout=None if readout is None else _snapshot_readout(readout, numbers),
        flags=channel.flags,
        crop=channel.crop,
        is_previews_turn=channel.is_previews_turn,
        exposure=_snapshot_exposure(channel.exposure),
    )


def _snapshot_exposure(frame: Any) -> ExposureSnapshot:
    if frame.state == exposure.IDLE:
        return ExposureSnapshot(frame.state)
    return ExposureSnapshot(
        state=frame.state,
        stream=frame.stream,
        number=frame.number,
        values=tuple(frame.values),
        is_adjusted=frame.is_adjusted,
        is_moving=frame.is_moving,
        start_us=frame.start_us,
        end_us=frame.end_us,
        focus_mdpt=frame.focus_mdpt,
    )
