"""What a module says of itself when a session opens.

:class:`lenslink.Device` makes a :class:`ModuleDescription` from the answers to Hello and
GetManifest. The description finds modes and pixel formats by name, and checks the module's answers
against its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lenslink_protocol.ids import ModeUse
from lenslink_protocol.manifest import Manifest, Mode
from lenslink_protocol.messages import Configured, HelloReply
from lenslink_protocol.packings import Packing, find_layout

from .errors import UsageError
from .frame import ColorCalibration, Identity
from .module_controls import Control, list_controls


@dataclass(frozen=True, slots=True)
class ModuleDescription:
    """The answers to Hello and GetManifest, and what follows from them."""

    session_info: HelloReply
    manifest: Manifest
    modes: Mapping[int, Mode] = field(init=False)
    """The manifest's modes by their number."""
    identity: Identity = field(init=False)
    color: ColorCalibration = field(init=False)
    controls: Mapping[str, Control] = field(init=False)
    """The module's controls by their names."""

    def __post_init__(self) -> None:
        manifest = self.manifest
        modes = {mode.id: mode for mode in manifest.modes}
        identity = Identity(manifest.maker, manifest.model, manifest.serial, manifest.firmware)
        color = None
        for entry in reversed(manifest.colors):
            color = ColorCalibration(
                tuple(zip(entry.matrix[::2], entry.matrix[1::2], strict=True)),
                tuple(zip(entry.neutral[::2], entry.neutral[1::2], strict=True)),
                entry.illuminant,
                color,
            )
        object.__setattr__(self, "modes", modes)
        object.__setattr__(self, "identity", identity)
        object.__setattr__(self, "color", color)
        object.__setattr__(self, "controls", list_controls(manifest))

    def find_mode(self, name: str | None, use: ModeUse) -> Mode:
        """Return the mode called *name*, or the module's own choice for *use* if that is None."""
        if name is None:
            return self.manifest.find_mode_for(use)
        mode = self.manifest.find_mode(name)
        if mode is None:
            names = ", ".join(mode.name for mode in self.manifest.modes)
            raise UsageError(f"the module has no mode '{name}' (it has {names})")
        return mode

    def check_roi(self, roi: tuple[int, int, int, int], mode: Mode) -> None:
        """Raise UsageError for a region of interest that *mode* does not have."""
        x, y, width, height = roi
        if x + width > mode.width or y + height > mode.height:
            raise UsageError(
                f"roi={x},{y},{width},{height} is not inside mode '{mode.name}', "
                f"which has {mode.width} x {mode.height} pixels"
            )

    def find_pixel_format(self, packing: str | None) -> int:
        """Return the code of the pixel format in *packing*; 0, the module's choice, for None."""
        if packing is None:
            return 0
        formats = {find_layout(code).packing: code for code in self.manifest.formats}
        if packing not in formats:
            names = ", ".join(formats)
            raise UsageError(f"the module has no packing '{packing}' (it has {names})")
        return formats[Packing(packing)]

    def has_configuration(self, answer: Configured, roi: tuple[int, int, int, int] | None) -> bool:
        """Return True if the module can send frames as *answer* says: geometry, format, size.

        *roi* is the region of interest that was asked for, or None.
        """
        mode = self.modes.get(answer.mode)
        return (
            mode is not None
            and (answer.x, answer.y, answer.width, answer.height)
            == (roi or (0, 0, mode.width, mode.height))
            and answer.pixel_format in self.manifest.formats
            and answer.stride == find_layout(answer.pixel_format).count_bytes(answer.width)
            and answer.frame_bytes == answer.stride * answer.height
        )
