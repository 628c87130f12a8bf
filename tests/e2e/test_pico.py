"""The firmware on an emulated Pico: what a bus and a chip can do to it, and that it recovers.

It needs Node, rp2040js (``lenslink pico setup``) and a MicroPython image; ``lenslink pico status``
says what is missing. Emulated time is said to be that; what bounds a test is the world's.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import usb.core
from helpers import bench_scale, slowdown
from helpers.nightly_scale import NIGHTLY, choose, say

import lenslink
from lenslink import Device, FrameStatus
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError
from lenslink_hil.benches.pico import BoardClocked, PicoModule
from lenslink_hil.conformance.live import run_modules
from lenslink_hil.conformance.verdicts import NOT_CLAIMED, PASSED, list_module_cases
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.usbip.backend import UsbIpBackend
from lenslink_hil.usbip.tty import Terminal

SEED = 5
SIZE = {"width": "128", "height": "96", "seed": str(SEED)}
FIRST_TILE_US = 500_000
PATIENCE_S = slowdown.patience(60)
TICKS_WRAP_US = 1 << 30
TIMER_WRAP_US = 1 << 32

Make = Callable[..., PicoModule]


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    if missing := bench_scale.no_pico():
        pytest.skip(missing)


@pytest.fixture
def pico() -> Iterator[Make]:
    """``pico(lanes="2")`` powers an emulated Pico, whose server hosts can open at ``url()``."""
    with contextlib.ExitStack() as stack:

        def make(cdc: bool = False, start_us: int = 0, **options: str) -> PicoModule:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            module = PicoModule(
                SIZE | options, "P1", patience(), cdc=cdc, start_us=start_us, listener=listener
            )
            stack.callback(module.close)
            return module

        yield make


def patience() -> Deadline:
    return Deadline(PATIENCE_S, "an emulated Pico")


def opened(module: PicoModule) -> Device:
    host, port = module.board.address
    return lenslink.open(f"usbip:{host}:{port}", timeout=PATIENCE_S, wrap=by_clock_of(module))


def by_clock_of(module: PicoModule) -> Callable[[Any], Any]:
    """The link's timers run by the emulated clock, however slow the emulator is."""
    return lambda transport: BoardClocked(transport, module)


def check_frames(device: Device, count: int = 2, during: Callable[[], Any] = lambda: None) -> None:
    """Frames of a stream, every pixel; *during* is called after the first."""
    with closing(device.stream()) as frames:
        for number, frame in enumerate(frames):
            with frame:
                check_frame(frame)
            if number == 0:
                during()
            if number == count:
                return


def check_frame(frame: lenslink.Frame) -> None:
    assert frame.status is FrameStatus.COMPLETE, (frame.number, frame.uncovered)
    check_pixels(frame)


def check_pixels(frame: lenslink.Frame) -> None:
    wanted = make_pattern(
        "prbs",
        frame.width,
        frame.height,
        bits=12,
        cfa=frame.cfa,
        seed=SEED,
        frame_number=frame.number,
    )
    np.testing.assert_array_equal(frame.pixels, np.where(frame.mask, wanted, 0))


def check_anew(module: PicoModule) -> None:
    """A new session is as good as the first."""
    deadline = patience()
    while True:
        # The emulator knows that the board is back a moment before the server does.
        try:
            device = opened(module)
        except lenslink.NotFound:
            deadline.check()
        else:
            break
    with device:
        check_frames(device)


def test_first_tile_after_the_pull_up(pico: Make) -> None:
    module = pico(height="64")
    with opened(module) as device, device.capture() as frame:
        passed = module.board.request_report()["emulated_us"] - module.board.pullup_us
        check_frame(frame)
    # The host's own time counts too, at the world's pace.
    assert passed < FIRST_TILE_US


@pytest.mark.parametrize("bus", ["ideal", "strict"])
@pytest.mark.parametrize("lanes", ["1", "4"])
def test_every_pixel(pico: Make, bus: str, lanes: str) -> None:
    with opened(pico(bus=bus, lanes=lanes)) as device:
        check_frames(device, 4)
        with device.capture(packing="lsb") as frame:
            check_frame(frame)


def test_opened_again_and_again(pico: Make) -> None:
    module = pico()
    for _ in range(choose(10, 100)):
        with opened(module) as device, device.capture() as frame:
            check_frame(frame)


def test_a_bus_reset_in_mid_transfer(pico: Make) -> None:
    module = pico()
    with pytest.raises(LensLinkError), opened(module) as device:
        check_frames(device, 100, during=lambda: module.board.send_command(reset=True))
    check_anew(module)


def test_a_reset_of_the_chip(pico: Make) -> None:
    module = pico()
    with pytest.raises(lenslink.Disconnected), opened(module) as device:
        check_frames(device, 100, during=lambda: module.board.send_command(restart=True))
    module.board.wait_for_event("attached", patience())
    check_anew(module)


def test_a_soft_reset(pico: Make) -> None:
    module = pico()
    device = usb.core.find(backend=UsbIpBackend(module.board.address, PATIENCE_S))
    device.set_configuration()
    with closing(Terminal(device)) as terminal, Path(terminal.path).open("wb", 0) as port:
        port.write(b"\x03")  # out of the main loop, to the REPL
        port.write(b"\x04")
        module.board.wait_for_event("attached", patience())
    check_anew(module)


@pytest.mark.parametrize("milliseconds", [2, 50])
def test_suspended_and_resumed(pico: Make, milliseconds: int) -> None:
    module = pico()

    def nap() -> None:
        module.board.send_command(suspend=True)
        until(module, milliseconds * 1000)
        module.board.send_command(suspend=False)

    with opened(module) as device:
        check_frames(device, 3, during=nap)


def until(module: PicoModule, emulated_us: int) -> None:
    """Wait for so much of emulated time to pass."""
    deadline = patience()
    end = module.board.request_report()["emulated_us"] + emulated_us
    while module.board.request_report()["emulated_us"] < end:
        deadline.check()


@pytest.mark.parametrize("wrap_us", [TICKS_WRAP_US, TIMER_WRAP_US])
def test_the_clock_wraps(pico: Make, wrap_us: int) -> None:
    module = pico(start_us=wrap_us - 1_000_000)
    with opened(module) as device:
        while module.board.request_report()["emulated_us"] < wrap_us + 200_000:
            check_frames(device, 1)


def test_a_lane_that_is_halted(pico: Make) -> None:
    module = pico(lanes="2")
    with opened(module) as device:
        transport: Any = device._session._transport
        lane = transport._lanes[1].address
        halt = (0x02, 3, 0, lane)
        with closing(device.stream()) as frames:
            for number, frame in enumerate(frames):
                with frame:
                    # What was on its way there may be overwritten on the board before it is asked
                    # for: then the frame says so, and what it has is right.
                    check_pixels(frame)
                if number == 0:
                    transport._device.ctrl_transfer(*halt)
                if number == 3:
                    break
    check_anew(module)


def test_an_endpoint_that_is_halted_under_a_transfer(pico: Make) -> None:
    """TinyUSB does not give it back, cleared or not: the board makes the host reset the bus."""
    module = pico()

    def halt() -> None:
        transport: Any = device._session._transport
        transport._device.ctrl_transfer(0x02, 3, 0, transport._out)
        transport._device.clear_halt(transport._out)

    with pytest.raises(lenslink.Disconnected), opened(module) as device:
        check_frames(device, 1000, during=halt)
    module.board.wait_for_event("attached", patience())
    check_anew(module)


def test_a_controller_that_locks_up(pico: Make) -> None:
    module = pico()
    with pytest.raises(LensLinkError), opened(module) as device:
        check_frames(device, 100, during=lambda: module.board.send_command(lock=True))
    module.board.wait_for_event("attached", patience())
    check_anew(module)


@pytest.mark.parametrize("quiet", ["idle", "suspended", "host that does not read"])
def test_quiet_is_not_taken_for_locked_up(pico: Make, quiet: str) -> None:
    module = pico()
    if quiet == "suspended":
        module.board.send_command(suspend=True)
    with contextlib.ExitStack() as stack:
        if quiet.startswith("host"):
            device = stack.enter_context(opened(module))
            frames = stack.enter_context(closing(device.stream()))
            next(frames).release()
        until(module, 3_000_000)
        assert module.board.list_events() == []
    if quiet == "suspended":
        module.board.send_command(suspend=False)
    check_anew(module)


@contextlib.contextmanager
def terminal_of(module: PicoModule) -> Iterator[Terminal]:
    device = usb.core.find(backend=UsbIpBackend(module.board.address, PATIENCE_S))
    device.set_configuration()
    with closing(Terminal(device)) as terminal:
        yield terminal


def over(terminal: Terminal, module: PicoModule) -> Device:
    url = f"serial:{terminal.path}"
    return lenslink.open(url, timeout=PATIENCE_S, wrap=by_clock_of(module))


def test_over_the_serial_port_alone(pico: Make) -> None:
    module = pico(cdc=True)
    with terminal_of(module) as terminal:
        for _ in range(2):
            with over(terminal, module) as lens:
                check_frames(lens)
                assert lens.stats.lost_packets == 0


def test_the_serial_port_conforms(pico: Make, capsys: pytest.CaptureFixture[str]) -> None:
    areas = ("M-",) if NIGHTLY else ("M-FRAME", "M-CREDIT")
    cases = [case for case in list_module_cases() if case.clauses[0].startswith(areas)]
    module = pico(cdc=True)
    with terminal_of(module) as terminal:
        url = f"serial:{terminal.path}"
        found = list(run_modules(url, cases, None, PATIENCE_S, by_clock_of(module)))
    assert not [each for each in found if each.verdict not in (PASSED, NOT_CLAIMED)]
    passed = sum(each.verdict == PASSED for each in found)
    assert passed >= len(cases) // 2
    say(capsys, f"{passed} cases of the kit passed over an emulated Pico's serial port")


def test_a_serial_port_that_is_closed_in_the_middle_of_a_frame(pico: Make) -> None:
    module = pico(cdc=True)
    with terminal_of(module) as terminal:
        for _ in range(3):
            device = over(terminal, module)
            frames = device.stream()
            next(frames).release()
            # Without a word to the module, as a host that is killed.
            device._session._transport.close()
            with pytest.raises(lenslink.Disconnected), closing(frames):
                for frame in frames:
                    frame.release()
            device.close()
        with over(terminal, module) as lens:
            check_frames(lens)


@pytest.mark.parametrize("how", ["reset", "lock", "restart"])
def test_a_serial_port_whose_board_is_interrupted(pico: Make, how: str) -> None:
    """By a bus reset, a lock-up of its controller, a reset of the chip."""
    module = pico(cdc=True)
    with terminal_of(module) as terminal:
        with pytest.raises(LensLinkError), over(terminal, module) as lens:
            check_frames(lens, 100, during=lambda: module.board.send_command(**{how: True}))
        if how != "reset":
            module.board.wait_for_event("attached", patience())
    deadline = patience()
    while True:
        try:
            device = usb.core.find(backend=UsbIpBackend(module.board.address, PATIENCE_S))
            device.set_configuration()
        except (AttributeError, usb.core.USBError):
            # The server does not know yet that it is back.
            deadline.check()
        else:
            break
    with closing(Terminal(device)) as terminal, over(terminal, module) as lens:
        check_frames(lens)


def test_from_the_serial_link_to_the_repl_and_back(pico: Make) -> None:
    """As mpremote does it, between two sessions."""
    module = pico(cdc=True)
    with terminal_of(module) as terminal:
        with over(terminal, module) as lens:
            check_frames(lens)
        # What comes together with the session's last words is still a packet's.
        until(module, 100_000)
        with Path(terminal.path).open("r+b", 0) as port:
            # Who asks does not wait before he goes on.
            port.write(b"\r\x03\r\x01")
            read_until(port, b"raw REPL; CTRL-B to exit\r\n>")
            port.write(b"print(6 * 7)\x04")
            read_until(port, b"OK42\r\n")
            port.write(b"\x02\x04")
        module.board.wait_for_event("attached", patience())
    with terminal_of(module) as terminal, over(terminal, module) as lens:
        check_frames(lens)


def read_until(port: io.FileIO, words: bytes) -> None:
    deadline, heard = patience(), b""
    while words not in heard:
        ready, _, _ = select.select([port], [], [], deadline.remaining())
        assert ready, f"waited for {words!r}, and heard {heard!r}"
        heard += port.read(4096) or b""


def test_pins_of_the_plant(pico: Make) -> None:
    module = pico()
    with opened(module) as device:
        # Supply and heat come through the board's own circuit, and its converter.
        with device.capture() as frame:
            assert 15_000 < frame.temperature_mc < 35_000
        with device.capture(focus_mdpt=1000) as frame:
            check_frame(frame)
            assert abs(frame.focus_mdpt - 1000) < 100
