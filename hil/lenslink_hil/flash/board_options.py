"""Check the options of a board's files before anything is built from them.

:func:`~.board_files.board_files` calls :func:`check_options`. A wrong option would otherwise show
only on the board, as a start that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lenslink.errors import UsageError
from lenslink_protocol.params import HEADER_BYTES, MAX_LANES, MAX_PAYLOAD, MAX_TEXT, USB_TRANSFER

from ..benches.board_profile import Board

_MAX_U32: Final = 0xFFFFFFFF
_MAX_TILES: Final = 64
_MIN_TILE_BYTES: Final = 2048
_TRANSPORTS: Final = ("usb", "cdc")
# The highest GPIO, and the longest time of the watchdog, by port.
_MAX_GPIO: Final = {"rp2": 29, "esp32": 54, "unix": 0}
_MAX_WATCHDOG_MS: Final = {"rp2": 8388, "esp32": 60_000, "unix": 60_000}
# Entries of a board's [pins] that are not pins: the smallest and the largest value.
_SUPPLY: Final = {"vbus_divider": (1, 100), "vbus_drop_mv": (0, 5000)}
_LIMITS: Final = {
    "tiles": (2, _MAX_TILES),
    "in_flight": (1, _MAX_TILES - 1),
    "rate": (0, _MAX_U32),
    "latency_us": (0, 1_000_000),
    "tile_bytes": (_MIN_TILE_BYTES, MAX_PAYLOAD),
}
_INTEGERS: Final = {
    "width": (1, _MAX_U32),
    "height": (1, _MAX_U32),
    "bits": (1, 16),
    "seed": (0, _MAX_U32),
    "lanes": (1, MAX_LANES),
    "boot_count": (0, _MAX_U32),
}
_OTHERS: Final = frozenset({"serial", "cfa", "transport", "limits", "pins", "watchdog_ms", "test"})


def check_options(board: Board, options: Mapping[str, Any]) -> None:
    """Check the name, the type and the range of each option.

    Raises:
        UsageError: with the option, its value, and what is allowed.
    """
    for name in sorted(options):
        if name not in _INTEGERS and name not in _OTHERS:
            raise UsageError(f"a board's files have no option '{name}'")
    _check_serial(options.get("serial"))
    for name, (lowest, highest) in _INTEGERS.items():
        if options.get(name) is not None:
            _check_integer(name, options[name], lowest, highest)
    if options.get("transport", "usb") not in _TRANSPORTS:
        raise UsageError(f"transport={options['transport']}: usb or cdc")
    if options.get("transport") == "usb" and board.image.get("transport") == "cdc":
        raise UsageError(f"transport=usb: board '{board.name}' has only its serial port (cdc)")
    if not isinstance(options.get("test", False), bool):
        raise UsageError(f"test={options['test']!r}: True or False")
    port = board.image["port"]
    if options.get("watchdog_ms"):
        _check_integer("watchdog_ms", options["watchdog_ms"], 1, _MAX_WATCHDOG_MS[port])
    _check_pins(board.pins, options.get("pins", {}), _MAX_GPIO[port])
    for name, value in _check_mapping("limits", options.get("limits", {})).items():
        if name not in _LIMITS:
            raise UsageError(f"limits: no limit '{name}' (there are {', '.join(_LIMITS)})")
        _check_integer(name, value, *_LIMITS[name])


def check_limits(limits: Mapping[str, int], transport: str) -> None:
    """Check limits against each other, once the board's own have been added to the options'.

    Raises:
        UsageError: the board cannot work with them.
    """
    if limits["in_flight"] >= limits["tiles"]:
        raise UsageError(
            f"in_flight={limits['in_flight']}: must be less than tiles={limits['tiles']}"
        )
    if transport == "cdc" and HEADER_BYTES + limits["tile_bytes"] > USB_TRANSFER:
        # A tile must fit one USB transfer: a serial port does not report each transfer's end.
        limit = USB_TRANSFER - HEADER_BYTES
        raise UsageError(f"tile_bytes={limits['tile_bytes']}: at most {limit} over a serial port")


def _check_serial(serial: object) -> None:
    if serial is None:
        return
    is_text = isinstance(serial, str) and serial.isascii() and serial.isprintable()
    if not is_text or not 0 < len(str(serial)) <= MAX_TEXT or " " in str(serial):
        raise UsageError(
            f"serial={serial!r}: must be 1 to {MAX_TEXT} printable ASCII characters without spaces"
        )


def _check_pins(board_pins: Mapping[str, int], pins: object, highest: int) -> None:
    chosen = _check_mapping("pins", pins)
    for name, value in chosen.items():
        if name not in board_pins:
            raise UsageError(f"pins: no signal '{name}' (there are {', '.join(board_pins)})")
        if value is not None:
            _check_integer(name, value, *_SUPPLY.get(name, (0, highest)))
    signals: dict[int, str] = {}
    for name, number in {**board_pins, **chosen}.items():
        if name in _SUPPLY or number is None:
            continue
        if number in signals:
            raise UsageError(f"pins: {signals[number]} and {name} are both GPIO {number}")
        signals[number] = name


def _check_mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name}={value!r}: must be a table of names and numbers")
    return value


def _check_integer(name: str, value: object, lowest: int, highest: int) -> None:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not lowest <= value <= highest:  # type: ignore[operator]
        raise UsageError(f"{name}={value!r}: must be {lowest} to {highest}")
