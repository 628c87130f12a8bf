"""The guest's first file system: busybox, the modules, and what is to be run."""

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


def build(kernel: Kernel, busybox: Path, job: Mapping[str, bytes]) -> bytes:
    """The archive; *job* are the files of /job, of which ``run`` is a script for sh."""
    if b"/lib64/ld-linux" in busybox.read_bytes()[:4096]:
        raise RigError(f"{busybox} needs libraries; install busybox-static")
    archive = _Archive()
    archive.folder("bin", "modules", "job")
    archive.file("bin/busybox", busybox.read_bytes(), _PROGRAM)
    archive.file("init", _INIT.read_bytes(), _PROGRAM)
    for path in kernel.modules:
        archive.file(f"modules/{path.name}", path.read_bytes())
    names = "\n".join(path.name for path in kernel.modules)
    archive.file("modules/load", names.encode("ascii"))
    for name, data in job.items():
        archive.file(f"job/{name}", data)
    return gzip.compress(archive.finish(), 1)


def find_busybox() -> Path | None:
    """A static one, where there is any."""
    found = shutil.which("busybox")
    return Path(found).resolve() if found else None


class _Archive:
    """cpio's "newc" form: Linux' Documentation/driver-api/early-userspace/buffer-format.rst."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._number = 0

    def folder(self, *names: str) -> None:
        for name in names:
            self.file(name, b"", _FOLDER)

    def file(self, name: str, data: bytes, mode: int = _FILE) -> None:
        self._number += 1
        path = name.encode() + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        self._data += b"070701" + b"".join(b"%08x" % field for field in fields) + path
        self._pad()
        self._data += data
        self._pad()

    def finish(self) -> bytes:
        self.file("TRAILER!!!", b"", 0)
        return bytes(self._data)

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)
