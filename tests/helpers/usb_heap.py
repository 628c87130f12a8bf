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


transport = usb.UsbTransport(Controller(), 4, "S", "M", "L")
transport._opened(None)
link = Link()
packet, tile = memoryview(bytearray(16424)), object()
whole = memoryview(bytearray(16384))
first, second = (packet, tile), (whole, tile)
done = 0


def lap():
    """A packet on every lane, each with one behind it; the second fills its last USB packet."""
    global done
    for lane in transport.lanes:
        lane.offer(first)
        lane.offer(second)
        transport._completed(lane.address, 0, 16424)
        transport._completed(lane.address, 0, 16384)
        transport._completed(lane.address, 0, 0)
        while lane.done:
            lane.done.pop(0)
            done += 1


def heard():
    """A packet of the host has come."""
    transport._completed(transport.inbound.address, 0, 74)


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
print(done, link.receiver.count)
