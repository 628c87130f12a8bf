"""A simulated board: MicroPython's Unix port on a pseudo-terminal, with a flash chip in a file.

It is what ``lenslink flash unix`` puts firmware on. Its link is its serial port. A reset ends the
interpreter, and a thread starts it again, as a chip would start.

    python -m lenslink_hil.flash.pty_board FILE

prints the port, and keeps the chip's content in FILE.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from lenslink.context import ClosesOnExit
from lenslink.errors import LensLinkError, RigError, StorageError

from ..benches.board_profile import FIRMWARE
from ..benches.micropython import find_micropython
from ..pty_bridge import PtyBridge

FLASH_BYTES: Final = 352 * 4096
"""The size of the file system of a Raspberry Pi Pico."""
POWER_ON, WATCHDOG = 1, 3
"""Reasons for a start, as ``machine.reset_cause()`` reports them."""
_HEAP: Final = "4m"
_END_S: Final = 5.0


class SimulatedBoard(ClosesOnExit):
    """A board at :attr:`port` that starts at once.

    >>> with SimulatedBoard(Path("flash.bin")) as board:
    ...     print(board.port)
    /dev/pts/3

    Args:
        flash: the file that stands for the chip. It is created if it is missing.
        cut_after: write and erase operations of the chip until it fails; None is never.

    Raises:
        RigError: there is no MicroPython.
        StorageError: the file cannot be written.
    """

    def __init__(self, flash: Path, cut_after: int | None = None) -> None:
        self._interpreter = find_micropython().path
        self._flash = flash
        self._cut_after = -1 if cut_after is None else cut_after
        try:
            if not flash.exists():
                flash.write_bytes(b"\xff" * FLASH_BYTES)
        except OSError as error:
            raise StorageError(f"{flash}: {error.strerror or error}") from None
        self._bridge = PtyBridge()
        self.port = self._bridge.port
        self.starts = 0
        """How often the interpreter was started."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        try:
            self.power_on()
        except BaseException:
            self.close()
            raise

    def power_on(self, cause: int = POWER_ON) -> None:
        """Start the interpreter; no-op while it runs."""
        with self._lock:
            if self._watcher is None:
                process = self._process = self._start(cause)
                self._watcher = threading.Thread(
                    target=self._restart_after, args=(process,), name="board", daemon=True
                )
                self._watcher.start()

    def power_off(self) -> None:
        """Cut the supply: kill the interpreter. Idempotent."""
        with self._lock:
            process, self._process = self._process, None
            watcher, self._watcher = self._watcher, None
        if process is not None:
            process.kill()
            process.wait()
        if watcher is not None:
            watcher.join(_END_S)

    def restart(self, cause: int = POWER_ON) -> None:
        """Cut the supply and switch it on again; *cause* is what the firmware is told."""
        self.power_off()
        self.power_on(cause)

    def close(self) -> None:
        """Cut the supply and remove the port. Idempotent; never raises."""
        self.power_off()
        self._bridge.close()

    def _start(self, cause: int) -> subprocess.Popen[bytes]:
        self.starts += 1
        script = FIRMWARE / "flash/simulated_chip.py"
        arguments = [str(script), str(self._flash), str(cause), str(self._cut_after)]
        chip_end = self._bridge.chip_end.fileno()
        try:
            return subprocess.Popen(
                [self._interpreter, "-X", f"heapsize={_HEAP}", "-i", *arguments],
                stdin=chip_end,
                stdout=chip_end,
                stderr=chip_end,
                start_new_session=True,
            )
        except OSError as error:
            raise RigError(f"{self._interpreter}: {error.strerror or error}") from None

    def _restart_after(self, process: subprocess.Popen[bytes]) -> None:
        """Start the interpreter again whenever it ends by itself, as after a reset."""
        while True:
            process.wait()
            with self._lock:
                if self._process is not process:
                    return
                process = self._process = self._start(POWER_ON)


def main(arguments: list[str]) -> int:
    """Serve a board until standard input or the user ends it."""
    if len(arguments) != 1:
        print("usage: python -m lenslink_hil.flash.pty_board FILE", file=sys.stderr)
        return 2
    try:
        with SimulatedBoard(Path(arguments[0])) as board:
            print(board.port, flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                sys.stdin.read()
    except LensLinkError as error:
        print(f"lenslink: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
