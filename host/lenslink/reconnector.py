"""Find one module again and open sessions with it, wherever it is plugged in.

:class:`lenslink.Attachment` asks a :class:`Reconnector` for an open device before each request, and
tells the reconnector when a request fails because the module went away.
"""

from __future__ import annotations

import enum
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .authentication import Authenticator
from .deadline import Deadline
from .device import Device
from .errors import (
    DeviceBusy,
    Disconnected,
    LensLinkError,
    NotFound,
    NotGenuine,
    ProtocolError,
    Timeout,
    VersionMismatch,
)
from .transports import choose_url, list_devices

if TYPE_CHECKING:
    from .control.control_service import ControlService
    from .frame_ring.writer import FrameRing

_log = logging.getLogger(__name__)

_POLL_S = 0.1
# A connection on which no module answers is given up after this time: the module may be elsewhere.
_PATIENCE_S = 10.0

# A module that is being taken off or put on may cause each of these: try again.
_PASSING_ERRORS = (NotFound, DeviceBusy, Disconnected, Timeout, ProtocolError)

SetUp = Callable[[Device, Deadline], None]
"""Prepare a device whose session has just been opened."""


class NotReattached(Disconnected):
    """The module was attached before, and is not back in time."""


class State(enum.Enum):
    """How far the way to the module is open."""

    AWAY = "away"
    """There is no connection."""
    CONNECTED = "connected"
    """There is a connection, but no session: the module does not answer yet, or ended it."""
    ATTACHED = "attached"
    """A session is open and the module is set up."""


class Detachment(NamedTuple):
    """Why and when the module went away."""

    reason: str
    time: float
    """On the monotonic clock, in seconds."""


class Reconnector:
    """The way to one module, across its detachments.

    =========  ==================================================  =========
    State      Event                                               Next
    =========  ==================================================  =========
    AWAY       a connection to a candidate URL opens               CONNECTED
    CONNECTED  a session opens and the set-up succeeds             ATTACHED
    CONNECTED  the connection ends, or nobody answers for 10 s     AWAY
    ATTACHED   a request raises Disconnected: :meth:`on_lost`      CONNECTED
    any        :meth:`close`                                       AWAY
    =========  ==================================================  =========

    A connection is kept while it waits for its module, also from one call to the next: a simulated
    module is started by being connected to.
    """

    def __init__(
        self,
        url: str | None,
        serial: str | None,
        timeout: float,
        ring: FrameRing | None,
        authenticator: Authenticator | None,
    ) -> None:
        self.url = url
        """Where the module is, or was last."""
        self.serial = serial
        """The module's serial number; None until it is known."""
        self.attachment_count = 0
        """How often a session was opened and set up."""
        self.detachment = Detachment("", 0.0)
        """The last time that the module went away."""
        self.service: ControlService | None = None
        """What serves other processes; None if nobody asked for that."""
        self._timeout = timeout
        self._ring = ring
        self._authenticator = authenticator
        self._state = State.AWAY
        self._device: Device | None = None
        self._candidate_index = -1
        self._waiting_since = 0.0

    @property
    def state(self) -> State:
        """How far the way to the module is open."""
        return self._state

    @property
    def device(self) -> Device | None:
        """The attached module's device; None in every other state."""
        return self._device if self._state is State.ATTACHED else None

    def attach(self, deadline: Deadline, set_up: SetUp) -> Device:
        """Wait until the module is attached, and return its device.

        Looks for the module every 100 ms. Calls *set_up* in each new session.

        Raises:
            NotReattached: The module was attached before, and is not back by the deadline.
            VersionMismatch: The module speaks another major version of the protocol.
            NotGenuine: The module did not prove that it is genuine.
            LensLinkError: What kept the first attachment from succeeding.
        """
        if self._device is not None and self._state is State.ATTACHED:
            return self._device
        reason: LensLinkError | None = None
        while True:
            try:
                device = self._open_session(deadline)
                set_up(device, deadline)
            except (NotReattached, VersionMismatch, NotGenuine):
                raise
            except _PASSING_ERRORS as error:
                _log.debug("module %s is not attached yet: %s", self.serial, error)
                # A timeout only says that the deadline cut the last attempt short. An earlier
                # error says more.
                if reason is None or not isinstance(error, Timeout):
                    reason = error
            else:
                self._enter(State.ATTACHED)
                self.attachment_count += 1
                return device
            self._pause(min(_POLL_S, deadline.remaining()))
            if not deadline.remaining():
                raise self._explain(deadline, reason) from reason

    def on_lost(self, error: Disconnected) -> bool:
        """Leave the state ATTACHED because a request raised *error*. False in other states."""
        if self._state is not State.ATTACHED:
            return False
        self._enter(State.CONNECTED)
        now = self._waiting_since = time.monotonic()
        self.detachment = Detachment(str(error), now)
        return True

    def close(self) -> None:
        """Close the connection. Idempotent; never raises."""
        self._enter(State.AWAY)
        if self._device is not None:
            self._device.close()
            self._device = None

    def _pause(self, seconds: float) -> None:
        """Wait, and answer other processes meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.service is None:
                time.sleep(left)
            else:
                self.service.poll()
                time.sleep(min(left, self.service.wait_s))

    def _enter(self, state: State) -> None:
        if state is not self._state:
            _log.debug("module %s: %s -> %s", self.serial, self._state.value, state.value)
            self._state = state

    def _open_session(self, deadline: Deadline) -> Device:
        """Return a device with a new session; connect first if there is no connection.

        If the deadline passes first, a connection that still waits for its module is kept.
        """
        if self._device is None:
            self._device = self._connect(deadline)
            self._enter(State.CONNECTED)
            self._waiting_since = time.monotonic()
        device = self._device
        left = deadline.remaining()
        patience = max(0.0, self._waiting_since + _PATIENCE_S - time.monotonic())
        if device.private:
            # The module cannot be anywhere else.
            patience = math.inf
        try:
            device.renew(min(left, patience))
            self._check_serial(device)
        except NotGenuine:
            self.close()
            # A module that is not the awaited one does not have to be genuine either.
            self._check_serial(device)
            raise
        except _PASSING_ERRORS as error:
            # If the module ended the session itself, its contacts opened again. The module will
            # answer the next Hello.
            is_over = not isinstance(error, Timeout) and not device.is_renewable
            if is_over or patience <= left:
                self.close()
            if is_over and device.private and self.attachment_count:
                raise NotReattached(f"{self.detachment.reason}; it cannot come back") from None
            raise
        self.url, self.serial = device.url, device.identity.serial
        return device

    def _check_serial(self, device: Device) -> None:
        serial = device.identity.serial
        if self.serial not in (None, serial):
            raise NotFound(f"{device.url} is module {serial}, not {self.serial}") from None

    def _connect(self, deadline: Deadline) -> Device:
        """Return a connection to where the module may be. Each call begins at another URL."""
        reason: LensLinkError = NotFound(f"module {self.serial} is not there")
        urls = self._find_candidates()
        for _ in urls:
            self._candidate_index += 1
            url = urls[self._candidate_index % len(urls)]
            opening = Deadline(min(deadline.remaining(), _PATIENCE_S), f"opening {url}")
            try:
                device = Device(
                    url,
                    self._timeout,
                    opening=opening,
                    with_session=False,
                    ring=self._ring,
                    authenticate=self._authenticator,
                )
            except _PASSING_ERRORS as error:
                _log.debug("no connection to %s: %s", url, error)
                reason = error
            else:
                if self.service is not None:
                    device.use_service(self.service)
                return device
        raise reason

    def _find_candidates(self) -> list[str]:
        """Return the URLs where the module may be."""
        if self.serial is None:
            return [choose_url(self.url)]
        devices = list_devices()
        urls = [device.url for device in devices if device.serial == self.serial]
        # The last URL is tried too if no transport lists it, or if its serial number is not known.
        excluded = {device.url for device in devices if device.serial is not None}
        if self.url is not None and self.url not in excluded:
            urls.append(self.url)
        return urls

    def _explain(self, deadline: Deadline, reason: LensLinkError) -> LensLinkError:
        """Return the error for a module that is not attached by the deadline."""
        if not self.attachment_count:
            return reason
        return NotReattached(
            f"module {self.serial} went away ({self.detachment.reason}) and was not back within "
            f"{deadline.seconds:g} s: {reason}"
        )
