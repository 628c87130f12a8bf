"""The process that owns the module: it receives frames, and nothing keeps it from that."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import lenslink
from lenslink.errors import Disconnected, StorageError, Timeout, UsageError

from .page_process import PageProcess, PageTask
from .remote_module import ModuleProfile

_TOKEN_BYTES: Final = 16
_BACKLOG: Final = 16
_LOOK_S: Final = 1.0
_INTERVAL_US: Final = 33_333
"""A viewfinder shows 30 frames a second. More would cost the module power and warmth."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page is served.

    >>> address = Address.listen("127.0.0.1", 0)
    >>> with address.listener:
    ...     print(address.url)
    http://127.0.0.1:.../.../
    """

    listener: socket.socket
    token: str

    @classmethod
    def listen(cls, bind: str, port: int) -> Address:
        """Listen on an address of this machine; port 0 takes a free one.

        Raises:
            UsageError: *bind* is no IP address.
            StorageError: the port is in use, or the machine does not have that address.
        """
        try:
            version = ipaddress.ip_address(bind).version
        except ValueError:
            raise UsageError(f"{bind} is no IP address: 127.0.0.1 is this machine") from None
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((bind, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise StorageError(
                f"cannot listen on {bind} port {port}: {error.strerror or error}; "
                "leave out --port for a free one"
            ) from None
        return cls(listener, secrets.token_urlsafe(_TOKEN_BYTES))

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect."""
        return ipaddress.ip_address(self.listener.getsockname()[0]).is_loopback

    @property
    def url(self) -> str:
        """The address for the browser, with its token."""
        host, port = self.listener.getsockname()[:2]
        host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/{self.token}/"


def run_viewfinder(
    url: str | None,
    address: Address,
    on_ready: Callable[[str], None],
    *,
    timeout: float = 30.0,
    verbose: int = 0,
    is_quiet: bool = False,
) -> None:
    """Show the module at *url* on the page at *address* until an exception ends it.

    Args:
        url: of the module; None for the only one there is.
        address: where the page is served. It is closed at the end.
        on_ready: called with the page's URL.
        timeout: for the module to appear, in seconds.
        verbose: how much the page's process logs, as ``-v`` counts.
        is_quiet: log errors only.

    Raises:
        LensLinkError: the module cannot be opened, or it cannot come back.
    """
    ring_name = f"viewfinder-{os.getpid()}-{secrets.token_hex(4)}"
    page: PageProcess | None = None
    try:
        with (
            address.listener,
            lenslink.FrameRing(ring_name) as ring,
            lenslink.attach(url, timeout=timeout, ring=ring) as module,
        ):
            module.serve()
            task = PageTask(
                ring_name,
                ModuleProfile.read(module.wait()),
                address.listener.fileno(),
                address.token,
                address.is_loopback,
                verbose,
                is_quiet,
            )
            module.start(interval_us=_INTERVAL_US)
            page = PageProcess.start(task)
            on_ready(address.url)
            while True:
                page.check()
                _receive_frame(module)
    finally:
        # The ring has ended, so the page's process ends.
        if page is not None:
            page.close()


def _receive_frame(module: lenslink.Attachment) -> None:
    """Receive a frame, or wait a moment for a module that is away."""
    end = time.monotonic() + _LOOK_S
    try:
        module.next_frame(_LOOK_S).release()
    except Timeout:
        # An exposure may take longer.
        return
    except Disconnected:
        if time.monotonic() < end:
            # It cannot come back.
            raise
