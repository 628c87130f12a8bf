"""The firmware on an emulated Pico: it recovers from faults of the bus and of the chip.

The tests need Node, rp2040js (``lenslink pico setup``) and a MicroPython image; ``lenslink pico
status`` says what is missing. The link's timers and the bounds that tests assert are on the
emulated clock, so the tests share the machine with others. Their time limits are real time.
"""

from __future__ import annotations

import contextlib
import io
import os
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
from helpers.nine_brackets import check_nine_brackets
from helpers.ring_turns import check_turns, lose_packets

import lenslink
from lenslink import Device, FrameStatus
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError
from lenslink_hil.benches.pico import BoardClocked, PicoModule
from lenslink_hil.conformance.live import run_modules
from lenslink_hil.conformance.verdicts import NOT_CLAIMED, PASSED, list_module_cases
from lenslink_hil.faults.faulty_link import FaultyTransport
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.plant.spring_contacts import SHORT
from lenslink_hil.usbip.backend import UsbIpBackend
from lenslink_hil.usbip.tty import Terminal

SEED = 5
SIZE = {"width": "128", "height": "96", "seed": str(SEED)}
# The board's share of 500 ms on a quiet machine. The host's share passes in real time.
FIRST_TILE_US = 200_000 + slowdown.patience(300_000)
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
            # Another run of the tests may have a Pico too. A serial number has one owner.
            serial = f"P{os.getpid()}"
            module = PicoModule(
                SIZE | options, serial, make_deadline(), cdc=cdc, start_us=start_us,
                listener=listener,
            )  # fmt: skip
            stack.callback(module.close)
            return module

        yield make


def make_deadline() -> Deadline:
    return Deadline(PATIENCE_S, "an emulated Pico")


def open_module(module: PicoModule) -> Device:
    host, port = module.board.address
    return lenslink.open(f"usbip:{host}:{port}", timeout=PATIENCE_S, wrap=run_by_clock_of(module))


def run_by_clock_of(module: PicoModule) -> Callable[[Any], Any]:
    """Return a wrapper that runs the link's timers by the emulated clock."""
    return lambda transport: BoardClocked(transport, module)


def check_frames(device: Device, count: int = 2, during: Callable[[], Any] = lambda: None) -> None:
    """Check every pixel of *count* + 1 frames of a stream; call *during* after the first frame."""
    with closing(device.stream()) as frames:
        for number, frame in enumerate(frames):
            with frame:
                check_frame(frame)
            if number == 0:
                during()
            if number == count:
                return


def check_frame(frame: lenslink.Frame) -> None:
    assert frame.status is FrameStatus.COMPLETE, (frame.number, frame.missing_ranges)
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


def check_new_session(module: PicoModule) -> None:
    """Check the frames of a new session."""
    deadline = make_deadline()
    while True:
        # The emulator attaches the board a moment before the server exports it. On a busy machine a
        # request to a starting board may take longer than its time limit.
        try:
            device = open_module(module)
        except (lenslink.NotFound, lenslink.RigError):
            deadline.check()
        else:
            break
    with device:
        check_frames(device)


def test_the_first_tile_arrives_soon_after_the_pull_up(pico: Make) -> None:
    module = pico(height="64")
    with open_module(module) as device, device.capture() as frame:
        elapsed_us = module.board.request_report()["emulated_us"] - module.board.pullup_us
        check_frame(frame)
    assert elapsed_us < FIRST_TILE_US


@pytest.mark.parametrize("bus", ["ideal", "strict"])
@pytest.mark.parametrize("lanes", ["1", "4"])
def test_every_pixel_is_right(pico: Make, bus: str, lanes: str) -> None:
    with open_module(pico(bus=bus, lanes=lanes)) as device:
        check_frames(device, 4)
        with device.capture(packing="lsb") as frame:
            check_frame(frame)


def test_a_board_can_be_opened_many_times(pico: Make) -> None:
    module = pico()
    for _ in range(choose(5, 100)):
        with open_module(module) as device, device.capture() as frame:
            check_frame(frame)


def test_it_recovers_from_a_bus_reset_during_a_transfer(pico: Make) -> None:
    module = pico()
    with pytest.raises(LensLinkError), open_module(module) as device:
        check_frames(device, 100, during=lambda: module.board.send_command(reset=True))
    check_new_session(module)


def test_it_recovers_from_a_reset_of_the_chip(pico: Make) -> None:
    module = pico()
    with pytest.raises(lenslink.Disconnected), open_module(module) as device:
        check_frames(device, 100, during=lambda: module.board.send_command(restart=True))
    module.board.wait_for_event("attached", make_deadline())
    check_new_session(module)


def test_a_short_opens_the_power_switch_in_the_interrupt(
    pico: Make, record_property: Callable[[str, object], None]
) -> None:
    """While tiles are computed and sent. Both times are the emulated clock's."""
    module = pico()
    # The plant learns the chip's time with each sample, every 100 ms. After that an edge is exact.
    short = [[150_000, SHORT, 1]]
    with pytest.raises(lenslink.Disconnected), open_module(module) as device:
        check_frames(device, 1000, during=lambda: module.command(contacts=short))
    report = module.request_report()
    delay_us = report["last_switch_us"] - report["last_short_us"]
    record_property("power switch opened after a short, emulated us", delay_us)
    # 5 ms are allowed. An event of the main loop would wait for a tile, which takes 3 ms and more.
    assert 0 < delay_us <= 200, delay_us
    print("power switch opened after", delay_us, "emulated us")
    assert report["dock"] in ("shorted", "testing")
    module.command(contacts=[[0, SHORT, 0]])
    check_new_session(module)


def test_it_recovers_from_a_soft_reset(pico: Make) -> None:
    module = pico()
    with open_terminal(module) as terminal, Path(terminal.path).open("wb", 0) as port:
        port.write(b"\x03")  # interrupts the main loop: the REPL runs
        port.write(b"\x04")
        module.board.wait_for_event("attached", make_deadline())
    check_new_session(module)


@pytest.mark.parametrize("milliseconds", [2, 50])
def test_a_stream_goes_on_after_a_suspend(pico: Make, milliseconds: int) -> None:
    module = pico()

    def suspend() -> None:
        module.board.send_command(suspend=True)
        wait_emulated(module, milliseconds * 1000)
        module.board.send_command(suspend=False)

    with open_module(module) as device:
        check_frames(device, 3, during=suspend)


def wait_emulated(module: PicoModule, emulated_us: int) -> None:
    """Wait until so much emulated time has passed."""
    deadline = make_deadline()
    end = module.board.request_report()["emulated_us"] + emulated_us
    while module.board.request_report()["emulated_us"] < end:
        deadline.check()


@pytest.mark.parametrize("wrap_us", [TICKS_WRAP_US, TIMER_WRAP_US])
def test_a_stream_goes_on_when_the_clock_wraps(pico: Make, wrap_us: int) -> None:
    module = pico(start_us=wrap_us - 1_000_000)
    with open_module(module) as device:
        while module.board.request_report()["emulated_us"] < wrap_us + 200_000:
            check_frames(device, 1)


def test_it_recovers_from_a_halted_lane(pico: Make) -> None:
    module = pico(lanes="2")
    with open_module(module) as device:
        transport: Any = device._session._transport
        lane = transport._lanes[1].address
        with closing(device.stream()) as frames:
            for number, frame in enumerate(frames):
                with frame:
                    # The board may overwrite a lost tile before the host asks for it again. Then
                    # the frame's mask says so, and its other pixels are right.
                    check_pixels(frame)
                if number == 0:
                    transport._handle.halt(lane)
                if number == 3:
                    break
    check_new_session(module)


def test_it_recovers_from_an_endpoint_halted_under_a_transfer(pico: Make) -> None:
    """TinyUSB never frees that endpoint: the board disconnects and attaches again."""
    module = pico()

    def halt() -> None:
        transport: Any = device._session._transport
        transport._handle.halt(transport._out)
        transport._handle.clear_halt(transport._out)

    with pytest.raises(lenslink.Disconnected), open_module(module) as device:
        check_frames(device, 1000, during=halt)
    module.board.wait_for_event("attached", make_deadline())
    check_new_session(module)


def test_it_recovers_from_a_controller_that_locks_up(pico: Make) -> None:
    module = pico()
    with pytest.raises(LensLinkError), open_module(module) as device:
        check_frames(device, 100, during=lambda: module.board.send_command(lock=True))
    module.board.wait_for_event("attached", make_deadline())
    check_new_session(module)


@pytest.mark.parametrize("quiet", ["idle", "suspended", "host that does not read"])
def test_a_quiet_bus_does_not_count_as_locked_up(pico: Make, quiet: str) -> None:
    module = pico()
    if quiet == "suspended":
        module.board.send_command(suspend=True)
    with contextlib.ExitStack() as stack:
        if quiet.startswith("host"):
            device = stack.enter_context(open_module(module))
            frames = stack.enter_context(closing(device.stream()))
            next(frames).release()
        wait_emulated(module, 3_000_000)
        assert module.board.list_events() == []
    if quiet == "suspended":
        module.board.send_command(suspend=False)
    check_new_session(module)


def find_configured(module: PicoModule) -> Any:
    """Find and configure the board's USB device; wait until the server exports it."""
    deadline = make_deadline()
    while True:
        device = usb.core.find(backend=UsbIpBackend(module.board.address, PATIENCE_S))
        # The emulator attaches the board a moment before the server exports it.
        with contextlib.suppress(usb.core.USBError):
            if device is not None:
                device.set_configuration()
                return device
        deadline.check()


@contextlib.contextmanager
def open_terminal(module: PicoModule) -> Iterator[Terminal]:
    with closing(Terminal(find_configured(module))) as terminal:
        yield terminal


def open_serial(terminal: Terminal, module: PicoModule) -> Device:
    url = f"serial:{terminal.path}"
    return lenslink.open(url, timeout=PATIENCE_S, wrap=run_by_clock_of(module))


def test_the_link_runs_over_the_serial_port_alone(pico: Make) -> None:
    module = pico(cdc=True)
    with open_terminal(module) as terminal:
        for _ in range(2):
            with open_serial(terminal, module) as lens:
                check_frames(lens)
                assert lens.stats.lost_packets == 0


def test_the_serial_port_conforms(pico: Make, capsys: pytest.CaptureFixture[str]) -> None:
    areas = ("M-",) if NIGHTLY else ("M-FRAME", "M-CREDIT")
    cases = [case for case in list_module_cases() if case.clauses[0].startswith(areas)]
    cases = cases if NIGHTLY else cases[::2]
    module = pico(cdc=True)
    with open_terminal(module) as terminal:
        url = f"serial:{terminal.path}"
        found = list(run_modules(url, cases, None, PATIENCE_S, run_by_clock_of(module)))
    assert not [each for each in found if each.verdict not in (PASSED, NOT_CLAIMED)]
    passed = sum(each.verdict == PASSED for each in found)
    assert passed >= len(cases) // 2
    say(capsys, f"{passed} cases of the kit passed over an emulated Pico's serial port")


def test_a_serial_port_closed_in_the_middle_of_a_frame_can_be_opened_again(pico: Make) -> None:
    module = pico(cdc=True)
    with open_terminal(module) as terminal:
        for _ in range(3):
            device = open_serial(terminal, module)
            frames = device.stream()
            next(frames).release()
            # Without a Close to the module, as a host that is killed.
            device._session._transport.close()
            with pytest.raises(lenslink.Disconnected), closing(frames):
                for frame in frames:
                    frame.release()
            device.close()
        with open_serial(terminal, module) as lens:
            check_frames(lens)


@pytest.mark.parametrize("how", ["reset", "lock", "restart"])
def test_a_serial_port_recovers_from_a_fault_of_the_board(pico: Make, how: str) -> None:
    """The fault is a bus reset, a lock-up of the controller, or a reset of the chip."""
    module = pico(cdc=True)
    with open_terminal(module) as terminal:
        with pytest.raises(LensLinkError), open_serial(terminal, module) as lens:
            check_frames(lens, 100, during=lambda: module.board.send_command(**{how: True}))
        if how != "reset":
            module.board.wait_for_event("attached", make_deadline())
    with open_terminal(module) as terminal, open_serial(terminal, module) as lens:
        check_frames(lens)


def test_from_the_serial_link_to_the_repl_and_back(pico: Make) -> None:
    """mpremote uses the port in this way between two sessions."""
    module = pico(cdc=True)
    with open_terminal(module) as terminal:
        with open_serial(terminal, module) as lens:
            check_frames(lens)
        # Bytes that arrive together with the session's Close still belong to a packet.
        wait_emulated(module, 100_000)
        with Path(terminal.path).open("r+b", 0) as port:
            # mpremote does not wait for an answer here.
            port.write(b"\r\x03\r\x01")
            read_until(port, b"raw REPL; CTRL-B to exit\r\n>")
            port.write(b"print(6 * 7)\x04")
            read_until(port, b"OK42\r\n")
            port.write(b"\x02\x04")
        # MicroPython connects the board before main.py, and the firmware connects it again.
        module.board.wait_for_event("attached", make_deadline())
        with pytest.raises(LensLinkError), open_terminal(module) as again:
            # Any byte of a packet may be Ctrl-C. It must not end the firmware while it loads.
            with Path(again.path).open("r+b", 0) as port:
                port.write(b"\x8aLLK" + b"\x03" * 8)
            open_serial(again, module)
        module.board.wait_for_event("attached", make_deadline())
    with open_terminal(module) as terminal, open_serial(terminal, module) as lens:
        check_frames(lens)


def read_until(port: io.FileIO, words: bytes) -> None:
    deadline, received = make_deadline(), b""
    while words not in received:
        ready, _, _ = select.select([port], [], [], deadline.remaining())
        assert ready, f"waited for {words!r}, and received {received!r}"
        received += port.read(4096) or b""


def test_a_board_that_is_unplugged_and_plugged_in_again_answers(pico: Make) -> None:
    module = pico()
    for _ in range(2):
        with pytest.raises(lenslink.Disconnected), open_module(module) as device:
            check_frames(device, 100, during=module.board.unplug)
        module.board.plug(make_deadline())
    check_new_session(module)


def test_the_plant_is_connected_to_the_pins(pico: Make) -> None:
    module = pico()
    with open_module(module) as device:
        # The firmware reads supply and temperature through the board's circuit and its converter.
        with device.capture() as frame:
            assert 15_000 < frame.temperature_mc < 35_000
        with device.capture(focus_mdpt=1000) as frame:
            check_frame(frame)
            assert abs(frame.focus_mdpt - 1000) < 100
        check_nine_brackets(device, SEED)


RING_SECONDS = choose(10, 60)


@pytest.mark.parametrize("lost", [0.0, 0.1] if NIGHTLY else [0.1])
def test_no_tick_of_the_focus_ring_is_lost(
    pico: Make, seed: int, capsys: pytest.CaptureFixture[str], lost: float
) -> None:
    """At 2,000 ticks an emulated second, while tiles are computed and sent."""
    module = pico(height="64")
    plan = lose_packets(lost, seed, 1000 + 100 * RING_SECONDS)
    host, port = module.board.address
    url = f"usbip:{host}:{port}"

    def wrap(transport: Any) -> Any:
        return BoardClocked(FaultyTransport(transport, plan), module)

    with lenslink.open(url, timeout=PATIENCE_S, wrap=wrap) as device:
        check_turns(device, module, RING_SECONDS, seed, 10 * PATIENCE_S)
        assert bool(device.stats.lost_packets) == bool(lost)
    say(capsys, f"{RING_SECONDS} emulated s of the ring, {lost:.0%} of packets lost, seed {seed}")
