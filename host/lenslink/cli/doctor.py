"""The command ``lenslink doctor``: check the installation.

Each check is a function that returns a :class:`.checks.Check`. The checks of the benches come from
the commands that need them.
"""

from __future__ import annotations

import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version

import click

import lenslink
from lenslink.errors import LensLinkError, RigError
from lenslink.installation import make_install_hint

from .checks import Check, CheckedCommand
from .options import CommonOptions, common_options, pass_common
from .screen import Screen, emit_json, emit_table

_SIM = "sim:?scene=ramp&width=64&height=64"
_PYTHONS = ((3, 11), (3, 13))
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
# The extra, the package that shows whether it is installed, and what is missing without it.
_EXTRAS = {
    "demo": ("scikit-image", "sim: shows colour bars, not a photograph"),
    "isp": ("opencv-python-headless", "RAW is not developed: no develop, focus and merge"),
    "viewfinder": ("aiohttp", "there is no viewfinder"),
    "flash": ("mpremote", "firmware cannot be put on a board"),
    "labgrid": ("labgrid", "boards of other machines cannot be used"),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
@click.pass_context
def doctor(ctx: click.Context, common: CommonOptions, as_json: bool) -> None:
    """Check the installation, line by line, and print how to cure what is missing.

    The last check opens a simulated module and takes a frame of 64 x 64 pixels from it. The exit
    code is 0 if everything that is needed works, else 11.

    \b
    Examples:
      lenslink doctor
      lenslink doctor --json | jq '.checks[] | select(.ok | not)'
    """
    with Screen(common).show_progress() as progress:
        checks = []
        for check in _run_checks(ctx.find_root(), common.timeout):
            checks.append(check)
            progress.show(f"checked: {check.name} ...")
    ok = all(check.ok or not check.needed for check in checks)
    if as_json:
        described = [{**asdict(check), "status": check.status.lower()} for check in checks]
        emit_json({"schema": "lenslink.doctor/1", "ok": ok, "checks": described})
    else:
        emit_table(_make_row(check) for check in checks)
    if not ok:
        failed = ", ".join(check.name for check in checks if check.needed and not check.ok)
        raise RigError(f"the installation does not work: {failed}")


def _make_row(check: Check) -> tuple[str, str, str]:
    cure = f"; {check.cure}" if check.cure and not check.ok else ""
    return check.name, check.status, f"{check.detail}{cure}"


def _run_checks(program: click.Context, timeout: float) -> Iterator[Check]:
    yield _check_python()
    yield from _check_packages()
    yield _check_crc()
    yield from _check_benches(program)
    yield _check_runtime_folder()
    yield _check_frame_rings()
    yield from map(_check_extra, _EXTRAS)
    yield _check_devices()
    yield _check_simulation(timeout)


def _check_python() -> Check:
    oldest, newest = (".".join(map(str, pair)) for pair in _PYTHONS)
    return Check(
        "Python",
        _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1],
        f"{platform.python_version()} at {sys.executable}",
        f"use Python {oldest} to {newest}",
    )


def _check_packages() -> Iterator[Check]:
    """Check the packages that the default installation requires on every platform."""
    try:
        listed = requires("lenslink") or []
    except PackageNotFoundError:
        yield Check("lenslink", False, "not installed", make_install_hint())
        return
    for line in listed:
        name, _, marker = line.partition(";")
        match = _REQUIREMENT.match(name)
        if match is None or marker:  # extras and MicroPython have checks of their own
            continue
        try:
            yield Check(match[0], True, version(match[0]))
        except PackageNotFoundError:
            yield Check(match[0], False, "not installed", f"type: pip install '{name.strip()}'")


def _check_crc() -> Check:
    """Check the speed of the CRC-32 library, which reads every byte of every frame."""
    from lenslink_protocol.crc import LIBRARY, crc32

    data = bytes(1 << 20)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        crc32(data)
        best = max(best, len(data) / max(time.perf_counter() - start, 1e-9))
    fast = LIBRARY != "zlib"
    bound = f": too slow for a link of more than {best * 8e-9:.0f} Gbit/s, even without receiving"
    detail = f"{LIBRARY}, {best * 1e-9:.1f} GB/s"
    cure = "type: pip install isal, or zlib-ng"
    return Check("CRC-32", fast, detail if fast else detail + bound, cure, needed=False)


def _check_benches(program: click.Context) -> Iterator[Check]:
    """Run the checks that the commands bring."""
    group = program.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(program):
        command = group.get_command(program, name)
        if isinstance(command, CheckedCommand):
            yield from (check() for check in command.checks)


def _check_runtime_folder() -> Check:
    from lenslink.runtime import runtime_dir

    cure = "set LENSLINK_RUNTIME_DIR to a folder that you may write to"
    try:
        folder = runtime_dir()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (LensLinkError, OSError) as error:
        return Check("runtime folder", False, str(error), cure)
    return Check("runtime folder", True, str(folder))


def _check_frame_rings() -> Check:
    """Check shared memory, and remove the frame rings of writers that were killed."""
    name = "frame rings"
    try:
        from lenslink.frame_ring import sync
        from lenslink.frame_ring.segment import clean, folder

        sync.fence()
        removed, where = len(clean()), folder()
    except (ImportError, LensLinkError, OSError) as error:
        return Check(name, False, str(error), needed=False)
    note = f", removed {removed} of killed writers" if removed else ""
    return Check(name, True, f"in {where}{note}", needed=False)


def _check_extra(extra: str) -> Check:
    package, loss = _EXTRAS[extra]
    try:
        detail, is_installed = f"{package} {version(package)}", True
    except PackageNotFoundError:
        detail, is_installed = f"{package} is not installed", False
    cure = f"{loss}; {make_install_hint(extra)}"
    return Check(f"extra '{extra}'", is_installed, detail, cure, needed=False)


def _check_devices() -> Check:
    try:
        found = [device.url for device in lenslink.list_devices()]
    except LensLinkError as error:
        return Check("devices", False, str(error), needed=False)
    # Without a device the installation is still sound.
    return Check("devices", True, ", ".join(found) or "none found")


def _check_simulation(timeout: float) -> Check:
    name = "sim: takes a frame"
    try:
        with lenslink.open(_SIM, timeout=timeout) as device, device.capture() as frame:
            complete = frame.status is lenslink.FrameStatus.COMPLETE
            detail = f"{frame.width} x {frame.height} pixels, {frame.status.value}"
    except LensLinkError as error:
        return Check(name, False, str(error))
    return Check(name, complete, detail, "run it again with: lenslink -v capture sim:")
