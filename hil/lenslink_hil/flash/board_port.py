"""A board with MicroPython on a serial port: its files and its identity, through mpremote.

mpremote has no stable interface, so only this module uses it. The version is bounded in
pyproject.toml, in the extra ``flash``.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from lenslink.context import ClosesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import (
    DeviceBusy,
    DeviceError,
    Disconnected,
    LensLinkError,
    MissingExtra,
    NotFound,
)

from .board_identity import Identity

# A board writes a block of its flash within 0.4 s. An emulated one is several times slower.
_ANSWER_S: Final = 10.0
_ENTER_TRIES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_ENTER_READ_S: Final = 0.05
# Without the ">" that follows: mpremote waits for it before each command.
_PROMPT: Final = b"raw REPL; CTRL-B to exit\r\n"
_PAUSE_S: Final = 0.1
# A port that exists may be busy for a moment: services like ModemManager open each new port, and
# any program that starts another one keeps its locks until that one runs.
_BUSY_S: Final = 2.0
# Bytes of a file in one command. The board parses them, which takes several times as many.
_MIN_PIECE: Final = 256
_MAX_PIECE: Final = 2048
_HEAP_SHARE: Final = 32
_MAX_READ: Final = 65536

_IDENTIFY: Final = """
import sys, os, gc
i = sys.implementation
try:
    import machine
    n = machine.unique_id().hex()
except Exception:
    n = ""
gc.collect()
s = os.statvfs("/")
print(repr((i.name, getattr(i, "_machine", ""), getattr(i, "_mpy", 0), sys.version, n,
    gc.mem_free(), s[1] * s[3])))
"""
# Prints a line for each file, so that a slow board is never silent for long.
_HASH: Final = """
import os, hashlib
b = bytearray(512)
v = memoryview(b)
def h(p):
    d = hashlib.sha256()
    with open(p, "rb") as f:
        while True:
            n = f.readinto(b)
            if not n: break
            d.update(v[:n])
    print(repr((p[1:], d.digest().hex())))
def w(p, deep):
    try:
        e = list(os.ilistdir(p or "/"))
    except OSError:
        return
    for x in e:
        q = p + "/" + x[0]
        if x[1] != 0x4000: h(q)
        elif deep: w(q, deep)
w("", False)
"""
# A piece of a file in each line: a board with firmware has no room for more in one piece.
_READ: Final = """
try:
    with open(%r, "rb") as f:
        for _ in range(128):
            b = f.read(512)
            if not b: break
            print(repr(b))
except OSError:
    print("None")
"""
_REMOVE_FOLDERS: Final = """
import os
def r(p):
    try:
        for x in list(os.ilistdir(p)):
            if x[1] == 0x4000: r(p + "/" + x[0])
        os.rmdir(p)
    except OSError:
        pass
"""


def check_extra() -> None:
    """Raise MissingExtra if mpremote is not installed."""
    try:
        import mpremote.transport_serial  # noqa: F401
    except ImportError:
        raise MissingExtra("flashing over a serial port", "flash") from None


class BoardPort(ClosesOnExit):
    """A board whose REPL answers; it has the methods of :class:`.update.BoardFiles`.

    The firmware is interrupted, not reset. :meth:`reset` starts it again.

    >>> with BoardPort("/dev/ttyACM0", Deadline(30)) as board:
    ...     board.identify().machine
    'Raspberry Pi Pico with RP2040'

    Args:
        port: the name of the serial port.
        deadline: for everything that is done with the board.

    Raises:
        NotFound: there is no such port.
        DeviceBusy: another process has the port.
        DeviceError: no MicroPython answers there.
        MissingExtra: mpremote is not installed.
    """

    def __init__(self, port: str, deadline: Deadline) -> None:
        check_extra()
        from mpremote.transport_serial import SerialTransport

        self.port = port
        self._deadline = deadline
        self._piece = _MIN_PIECE
        self._folders: set[str] = set()
        busy = Deadline(_BUSY_S, f"opening {port}")
        while True:
            try:
                self._transport = SerialTransport(port, timeout=_ENTER_READ_S)
                break
            except Exception as error:
                if not Path(port).exists() or not busy.remaining():
                    raise _explain_open(port, error) from None
            time.sleep(_PAUSE_S)
        self._serial = self._transport.serial
        self._transport.serial = _ReadAhead(self._serial)
        try:
            self._enter_repl()
            self._serial.timeout = _ANSWER_S
        except BaseException:
            self.close()
            raise

    def _enter_repl(self) -> None:
        """Interrupt what runs.

        A board that just starts, or whose session just ends, drops what it receives. So there are
        several tries, each longer than the last one, for slow boards.
        """
        for number, seconds in enumerate(_ENTER_TRIES_S):
            self._deadline.check()
            with (
                contextlib.suppress(DeviceError),
                self._translate(),
                # mpremote prints what it did not expect.
                contextlib.redirect_stdout(io.StringIO()),
            ):
                self._transport.enter_raw_repl(soft_reset=False, timeout_overall=seconds)
                if number:
                    self._drop_late_answers()
                return
        raise DeviceError(
            f"{self.port}: no MicroPython answers; press the board's reset button, or put "
            "MicroPython on it"
        )

    def _drop_late_answers(self) -> None:
        """Drop the answers to earlier tries, and have the board print its prompt once more."""
        while self._serial.read(_MAX_READ):
            self._deadline.check()
        self._transport.serial = _ReadAhead(self._serial)
        self._serial.timeout = _ANSWER_S
        self._serial.write(b"\x01")
        self._transport.read_until(1, _PROMPT, timeout=_ANSWER_S)

    def identify(self) -> Identity:
        """Ask the board what it is."""
        values = self._evaluate(self.run_script(_IDENTIFY))
        try:
            name, machine, mpy, version, number, free, storage = values
        except (TypeError, ValueError):
            raise DeviceError(f"{self.port}: the board does not say what it is") from None
        if name != "micropython":
            raise DeviceError(f"{self.port}: this is {name}, not MicroPython")
        self._piece = max(_MIN_PIECE, min(free // _HEAP_SHARE, _MAX_PIECE))
        return Identity(machine, mpy, version, number.upper(), free, storage)

    def hash_files(self, folders: Iterable[str]) -> dict[str, str]:
        """Return the SHA-256 of each file in the root and in *folders*, by path."""
        calls = "".join(f"w({'/' + folder!r}, True)\n" for folder in folders)
        lines = self.run_script(_HASH + calls).splitlines()
        return dict(self._evaluate(line) for line in lines)

    def read_file(self, path: str) -> bytes | None:
        """Return the content of a file; None if there is no such file."""
        lines = self.run_script(_READ % ("/" + path)).splitlines()
        pieces = [self._evaluate(line) for line in lines]
        return b"".join(pieces) if all(isinstance(each, bytes) for each in pieces) else None

    def write_file(self, path: str, content: bytes) -> None:
        """Write a file, and the folders above it."""
        self._make_folder(path.rpartition("/")[0])
        if len(content) <= self._piece:
            self.run_script(f"with open({'/' + path!r}, 'wb') as f:\n f.write({content!r})")
            return
        self.run_script(f"f = open({'/' + path!r}, 'wb')\nw = f.write")
        for at in range(0, len(content), self._piece):
            self.run_script(f"w({content[at : at + self._piece]!r})")
        self.run_script("f.close()")

    def rename_file(self, path: str, target: str) -> None:
        """Rename a file; an existing target is replaced."""
        self.run_script(f"import os\nos.rename({'/' + path!r}, {'/' + target!r})")

    def remove_file(self, path: str) -> None:
        """Remove a file."""
        self.run_script(f"import os\nos.remove({'/' + path!r})")

    def remove_folders(self, paths: Iterable[str]) -> None:
        """Remove empty folders and the empty folders in them; a folder may be missing."""
        calls = "".join(f"r({'/' + path!r})\n" for path in paths)
        self.run_script(_REMOVE_FOLDERS + calls)
        self._folders.clear()

    def reset(self) -> None:
        """Reset the chip: the firmware starts."""
        with self._translate(), contextlib.suppress(OSError):
            self._transport.exec_raw_no_follow("import machine\nmachine.reset()")
            self._transport.in_raw_repl = False

    def close(self) -> None:
        """Close the port. The board keeps its state. Idempotent; never raises."""
        with contextlib.suppress(Exception):
            self._transport.serial = self._serial
            self._transport.close()

    def _make_folder(self, folder: str) -> None:
        if not folder or folder in self._folders:
            return
        self._make_folder(folder.rpartition("/")[0])
        path = f"{'/' + folder!r}"
        self.run_script(f"import os\ntry:\n os.mkdir({path})\nexcept OSError:\n os.stat({path})\n")
        self._folders.add(folder)

    def run_script(self, script: str) -> str:
        """Run a script on the board and return what it prints."""
        self._deadline.check()
        with self._translate():
            output: bytes = self._transport.exec(script)
        return output.decode("utf-8", "replace").strip()

    def _evaluate(self, text: str) -> Any:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise DeviceError(f"{self.port}: the board's answer is garbled") from None

    @contextlib.contextmanager
    def _translate(self) -> Iterator[None]:
        """Turn the errors of mpremote and pyserial into ours."""
        from mpremote.transport import TransportError, TransportExecError

        try:
            yield
        except TransportExecError as error:
            lines = error.error_output.strip().splitlines()
            last = lines[-1] if lines else "it gives no reason"
            if "ENOSPC" in last or "OSError: 28" in last:
                last = "the board's file system is full"
            raise DeviceError(f"{self.port}: {last}") from None
        except TransportError as error:
            raise DeviceError(f"{self.port}: {error}") from None
        except (OSError, struct.error, EOFError) as error:
            # pyserial's errors are OSErrors. A cut within an answer shows as a short read.
            raise Disconnected(f"{self.port}: the board went away ({error})") from None


class _ReadAhead:
    """A serial port for mpremote, which reads byte by byte: this reads what has arrived at once."""

    def __init__(self, serial: Any) -> None:
        self._serial = serial
        self._buffer = bytearray()

    def read(self, count: int = 1) -> bytes:
        """Read *count* bytes; fewer if the port's timeout has passed."""
        while len(self._buffer) < count:
            piece = self._serial.read(max(self._serial.in_waiting, 1))
            if not piece:
                break
            self._buffer += piece
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def inWaiting(self) -> int:  # noqa: N802 - the name that mpremote calls
        """Return how many bytes can be read without waiting."""
        return len(self._buffer) + int(self._serial.in_waiting)

    def write(self, data: bytes) -> int:
        """Write all of *data*."""
        return int(self._serial.write(data))


def wait_for_board(
    port: str, deadline: Deadline, sleep: Callable[[float], None] = time.sleep
) -> BoardPort:
    """Open a board that is just starting: its port may not be there yet.

    Raises:
        LensLinkError: the last reason why it could not be opened.
    """
    while True:
        try:
            return BoardPort(port, deadline)
        except (NotFound, Disconnected) as error:
            if not deadline.remaining():
                raise error from None
            sleep(_PAUSE_S)


def _explain_open(port: str, error: Exception) -> LensLinkError:
    """Say why a port cannot be opened: mpremote keeps the reason to itself on some systems."""
    text = str(error)
    if Path(port).exists() and not os.access(port, os.R_OK | os.W_OK):
        return DeviceError(f"you may not open {port}: is your user in the port's group (dialout)?")
    if Path(port).exists() or "lock" in text or "Access is denied" in text:
        return DeviceBusy(f"{port} is in use by another process")
    return NotFound(f"{port}: there is no such serial port")
