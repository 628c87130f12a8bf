"""A preview whose first frames train the link: the batches of :mod:`.training`, on a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lenslink_protocol.messages import Accepted, Capture, Configured, StartStream

from .deadline import Deadline
from .errors import DeviceError, Timeout
from .reassembly import Assembly
from .session import Session
from .training import Memory, Training

PREVIEW: Final = 0
Settings = tuple[int, int, int]
"""Exposure, gain and focus, as a request has them."""
_AS_THEY_ARE: Settings = (0, 0, -1)

Configure = Callable[[int, Deadline], Configured]
"""Configures the preview with tiles of so many bytes at most."""


class Trainer:
    """A preview of *session* that begins in batches. *key* names the link in *memory*.

    *configure* and *stop* are the device's, for this preview.
    """

    def __init__(
        self,
        session: Session,
        configure: Configure,
        stop: Callable[[], None],
        memory: Memory,
        key: str,
    ) -> None:
        self._session = session
        self._configure = configure
        self._stop = stop
        self._memory = memory
        self._key = key
        self._training: Training | None = None
        self._last = 0

    @property
    def busy(self) -> bool:
        """Whether frames come in batches still."""
        return self._training is not None

    def start(self, settings: Settings, deadline: Deadline) -> None:
        """Begin: a link that is known has what pays there, another is trained."""
        known = self._memory.tile_bytes(self._key)
        if known is None:
            self._training = Training()
        answer = self._configure(known or 0, deadline)
        if self._training is not None:
            self._training.began(answer.tile_bytes)
        self._go(settings, deadline)

    def frame(self, deadline: Deadline) -> Assembly:
        """The next frame, out of this batch or the next."""
        training = self._training
        if training is not None and training.over:
            self._next(training, deadline)
            training = self._training
        if training is None:
            return self._session.frame(PREVIEW, deadline)
        left = deadline.remaining()
        patience = Deadline(min(training.patience_s, left), deadline.what)
        try:
            assembly = self._session.frame(PREVIEW, patience)
        except Timeout:
            # One that was lost without a trace would be waited for in vain: its batch has ended.
            deadline.check()
            self._give_up(deadline)
            return self._session.frame(PREVIEW, deadline)
        last = assembly.number >= self._last
        training.frame(self._session.now(), assembly.complete, last)
        return assembly

    def _next(self, training: Training, deadline: Deadline) -> None:
        try:
            while True:
                size = training.next()
                answer = self._configure(size, deadline)
                if training.chosen is not None:
                    self._memory.keep(self._key, training.chosen)
                    self._training = None
                    break
                if training.began(answer.tile_bytes):
                    break
            self._go(_AS_THEY_ARE, deadline)
        except DeviceError:
            # The batch goes on after all: frames of another stream have had its numbers.
            self._give_up(deadline)

    def _give_up(self, deadline: Deadline) -> None:
        """All is as the module chooses; the next preview tries again."""
        self._training = None
        self._stop()
        self._configure(0, deadline)
        self._go(_AS_THEY_ARE, deadline)

    def _go(self, settings: Settings, deadline: Deadline) -> None:
        if self._training is None:
            self._session.call(StartStream(PREVIEW, 0, *settings), Accepted, deadline)
            return
        count = self._training.count
        accepted = self._session.call(Capture(PREVIEW, count, *settings), Accepted, deadline)
        self._last = accepted.first_frame + count - 1
