"""Everything the driver raises, as one tree.

::

    LensLinkError            1
    ├── UsageError           2   what was asked for makes no sense
    │   └── MissingExtra     2   it needs a package that is not installed
    ├── NotFound             3   no such device
    ├── Ambiguous            4   more than one device would do
    ├── Disconnected         5   the module went away
    ├── ProtocolError        6   the module does not speak the protocol
    │   ├── VersionMismatch  6   it speaks another major version
    │   └── NotGenuine       6   it does not prove that it is what it says it is
    ├── Timeout              8   a deadline passed
    ├── StorageError         9   files and disk
    ├── DeviceError         10   the module answered with an error
    │   └── DeviceBusy      10   another process has the module
    └── RigError            11   the bench itself is broken

The number is the exit code of the command line. 0 is success, 7 a failed conformance or test
run, 130 an interrupt; 1 is left to errors that are none of these, which are defects.
A library never exits: only :mod:`lenslink.cli.main` turns these into exit codes.
"""

from __future__ import annotations

from lenslink_protocol.ids import Outcome

from .installation import make_install_hint
from .request_handle import RequestHandle


class LensLinkError(Exception):
    """Base of all errors below; never raised itself."""

    exit_code = 1
    request: RequestHandle | None = None
    """The request whose answer, or whose frame, did not come."""


class UsageError(LensLinkError):
    """Raised for an unknown URL scheme or option, an impossible size, an unreadable scene."""

    exit_code = 2


class MissingExtra(UsageError):
    """Raised when a feature's optional package is absent; the message is the line to type."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}': {make_install_hint(extra)}")
        self.extra = extra


class NotFound(LensLinkError):
    """Raised when no device answers to the URL, or none is attached."""

    exit_code = 3


class Ambiguous(LensLinkError):
    """Raised when no URL was given and several devices are attached."""

    exit_code = 4


class Disconnected(LensLinkError):
    """Raised by every call in progress when the module goes away, and by every later one."""

    exit_code = 5
    outcome: Outcome | None = None
    """What became of ``request``, where the module has been asked already."""


class ProtocolError(LensLinkError):
    """Raised when a module answers, but not as SPEC.md says it must."""

    exit_code = 6


class VersionMismatch(ProtocolError):
    """Raised when host and module share no major version of the protocol."""


class NotGenuine(ProtocolError):
    """Raised where authentication was asked for, and the module's proof is wrong or missing."""


class Timeout(LensLinkError):
    """Raised when a deadline passed; ``Device.outcome()`` tells what became of the request."""

    exit_code = 8


class StorageError(LensLinkError):
    """Raised when a file cannot be written or would be overwritten, or the disk is full."""

    exit_code = 9


class DeviceError(LensLinkError):
    """Raised when the module refused a request; ``code`` is the wire's error code."""

    exit_code = 10

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class DeviceBusy(DeviceError):
    """Raised when another process has the module open."""


class RigError(LensLinkError):
    """Raised when the bench, not the module, fails: no MicroPython, a plant that died."""

    exit_code = 11
