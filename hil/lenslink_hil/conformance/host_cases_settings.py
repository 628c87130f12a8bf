"""Cases for hosts: settings lists, and crops (SPEC.md, 5.2 and 5.6)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.controls import read_settings
from lenslink_protocol.ids import ControlFlag, ControlId, ManifestKey, MessageType
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import (
    Capture,
    Configure,
    ControlEntry,
    FrameStart,
    Malformed,
    StartStream,
)

from .cases import Cases, check
from .host_steps import Preview
from .module_peer import (
    HEIGHT,
    WIDTH,
    Item,
    Script,
)
from .packets import Packet
from .peer_wire import Wire

CASES: Cases[type[Script]] = Cases()

_UNKNOWN = 0x7FF0

_RANGES: dict[int, tuple[int, int, int]] = {
    ControlId.EXPOSURE: (1, 60_000_000, 10_000),
    ControlId.GAIN: (1000, 64_000, 1000),
    ControlId.FOCUS: (0, 3300, 0),
    ControlId.APERTURE: (1400, 11_000, 1400),
    ControlId.SETTLED: (0, 1, 1),
    ControlId.ROI_X: (0, WIDTH - 2, 0),
    ControlId.ROI_Y: (0, HEIGHT - 2, 0),
}


def _encode_controls(*controls: int) -> bytes:
    data = b""
    for control in controls:
        least, most, initial = _RANGES[control]
        entry = ControlEntry(control, ControlFlag.PER_FRAME, least, most, 1, initial)
        data += encode_entry(ManifestKey.CONTROL, entry.encode())
    return data


class _Controls(Script):
    """A module with some controls; it checks each list."""

    controls: tuple[int, ...] = tuple(_RANGES)

    def make_manifest(self) -> bytes:
        return super().make_manifest() + _encode_controls(*self.controls)

    def on_capture(self, packet: Packet) -> None:
        message = packet.message()
        assert isinstance(message, (Capture, StartStream))
        self.check_list(message)
        super().on_capture(packet)

    def check_list(self, message: Capture | StartStream) -> None:
        """Check the settings list of a request."""


@CASES.add("H-SET-1")
class SoundLists(_Controls):
    """The host's settings lists keep the rules."""

    def check_list(self, message: Capture | StartStream) -> None:
        frames = message.count if isinstance(message, Capture) else 0
        try:
            read_settings(message.settings, frames)
        except Malformed as error:
            check(False, f"the settings list {message.settings.hex(' ')}: {error}")


@CASES.add("H-SET-1")
class ListsOfAPreview(SoundLists, Preview):
    """The list of StartStream has no setting of a single frame."""


@CASES.add("H-SET-2")
class ListedControls(_Controls):
    """The module has an exposure only: the host names no other control."""

    controls: tuple[int, ...] = (ControlId.EXPOSURE,)

    def check_list(self, message: Capture | StartStream) -> None:
        for setting in read_settings(message.settings, 0xFFFF):
            strange = setting.control in set(ControlId) - set(self.controls)
            check(not strange, f"control {setting.control} is set, which the manifest lacks")


@CASES.add("H-SET-2")
class NoControls(ListedControls):
    """The module has no controls: the host names none."""

    controls = ()


@CASES.add("H-SET-3")
class NewControls(_Controls):
    """The manifest lists a control that does not exist yet: the host takes its still."""

    def make_manifest(self) -> bytes:
        entry = ControlEntry(_UNKNOWN, 0xFFFF, -7, 9, 2, 1)
        return super().make_manifest() + encode_entry(ManifestKey.CONTROL, entry.encode())


@CASES.add("H-SET-3")
class NewFlags(_Controls):
    """FrameStart has flags that do not exist yet: the host has its frame."""

    def make_start_item(self) -> Item:
        item = super().make_start_item()
        start = replace(FrameStart.decode(item.payload), flags=0xFFFC)
        return Item(MessageType.FRAME_START, start.encode())


@CASES.add("H-ROI-1")
class SoundCrops(_Controls):
    """The crop of each Configure is even and inside the mode, or the whole mode."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        x, y, width, height = crop = (message.x, message.y, message.width, message.height)
        is_inside = x + width <= WIDTH and y + height <= HEIGHT and width > 0 and height > 0
        is_even = not any(each % 2 for each in crop)
        check(not any(crop) or (is_inside and is_even), f"Configure names the crop {crop}")
        super().on_configure(packet, message)


@CASES.add("H-SET-2")
class OtherControls(ListedControls):
    """In each run another control is missing: the host does not name it."""

    sessions = 6
    index: int = 0
    _all: tuple[int, ...] = tuple(_RANGES)

    def __init__(self, wire: Wire, previous: Script | None = None) -> None:
        super().__init__(wire, previous)
        before = previous.index if isinstance(previous, OtherControls) else -1
        self.index = before + 1
        self.controls = self._all[: self.index] + self._all[self.index + 1 :]
