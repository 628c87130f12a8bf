"""The bus' end of the stand-in USB controller, and a small link, for suites on transports."""

import struct

from lensfw.ports import usbdevice

ATTACH, DETACH, ARM, STALL, REPLY = 1, 2, 3, 4, 5
RESET, OPEN, DONE, CONTROL, HALT = 16, 17, 18, 19, 20


class Cable:
    """The bus' end of the stand-in's records."""

    def __init__(self, most=None):
        self._in = b""
        self._out = b""
        self._most = most

    def readinto(self, view):
        count = min(len(view), len(self._in))
        if not count:
            return None
        view[:count] = self._in[:count]
        self._in = self._in[count:]
        return count

    def write(self, view):
        count = min(len(view), self._most or len(view))
        self._out += bytes(view[:count])
        return count

    def say(self, kind, ep=0, generation=0, value=0, data=b""):
        self._in += struct.pack("<BBHHHI", kind, ep, generation, value, 0, len(data)) + data

    def heard(self):
        """Return the records since the last call: (kind, endpoint, generation, value, payload)."""
        found = []
        while self._out:
            kind, ep, generation, value, _, length = struct.unpack("<BBHHHI", self._out[:12])
            found.append((kind, ep, generation, value, self._out[12 : 12 + length]))
            self._out = self._out[12 + length :]
        return found

    def armed(self, ep):
        """Return the data of the transfers that were armed on *ep* since the last call."""
        return [each[4] for each in self.heard() if each[0] == ARM and each[1] == ep]


class Receiver:
    def __init__(self):
        self.data = b""
        self._view = memoryview(bytearray(700))

    def get_space(self):
        return self._view

    def add_received(self, count, now):
        self.data += bytes(self._view[:count])


class Link:
    def __init__(self):
        self.receiver = Receiver()
        self.waiting = [[], [], [], []]
        self.released = []
        self.ended = 0

    def has_packets(self):
        return any(self.waiting)

    def take_packet(self, lane):
        return self.waiting[lane].pop(0) if self.waiting[lane] else None

    def release_tile(self, tile):
        self.released.append(tile)

    def end_session(self):
        self.ended += 1

    def give(self, length, tile=None, lane=0):
        data = bytes(range(256)) * (length // 256 + 1)
        self.waiting[lane].append((memoryview(data)[:length], tile))
        return data[:length]


class Harness:
    """A transport that *make* makes on the stand-in controller, seen by a host."""

    def __init__(self, speed, make):
        # False from a bus reset until the host has given the board an address.
        self.is_addressed = True
        self.cable = Cable()
        self.usbd = usbdevice.USBDevice(self.cable, speed, lambda task, argument: task(argument))
        self.transport = make(self.usbd)
        self.link = Link()
        self.transport.start()
        self.attached = self.cable.heard()[-1]
        self.generation = 0
        self.open()

    def submit(self, address, data):
        """Start a transfer if the board has an address, as the RP2040's Machine does."""
        return self.is_addressed and self.usbd.submit_xfer(address, data)
