"""The serial port of an emulated Pico, for mpremote and ``lenslink flash``.

The tests need Node, rp2040js and a MicroPython image, as tests/e2e/test_pico.py does. The link's
timers run on the emulated clock; limits are real time.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial
from helpers import bench_scale, slowdown
from helpers.cli_process import Cli
from helpers.nightly_scale import NIGHTLY, say

pytest.importorskip("mpremote", reason="mpremote is not installed (extra 'flash')")
pytest.importorskip("littlefs", reason="littlefs-python is not installed")

import lenslink
from lenslink.deadline import Deadline
from lenslink.errors import NotFound, RigError, UsageError
from lenslink_hil.benches.pico import BoardClocked, PicoModule
from lenslink_hil.benches.usbip import find_board
from lenslink_hil.flash.bundle import build_bundle
from lenslink_hil.flash.flash_job import FlashRequest, describe_board, flash_board
from lenslink_hil.flash.uf2_image import build_uf2_image
from lenslink_hil.pico.micropython_image import FILES_AT, find_image, load_image
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.pty_bridge import PtyBridge

PATIENCE_S = slowdown.patience(90)
SEED = 3


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    if missing := bench_scale.no_pico():
        pytest.skip(missing)


def make_deadline() -> Deadline:
    return Deadline(PATIENCE_S, "an emulated Pico")


def run_mpremote(port: str, *arguments: str) -> str:
    """Run mpremote; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", port, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout.strip()


def is_module(module: PicoModule) -> bool:
    """Return True if the board shows itself as a LensLink module on USB."""
    try:
        find_board(module.board.address, "", "the board", make_deadline())
    except NotFound:
        return False
    return True


def wait_for_module(module: PicoModule) -> None:
    deadline = make_deadline()
    while not is_module(module):
        deadline.check()
        time.sleep(0.05)


def wait_for_event_after(module: PicoModule, name: str, start_us: int) -> int:
    """Wait for an event of the emulator after *start_us*; return its time."""
    deadline = make_deadline()
    while (found := module.board.wait_for_event(name, deadline)) < start_us:
        pass
    return found


@pytest.mark.timeout(10 * PATIENCE_S)
@pytest.mark.parametrize("start", ["plain", "uf2"] if NIGHTLY else ["uf2"])
def test_a_board_is_flashed_and_sends_a_frame(
    start: str, tmp_path: Path, record_property: Callable[[str, object], None], capsys: Any
) -> None:
    """From plain MicroPython, or from one UF2 file with the same firmware: nothing is sent then."""
    # All emulated chips have the same number.
    serial_number = f"P-{os.getpid()}"
    bundle = build_bundle("pico", {"width": 64, "height": 64, "seed": SEED})
    chip = tmp_path / "a chip.bin"
    if start == "uf2":
        path = tmp_path / "pico.uf2"
        path.write_bytes(build_uf2_image(bundle, find_image().read_bytes(), serial_number))
        chip.write_bytes(load_image(path).flash)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(PtyBridge()) as bridge,
        closing(
            PicoModule(
                {},
                "",
                make_deadline(),
                listener=listener,
                is_plain=True,
                serial_port=bridge.chip_end,
                chip=chip,
            )
        ) as module,
    ):
        url = f"usbip:127.0.0.1:{listener.getsockname()[1]}"

        def open_module(at: str, timeout: float = PATIENCE_S) -> lenslink.Device:
            deadline = make_deadline()
            while True:
                try:
                    return lenslink.open(
                        at, timeout=timeout, wrap=lambda each: BoardClocked(each, module)
                    )
                except (NotFound, RigError):
                    # On a busy machine a request to the starting board takes more than its second.
                    deadline.check()

        if start == "plain":
            assert not is_module(module)
        else:
            wait_for_module(module)
        request = FlashRequest(
            "pico",
            bridge.port,
            serial=serial_number,
            bundle=bundle,
            url=url,
            open_module=open_module,
        )
        began, emulated = time.monotonic(), module.board.now()
        result = flash_board(request, make_deadline(), lambda _: None)
        assert result["confirmed"] and result["slot"] == "a"
        assert (result["bytes"] > 50_000) == (start == "plain"), result["files"]
        with open_module(url) as device, device.capture() as frame:
            assert frame.status is lenslink.FrameStatus.COMPLETE
            wanted = make_pattern(
                "prbs", 64, 64, bits=12, cfa=frame.cfa, seed=SEED, frame_number=frame.number
            )
            np.testing.assert_array_equal(frame.pixels, wanted)
        seconds, emulated = time.monotonic() - began, module.board.now() - emulated
        record_property(f"an emulated Pico from {start} to the first frame, s", round(seconds, 1))
        say(
            capsys,
            f"an emulated Pico from {start}: {result['bytes']} bytes and the first frame in "
            f"{seconds:.1f} s, {emulated:.1f} emulated s",
        )

        # Without "resume", mpremote soft-resets the board from the raw REPL: boot.py runs, main.py
        # does not. A module that showed itself then would serve nobody.
        with serial.Serial(bridge.port) as port:
            now = module.board.request_report()["emulated_us"]
            port.write(b"\r\x03\x03\r\x01\x04")
            wait_for_event_after(module, "opened", wait_for_event_after(module, "detached", now))
        assert not is_module(module)

        if NIGHTLY:
            # The file has all that was flashed, so the next supply starts it.
            module.board.unplug()
            module.board.plug(make_deadline())
            wait_for_module(module)
            status = describe_board(bridge.port, make_deadline())
            assert status["board"] == "pico" and status["failed_starts"] == 0
            slot = status["slots"]["a"]
            assert slot["id"] == bundle.manifest["id"]
            assert slot["intact"] and slot["started"] and slot["confirmed"]


def test_a_pico_that_is_served_answers_mpremote_and_keeps_its_flash(tmp_path: Path) -> None:
    chip = tmp_path / "a chip.bin"
    with Cli(tmp_path) as cli:
        process = cli.start("pico", "serve", "--flash", chip.name, "--timeout", str(PATIENCE_S))
        port, url = (process.stdout.readline().decode().strip() for _ in range(2))
        assert url.startswith("usbip:"), process.communicate()[1].decode()
        script = "f = open('x', 'w'); f.write('kept'); f.close(); print(6 * 7)"
        assert run_mpremote(port, "resume", "exec", script) == "42"
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with pytest.raises(NotFound):
            find_board(address, "", url, make_deadline())
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    # A small file lies in its folder's block.
    assert b"kept" in chip.read_bytes()[FILES_AT:]


def test_a_file_that_is_no_flash_chip_is_refused(tmp_path: Path) -> None:
    chip = tmp_path / "chip.bin"
    chip.write_bytes(bytes(4096))
    with pytest.raises(UsageError, match="it has not 2 MiB"):
        PicoModule({}, "P1", make_deadline(), is_plain=True, chip=chip)
    assert chip.read_bytes() == bytes(4096)
