"""Steps of cases on controls and settings lists (SPEC.md, 5.2)."""

from __future__ import annotations

from collections.abc import Iterable

from lenslink_protocol.controls import CONTROLS, Setting
from lenslink_protocol.ids import ControlId
from lenslink_protocol.messages import Configure, Configured, FrameStart

from .cases import check
from .host_peer import PLENTY, HostPeer, read_frame_start
from .module_steps import ALL_STREAMS, NEAR_MDPT, every, other_value

REPORTED = {each.id: each.reported_by for each in CONTROLS if each.is_adjusted}
"""The field of FrameStart for each control."""

CROP = 16


def make_lists(peer: HostPeer) -> dict[int, list[Setting]]:
    """Return a list of settings for each stream, with a value of its own for each control."""
    manifest = peer.get_manifest()
    lists: dict[int, list[Setting]] = {stream: [] for stream in ALL_STREAMS}
    for control in REPORTED:
        entry = manifest.find_control(control)
        if entry is None or entry.minimum == entry.maximum:
            continue
        for stream, settings in lists.items():
            value = other_value(peer, control, (stream + 1) / 4)
            if control == ControlId.FOCUS:
                # The way of the lens takes its time.
                value = other_value(peer, control, (stream + 1) / 20)
            elif control in (ControlId.ROI_X, ControlId.ROI_Y):
                value = 2 * (stream + 1)
            settings.append(every(control, value))
    return lists


def make_exact_list(peer: HostPeer, stream: int) -> list[Setting]:
    """Return the list of a stream with values that each module applies as they are.

    An iris may have stops only, but the widest and the narrowest f-number are two of them.
    """
    return [
        each._replace(value=other_value(peer, ControlId.APERTURE, 1.0))
        if each.control == ControlId.APERTURE
        else each
        for each in make_lists(peer)[stream]
    ]


def configure_crops(peer: HostPeer) -> None:
    """Configure a small crop of all streams, and grant credits for all."""
    mode = peer.find_smallest_mode().id
    for stream in ALL_STREAMS:
        peer.call(Configure(stream, 0, mode, 0, 0, 0, 0, CROP, CROP), Configured)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)


def read_values(start: FrameStart, settings: Iterable[Setting]) -> dict[int, int]:
    """Return what FrameStart states of the controls that a list names."""
    controls = [ControlId(each.control) for each in settings]
    return {each: getattr(start, REPORTED[each]) for each in controls}


def check_values(found: dict[int, int], wanted: dict[int, int], frame: str) -> None:
    """Check the values of a frame. *frame* is its name in the message."""
    for control, value in wanted.items():
        near = NEAR_MDPT if control == ControlId.FOCUS else 0
        is_same = abs(found[control] - value) <= near
        check(is_same, f"{frame} has {ControlId(control).name} {found[control]}, not {value}")


def take_starts(
    peer: HostPeer, count: int, settings: list[Setting], stream: int
) -> list[FrameStart]:
    """Capture, and return the FrameStart of each frame."""
    mark = len(peer.log)
    peer.start_capture(count, settings, stream)
    found = []
    for _ in range(count):
        picture = peer.wait_for_frame(stream, mark)
        assert picture.end is not None
        mark = peer.log.index(picture.end) + 1
        found.append(read_frame_start(picture))
    return found
