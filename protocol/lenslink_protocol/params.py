"""Define every limit and timeout of the protocol, with its unit and its reason.

``make gen`` makes SPEC.md's parameter table and the firmware's constants from :data:`PARAMS`.
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


VERSION_MAJOR: Final = _param("VERSION_MAJOR", 1, "", "another major version is refused")
VERSION_MINOR: Final = _param("VERSION_MINOR", 0, "", "a newer minor version is understood")
HEADER_BYTES: Final = _param("HEADER_BYTES", 40, "B", "bytes of a header; never changes")
MAX_PAYLOAD: Final = _param(
    "MAX_PAYLOAD", 4 << 20, "B", "longest payload of a tile; tiles gain nothing above 1 MiB"
)
MAX_CONTROL: Final = _param(
    "MAX_CONTROL", 1024, "B", "longest payload of any other packet; a small module buffers one"
)
MAX_MANIFEST: Final = _param("MAX_MANIFEST", 65536, "B", "longest manifest; it is read in pieces")
MAX_TEXT: Final = _param("MAX_TEXT", 255, "B", "longest text in the manifest")
MAX_CALIBRATION: Final = _param(
    "MAX_CALIBRATION", 262144, "B", "longest calibration; 40,000 defects of a 100-megapixel sensor"
)
MIN_SIDE: Final = _param(
    "MIN_SIDE", 16, "pixels", "least width and height of a mode; the frame still has two tiles"
)
MAX_WIDTH: Final = _param(
    "MAX_WIDTH", 12288, "pixels", "most columns of a mode, as a 100-megapixel sensor has"
)
MAX_HEIGHT: Final = _param(
    "MAX_HEIGHT", 8192, "pixels", "most rows of a mode, as a 100-megapixel sensor has"
)
MAX_STREAMS: Final = _param(
    "MAX_STREAMS", 3, "", "number of streams: 0 preview, 1 still, 2 region of interest (ROI)"
)
MAX_LANES: Final = _param(
    "MAX_LANES", 4, "", "most lanes; more USB endpoints gain nothing on any known board"
)
MIN_FRAMES_OPEN: Final = _param(
    "MIN_FRAMES_OPEN", 4, "frames", "frames that a host can receive at once, of any size"
)
MAX_FRAMES_OPEN: Final = _param(
    "MAX_FRAMES_OPEN",
    256,
    "frames",
    "small frames that a host can receive at once; one lane may lag that far",
)
MAX_OPEN_BYTES: Final = _param(
    "MAX_OPEN_BYTES", 64 << 20, "B", "most memory of frames in reception beyond MIN_FRAMES_OPEN"
)
STALL_MS: Final = _param(
    "STALL_MS", 250, "ms", "silence inside a packet after which the receiver gives it up"
)
HELLO_RETRY_MS: Final = _param(
    "HELLO_RETRY_MS", 100, "ms", "a board that boots or clears its endpoints loses Hellos"
)
REQUEST_RETRY_MS: Final = _param(
    "REQUEST_RETRY_MS",
    400,
    "ms",
    "longer than STALL_MS, so that a damaged request has been given up",
)
HEARTBEAT_MS: Final = _param(
    "HEARTBEAT_MS",
    100,
    "ms",
    "credit limits are repeated this often, so that a lost one does no harm",
)
SILENCE_MS: Final = _param(
    "SILENCE_MS", 900, "ms", "silence, outside a lease of Busy, after which the module is gone"
)
MAX_BUSY_MS: Final = _param("MAX_BUSY_MS", 10000, "ms", "longest lease of Busy and of Pending")
AUTH_BYTES: Final = _param(
    "AUTH_BYTES", 32, "B", "key, challenge and proof of HMAC_SHA256: as long as the hash"
)
MAX_SETTINGS: Final = _param(
    "MAX_SETTINGS", 96, "", "most entries of a settings list: six controls for each frame"
)
MAX_BRACKET: Final = _param(
    "MAX_BRACKET", 16, "frames", "most frames of a Capture with a setting for a single frame"
)
MAX_SETTINGS_DELAY: Final = _param(
    "MAX_SETTINGS_DELAY", 2, "frames", "largest settings_delay of a module"
)
MAX_SETTING: Final = _param(
    "MAX_SETTING",
    (1 << 30) - 1,
    "",
    "largest amount of a setting's value; MicroPython has larger integers only on the heap",
)
EVERY_FRAME: Final = _param("EVERY_FRAME", 0xFFFF, "", "in a setting: it is for every frame")
MAX_RANGES: Final = _param("MAX_RANGES", 32, "", "most rectangles in one Resend or Resent")
RESEND_RETRY_MS: Final = _param(
    "RESEND_RETRY_MS", 50, "ms", "a Resend without any answer is repeated after this time"
)
RESEND_TRIES: Final = _param(
    "RESEND_TRIES", 8, "", "Resends in a row without an answer; then the frame is incomplete"
)
END_GRACE_MS: Final = _param(
    "END_GRACE_MS", 100, "ms", "time for which a fully received frame waits for a lost FrameEnd"
)
FRAME_STALE_MS: Final = _param(
    "FRAME_STALE_MS", 2000, "ms", "time for which an incomplete frame waits for its next packet"
)
USB_SUBCLASS: Final = _param(
    "USB_SUBCLASS", 0x4C, "", "subclass of the USB interface, whose class is 0xFF"
)
USB_PROTOCOL: Final = _param("USB_PROTOCOL", 0x4B, "", "protocol of the USB interface")
USB_TRANSFER: Final = _param(
    "USB_TRANSFER",
    65024,
    "B",
    "longest USB transfer: its length has 16 bits, and it is whole USB packets",
)
