"""Name every number of the protocol."""

from __future__ import annotations

import enum


class MessageType(enum.IntEnum):
    """Type of a packet. 0xE0 to 0xFF belong to vendors; a reader skips unknown vendor types."""

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
    SET_SETTINGS = 0x1D
    EVENT = 0x1E
    SET_BUDGET = 0x1F
    GET_CALIBRATION = 0x20
    CALIBRATION = 0x21
    FRAME_START = 0x40
    TILE = 0x41
    FRAME_END = 0x42
    LOG = 0x60


VENDOR_FIRST = 0xE0


class Flag(enum.IntFlag):
    """Flags of a packet."""

    RESENT = 1 << 0
    """The tile was sent before and is sent again because of a Resend."""


class Capability(enum.IntFlag):
    """Capability of a side. A session has the capabilities that both sides have."""

    LOG = 1 << 0
    """The module sends lines of its log."""
    RESEND = 1 << 1
    """The module holds tiles for a while after they were sent, and sends them again on request."""
    TEST = 1 << 2
    """The module obeys Test."""
    AUTH = 1 << 3
    """The module answers Challenge with Proof."""
    EVENTS = 1 << 4
    """The module sends Event."""


class ConfigureFlag(enum.IntFlag):
    """Flag of Configure and Configured."""

    TEST_ONLY = 1 << 0
    """The module states what it would apply, and applies nothing."""
    ADJUSTED = 1 << 1
    """The pixel format or the tile length differs from the request."""


class ControlId(enum.IntEnum):
    """Control that a setting names. :mod:`.controls` has their table."""

    EXPOSURE = 1
    """Exposure time."""
    GAIN = 2
    """Analogue gain; 1000 is unity."""
    FOCUS = 3
    """Distance that the lens is focused on; 0 is infinity, a larger value is closer."""
    APERTURE = 4
    """F-number of the iris."""
    SETTLED = 5
    """1: the exposure waits until lens and iris stand still. 0: the exposure does not wait."""
    ROI_X = 6
    """First column of the crop, in pixels of the mode."""
    ROI_Y = 7
    """First row of the crop, in pixels of the mode."""


class ControlFlag(enum.IntFlag):
    """Flag of a ControlEntry."""

    PER_FRAME = 1 << 0
    """The control may have another value for each frame of a Capture."""


class FrameFlag(enum.IntFlag):
    """Flag of FrameStart."""

    ADJUSTED = 1 << 0
    """The module applied another value of a control than it was asked for."""
    MOVING = 1 << 1
    """The lens or the iris moved during the exposure."""


class ErrorCode(enum.IntEnum):
    """Reason why a module refuses a request."""

    UNKNOWN_REQUEST = 1
    """The module does not know the type of the request."""
    MALFORMED = 2
    """The payload is shorter than its fixed part, or its size field or settings list is wrong."""
    VERSION = 3
    """Host and module share no version."""
    STATE = 4
    """The state of the stream does not allow the request."""
    UNSUPPORTED = 5
    """The module has no such mode, crop, stream, scheme, action or value."""
    NOT_ATTACHED = 6
    """The contacts are open or have not settled."""
    SENSOR = 7
    """The sensor does not work."""
    POWER = 8
    """The supply or the budget is too low for the request, or the module is too hot."""
    REPEATED = 9
    """The request is older than the newest one, and its answer is no longer held."""


class Outcome(enum.IntEnum):
    """Outcome of a request, as far as the module remembers."""

    UNKNOWN = 0
    """The module does not remember the request."""
    NOT_DONE = 1
    """The request never arrived, was refused, or had no effect when its session ended."""
    DONE = 2
    """The request was executed."""


class AuthScheme(enum.IntEnum):
    """Scheme of authentication. Numbers from 0x8000 on are the vendor's."""

    HMAC_SHA256 = 1
    """Module and host share a key."""


class CloseReason(enum.IntEnum):
    """Reason why a side ends the session."""

    ORDERLY = 0
    """The side has finished."""
    DETACH = 1
    """The contacts have opened."""
    POWER = 2
    """The supply is too low to go on."""
    INTERNAL = 3
    """The side has an internal fault."""


class BusyReason(enum.IntEnum):
    """Reason why a module will be silent."""

    FLASH = 1
    """A write to flash memory stops interrupts."""
    CALIBRATION = 2
    """The module calibrates itself."""
    OTHER = 3
    """Any other reason."""


class NoticeReason(enum.IntEnum):
    """Event that a module expects."""

    RELEASE = 1
    """The release button is pressed, and the contacts are about to open."""
    SUPPLY = 2
    """The supply is falling."""
    HEAT = 3
    """The module is getting too hot."""


class EventKind(enum.IntEnum):
    """What an Event is about, with its `value` and its `counter`."""

    RING = 1
    """The focus ring was turned: its position in ticks; ticks in either direction."""
    CONTACTS = 2
    """The contacts: contact state, and times 256 the last one that was bad; bounces."""
    HEAT = 3
    """The heat: heat state; changes of it."""
    POWER = 4
    """The supply: its voltage in mV; the energy that the module has taken in uJ."""


class ContactState(enum.IntEnum):
    """State of a module's contacts."""

    DETACHED = 0
    """The module has no supply."""
    HALF_SEATED = 1
    """Only a part of the contacts touches."""
    ATTACHED = 2
    """The contacts are closed and dry."""
    WET = 3
    """A current leaks between the contacts."""
    SHORTED = 4
    """The supply is shorted."""


class HeatState(enum.IntEnum):
    """State of a module's heat. The names are those of Android's thermal states."""

    NONE = 0
    """Frames come at full rate."""
    LIGHT = 1
    """Frames come at full rate."""
    MODERATE = 2
    """Frames become fewer."""
    SEVERE = 3
    """Frames become fewer still."""
    CRITICAL = 4
    """Frames are few."""
    EMERGENCY = 5
    """There are no frames."""
    SHUTDOWN = 6
    """There is no session."""


class TestAction(enum.IntEnum):
    """Action that Test demands of a module."""

    __test__ = False  # pytest must not collect this class.

    BUSY = 1
    """Send Busy with a lease of `ms`, and be silent for that time."""
    STALL = 2
    """Stop inside the next packet, send nothing for `ms`, then send the rest of the packet."""
    REJECT = 3
    """Send one Close with a wrong CRC; `damage` says which CRC."""
    PENDING = 4
    """Answer the Test with Pending for `ms`, and with Accepted when that time is over."""
    DETACH = 5
    """Send Notice RELEASE, and `ms` later end the session with Close DETACH."""


class Damage(enum.IntEnum):
    """CRC that Test action REJECT makes wrong."""

    PAYLOAD = 1
    """The payload CRC is wrong."""
    HEADER = 2
    """The header CRC is wrong."""


class ResendFlag(enum.IntFlag):
    """Packet of a frame that is asked for or sent again, besides tiles."""

    START = 1 << 0
    """FrameStart."""
    END = 1 << 1
    """FrameEnd."""


class FrameState(enum.IntEnum):
    """State of a frame in the module, as Resent states it."""

    UNDER_WAY = 0
    """FrameEnd has not been sent yet. Tiles that were not sent yet will come by themselves."""
    ENDED = 1
    """FrameEnd has been sent."""
    UNKNOWN = 2
    """The module holds nothing of the frame."""


class EndStatus(enum.IntEnum):
    """Way in which the readout of a frame ended."""

    OK = 0
    """The frame was read and sent to its end."""
    ABORTED = 1
    """Stop or Flush ended the frame."""
    SENSOR = 2
    """The sensor failed during the frame."""


class ResetReason(enum.IntEnum):
    """Reason of the module's last start."""

    POWER_ON = 0
    """The supply was switched on."""
    RESET = 1
    """The reset pin or a debugger reset the module."""
    WATCHDOG = 2
    """The watchdog reset the module."""
    SOFT = 3
    """The firmware restarted itself."""


class LogLevel(enum.IntEnum):
    """Level of a log line: a level of Python's logging module, divided by ten."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4


class Cfa(enum.IntEnum):
    """Phase of the colour filter array: the colours of the first 2 x 2 pixels, row by row."""

    RGGB = 0
    GRBG = 1
    GBRG = 2
    BGGR = 3


class ModeUse(enum.IntFlag):
    """Use of a mode. A host chooses its default mode by it."""

    PREVIEW = 1 << 0
    """The mode is meant for previews."""
    STILL = 1 << 1
    """The mode is meant for stills."""


class PixelFormat(enum.IntEnum):
    """Pixel format by its PFNC code. Bits 16 to 23 are the bits that a pixel takes in a row.

    A name is phase, bits and packing. No suffix is a 16-bit word, p is PFNC's lsb packing, Packed
    is GigE Vision's legacy packing, Mipi is CSI-2's packing, Rice is coded. PFNC has no codes for
    MIPI's packings: theirs have bit 31 set and CSI-2's data type in bits 8 to 15. Those of Rice
    have 0x80 there, which is no data type. Sources: EMVA, Pixel Format Naming Convention 2.4; MIPI
    CSI-2.
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
    GR10Rice = 0x810A8000
    RG10Rice = 0x810A8001
    GB10Rice = 0x810A8002
    BG10Rice = 0x810A8003
    GR12Rice = 0x810C8000
    RG12Rice = 0x810C8001
    GB12Rice = 0x810C8002
    BG12Rice = 0x810C8003
    GR14Rice = 0x810E8000
    RG14Rice = 0x810E8001
    GB14Rice = 0x810E8002
    BG14Rice = 0x810E8003


class ManifestKey(enum.IntEnum):
    """Key of a manifest entry. 0x8000 and above belong to vendors; a reader skips unknown keys."""

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
    AUTH = 0x0023
    CONTROL = 0x0024
    FOCUS = 0x0025
    DELAY = 0x0026
    CALIBRATION = 0x0027


class CalibrationKind(enum.IntEnum):
    """Kind of a calibration. A reader skips unknown kinds."""

    NOISE = 1
    """Noise profile at each gain."""
    GAIN_MAP = 2
    """Gain that each place of the picture needs, because the lens darkens it."""
    DISTORTION = 3
    """Where the lens puts a point."""
    BLUR = 4
    """Blur of what is out of focus."""
    DEFECTS = 5
    """Pixels that are not to be used."""


class DiscardReason(enum.StrEnum):
    """Reason why a receiver does not use bytes. A receiver counts each reason."""

    NOISE = "noise"
    """Bytes that belong to no packet."""
    HEADER_CRC = "header_crc"
    """A magic that begins no header with a correct CRC."""
    VERSION = "version"
    """A correct header of another major version."""
    LENGTH = "length"
    """A correct header whose length is over the limit."""
    PAYLOAD_CRC = "payload_crc"
    """A payload whose CRC is wrong."""
    STALL = "stall"
    """A packet whose rest did not arrive within STALL_MS."""
    NONCE = "nonce"
    """A packet of another session, for instance from before a replug."""
    SEQUENCE = "sequence"
    """A packet whose sequence is not newer than the last one of its lane."""
    UNKNOWN_TYPE = "unknown_type"
    """A packet of an unknown type below 0xE0."""
    MALFORMED = "malformed"
    """A payload shorter than its fixed part or with a wrong size or count, or a damaged code."""
    UNEXPECTED = "unexpected"
    """An answer to no request that is waiting."""
    NO_FRAME = "no_frame"
    """A packet of a frame of a stream that is not configured."""
    GEOMETRY = "geometry"
    """A tile or FrameStart that does not fit the configured geometry."""
    LATE = "late"
    """A packet of a frame that has been delivered or dropped."""
    DUPLICATE = "duplicate"
    """A tile or FrameStart that the frame already has."""
