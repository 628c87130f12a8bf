"""Any settings list: the host and the firmware judge it alike, and a frame gets what it says."""

from __future__ import annotations

import struct

from helpers import module_world
from helpers.nightly_scale import choose
from hypothesis import given, settings
from hypothesis import strategies as st

from lensfw import setting_list as firmware
from lensfw import wire
from lenslink_protocol.controls import Setting, encode_settings, read_settings
from lenslink_protocol.ids import ControlId, FrameFlag
from lenslink_protocol.messages import Malformed

EVERY = wire.EVERY_FRAME
RANGES = {ControlId.EXPOSURE: (0, 60_000_000), ControlId.GAIN: (1000, 64_000)}

values = st.one_of(
    st.sampled_from([0, 1, -1, (1 << 30) - 1, 1 << 30, -(1 << 30), -(1 << 30) + 1, 0x7FFFFFFF]),
    st.integers(-(1 << 31), (1 << 31) - 1),
)
entries = st.tuples(
    st.one_of(st.integers(0, 7), st.integers(0, 0xFFFF)),
    st.one_of(st.just(EVERY), st.integers(0, 17), st.integers(0, 0xFFFF)),
    values,
)
lists = st.lists(entries, max_size=99).map(
    lambda found: b"".join(struct.pack("<HHi", *each) for each in found)
)
sound_entries = st.tuples(
    st.integers(1, 9), st.one_of(st.just(EVERY), st.integers(0, 8)), st.integers(-70_000, 70_000)
)


def is_sound(data: bytes, frames: int) -> bool:
    """Return True if a list keeps the rules, as SPEC.md states them."""
    found = [struct.unpack_from("<HHi", data, at) for at in range(0, len(data) // 8 * 8, 8)]
    return (
        len(data) % 8 == 0
        and len(found) <= 96
        and len({each[:2] for each in found}) == len(found)
        and all(abs(each[2]) < 1 << 30 for each in found)
        and all(each[1] == EVERY or each[1] < frames <= 16 for each in found)
    )


@settings(max_examples=choose(400, 20_000), deadline=None)
@given(lists, st.sampled_from([0, 1, 9, 16, 17, 65535]), st.integers(0, 7))
def test_host_and_firmware_judge_a_list_alike(data: bytes, frames: int, cut: int) -> None:
    if cut < 4:
        data += bytes(cut)
    sound = is_sound(data, frames)
    assert (firmware.find_fault(data, frames) is None) is sound
    try:
        read = read_settings(data, frames)
    except Malformed:
        assert not sound
        return
    assert sound
    assert encode_settings(read) == data
    for frame in (EVERY, 0, 8, 15):
        wanted: list[int | None] = [None] * firmware.COUNT
        for control, at, value in read:
            if at == frame and 1 <= control <= firmware.COUNT:
                wanted[control - 1] = value
        found: list[int | None] = [None] * firmware.COUNT
        firmware.read_values(data, frame, found)
        assert found == wanted


def open_module():
    """Return a host with a configured preview and still."""
    camera, _, time = module_world.camera()
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant()
    for number, stream in ((2, 0), (3, 1)):
        host.send(wire.T_CONFIGURE, number, (stream, 0, 1, 0, 0))
    return host


@settings(max_examples=choose(60, 3000), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.lists(sound_entries, max_size=30),
            st.one_of(st.none(), st.tuples(st.integers(0, 30), values)),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_each_frame_has_the_settings_of_its_lists(captures) -> None:
    """A model of what lasts predicts each frame. A list that is refused changes nothing."""
    host = open_module()
    lasting: list[dict[int, int]] = [{}, {}]
    number = 3
    for stream, given_entries, spoiled in captures:
        found = [Setting(*each) for each in given_entries if each[0] not in (3, 4, 5)]
        if spoiled is not None:
            found.insert(min(spoiled[0], len(found)), Setting(99, EVERY, spoiled[1]))
        data = encode_settings(found)
        number += 1
        host.heard = []
        host.send(wire.T_CAPTURE, number, (stream, 0, 9), data)
        for _ in range(120):
            host.time.us += 20_000
            host.turn()
        starts = [
            wire.decode(wire.T_FRAME_START, payload)
            for header, payload in host.heard
            if header[2] == wire.T_FRAME_START
        ]
        if not is_sound(data, 9):
            assert starts == []
            continue
        single = {each[:2]: each.value for each in found if each.frame != EVERY}
        lasting[stream] |= {each.control: each.value for each in found if each.frame == EVERY}
        assert len(starts) == 9
        for index, start in enumerate(starts):
            adjusted = False
            applied = []
            for control, (least, most) in RANGES.items():
                initial = 0 if control == ControlId.EXPOSURE else 1000
                asked = single.get((control, index), lasting[stream].get(control, initial))
                nearest = min(max(asked, least), most)
                adjusted |= nearest != asked
                applied.append(nearest)
            for control in (ControlId.ROI_X, ControlId.ROI_Y):
                # The crop is the whole mode, which fits nowhere else.
                adjusted |= single.get((control, index), lasting[stream].get(control, 0)) != 0
            assert start[-2:] == (0, 0)
            assert list(start[18:20]) == applied
            assert bool(start[12] & FrameFlag.ADJUSTED) is adjusted
