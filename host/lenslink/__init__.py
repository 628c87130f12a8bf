"""LensLink's host driver: find a camera module, open it, receive its RAW frames.

>>> import lenslink
>>> with lenslink.open("sim:?width=96&height=64") as module:
...     frame = module.capture()
...     frame.pixels.shape
(64, 96)

:func:`open` opens a module, :func:`attach` keeps one across detachments, :func:`list_devices` and
:func:`watch` look for modules. Everything that is raised is a :class:`LensLinkError`.

Each name is loaded when it is first used. So ``python -m lenslink``, which imports this package
first, can handle Ctrl-C before it imports anything that takes time.
"""

# The constant of the same name in typing is the same to type checkers. Importing it takes time.
TYPE_CHECKING = False

if TYPE_CHECKING:
    __version__: str

    from . import discovery as discovery
    from . import errors as errors
    from . import settings as settings
    from . import transports as transports
    from .attachment import Attachment, attach
    from .authentication import Authenticator
    from .control.module_client import ModuleClient
    from .control.module_state import ModuleState, StreamState
    from .device import Device, open
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
        StreamEnded,
        Timeout,
        UsageError,
        VersionMismatch,
    )
    from .events import Attached, Detached, Warned
    from .frame import ColorCalibration, Frame, FrameStatus, Identity
    from .frame_ring.reader import FrameRingReader
    from .frame_ring.shared_frame import SharedFrame
    from .frame_ring.writer import FrameRing
    from .request_handle import RequestHandle
    from .settings import PREVIEW, ROI, STILL, Settings, StreamOptions
    from .stats import Stats
    from .transports import DeviceInfo, list_devices
else:
    _MODULES = ("discovery", "errors", "settings", "transports")
    _NAMES = {
        "attachment": ("Attachment", "attach"),
        "authentication": ("Authenticator",),
        "control.module_client": ("ModuleClient",),
        "control.module_state": ("ModuleState", "StreamState"),
        "device": ("Device", "open"),
        "discovery": ("Arrival", "Departure", "watch"),
        "errors": (
            "Ambiguous",
            "DeviceBusy",
            "DeviceError",
            "Disconnected",
            "LensLinkError",
            "MissingExtra",
            "NotFound",
            "NotGenuine",
            "ProtocolError",
            "RigError",
            "StorageError",
            "StreamEnded",
            "Timeout",
            "UsageError",
            "VersionMismatch",
        ),
        "events": ("Attached", "Detached", "Warned"),
        "frame": ("ColorCalibration", "Frame", "FrameStatus", "Identity"),
        "frame_ring.reader": ("FrameRingReader",),
        "frame_ring.shared_frame": ("SharedFrame",),
        "frame_ring.writer": ("FrameRing",),
        "request_handle": ("RequestHandle",),
        "settings": ("PREVIEW", "ROI", "STILL", "Settings", "StreamOptions"),
        "stats": ("Stats",),
        "transports": ("DeviceInfo", "list_devices"),
    }
    _MODULE_BY_NAME = {name: module for module, names in _NAMES.items() for name in names}

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "__version__":
            value = import_module("importlib.metadata").version("lenslink")
        elif name in _MODULES:
            value = import_module(f".{name}", __name__)
        elif name in _MODULE_BY_NAME:
            value = getattr(import_module(f".{_MODULE_BY_NAME[name]}", __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names, those that are not loaded yet too."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])


__all__ = [
    "PREVIEW",
    "ROI",
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
    "ModuleClient",
    "ModuleState",
    "NotFound",
    "NotGenuine",
    "ProtocolError",
    "RequestHandle",
    "RigError",
    "Settings",
    "SharedFrame",
    "Stats",
    "StorageError",
    "StreamEnded",
    "StreamOptions",
    "StreamState",
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
