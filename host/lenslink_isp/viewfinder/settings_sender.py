"""Settings on their way to the module: the newest of each, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import methodcaller
from typing import Final

from lenslink import ModuleClient
from lenslink.errors import DeviceError, Disconnected, LensLinkError, Timeout, UsageError
from lenslink.settings import Settings

from .worker import Worker

_NUMBERS: Final = 1 << 32


class SettingsSender:
    """Sends the settings of the preview. A setting that is asked for twice is sent once."""

    def __init__(self) -> None:
        self._asked = Settings()
        """Settings that are not sent yet."""
        self._has_asked = asyncio.Event()
        self._is_sending = False
        self._first_frame: tuple[int, int] | None = None
        """Session and number of the first frame that has the last settings."""
        self._nonce = 0
        """The session of the last frame."""

    def ask(self, settings: Settings) -> None:
        """Send *settings* as soon as the module has answered the last ones."""
        self._asked = settings.filled_from(self._asked)
        self._has_asked.set()

    @property
    def is_idle(self) -> bool:
        """True if the module has answered all that was asked for."""
        return not self._is_sending and not self._has_asked.is_set()

    async def run(
        self, worker: Worker[ModuleClient], on_error: Callable[[LensLinkError], None]
    ) -> None:
        """Send what is asked for, for ever. *on_error* is told what the module refuses."""
        while True:
            await self._has_asked.wait()
            self._has_asked.clear()
            asked, self._asked = self._asked, Settings()
            self._is_sending = True
            try:
                first: int = await worker.call(methodcaller("set", settings=asked))
            except (UsageError, DeviceError, Disconnected, Timeout) as error:
                # A module that left may come back. If the owner has ended, other tasks know.
                on_error(error)
            else:
                self._first_frame = self._nonce, first
            finally:
                self._is_sending = False

    def has_all(self, nonce: int, number: int) -> bool:
        """Return True if frame *number* of the session *nonce* has all settings asked for."""
        self._nonce = nonce
        if not self.is_idle:
            return False
        if self._first_frame is None or self._first_frame[0] != nonce:
            return True
        # Frame numbers wrap.
        return (number - self._first_frame[1]) % _NUMBERS < _NUMBERS // 2
