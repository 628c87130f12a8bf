"""The guest: a QEMU process whose console is read, and which ends by its deadline."""

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
"""The address at which the guest finds what the host offers: nothing else can be reached."""
# 512 MB are its layer of files at most; a second CPU makes an emulated machine slower.
_MEMORY_MB: Final = 1024
# QEMU's default CPU lacks SSE 4.2, which numpy's wheels take for granted.
_CPU: Final = "Nehalem"
_QEMU: Final = "qemu-system-x86_64"
_END_S: Final = 5.0


def find_qemu() -> str | None:
    """The program, where there is one."""
    return shutil.which(_QEMU)


class Guest:
    """A guest that runs from here on; *line* gets each line of its console.

    *out* is mounted in it for its results. *ports* of :data:`HOST` lead to these of this machine's
    127.0.0.1.
    """

    def __init__(
        self,
        kernel: Kernel,
        initrd: Path,
        *,
        out: Path,
        ports: Mapping[int, int],
        busybox: Path,
        line: Callable[[str], None],
    ) -> None:
        forwards = "".join(
            f",guestfwd=tcp:{HOST}:{port}-cmd:{_quoted(busybox)} nc 127.0.0.1 {here}"
            for port, here in ports.items()
        )
        share = "security_model=none,multidevs=remap"
        self._last: list[str] = []
        self._line = line
        self._process = subprocess.Popen(
            [
                _QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", _CPU,
                "-smp", "1", "-m", str(_MEMORY_MB),
                "-kernel", str(kernel.vmlinux), "-initrd", str(initrd),
                "-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr",
                "-serial", "stdio", "-monitor", "none",
                "-virtfs", f"local,path=/,mount_tag=lower,readonly=on,{share}",
                "-virtfs", f"local,path={_escaped(out)},mount_tag=out,{share}",
                "-netdev", f"user,id=net,restrict=on{forwards}",
                "-device", "virtio-net-pci,netdev=net,romfile=",
                "-device", "virtio-rng-pci",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self._console = threading.Thread(target=self._read, name="console", daemon=True)
        self._console.start()

    def wait(self, deadline: Deadline) -> None:
        """Until it has powered off.

        Raises :exc:`~lenslink.errors.Timeout`; :exc:`~lenslink.errors.RigError` if QEMU fails.
        """
        try:
            code = self._process.wait(max(deadline.remaining(), 0.001))
        except subprocess.TimeoutExpired:
            raise Timeout(f"{deadline.purpose} did not end within {deadline.seconds:g} s") from None
        self._console.join(_END_S)
        if code:
            raise RigError(f"{_QEMU} ended with {code}: {' / '.join(self._last)}")

    def close(self) -> None:
        """End it. Idempotent; never raises."""
        self._process.kill()
        self._process.wait()
        self._console.join(_END_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as console:
            for raw in console:
                text = raw.decode("utf-8", "replace").rstrip("\r\n")
                self._last = [*self._last[-4:], text]
                self._line(text)


def _escaped(path: Path) -> str:
    """For an option of QEMU's: a comma would end it."""
    return str(path).replace(",", ",,")


def _quoted(path: Path) -> str:
    text = str(path)
    if any(char in text for char in " ,'\"\\"):
        raise RigError(f"busybox is at a path that QEMU cannot be told: {text}")
    return text
