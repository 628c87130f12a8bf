"""``lenslink rig doctor`` believes no power switch: it looks whether the board restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.nightly_scale import choose
from helpers.rig_harness import RigHarness
from helpers.slowdown import patience

from lenslink.cli.checks import Check
from lenslink_hil.rig.presence import Presence, look
from lenslink_hil.rig.rig_doctor import Patience, check_rig
from lenslink_hil.rig.taken_board import take_board
from lenslink_hil.rig.usb_port import find_usb_port

PATIENCE = Patience(
    lock=0.2, look=patience(1), vanish=patience(0.7), lag=patience(0.7), appear=patience(10)
)
VERDICT_S = 20
"""Doctor's verdict on a board takes at most as long."""


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RigHarness]:
    with RigHarness(tmp_path_factory.mktemp("a rig"), ["left", "right"]) as found:
        yield found


@pytest.fixture(autouse=True)
def healthy(harness: RigHarness) -> Iterator[None]:
    """Leave the boards as they were: powered, plugged and answering."""
    yield
    harness.mood = "obeys"
    harness.write()
    for name in harness.names:
        harness.command(name, "plug")
        harness.command(name, "on")


def check(harness: RigHarness, **options: bool) -> dict[str, Check]:
    """Return the checks of the board *left* by their names."""
    rig = harness.load()
    checks = check_rig(rig, [rig.boards["left"]], PATIENCE, **options)
    return {each.name.removeprefix("board left: "): each for each in checks}


def test_a_sound_rig_passes_every_check(harness: RigHarness) -> None:
    harness.write('kind = "sim"\nfirmware = "lensfw 0.1.*"\nfloors = {frames_per_s = 0.01}')
    checks = check(harness)
    assert {each.name: each.detail for each in checks.values() if not each.ok} == {}
    assert checks["power"].detail == "the board vanishes, and its uptime begins anew"
    assert {"board left", "identity", "frames_per_s", "power", "pyserial"} <= set(checks)


MOODS = [
    ("lies", 60, "the switch does not cut its power"),
    ("lags", 60, "the switch lags"),
    ("hangs", 0.3, "within 0.3 s"),
    ("answers 500", 60, "answered 500"),
    ("switches the wrong port", 60, "the switch cut the power of board right instead"),
]


@pytest.mark.parametrize(("mood", "timeout", "said"), choose(MOODS[:2], MOODS))
def test_a_switch_that_misbehaves_is_found(
    harness: RigHarness, mood: str, timeout: float, said: str
) -> None:
    rig_file = harness.file
    text = rig_file.read_text()
    rig_file.write_text(text.replace("timeout = 5.0", f"timeout = {timeout}"))
    harness.mood = mood
    harness.lag_s = PATIENCE.lag + 0.2
    began = time.monotonic()
    found = check(harness)["power"]
    assert time.monotonic() - began < patience(VERDICT_S)
    assert said in found.detail
    assert not found.ok
    assert found.cure
    assert found.needed is (mood != "lags")


def test_a_board_that_is_unplugged_or_wedged_is_named_with_what_to_do(harness: RigHarness) -> None:
    harness.command("left", "unplug")
    found = check(harness, with_power=False)["board left"]
    assert "is not there" in found.detail
    assert "cable" in found.cure
    harness.command("left", "plug")
    harness.command("left", "wedge")
    found = check(harness, with_power=False)["board left"]
    assert "does not answer" in found.detail
    # A power cycle cures it. The switch is proved by the board's going and coming.
    assert check(harness)["power"].ok
    assert look(harness.load().boards["left"].url, patience(10)).presence is Presence.ANSWERS


WRONG = [
    ('serial = "LL-1"', "is module SIM-left, not LL-1"),
    ('kind = "pico"', "it is a sim, not a pico"),
    ('firmware = "lensfw 9.*"', "rig.toml expects lensfw 9.*; flash the board"),
]


@pytest.mark.parametrize(("line", "said"), choose(WRONG[:1], WRONG))
def test_the_wrong_board_and_the_wrong_firmware_are_found(
    harness: RigHarness, line: str, said: str
) -> None:
    harness.write(line)
    assert said in check(harness, with_power=False)["identity"].detail


def test_a_floor_that_is_not_reached_and_a_full_disk_are_found(
    harness: RigHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lenslink_hil.rig import rig_doctor

    usage = rig_doctor.shutil.disk_usage(harness.folder)
    monkeypatch.setattr(rig_doctor.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    harness.write("floors = {frames_per_s = 100000}")
    checks = check(harness, with_power=False)
    assert not checks["frames_per_s"].ok
    assert not checks["recordings: space"].ok
    assert "free 268 MB there" in checks["recordings: space"].cure


def test_a_board_that_a_job_has_is_left_alone(harness: RigHarness) -> None:
    rig = harness.load()
    with take_board([rig.boards["left"]], 0, rig=rig, command="pytest tests/hil"):
        checks = check(harness)
    assert "held by" in checks["free"].detail
    assert "pytest tests/hil" in checks["free"].detail
    assert set(checks) == {"runtime folder: space", "recordings: space", "pyserial", "free"}


def test_a_board_runs_on_when_its_hosts_come_and_go(harness: RigHarness) -> None:
    url = harness.load().boards["left"].url
    first, second = (look(url, patience(10)) for _ in range(2))
    assert second.uptime_us > first.uptime_us
    assert second.boot_count == first.boot_count
    assert not second.has_restarted_since(first)
    harness.command("left", "off")
    harness.command("left", "on")
    third = look(url, patience(10))
    assert third.has_restarted_since(second)
    assert third.boot_count == second.boot_count + 1


def test_the_usb_port_of_a_board_is_read(tmp_path: Path) -> None:
    for name, serial in (("1-2.3", "LL-1"), ("1-4", "LL-2")):
        (tmp_path / name / "power").mkdir(parents=True)
        (tmp_path / name / "serial").write_text(serial + "\n")
        (tmp_path / name / "speed").write_text("12\n")
        (tmp_path / name / "power/control").write_text("auto\n")
    (tmp_path / "1-4" / "1-4:1.0" / "tty" / "ttyACM7").mkdir(parents=True)
    (tmp_path / "usb1").mkdir()
    port = find_usb_port("usb", "LL-1", tmp_path)
    assert port is not None
    assert (port.path, port.hubs, port.speed, port.is_suspended) == ("1-2.3", 1, "12", True)
    assert find_usb_port("usb", "1-2.3", tmp_path) == port
    cdc = find_usb_port("serial", "/dev/ttyACM7", tmp_path)
    assert cdc is not None
    assert cdc.path == "1-4"
    assert find_usb_port("usb", "LL-3", tmp_path) is None
    assert find_usb_port("unix", "LL-1", tmp_path) is None
