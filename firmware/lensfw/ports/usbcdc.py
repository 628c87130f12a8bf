"""The built-in serial port (CDC) of the stand-in for ``machine.USBDevice``, as TinyUSB drives it.

It is a serial line with two small queues. Written bytes are discarded while no host sets DTR.
"""

import struct

# Raspberry Pi Pico's, with MicroPython.
DEVICE = struct.pack(
    "<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0xEF, 2, 1, 64, 0x2E8A, 0x0005, 0x0100, 1, 2, 3, 1
)
_NOTIFY, _OUT, _IN = 0x81, 0x02, 0x82
_SET_LINE_CODING, _GET_LINE_CODING, _SET_LINE_STATE, _SEND_BREAK = 0x20, 0x21, 0x22, 0x23


def _configuration(packet):
    return (
        struct.pack("<BBHBBBBB", 9, 2, 75, 2, 1, 0, 0x80, 125)
        + bytes((8, 0x0B, 0, 2, 2, 2, 0, 0))
        + bytes((9, 4, 0, 0, 1, 2, 2, 0, 4))
        + bytes((5, 0x24, 0, 0x20, 1))
        + bytes((5, 0x24, 1, 0, 1))
        + bytes((4, 0x24, 2, 6))
        + bytes((5, 0x24, 6, 0, 1))
        + struct.pack("<BBBBHB", 7, 5, _NOTIFY, 3, 8, 16)
        + bytes((9, 4, 1, 0, 2, 0x0A, 0, 0, 0))
        + struct.pack("<BBBBHB", 7, 5, _OUT, 2, packet, 0)
        + struct.pack("<BBBBHB", 7, 5, _IN, 2, packet, 0)
    )


class BuiltinCdc:
    """Stand in for ``machine.USBDevice.BUILTIN_DEFAULT``. Also a stream for StreamTransport."""

    itf_max = 2
    ep_max = 3
    str_max = 5
    strings = {1: "MicroPython", 2: "Board in FS mode", 3: "000000000000", 4: "Board CDC"}
    desc_dev = DEVICE

    def __init__(self, usbd, packet):
        self.desc_cfg = _configuration(packet)
        self._usbd = usbd
        self._packet = packet
        # TinyUSB's queues: four packets of full speed, one of high speed.
        self._size = max(256, packet)
        self._coding = bytearray(struct.pack("<IBBB", 115200, 0, 0, 8))
        self._received = memoryview(bytearray(packet))
        self._queue = bytearray(self._size)
        self._sending = memoryview(bytearray(self._size))
        self.reset()

    def reset(self):
        self.connected = False
        self._in = b""
        self._waiting = 0
        self._is_open = False

    def opened(self):
        self._is_open = True
        self._listen()

    def restarted(self, ep):
        """Start anew after a halt: the transfer in flight was lost."""
        if ep == _OUT:
            self._listen()
        elif ep == _IN:
            self._go_on()

    def completed(self, ep, count, data):
        """Handle the end of a transfer on the driver's endpoints, ours or the driver's."""
        if ep == _OUT:
            self._in = self._in + bytes(data)
            self._listen()
        elif ep == _IN and not self._go_on() and count and count % self._packet == 0:
            # A transfer that fills its last packet ends with an empty one.
            self._start(_IN, b"")

    def request(self, setup, data):
        """Handle a class request. Return True, False, or the data of the answer."""
        kind = setup[1]
        if kind == _GET_LINE_CODING:
            return self._coding[: struct.unpack_from("<H", setup, 6)[0]]
        if kind == _SET_LINE_CODING and len(data) == 7:
            self._coding[:] = data
            return True
        if kind == _SET_LINE_STATE:
            self.connected = bool(setup[2] & 1)
            if not self.connected:
                self._waiting = 0
            return True
        return kind == _SEND_BREAK

    # --- the stream -----------------------------------------------------------------------

    def readinto(self, view):
        count = min(len(view), len(self._in))
        if not count:
            return None
        view[:count] = self._in[:count]
        self._in = self._in[count:]
        self._listen()
        return count

    def write(self, data):
        if not self.connected:
            return len(data)
        count = min(len(data), self._size - self._waiting)
        if not count:
            return None
        self._queue[self._waiting : self._waiting + count] = data[:count]
        self._waiting += count
        self._go_on()
        return count

    def _listen(self):
        if len(self._in) <= self._size - self._packet:
            self._start(_OUT, self._received)

    def _go_on(self):
        """Send queued bytes. Return True if the endpoint accepted any."""
        count = self._waiting
        if not count or self._usbd.claimed(_IN):
            return False
        self._sending[:count] = memoryview(self._queue)[:count]
        self._waiting = 0
        return self._start(_IN, self._sending[:count])

    def _start(self, ep, buffer):
        try:
            return self._is_open and self._usbd.submit(ep, buffer)
        except OSError:
            return False
