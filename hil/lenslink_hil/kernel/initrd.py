"""Build the guest's first file system: busybox, the kernel's modules, and the script to run."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lenslink.errors import RigError

from .kernel_package import Kernel

_INIT: Final = Path(__file__).with_name("guest.sh")
_FOLDER, _FILE, _PROGRAM = 0o040755, 0o100644, 0o100755


def build_initrd(kernel: Kernel, busybox: Path, job: Mapping[str, bytes]) -> bytes:
    """Build the archive.

    Args:
        kernel: its modules go into /modules.
        busybox: the only program; it must be static.
        job: the files of /job. ``run`` is a script for sh.

    Raises:
        RigError: busybox is not static.
    """
    if b"/lib64/ld-linux" in busybox.read_bytes()[:4096]:
        raise RigError(f"{busybox} needs libraries; install busybox-static")
    archive = _Archive()
    archive.add_folders("bin", "modules", "job")
    archive.add_file("bin/busybox", busybox.read_bytes(), _PROGRAM)
    archive.add_file("init", _INIT.read_bytes(), _PROGRAM)
    for path in kernel.modules:
        archive.add_file(f"modules/{path.name}", path.read_bytes())
    names = "\n".join(path.name for path in kernel.modules)
    archive.add_file("modules/load", names.encode("ascii"))
    for name, data in job.items():
        archive.add_file(f"job/{name}", data)
    return gzip.compress(archive.finish(), 1)


def find_busybox() -> Path | None:
    """Return the path of busybox, or None."""
    path = shutil.which("busybox")
    return Path(path).resolve() if path else None


class _Archive:
    """An archive in cpio's "newc" form.

    Linux' Documentation/driver-api/early-userspace/buffer-format.rst describes the form.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._number = 0

    def add_folders(self, *names: str) -> None:
        for name in names:
            self.add_file(name, b"", _FOLDER)

    def add_file(self, name: str, data: bytes, mode: int = _FILE) -> None:
        self._number += 1
        path = name.encode() + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        self._data += b"070701" + b"".join(b"%08x" % field for field in fields) + path
        self._pad()
        self._data += data
        self._pad()

    def finish(self) -> bytes:
        self.add_file("TRAILER!!!", b"", 0)
        return bytes(self._data)

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)
