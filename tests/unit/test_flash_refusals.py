"""A wrong board, a wrong image and a wrong drive are refused before a byte is written.

The identities are what each board's MicroPython says, from its sources; the file names them.
"""

from __future__ import annotations

import struct
import threading
import time
from pathlib import Path

import pytest
from helpers.scripts import write_script

from lenslink.deadline import Deadline
from lenslink.errors import NotFound, RigError, UsageError
from lenslink_hil.benches.board_profile import list_boards, load_board
from lenslink_hil.flash import interpreter
from lenslink_hil.flash.board_identity import (
    ARCHITECTURES,
    Identity,
    check_fits,
    check_is_no_downgrade,
    find_board,
)
from lenslink_hil.flash.bundle import Bundle
from lenslink_hil.flash.uf2 import Uf2Block, build_uf2, parse_uf2, split_pages


def make_mpy(architecture: str) -> int:
    """Return sys.implementation._mpy of MicroPython 1.28: .mpy files of version 6.3."""
    return ARCHITECTURES.index(architecture) << 10 | 3 << 8 | 6


# sys.implementation._machine is MICROPY_HW_BOARD_NAME " with " MICROPY_HW_MCU_NAME of
# ports/*/boards/*/mpconfigboard.h in MicroPython's sources. That of unix was read from the wheel of
# 1.29.0, that of pico from the emulated board.
IDENTITIES = {
    "pico": ("Raspberry Pi Pico with RP2040", make_mpy("armv6m")),
    "pico2": ("Raspberry Pi Pico2 with RP2350", make_mpy("armv7emsp")),
    "esp32s2": ("Generic ESP32S2 module with ESP32S2", make_mpy("xtensawin")),
    "esp32s3": ("Generic ESP32S3 module with ESP32S3", make_mpy("xtensawin")),
    "esp32p4": ("Generic ESP32P4 module with ESP32P4", make_mpy("rv32imc")),
    "unix": ("linux [GCC 14.2.1] version", make_mpy("x64")),
}
FAMILIES = {"pico": 0xE48BFF56, "pico2": 0xE48BFF59}
ESP_CHIPS = {"esp32s2": 2, "esp32s3": 9, "esp32p4": 18}


def test_each_board_that_firmware_is_for_is_here():
    """6 boards x 6 images: 30 refusals, and 6 that go."""
    real = [name for name in list_boards() if load_board(name).image]
    assert sorted(IDENTITIES) == real
    assert len(real) == 6


def identity(board: str) -> Identity:
    machine, mpy = IDENTITIES[board]
    return Identity(machine, mpy, "3.4.0; MicroPython v1.28.0")


def bundle(board: str, version: int = 6, sub_version: int = 3, build: int = 5) -> Bundle:
    architecture = ARCHITECTURES.index(load_board(board).image["architecture"])
    mpy = {"version": version, "sub_version": sub_version, "architecture": architecture}
    return Bundle({"board": board, "mpy": mpy, "build": build}, {}, {})


def image(board: str) -> bytes:
    """Return the start of an image of MicroPython for a board."""
    if board in FAMILIES:
        return build_uf2([Uf2Block(FAMILIES[board], 0x1000_0000, bytes(256))])
    head = bytearray(24)
    head[0] = 0xE9
    struct.pack_into("<H", head, 12, ESP_CHIPS[board])
    return bytes(head)


@pytest.mark.parametrize("wanted", IDENTITIES)
@pytest.mark.parametrize("found", IDENTITIES)
def test_each_firmware_goes_on_its_own_board_only(found, wanted):
    assert find_board(identity(found)) == found
    if found == wanted:
        check_fits(identity(found), bundle(wanted))
    else:
        with pytest.raises(UsageError, match=f"this board is '{found}'"):
            check_fits(identity(found), bundle(wanted))


@pytest.mark.parametrize(
    "machine", ["", "Raspberry Pi Pico W with RP2040", "Generic ESP32C3 module with ESP32C3"]
)
def test_an_unknown_board_is_refused(machine):
    unknown = Identity(machine, make_mpy("armv6m"), "x")
    assert find_board(unknown) is None
    with pytest.raises(UsageError, match="this board is unknown"):
        check_fits(unknown, bundle("pico"))


def test_a_micropython_that_cannot_load_the_files_is_refused():
    with pytest.raises(UsageError, match=r"version 6\.3, and the firmware's are of version 7\.0"):
        check_fits(identity("pico"), bundle("pico", version=7, sub_version=0))
    with pytest.raises(UsageError, match=r"are of version 6\.2"):
        check_fits(identity("pico"), bundle("pico", sub_version=2))
    slow = Identity(IDENTITIES["pico2"][0], make_mpy("rv32imc"), "x")
    with pytest.raises(UsageError, match="the board's processor is rv32imc"):
        check_fits(slow, bundle("pico2"))


def test_an_older_build_needs_force():
    with pytest.raises(UsageError, match="the board has build 6, and the firmware is build 5"):
        check_is_no_downgrade(6, bundle("pico"), force=False)
    check_is_no_downgrade(6, bundle("pico"), force=True)
    check_is_no_downgrade(5, bundle("pico"), force=False)
    check_is_no_downgrade(0, bundle("pico"), force=False)
    check_is_no_downgrade(6, bundle("pico", build=0), force=False)


@pytest.mark.parametrize("wanted", [*FAMILIES, *ESP_CHIPS])
@pytest.mark.parametrize("found", [*FAMILIES, *ESP_CHIPS])
def test_each_image_of_micropython_goes_on_its_own_board_only(found, wanted):
    if found == wanted:
        interpreter.check_image(Path("x"), image(found), load_board(wanted))
    else:
        with pytest.raises(UsageError, match=f"x is for {found}, not for {wanted}"):
            interpreter.check_image(Path("x"), image(found), load_board(wanted))


def test_what_is_no_image_is_refused():
    for content in (b"", b"hello", bytes(512), image("pico")[:-1]):
        with pytest.raises(UsageError, match="no image of MicroPython"):
            interpreter.check_image(Path("x"), content, load_board("pico"))


def make_drive(folder: Path, name: str) -> Path:
    (folder / "INFO_UF2.TXT").write_text(
        f"UF2 Bootloader v3.0\r\nModel: a board\r\nBoard-ID: {name}\r\n"
    )
    return folder


def test_a_drive_of_another_chip_or_none_is_refused(tmp_path):
    with pytest.raises(NotFound, match="hold BOOTSEL"):
        interpreter.check_drive(tmp_path, load_board("pico"))
    make_drive(tmp_path, "RP2350")
    with pytest.raises(UsageError, match="is the drive of RP2350, not pico"):
        interpreter.check_drive(tmp_path, load_board("pico"))
    interpreter.check_drive(tmp_path, load_board("pico2"))


def test_a_copy_is_done_when_the_drive_is_gone(tmp_path):
    drive = make_drive(tmp_path, "RPI-RP2")
    target = drive / "lenslink.uf2"
    received = []

    def restart() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if target.exists() and target.stat().st_size == len(content):
                received.append(target.read_bytes())
                (drive / "INFO_UF2.TXT").unlink()
                return
            time.sleep(0.01)

    content = image("pico") * 4
    board = threading.Thread(target=restart)
    board.start()
    interpreter.copy_to_drive(content, drive, Deadline(20))
    board.join()
    assert received == [content]


def test_a_drive_that_stays_has_ignored_the_file(tmp_path):
    drive = make_drive(tmp_path, "RPI-RP2")
    with pytest.raises(RigError, match="the board has ignored the file"):
        interpreter.copy_to_drive(image("pico"), drive, Deadline(0.3))


def make_program(folder: Path, name: str, code: str) -> Path:
    return write_script(folder / name, f"import sys\n{code}\n")


def test_programs_are_started_with_a_list_of_arguments(tmp_path, monkeypatch):
    folder = tmp_path / "with a space"
    folder.mkdir()
    said = tmp_path / "arguments"
    make_program(folder, "picotool", f"open({str(said)!r}, 'w').write(repr(sys.argv[1:]))")
    monkeypatch.setenv("PATH", str(folder))
    path = tmp_path / "an image.uf2"
    command = interpreter.make_command(load_board("pico"), path, None)
    interpreter.run_program(command, Deadline(30))
    assert said.read_text() == repr(["load", "--verify", "--execute", str(path)])
    with pytest.raises(UsageError, match="esptool needs the port"):
        interpreter.make_command(load_board("esp32s3"), path, None)


def test_a_program_that_fails_or_is_missing_is_named(tmp_path, monkeypatch):
    make_program(tmp_path, "picotool", "print('No accessible RP2040 found'); sys.exit(7)")
    monkeypatch.setenv("PATH", str(tmp_path))
    command = interpreter.make_command(load_board("pico"), Path("x.uf2"), None)
    with pytest.raises(RigError, match="picotool failed: No accessible RP2040 found"):
        interpreter.run_program(command, Deadline(30))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotFound, match="no picotool on PATH"):
        interpreter.make_command(load_board("pico"), Path("x.uf2"), None)


def test_a_uf2_file_has_what_was_put_into_it():
    content = b"\xff" * 4096 + b"x" * 300 + b"\xff" * 1000
    blocks = split_pages(FAMILIES["pico"], 0x1000_0000, content)
    assert [block.address - 0x1000_0000 for block in blocks] == [0, 4096, 4352]
    assert parse_uf2(build_uf2(blocks)) == blocks
