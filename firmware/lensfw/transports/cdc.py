"""The link over the built-in serial port (CDC), whose IN endpoint is given whole packets.

TinyUSB's driver of the port sends 64 bytes at a time, and its write() waits for them. But
``machine.USBDevice`` takes transfers for any endpoint, for this one too. So one packet is in flight
while the next is computed. The rules of ``transports.usb`` hold, and these:

- Only the driver gets the callback at a transfer's end. It adds an empty packet where one has to
  follow. Python offers the next transfer, and a busy endpoint refuses it. This works for packets
  that need one transfer, as a board's tiles do.
- Python gets no callback when the host opens the port. But the link has packets to send only after
  a host has opened the port and sent a request.
"""

from . import socket_stream, usb


class CdcTransport(socket_stream.StreamTransport):
    """Receive from a stream, and send on the lane of the built-in port.

    ``stream.readinto()`` returns None while the host sends nothing. ``lensfw.link_backends`` and
    ``lensfw.main`` call this class.
    """

    def __init__(self, stream, clock, usbd, serial, submit=None):
        super().__init__(stream, clock)
        self._usbd = usbd
        self._strings = (None, None, None, serial)
        address, packet_bytes = usb.find_bulk_in(usbd.BUILTIN_DEFAULT.desc_cfg)
        self._lane = usb.Lane(submit or usbd.submit_xfer, address, packet_bytes)
        self._was_reset = False

    def start(self):
        """Connect the board to the bus as MicroPython does, with a serial number of its own."""
        usbd = self._usbd
        builtin = usbd.builtin_driver = usbd.BUILTIN_DEFAULT
        usbd.config(builtin.desc_dev, builtin.desc_cfg, self._strings, None, self._on_reset)
        usbd.active(True)

    def is_configured(self):
        """Return True if a host has opened the port, as far as the board knows."""
        return self._lane.is_open

    def on_controller_reset(self):
        """Treat a reset of the controller as the bus reset that follows it."""
        self._on_reset()

    def receive(self, link, now):
        """Pass received bytes to the link. Ends the session after a bus reset."""
        lane = self._lane
        if self._was_reset:
            self._drop_all(link)
        lane.poll()
        # Return the sent tiles before the link reads requests: UsbTransport.receive() says why.
        lane.return_tiles(link)
        is_alive = super().receive(link, now)
        lane.poll()
        return is_alive

    def send(self, link, _=0):
        """Queue packets on the lane. Return True if one was queued."""
        lane = self._lane
        if not lane.is_open:
            lane.is_open = link.has_packets() and not self._was_reset
        lane.poll()
        lane.return_tiles(link)
        lane.resume()
        was_queued = False
        while lane.has_space() and lane.take(link, 0):
            was_queued = True
        if was_queued:
            # Meanwhile a short packet that was in flight may have ended. Send the next one.
            lane.poll()
        return was_queued

    def _drop_all(self, link):
        """Drop all bytes and packets from before the bus reset, and end the host's session."""
        self._was_reset = False
        lane = self._lane
        lane.stop(False)
        lane.drop()
        lane.return_tiles(link)
        while self._stream.readinto(link.receiver.get_space()):
            pass
        link.end_session()

    def _on_reset(self):
        """The host has reset the bus. Called in a callback."""
        # If the port was not open, there is nothing to drop.
        if self._lane.is_open:
            self._lane.is_open = False
            self._was_reset = True
