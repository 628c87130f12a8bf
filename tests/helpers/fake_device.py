"""A module that exists only as far as the command line sees it."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from helpers.made_frames import make_frame
from lenslink import FrameStatus, Identity
from lenslink.module_calibration import ModuleCalibration
from lenslink.stats import Stats

HEIGHT, WIDTH = 64, 96


def ramp(number):
    """A frame whose pixels tell it from the others."""
    pixels = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) + number) % 4096
    return make_frame(pixels.reshape(HEIGHT, WIDTH), number=number)


def torn(number):
    """The same with half of it missing."""
    frame = ramp(number)
    frame.status, frame.received_fraction = FrameStatus.INCOMPLETE, 0.5
    frame.pixels[HEIGHT // 2 :] = 0
    return frame


@dataclass
class FakeDevice:
    """Hands out ``frames``; one that is an exception is raised."""

    frames: list = field(default_factory=list)
    note: str | None = None
    discards: dict = field(default_factory=lambda: {"payload_crc": 0, "noise": 0})
    url: str = "fake:"
    identity = Identity("LensLink", "Fake", "FAKE-1", "test")
    calibration = ModuleCalibration(lambda kind: None)
    opened: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    stopped: bool = False
    closed: bool = False

    def __post_init__(self):
        self.log_lines = ["1.500 s: lens seated \x1b[31m\n"]

    def open(self, url=None, *, timeout=None, ring=None):
        """Stands in for lenslink.open()."""
        self.opened.append((url, timeout))
        return self

    def __enter__(self):
        lines, self.log_lines = self.log_lines, []
        for line in lines:
            logging.getLogger("lenslink.module").info(line)
        return self

    def __exit__(self, *_):
        self.closed = True

    @property
    def stats(self):
        bytes_ = 2 * HEIGHT * WIDTH * len(self.frames)
        return Stats(bytes_, len(self.frames), 0, 0, self.discards, 12.5)

    @property
    def session_info(self):
        return SimpleNamespace()

    def capture(self, *, settings, options):
        self.asked.append((settings, options))
        return self._next(self.frames[0])

    def stream(self, *, settings, options):
        self.asked.append((settings, options))
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, self, "stopped", True)
            for frame in self.frames:
                yield self._next(frame)

    @staticmethod
    def _next(frame):
        if isinstance(frame, BaseException):
            raise frame
        return frame
