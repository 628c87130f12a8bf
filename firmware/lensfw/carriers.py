"""What carries the link on a board: USB where it can be had from Python, else the built-in CDC."""

import select
import sys
import time

import micropython

from . import lockup, wire
from .transports import stream, usb

_INTERRUPT = 3
_TWICE = b"\x03\x03"
_MPREMOTE = b"\r\x03"


def choose(configuration, machine, clock):
    """As *configuration* wants, and the board can."""
    lanes = configuration["usb"]["lanes"]
    usbd = machine.usb_device() if lanes else None
    if usbd is not None:
        return UsbCarrier(configuration, usbd, lanes, machine)
    return CdcCarrier(clock)


class UsbCarrier:
    """An interface of its own, beside a CDC that stays the REPL's."""

    left = False

    def __init__(self, configuration, usbd, lanes, machine):
        self.lanes = lanes
        controller = machine.controller()
        self._lockup = lockup.Lockup(controller) if controller is not None else None
        self._usb = usb.UsbTransport(
            usbd,
            self.lanes,
            configuration["serial"],
            configuration["model"],
            configuration["maker"],
            *machine.usb_addressed(),
        )

    def start(self):
        self._usb.start()

    def receive(self, link, now):
        watched = self._lockup
        if watched is not None and watched.poll(time.ticks_ms(), self._usb.configured()):
            # Nobody will say what became of what was in flight.
            self._usb.vanished()
        self._usb.receive(link, now)

    def send(self, link, now):
        """Whether there was anything to send."""
        return self._usb.send(link)

    def end(self):
        """The interface stays, so that the REPL does: nobody answers on it."""


class CdcCarrier:
    """The link over the REPL's own serial port.

    While it is served nothing is printed, and Ctrl-C is a byte like any other. ``left`` once the
    host has asked for the REPL.
    """

    lanes = 1

    def __init__(self, clock):
        self._serial = Serial()
        self._transport = stream.StreamTransport(self._serial, clock)
        self._linked = False

    @property
    def left(self):
        return self._serial.left

    def start(self):
        """MicroPython pulls up by itself."""

    def receive(self, link, now):
        if not self._linked:
            self._linked = True
            micropython.kbd_intr(-1)
        # In a session any byte may be a packet's.
        self._serial.listening = link.nonce is None
        self._transport.receive(link.receiver)

    def send(self, link, now):
        return self._transport.send(link)

    def end(self):
        if self._linked:
            self._linked = False
            micropython.kbd_intr(_INTERRUPT)


class Serial:
    """The built-in CDC as a stream that does not block for long.

    While ``listening``, a piece that does not begin as a packet does, and has Ctrl-C in it twice,
    or as mpremote begins, asks for the REPL: ``left``.
    """

    def __init__(self):
        self.left = False
        self.listening = True
        self._input = sys.stdin.buffer
        self._output = sys.stdout.buffer
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)
        self._byte = bytearray(1)

    def readinto(self, view):
        """None if nothing has come."""
        count = 0
        while count < len(view) and self._poll.poll(0):
            # One by one: a read of more would wait for them.
            self._input.readinto(self._byte)
            view[count] = self._byte[0]
            count += 1
        if not count:
            return None
        if self.listening and view[0] != wire.MAGIC[0]:
            piece = bytes(view[:count])
            if _TWICE in piece or _MPREMOTE in piece:
                self.left = True
        return count

    def write(self, view):
        """Waits while the host reads; what was written by when it has not for half a second."""
        return self._output.write(view)
