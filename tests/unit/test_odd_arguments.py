"""Test that odd URLs, names and numbers end in one of the driver's own errors."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.made_frames import make_frame

import lenslink
from lenslink import LensLinkError, StorageError, UsageError
from lenslink.image_files.dng import write_dng
from lenslink.image_files.save import check_output, save

ADDRESSES = [
    "a\0b", "a%00b", "\ud800", "/nowhere/\udcff", "%ED%A0%80", "9" * 5000, "x" * 5000, "", "?",
    "?=", "?a", "?a=%00", "[::1", "[", "::::", "/" * 300, "../" * 2000, "%zz", "\x1b[31m",
    "localhost:" + "9" * 5000, "127.0.0.1:0x10", "[::1%lo]:7", "\ud800:7", "a\0:7",
    "." * 300 + ":7",
    "x" * 64 + ".y:7", "xn--\u00e9:7", "127.0.0.1:7?lanes=" + "9" * 5000, "/nowhere?lanes=\ud800",
    "/nowhere?lanes=-1", "/dev/null", "/", "/dev/null?baud=99999999999999999999",
]  # fmt: skip
NAMES = ["a\0b", "\ud800", "x" * 300, "", ".", "..", "../x", "/abs", "a/b", "\udcff", "\n"]


@pytest.mark.parametrize(
    "scheme", ["unix", "tcp", "shm", "serial", "replay", "usbip", "", "\ud800"]
)
def test_an_odd_url_ends_in_one_of_our_errors(scheme: str) -> None:
    for address in ADDRESSES:
        # Without an address, usbip: starts a board.
        if scheme != "usbip" or address[:1] not in ("", "?"):
            with pytest.raises(LensLinkError):
                lenslink.open(f"{scheme}:{address}", timeout=0.2)


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_of_a_ring_ends_in_one_of_our_errors(name: str) -> None:
    with pytest.raises(UsageError):
        lenslink.FrameRing(name, frame_bytes=64)
    with pytest.raises(UsageError):
        lenslink.FrameRingReader(name, timeout=0.01)


@pytest.mark.parametrize("number", [-1, 0, "2", 2**70, 2.5, None, True, math.nan])
def test_a_ring_of_an_odd_size_is_refused(number: object) -> None:
    with pytest.raises(UsageError, match="slots="):
        lenslink.FrameRing("odd", number, frame_bytes=64)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="frame_bytes="):
        lenslink.FrameRing("odd", 2, frame_bytes=number)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-1, "1", 10**400, None, True, math.nan, math.inf])
def test_an_odd_timeout_is_refused(seconds: object) -> None:
    with pytest.raises(UsageError, match="timeout="):
        lenslink.open("unix:/nowhere", timeout=seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a\0b.dng", "\ud800.npy", "x" * 300 + ".png", "no/where.tiff"])
def test_an_odd_name_of_a_file_ends_in_one_of_our_errors(name: str, tmp_path: Path) -> None:
    frame = make_frame(np.zeros((48, 64), np.uint16))
    path = tmp_path / name
    with contextlib.suppress(StorageError):
        # A name that is too long is noticed when the file gets it.
        check_output(path, False)
    with pytest.raises(StorageError):
        save(frame, path, True)
    with pytest.raises(StorageError):
        write_dng(frame, path, None, "LensLink test")
    assert not list(tmp_path.iterdir())
