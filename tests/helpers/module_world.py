"""The surroundings of one module, in the common subset of Python and MicroPython.

They are ports, time and a configuration, without behaviour of their own: the test sets the time,
the sensor delivers the given picture, and the supply has the voltage ``vbus_mv``.
"""

import binascii
import struct

from lensfw import contacts, module, power, wire

WIDTH = 16
HEIGHT = 16


class Time:
    """The module's clock. The test sets ``us``."""

    def __init__(self, us=0):
        self.us = us

    def now(self):
        return self.us


def gradient(number, mode):
    """Return a frame in which each pixel differs from its neighbours and from other frames'."""
    del mode
    rows = bytearray(2 * WIDTH * HEIGHT)
    for pixel in range(WIDTH * HEIGHT):
        value = (pixel * 13 + number * 517 + 1) & 0xFFF
        rows[2 * pixel] = value & 0xFF
        rows[2 * pixel + 1] = value >> 8
    return rows


# The crop of Configure if there is none.
WHOLE_MODE = (0, 0, 0, 0)


def cut_rows(rows, pitch, crop):
    """Return a crop (x, y, columns, rows) of 16-bit pixels."""
    x, y, columns, height = crop
    cut = b""
    for row in range(y, y + height):
        at = 2 * (row * pitch + x)
        cut += rows[at : at + 2 * columns]
    return cut


class Ports:
    """The ports of a module. ``lensfw.ports.pins`` has those of a board.

    ``picture(number, mode)`` returns a frame's rows. ``chunk`` is the most bytes of one read, 0 for
    no limit. A ``dead`` sensor delivers nothing. ``calls`` records the calls unless it is None.
    """

    CONTACT = 1
    ADC = 2
    RING = 3

    def __init__(self, picture=gradient):
        self.picture = picture
        self.events = []
        self.vbus_mv = 5000
        self.chunk = 0
        self.dead = False
        self.calls = []
        # Pixels in a row of the picture, if crops are to be cut out of it.
        self.pitch = 0
        self.steps = 0
        self.load_ma = None
        # What the gauge of energy shows. None is a module without one.
        self.energy_uj = None
        self._rows = memoryview(b"")
        self._skip = 0

    def request_rows(self, number, mode, settings, pixel_format=0, tile=None, crop=None):
        del pixel_format, tile
        self._note(("request_rows", number, mode, settings))
        left = bytes(self._rows)
        rows = self.picture(number, mode)
        if self.pitch and crop:
            rows = cut_rows(rows, self.pitch, crop)
        self._rows = memoryview(left + rows if left else rows)

    def read_rows(self, view):
        if self.dead:
            return 0
        if self._skip:
            gone = min(self._skip, len(self._rows))
            self._rows = self._rows[gone:]
            self._skip -= gone
        count = min(len(view), len(self._rows))
        if self.chunk:
            count = min(count, self.chunk)
        if count:
            view[:count] = self._rows[:count]
            self._rows = self._rows[count:]
        return count

    def skip_rows(self, count):
        self._note(("skip_rows", count))
        self._skip += count

    def take_event(self):
        return self.events.pop(0) if self.events else None

    def sample(self, channel):
        if channel == power.ENERGY_CHANNEL:
            if self.energy_uj is not None:
                self.events.append((self.ADC, channel, self.energy_uj & 0xFFFFFF))
            return
        # Rounded up, so that what the firmware computes from it is not a millivolt less.
        counts = -(-self.vbus_mv * 4096 // 6600) if channel == 0 else 931
        self.events.append((self.ADC, channel, counts))

    def step(self, count):
        self.steps += count

    def set_iris(self, milli):
        self._note(("iris", milli))

    def set_load(self, milliamperes):
        self.load_ma = milliamperes
        self._note(("load", milliamperes))

    def _note(self, call):
        if self.calls is not None:
            self.calls.append(call)


def mode(number, width, height, use):
    return {
        "id": number,
        "name": "mode%d" % number,
        "width": width,
        "height": height,
        "binning": 1,
        "use": use,
        "active_area": [0, 0, height, width],
    }


def configuration(tile_bytes=128, in_flight=2, bits=12, held=2):
    """Return a configuration with modes of 16 x 16 and 32 x 24 pixels. *held* tiles can be held."""
    return {
        "maker": "Maker",
        "model": "Model",
        "serial": "SERIAL-1",
        "board": "test",
        "boot_count": 7,
        "reset_reason": 1,
        "limits": {"tile_bytes": tile_bytes, "tiles": in_flight + held, "in_flight": in_flight},
        "sensor": {
            "width": 32,
            "height": 24,
            "bits": bits,
            "cfa": "GRBG",
            "orientation": 6,
            "white": (1 << bits) - 1,
            "black": [64, 64.25, 64.5, 64.75],
            "illuminant": 21,
            "color_matrix": [6722, 10000, -635, 10000, -963, 10000] * 3,
            "neutral": [1, 2, 1, 1, 2, 3],
            "modes": [mode(1, 16, 16, ["preview"]), mode(2, 32, 24, ["still"])],
            # An exposure takes no time, unless a test asks for one.
            "exposure_us": [0, 60000000, 0],
        },
        "optics": {
            "focal_um": 17500,
            "focal_35mm_um": 35000,
            "aperture_milli": 1400,
            "focus_max_mdpt": 3300,
        },
        "motor": {"steps": 2000, "steps_per_s": 8000},
        "power": {"idle_mw": 150, "active_mw": 1400},
        "scale": {"pixels_milli": 1, "rate_milli": 2},
    }


def seat(camera, time):
    """Seat the module, and wait until its contacts and its supply are stable."""
    for pin in (contacts.POWER_PIN, contacts.DETECT_PIN):
        camera.ports.events.append((camera.ports.CONTACT, pin, 1))
    for _ in range(4):
        camera.step()
        time.us += 10000
    camera.step()


def camera(config=None, picture=gradient):
    """Return a seated module as (module, ports, time)."""
    time = Time()
    ports = Ports(picture)
    made = module.Module(config or configuration(), ports, time)
    seat(made, time)
    return made, ports, time


class Peer:
    """A host without a state machine: the test sends its packets one by one.

    It records the module's packets in ``heard`` as (header fields, payload).
    """

    def __init__(self, camera, time, nonce=0x1234ABCD):
        self.camera = camera
        self.time = time
        self.nonce = nonce
        self.sequence = 0
        self.heard = []

    def send(
        self, kind, number, values=(), tail=b"", payload=None, version=0x10, sequence=None, stream=0
    ):
        """Send a packet to the module and let it step. Return the packets that it sends then."""
        if payload is None:
            if kind == wire.T_CONFIGURE and len(values) == 5:
                values = tuple(values) + WHOLE_MODE
            payload = wire.encode(kind, values, tail)
        if sequence is None:
            sequence = self.sequence
            self.sequence = (sequence + 1) & 0xFFFFFFFF
        self.raw(make_packet(version, kind, self.nonce, sequence, number, payload, stream))
        return self.turn()

    def raw(self, data):
        receiver = self.camera.link.receiver
        space = receiver.get_space()
        space[: len(data)] = data
        receiver.add_received(len(data), self.time.us)

    def turn(self):
        """Let the module step. Return the packets it sends, each as (header fields, payload)."""
        self.camera.step()
        said = self.collect()
        self.heard.extend(said)
        return said

    def collect(self):
        """Return all packets that the module has to send."""
        said = []
        while True:
            packet = self.camera.link.take_packet()
            if packet is None:
                return said
            view, tile = packet
            data = bytes(view)
            if tile is not None:
                self.camera.link.release_tile(tile)
            header = struct.unpack(wire.HEADER, data[: wire.HEADER_BYTES])
            said.append((header, data[wire.HEADER_BYTES :]))

    def grant(self, preview=1 << 40, still=1 << 40):
        """Grant credit: the bytes of tiles of each stream since the session began."""
        return self.send(wire.T_HEARTBEAT, 0, (preview, still, still, 1000 * self.time.us))

    def hello(self, number=1, sequence=None, version=0x10, oldest=0x10, newest=0x10):
        values = (oldest, newest, 1, 0, wire.CAP_LOG | wire.CAP_RESEND, 4194304)
        return self.send(wire.T_HELLO, number, values, version=version, sequence=sequence)


def make_packet(version, kind, nonce, sequence, number, payload, stream=0):
    """Return a packet to the module, with its CRCs."""
    head = struct.pack(
        wire.HEADER, wire.MAGIC, version, kind, 0, stream, nonce, sequence, number,
        0, 0, 0, 0, len(payload), binascii.crc32(payload), 0,
    )  # fmt: skip
    head = head[:-4] + struct.pack("<I", binascii.crc32(head[:-4]))
    return head + bytes(payload)


def setting(control, value, frame=wire.EVERY_FRAME):
    """Return an entry of a settings list."""
    return struct.pack(wire.SETTING, control, frame, value)


def settings(*values, frame=wire.EVERY_FRAME):
    """Return a settings list: exposure, gain, focus, aperture, settled; None leaves one out."""
    tail = b""
    for index, value in enumerate(values):
        if value is not None:
            tail += setting(index + 1, value, frame)
    return tail


def kinds(said):
    """Return the types of packets, in order."""
    return [header[2] for header, _ in said]


def only(said, kind):
    """Return the fields of the only packet of that type."""
    found = [wire.decode(kind, payload) for header, payload in said if header[2] == kind]
    assert len(found) == 1, kinds(said)
    return found[0]


def raises(kind, function, *arguments):
    """Call a function and return the exception that it raised. It must be of that kind."""
    try:
        function(*arguments)
    except kind as error:
        return error
    raise AssertionError("nothing was raised")
