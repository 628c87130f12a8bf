"""A frame belongs to its request, and a call that fails leaves nothing behind; on virtual time."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers.attach_harness import Bay, Lens, assert_picture, install

import lenslink
from lenslink import Device, DeviceError, Disconnected, RequestHandle, Timeout, UsageError
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import HEADER, Header

URL = "bay:1"
NEAR = 3300  # a quarter of a second from infinity for the motor
Open = Callable[[], Any]


@pytest.fixture
def bay(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Bay:
    return install(monkeypatch, tmp_path)


@pytest.fixture
def lens(bay: Bay) -> Lens:
    made = Lens(bay.clock, "LENS-1")
    bay.plug(URL, made)
    return made


OPENERS: dict[str, Open] = {
    "device": lambda: Device(URL, 5.0),
    "attachment": lambda: lenslink.attach(URL, timeout=5.0),
}


@pytest.fixture(params=OPENERS)
def module(request: pytest.FixtureRequest, lens: Lens) -> Any:
    del lens
    with OPENERS[request.param]() as opened:
        yield opened


# --- frames and their requests ---------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0.001, 0.01, 0.1, 0.2, 0.24, 0.25])
def test_no_still_of_a_capture_that_timed_out_is_handed_out(module: Any, timeout: float) -> None:
    module.configure(1)
    with pytest.raises(Timeout):
        module.capture(exposure_us=1000, focus_mdpt=NEAR, timeout=timeout)
    for exposure_us in (2000, 3000, 4000):
        with module.capture(exposure_us=exposure_us) as frame:
            assert frame.exposure_us == exposure_us
            assert_picture(frame, 1)


def test_a_still_that_takes_too_long_is_ended_by_the_next_call(lens: Lens, module: Any) -> None:
    lens.ports.dead = True
    with pytest.raises(Timeout):
        module.capture(timeout=1)
    lens.ports.dead = False
    with module.capture(exposure_us=2000) as frame:
        assert frame.exposure_us == 2000


def test_a_start_that_timed_out_is_ended_by_the_next_call(
    bay: Bay, lens: Lens, module: Any
) -> None:
    wire = bay.open[0]
    send, read = wire.send, wire._hand

    def send_and_fall_silent(data: bytes, deadline: object) -> None:
        send(data, deadline)
        if Header._make(HEADER.unpack_from(data)[1:]).type == MessageType.STREAM:
            wire._hand = lambda buffers: 0  # type: ignore[method-assign]

    wire.send = send_and_fall_silent  # type: ignore[method-assign]
    with pytest.raises(Timeout):
        module.start(exposure_us=1000, timeout=0.05)
    assert lens.camera.streams[0].frames_left
    wire.send, wire._hand = send, read  # type: ignore[method-assign]
    with closing(module.stream(exposure_us=2000)) as frames:
        for _ in range(3):
            assert next(frames).exposure_us == 2000


def test_frames_of_a_stream_before_are_not_those_of_the_next(module: Any) -> None:
    for exposure_us in (1000, 2000, 3000):
        with closing(module.stream(exposure_us=exposure_us)) as frames:
            assert next(frames).exposure_us == exposure_us


@pytest.mark.parametrize("end", ["stop", "flush"])
def test_an_iterator_ends_with_its_stream(lens: Lens, end: str) -> None:
    with Device(URL, 5) as device:
        frames = device.stream()
        next(frames)
        getattr(device, end)()
        assert list(frames) == []
        with device.capture() as frame:
            assert_picture(frame, 1)
    assert lens.camera.link.nonce is None


def test_an_iterator_does_not_take_over_a_later_stream(module: Any) -> None:
    first = module.stream(exposure_us=1000)
    next(first)
    module.stop()
    second = module.stream(exposure_us=2000)
    assert next(second).exposure_us == 2000
    assert list(first) == []
    first.close()
    assert next(second).exposure_us == 2000


def test_a_stream_that_runs_is_not_replaced_by_a_device(lens: Lens) -> None:
    with Device(URL, 5) as device:
        device.start(exposure_us=1000)
        with pytest.raises(DeviceError, match="stream 0 is running"):
            next(device.stream(exposure_us=2000))
        assert device.next_frame().exposure_us == 1000
    del lens


def test_a_stop_that_failed_is_made_good_by_the_next_call(bay: Bay, lens: Lens) -> None:
    with Device(URL, 5) as device:
        device.start()
        device.next_frame()
        # The module hears nothing for a moment.
        send = bay.open[0].send
        bay.open[0].send = lambda data, deadline: None  # type: ignore[method-assign]
        with pytest.raises(Timeout):
            device._stop(0, lenslink.deadline.Deadline(0.01))
        bay.open[0].send = send  # type: ignore[method-assign]
        device.start(exposure_us=2000)
        assert device.next_frame().exposure_us == 2000
    del lens


# --- the latest frame ------------------------------------------------------------------------


def be_away(bay: Bay, seconds: float) -> None:
    """Let the module run while nobody reads what it sends."""
    end = bay.clock.seconds + seconds
    while bay.clock.seconds < end:
        bay.clock.pass_us(1000)
        bay.open[0]._run()


def test_a_caller_that_was_away_gets_a_frame_begun_after_the_call(
    bay: Bay, lens: Lens, module: Any
) -> None:
    with closing(module.stream(interval_us=40_000, latest=True)) as frames:
        for _ in range(3):
            next(frames)
        for away_s in (0.05, 0.5, 3.0):
            be_away(bay, away_s)
            called_us = lens.time.now()
            frame = next(frames)
            assert frame.timestamp_us > called_us
            assert_picture(frame, 1)
            # The next one is due: nothing is skipped.
            assert next(frames).number == frame.number + 1


def test_without_latest_a_caller_that_was_away_gets_what_was_sent_first(
    bay: Bay, lens: Lens
) -> None:
    with Device(URL, 5) as device, closing(device.stream(interval_us=40_000)) as frames:
        number = next(frames).number
        be_away(bay, 0.5)
        called_us = lens.time.now()
        frame = next(frames)
        assert frame.number == number + 1
        assert frame.timestamp_us < called_us


# --- arguments -------------------------------------------------------------------------------


TIMEOUTS = [-1, -0.001, math.nan, math.inf, 1e7, "1", None.__class__, True, [1]]
TAKE_TIMEOUT: dict[str, Callable[[Any, Any], object]] = {
    "capture": lambda module, value: module.capture(timeout=value),
    "stream": lambda module, value: module.stream(timeout=value),
    "start": lambda module, value: module.start(timeout=value),
    "next_frame": lambda module, value: module.next_frame(value),
    "configure": lambda module, value: module.configure(timeout=value),
}


@pytest.mark.parametrize("call", TAKE_TIMEOUT)
@pytest.mark.parametrize("value", TIMEOUTS, ids=repr)
def test_a_timeout_that_is_none_is_a_usage_error(module: Any, call: str, value: object) -> None:
    with pytest.raises(UsageError, match=r"^timeout=.*: it must be 0 to 1000000 s$"):
        TAKE_TIMEOUT[call](module, value)
    with module.capture(timeout=Fraction(3, 2)) as frame:
        assert_picture(frame, 1)


@pytest.mark.parametrize("value", TIMEOUTS, ids=repr)
def test_opening_checks_its_timeout(lens: Lens, value: Any) -> None:
    del lens
    with pytest.raises(UsageError, match="timeout="):
        Device(URL, value)
    with pytest.raises(UsageError, match="timeout="):
        lenslink.attach(URL, timeout=value)


WRONG: dict[str, tuple[Callable[[Device], object], str]] = {
    "stream -1": (lambda device: device.configure(-1), "stream=-1 is out of range: it must be 0"),
    "stream 65536": (lambda device: device.configure(65536), "stream=65536 is out of range"),
    "stream 1.5": (lambda device: device.stop(1.5), "stream=1.5 is not a whole number"),  # type: ignore[arg-type]
    "stream None": (lambda device: device.stop(None), "stream=None is not a whole number"),  # type: ignore[arg-type]
    "mode": (lambda device: device.capture(7), "mode=7 is no text"),  # type: ignore[arg-type]
    "mode name": (lambda device: device.capture("no"), "no mode 'no'"),
    "packing": (lambda device: device.configure(packing="no"), "no packing 'no'"),
    "settings": (lambda device: device.capture(settings=1), "settings=1 must be"),  # type: ignore[arg-type]
    "options": (lambda device: device.start(options={}), "options={} must be"),  # type: ignore[arg-type]
    "test_only": (lambda device: device.configure(test_only=1), "test_only=1 must be"),  # type: ignore[arg-type]
    "latest": (lambda device: device.next_frame(latest=1), "latest=1 must be"),  # type: ignore[arg-type]
    "request": (lambda device: device.query_outcome(5), "request=5 must be"),  # type: ignore[arg-type]
    "request.id": (
        lambda device: device.query_outcome(RequestHandle(1, -1, 0)),
        "request.id=-1 is out of range: it must be 0 to 4294967295",
    ),
    "request.nonce": (
        lambda device: device.query_outcome(RequestHandle(2**32, 1, 0)),
        "request.nonce=4294967296 is out of range",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named_and_nothing_is_sent(lens: Lens, name: str) -> None:
    call, words = WRONG[name]
    with Device(URL, 5) as device:
        before = device._session.link.next_request_id
        with pytest.raises(UsageError) as caught:
            call(device)
        assert words in str(caught.value)
        assert device._session.link.next_request_id == before
        with device.capture(exposure_us=2000) as frame:
            assert frame.exposure_us == 2000
    del lens


@pytest.mark.parametrize(
    "arguments", [{"url": 5}, {"wrap": 5}, {"url": b"sim:"}, {"url": ""}], ids=repr
)
def test_opening_checks_its_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        lenslink.open(**arguments)


def test_opening_checks_its_ring_and_leaves_nothing_open(bay: Bay, lens: Lens) -> None:
    with pytest.raises(UsageError, match=r"^ring=5 must be a lenslink\.FrameRing$"):
        Device(URL, 5, ring=5)  # type: ignore[arg-type]
    assert not bay.open
    del lens


class WrongScheme:
    scheme: Any = "first"

    def __init__(self, challenge: Any = b"?", scheme: Any = 0x8001) -> None:
        self._challenge, self.scheme = challenge, scheme

    def challenge(self) -> Any:
        return self._challenge

    def check(self, challenge: bytes, proof: bytes, manifest: object, nonce: int) -> bool:
        raise AssertionError("nothing was proved")


@pytest.mark.parametrize(
    "scheme",
    [WrongScheme("text"), WrongScheme(None), WrongScheme(b""), WrongScheme(scheme="first")],
)
def test_an_authenticator_that_makes_no_sense_is_a_usage_error(bay: Bay, scheme: Any) -> None:
    bay.plug(URL, Lens(bay.clock, "LENS-1", secure=lambda number, challenge: challenge))
    with pytest.raises(UsageError):
        Device(URL, 5, authenticate=scheme)
    assert not bay.open


@pytest.mark.parametrize("arguments", [{"serial": 5}, {"on_event": 5}, {"url": 5}], ids=repr)
def test_attaching_checks_its_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        lenslink.attach(**arguments)


@pytest.mark.parametrize("number", [np.uint16(1), np.int64(1)], ids=repr)
def test_whole_numbers_of_numpy_are_numbers(lens: Lens, number: Any) -> None:
    with Device(URL, np.float32(5)) as device:
        assert device.configure(number).stream == 1
        with device.capture(timeout=np.float64(2), exposure_us=number) as frame:
            assert frame.exposure_us == 1
    del lens


# --- threads ---------------------------------------------------------------------------------


def in_thread(call: Callable[[], object]) -> list[object]:
    """Return what *call* returns or raises in another thread."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results


def test_a_second_thread_meanwhile_is_a_usage_error(bay: Bay, module: Any) -> None:
    results: list[object] = []

    def use() -> None:
        for call in (module.capture, module.stop, module.close, lambda: module.configure(0)):
            results.extend(in_thread(call))

    # In the middle of a capture that takes a quarter of a second.
    bay.clock.after(0.1, use)
    with module.capture(focus_mdpt=NEAR) as frame:
        assert frame.focus_mdpt == NEAR
    assert [type(each) for each in results] == [UsageError] * 4
    assert "another thread" in str(results[0])


def test_threads_may_use_a_module_one_after_the_other(module: Any) -> None:
    for _ in range(3):
        [frame] = in_thread(module.capture)
        assert_picture(frame, 1)
        frames = module.stream()
        assert_picture(next(frames), 1)
        [frame] = in_thread(lambda frames=frames: next(frames))  # type: ignore[misc]
        assert_picture(frame, 1)
        frames.close()


def test_a_thread_that_failed_does_not_stay_inside(module: Any) -> None:
    assert isinstance(in_thread(lambda: module.capture(timeout=0))[0], Timeout)
    assert_picture(module.capture(), 1)


# --- repr ------------------------------------------------------------------------------------


def test_what_a_device_says_of_itself(bay: Bay, lens: Lens) -> None:
    device = Device(URL, 5)
    nonce = f"0x{device.nonce:08x}"
    assert repr(device) == f"<lenslink.Device bay:1: module LENS-1, session {nonce}>"
    device.close()
    assert repr(device) == f"<lenslink.Device bay:1: module LENS-1, session {nonce}, closed>"
    with lenslink.attach(URL) as attachment:
        assert repr(attachment) == "<lenslink.Attachment bay:1: module LENS-1, attached>"
        bay.pull(URL)
        with pytest.raises(Disconnected):
            attachment.capture(timeout=0.3)
        assert repr(attachment) == "<lenslink.Attachment bay:1: module LENS-1, away>"
    del lens
