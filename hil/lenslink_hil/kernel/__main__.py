"""``make test-kernel``: the suites over ``usb:`` and ``serial:`` on a real Linux kernel in QEMU.

Each transport has a guest of its own, both run at once. What they print is kept in out/kernel; here
comes a line for each suite, and the exit code: 0, 7 where a test failed, 11 where it could not run.
``--if-possible`` makes that last one a loud NOT RUN and 0; ``--write`` keeps the results in
tests/KERNEL.md. ``--all`` leaves no test out for the time that it takes: that is nightly's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, RigError

from . import guest, guest_boards, initrd, kernel_package
from .host_boards import Boards

SUITES: Final = ("conform", "e2e", "kernel")
TRANSPORTS: Final = ("usb", "serial")
_KERNEL_S: Final = 180.0
_GUEST_S: Final = 900.0
"""Of a machine that does other things too; on an idle one it takes a third of that."""
_WHOLE_S: Final = 7200.0
_FAILED: Final = 7
_LOGS: Final = Path("out/kernel")
_RESULTS: Final = Path("tests/KERNEL.md")
_RUN: Final = "/run/lenslink"
# What apt installs, by the program that is looked for.
_PACKAGES: Final = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static"}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="lenslink_hil.kernel")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="usb:e2e ...; default: all")
    parser.add_argument("--if-possible", action="store_true", help="where it cannot run, say so")
    parser.add_argument("--write", action="store_true", help=f"write {_RESULTS}")
    parser.add_argument("--all", action="store_true", help="no sample: takes half an hour")
    options = parser.parse_args()
    suites = options.suites or [f"{t}:{s}" for t in TRANSPORTS for s in SUITES]
    signal.signal(signal.SIGTERM, _terminated)
    try:
        kernel, busybox = prepare()
    except LensLinkError as error:
        if options.if_possible:
            print(f"NOT RUN: make test-kernel: {error}", flush=True)
            return 0
        print(f"lenslink: error: {error}", file=sys.stderr)
        return error.exit_code
    began = time.monotonic()
    results, troubles = run_guests(kernel, busybox, suites, whole=options.all)
    lines = [line for result in results for line in described(result)]
    missing = [each for each in suites if each not in [result["suite"] for result in results]]
    lines += [f"{suite}: did not come to its end: see {_LOGS}" for suite in missing]
    lines += troubles
    lines.append(f"{kernel.package}, {time.monotonic() - began:.0f} s in all")
    print("\n".join(lines), flush=True)
    if options.write:
        write(kernel, lines)
    if troubles or missing:
        return RigError.exit_code
    return _FAILED if any(result["failed"] for result in results) else 0


def prepare() -> tuple[kernel_package.Kernel, Path]:
    """A kernel and a busybox; RigError names in one line all that is missing."""
    missing = [package for name, package in _PACKAGES.items() if shutil.which(name) is None]
    if missing:
        raise RigError(f"it needs {' and '.join(missing)}: sudo apt install {' '.join(missing)}")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise RigError("it needs Linux on x86-64: the guest runs the programs of this machine")
    busybox = initrd.find_busybox()
    assert busybox is not None
    return kernel_package.find_kernel(Deadline(_KERNEL_S, "fetching the kernel")), busybox


def run_guests(
    kernel: kernel_package.Kernel, busybox: Path, suites: Iterable[str], *, whole: bool = False
) -> tuple[list[dict[str, Any]], list[str]]:
    """Each suite's result, in order, and what went wrong with the guests."""
    seconds = _WHOLE_S if whole else _GUEST_S
    of = {t: [s for s in suites if s.startswith(f"{t}:")] for t in TRANSPORTS}
    shutil.rmtree(_LOGS, ignore_errors=True)
    _LOGS.mkdir(parents=True)
    results, troubles = [], []
    with contextlib.ExitStack() as stack:
        deadline = Deadline(seconds, "a guest")
        started = [
            start(kernel, busybox, t, script(chosen, seconds, whole=whole), stack)
            for t, chosen in of.items()
            if chosen
        ]
        for running, out in started:
            try:
                running.wait(deadline)
            except LensLinkError as error:
                troubles.append(str(error))
            with contextlib.suppress(FileNotFoundError):
                text = (out / "results.jsonl").read_text(encoding="utf-8")
                results += [json.loads(line) for line in text.splitlines()]
    return results, troubles


def start(
    kernel: kernel_package.Kernel,
    busybox: Path,
    transport: str,
    job: bytes,
    stack: contextlib.ExitStack,
) -> tuple[guest.Guest, Path]:
    """One guest, with boards of its own; and its folder of results. *job* is :func:`script`'s."""
    boards = stack.enter_context(contextlib.closing(Boards()))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lenslink-kernel-")))
    log = stack.enter_context((_LOGS / f"{transport}.log").open("w", encoding="utf-8", buffering=1))
    archive, out = folder / "initrd", folder / "out"
    archive.write_bytes(initrd.build(kernel, busybox, {"run": job}))
    out.mkdir()
    ports = {guest_boards.CONTROL_PORT: boards.control}
    ports |= {guest_boards.USBIP_PORT + slot: port for slot, port in enumerate(boards.ports)}
    print(f"{transport}: a guest runs; {log.name} has what it prints", flush=True)
    running = guest.Guest(
        kernel,
        archive,
        out=out,
        ports=ports,
        busybox=busybox,
        line=lambda line: print(line, file=log),
    )
    return stack.enter_context(contextlib.closing(running)), out


def script(suites: Iterable[str], seconds: float = _GUEST_S, *, whole: bool = False) -> bytes:
    """What the guest runs: this Python, in this folder, as if it had been started here."""
    more = ["--all"] if whole else []
    words = [sys.executable, "-m", "lenslink_hil.kernel.inside", *more, f"{_RUN}/out", *suites]
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    kept = {name: os.environ[name] for name in ("LENSLINK_TEST_SEED", "CI") if name in os.environ}
    environment = {
        "PYTHONUNBUFFERED": "1",
        "PATH": path,
        "HOME": "/run/tmp",
        "TMPDIR": "/run/tmp",
        "LC_ALL": "C.UTF-8",
    }
    lines = [
        # Nobody may be left on the host to end it.
        f"(sleep {seconds:.0f}; poweroff -f) &",
        *(f"export {k}={shlex.quote(v)}" for k, v in (environment | kept).items()),
        f"cd {shlex.quote(str(Path.cwd()))}",
        shlex.join(words),
        "poweroff -f",
    ]
    return "\n".join(lines).encode() + b"\n"


def described(result: dict[str, Any]) -> list[str]:
    """A line for the suite, what failed in it, and what it measured."""
    left_out = result["left_out"]
    transport, _, name = result["suite"].partition(":")
    line = f"{transport}: {name} {result['passed']} passed"
    if result["failed"]:
        line += f", {len(result['failed'])} FAILED"
    if left_out:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        line += f", {sum(left_out.values())} left out ({reasons})"
    line += f", {result['seconds']:.0f} s"
    return [
        line,
        *(f"  FAILED {each}" for each in result["failed"]),
        *(f"  {each}" for each in result["notes"]),
    ]


def write(kernel: kernel_package.Kernel, lines: Iterable[str]) -> None:
    """The file of results."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    git = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, timeout=30, check=False)
    commit = done.stdout.strip() or "unknown"
    load = os.getloadavg()[0]
    text = f"""# On a real Linux kernel: the last run

`make test-kernel ARGS=--write` writes this file. The kernel is Debian's, unchanged; the machine
under it is QEMU's, emulated, and so are the boards: times are of that machine, on this one.

{now}, commit {commit}, {kernel.package}, {os.cpu_count()} cores with a load of {load:.1f}.

```text
"""
    _RESULTS.write_text(text + "\n".join(lines) + "\n```\n", encoding="utf-8")


def _terminated(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
