"""What carries the link on a board: USB where it can be had from Python, else the built-in CDC."""

from .transports import stream, usb

_INTERRUPT = 3
_LEAVE = b"\x03\x03"


def choose(configuration, machine, clock):
    """As *configuration* wants, and the board can."""
    lanes = configuration["usb"]["lanes"]
    usbd = machine.usb_device() if lanes else None
    if usbd is not None:
        return UsbCarrier(configuration, usbd, lanes)
    return CdcCarrier(clock)


class UsbCarrier:
    """An interface of its own, beside a CDC that stays the REPL's."""

    left = False

    def __init__(self, configuration, usbd, lanes):
        self.lanes = lanes
        self._usb = usb.UsbTransport(
            usbd,
            self.lanes,
            configuration["serial"],
            configuration["model"],
            configuration["maker"],
        )

    def start(self):
        self._usb.start()

    def receive(self, link, now):
        self._usb.receive(link, now)

    def send(self, link, now):
        """Whether there was anything to send."""
        return self._usb.send(link)

    def end(self):
        """The interface stays, so that the REPL does: nobody answers on it."""


class CdcCarrier:
    """The link over the REPL's own serial port.

    While it does, nothing is printed and Ctrl-C is a byte like any other. ``left`` once the host
    has asked for the REPL.
    """

    lanes = 1

    def __init__(self, clock):
        self._transport = stream.StreamTransport(Serial(), clock)
        self.left = False
        self._linked = False

    def start(self):
        """MicroPython pulls up by itself."""

    def receive(self, link, now):
        if not self._linked:
            import micropython

            micropython.kbd_intr(-1)
            self._linked = True
        self._transport.receive(link.receiver)

    def send(self, link, now):
        return self._transport.send(link)

    def end(self):
        if self._linked:
            import micropython

            micropython.kbd_intr(_INTERRUPT)
            self._linked = False


class Serial:
    """The built-in CDC as a stream that does not block."""

    def __init__(self):
        import select
        import sys

        self._input = sys.stdin.buffer
        self._output = sys.stdout.buffer
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)

    def readinto(self, view):
        """None if nothing has come."""
        count = 0
        while count < len(view) and self._poll.poll(0):
            view[count : count + 1] = self._input.read(1)
            count += 1
        return count or None

    def write(self, view):
        return self._output.write(view)
