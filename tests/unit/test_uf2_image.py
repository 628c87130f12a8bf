"""One UF2 file has MicroPython and a file system with the firmware.

The file is written to a flash chip as the boot ROM writes it: a sector is erased when its first
page arrives, and other sectors stay as they were.
"""

from __future__ import annotations

import random
import struct

import pytest

pytest.importorskip("littlefs", reason="littlefs-python is not installed")

from helpers.littlefs_board import LittleFsBoard

from lenslink.errors import RigError, UsageError
from lenslink_hil.benches.board_profile import load_board
from lenslink_hil.flash.board_layout import BUILD, OWN, STUBS, Marker
from lenslink_hil.flash.bundle import Bundle
from lenslink_hil.flash.uf2 import PAGE_BYTES, SECTOR_BYTES, Uf2Block, build_uf2, parse_uf2
from lenslink_hil.flash.uf2_image import build_uf2_image
from lenslink_hil.flash.update import compute_digest, hash_contents, read_state
from lenslink_hil.pico.micropython_image import BLOCKS, FILES_AT, FLASH_BYTES, FLASH_START

FAMILY = 0xE48BFF56
ABSOLUTE = 0xE48BFF57
HEAD = struct.Struct("<8I")


def make_bundle(seed: int, board: str = "pico", files: int = 36) -> Bundle:
    chosen = random.Random(seed)
    slot = {f"lensfw/m{n}.mpy": chosen.randbytes(chosen.randrange(1, 9000)) for n in range(files)}
    slot["lensfw/erased.mpy"] = b"\xff" * 10_000
    slot[BUILD] = b'{"digest": "%s"}' % compute_digest(hash_contents(slot)).encode()
    root = {name: name.encode() for name in STUBS} | {OWN: b'{"board":"pico","serial":""}'}
    return Bundle({"board": board}, slot, root)


def make_micropython(seed: int, family: int = FAMILY, count: int = 40) -> list[Uf2Block]:
    chosen = random.Random(f"{seed} micropython")
    return [
        Uf2Block(family, FLASH_START + PAGE_BYTES * n, chosen.randbytes(PAGE_BYTES))
        for n in range(count)
    ]


def write_as_boot_rom(flash: bytearray, blocks: list[Uf2Block]) -> None:
    erased = set()
    for block in blocks:
        at = block.address - FLASH_START
        sector = at // SECTOR_BYTES * SECTOR_BYTES
        if sector not in erased:
            erased.add(sector)
            flash[sector : sector + SECTOR_BYTES] = b"\xff" * SECTOR_BYTES
        assert set(flash[at : at + PAGE_BYTES]) == {0xFF}, "a page is written twice"
        flash[at : at + PAGE_BYTES] = block.data


def test_a_chip_that_was_in_use_has_the_firmware_and_nothing_of_before(seed):
    micropython = make_micropython(seed)
    flash = bytearray(b"\xff" * FLASH_BYTES)
    for number in range(2):
        bundle = make_bundle(seed + number, files=36 - 20 * number)
        data = build_uf2_image(bundle, build_uf2(micropython), f"S-{number}")
        write_as_boot_rom(flash, parse_uf2(data))
        board = LittleFsBoard(bytes(flash[FILES_AT:]))
        state = read_state(board)
        assert state.marker == Marker("a", None)
        assert state.list_slot("a") == hash_contents(bundle.slot_files)
        assert state.is_intact("a") and not state.list_slot("b")
        assert board.read_file(OWN) == b'{"board":"pico","serial":"S-%d"}' % number
        assert all(board.read_file(name) == name.encode() for name in STUBS)
        assert flash.startswith(b"".join(block.data for block in micropython))


def test_the_same_firmware_gives_the_same_bytes_and_the_blocks_are_numbered(seed):
    # RP2350, erratum E10: its images begin with a block of another family.
    micropython = make_micropython(seed, 0xE48BFF59) + make_micropython(seed, ABSOLUTE, 1)
    bundle = make_bundle(seed, "pico2")
    data = build_uf2_image(bundle, build_uf2(micropython))
    assert data == build_uf2_image(bundle, build_uf2(micropython))
    numbers: dict[int, list[int]] = {}
    totals: dict[int, set[int]] = {}
    for at in range(0, len(data), 512):
        _, _, flags, _, count, number, total, family = HEAD.unpack_from(data, at)
        assert flags & 0x2000 and count == PAGE_BYTES
        numbers.setdefault(family, []).append(number)
        totals.setdefault(family, set()).add(total)
    assert set(numbers) == {0xE48BFF59, ABSOLUTE}
    for family, found in numbers.items():
        assert found == list(range(len(found)))
        assert totals[family] == {len(found)}


def test_a_file_system_that_overlaps_micropython_or_is_too_small_is_refused(seed):
    large = make_micropython(seed, count=FILES_AT // PAGE_BYTES + 1)
    with pytest.raises(UsageError, match="another layout of the flash"):
        build_uf2_image(make_bundle(seed), build_uf2(large))
    build_uf2_image(make_bundle(seed), build_uf2(large[:-1]))
    with pytest.raises(RigError, match="do not fit"):
        build_uf2_image(make_bundle(seed, files=400), build_uf2(large[:1]))
    with pytest.raises(UsageError, match="takes no UF2 file"):
        build_uf2_image(make_bundle(seed, "esp32s3"), build_uf2(large[:1]))


def test_the_board_s_file_agrees_with_the_emulated_chip():
    image = load_board("pico").image
    assert image["files_at"] == FLASH_START + FILES_AT
    assert image["files_bytes"] == BLOCKS * SECTOR_BYTES == FLASH_BYTES - FILES_AT
