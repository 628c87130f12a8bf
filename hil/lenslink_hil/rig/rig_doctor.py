"""Check a rig, and prove what its file claims: ``lenslink rig doctor``.

A power switch is believed only if the board vanishes when the power is off, and if its uptime has
begun anew when the board is back. Many hubs report a port as off and leave 5 V on it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import lenslink
from lenslink.cli.checks import Check
from lenslink.errors import LensLinkError, RigError, UsageError
from lenslink.runtime import runtime_dir
from lenslink.transports import parse

from .presence import Presence, Sighting, look, wait_for
from .rig_file import Board, Rig
from .rig_power import RigPower
from .taken_board import TakenBoard, take_board
from .usb_port import find_usb_port

MIN_FREE: Final = 256 << 20
"""Bytes that recordings of failing tests need."""
_UDEV_RULE: Final = 'SUBSYSTEM=="usb", ATTR{idVendor}=="1209", MODE="0660", TAG+="uaccess"'
_FLOOR_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long doctor waits, in seconds."""

    lock: float = 5.0
    look: float = 3.0
    """For one answer of a board."""
    vanish: float = 8.0
    """For a board to vanish when its power is off."""
    lag: float = 2.0
    """A switch that takes longer is reported as slow."""
    appear: float = 8.0
    """For a board to come back when its power is on."""


def check_rig(
    rig: Rig, boards: list[Board], patience: Patience | None = None, *, with_power: bool = True
) -> Iterator[Check]:
    """Check the machine, and then each of *boards*.

    Args:
        rig: The rig that the boards are of.
        boards: What to check.
        patience: How long to wait.
        with_power: Switch the power of boards that have a switch.
    """
    yield from check_machine()
    for board in boards:
        yield from check_board(rig, board, patience or Patience(), with_power)


# --- the machine -----------------------------------------------------------------------------


def check_machine() -> Iterator[Check]:
    """Check what all boards need of this machine."""
    yield _check_space(runtime_dir(), "runtime folder", 1 << 20)
    yield _check_space(Path.cwd(), "recordings", MIN_FREE)
    yield _check_serial_package()


def _check_space(folder: Path, name: str, least: int) -> Check:
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e6:.0f} MB free in {folder}"
    return Check(f"{name}: space", free >= least, detail, f"free {least / 1e6:.0f} MB there")


def _check_serial_package() -> Check:
    """Check the module *serial*, and say whose it is where two packages have written its files."""
    found = {}
    for name in ("pyserial", "pyserial-labgrid"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    detail = ", ".join(f"{name} {text}" for name, text in found.items()) or "not installed"
    try:
        import serial
    except ImportError:
        # To uninstall either package takes files of the other one away.
        cure = "type: pip install --force-reinstall pyserial"
        return Check("pyserial", False, f"{detail}; its files are missing", cure)
    if len(found) > 1:
        detail += f"; the files are those of {serial.__version__}: uninstall neither alone"
    return Check("pyserial", True, detail)


# --- a board ---------------------------------------------------------------------------------


def check_board(rig: Rig, board: Board, patience: Patience, with_power: bool) -> Iterator[Check]:
    """Check one board of *rig*, which is reserved meanwhile."""
    name = f"board {board.name}"
    try:
        taken = take_board(
            [board], patience.lock, rig=rig, command="lenslink rig doctor", is_switched_on=False
        )
    except RigError as error:
        yield Check(f"{name}: free", False, str(error), "")
        return
    with taken:
        yield from _check_usb(name, board)
        broken_switch = _switch_on(taken) if with_power else None
        seen, check = _check_answer(name, board, patience)
        yield check
        if seen.presence is Presence.ANSWERS:
            yield from _check_identity(name, board, seen)
            yield from _check_floors(name, board, patience)
        if broken_switch is not None:
            yield broken_switch
        elif taken.power is not None and with_power:
            yield _prove_power(rig, taken, taken.power, seen, patience)


def _switch_on(taken: TakenBoard) -> Check | None:
    """Switch the board on; return the check that failed if that did not work."""
    try:
        taken.switch_on()
    except RigError as error:
        return _make_switch_check(taken.board, error)
    return None


def _make_switch_check(board: Board, error: RigError) -> Check:
    switch = board.power.name if board.power else ""
    return Check(f"board {board.name}: power", False, str(error), f"check [power.{switch}]")


def _check_answer(name: str, board: Board, patience: Patience) -> tuple[Sighting, Check]:
    try:
        seen, _ = wait_for(
            board.url, lambda s: s.presence is Presence.ANSWERS, patience.look, patience.look
        )
    except (RigError, UsageError) as error:
        return Sighting(Presence.SILENT, str(error)), Check(name, False, str(error))
    if seen.presence is Presence.ANSWERS:
        return seen, Check(name, True, f"{board.url} answers, up for {seen.uptime_us / 1e6:.1f} s")
    cures = {
        Presence.ABSENT: "check its cable and its power, or correct its address in rig.toml",
        Presence.SILENT: "switch its power off and on, then type: lenslink firmware",
        Presence.BUSY: "a program that does not reserve boards has it: end that program",
    }
    cure = cures[seen.presence]
    if "ermission" in seen.detail or "ccess denied" in seen.detail:
        cure = f"write into /etc/udev/rules.d/60-lenslink.rules: {_UDEV_RULE}"
    return seen, Check(name, False, f"{board.url} {seen.presence.value}: {seen.detail}", cure)


def explain_mismatch(board: Board, serial: str, kind: str, firmware: str) -> str:
    """Return in what a board differs from rig.toml, with the cure; "" in nothing."""
    if board.serial and serial != board.serial:
        return (
            f"board {board.name}: {board.url} is module {serial}, not {board.serial}; "
            "plug the right board in, or correct rig.toml"
        )
    if board.kind and kind != board.kind:
        return (
            f"board {board.name}: it is a {kind or 'board without a name'}, not a {board.kind}; "
            "plug the right board in, or correct rig.toml"
        )
    if board.firmware and not fnmatch.fnmatchcase(firmware, board.firmware):
        return (
            f"board {board.name}: it runs the firmware {firmware}, and rig.toml expects "
            f"{board.firmware}; flash the board, or correct rig.toml"
        )
    return ""


def _check_identity(name: str, board: Board, seen: Sighting) -> Iterator[Check]:
    problem = explain_mismatch(board, seen.serial, seen.kind, seen.firmware)
    detail = f"module {seen.serial}, a {seen.kind}, firmware {seen.firmware}"
    yield Check(f"{name}: identity", not problem, problem or detail)


def _check_floors(name: str, board: Board, patience: Patience) -> Iterator[Check]:
    """Measure the preview for two seconds, and compare it with the board's floors."""
    if not board.floors:
        return
    try:
        measured = _measure_preview(board.url, patience)
    except LensLinkError as error:
        yield Check(f"{name}: preview", False, str(error))
        return
    for key, floor in board.floors.items():
        found = measured[key]
        yield Check(
            f"{name}: {key}",
            found >= floor,
            f"{found:.1f}, and rig.toml wants {floor:g}",
            "check the cable, and the hub that the board is on",
        )


def _measure_preview(url: str, patience: Patience) -> dict[str, float]:
    with lenslink.open(url, timeout=patience.look) as device:
        device.start()
        device.next_frame().release()
        began, before = time.monotonic(), device.stats.wire_bytes
        frames = 0
        while time.monotonic() - began < _FLOOR_S:
            device.next_frame().release()
            frames += 1
        seconds = time.monotonic() - began
        moved = device.stats.wire_bytes - before
        device.stop()
    return {"frames_per_s": frames / seconds, "bytes_per_s": moved / seconds}


def _check_usb(name: str, board: Board) -> Iterator[Check]:
    """Check the port of a board that is on this machine's USB."""
    url = parse(board.url)
    port = find_usb_port(url.scheme, url.path)
    if port is None:
        return
    yield Check(
        f"{name}: USB",
        port.hubs <= 2,
        f"port {port.path}, behind {port.hubs} hubs, {port.speed} Mbit/s",
        "plug the board in nearer to the machine",
        needed=False,
    )
    yield Check(
        f"{name}: autosuspend",
        not port.is_suspended,
        f"power/control is {port.control}",
        f"type: echo on | sudo tee {port.folder}/power/control",
        needed=False,
    )


# --- the proof of the power ------------------------------------------------------------------


def _prove_power(
    rig: Rig, taken: TakenBoard, power: RigPower, before: Sighting, patience: Patience
) -> Check:
    """Switch off and on, and look whether the board goes and starts anew."""
    board = taken.board
    name = f"board {board.name}: power"
    others = _look_at_others(rig, board, patience)
    try:
        began = time.monotonic()
        power.off()
        gone, has_gone = wait_for(
            board.url, lambda s: s.presence is Presence.ABSENT, patience.vanish, patience.look
        )
        lag = time.monotonic() - began
        victim = None if has_gone else _find_victim(rig, others, patience)
        power.on()
        back, is_back = wait_for(
            board.url, lambda s: s.presence is Presence.ANSWERS, patience.appear, patience.look
        )
    except RigError as error:
        return _make_switch_check(board, error)
    if victim is not None:
        return Check(
            name,
            False,
            f"the switch cut the power of board {victim} instead",
            f"correct [power.{power.entry.name}] in rig.toml",
        )
    if not has_gone:
        return Check(
            name,
            False,
            f"'off' succeeded, and the board still {gone.presence.value} after "
            f"{patience.vanish:g} s: the switch does not cut its power",
            "many hubs do not: use another hub or a relay",
        )
    if not is_back:
        return Check(
            name,
            False,
            f"the board {back.presence.value} {patience.appear:g} s after 'on': {back.detail}",
            "look at the board",
        )
    if before.presence is Presence.ANSWERS and not back.has_restarted_since(before):
        return Check(
            name,
            False,
            "the board vanished and came back with its uptime unbroken: its power was not cut",
            "the switch cuts the data lines only: use one that cuts 5 V",
        )
    detail = "the board vanishes, and its uptime begins anew"
    if lag > patience.lag:
        return Check(
            name, False, f"{detail}, and the switch lags: {lag:.1f} s",
            "tests wait for it: a faster switch saves that time", needed=False,
        )  # fmt: skip
    return Check(name, True, detail)


def _look_at_others(rig: Rig, board: Board, patience: Patience) -> list[Board]:
    """Return the other boards that answer now. A board that a job has is not touched."""
    found = []
    for other in rig.boards.values():
        if other.power is None or other.name == board.name:
            continue
        if _look_if_free(rig, other, patience) is Presence.ANSWERS:
            found.append(other)
    return found


def _find_victim(rig: Rig, others: list[Board], patience: Patience) -> str | None:
    """Return the name of the board that has vanished instead."""
    for other in others:
        if _look_if_free(rig, other, patience) is Presence.ABSENT:
            return other.name
    return None


def _look_if_free(rig: Rig, board: Board, patience: Patience) -> Presence | None:
    """Look at a board without switching its power; None if a job has it."""
    from .board_lock import BoardLock, make_lock_path

    lock = BoardLock.try_to_take(make_lock_path(board.address, rig.locks), "lenslink rig doctor")
    if lock is None:
        return None
    try:
        return look(board.url, patience.look).presence
    finally:
        lock.release()
