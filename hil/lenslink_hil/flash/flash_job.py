"""Flash one board on a serial port: identify, plan, send, verify, restart, confirm.

``lenslink flash`` calls :func:`flash_board`. Nothing is written before everything has been checked.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import lenslink
from lenslink.deadline import Deadline
from lenslink.errors import (
    DeviceBusy,
    DeviceError,
    Disconnected,
    LensLinkError,
    NotFound,
    RigError,
    Timeout,
    UsageError,
)

from .board_identity import (
    Identity,
    check_fits,
    check_is_board,
    check_is_no_downgrade,
    find_board,
)
from .board_layout import OWN, SLOTS
from .board_port import BoardPort, wait_for_board
from .bundle import Bundle, build_bundle
from .update import (
    BoardState,
    Plan,
    apply_plan,
    erase_files,
    list_own_files,
    plan_recovery,
    plan_update,
    read_state,
)

_RETRY_S: Final = 0.2

_log = logging.getLogger(__name__)

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FlashRequest:
    """What to put on a board."""

    board: str
    """The name of the board that the firmware is for."""
    port: str
    """The serial port of the board."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the configuration; they are added to those that the board was flashed with."""
    serial: str | None = None
    """The module's serial number; None keeps the board's."""
    bundle: Bundle | None = None
    """The firmware; None builds it. A bundle brings its own options."""
    force: bool = False
    """Install an older build than the board has."""
    recover: bool = False
    """Wait for a board that does not start its firmware, and forget what is in its slots."""
    dry_run: bool = False
    """Say what would be done, and write nothing."""
    url: str | None = None
    """Where the module can be opened after its restart; None derives it from the configuration."""
    open_module: Callable[..., lenslink.Device] = lenslink.open
    """Opens that URL: called with the URL and ``timeout``, in seconds."""


def flash_board(request: FlashRequest, deadline: Deadline, report: Report) -> dict[str, Any]:
    """Flash a board and return what was done, as ``lenslink flash --json`` prints it.

    Args:
        request: what to do.
        deadline: for all of it.
        report: called with a sentence before each step.

    Raises:
        UsageError: the board is another one, its MicroPython does not fit, or it has a newer build.
        DeviceError: the board does not answer, is full, or the firmware does not start.
        Disconnected: the board went away. The next call goes on where this one ended.
    """
    began = time.monotonic()
    if request.bundle is not None and request.bundle.board != request.board:
        raise UsageError(f"the bundle is for '{request.bundle.board}', not for '{request.board}'")
    report(f"asking the board on {request.port}")
    with _open_board(request, deadline) as board:
        identity = board.identify()
        try:
            bundle, root = _choose_firmware(request, board, identity, report)
            state = read_state(board)
            check_is_no_downgrade(_find_build(state), bundle, request.force or request.recover)
            plan_files = plan_recovery if request.recover else plan_update
            plan = plan_files(state, bundle.slot_files, root)
            result = _describe(request, identity, bundle, plan, state)
            if not request.dry_run:
                _check_space(plan, identity)
                total = plan.count_bytes
                apply_plan(
                    plan,
                    board,
                    lambda path, sent: report(f"sending {path} ({sent:,} of {total:,} bytes)"),
                )
        finally:
            _restart(board)
    if not request.dry_run:
        url = request.url or _derive_url(request.port, bundle, json.loads(root[OWN]), identity)
        report(f"opening {url}")
        result["confirmed"] = _confirm(request, url, bundle.firmware, deadline)
    result["seconds"] = round(time.monotonic() - began, 3)
    return result


def erase_board(request: FlashRequest, deadline: Deadline, report: Report) -> dict[str, Any]:
    """Remove all files of LensLink from a board, and return what ``lenslink flash --erase`` prints.

    The board is plain MicroPython afterwards. Other files stay, also a boot.py or main.py that is
    not LensLink's.

    Raises:
        UsageError: the board is another one than *request* names.
        DeviceError: the board does not answer.
        Disconnected: the board went away. The next call goes on where this one ended.
    """
    report(f"asking the board on {request.port}")
    with _open_board(request, deadline) as board:
        identity = board.identify()
        try:
            check_is_board(identity, request.board)
            paths = list_own_files(board)
            if not request.dry_run:
                erase_files(paths, board, lambda path: report(f"removing {path}"))
        finally:
            _restart(board)
    return {
        "schema": "lenslink.flash-erase/1",
        "board": request.board,
        "port": request.port,
        "removed": paths,
        "dry_run": request.dry_run,
    }


def _open_board(request: FlashRequest, deadline: Deadline) -> BoardPort:
    """Open the board. One whose firmware does not start answers only between two of its starts."""
    while True:
        try:
            return BoardPort(request.port, deadline)
        except (DeviceError, Disconnected):
            if not request.recover or not deadline.remaining():
                raise
        time.sleep(_RETRY_S)


def _choose_firmware(
    request: FlashRequest, board: BoardPort, identity: Identity, report: Report
) -> tuple[Bundle, dict[str, bytes]]:
    """Return the firmware and the files outside the slots, after the board was found to fit."""
    check_is_board(identity, request.board)
    recorded = _read_own(board)
    bundle = request.bundle
    if bundle is None:
        known = recorded.get("options") if recorded.get("board") == request.board else None
        options = {**(known if isinstance(known, dict) else {}), **request.options}
        report(f"building the firmware for {request.board}")
        bundle = build_bundle(request.board, options)
    check_fits(identity, bundle)
    kept = recorded.get("serial")
    serial = request.serial or (kept if isinstance(kept, str) else "")
    return bundle, {**bundle.root_files, OWN: bundle.encode_own(serial)}


def _read_own(board: BoardPort) -> dict[str, Any]:
    try:
        value = json.loads(board.read_file(OWN) or b"")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _find_build(state: BoardState) -> int:
    """Return the build of the marked slot; 0 if it is unknown."""
    slot = state.marker.slot if state.marker else ""
    build = state.builds.get(slot, {}).get("build", 0)
    return build if isinstance(build, int) else 0


def _check_space(plan: Plan, identity: Identity) -> None:
    if plan.count_bytes > identity.free_storage:
        raise DeviceError(
            f"the board has {identity.free_storage:,} bytes free, and the firmware needs "
            f"{plan.count_bytes:,}: remove files from it, or use --erase"
        )


def _describe(
    request: FlashRequest, identity: Identity, bundle: Bundle, plan: Plan, state: BoardState
) -> dict[str, Any]:
    return {
        "schema": "lenslink.flash/1",
        "board": request.board,
        "port": request.port,
        "machine": identity.machine,
        "micropython": identity.version,
        "firmware": bundle.firmware,
        "build": bundle.build,
        "installed_build": _find_build(state),
        "slot": plan.slot,
        "files": {path: len(content) for path, content in plan.files.items()},
        "removed": list(plan.removals),
        "bytes": plan.count_bytes,
        "dry_run": request.dry_run,
        "confirmed": False,
    }


def _restart(board: BoardPort) -> None:
    """Start the firmware that the marker names. A board that went away has started already."""
    try:
        board.reset()
    except LensLinkError as error:
        _log.debug("reset: %s", error)


def _derive_url(port: str, bundle: Bundle, own: Mapping[str, Any], identity: Identity) -> str:
    has_usb = bundle.configuration["usb"]["lanes"] > 0
    return f"usb:{own['serial'] or identity.unique_id}" if has_usb else f"serial:{port}"


def _confirm(request: FlashRequest, url: str, firmware: str, deadline: Deadline) -> bool:
    """Open a session with the new firmware, which confirms its slot.

    Raises:
        DeviceError: another firmware answers, or none does.
    """
    with _open_module(request, url, deadline) as module:
        found = module.manifest.firmware
    if found != firmware:
        raise DeviceError(f"{url} runs {found}, not {firmware}: 'lenslink firmware log' says why")
    return True


def _open_module(request: FlashRequest, url: str, deadline: Deadline) -> lenslink.Device:
    while True:
        try:
            return request.open_module(url, timeout=max(deadline.remaining(), 0.001))
        # RigError: a board that is just starting may not answer a request of the bus in time.
        except (NotFound, DeviceBusy, Disconnected, Timeout, RigError) as error:
            if not deadline.remaining():
                raise DeviceError(
                    f"the firmware is on the board, but {url} does not answer ({error}): "
                    "'lenslink firmware log' says why"
                ) from None
            time.sleep(_RETRY_S)


def describe_board(port: str, deadline: Deadline) -> dict[str, Any]:
    """Return what is on a board, as ``lenslink firmware status --json`` prints it.

    The firmware is interrupted and started again.
    """
    with wait_for_board(port, deadline) as board:
        try:
            identity, state = board.identify(), read_state(board)
            own = _read_own(board)
        finally:
            _restart(board)
    marker = state.marker
    crash = {"slot": marker.crash_slot, "text": marker.crash} if marker and marker.crash else {}
    return {
        "schema": "lenslink.firmware-status/1",
        "port": port,
        "board": find_board(identity),
        "machine": identity.machine,
        "micropython": identity.version,
        "serial": own.get("serial") or identity.unique_id,
        "slots": {slot: _describe_slot(state, slot) for slot in SLOTS},
        "failed_starts": marker.failures if marker else 0,
        "crash": crash,
    }


def _describe_slot(state: BoardState, slot: str) -> dict[str, Any]:
    build, marker = state.builds.get(slot, {}), state.marker
    return {
        "files": len(state.list_slot(slot)),
        "version": str(build.get("version", "")),
        "id": str(build.get("id", "")),
        "build": build.get("build", 0),
        "git": build.get("git"),
        "intact": state.is_intact(slot),
        "started": marker is not None and marker.slot == slot,
        "confirmed": marker is not None and marker.good == slot,
    }
