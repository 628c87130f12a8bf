"""Debian's kernel for the guest: apt downloads it, and it is unpacked into a cache, not installed.

The cache gets the uncompressed kernel, which QEMU boots directly (PVH), and the modules that the
guest loads, with their dependencies and the order in which to load them.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from lenslink.deadline import Deadline
from lenslink.errors import RigError

MODULES: Final = (
    "virtio_pci",
    "virtio_net",
    "9p",
    "9pnet_virtio",
    "overlay",
    "vhci_hcd",
    "cdc_acm",
    "usbserial",
)
"""The drivers that the guest needs and that Debian builds as modules."""

# The stock kernel, because the cloud flavour has no USB.
_META: Final = "linux-image-amd64"
_ORDER: Final = "modules.load"
_MAX_KERNEL: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache."""

    package: str
    """The name of its package, with the version: linux-image-6.1.0-1-amd64."""
    folder: Path

    @property
    def vmlinux(self) -> Path:
        """The path of the kernel, an ELF file."""
        return self.folder / "vmlinux"

    @property
    def modules(self) -> list[Path]:
        """The paths of the modules, in the order to load them."""
        names = (self.folder / _ORDER).read_text(encoding="ascii").split()
        return [self.folder / name for name in names]


def find_kernel(deadline: Deadline) -> Kernel:
    """Return the kernel that apt would install; download it unless the cache has it.

    If apt does not answer, return the newest kernel in the cache.

    Raises:
        RigError: apt cannot download it, or the cache is empty.
    """
    cache = platformdirs.user_cache_path("lenslink") / "kernel"
    package = _find_package(deadline)
    if package is None:
        folders = sorted(p.parent for p in cache.glob(f"*/{_ORDER}") if _is_complete(p.parent))
        if not folders:
            raise RigError(f"apt knows no {_META}; type: sudo apt-get update (Debian, amd64)")
        return Kernel(folders[-1].name, folders[-1])
    folder = cache / package
    if not _is_complete(folder):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="new-", dir=cache) as temporary:
            unpacked = _download(package, Path(temporary), deadline)
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)
    return Kernel(package, folder)


def _is_complete(folder: Path) -> bool:
    """Return True if *folder* was filled to the end: its list names all modules of the guest."""
    try:
        names = (folder / _ORDER).read_text(encoding="ascii").split()
    except OSError:
        return False
    return {_module_name(Path(name)) for name in names} >= set(MODULES)


def _find_package(deadline: Deadline) -> str | None:
    if shutil.which("apt-cache") is None:
        return None
    shown = _run(["apt-cache", "show", "--no-all-versions", _META], deadline)
    found = re.search(r"^Depends:.*?(linux-image-[\w.+-]+)", shown.stdout, re.MULTILINE)
    return found[1] if found else None


def _download(package: str, temporary: Path, deadline: Deadline) -> Path:
    done = _run(["apt-get", "download", package], deadline, temporary)
    archives = list(temporary.glob("*.deb"))
    if len(archives) != 1:
        words = (done.stderr.strip().splitlines() or ["no package"])[-1]
        raise RigError(f"apt-get download {package}: {words}; sudo apt-get update may help")
    tree = temporary / "tree"
    done = _run(["dpkg", "-x", str(archives[0]), str(tree)], deadline)
    if done.returncode:
        raise RigError(f"dpkg -x {archives[0].name}: {done.stderr.strip()}")
    images = list((tree / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise RigError(f"{package} holds {len(images)} kernels, not one")
    folder = temporary / "kernel"
    folder.mkdir()
    (folder / "vmlinux").write_bytes(decompress_kernel(images[0].read_bytes()))
    names = []
    for path in _sort_modules(tree):
        data = path.read_bytes()
        name = path.name.removesuffix(".xz")
        (folder / name).write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
        names.append(name)
    (folder / _ORDER).write_text("\n".join(names) + "\n", encoding="ascii")
    return folder


def decompress_kernel(image: bytes) -> bytes:
    """Return the ELF kernel in a bzImage, at payload_offset: see Linux' arch/x86/boot.rst."""
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise RigError("the package's kernel is not a bzImage")
    start = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    # The last four bytes are the length of the decompressed kernel.
    payload = image[start : start + struct.unpack_from("<I", image, 0x24C)[0] - 4]
    try:
        if payload.startswith(b"\xfd7zXZ"):
            with lzma.open(io.BytesIO(payload)) as stream:
                kernel = stream.read(_MAX_KERNEL)
                # lzma compares the checksum only when a read passes the end.
                stream.read(1)
        elif payload.startswith(b"\x1f\x8b"):
            kernel = gzip.decompress(payload)
        else:
            raise RigError(f"the kernel's compression is not supported: {payload[:4].hex()}")
    except (lzma.LZMAError, OSError, EOFError) as error:
        raise RigError(f"the kernel cannot be decompressed: {error}") from None
    if not kernel.startswith(b"\x7fELF"):
        raise RigError("the content of the bzImage is not an ELF kernel")
    return kernel


def _sort_modules(tree: Path) -> list[Path]:
    """Return the modules and their dependencies; each stands after those that it needs."""
    found = {_module_name(path): path for path in tree.rglob("*.ko*")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        path = found.get(name)
        # A missing module is assumed to be built into the kernel; else loading fails in the guest.
        if path is None or name in ordered:
            return
        data = path.read_bytes()
        if path.suffix == ".xz":
            data = lzma.decompress(data)
        # The dependencies, with commas between them, as modinfo prints them.
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for each in (depends[1].decode("ascii") if depends else "").split(","):
            add(each.replace("-", "_"))
        ordered[name] = path

    for name in MODULES:
        add(name)
    return list(ordered.values())


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _run(
    command: list[str], deadline: Deadline, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(deadline.remaining(), 0.001),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RigError(f"{command[0]} did not end within {deadline.seconds:g} s") from None
    except OSError as error:
        raise RigError(f"{command[0]}: {error.strerror or error}") from None
