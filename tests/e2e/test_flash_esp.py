"""esptool puts MicroPython on an ESP32-S3: the loader in its ROM is emulated on a pseudo-terminal.

esptool is GPL. It is started as a program, never imported.
"""

from __future__ import annotations

import random
import struct
import sys
import time
from pathlib import Path

import pytest
from helpers.esp_loader import ESP32_P4, ESP32_S3, FLASH_BYTES, WRITES, EspLoader
from helpers.slowdown import patience

from lenslink.deadline import Deadline
from lenslink.errors import MissingExtra, RigError
from lenslink_hil.benches.board_profile import load_board
from lenslink_hil.flash import interpreter

IMAGE_BYTES = 300_000
PATIENCE_S = patience(60)
BOARD = load_board("esp32s3")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")


@pytest.fixture(autouse=True)
def _there(monkeypatch) -> None:
    try:
        interpreter.make_command(BOARD, Path("x"), "port")
    except MissingExtra as error:
        pytest.skip(str(error))
    # A pseudo-terminal has no lines that reset a chip.
    monkeypatch.setenv("ESPTOOL_BEFORE", "no-reset")
    monkeypatch.setenv("ESPTOOL_AFTER", "no-reset")


@pytest.fixture
def image(tmp_path, seed) -> Path:
    """Return an image that names its chip; the rest is noise, which does not compress."""
    head = bytearray(24)
    head[0] = 0xE9
    struct.pack_into("<H", head, 12, ESP32_S3)
    path = tmp_path / "an image.bin"
    path.write_bytes(bytes(head) + random.Random(seed).randbytes(IMAGE_BYTES - len(head)))
    return path


def put(image: Path, loader: EspLoader) -> None:
    """Do what ``lenslink flash esp32s3 --micropython`` does."""
    interpreter.check_image(image, image.read_bytes(), BOARD)
    command = interpreter.make_command(BOARD, image, loader.port)
    interpreter.run_program(command, Deadline(PATIENCE_S, "esptool"))


def test_300_kb_are_written_and_verified(image, record_property):
    with EspLoader() as loader:
        began = time.monotonic()
        put(image, loader)
        record_property("300 kB by esptool, s", round(time.monotonic() - began, 1))
    assert loader.flash[:IMAGE_BYTES] == image.read_bytes()
    assert set(loader.flash[IMAGE_BYTES:]) == {0xFF}


def test_another_chip_is_refused_before_a_byte_is_written(image):
    with EspLoader(ESP32_P4) as loader, pytest.raises(RigError, match="ESP32-P4"):
        put(image, loader)
    assert loader.commands, "esptool has not asked the chip"
    assert not set(loader.commands) & set(WRITES)
    assert set(loader.flash) == {0xFF}


def test_after_a_cut_in_the_middle_the_next_flash_finishes(image):
    flash = bytearray(b"\xff" * FLASH_BYTES)
    with (
        EspLoader(flash=flash, cut_after=9) as loader,
        pytest.raises(RigError, match="esptool failed"),
    ):
        put(image, loader)
    assert flash[:4096] == image.read_bytes()[:4096]
    assert flash[:IMAGE_BYTES] != image.read_bytes()
    with EspLoader(flash=flash) as loader:
        put(image, loader)
    assert flash[:IMAGE_BYTES] == image.read_bytes()
