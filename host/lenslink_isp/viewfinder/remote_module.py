"""A module that another process owns, with the frames and names that this process knows it by.

The owner describes the module once by a :class:`ModuleProfile`. Frames come through the frame
ring, requests go through the control socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Final, Unpack

from lenslink import Device, ModuleClient, SharedFrame
from lenslink.context import ClosesOnExit
from lenslink.frame import Frame, FrameMemory
from lenslink.module_calibration import ModuleCalibration
from lenslink.module_controls import Control
from lenslink.module_description import ModuleDescription
from lenslink.settings import CaptureArguments
from lenslink_protocol.manifest import Manifest
from lenslink_protocol.messages import HelloReply

_CAPTURE_S: Final = 60.0


@dataclass(frozen=True)
class ModuleProfile:
    """What a module said about itself and what was measured of it. It can be pickled.

    >>> import lenslink
    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     print(ModuleProfile.read(module).manifest.model)
    LL-100
    """

    session_info: HelloReply
    manifest: Manifest
    calibration: ModuleCalibration

    @classmethod
    def read(cls, device: Device) -> ModuleProfile:
        """Return the profile of an open module. Its calibrations are read from the module.

        Raises:
            LensLinkError: the calibrations cannot be read.
        """
        return cls(device.session_info, device.manifest, device.calibration.read_all())

    def describe(self) -> ModuleDescription:
        """Return modes, controls and colours by name."""
        return ModuleDescription(self.session_info, self.manifest)


def make_frame(shared: SharedFrame, description: ModuleDescription) -> Frame:
    """Return a finished frame of a ring as the driver's frame. Its release releases *shared*."""
    mode = description.modes.get(shared.start.mode)
    return Frame(
        packed=shared.packed,
        layout=shared.layout,
        bits=shared.bits,
        cfa=shared.cfa,
        active_area=shared.active_area,
        orientation=shared.orientation,
        color=description.color,
        identity=description.identity,
        status=shared.status,
        received_fraction=shared.received_fraction,
        missing_ranges=shared.missing_ranges,
        optics=description.manifest.optics,
        whole_size=(mode.width, mode.height) if mode else None,
        nonce=shared.nonce,
        **shared.metadata._asdict(),
        _memory=FrameMemory(shared.release),
    )


class CaptureStopped(Exception):
    """Raised by :meth:`RemoteModule.capture` after :meth:`RemoteModule.stop`."""


class RemoteModule(ClosesOnExit):
    """Takes stills of a module that the process behind the ring *name* owns.

    :func:`lenslink_isp.focus.tap.focus_at` takes one for a module.
    """

    def __init__(self, name: str, profile: ModuleProfile) -> None:
        self._client = ModuleClient(name)
        self._profile = profile
        self._description = profile.describe()
        self._stop = Event()

    @property
    def manifest(self) -> Manifest:
        """What the module said about itself."""
        return self._profile.manifest

    @property
    def controls(self) -> Mapping[str, Control]:
        """The module's controls by their names."""
        return self._description.controls

    @property
    def calibration(self) -> ModuleCalibration:
        """What was measured of the module."""
        return self._profile.calibration

    def capture(
        self,
        mode: str | None = None,
        *,
        timeout: float | None = None,
        **changes: Unpack[CaptureArguments],
    ) -> Frame:
        """Take a still, as :meth:`lenslink.ModuleClient.capture` does.

        Raises:
            CaptureStopped: :meth:`stop` was called.
        """
        if self._stop.is_set():
            raise CaptureStopped
        shared = self._client.capture(mode, timeout=timeout or _CAPTURE_S, **changes)
        return make_frame(shared, self._description)

    def stop(self) -> None:
        """Let the next call of :meth:`capture` fail. Another thread may call this."""
        self._stop.set()

    def resume(self) -> None:
        """Allow captures again."""
        self._stop.clear()

    def close(self) -> None:
        """Leave the owner. Idempotent."""
        self._client.close()
