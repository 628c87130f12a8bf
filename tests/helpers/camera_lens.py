"""A module whose sensor is the plant's camera, in this process and on the harness' clock.

:class:`CameraLens` is good. A subclass breaks one thing: what the sensor really does
(:meth:`CameraLens.expose`), what the module says of itself (``_configure``), or its body.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np

from helpers.attach_harness import Clock
from helpers.plant_lens import PlantLens
from lenslink.receive.unpacking import pack
from lenslink.settings import Settings
from lenslink_hil.benches.board_profile import load_board, make_configuration
from lenslink_hil.plant.binning import Crop
from lenslink_hil.plant.body import Body
from lenslink_hil.plant.scene import Scene, SceneOptions, open_scene
from lenslink_hil.virtual_body import BodyPorts
from lenslink_protocol.calibration import encode_calibration, get_kind
from lenslink_protocol.packings import find_layout

STILL = 1
_OPTIONS = {"scene": "planes", "depth": "1200", "width": 256, "height": 192, "seed": 3}


@cache
def _open(**options: Any) -> Scene:
    """A scene, which is painted once for all tests. Its frames depend on nothing before them."""
    return open_scene(SceneOptions.from_json(_OPTIONS | options))


class _Ports(BodyPorts):
    """Ports of a module: the rows are those of its camera."""

    def __init__(self, lens: CameraLens, clock: Clock) -> None:
        sensor = lens.scene.sensor
        readout_us = sensor.row_time_ns * sensor.height // 1000
        super().__init__(lens.body, clock, self._draw, readout_us)
        self._lens = lens
        self._calibrations = b"".join(data for _, data in lens.calibrations)
        self._request: tuple[Any, ...] = ()
        self.delay_us = 0
        """How much later than it should the readout begins."""

    def request_rows(self, number: int, *more: Any) -> None:
        self._request = more
        super().request_rows(number)
        self.delay_us = self._lens.delay_readout()
        self._began_us += self.delay_us

    def read_rows(self, view: memoryview) -> int:
        return 0 if self._clock.us < self._began_us else super().read_rows(view)

    def get_start_us(self) -> int:
        return self._began_us

    def read_calibration(self, start: int, count: int) -> bytes:
        return self._calibrations[start : start + count]

    def _draw(self, number: int) -> bytes:
        mode, (exposure, gain, _, aperture), pixel_format, _, crop = self._request
        focus = max(0, round(self.body.get_focus_mdpt(self._clock.us)))
        applied = Settings.from_applied(exposure, gain, focus, aperture)
        rows = self._lens.expose(number, mode, applied, Crop(*crop))
        return pack(rows, find_layout(pixel_format)).tobytes()


class CameraLens(PlantLens):
    """A module that sees ``planes`` with 256 x 192 pixels."""

    options: ClassVar[dict[str, Any]] = {}
    """Options of its scene."""
    backlash_mdpt = 0
    """Backlash of its gear, if that is not what its firmware takes up."""

    def __init__(self, clock: Clock) -> None:
        self.scene = _open(**self.options)
        self.calibrations = [
            (get_kind(each), encode_calibration(each)) for each in self._calibrate()
        ]
        super().__init__(clock, "CAMERA-1")

    def expose(self, number: int, mode: int, applied: Settings, crop: Crop) -> Any:
        """The rows of a frame, as the sensor reads them out."""
        return self.scene.rows(mode, number, applied, crop)

    def delay_readout(self) -> int:
        """How many microseconds too late the readout of the next frame begins."""
        return 0

    @property
    def frame_index(self) -> int:
        """Which frame of its request is read out, counted from 0."""
        return self.camera.streams[self.stream].frame_index - 1

    @property
    def stream(self) -> int:
        """The stream of the frame that is read out."""
        return next(
            channel.exposure.stream
            for channel in self.camera._channels
            if channel.ports is self.ports
        )

    def _calibrate(self) -> list[Any]:
        return list(self.scene.calibrations)

    def _configure(self) -> dict[str, Any]:
        sensor = self.scene.sensor.to_json()
        return make_configuration(
            load_board("sim"), sensor, self.serial, self.boot, self.calibrations
        ) | {"auth_key": None}

    def _make_body(self) -> Body:
        body = Body(self.boot, self._clock.us)
        if self.backlash_mdpt:
            motor = replace(body.constants.motor, backlash_mdpt=self.backlash_mdpt)
            body = Body(self.boot, self._clock.us, replace(body.constants, motor=motor))
        return body

    def _make_ports(self) -> BodyPorts:
        return _Ports(self, self._clock)


def scale_light(rows: Any, factor: float, black: float = 256, white: int = 4095) -> Any:
    """The rows with *factor* times the light."""
    light = (rows.astype(np.float32) - black) * factor + black
    return np.clip(np.rint(light), 0, white).astype(np.uint16)
