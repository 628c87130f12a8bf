"""LensLink's host driver: find a camera module, open it, receive its RAW frames.

>>> import lenslink
>>> with lenslink.open("sim:?width=96&height=64") as module:
...     frame = module.capture()
...     frame.pixels.shape
(64, 96)

:func:`open` opens a module, :func:`attach` keeps one across detachments, :func:`list_devices` and
:func:`watch` look for modules. Everything that is raised is a :class:`LensLinkError`.

Most names are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import (
    Ambiguous,
    DeviceBusy,
    DeviceError,
    Disconnected,
    LensLinkError,
    MissingExtra,
    NotFound,
    NotGenuine,
    ProtocolError,
    RigError,
    StorageError,
    Timeout,
    UsageError,
    VersionMismatch,
)
from .request_handle import RequestHandle
from .settings import PREVIEW, STILL, Settings, StreamOptions

if TYPE_CHECKING:
    __version__: str

    from .attachment import Attachment, attach
    from .authentication import Authenticator
    from .device import Device, open
    from .discovery import Arrival, Departure, watch
    from .events import Attached, Detached, Warned
    from .frame import ColorCalibration, Frame, FrameStatus, Identity
    from .frame_ring.reader import FrameRingReader
    from .frame_ring.shared_frame import SharedFrame
    from .frame_ring.writer import FrameRing
    from .stats import Stats
    from .transports import DeviceInfo, list_devices
else:
    # numpy and filelock, which imports asyncio, take longer to import than the command line takes
    # to print its help. The plant's process needs only errors and settings.
    _LAZY = {
        "Arrival": "discovery",
        "Attached": "events",
        "Attachment": "attachment",
        "Departure": "discovery",
        "Detached": "events",
        "Warned": "events",
        "attach": "attachment",
        "Authenticator": "authentication",
        "Device": "device",
        "open": "device",
        "watch": "discovery",
        "ColorCalibration": "frame",
        "Frame": "frame",
        "FrameStatus": "frame",
        "Identity": "frame",
        "FrameRing": "frame_ring.writer",
        "SharedFrame": "frame_ring.shared_frame",
        "FrameRingReader": "frame_ring.reader",
        "Stats": "stats",
        "DeviceInfo": "transports",
        "list_devices": "transports",
    }

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value = import_module("importlib.metadata").version("lenslink")
        elif name in _LAZY:
            value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names, those that are not loaded yet too."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])


__all__ = [
    "PREVIEW",
    "STILL",
    "Ambiguous",
    "Arrival",
    "Attached",
    "Attachment",
    "Authenticator",
    "ColorCalibration",
    "Departure",
    "Detached",
    "Device",
    "DeviceBusy",
    "DeviceError",
    "DeviceInfo",
    "Disconnected",
    "Frame",
    "FrameRing",
    "FrameRingReader",
    "FrameStatus",
    "Identity",
    "LensLinkError",
    "MissingExtra",
    "NotFound",
    "NotGenuine",
    "ProtocolError",
    "RequestHandle",
    "RigError",
    "Settings",
    "SharedFrame",
    "Stats",
    "StorageError",
    "StreamOptions",
    "Timeout",
    "UsageError",
    "VersionMismatch",
    "Warned",
    "__version__",
    "attach",
    "list_devices",
    "open",
    "watch",
]
