"""``sim:``: the firmware on MicroPython's Unix port, in front of the plant, no hardware needed.

The bench starts two child processes: the interpreter with the firmware, and the plant, which drives
the firmware's ports. They share stream sockets. Each process ends when a peer ends, so neither
outlives the bench.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from lenslink.authentication import read_key_file
from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, RigError, Timeout, UsageError
from lenslink.transports.base import DeviceInfo, Line
from lenslink.transports.lane_sockets import LaneSockets
from lenslink.url import Url
from lenslink_protocol.params import MAX_LANES

from ..module_profile import DEFAULT
from ..unnamed_file import open_unnamed_file
from .board_profile import FIRMWARE, Board, load_board, make_configuration
from .micropython import find_micropython

_log = logging.getLogger(__name__)
_plant_log = logging.getLogger("lenslink_hil.plant")

OPTIONS: Mapping[str, str] = {
    "scene": "a picture, a camera's RAW file, or photo, bars, ramp, prbs; through the lens: depth, "
    "planes, edges, star, points, flat, dark, astronaut, chelsea, coffee, hubble, retina, rocket",
    "mode": "the mode to use unless another is requested: preview, still, full, binned",
    "width": "width of the sensor, even, 64 to 12288",
    "height": "height of the sensor, even, 64 to 8192",
    "bits": "bits of a pixel: 10, 12 or 14",
    "cfa": "phase of the colour filter: RGGB, GRBG, GBRG or BGGR",
    "seed": "seed of the noise and the patterns",
    "depth": "depths of the scene's planes in milli-dioptres, far to near: depth=300,1200",
    "lux": "light on a scene behind the lens, 0 to 200000; the default is 800",
    "kelvin": "colour temperature of its light; after a comma, that of the next 30 frames",
    "flicker": "frequency of its flicker in Hz",
    "swing": "way of the nearest plane to and fro, in thousandths of the field's width",
    "shake": "how far a hand moves the picture on the sensor, in um, root mean square",
    "f_number": "the iris of the simulated lens, 1.4 to 11",
    "celsius": "temperature of the simulated sensor, instead of that of the housing",
    "lens": "off: the bare sensor, for scene=flat or dark",
    "defects": "off: no hot pixels",
    "key": "file with the module's key, 64 hexadecimal digits: it can prove that it is genuine",
    "lanes": "number of sockets for the link, 1 to 4",
    "module": "the module: ll-100, 35 mm f/1.4 to f/11, or ll-85, 85 mm f/2.8 with a fixed focus",
    "board": "board whose limits the module has: sim, pico, or fast (frames computed beforehand)",
}

_NUMBERS = ("width", "height", "bits", "seed", "lux", "flicker", "swing", "shake", "celsius")
_END_S = 2.0
_serials = itertools.count(1)


class Module:
    """A running module: the process of its firmware and the process of its plant."""

    def __init__(
        self,
        firmware: subprocess.Popen[bytes],
        plant: subprocess.Popen[bytes],
        messages: IO[bytes],
        note: str | None,
    ) -> None:
        self.firmware = firmware
        self.plant = plant
        self.note = note
        self._messages = messages

    def poll(self) -> int | None:
        """Return the firmware's exit status, or None while it runs."""
        return self.firmware.poll()

    def wait(self, seconds: float) -> int:
        """Wait until the firmware ends and return its exit status.

        Raises:
            Timeout: the firmware still runs after *seconds*.
        """
        try:
            return self.firmware.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Timeout(f"the firmware did not end within {seconds:g} s") from None

    def command(self, **command: object) -> None:
        """Send a command to the plant; see :mod:`lenslink_hil.plant.plant_process`."""
        send_plant_command(self.plant, command)

    def request_report(self, timeout: float = 5.0) -> dict[str, Any]:
        """Return the truth of the body: dock, supply, energy, heat, focus."""
        return request_plant_report(self.plant, Deadline(timeout, "the plant's report"))

    def describe_end(self) -> str:
        """Return why the firmware ended, in a few words."""
        status = self.poll()
        if self._messages.closed:
            return "the module was closed"
        if status is None:
            return "the module closed the connection"
        self._messages.seek(0)
        lines = self._messages.read().decode("utf-8", "replace").strip().splitlines()
        if status < 0:
            return f"the firmware was killed by signal {-status}"
        return f"the firmware ended: {lines[-1]}" if lines else "the firmware ended"

    def close(self) -> None:
        """End both processes. Idempotent; never raises."""
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("end the module: %s", self.describe_end())
        for process in (self.firmware, self.plant):
            with contextlib.suppress(OSError):
                process.kill()
        for process in (self.firmware, self.plant):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self._messages.close()


def start_module(
    options: Mapping[str, str],
    link: socket.socket,
    serial: str,
    deadline: Deadline,
    *,
    boot: int = 1,
    more_lanes: Sequence[socket.socket] = (),
    usb: Mapping[str, int] | None = None,
) -> Module:
    """Start a module: the plant, and the firmware, which inherits its end of the link.

    Args:
        options: the options of a ``sim:`` URL.
        link: the module's end of lane 0; with *usb*, the cable of its USB controller.
        serial: the module's serial number.
        deadline: for starting both processes.
        boot: how often the module has started.
        more_lanes: the module's ends of the other lanes.
        usb: the USB configuration of a virtual board (see :mod:`.usbip`).

    Raises:
        UsageError: an option makes no sense: a scene that is no picture, an odd size.
        RigError: there is no MicroPython.
    """
    board = load_board(options.get("board", "sim"), "sim" if usb is None else "usbip")
    interpreter = find_micropython()
    key = read_key_file(options["key"]).hex() if "key" in options else None
    with contextlib.ExitStack() as stack:
        # The sensor has two channels, so the preview continues while a still is read.
        channels = [make_socket_pair(stack) for _ in range(2)]
        pins, plant_pins = make_socket_pair(stack)
        plant = start_plant(
            _make_scene_options(options, board), [theirs for _, theirs in channels], plant_pins
        )
        abort = stack.enter_context(contextlib.ExitStack())
        abort.callback(kill_plant, plant)
        ready = wait_for_plant(plant, deadline)
        messages = abort.enter_context(open_unnamed_file())
        # In a file, because MicroPython exits silently for an argument of more than 255 bytes.
        config = stack.enter_context(open_unnamed_file())
        flash = stack.enter_context(open_unnamed_file())
        calibrations = [(kind, bytes.fromhex(data)) for kind, data in ready["calibrations"]]
        flash.write(b"".join(data for _, data in calibrations))
        flash.flush()
        settings = make_configuration(
            board, ready["sensor"], serial, boot, calibrations,
            module=options.get("module", DEFAULT),
        )  # fmt: skip
        settings["calibration_fd"] = flash.fileno()
        settings |= {} if key is None else {"auth_key": key}
        config.write(
            json.dumps(settings if usb is None else settings | {"usb": dict(usb)}).encode()
        )
        config.seek(0)
        ends = (*(ours for ours, _ in channels), pins, link, *more_lanes)
        for end in ends:
            end.setblocking(False)
        descriptors = [config.fileno(), *(end.fileno() for end in ends)]
        firmware = subprocess.Popen(
            [
                interpreter.path,
                "-X",
                f"heapsize={board.heap}",
                "-m",
                "lensfw.main",
                *map(str, descriptors),
            ],
            pass_fds=[*descriptors, flash.fileno()],
            env={"MICROPYPATH": str(FIRMWARE.parent)},
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            # Ctrl-C must reach the host only, which then ends the module in order.
            start_new_session=True,
        )
        abort.pop_all()
    _log.debug("started the plant %d and the firmware %d", plant.pid, firmware.pid)
    return Module(firmware, plant, messages, ready["note"])


def make_socket_pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a socket pair, which *stack* closes."""
    ours, theirs = socket.socketpair()
    stack.callback(ours.close)
    stack.callback(theirs.close)
    return ours, theirs


def _make_scene_options(options: Mapping[str, str], board: Board) -> dict[str, Any]:
    """Return the plant's options: the board's, overridden by the user's, numbers as int."""
    scene: dict[str, Any] = dict(board.source)
    # A size that the user names replaces the board's size.
    if not {"width", "height"} & options.keys():
        scene.update(board.sensor)
    url = Url("sim:", "sim", "", options)
    for key, value in options.items():
        if key not in ("board", "key", "lanes"):
            scene[key] = url.integer(key) if key in _NUMBERS else value
    return scene


def start_plant(
    scene: Mapping[str, Any], rows: Sequence[socket.socket], pins: socket.socket
) -> subprocess.Popen[bytes]:
    """Start the plant's process; see :mod:`lenslink_hil.plant`.

    If the plant's logger is enabled for DEBUG, the process writes its log to this one's stderr.
    """
    level = _plant_log.getEffectiveLevel()
    is_logged = level <= logging.DEBUG
    return subprocess.Popen(
        [
            sys.executable,
            # -P leaves the current folder out of the path, where a numpy.py may lie.
            "-P",
            "-m",
            "lenslink_hil.plant",
            "--rows-fd",
            *(str(channel.fileno()) for channel in rows),
            "--pins-fd",
            str(pins.fileno()),
            "--options",
            json.dumps(scene),
            *(["--log", str(level)] if is_logged else []),
        ],
        pass_fds=[*(channel.fileno() for channel in rows), pins.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if is_logged else subprocess.DEVNULL,
        start_new_session=True,
    )


def send_plant_command(plant: subprocess.Popen[bytes], command: Mapping[str, object]) -> None:
    """Write a command for the plant, one line of JSON."""
    if plant.stdin is None:
        raise RigError("the plant takes no commands")
    plant.stdin.write(json.dumps(command).encode() + b"\n")
    plant.stdin.flush()


def request_plant_report(plant: subprocess.Popen[bytes], deadline: Deadline) -> dict[str, Any]:
    """Return the truth of the plant's body; see :meth:`lenslink_hil.plant.body.Body.report`.

    Raises:
        RigError: the plant has ended.
        Timeout: the plant did not answer in time.
    """
    send_plant_command(plant, {"report": True})
    try:
        report: dict[str, Any] = json.loads(_read_line(plant.stdout, deadline))
    except ValueError:
        raise RigError("the plant has ended") from None
    return report


def kill_plant(process: subprocess.Popen[bytes]) -> None:
    """Kill the plant's process and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def wait_for_plant(plant: subprocess.Popen[bytes], deadline: Deadline) -> dict[str, Any]:
    """Wait until the plant is ready, and return its one line of JSON.

    Raises:
        UsageError: an option of the scene makes no sense.
        RigError: the plant ended.
        Timeout: the plant was not ready in time.
    """
    line = _read_line(plant.stdout, deadline)
    try:
        answer: dict[str, Any] = json.loads(line)
    except ValueError:
        raise RigError("the plant ended before it was ready") from None
    if not answer["ready"]:
        kind = UsageError if answer["exit_code"] == UsageError.exit_code else RigError
        raise kind(answer["error"])
    return answer


def _read_line(pipe: IO[bytes] | None, deadline: Deadline) -> bytes:
    if pipe is None:
        raise RigError("the plant has no output")
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(deadline.remaining()):
                raise Timeout(f"the plant was not ready within {deadline.seconds:g} s")
            piece = os.read(pipe.fileno(), 65536)
            if not piece:
                break
            line += piece
    return line


class SimTransport(LaneSockets):
    """The host's end of a module that it has started itself, over one lane or several."""

    private = True

    def __init__(self, module: Module, links: Sequence[socket.socket], rate: int = 0) -> None:
        super().__init__(links)
        # If the board has a rate of its own, it bounds each socket.
        self.line = Line(ceiling=rate * len(links) or None)
        self.module = module
        self.note = module.note

    def close(self) -> None:
        super().close()
        self.module.close()

    def _explain_end(self, error: Disconnected) -> str:
        del error
        # The socket closes a moment before the process ends.
        with contextlib.suppress(LensLinkError, ValueError):
            self.module.wait(_END_S)
        return self.module.describe_end()


class SimOpener:
    """``sim:`` with the options above."""

    options = OPTIONS

    def open(self, url: Url, deadline: Deadline) -> SimTransport:
        if url.path:
            raise UsageError(f"sim: takes options only, as in sim:?scene=ramp, not '{url.path}'")
        lanes = url.integer("lanes") or 1
        if not 1 <= lanes <= MAX_LANES:
            raise UsageError(f"sim: lanes={lanes} is not 1 to {MAX_LANES}")
        pairs = [socket.socketpair() for _ in range(lanes)]
        try:
            serial = f"SIM-{os.getpid()}-{next(_serials)}"
            ends = [pair[1] for pair in pairs]
            module = start_module(url.options, ends[0], serial, deadline, more_lanes=ends[1:])
        except BaseException:
            for host, _ in pairs:
                host.close()
            raise
        finally:
            for _, end in pairs:
                end.close()
        rate = load_board(url.options.get("board", "sim")).limits.get("rate", 0)
        return SimTransport(module, [host for host, _ in pairs], rate)

    def devices(self) -> list[DeviceInfo]:
        """Return nothing: a simulated module exists only while it is open."""
        return []


SIM = SimOpener()
