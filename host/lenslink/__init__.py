"""LensLink's host driver: find a camera module, open it, receive its RAW frames.

>>> import lenslink
>>> with lenslink.open("sim:") as module:
...     frame = module.capture()
...     frame.pixels.shape
(3072, 4096)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .discovery import Arrival, Departure, watch
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
from .settings import Settings, StreamOptions
from .transports import DeviceInfo, list_devices

if TYPE_CHECKING:
    from .attachment import Attachment, attach
    from .authentication import Authenticator
    from .device import Device, open
    from .events import Attached, Detached, Warned
    from .frame import ColorCalibration, Frame, FrameStatus, Identity
    from .frame_ring.reader import FrameRingReader
    from .frame_ring.shared_frame import SharedFrame
    from .frame_ring.writer import FrameRing
else:
    # numpy takes longer to import than the command line takes to print its help: what needs it
    # is loaded when it is first used.
    _LAZY = {
        "Attached": "events",
        "Attachment": "attachment",
        "Detached": "events",
        "Warned": "events",
        "attach": "attachment",
        "Authenticator": "authentication",
        "Device": "device",
        "open": "device",
        "ColorCalibration": "frame",
        "Frame": "frame",
        "FrameStatus": "frame",
        "Identity": "frame",
        "FrameRing": "frame_ring.writer",
        "SharedFrame": "frame_ring.shared_frame",
        "FrameRingReader": "frame_ring.reader",
    }

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value


__all__ = [
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
    "StorageError",
    "StreamOptions",
    "Timeout",
    "UsageError",
    "VersionMismatch",
    "Warned",
    "attach",
    "list_devices",
    "open",
    "watch",
]
