"""Sends and receives over the USB transport with the heap locked: run by MicroPython.

Prints how many packets went without an allocation.
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
    """Takes every transfer; what a board's does in C."""

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
    """A packet on every lane, each with one behind it; the second fills its last USB packet."""
    for lane in transport.lanes:
        lane.queue(first)
        lane.queue(second)
        transport._on_transfer_end(lane.address, 0, 16424)
        transport._on_transfer_end(lane.address, 0, 16384)
        transport._on_transfer_end(lane.address, 0, 0)
        lane.settle(link)


def heard():
    """A packet of the host has come."""
    transport._on_transfer_end(transport.inbound.address, 0, 74)


def locked():
    """In a function: its names cost nothing."""
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
