"""LensLink's host driver: find a camera module, open it, receive its RAW frames.

>>> import lenslink
>>> with lenslink.open("sim:") as module:
...     frame = module.capture()
...     frame.pixels.shape
(3072, 4096)
"""

from .device import Device, open
from .errors import (
    Ambiguous,
    DeviceBusy,
    DeviceError,
    Disconnected,
    LensLinkError,
    MissingExtra,
    NotFound,
    ProtocolError,
    RigError,
    StorageError,
    Timeout,
    UsageError,
    VersionMismatch,
)
from .frame import ColorCalibration, Frame, FrameStatus, Identity
from .transports import DeviceInfo, list_devices

__all__ = [
    "Ambiguous",
    "ColorCalibration",
    "Device",
    "DeviceBusy",
    "DeviceError",
    "DeviceInfo",
    "Disconnected",
    "Frame",
    "FrameStatus",
    "Identity",
    "LensLinkError",
    "MissingExtra",
    "NotFound",
    "ProtocolError",
    "RigError",
    "StorageError",
    "Timeout",
    "UsageError",
    "VersionMismatch",
    "list_devices",
    "open",
]
