"""What a bench is for the end-to-end tests: how large, how fast, and what it has not.

Whatever a bench leaves out is named in the end, with its reason: nothing is left out silently.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lenslink.errors import RigError
from lenslink_hil.benches.pico import OPTIONS, PicoModule
from lenslink_hil.benches.sim import Module
from lenslink_hil.kernel import guest_boards
from lenslink_hil.pico.micropython_image import load_image
from lenslink_hil.pico.setup import find_library, find_node
from lenslink_protocol.packings import Packing

from .discards import TWICE
from .slowdown import current_slowdown

OWN: Final = ("sim:", "usbip:", "pico:")
"""Opening one of these starts its module, with the options that a test asks for."""
SERVES: Final = {"sim:": "sim", "usbip:": "usbip"}
"""The command that serves such a module to others."""
PROCESSES: Final = {"sim:": 2, "usbip:": 3, "pico:": 3}
"""Of an open module: what runs the firmware, and the plant; for USB, the bus as well."""
NO_BENCH: Final = "use no bench, or bring their own: run on sim:"

_BUSY: Final = 4.0
"""A slowdown at which a request may be repeated because its answer is late."""
_SMALLEST: Final = 64
"""A side of a sensor, on any bench."""
# A Pico's, beyond the URL's options: asked for, they are no other than what it has.
_PICO_IS: Final = {"scene": "prbs", "cfa": "RGGB", "board": "pico"}
# A test may ask for more than the bench's scale where the size is what it is about.
_PICO_MOST: Final = 320 * 240


def scheme_of(url: str) -> str:
    """``sim:``, as of ``sim:?width=64``."""
    return url.partition(":")[0] + ":"


def packings_of(url: str, bits: int) -> list[Packing]:
    """In which a module on that bench can send pixels, its choice first."""
    own = {Packing.UNPACKED, Packing.LSB, Packing.RICE}
    made = own if scheme_of(url) == "pico:" else set(Packing)
    only = {Packing.LEGACY} | ({Packing.LSB, Packing.RICE} if scheme_of(url) == "pico:" else set())
    return [each for each in Packing if each in made and (bits == 12 or each not in only)]


@dataclass(frozen=True, slots=True)
class Scale:
    """What of a test suits a bench."""

    pixels: int
    """Of a sensor, at most."""
    pace: int = 1
    """Seconds of the world that one of the module's may take."""
    noticed_ms: int = 50
    """Contacts that are open for so long are always noticed."""

    @property
    def repeated(self) -> set[str]:
        """Discards that prove nothing where a host asks twice, and gets two answers.

        The module's clock is slower than the world's, or the machine is so busy that an answer may
        take longer than the host waits for it.
        """
        return set(TWICE) if self.pace > 1 or current_slowdown() >= _BUSY else set()

    def size(self, width: int, height: int) -> dict[str, int]:
        """Options for a sensor of that size, or as many halves of it as the bench needs."""
        while width * height > self.pixels:
            width, height = (max(_SMALLEST, side // 4 * 2) for side in (width, height))
        return {"width": width, "height": height}

    def rate(self, rate: float) -> float:
        """What is at least so much a second of the module's is at least so much of the world's."""
        return rate / self.pace

    def count(self, count: int) -> int:
        """So many of what is repeated take as long here as *count* elsewhere."""
        return max(1, count // self.pace)

    def seconds(self, seconds: float) -> float:
        """What takes the module so long at most takes so long here."""
        return seconds * self.pace


def scale_of(url: str) -> Scale:
    """By the bench's scheme: an emulated Pico takes seconds for what others do at once."""
    if guest_boards.is_in_guest():
        # A serial port takes a second for some 200 KB there.
        return Scale(160 * 120 if scheme_of(url) == "serial:" else guest_boards.MAX_PIXELS_CDC)
    if scheme_of(url) == "pico:":
        # It looks at its contacts between steps, and one step may compute ten tiles.
        return Scale(160 * 120, pace=10, noticed_ms=150)
    return Scale(12288 * 8192)


def no_pico() -> str:
    """What an emulated Pico needs that is not here; empty if all is."""
    try:
        find_node()
        find_library()
        load_image()
    except RigError as missing:
        return str(missing)
    if importlib.util.find_spec("littlefs") is None:
        return "the extra 'pico' is not installed"
    return ""


def processes_of(module: Module | PicoModule) -> dict[str, int]:
    """Those whose memory is the module's. What Node takes is its own affair: the firmware's heap is
    in it, and a firmware that leaks runs out of that."""
    if isinstance(module, PicoModule):
        return {"plant": module.plant.pid}
    return {"firmware": module.firmware.pid, "plant": module.plant.pid}


def killed_words(url: str) -> str:
    """What is said of a module on that bench whose process was killed."""
    if scheme_of(url) == "pico:":
        return "the emulator has ended"
    return "the firmware was killed by signal 9"


def cut_supply(module: Module | PicoModule) -> None:
    """The module's process ends, as without its supply."""
    process = module.board.emulator.process if isinstance(module, PicoModule) else module.firmware
    process.kill()


def own(url: str, options: Mapping[str, object]) -> str:
    """The bench's URL with these options besides its own."""
    scheme, _, query = url.partition("?")
    chosen = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    chosen |= {key: str(value) for key, value in options.items()}
    if scheme == "pico:":
        # Without a size it has its board's.
        chosen = {k: v for k, v in chosen.items() if v != _PICO_IS.get(k)}
        if "width" not in options and not options.get("board"):
            size = scale_of(url).size(640, 480)
            chosen = {key: str(value) for key, value in size.items()} | chosen
    return scheme + "?" + "&".join(f"{key}={value}" for key, value in chosen.items())


def beyond(url: str, options: Mapping[str, object]) -> str:
    """Why the bench cannot be so; empty where it can."""
    if scheme_of(url) != "pico:":
        return ""
    if options.get("scene", "prbs") != "prbs":
        return "pico: its sensor is a generator of prbs; this needs another scene"
    for key, value in options.items():
        if key not in OPTIONS and _PICO_IS.get(key) != str(value):
            return f"pico: has no option {key}={value}; this needs it"
    pixels = int(str(options.get("width", 0))) * int(str(options.get("height", 0)))
    if pixels > _PICO_MOST:
        return f"pico: has frames of at most {_PICO_MOST} pixels in tests; this needs larger"
    return ""
