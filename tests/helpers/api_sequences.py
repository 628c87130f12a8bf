"""Random sequences of API calls, valid and invalid, and what must always hold.

Whatever is called, interrupted or refused: a frame that is handed out is the frame of its request,
pixels and settings; after every error the device works or is closed; every error is LensLink's; and
a frame that the caller holds never changes.
"""

from __future__ import annotations

import contextlib
import copy
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import lenslink
import lenslink_protocol
from helpers.attach_harness import Bay, Lens, assert_picture
from lenslink import (
    Device,
    DeviceError,
    Disconnected,
    FrameStatus,
    RequestHandle,
    Timeout,
    UsageError,
)
from lenslink_protocol.ids import Outcome

CALLS = 10
FAR, NEAR = 0, 3300
TIMEOUT_S = 8.0

_PACKAGES = tuple(
    str(Path(package.__file__ or "").parent) for package in (lenslink, lenslink_protocol)
)
# Real interrupts come at calls. In these files a trace would put them where no call is.
_UNINTERRUPTED = ("thread_guard.py", "context.py")

INVALID: tuple[Callable[[Any], object], ...] = (
    lambda module: module.capture(exposure_us=-1),
    lambda module: module.capture(gain_milli=2**40),
    lambda module: module.capture(focus_mdpt=1.5),
    lambda module: module.capture("sideways"),
    lambda module: module.capture(timeout=-1),
    lambda module: module.capture(timeout=float("nan")),
    lambda module: module.stream(tile_bytes=0),
    lambda module: module.stream(interval_us="soon"),
    lambda module: module.start(packing="boxes"),
    lambda module: module.start(settings={"exposure_us": 1}),
    lambda module: module.set(exposure_us=0),
    lambda module: module.set(stream=2, gain_milli=2000),
    lambda module: module.configure(-1),
    lambda module: module.configure(0, options=5),
    lambda module: module.next_frame(timeout=float("inf")),
    lambda module: module.next_frame(latest="yes"),
)


class Lines:
    """Raise KeyboardInterrupt at a line of the driver, counted from now."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.has_raised = False

    @contextlib.contextmanager
    def traced(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _on_call(self, frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGES) and not name.endswith(_UNINTERRUPTED):
            return self._on_line
        return None

    def _on_line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self._left -= 1
            if self._left == 0:
                self.has_raised = True
                raise KeyboardInterrupt
        return self._on_line


class Sequence:
    """One random sequence on some module. A subclass brings the module."""

    modes: tuple[str, str]
    timeouts: tuple[float, ...]
    """Some in which a call may end, or not."""

    def __init__(self, url: str, seed: int, counts: Counter[str]) -> None:
        self.chance = random.Random(seed)
        self.counts = counts
        self.url = url
        self.is_attached = self.chance.random() < 0.4
        self.held: list[tuple[Any, Any]] = []
        self.handles: list[RequestHandle] = []
        self.preview_exposures: set[int] = set()
        self.iterator: Any = None
        self.module: Any = self.open()

    def open(self) -> Any:
        if self.is_attached:
            return lenslink.attach(self.url, timeout=TIMEOUT_S)
        return Device(self.url, TIMEOUT_S)

    def check_picture(self, frame: Any) -> None:
        """Every pixel is what the module read out."""
        raise NotImplementedError

    def interrupting(self) -> contextlib.AbstractContextManager[object]:
        """Interrupt what is done in the context, at some moment."""
        raise NotImplementedError

    def call_meanwhile(self, call: Callable[[], None]) -> None:
        """Let another thread make a call a moment from now."""
        raise NotImplementedError

    # --- the sequence -----------------------------------------------------------------------

    def actions(self) -> list[Callable[[], None]]:
        """What may be done, as often as it is likely."""
        return [
            *[self.capture] * 4,
            *[self.interrupted] * 4,
            *[self.hasty] * 3,
            *[self.stream] * 3,
            *[self.iterate] * 2,
            *[self.change] * 2,
            self.configure,
            self.flush,
            self.stop,
            self.invalid,
            self.thread,
            self.query,
        ]

    def run(self) -> None:
        for _ in range(CALLS):
            action = self.chance.choice(self.actions())
            self.counts[action.__name__] += 1
            if not self.attempt(action):
                self.check_usable()
        self.check_usable()
        for frame, pixels in self.held:
            assert np.array_equal(frame.pixels, pixels), "a frame changed while it was held"
        self.module.close()

    def attempt(self, action: Callable[[], object]) -> bool:
        """Return False if the action ended with an error of LensLink's, or an interrupt."""
        try:
            action()
        except UsageError as error:
            raise AssertionError(f"a valid call was refused: {error}") from error
        except (lenslink.LensLinkError, KeyboardInterrupt) as error:
            self.counts[type(error).__name__] += 1
            handle = getattr(error, "request", None)
            if handle is not None:
                self.handles.append(handle)
            return False
        return True

    def check_usable(self) -> None:
        """Take a still that nothing else asked for, or find the device closed and reopen it."""
        exposure = self.chance.randrange(50_000, 60_000)
        try:
            frame = self.module.capture(self.modes[0], exposure_us=exposure)
        except Disconnected:
            # A device ends with its session. An attachment only ends with an unknown outcome.
            self.counts["gone"] += 1
            with contextlib.suppress(Disconnected):
                if not self.is_attached:
                    self.module.renew()
                frame = self.module.capture(self.modes[0], exposure_us=exposure)
                self.check(frame, {exposure})
                return
            self.module.close()
            self.module = self.open()
            frame = self.module.capture(self.modes[0], exposure_us=exposure)
        self.preview_exposures.add(exposure)
        self.check(frame, {exposure})

    def check(self, frame: Any, exposures: set[int]) -> None:
        """A frame is of its request: settings and pixels. Then hold it, or release it."""
        assert frame.status is FrameStatus.COMPLETE
        if exposures:
            assert frame.exposure_us in exposures, f"{frame.exposure_us} of {exposures}"
        self.check_picture(frame)
        self.counts["frames"] += 1
        kind = self.chance.random()
        if kind < 0.3 and len(self.held) < 8:
            self.held.append((frame, frame.pixels.copy()))
        elif kind < 0.5:
            other = copy.copy(frame)
            frame.release()
            frame.release()
            self.held.append((other, other.pixels.copy()))
        else:
            frame.release()

    # --- actions ----------------------------------------------------------------------------

    def settings(self) -> dict[str, int]:
        chosen = {"exposure_us": self.chance.randrange(1, 40_000)}
        if self.chance.random() < 0.2:
            chosen["gain_milli"] = self.chance.randrange(1000, 16_000)
        if self.chance.random() < 0.2:
            chosen["focus_mdpt"] = self.chance.choice([FAR, NEAR])
        return chosen

    def mode(self) -> str | None:
        return self.chance.choice([None, *self.modes])

    def capture(self, **more: Any) -> None:
        settings = self.settings()
        self.preview_exposures.add(settings["exposure_us"])
        frame = self.module.capture(self.mode(), **settings, **more)
        for name, value in settings.items():
            assert abs(getattr(frame, name) - value) <= (2 if name == "focus_mdpt" else 0), name
        self.check(frame, {settings["exposure_us"]})

    def stream(self, **more: Any) -> None:
        """Start the preview and take some frames; stop it or leave it running."""
        settings = self.settings()
        if self.chance.random() < 0.8:
            self.stop()
        self.preview_exposures.add(settings["exposure_us"])
        self.module.start(self.mode(), interval_us=self.interval(), **settings, **more)
        self.preview_exposures = {settings["exposure_us"]}
        for _ in range(self.chance.randrange(4)):
            self.take()
        if self.chance.random() < 0.6:
            self.stop()

    def take(self) -> None:
        latest = self.chance.random() < 0.3
        frame = self.module.next_frame(latest=latest)
        # Settings are the module's: those of a still apply to the preview frames after it.
        self.check(frame, self.preview_exposures)

    def iterate(self) -> None:
        """Go on with an iterator, or make one and maybe leave it open."""
        if self.iterator is None or self.chance.random() < 0.3:
            self.stop()
            settings = self.settings()
            self.preview_exposures.add(settings["exposure_us"])
            self.iterator = self.module.stream(interval_us=self.interval(), **settings)
        for frame in self.iterator:
            self.check(frame, self.preview_exposures)
            if self.chance.random() < 0.4:
                break
        if self.chance.random() < 0.5:
            self.iterator.close()
            self.iterator = None

    def interval(self) -> int | None:
        return self.chance.choice([None, 5_000, 40_000])

    def change(self) -> None:
        """Change the settings of the preview, whether it runs or not."""
        settings = self.settings()
        self.preview_exposures.add(settings["exposure_us"])
        self.module.set(**settings)

    def configure(self) -> None:
        options = {"tile_bytes": self.chance.choice([None, 1, 64, 500])}
        self.module.configure(self.chance.choice([0, 1]), self.mode(), **options)

    def flush(self) -> None:
        (self.module.wait() if self.is_attached else self.module).flush()

    def stop(self) -> None:
        self.module.stop()

    def invalid(self) -> None:
        call = self.chance.choice(INVALID)
        try:
            call(self.module)
        except UsageError:
            return
        raise AssertionError("an invalid call was accepted")

    def hasty(self) -> None:
        """A call whose timeout may pass at any moment."""
        timeout = self.chance.choice(self.timeouts)
        self.chance.choice([self.capture, self.stream])(timeout=timeout)

    def interrupted(self) -> None:
        """A call that is interrupted at any moment."""
        action = self.chance.choice(
            [
                *[self.capture] * 2,
                self.stream,
                self.iterate,
                self.change,
                self.flush,
                self.configure,
            ]
        )
        with self.interrupting():
            action()

    def thread(self) -> None:
        """Another thread calls in the middle of a capture."""
        results: list[object] = []

        def call() -> None:
            try:
                results.append(self.module.capture())
            except BaseException as error:
                results.append(error)

        self.call_meanwhile(call)
        self.capture()
        assert [type(each) for each in results] == [UsageError], results

    def query(self) -> None:
        """Ask for the outcome of a request that failed, or of none."""
        device = self.module.wait() if self.is_attached else self.module
        handle = RequestHandle(device.nonce, self.chance.randrange(1000, 2000), 0)
        if self.handles:
            handle = self.chance.choice(self.handles)
        assert isinstance(device.query_outcome(handle), Outcome)


class VirtualSequence(Sequence):
    """A sequence on a virtual module of its own, on virtual time."""

    modes = ("mode1", "mode2")
    timeouts = (0, 0.0001, 0.0005, 0.002, 0.01, 0.1, 0.26)

    def __init__(self, bay: Bay, seed: int, counts: Counter[str]) -> None:
        self.bay = bay
        self.lens = Lens(bay.clock, f"LENS-{seed}")
        bay.plug(f"bay:{seed}", self.lens)
        super().__init__(f"bay:{seed}", seed, counts)

    def check_picture(self, frame: Any) -> None:
        assert_picture(frame, self.lens.boot)

    def interrupting(self) -> contextlib.AbstractContextManager[object]:
        return Lines(int(10 ** self.chance.uniform(1, 3.7))).traced()

    def call_meanwhile(self, call: Callable[[], None]) -> None:
        def use() -> None:
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()

        self.bay.clock.after(0.0003, use)

    def actions(self) -> list[Callable[[], None]]:
        return [*super().actions(), self.contacts, self.lose_bytes]

    def run(self) -> None:
        super().run()
        assert not [wire for wire in self.bay.open if wire.lens is self.lens]

    def contacts(self) -> None:
        """The contacts open for a moment, somewhen soon."""
        self.lens.interrupt(self.chance.uniform(0, 0.02), self.chance.uniform(0.001, 0.1))
        self.capture()

    def lose_bytes(self) -> None:
        """An interrupt after bytes were taken from the transport, and before they were used."""
        wires = [wire for wire in self.bay.open if wire.lens is self.lens]
        if not wires:
            return
        wire, read = wires[0], wires[0].receive_into
        left = self.chance.randrange(1, 12)

        def receive_into(buffers: Any, seconds: float) -> int:
            nonlocal left
            count = read(buffers, seconds)
            if count:
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return count

        wire.receive_into = receive_into
        try:
            self.chance.choice([self.capture, self.stream])()
        finally:
            del wire.receive_into


def check_kinds(counts: Counter[str]) -> None:
    """Each kind of trouble has happened: else the sequences prove less than they say."""
    for kind in (Timeout, DeviceError, Disconnected, KeyboardInterrupt):
        assert counts[kind.__name__] > 0, kind
    assert counts["invalid"] > 0
    assert counts["thread"] > 0
