"""Send and receive over the USB transport with the heap locked. MicroPython runs this script.

Prints the numbers of sent tiles and received bytes.
"""

import struct

import micropython

from lensfw.transports import usb


class Builtin:
    itf_max = 2
    ep_max = 3
    str_max = 5
    desc_cfg = b""
    desc_dev = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 512, 0, 0, 0, 64, 1, 2, 3, 1, 2, 3, 1)


class Controller:
    """Stand in for a controller. It accepts every transfer."""

    BUILTIN_DEFAULT = Builtin

    def submit_xfer(self, address, data):
        return True


class Receiver:
    def __init__(self):
        self.view = memoryview(bytearray(2048))
        self.count = 0

    def get_space(self):
        return self.view

    def add_received(self, count, now):
        self.count += count


class Link:
    def __init__(self):
        self.receiver = Receiver()
        self.released = 0

    def release_tile(self, tile):
        self.released += 1


transport = usb.UsbTransport(Controller(), 4, "S", "M", "L")
transport._on_open(None)
for lane in transport.lanes:
    lane.drop()
link = Link()
packet, tile = memoryview(bytearray(16424)), object()
whole = memoryview(bytearray(16384))
first, second = (packet, tile), (whole, tile)


def lap():
    """Send two packets on each lane. The second one fills its last USB packet."""
    for lane in transport.lanes:
        lane.queue(first)
        lane.queue(second)
        transport._on_transfer_end(lane.address, 0, 16424)
        transport._on_transfer_end(lane.address, 0, 16384)
        transport._on_transfer_end(lane.address, 0, 0)
        lane.return_tiles(link)


def heard():
    """Receive a packet of the host."""
    transport._on_transfer_end(transport.inbound.address, 0, 74)


def locked():
    """Run with the heap locked, in a function: local names do not allocate."""
    micropython.heap_lock()
    try:
        for _ in range(200):
            lap()
            heard()
    finally:
        micropython.heap_unlock()


lap()
locked()
transport.receive(link, 0)
print(link.released, link.receiver.count)
