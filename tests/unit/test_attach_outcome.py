"""What became of a request: done, not done or unknown, and never done twice."""

from __future__ import annotations

import pytest
from helpers.attach_harness import Lens, assert_picture, install

import lenslink
from lensfw import contacts, wire
from lenslink import DeviceError, Disconnected, RequestHandle, Timeout
from lenslink.device import Device
from lenslink_protocol.ids import MessageType, Outcome

URL = "bay:1"
FAR, NEAR = 0, 3300  # a quarter of a second apart for the motor


@pytest.fixture
def bay(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path)


@pytest.fixture
def lens(bay):
    made = Lens(bay.clock, "LENS-1")
    bay.plug(URL, made)
    return made


def last(device: Device) -> RequestHandle:
    assert device._session.last_request is not None
    return device._session.last_request


# --- the driver's question -------------------------------------------------------------------


def test_requests_of_the_session(lens):
    with Device(URL, 5) as device:
        device.configure()
        done = last(device)
        assert device.query_outcome(done) is Outcome.DONE
        with pytest.raises(DeviceError):
            device.configure(tile_bytes=64, stream=7)
        assert device.query_outcome(last(device)) is Outcome.NOT_DONE, "refused"
        assert device.query_outcome(done) is Outcome.DONE, "asking changes nothing"
        never = RequestHandle(device.nonce, last(device).id + 5, MessageType.CAPTURE)
        assert device.query_outcome(never) is Outcome.NOT_DONE
        for _ in range(5):
            device.configure()
        assert device.query_outcome(done) is Outcome.UNKNOWN, "too long ago"
        assert (
            device.query_outcome(RequestHandle(0x0BADCAFE, 1, MessageType.CAPTURE))
            is Outcome.UNKNOWN
        )


def test_requests_of_earlier_sessions(bay, lens):
    request_handles = []
    for _ in range(4):
        with Device(URL, 5) as device:
            assert [device.query_outcome(request_handle) for request_handle in request_handles] == [
                *[Outcome.UNKNOWN] * (len(request_handles) - 2),
                *[Outcome.DONE] * min(2, len(request_handles)),
            ]
            device.configure()
            request_handles.append(last(device))
    lens.start()
    with Device(URL, 5) as device:
        assert {device.query_outcome(request_handle) for request_handle in request_handles} == {
            Outcome.UNKNOWN
        }


def test_a_capture_that_takes_too_long(lens):
    with Device(URL, 5) as device:
        lens.ports.dead = True
        with pytest.raises(Timeout) as caught:
            device.capture(timeout=1)
        assert caught.value.request.type == MessageType.CAPTURE
        assert device.query_outcome(caught.value.request) is Outcome.DONE, (
            "it was accepted, and goes on"
        )


def test_a_module_that_knows_no_queries(lens, monkeypatch):
    monkeypatch.setitem(wire.FORMATS, wire.T_QUERY, None)
    link = lens.camera.link

    def refuse(number, nonce, request):
        link._send_error(number, wire.ERR_UNKNOWN_REQUEST, "type 0x18")

    with Device(URL, 5) as device:
        monkeypatch.undo()
        monkeypatch.setattr(link, "_on_query", refuse)
        assert device.query_outcome(RequestHandle(device.nonce, 1, 1)) is Outcome.UNKNOWN


# --- a capture across a detachment -----------------------------------------------------------


def test_one_that_had_not_begun_is_made_when_the_module_is_back(lens):
    """Accepted, but the lens was still on its way to its focus."""
    with lenslink.attach(URL) as module:
        lens.interrupt(0.1, 0.05)
        with module.capture("mode2", focus_mdpt=NEAR) as frame:
            assert_picture(frame, 1)
            assert frame.focus_mdpt == NEAR
            assert frame.nonce == module.wait().nonce
    assert module.attachments == 2
    assert lens.exposures == 1, "once"


def test_one_that_had_begun_is_not_made_again(lens):
    with lenslink.attach(URL) as module:
        lens.ports.dead = True
        lens.interrupt(0.1, 0.05)
        with pytest.raises(Disconnected, match="was done, but its frame is lost") as caught:
            module.capture()
        assert caught.value.outcome is Outcome.DONE
        assert lens.exposures == 1
        lens.ports.dead = False
        with module.capture() as frame:
            assert frame.number > 0


def test_one_of_which_the_module_has_forgotten_all(bay, lens):
    with lenslink.attach(URL) as module:
        lens.ports.dead = True

        def replug():
            bay.pull(URL)
            lens.start()
            bay.plug(URL, lens)

        bay.clock.after(0.2, replug)
        with pytest.raises(Disconnected, match="may have been done") as caught:
            module.capture()
        assert caught.value.outcome is Outcome.UNKNOWN
        assert module.attachments == 2
        assert lens.exposures == 0, "not by the new boot"


def test_one_whose_module_does_not_return(bay, lens):
    with lenslink.attach(URL) as module:
        lens.ports.dead = True
        bay.clock.after(0.2, lambda: bay.pull(URL))
        began = bay.clock.seconds
        with pytest.raises(Disconnected) as caught:
            module.capture(timeout=3)
        assert caught.value.outcome is Outcome.UNKNOWN
        assert bay.clock.seconds - began == pytest.approx(3, abs=0.01)


def test_one_whose_request_never_came(bay, lens):
    """The contacts are open when it is sent."""
    with lenslink.attach(URL) as module:
        module.configure(1)
        lens.interrupt(0, 0.1)
        for moment in (0.001, 0.03):
            bay.clock.after(moment, lens.camera.step)
        bay.clock.pass_us(50_000)
        with module.capture() as frame:
            assert_picture(frame, 1)
        assert module.attachments == 2
    assert lens.exposures == 1


@pytest.mark.parametrize("at_ms", range(0, 320, 7))
def test_at_most_once_whenever_the_contacts_open(lens, at_ms):
    """The frame of a capture, or an exception that says why there is none; never two exposures."""
    with lenslink.attach(URL) as module:
        lens.interrupt(at_ms / 1000, 0.03, contacts.DETECT_PIN)
        try:
            with module.capture(focus_mdpt=NEAR) as frame:
                assert_picture(frame, 1)
                assert frame.focus_mdpt == NEAR
        except Disconnected as error:
            assert error.outcome is Outcome.DONE
    assert lens.exposures == 1
