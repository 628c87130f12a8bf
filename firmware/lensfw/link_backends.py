"""What carries the link on a board: a USB interface of its own, or the built-in serial port (CDC).

``lensfw.board`` chooses a backend at start. Its main loop calls receive() and send().
"""

import select
import sys
import time

import micropython

from . import controller_lockup, wire
from .transports import cdc, socket_stream, usb

_INTERRUPT = 3
_BEFORE = b"\x03\r"


def choose_backend(configuration, machine, clock):
    """Return the backend that *configuration* asks for and the board can have."""
    lanes, serial = configuration["usb"]["lanes"], configuration["serial"]
    usbd = machine.get_usb_device()
    if usbd is None:
        return CdcBackend(None, socket_stream.StreamTransport, clock)
    submit = machine.get_submit(usbd)
    if lanes:
        names = serial, configuration["model"], configuration["maker"]
        return UsbBackend(machine, usb.UsbTransport(usbd, lanes, *names, submit), lanes)
    return CdcBackend(machine, cdc.CdcTransport, clock, usbd, serial, submit)


class UsbBackend:
    """A USB interface for the link. The serial port stays the REPL's.

    *machine* is None on a board where MicroPython alone controls USB.
    """

    # True once the host has asked for the REPL on the link's own serial port.
    wants_repl = False

    def __init__(self, machine, transport, lanes):
        self.lanes = lanes
        controller = machine.get_controller() if machine is not None else None
        self._lockup = controller_lockup.Lockup(controller) if controller is not None else None
        self._transport = transport

    def start(self):
        """Connect the board to the bus."""
        self._transport.start()

    def receive(self, link, now):
        """Pass received bytes to the link. Recovers the USB controller if it has locked up."""
        lockup = self._lockup
        if lockup is not None and lockup.poll(time.ticks_ms(), self._transport.is_configured()):
            # No callback comes for the transfers that were in flight.
            self._transport.on_controller_reset()
        self._transport.receive(link, now)

    def send(self, link):
        """Send what the link has to send. Return True if there was anything."""
        return self._transport.send(link)

    def stop(self):
        """Leave the interface connected, so that the REPL stays. Nothing answers on it."""


class CdcBackend(UsbBackend):
    """The link over the serial port that the REPL has otherwise.

    While it serves a host nothing is printed, and Ctrl-C is a byte like any other. *make* makes the
    transport from the serial stream and *arguments*.
    """

    def __init__(self, machine, make, *arguments):
        self._serial = Serial()
        super().__init__(machine, make(self._serial, *arguments), 1)
        self._is_serving = False

    @property
    def wants_repl(self):
        return self._serial.wants_repl

    def receive(self, link, now):
        """Pass received bytes to the link. The first call disables Ctrl-C."""
        if not self._is_serving:
            self._is_serving = True
            micropython.kbd_intr(-1)
        # In a session any byte may be part of a packet.
        self._serial.is_listening = link.nonce is None
        super().receive(link, now)

    def stop(self):
        """Enable Ctrl-C again."""
        if self._is_serving:
            self._is_serving = False
            micropython.kbd_intr(_INTERRUPT)


class Serial:
    """The built-in serial port as a stream that does not block for long.

    While ``is_listening`` is True, a host can ask for the REPL: with Ctrl-C after another Ctrl-C,
    or after a carriage return as mpremote sends it. The bytes before must not begin as a packet
    does. Then ``wants_repl`` is True, and the bytes that follow stay for the REPL.
    """

    def __init__(self):
        self.wants_repl = False
        self.is_listening = True
        self._output = sys.stdout.buffer
        poll = select.poll()
        poll.register(sys.stdin, select.POLLIN)
        self._ready = poll.ipoll
        self._read = sys.stdin.buffer.readinto
        self._byte = bytearray(1)

    def readinto(self, view):
        """Read the bytes that have arrived. Return their number, or None if there are none."""
        if self.wants_repl:
            return None
        count = 0
        most = len(view)
        ready, read, byte = self._ready, self._read, self._byte
        while count < most:
            # One by one: a read of several bytes would wait for all of them.
            for _ in ready(0):
                break
            else:
                break
            read(byte)
            view[count] = byte[0]
            count += 1
            if byte[0] == _INTERRUPT and self.is_listening and self._is_request(view, count):
                self.wants_repl = True
                break
        return count or None

    def _is_request(self, view, count):
        """Return True if the Ctrl-C at the end of the bytes asks for the REPL."""
        return count > 1 and view[count - 2] in _BEFORE and view[0] != wire.MAGIC[0]

    def write(self, view):
        """Write while the host reads, and stop when it has not read for half a second.

        Return the number of bytes written.
        """
        return self._output.write(view)
