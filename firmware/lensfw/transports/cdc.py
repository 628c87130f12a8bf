"""The link over the built-in CDC, whose endpoint is given whole packets.

TinyUSB's driver of it sends 64 bytes at a time, and write() waits for them. machine.USBDevice takes
transfers for any endpoint, this one too: so a packet is on its way while the next is computed. Its
rules are those in ``usb``, and:

- The driver hears when a transfer is over, and adds an empty packet where one has to follow. Python
  does not hear: it tries the next, and an endpoint that is busy refuses.
  That goes for packets that take one transfer: a board's tiles do.
- Nor does Python hear that the interface is open. Only a host that has opened it can have asked for
  what is to be sent.
"""

from . import socket_stream, usb


class CdcTransport(socket_stream.StreamTransport):
    """``stream`` is where the host is heard: its readinto() gives None when it says nothing."""

    def __init__(self, stream, clock, usbd, serial, addressed=usb.ALWAYS):
        super().__init__(stream, clock)
        self._usbd = usbd
        self._strings = (None, None, None, serial)
        address, packet_bytes = usb.bulk_in(usbd.BUILTIN_DEFAULT.desc_cfg)
        self._lane = usb.Lane(usbd, address, packet_bytes, addressed)
        self._was_reset = False

    def start(self):
        """Show the board to the host, as MicroPython would, but for its serial number."""
        usbd = self._usbd
        builtin = usbd.builtin_driver = usbd.BUILTIN_DEFAULT
        usbd.config(builtin.desc_dev, builtin.desc_cfg, self._strings, None, self._reset)
        usbd.active(True)

    def configured(self):
        """Whether a host has configured the board, as far as has been heard."""
        return self._lane.open

    def vanished(self):
        """The controller has been reset: as after a bus reset, which follows."""
        self._reset()

    def receive(self, link, now):
        """As StreamTransport's."""
        lane = self._lane
        if self._was_reset:
            self._after_reset(link)
        lane.poll()
        # Before: see UsbTransport.
        lane.settle(link)
        alive = super().receive(link, now)
        lane.poll()
        return alive

    def send(self, link, _=0):
        """Offer the endpoint what it takes; whether that was anything."""
        lane = self._lane
        if not lane.open:
            lane.open = link.has_packets() and not self._was_reset
        lane.poll()
        lane.settle(link)
        lane.kick()
        moved = False
        while lane.wants() and lane.take(link, 0):
            moved = True
        if moved:
            # A short packet that went before is over by now.
            lane.poll()
        return moved

    def _after_reset(self, link):
        """The host is gone, or begins anew: nothing of before may follow, nor be heard."""
        self._was_reset = False
        lane = self._lane
        lane.stopped(False)
        lane.drop()
        lane.settle(link)
        while self._stream.readinto(link.receiver.get_space()):
            pass
        link.end_session()

    def _reset(self):
        """Called from the scheduler. Before the port was open, there was nothing to forget."""
        if self._lane.open:
            self._lane.open = False
            self._was_reset = True
