"""Pixels that share bytes on the link: each packing shows the same frame, and writes the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from helpers import bench_scale
from helpers.cli_process import Cli
from helpers.discards import count_discards

import lenslink
from lenslink import Device, Frame, FrameStatus
from lenslink.image_files.save import save
from lenslink.receive.unpacking import pack
from lenslink_hil.benches.sim import SimTransport
from lenslink_hil.benches.usbip import BoardTransport
from lenslink_hil.kernel import guest_boards
from lenslink_hil.plant.patterns import make_pattern
from lenslink_protocol.ids import ConfigureFlag, DiscardReason
from lenslink_protocol.packings import Packing, find_layout

SceneUrl = Callable[..., str]
REPEATED = 3
"""Frames of a fast board's sensor, in turns."""


def oracle(frame: Frame, seed: int = 0, number: int | None = None) -> np.ndarray:
    return make_pattern(
        "prbs",
        frame.width,
        frame.height,
        bits=frame.bits,
        cfa=frame.cfa,
        seed=seed,
        frame_number=frame.number if number is None else number,
    )


# Among them rows that end inside a group of 10 and of 14 bits.
@pytest.mark.parametrize(
    ("bits", "width", "cfa"),
    [(10, 130, "RGGB"), (12, 130, "GRBG"), (12, 1280, "GBRG"), (14, 130, "BGGR")],
)
def test_each_packing_brings_the_same_pixels(
    scene_url: SceneUrl, lens_url: str, scale: bench_scale.Scale, bits: int, width: int, cfa: str
) -> None:
    url = scene_url(scene="prbs", width=width, height=66, bits=bits, cfa=cfa, seed=bits)
    with lenslink.open(url) as device:
        has = [find_layout(code).packing for code in device.manifest.formats]
        assert has == bench_scale.packings_of(lens_url, bits)
        if bits != 12:
            with pytest.raises(lenslink.UsageError, match=r"no packing 'legacy' \(it has unpacked"):
                device.capture("full", packing=Packing.LEGACY)
        # The guest's emulated CPU compiles the decoder of coded tiles for half a minute. A stream
        # that starts waits for it.
        tried = [each for each in has if each != Packing.RICE or not guest_boards.is_in_guest()]
        for packing in tried:
            # As large as the module likes, then rows in pieces.
            for tile_bytes in (None, 100):
                preview = device.stream("full", packing=packing, tile_bytes=tile_bytes)
                with closing(preview) as frames, next(frames) as frame:
                    whole_and_right(device, frame, packing, bits)
            with device.capture("full", packing=packing) as frame:
                whole_and_right(device, frame, packing, bits)
        # Not asked for, it is as ever.
        with device.capture("full") as frame:
            whole_and_right(device, frame, Packing.UNPACKED, bits)
        assert not count_discards(device.stats, scale.repeated)


def whole_and_right(device: Device, frame: Frame, packing: Packing, bits: int) -> None:
    assert frame.status is FrameStatus.COMPLETE
    assert frame.layout.packing == packing
    taken = 16 if packing == Packing.UNPACKED else bits
    assert frame.packed.shape == (frame.height, (frame.width * taken + 7) // 8)
    expected = oracle(frame, bits)
    assert frame.pixels.dtype == np.dtype("<u2")
    assert np.array_equal(frame.pixels, expected)
    assert np.array_equal(frame.packed, pack(expected, frame.layout))
    assert frame.mask.all()


def test_what_is_configured_is_what_was_asked(scene_url: SceneUrl, lens_url: str) -> None:
    with lenslink.open(scene_url(scene="prbs", width=130, height=66)) as device:
        for packing in (*reversed(bench_scale.packings_of(lens_url, 12)), None):
            answer = device.configure(1, packing=packing)
            assert find_layout(answer.pixel_format).packing == (packing or "unpacked")
            assert not answer.flags & ConfigureFlag.ADJUSTED
            assert answer.frame_bytes == answer.stride * 66


def test_files_do_not_show_the_packing(scene_url: SceneUrl, lens_url: str, tmp_path: Path) -> None:
    shown = {}
    with lenslink.open(scene_url(scene="prbs", width=130, height=66)) as device:
        for packing in bench_scale.packings_of(lens_url, 12):
            with device.capture("full", packing=packing) as frame:
                shown[packing] = oracle(frame)
                for kind in (".npy", ".tiff", ".dng"):
                    save(frame, tmp_path / f"{packing}{kind}", False)
    for packing, expected in shown.items():
        path = tmp_path / packing
        assert np.array_equal(np.load(path.with_suffix(".npy")), expected)
        assert np.array_equal(tifffile.imread(path.with_suffix(".tiff")), expected)
        with rawpy.imread(str(path.with_suffix(".dng"))) as raw:
            assert np.array_equal(raw.raw_image, expected)


def test_the_command_line_names_the_packing(
    scene_url: SceneUrl, lens_url: str, tmp_path: Path
) -> None:
    url = scene_url(scene="prbs", width=130, height=66)
    with Cli(tmp_path) as cli:
        done = cli.run("stream", url, "--packing", "lsb", "-n", "2", "-o", "two.raw", "--json")
        assert done.returncode == 0, done.stderr
        first = json.loads(done.stdout.splitlines()[0])
        assert (first["packing"], first["width"]) == ("lsb", 130)
        shown = np.fromfile(tmp_path / "two.raw", "<u2").reshape(2, 66, 130)
        expected = [
            make_pattern("prbs", 130, 66, bits=12, cfa="RGGB", seed=0, frame_number=number)
            for number in (first["number"], first["number"] + 1)
        ]
        assert np.array_equal(shown, expected)
        refused = cli.run("capture", url, "--packing", "tight")
        assert refused.returncode == 2
        known = ", ".join(bench_scale.packings_of(lens_url, 12))
        assert f"no packing 'tight' (it has {known})" in refused.stderr


# --- a board whose sensor has its frames ready -------------------------------------------------


def test_a_fast_board_repeats_frames_with_their_crcs(scene_url: SceneUrl) -> None:
    url = scene_url(scene="prbs", width=130, height=66, board="fast", seed=5)
    with lenslink.open(url) as device:
        assert device.manifest.board == "fast"
        for packing in (Packing.UNPACKED, Packing.LSB):
            for tile_bytes in (None, 5000, 90):
                shown = set()
                preview = device.stream("full", packing=packing, tile_bytes=tile_bytes)
                with closing(preview) as frames:
                    for frame in islice(frames, 8):
                        with frame:
                            assert frame.status is FrameStatus.COMPLETE
                            number = frame.number % REPEATED
                            assert np.array_equal(frame.pixels, oracle(frame, 5, number))
                            shown.add(number)
                assert shown == set(range(REPEATED))
        assert not count_discards(device.stats)


@pytest.mark.parametrize("packing", [Packing.UNPACKED, Packing.LSB])
def test_a_wrong_crc_of_the_sensor_is_found(own_url: SceneUrl, packing: Packing) -> None:
    """The host believes no sensor: what its CRC does not fit is missing, and nothing else is."""
    url = own_url(scene="prbs", width=130, height=66, board="fast")
    with lenslink.open(url) as device:
        transport = device._session._transport
        assert isinstance(transport, SimTransport | BoardTransport)
        answer = device.configure(1, "full", packing=packing, tile_bytes=4000)
        rows = 4000 // answer.stride // 2 * 2
        transport.module.command(wrong_crcs=1)
        bad = None
        # A command and a capture go different ways: the frame that it meets is one of the next.
        preview = device.stream("full", packing=packing, tile_bytes=4000)
        with closing(preview) as frames:
            for frame in islice(frames, 50):
                with frame:
                    expected = oracle(frame, 0, frame.number % REPEATED)
                    if frame.status is FrameStatus.COMPLETE:
                        assert np.array_equal(frame.pixels, expected)
                        if bad is not None:
                            break
                        continue
                    assert bad is None
                    bad = frame.mask
                    assert np.array_equal(frame.pixels, np.where(bad, expected, 0))
        assert bad is not None
        assert not bad[:rows].any()
        assert bad[rows:].all()
        assert device.stats.discards[DiscardReason.PAYLOAD_CRC.value] > 0


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("scene", ["ramp", "bars"])
def test_coded_tiles_bring_the_same_pixels_in_fewer_bytes(
    scene_url: SceneUrl, scene: str, bits: int
) -> None:
    with lenslink.open(scene_url(scene=scene, width=258, height=130, bits=bits)) as device:
        sent = {}
        # Strips, then parts of a row.
        for tile_bytes in (None, 1000, 300):
            for packing in (Packing.LSB, Packing.RICE):
                before = device.stats.wire_bytes
                with device.capture("full", packing=packing, tile_bytes=tile_bytes) as frame:
                    expected = make_pattern(
                        scene, 258, 130, bits=bits, cfa=frame.cfa, seed=0, frame_number=frame.number
                    )
                    assert frame.status is FrameStatus.COMPLETE
                    assert np.array_equal(frame.pixels, expected)
                sent[packing, tile_bytes] = device.stats.wire_bytes - before
        assert sent[Packing.RICE, None] < 0.6 * sent[Packing.LSB, None]
        assert not count_discards(device.stats)
