"""The driver on virtual boards: found, opened many times, unplugged and plugged in again."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import usb.core
from helpers import micropython_process, slowdown
from helpers.cli_process import Cli, finish
from helpers.nightly_scale import NIGHTLY, choose, say
from helpers.undisturbed import Moment

import lenslink
from lenslink import Device, Disconnected, FrameStatus
from lenslink.deadline import Deadline
from lenslink.errors import Ambiguous, DeviceBusy, NotFound, UsageError
from lenslink.transports import usb as usb_transport
from lenslink.transports.serial import WINDOW
from lenslink_hil.conformance.live import run_modules
from lenslink_hil.conformance.verdicts import NOT_CLAIMED, PASSED, list_module_cases
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.usbip.backend import UsbIpBackend
from lenslink_hil.usbip.firmware_board import VirtualBoard
from lenslink_hil.usbip.tty import Terminal

SIZE = {"scene": "prbs", "width": "128", "height": "96", "seed": "5"}
OPENINGS = choose(12, 100)
UNPLUGS = choose(5, 50)
SERIAL_UNPLUGS = choose(3, 20)
# The driver notices each unplug within this time, and not by silence.
NOTICE_S = slowdown.patience(0.2)
SILENCE = "no sign of life"
PATIENCE_S = slowdown.patience(20.0)

MakeBoard = Callable[..., VirtualBoard]


def make_deadline(what: str = "the bench") -> Deadline:
    return Deadline(PATIENCE_S, what)


def check_notice_times(seconds: list[float], seed: int | None = None) -> None:
    assert max(seconds) < NOTICE_S, f"{seconds} (seed {seed})"


@pytest.fixture
def make_board() -> Iterator[MakeBoard]:
    micropython_process.interpreter()  # skips where there is none
    with contextlib.ExitStack() as stack:

        def make(
            serial: str = "S1", cdc: bool = False, device: bool = True, **options: str
        ) -> VirtualBoard:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            board = VirtualBoard(SIZE | options, serial, cdc=cdc, device=device, listener=listener)
            stack.callback(board.close)
            board.plug(make_deadline())
            return board

        yield make


def url(board: VirtualBoard) -> str:
    host, port = board.address
    return f"usbip:{host}:{port}"


def check_frames(device: Device, count: int = 3) -> None:
    with closing(device.stream("full")) as frames:
        for frame in itertools.islice(frames, count):
            with frame:
                # The counters tell a lost packet from a late one.
                assert frame.status is FrameStatus.COMPLETE, (
                    frame.number, frame.missing_ranges, device.stats, device._session.discards,
                )  # fmt: skip
                check_frame(frame)


def check_frame(frame: lenslink.Frame) -> None:
    shown = {"bits": 12, "cfa": frame.cfa, "seed": 5}
    wanted = make_pattern("prbs", 128, 96, frame_number=frame.number, **shown)
    np.testing.assert_array_equal(frame.pixels, wanted)


@pytest.mark.parametrize("lanes", ["1", "4"])
def test_opened_and_closed_many_times(
    make_board: MakeBoard, lanes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The board keeps running, and each session is like the first, however the last one ended."""
    board = make_board(lanes=lanes)
    start = time.monotonic()
    descriptors = set()
    for number in range(OPENINGS):
        with lenslink.open(url(board), timeout=PATIENCE_S) as device:
            assert device.manifest.serial == "S1"
            if number % 4 == 0:
                check_frames(device)
            elif number % 4 == 1:
                # Leave in the middle of a stream.
                next(device.stream())
        board.wait_for(lambda counts: not counts["hosts"], make_deadline())
        descriptors.add(len(list(Path("/proc/self/fd").iterdir())))
    assert board.boots == 1
    assert len(descriptors) <= 2, "descriptors grow"
    assert not [each for each in threading.enumerate() if each.name.startswith("usb")]
    say(capsys, f"{OPENINGS} openings, {lanes} lanes: {time.monotonic() - start:.1f} s")


def test_a_board_that_is_unplugged_and_plugged_in_again_is_there(make_board: MakeBoard) -> None:
    board = make_board()
    for boots in (2, 3):
        board.unplug()
        board.plug(make_deadline())
        with lenslink.open(url(board), timeout=PATIENCE_S) as device:
            assert device.session_info.boot_count == boots


@pytest.mark.timeout(choose(120, 900))
@pytest.mark.parametrize("lanes", ["1", "4"])
def test_unplugged_at_random_points(
    make_board: MakeBoard, lanes: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    board = make_board(lanes=lanes)
    chance = random.Random(seed)
    notice_times = []
    for _ in range(UNPLUGS):
        unplug_times: list[Moment] = []

        def unplug(unplug_times: list[Moment] = unplug_times) -> None:
            unplug_times.append(Moment.take())
            assert board.module is not None
            board.module.firmware.kill()

        device = lenslink.open(url(board), timeout=PATIENCE_S)
        timer = threading.Timer(chance.uniform(0, 0.3), unplug)
        timer.start()
        try:
            with pytest.raises(Disconnected) as caught, device:
                while True:
                    check_frames(device, chance.randrange(1, 6))
            notice_times.append(Moment.take().since(unplug_times[0]))
        finally:
            timer.join()
        assert SILENCE not in str(caught.value), f"seed {seed}"
        board.unplug()
        board.wait_for(lambda counts: not counts["boards"], make_deadline())
        board.plug(make_deadline())
        with lenslink.open(url(board), timeout=PATIENCE_S) as again:
            assert again.session_info.boot_count == board.boots
            check_frames(again, 1)
        board.wait_for(lambda counts: not counts["hosts"], make_deadline())
    check_notice_times(notice_times, seed)
    ordered = sorted(1000 * each for each in notice_times)
    say(
        capsys,
        f"{UNPLUGS} unplugs, {lanes} lanes (seed {seed}): noticed after "
        f"{ordered[len(ordered) // 2]:.0f} ms, at worst {ordered[-1]:.0f} ms",
    )


def test_the_next_host_gets_the_board_of_a_host_that_died(make_board: MakeBoard) -> None:
    board = make_board()
    device = lenslink.open(url(board), timeout=PATIENCE_S)
    frames = device.stream()
    next(frames)
    # As the system closes the connection of a dead process.
    transport = device._session._transport
    transport._handle._connection._socket.shutdown(socket.SHUT_RDWR)
    board.wait_for(lambda counts: not counts["hosts"], make_deadline())
    # The lock of a dead process would be free; this process has to release it.
    device.close()
    with lenslink.open(url(board), timeout=PATIENCE_S) as again:
        check_frames(again)


def test_a_second_host_finds_the_board_busy(make_board: MakeBoard) -> None:
    board = make_board()
    with (
        lenslink.open(url(board), timeout=PATIENCE_S),
        pytest.raises(DeviceBusy, match="in use by another program"),
    ):
        lenslink.open(url(board), timeout=PATIENCE_S)


def test_a_server_that_does_not_exist_is_not_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(NotFound, match="refused"):
        lenslink.open(f"usbip:127.0.0.1:{port}", timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("usbip::1", "needs a host and a port"),
        ("usbip:127.0.0.1:70000", "needs a host and a port"),
        ("usbip:127.0.0.1:3240?scene=ramp", "scene is an option of the board"),
        ("usbip:?lanes=5", "lanes=5 is not 1 to 4"),
        ("usbip:?speed=super", "speed=super is neither full nor high"),
        ("usbip:?board=none", "no board 'none'"),
        ("usbip:?colour=red", "has no option 'colour'"),
        ("usb:?lanes=0", "lanes=0 is not 1 to 4"),
        ("serial:", "needs a port"),
    ],
)
def test_a_malformed_url_is_a_usage_error(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        lenslink.open(text, timeout=PATIENCE_S)


# --- usb:, with our backend instead of libusb -----------------------------------------------------


@pytest.fixture
def on_usb(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes *boards* the devices that usb: finds."""

    class Several(UsbIpBackend):
        def __init__(self, backends: list[UsbIpBackend]) -> None:
            super().__init__("", 1)
            self._backends = backends

        def enumerate_devices(self):
            for backend in self._backends:
                for device in backend.enumerate_devices():
                    device.backend = backend
                    yield device

        def open_device(self, dev):
            return dev.backend.open_device(dev)

    def plugged(*boards: VirtualBoard) -> None:
        backend = Several([UsbIpBackend(board.address, PATIENCE_S) for board in boards])
        monkeypatch.setattr(usb_transport, "load_libusb", lambda: backend)

    return plugged


def test_usb_opens_the_only_module(make_board: MakeBoard, on_usb: Callable[..., None]) -> None:
    on_usb(make_board(lanes="2"))
    with lenslink.open("usb:", timeout=PATIENCE_S) as device:
        assert device.session_info.lanes == 2
        check_frames(device)


def test_a_url_may_use_fewer_lanes_than_the_board_has(
    make_board: MakeBoard, on_usb: Callable[..., None]
) -> None:
    on_usb(make_board(lanes="4"))
    with lenslink.open("usb:?lanes=1", timeout=PATIENCE_S) as device:
        assert device.session_info.lanes == 1
        check_frames(device)


def test_a_module_is_chosen_by_its_serial_number(
    make_board: MakeBoard, on_usb: Callable[..., None]
) -> None:
    on_usb(make_board("S1"), make_board("S2"))
    with pytest.raises(Ambiguous, match="2 modules on USB"):
        lenslink.open("usb:", timeout=PATIENCE_S)
    with lenslink.open("usb:S2", timeout=PATIENCE_S) as device:
        assert device.manifest.serial == "S2"
    with pytest.raises(NotFound, match="serial number"):
        lenslink.open("usb:S3", timeout=PATIENCE_S)


def test_the_boards_that_are_plugged_in_are_listed(
    make_board: MakeBoard, on_usb: Callable[..., None]
) -> None:
    board = make_board("S1")
    on_usb(board, make_board("CDC", cdc=True))
    for _ in range(2):
        [found] = usb_transport.USB.devices()
        assert (found.url, found.serial) == ("usb:S1", "S1") and "2e8a:0005" in found.description
        assert not found.busy
    board.wait_for(lambda counts: not counts["hosts"], make_deadline())
    board.unplug()
    board.wait_for(lambda counts: not counts["boards"], make_deadline())
    assert usb_transport.USB.devices() == []


def test_usb_without_a_module_is_not_found(
    make_board: MakeBoard, on_usb: Callable[..., None]
) -> None:
    on_usb(make_board(cdc=True))
    with pytest.raises(NotFound, match="no module on USB"):
        lenslink.open("usb:", timeout=PATIENCE_S)


# --- serial: --------------------------------------------------------------------------------------


@pytest.fixture(params=["endpoint", "driver"])
def terminal(
    request: pytest.FixtureRequest, make_board: MakeBoard
) -> Iterator[tuple[VirtualBoard, Terminal]]:
    """A board with its serial port only, and a terminal as a kernel would make one.

    The firmware writes to the port's endpoint, or to the driver if it has no machine.USBDevice.
    """
    board = make_board(cdc=True, device=request.param == "endpoint")
    with closing(open_terminal(board)) as made:
        yield board, made


def open_terminal(board: VirtualBoard) -> Terminal:
    device = usb.core.find(backend=UsbIpBackend(board.address, PATIENCE_S))
    device.set_configuration()
    return Terminal(device)


def test_the_link_runs_over_the_serial_port(terminal: tuple[VirtualBoard, Terminal]) -> None:
    _, tty = terminal
    for _ in range(2):
        with lenslink.open(f"serial:{tty.path}", timeout=PATIENCE_S) as device:
            assert device.manifest.serial == "S1"
            # No tile is longer than the window allows, so the line loses no byte.
            assert device.configure(mode="full").tile_bytes <= WINDOW // 4
            check_frames(device)
            assert device.stats.lost_packets == 0


def test_the_serial_port_conforms(
    terminal: tuple[VirtualBoard, Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    _, tty = terminal
    # In CI only the cases that depend on the line: resynchronisation and bytes in flight.
    areas = ("M-",) if NIGHTLY else ("M-FRAME", "M-CREDIT", "M-RESEND", "M-STOP")
    cases = [case for case in list_module_cases() if case.clauses[0].startswith(areas)]
    found = list(run_modules(f"serial:{tty.path}", cases, None, PATIENCE_S))
    bad = [each for each in found if each.verdict not in (PASSED, NOT_CLAIMED)]
    assert not bad
    assert sum(each.verdict == PASSED for each in found) >= len(cases) // 2
    say(capsys, f"{len(cases)} of {len(list_module_cases())} cases of the kit over a serial port")


def test_a_second_host_finds_the_port_busy(terminal: tuple[VirtualBoard, Terminal]) -> None:
    _, tty = terminal
    with (
        lenslink.open(f"serial:{tty.path}", timeout=PATIENCE_S),
        pytest.raises(DeviceBusy, match="in use"),
    ):
        lenslink.open(f"serial:{tty.path}", timeout=PATIENCE_S)


def test_an_unplugged_serial_port_is_noticed_at_once(make_board: MakeBoard) -> None:
    board = make_board(cdc=True)
    notice_times = []
    for number in range(SERIAL_UNPLUGS):
        if number:
            board.unplug()
            board.wait_for(lambda counts: not counts["boards"], make_deadline())
            board.plug(make_deadline())
        with (
            closing(open_terminal(board)) as tty,
            lenslink.open(f"serial:{tty.path}", timeout=PATIENCE_S) as device,
        ):
            frames = device.stream("full")
            next(frames)
            assert board.module is not None
            board.module.firmware.kill()
            start = Moment.take()
            with pytest.raises(Disconnected) as caught:
                for frame in frames:
                    frame.release()
            notice_times.append(Moment.take().since(start))
            assert SILENCE not in str(caught.value)
            with pytest.raises(Disconnected):
                device.configure()
    check_notice_times(notice_times)


def test_a_port_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        lenslink.open(f"serial:{tmp_path}/ttyACM9", timeout=PATIENCE_S)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_port_without_permission_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    import serial

    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(13, "could not open port: [Errno 13] Permission denied")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(NotFound, match="usermod -aG dialout"):
        lenslink.open("serial:/dev/ttyACM0", timeout=PATIENCE_S)


# --- lenslink usbip -------------------------------------------------------------------------------


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    micropython_process.interpreter()
    with Cli(tmp_path) as started:
        yield started


def test_lenslink_usbip_serves_a_board_to_other_programs(cli: Cli) -> None:
    server = cli.start(
        "usbip", "--listen", "127.0.0.1:0", "--scene", "ramp", "--width", "64", "--height", "64",
        "--serial", "SERVED", "--lanes", "2",
    )  # fmt: skip
    served = server.stdout.readline().decode().strip()
    assert served.startswith("usbip:127.0.0.1:")
    for _ in range(2):
        done = cli.run("info", "--json", served)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["serial"] == "SERVED"
    listed = json.loads(cli.run("list", "--json").stdout)
    assert [(each["url"], each["serial"]) for each in listed["devices"]] == [(served, "SERVED")]
    done = cli.run("capture", "-o", "a.npy")
    assert done.returncode == 0, done.stderr
    assert np.load(cli.folder / "a.npy").shape == (64, 64)
    server.send_signal(signal.SIGINT)
    status, _, errors = finish(server)
    assert status == 130
    assert errors[:1] == ["lenslink: serving a virtual board as device 1-1; Ctrl-C ends it"]
    assert errors[1:] == ["lenslink: interrupted"]


def test_lenslink_usbip_refuses_malformed_options(cli: Cli) -> None:
    done = cli.run("usbip", "--speed", "super", "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert done.stderr == "lenslink: error: usbip: speed=super is neither full nor high\n"
