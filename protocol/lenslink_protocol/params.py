"""Every limit and timeout of the protocol, each with its unit and its reason.

SPEC.md's parameter table and the firmware's constants are generated from :data:`PARAMS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Param:
    """One limit or timeout of the protocol."""

    name: str
    value: int
    unit: str
    reason: str


PARAMS: Final[dict[str, Param]] = {}


def _param(name: str, value: int, unit: str, reason: str) -> int:
    PARAMS[name] = Param(name, value, unit, reason)
    return value


VERSION_MAJOR: Final = _param("VERSION_MAJOR", 1, "", "another major is refused")
VERSION_MINOR: Final = _param("VERSION_MINOR", 0, "", "a newer minor parses")
HEADER_BYTES: Final = _param("HEADER_BYTES", 40, "B", "fixed: it is received before it is known")
MAX_PAYLOAD: Final = _param(
    "MAX_PAYLOAD", 4 << 20, "B", "bounds what a header may announce; tiles gain nothing above 1 MiB"
)
MAX_CONTROL: Final = _param(
    "MAX_CONTROL", 1024, "B", "payload of any packet but a tile: a small module buffers one"
)
MAX_MANIFEST: Final = _param("MAX_MANIFEST", 65536, "B", "read in pieces of MAX_CONTROL")
MIN_SIDE: Final = _param("MIN_SIDE", 16, "pixels", "the smallest frame that still has two tiles")
MAX_WIDTH: Final = _param("MAX_WIDTH", 12288, "pixels", "the 100-megapixel sensor")
MAX_HEIGHT: Final = _param("MAX_HEIGHT", 8192, "pixels", "the 100-megapixel sensor")
MAX_STREAMS: Final = _param("MAX_STREAMS", 2, "", "0 is the preview, 1 the still")
MAX_LANES: Final = _param("MAX_LANES", 4, "", "more bulk endpoints gain nothing on any known board")
MIN_FRAMES_OPEN: Final = _param(
    "MIN_FRAMES_OPEN", 4, "frames", "frames in reassembly at once, all streams, whatever their size"
)
MAX_FRAMES_OPEN: Final = _param(
    "MAX_FRAMES_OPEN", 256, "frames", "the same, of small ones: so far one lane may lag behind"
)
MAX_OPEN_BYTES: Final = _param(
    "MAX_OPEN_BYTES", 64 << 20, "B", "memory of frames in reassembly, beyond MIN_FRAMES_OPEN"
)
STALL_MS: Final = _param(
    "STALL_MS", 250, "ms", "silence inside a packet after which it is given up and searched again"
)
HELLO_RETRY_MS: Final = _param(
    "HELLO_RETRY_MS", 100, "ms", "a board that boots or clears its endpoints loses hellos"
)
REQUEST_RETRY_MS: Final = _param(
    "REQUEST_RETRY_MS",
    400,
    "ms",
    "longer than STALL_MS, so that a damaged request is out of the way",
)
HEARTBEAT_MS: Final = _param(
    "HEARTBEAT_MS", 100, "ms", "credits are repeated this often, so that a lost one heals"
)
SILENCE_MS: Final = _param(
    "SILENCE_MS", 900, "ms", "without a valid byte, and not BUSY: the module is gone"
)
MAX_BUSY_MS: Final = _param("MAX_BUSY_MS", 10000, "ms", "longest lease of BUSY and of PENDING")
MAX_RANGES: Final = _param("MAX_RANGES", 32, "", "rectangles in one RESEND")
RESEND_RETRY_MS: Final = _param(
    "RESEND_RETRY_MS", 50, "ms", "a RESEND that brought neither tiles nor an answer is repeated"
)
RESEND_TRIES: Final = _param("RESEND_TRIES", 8, "", "then the frame is honestly incomplete")
END_GRACE_MS: Final = _param(
    "END_GRACE_MS", 100, "ms", "how long a fully covered frame waits for a lost frame-end"
)
FRAME_STALE_MS: Final = _param(
    "FRAME_STALE_MS", 2000, "ms", "how long an incomplete frame waits for its next packet"
)
USB_SUBCLASS: Final = _param(
    "USB_SUBCLASS", 0x4C, "", "of the interface of class 0xFF by which a module is found on USB"
)
USB_PROTOCOL: Final = _param(
    "USB_PROTOCOL", 0x4B, "", "of the same; the version of the link stands in bcdDevice"
)
USB_TRANSFER: Final = _param(
    "USB_TRANSFER",
    65024,
    "B",
    "longest transfer: its length has 16 bits; whole packets",
)
