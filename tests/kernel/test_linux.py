"""Linux and a board, besides transfers: hotplug, permissions, kernel drivers, other users."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_process import Cli, finish

import lenslink
from lenslink import Arrival, Departure, DeviceBusy, FrameStatus, NotFound
from lenslink_hil.kernel import guest_boards

Choose = Callable[[int, int], int]
Shown = Callable[[lenslink.Frame], np.ndarray]

PATIENCE_S = 20.0
NOBODY = 65534
_GENERIC = Path("/sys/bus/usb-serial/drivers/generic")
_USB = Path("/sys/bus/usb/drivers")


@pytest.mark.usefixtures("over_usb")
def test_watch_reports_a_board_that_is_attached_and_detached(
    slot: guest_boards.Slot, url: str, request: pytest.FixtureRequest
) -> None:
    del url
    slot.detach()
    changes = lenslink.watch(PATIENCE_S)
    for kind, act in [(Arrival, slot.attach), (Departure, slot.detach)]:
        start = time.monotonic()
        thread = threading.Timer(0, act)
        thread.start()
        change = next(changes)
        took = time.monotonic() - start
        thread.join()
        assert isinstance(change, kind)
        assert (change.device.url, change.device.serial) == (f"usb:{slot.serial}", slot.serial)
        request.node.user_properties.append((f"{kind.__name__} noticed after", f"{took:.2f} s"))
    changes.close()


@contextmanager
def as_nobody(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Run the block without root's rights."""
    folder.chmod(0o777)
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(folder))
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_board_without_permission_names_the_cure(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Import everything first: a user who may not open a board may not read this Python either.
    lenslink.open(url, timeout=PATIENCE_S).close()
    folder = Path(os.environ["TMPDIR"]) / "nobody"
    folder.mkdir(exist_ok=True)
    cure = "udevadm control --reload" if url.startswith("usb:") else "usermod -aG dialout"
    with as_nobody(monkeypatch, folder), pytest.raises(NotFound, match=cure) as caught:
        lenslink.open(url, timeout=PATIENCE_S)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("over_usb")
def test_an_interface_held_by_a_kernel_driver_is_busy(
    slot: guest_boards.Slot, url: str, tool: Callable[[str], str]
) -> None:
    device = slot.find_device()
    (_GENERIC / "new_id").write_text("2e8a 0005")
    interface = next(
        path.parent for path in device.glob("*/bInterfaceClass") if path.read_text().strip() == "ff"
    )
    try:
        assert (interface / "driver").resolve().name == "usbserial_generic"
        with pytest.raises(DeviceBusy, match="a driver of the system"):
            lenslink.open(url, timeout=PATIENCE_S)
    finally:
        (_USB / "usbserial_generic/unbind").write_text(interface.name)
        # Unload the driver, or it would take the next board too: a new_id cannot be removed.
        subprocess.run([tool("busybox"), "rmmod", "usbserial"], check=True, timeout=10)
    lenslink.open(url, timeout=PATIENCE_S).close()


@pytest.mark.usefixtures("over_usb")
def test_the_serial_port_of_the_board_stays_with_the_kernel(
    slot: guest_boards.Slot, url: str
) -> None:
    """cdc_acm has the board's serial port before, during and after a session."""
    port = next(slot.find_device().glob("*/tty/ttyACM*"))
    with lenslink.open(url, timeout=PATIENCE_S):
        assert port.exists()
    assert port.exists()


@pytest.mark.timeout(180)
def test_opened_and_closed_many_times(
    url: str, shown: Shown, choose: Choose, request: pytest.FixtureRequest
) -> None:
    openings = choose(30, 100)
    start = time.monotonic()
    descriptors, boots = set(), set()
    for number in range(openings):
        with lenslink.open(url, timeout=PATIENCE_S) as device:
            boots.add(device.session_info.boot_count)
            if number % 4 == 0:
                with closing(device.stream("full")) as frames, next(frames) as frame:
                    assert frame.status is FrameStatus.COMPLETE
                    np.testing.assert_array_equal(frame.pixels, shown(frame))
            elif number % 4 == 1:
                # Leave in the middle of a stream.
                next(device.stream("full"))
        descriptors.add(len(list(Path("/proc/self/fd").iterdir())))
    assert len(boots) == 1, "the board has restarted"
    assert len(descriptors) <= 2, "descriptors grow"
    text = f"{(time.monotonic() - start) / openings * 1000:.0f} ms each"
    request.node.user_properties.append((f"{openings} openings", text))


def test_a_host_that_never_reads(url: str, shown: Shown, tmp_path: Path) -> None:
    """The host is stopped in the middle of a stream, then killed. The next host gets the board."""
    with lenslink.open(url, timeout=PATIENCE_S) as device:
        boot = device.session_info.boot_count
    with Cli(tmp_path) as cli:
        host = cli.start("stream", url, "--json")
        assert host.stdout.readline()
        host.send_signal(signal.SIGSTOP)
        # This is not a wait for an event: the host does not read for so long.
        time.sleep(2)
        host.kill()
        host.wait(PATIENCE_S)
    with lenslink.open(url, timeout=PATIENCE_S) as device:
        assert device.session_info.boot_count == boot
        with closing(device.stream("full")) as frames:
            for frame in itertools.islice(frames, 3):
                with frame:
                    assert frame.status is FrameStatus.COMPLETE
                    np.testing.assert_array_equal(frame.pixels, shown(frame))


def test_the_command_line_reports_an_unplugged_board(
    slot: guest_boards.Slot, url: str, tmp_path: Path
) -> None:
    with Cli(tmp_path) as cli:
        stream = cli.start("stream", url, "--json")
        assert stream.stdout.readline()
        slot.start_detach()
        status, _, error = finish(stream)
    assert status == 5
    [line] = error
    told = json.loads(line)
    assert (told["error"], told["message"]) == ("Disconnected", "the module was unplugged")


FORGETFUL = """
import sys, lenslink
module = lenslink.open(sys.argv[1], timeout=60)
frames = module.stream(timeout=60)
print("frame", next(frames).number)
"""


def test_a_program_that_does_not_close_its_module_ends(url: str) -> None:
    """Reads of libusb that are in flight then, or begin later, would crash the program."""
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, url],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("frame ")
