"""Run the suites over ``usb:`` and ``serial:`` on a Linux kernel in QEMU (``make test-kernel``).

Each transport has a guest of its own, and both run at once. out/kernel has the output of each.
This program prints a line for each suite. It exits with 0, with 7 if a test failed, and with 11 if
a suite could not run. With ``--if-possible`` it prints NOT RUN and exits with 0 in that case.
``--write`` writes the results into tests/KERNEL.md. ``--all`` runs the slow tests too, as nightly
does.
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
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, RigError
from lenslink.runtime import make_scratch_dir

from . import guest, guest_boards, initrd, kernel_package
from .host_boards import HostBoards

SUITES: Final = ("conform", "e2e", "kernel")
TRANSPORTS: Final = ("usb", "serial")
_KERNEL_S: Final = 180.0
_GUEST_S: Final = 900.0
"""The limit on a busy machine; on an idle one a guest takes a third of it."""
_ALL_TESTS_S: Final = 7200.0
_EXIT_FAILED: Final = 7
_LOGS: Final = Path("out/kernel")
_RESULTS: Final = Path("tests/KERNEL.md")
_RUN: Final = "/run/lenslink"
# The apt package of each program.
_PACKAGES: Final = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static"}


def main() -> int:
    """Read the command line and run the suites."""
    parser = argparse.ArgumentParser(prog="lenslink_hil.kernel")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="usb:e2e ...; default: all")
    parser.add_argument("--if-possible", action="store_true", help="print NOT RUN if it cannot run")
    parser.add_argument("--write", action="store_true", help=f"write {_RESULTS}")
    parser.add_argument("--all", action="store_true", help="run the slow tests too: half an hour")
    options = parser.parse_args()
    suites = options.suites or [f"{t}:{s}" for t in TRANSPORTS for s in SUITES]
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    try:
        kernel, busybox = find_requirements()
    except LensLinkError as error:
        if options.if_possible:
            print(f"NOT RUN: make test-kernel: {error}", flush=True)
            return 0
        print(f"lenslink: error: {error}", file=sys.stderr)
        return error.exit_code
    start = time.monotonic()
    results, guest_errors = run_guests(kernel, busybox, suites, all_tests=options.all)
    lines = [line for result in results for line in format_result(result)]
    missing = [each for each in suites if each not in [result["suite"] for result in results]]
    lines += [f"{suite}: did not end: see {_LOGS}" for suite in missing]
    lines += guest_errors
    lines.append(f"{kernel.package}, {time.monotonic() - start:.0f} s in all")
    print("\n".join(lines), flush=True)
    if options.write:
        write_results(kernel, lines)
    if guest_errors or missing:
        return RigError.exit_code
    return _EXIT_FAILED if any(result["failed"] for result in results) else 0


def find_requirements() -> tuple[kernel_package.Kernel, Path]:
    """Find a kernel and a busybox; RigError names everything that is missing, in one line."""
    missing = [package for name, package in _PACKAGES.items() if shutil.which(name) is None]
    if missing:
        raise RigError(f"it needs {' and '.join(missing)}: sudo apt install {' '.join(missing)}")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise RigError("it needs Linux on x86-64: the guest runs the programs of this machine")
    busybox = initrd.find_busybox()
    assert busybox is not None
    return kernel_package.find_kernel(Deadline(_KERNEL_S, "fetching the kernel")), busybox


def run_guests(
    kernel: kernel_package.Kernel, busybox: Path, suites: Iterable[str], *, all_tests: bool = False
) -> tuple[list[dict[str, Any]], list[str]]:
    """Boot a guest for each transport; return the suites' results, and the errors of the guests."""
    seconds = _ALL_TESTS_S if all_tests else _GUEST_S
    suites_by_transport = {t: [s for s in suites if s.startswith(f"{t}:")] for t in TRANSPORTS}
    shutil.rmtree(_LOGS, ignore_errors=True)
    _LOGS.mkdir(parents=True)
    results, guest_errors = [], []
    with contextlib.ExitStack() as stack:
        deadline = Deadline(seconds, "a guest")
        guests = [
            start_guest(
                kernel, busybox, t, build_script(chosen, seconds, all_tests=all_tests), stack
            )
            for t, chosen in suites_by_transport.items()
            if chosen
        ]
        for running, out in guests:
            try:
                running.wait(deadline)
            except LensLinkError as error:
                guest_errors.append(str(error))
            with contextlib.suppress(FileNotFoundError):
                text = (out / "results.jsonl").read_text(encoding="utf-8")
                results += [json.loads(line) for line in text.splitlines()]
    return results, guest_errors


def start_guest(
    kernel: kernel_package.Kernel,
    busybox: Path,
    transport: str,
    job: bytes,
    stack: contextlib.ExitStack,
) -> tuple[guest.Guest, Path]:
    """Start a guest with boards of its own; return the guest and its folder of results.

    Args:
        kernel: what the guest boots.
        busybox: its first program.
        transport: names the log.
        job: the script that it runs, of :func:`build_script`.
        stack: ends the guest and the boards.
    """
    boards = stack.enter_context(contextlib.closing(HostBoards()))
    folder = Path(stack.enter_context(make_scratch_dir("kernel")))
    log = stack.enter_context((_LOGS / f"{transport}.log").open("w", encoding="utf-8", buffering=1))
    archive, out = folder / "initrd", folder / "out"
    archive.write_bytes(initrd.build_initrd(kernel, busybox, {"run": job}))
    out.mkdir()
    ports = {guest_boards.CONTROL_PORT: boards.control}
    ports |= {guest_boards.USBIP_PORT + slot: port for slot, port in enumerate(boards.ports)}
    print(f"{transport}: a guest runs; its output is in {log.name}", flush=True)
    running = guest.Guest(
        kernel,
        archive,
        out=out,
        ports=ports,
        busybox=busybox,
        on_line=lambda line: print(line, file=log),
    )
    return stack.enter_context(contextlib.closing(running)), out


def build_script(
    suites: Iterable[str], seconds: float = _GUEST_S, *, all_tests: bool = False
) -> bytes:
    """Build the shell script that the guest runs: it starts this Python in this folder."""
    more = ["--all"] if all_tests else []
    words = [sys.executable, "-m", "lenslink_hil.kernel.inside", *more, f"{_RUN}/out", *suites]
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    inherited = {
        name: os.environ[name] for name in ("LENSLINK_TEST_SEED", "CI") if name in os.environ
    }
    environment = {
        # Time limits in the guest are long already, but it does not see how busy the host is.
        "LENSLINK_TEST_SLOWDOWN": f"{max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)):.1f}",
        "PYTHONUNBUFFERED": "1",
        "PATH": path,
        "HOME": "/run/tmp",
        "TMPDIR": "/run/tmp",
        "LC_ALL": "C.UTF-8",
    }
    lines = [
        # The guest ends itself, even if its host process is gone by then.
        f"(sleep {seconds:.0f}; poweroff -f) &",
        *(f"export {k}={shlex.quote(v)}" for k, v in (environment | inherited).items()),
        f"cd {shlex.quote(str(Path.cwd()))}",
        shlex.join(words),
        "poweroff -f",
    ]
    return "\n".join(lines).encode() + b"\n"


def format_result(result: dict[str, Any]) -> list[str]:
    """Format a line for the suite, one for each failure, and one for each measurement."""
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


def write_results(kernel: kernel_package.Kernel, lines: Iterable[str]) -> None:
    """Write tests/KERNEL.md."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    git = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, timeout=30, check=False)
    commit = done.stdout.strip() or "unknown"
    load = os.getloadavg()[0]
    text = f"""# On a real Linux kernel: the last run

`make test-kernel ARGS=--write` writes this file. The kernel is Debian's, unchanged; the machine
under it is QEMU's. Machine and boards are emulated, and times are of the emulated machine.

{now}, commit {commit}, {kernel.package}, {os.cpu_count()} cores with a load of {load:.1f}.

```text
"""
    _RESULTS.write_text(text + "\n".join(lines) + "\n```\n", encoding="utf-8")


def _exit_on_sigterm(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
