"""What carries the link on a board: an interface of its own on USB, or the built-in CDC."""

import select
import sys
import time

import micropython

from . import controller_lockup, wire
from .transports import cdc, socket_stream, usb

_INTERRUPT = 3
_BEFORE = b"\x03\r"


def choose(configuration, machine, clock):
    """As *configuration* wants, and the board can."""
    lanes, serial = configuration["usb"]["lanes"], configuration["serial"]
    usbd, addressed = machine.usb_device(), machine.usb_addressed
    if usbd is None:
        return CdcBackend(None, socket_stream.StreamTransport, clock)
    if lanes:
        names = serial, configuration["model"], configuration["maker"]
        return UsbBackend(machine, usb.UsbTransport(usbd, lanes, *names, addressed), lanes)
    return CdcBackend(machine, cdc.CdcTransport, clock, usbd, serial, addressed)


class UsbBackend:
    """An interface of its own, beside a CDC that stays the REPL's.

    ``machine`` is None where nobody but MicroPython has anything to do with USB.
    """

    left = False

    def __init__(self, machine, transport, lanes):
        self.lanes = lanes
        controller = machine.controller() if machine is not None else None
        self._lockup = controller_lockup.Lockup(controller) if controller is not None else None
        self._transport = transport

    def start(self):
        self._transport.start()

    def receive(self, link, now):
        watched = self._lockup
        if watched is not None and watched.poll(time.ticks_ms(), self._transport.configured()):
            # Nobody will say what became of what was in flight.
            self._transport.vanished()
        self._transport.receive(link, now)

    def send(self, link):
        """Whether there was anything to send."""
        return self._transport.send(link)

    def end(self):
        """The interface stays, so that the REPL does: nobody answers on it."""


class CdcBackend(UsbBackend):
    """The link over the REPL's own serial port; *make* is the transport's, from the stream on.

    While it is served nothing is printed, and Ctrl-C is a byte like any other. ``left`` once the
    host has asked for the REPL.
    """

    def __init__(self, machine, make, *arguments):
        self._serial = Serial()
        super().__init__(machine, make(self._serial, *arguments), 1)
        self._linked = False

    @property
    def left(self):
        return self._serial.left

    def receive(self, link, now):
        if not self._linked:
            self._linked = True
            micropython.kbd_intr(-1)
        # In a session any byte may be a packet's.
        self._serial.listening = link.nonce is None
        super().receive(link, now)

    def end(self):
        if self._linked:
            self._linked = False
            micropython.kbd_intr(_INTERRUPT)


class Serial:
    """The built-in CDC as a stream that does not block for long.

    While ``listening``, Ctrl-C behind another, or behind a return as mpremote sends it, in a piece
    that does not begin as a packet does, asks for the REPL: ``left``. It has what comes then.
    """

    def __init__(self):
        self.left = False
        self.listening = True
        self._output = sys.stdout.buffer
        poll = select.poll()
        poll.register(sys.stdin, select.POLLIN)
        self._ready = poll.ipoll
        self._read = sys.stdin.buffer.readinto
        self._byte = bytearray(1)

    def readinto(self, view):
        """None if nothing has come."""
        if self.left:
            return None
        count = 0
        most = len(view)
        ready, read, byte = self._ready, self._read, self._byte
        while count < most:
            # One by one: a read of more would wait for them.
            for _ in ready(0):
                break
            else:
                break
            read(byte)
            view[count] = byte[0]
            count += 1
            if byte[0] == _INTERRUPT and self.listening and self._asks(view, count):
                self.left = True
                break
        return count or None

    def _asks(self, view, count):
        return count > 1 and view[count - 2] in _BEFORE and view[0] != wire.MAGIC[0]

    def write(self, view):
        """Waits while the host reads; what was written by when it has not for half a second."""
        return self._output.write(view)
