"""Everything the driver raises, as one tree.

::

    LensLinkError            1
    ├── UsageError           2   an argument, a URL or a call makes no sense
    │   ├── MissingExtra     2   a package that is not installed is needed
    │   └── StreamEnded      2   the stream was stopped, so no frame comes
    ├── NotFound             3   no such device
    ├── Ambiguous            4   more than one device would do
    ├── Disconnected         5   the module went away
    ├── ProtocolError        6   the module does not speak the protocol
    │   ├── VersionMismatch  6   the module speaks another major version
    │   └── NotGenuine       6   the module does not prove that it is genuine
    ├── Timeout              8   a deadline passed
    ├── StorageError         9   files and disk
    ├── DeviceError         10   the module answered with an error
    │   └── DeviceBusy      10   another process has the module
    └── RigError            11   the bench itself failed

The number is the exit code of the command line. 0 is success, 7 a failed conformance or test run,
and 130 an interrupt. 1 is left to errors that are none of these, which are defects. A library never
exits: only :mod:`lenslink.cli.main` turns errors into exit codes.
"""

from __future__ import annotations

from lenslink_protocol.ids import Outcome

from .installation import make_install_hint
from .request_handle import RequestHandle


class LensLinkError(Exception):
    """Base of all errors below; never raised itself.

    >>> try:
    ...     lenslink.open("nosuch:")
    ... except lenslink.LensLinkError as error:
    ...     print(error.exit_code)
    2
    """

    exit_code = 1
    """The exit code of the command line for this error."""
    request: RequestHandle | None = None
    """The request whose answer or frame did not arrive, if there was one."""


class UsageError(LensLinkError):
    """Raised for an argument, a URL or a call that makes no sense. Nothing was sent then.

    >>> lenslink.Settings(exposure_us=-1)
    Traceback (most recent call last):
    lenslink.errors.UsageError: exposure_us=-1 is out of range: it must be 1 to 1073741823
    """

    exit_code = 2


class MissingExtra(UsageError):
    """Raised if a feature needs an optional package that is not installed.

    The message is the line to type.

    >>> raise lenslink.MissingExtra("the emulated Pico", "pico")
    Traceback (most recent call last):
    lenslink.errors.MissingExtra: the emulated Pico needs the extra 'pico': ...
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}': {make_install_hint(extra)}")
        self.extra = extra


class StreamEnded(UsageError):
    """Raised by a call that waits for a frame if another process has stopped the stream.

    See :meth:`lenslink.Device.serve`. A loop over :meth:`lenslink.Device.stream` ends instead.

    >>> issubclass(lenslink.StreamEnded, lenslink.UsageError)
    True
    """


class NotFound(LensLinkError):
    """Raised if no device answers at the URL, or none is attached.

    >>> lenslink.open("unix:/nowhere")
    Traceback (most recent call last):
    lenslink.errors.NotFound: unix:/nowhere: No such file or directory
    """

    exit_code = 3


class Ambiguous(LensLinkError):
    """Raised if no URL was given and several devices are attached.

    >>> issubclass(lenslink.Ambiguous, lenslink.LensLinkError)
    True
    """

    exit_code = 4


class Disconnected(LensLinkError):
    """Raised by the call in progress when the module goes away, and by every later call.

    >>> module = lenslink.open("sim:?width=64&height=64")
    >>> module.close()
    >>> module.capture()
    Traceback (most recent call last):
    lenslink.errors.Disconnected: the connection was closed
    """

    exit_code = 5
    outcome: Outcome | None = None
    """The outcome of ``request``, if the module was asked for it."""


class ProtocolError(LensLinkError):
    """Raised if a module answers, but not as SPEC.md says that it must.

    >>> lenslink.ProtocolError.exit_code
    6
    """

    exit_code = 6


class VersionMismatch(ProtocolError):
    """Raised if host and module share no major version of the protocol.

    >>> issubclass(lenslink.VersionMismatch, lenslink.ProtocolError)
    True
    """


class NotGenuine(ProtocolError):
    """Raised if the module's proof that it is genuine is wrong or missing.

    :class:`lenslink.Authenticator` has an example.

    >>> issubclass(lenslink.NotGenuine, lenslink.ProtocolError)
    True
    """


class Timeout(LensLinkError):
    """Raised if a deadline passed. :meth:`Device.query_outcome` tells the outcome of the request.

    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     try:
    ...         module.capture(timeout=0)
    ...     except lenslink.Timeout as error:
    ...         print(error)
    the capture took longer than 0 s
    """

    exit_code = 8


class StorageError(LensLinkError):
    """Raised if a file cannot be written or would be overwritten, or if the disk is full.

    >>> lenslink.StorageError.exit_code
    9
    """

    exit_code = 9


class DeviceError(LensLinkError):
    """Raised if the module refused a request.

    ``code`` is a :class:`lenslink_protocol.ids.ErrorCode`.

    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     try:
    ...         module.configure(stream=7)
    ...     except lenslink.DeviceError as error:
    ...         print(error)
    unsupported: no stream 7
    """

    exit_code = 10

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class DeviceBusy(DeviceError):
    """Raised if another process has the module open.

    >>> lenslink.DeviceBusy("unix:/run/lens is in use by another process").exit_code
    10
    """


class RigError(LensLinkError):
    """Raised if the bench fails, not the module: there is no MicroPython, or the plant ended.

    >>> lenslink.RigError.exit_code
    11
    """

    exit_code = 11
