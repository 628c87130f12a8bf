"""Start MicroPython's Unix port as a board: a flash chip, ``machine``, boot.py and main.py.

MicroPython runs this script: ``micropython -i simulated_chip.py FLASH RESET_CAUSE CUT_AFTER``.
FLASH is the file that stands for the chip. After CUT_AFTER write and erase operations the chip
fails, as one whose supply is gone; -1 is never. The REPL follows.
"""

import os
import sys

import vfs

BLOCK_BYTES = 4096
# As MicroPython's port to the RP2040 mounts it.
PROGRAM_BYTES = 256
_COUNT, _SIZE, _ERASE = 4, 5, 6
_EIO = -5


class Flash:
    """A block device on a file."""

    def __init__(self, path, cut_after):
        self._file = open(path, "r+b")
        self._count = self._file.seek(0, 2) // BLOCK_BYTES
        self._left = cut_after

    def readblocks(self, block, buffer, offset=0):
        self._file.seek(block * BLOCK_BYTES + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        if self._left == 0:
            return _EIO
        self._left -= 1
        self._file.seek(block * BLOCK_BYTES + offset)
        self._file.write(buffer)
        self._file.flush()
        return 0

    def ioctl(self, operation, argument):
        if operation == _COUNT:
            return self._count
        if operation == _SIZE:
            return BLOCK_BYTES
        if operation == _ERASE:
            return self.writeblocks(argument, b"\xff" * BLOCK_BYTES)
        return 0


class Pin:
    """No pin is wired."""

    IN, OUT, PULL_UP, IRQ_RISING, IRQ_FALLING = 0, 1, 2, 4, 8


class Chip:
    """Stand in for the module ``machine``."""

    PWRON_RESET, HARD_RESET, WDT_RESET, SOFT_RESET = 1, 2, 3, 5
    Pin = Pin

    def __init__(self, cause):
        self._cause = cause

    def reset_cause(self):
        return self._cause

    def reset(self):
        """End the process. The program that has started it starts it again."""
        raise SystemExit(0)

    def unique_id(self):
        return b"LENS\x00\x00\x00\x01"


def mount(path, cut_after):
    flash = Flash(path, cut_after)
    options = {"progsize": PROGRAM_BYTES, "readsize": PROGRAM_BYTES}
    try:
        files = vfs.VfsLfs2(flash, **options)
    except OSError:
        vfs.VfsLfs2.mkfs(flash, **options)
        files = vfs.VfsLfs2(flash, **options)
    vfs.umount("/")
    vfs.mount(files, "/")
    os.chdir("/")


def run_files(names):
    """Run boot.py and main.py, the second with the names of the first."""
    scope = {"__name__": "__main__"}
    for name in names:
        try:
            with open(name) as file:
                source = file.read()
        except OSError:
            continue
        try:
            exec(source, scope)
        except (Exception, KeyboardInterrupt) as error:
            sys.print_exception(error)


mount(sys.argv[1], int(sys.argv[3]))
sys.modules["machine"] = Chip(int(sys.argv[2]))
sys.path[:] = ["", "/lib"]
run_files(("boot.py", "main.py"))
