"""Every number on the wire that has a name."""

from __future__ import annotations

import enum


class MessageType(enum.IntEnum):
    """What a packet carries. 0xE0 to 0xFF are the vendor's: a reader skips those it ignores."""

    HELLO = 0x01
    HELLO_REPLY = 0x02
    GET_MANIFEST = 0x03
    MANIFEST = 0x04
    CONFIGURE = 0x05
    CONFIGURED = 0x06
    CAPTURE = 0x07
    STREAM = 0x08
    STOP = 0x09
    FLUSH = 0x0A
    ACCEPTED = 0x0B
    FLUSHED = 0x0C
    ERROR = 0x0D
    CLOSE = 0x0E
    HEARTBEAT = 0x0F
    HEARTBEAT_REPLY = 0x10
    PENDING = 0x11
    BUSY = 0x12
    NOTICE = 0x13
    RESEND = 0x14
    RESENT = 0x15
    QUERY = 0x18
    QUERY_REPLY = 0x19
    TEST = 0x1A
    CHALLENGE = 0x1B
    PROOF = 0x1C
    FRAME_START = 0x40
    TILE = 0x41
    FRAME_END = 0x42
    LOG = 0x60


VENDOR_FIRST = 0xE0


class Flag(enum.IntFlag):
    """Flags of a packet."""

    RESENT = 1 << 0
    """Sent before, and sent again on request."""


class Capability(enum.IntFlag):
    """What a side can do beyond the core; a session uses the intersection."""

    LOG = 1 << 0
    """The module sends LOG messages."""
    RESEND = 1 << 1
    """The module holds what it has sent for a while, and sends it again on request."""
    TEST = 1 << 2
    """The module lets itself be driven into states, by Test."""
    AUTH = 1 << 3
    """The module proves that it is what it says it is, by Proof."""


class ConfigureFlag(enum.IntFlag):
    """Flags of CONFIGURE and CONFIGURED."""

    TEST_ONLY = 1 << 0
    """Say what would be applied, and apply nothing."""
    ADJUSTED = 1 << 1
    """What is applied differs from what was asked for."""


class ErrorCode(enum.IntEnum):
    """Why a module refused a request."""

    UNKNOWN_REQUEST = 1
    MALFORMED = 2
    VERSION = 3
    STATE = 4
    """The request makes no sense in the state the stream is in."""
    UNSUPPORTED = 5
    """No such mode, pixel format, stream or value."""
    NOT_ATTACHED = 6
    """The contacts are not seated."""
    SENSOR = 7
    """The sensor did not deliver."""
    POWER = 8
    """It would exceed the granted power."""
    REPEATED = 9
    """It was executed before, and the answer is no longer held."""


class Outcome(enum.IntEnum):
    """What became of a request, as far as the module remembers."""

    UNKNOWN = 0
    """It has restarted since, or the request is too long ago."""
    NOT_DONE = 1
    """It never came, was refused, or the session ended before it had any effect: for good."""
    DONE = 2
    """It was executed."""


class CloseReason(enum.IntEnum):
    """Why a side ends the session."""

    ORDERLY = 0
    DETACH = 1
    POWER = 2
    INTERNAL = 3


class BusyReason(enum.IntEnum):
    """Why a module will be silent for a while."""

    FLASH = 1
    """Flash writes stop interrupts."""
    CALIBRATION = 2
    OTHER = 3


class NoticeReason(enum.IntEnum):
    """What a module sees coming."""

    RELEASE = 1
    """The release button is pressed: the contacts are about to open."""
    SUPPLY = 2
    """The supply is falling."""
    HEAT = 3


class TestAction(enum.IntEnum):
    """What a module is made to do on purpose, once it has accepted Test."""

    __test__ = False  # not one of pytest's

    BUSY = 1
    """Say Busy with a lease of `ms`, and be silent that long."""
    STALL = 2
    """Stop inside the next packet, say nothing for `ms`, then go on where it stopped."""
    REJECT = 3
    """Send one Close whose CRC, which `damage` names, does not hold."""
    PENDING = 4
    """Answer this Test with Pending for `ms` first."""
    DETACH = 5
    """Give notice of a release within `ms`, then end the session as a detached module does."""


class Damage(enum.IntEnum):
    """Which CRC of a packet is made wrong on purpose."""

    PAYLOAD = 1
    HEADER = 2


class ResendFlag(enum.IntFlag):
    """What of a frame is asked for, or answered, besides tiles."""

    START = 1 << 0
    END = 1 << 1


class FrameState(enum.IntEnum):
    """What a module knows of a frame that it is asked about."""

    UNDER_WAY = 0
    """Not all of it has been read: what is asked for beyond that will come by itself."""
    ENDED = 1
    UNKNOWN = 2
    """Nothing of it is held any more."""


class EndStatus(enum.IntEnum):
    """How a frame's readout ended."""

    OK = 0
    ABORTED = 1
    """Stopped by the host."""
    SENSOR = 2
    """The sensor failed inside the frame."""


class ResetReason(enum.IntEnum):
    """Why the module last started."""

    POWER_ON = 0
    RESET = 1
    WATCHDOG = 2
    SOFT = 3


class LogLevel(enum.IntEnum):
    """Python's levels, divided by ten."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4


class Cfa(enum.IntEnum):
    """Colour filter array: the top left two by two pixels, row by row."""

    RGGB = 0
    GRBG = 1
    GBRG = 2
    BGGR = 3


class ModeUse(enum.IntFlag):
    """What a mode is meant for: the host's default choice."""

    PREVIEW = 1 << 0
    STILL = 1 << 1


class PixelFormat(enum.IntEnum):
    """PFNC codes; bits 16 to 23 are the bits a pixel takes in a row, bit 31 marks a code of ours.

    A name is phase, bits and packing: none (a pixel in a little-endian 16-bit word,
    right-justified), p (PFNC's, least significant bits first), Packed (GigE Vision's of old) and
    Mipi (CSI-2's, whose data type stands in bits 8 to 15). Sources: EMVA, Pixel Format Naming
    Convention 2.4; MIPI CSI-2.
    """

    GR10 = 0x0110000C
    RG10 = 0x0110000D
    GB10 = 0x0110000E
    BG10 = 0x0110000F
    GR12 = 0x01100010
    RG12 = 0x01100011
    GB12 = 0x01100012
    BG12 = 0x01100013
    GR14 = 0x01100109
    RG14 = 0x0110010A
    GB14 = 0x0110010B
    BG14 = 0x0110010C
    GR16 = 0x0110002E
    RG16 = 0x0110002F
    GB16 = 0x01100030
    BG16 = 0x01100031
    GR10p = 0x010A0056
    RG10p = 0x010A0058
    GB10p = 0x010A0054
    BG10p = 0x010A0052
    GR12p = 0x010C0057
    RG12p = 0x010C0059
    GB12p = 0x010C0055
    BG12p = 0x010C0053
    GR14p = 0x010E0105
    RG14p = 0x010E0106
    GB14p = 0x010E0107
    BG14p = 0x010E0108
    GR12Packed = 0x010C002A
    RG12Packed = 0x010C002B
    GB12Packed = 0x010C002C
    BG12Packed = 0x010C002D
    GR10Mipi = 0x810A2B00
    RG10Mipi = 0x810A2B01
    GB10Mipi = 0x810A2B02
    BG10Mipi = 0x810A2B03
    GR12Mipi = 0x810C2C00
    RG12Mipi = 0x810C2C01
    GB12Mipi = 0x810C2C02
    BG12Mipi = 0x810C2C03
    GR14Mipi = 0x810E2D00
    RG14Mipi = 0x810E2D01
    GB14Mipi = 0x810E2D02
    BG14Mipi = 0x810E2D03


class ManifestKey(enum.IntEnum):
    """Entries of the manifest. 0x8000 and above are the vendor's: a reader skips them."""

    MAKER = 0x0001
    MODEL = 0x0002
    SERIAL = 0x0003
    FIRMWARE = 0x0004
    BOARD = 0x0005
    SENSOR = 0x0010
    COLOR = 0x0011
    MODE = 0x0012
    FORMAT = 0x0013
    OPTICS = 0x0020
    POWER = 0x0021
    SCALE = 0x0022


class DiscardReason(enum.StrEnum):
    """Why received bytes were not used: every cause has its counter."""

    NOISE = "noise"
    """Bytes between packets that belong to none."""
    HEADER_CRC = "header_crc"
    """The magic, without a header whose CRC holds."""
    VERSION = "version"
    """A sound header of another major version."""
    LENGTH = "length"
    """A sound header that announces more than the bound."""
    PAYLOAD_CRC = "payload_crc"
    STALL = "stall"
    """A packet that stopped inside."""
    NONCE = "nonce"
    """A sound packet of another session: from before a replug."""
    SEQUENCE = "sequence"
    """A sound packet that repeats an earlier one of its lane."""
    UNKNOWN_TYPE = "unknown_type"
    MALFORMED = "malformed"
    """A payload shorter than its message, or with values out of bounds."""
    UNEXPECTED = "unexpected"
    """A reply that nobody waits for."""
    NO_FRAME = "no_frame"
    """A tile or frame-end without its frame-start."""
    GEOMETRY = "geometry"
    """A tile outside its frame, or whose length is not its rectangle's."""
    LATE = "late"
    """A packet of a frame that has been handed on."""
    COVERED = "covered"
    """A tile that repeats what is already there."""
