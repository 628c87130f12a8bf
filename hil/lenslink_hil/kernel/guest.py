"""The guest: a QEMU process, its console, and its deadline. ``__main__`` starts one a transport."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError, Timeout

from .kernel_package import Kernel

HOST: Final = "10.0.2.100"
"""The address at which the guest reaches the host's ports, and the only one it can reach."""
# The guest's files take 512 MB at most. A second CPU would make an emulated machine slower.
_MEMORY_MB: Final = 1024
# QEMU's default CPU lacks SSE 4.2, which numpy's wheels need.
_CPU: Final = "Nehalem"
_QEMU: Final = "qemu-system-x86_64"
_END_S: Final = 5.0


def find_qemu() -> str | None:
    """Return the path of QEMU, or None."""
    return shutil.which(_QEMU)


class Guest:
    """A running guest.

    Args:
        kernel: what it boots.
        initrd: its first file system.
        out: the folder for its results, which it can write to.
        ports: ports of :data:`HOST`, each with the port of 127.0.0.1 that it leads to.
        busybox: the program that forwards these ports.
        on_line: called with each line of the console.
    """

    def __init__(
        self,
        kernel: Kernel,
        initrd: Path,
        *,
        out: Path,
        ports: Mapping[int, int],
        busybox: Path,
        on_line: Callable[[str], None],
    ) -> None:
        """Start QEMU."""
        forwards = "".join(
            f",guestfwd=tcp:{HOST}:{port}-cmd:{_check_path(busybox)} nc 127.0.0.1 {here}"
            for port, here in ports.items()
        )
        share = "security_model=none,multidevs=remap"
        self._last_lines: list[str] = []
        self._on_line = on_line
        self._process = subprocess.Popen(
            [
                _QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", _CPU,
                "-smp", "1", "-m", str(_MEMORY_MB),
                "-kernel", str(kernel.vmlinux), "-initrd", str(initrd),
                "-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr",
                "-serial", "stdio", "-monitor", "none",
                "-virtfs", f"local,path=/,mount_tag=lower,readonly=on,{share}",
                "-virtfs", f"local,path={_escape_comma(out)},mount_tag=out,{share}",
                "-netdev", f"user,id=net,restrict=on{forwards}",
                "-device", "virtio-net-pci,netdev=net,romfile=",
                "-device", "virtio-rng-pci",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self._console = threading.Thread(target=self._read_console, name="console", daemon=True)
        self._console.start()

    def wait(self, deadline: Deadline) -> None:
        """Wait until the guest has powered off.

        Raises:
            Timeout: it has not, by the deadline.
            RigError: QEMU has failed.
        """
        try:
            code = self._process.wait(max(deadline.remaining(), 0.001))
        except subprocess.TimeoutExpired:
            raise Timeout(f"{deadline.purpose} did not end within {deadline.seconds:g} s") from None
        self._console.join(_END_S)
        if code:
            raise RigError(f"{_QEMU} ended with {code}: {' / '.join(self._last_lines)}")

    def close(self) -> None:
        """End QEMU. Idempotent; never raises."""
        self._process.kill()
        self._process.wait()
        self._console.join(_END_S)

    def _read_console(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as console:
            for raw in console:
                text = raw.decode("utf-8", "replace").rstrip("\r\n")
                self._last_lines = [*self._last_lines[-4:], text]
                self._on_line(text)


def _escape_comma(path: Path) -> str:
    """Escape commas, which end an option of QEMU."""
    return str(path).replace(",", ",,")


def _check_path(path: Path) -> str:
    """Return *path* as text; RigError if QEMU's option cannot hold it."""
    text = str(path)
    if any(char in text for char in " ,'\"\\"):
        raise RigError(f"QEMU's options cannot hold the path of busybox: {text}")
    return text
