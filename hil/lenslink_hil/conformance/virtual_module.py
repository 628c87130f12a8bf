"""The firmware's module, in this process and on virtual time, as a wire."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from lensfw import module as firmware
from lenslink_protocol.calibration import (
    Defect,
    Defects,
    Distortion,
    encode_calibration,
    get_kind,
)
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import Cfa
from lenslink_protocol.packings import find_pixel_format, list_packings

from ..benches.board_profile import load_board, make_configuration
from ..virtual_time import InstantPorts, VirtualClock, feed_module
from .peer_wire import Tamper

WIDTH, HEIGHT = 64, 48
_STEP_US = 1000
_TOY = 0x8000
KEY = bytes(range(32))
"""The key of all peers of the self-test."""


def _configuration() -> dict[str, Any]:
    """Return the configuration of a module with memory for several frames.

    Its two modes differ in the power of their frames only.
    """
    mode = {
        "id": 1,
        "name": "small",
        "width": WIDTH,
        "height": HEIGHT,
        "binning": 1,
        "use": ["preview", "still"],
        "active_area": [0, 0, HEIGHT, WIDTH],
    }
    frugal = mode | {"id": 2, "name": "frugal", "binning": 2}
    sensor = {
        "maker": None,
        "model": None,
        "width": WIDTH,
        "height": HEIGHT,
        "bits": 12,
        "cfa": "RGGB",
        "orientation": 1,
        "white": 4095,
        "black": [64.0] * 4,
        "illuminant": 21,
        "color_matrix": [1, 1] * 9,
        "neutral": [1, 1] * 3,
        "modes": [mode, frugal],
        "formats": [int(find_pixel_format(each, 12, Cfa.RGGB)) for each in list_packings(12)],
    }
    limits = {"tile_bytes": 2048, "tiles": 8, "in_flight": 3, "rate": 0, "latency_us": 0}
    board = replace(load_board("sim"), limits=limits)
    settings = make_configuration(board, sensor, "VIRTUAL", 1, _CALIBRATIONS)
    return settings | {"auth_key": KEY.hex()}


_CALIBRATIONS = [
    (get_kind(each), encode_calibration(each))
    for each in (
        Distortion((500_000, 500_000), (10**9, 0, 0, 0), (0, 0)),
        # Two pieces, the second of which is not full.
        Defects(tuple(Defect(0, n % WIDTH, n // WIDTH) for n in range(250))),
    )
]


class _Ports(InstantPorts):
    """Ports with a toy for a secure element: the CRC of a challenge, which proves nothing."""

    auth_schemes = (_TOY,)

    def read_calibration(self, start: int, count: int) -> bytes:
        return b"".join(data for _, data in _CALIBRATIONS)[start : start + count]

    def authenticate(self, scheme: int, challenge: bytes) -> bytes | None:
        return b"toy" + crc32(challenge).to_bytes(4, "little") if scheme == _TOY else None


def _picture(number: int) -> bytes:
    pixels = np.arange(WIDTH * HEIGHT, dtype=np.uint32) * 13 + number
    return (pixels & 0xFFF).astype("<u2").tobytes()


class VirtualModule:
    """A wire to the firmware's module. *tamper* is a defect on the line."""

    lanes = 2

    def __init__(self, tamper: Tamper | None = None) -> None:
        self.clock = VirtualClock()
        self._ports = _Ports(_picture, WIDTH)
        self.module: Any = firmware.Module(_configuration(), self._ports, self.clock)
        self.module.link.max_lanes = self.lanes
        self._tamper = tamper or Tamper()
        self._coming: deque[bytes] = deque()
        self._beside: deque[bytes] = deque()
        self._alive = [True] * self.lanes

    def now(self) -> float:
        return self.clock.seconds

    def send(self, data: bytes, lane: int = 0) -> None:
        del lane
        for piece in self._tamper.pass_to_tested(data):
            feed_module(self.module.link, piece, self.clock.us)

    def receive(self, seconds: float) -> bytes:
        end = self.clock.us + max(1, round(seconds * 1e6))
        while not self._coming and self.clock.us < end:
            self.clock.us = min(end, self.clock.us + _STEP_US)
            while self.module.step():
                pass
            self._collect()
        data = b"".join(self._coming)
        self._coming.clear()
        return data

    def _collect(self) -> None:
        link = self.module.link
        for _ in range(16):
            for lane in range(self.lanes):
                item = link.take_packet(lane) if self._alive[lane] else None
                if item is None:
                    continue
                view, tile = item
                coming = self._beside if lane else self._coming
                coming.extend(self._tamper.pass_to_tester(bytes(view)))
                if tile is not None:
                    link.release_tile(tile)

    def receive_lane(self, lane: int) -> bytes:
        del lane
        data = b"".join(self._beside)
        self._beside.clear()
        return data

    def end_lane(self, lane: int) -> bool:
        self._alive[lane] = False
        return True

    def set_attached(self, seated: bool) -> bool:
        self._ports.events += [(InstantPorts.CONTACT, pin, int(seated)) for pin in (0, 1)]
        return True

    def reopen(self) -> bool:
        self.module.link.end_session()
        self._coming.clear()
        self._beside.clear()
        return True

    def close(self) -> None:
        """Nothing is held."""
