"""The simulated module: ``micropython -m lensfw.main CONFIGURATION ROWS ROWS PINS LINK ...``.

All arguments are file descriptors. CONFIGURATION is a JSON file; the others are connected,
non-blocking stream sockets. There are two ROWS, for the sensor's channels (preview, still), and a
LINK for each lane. If the configuration has ``calibration_fd``, that is the file with the
calibrations. If it has ``usb``, the one LINK is the cable of a stand-in for
``machine.USBDevice``. The process ends when lane 0, ROWS or PINS is closed, so it never outlives
the bench.
"""

import json
import select
import sys
import time

from . import clock, module
from .ports import sim
from .transports import socket_stream


class Sockets:
    """The link over sockets, one for each lane."""

    def __init__(self, fds, clock, limits, poll):
        rate, latency = limits.get("rate", 0), limits.get("latency_us", 0)
        self._poll = poll
        self._clock = clock
        self._lanes = []
        self.count = len(fds)
        for fd in fds:
            end = open(fd, "r+b")
            poll.register(end, select.POLLIN)
            self._lanes.append(
                (len(self._lanes), end, socket_stream.StreamTransport(end, clock, rate, latency))
            )
        self._first = self._lanes[0][2]

    def receive(self, link):
        """Read once, and pass the bytes to the link. Return False at the end of lane 0."""
        return self._first.receive(link, self._clock.now())

    def send(self, link, wait):
        """Send what can be sent. Return for how long, up to *wait* ms, nothing is left to do."""
        for lane in self._lanes[:]:
            number, end, transport = lane
            try:
                blocked = transport.send(link, number)
            except OSError:
                if number == 0:
                    raise
                # The host asks again for what was in flight there. The other lanes send it.
                transport.drop_packet(link)
                self._poll.unregister(end)
                self._lanes.remove(lane)
                continue
            pause = transport.get_wait_ms()
            # The host sends nothing on the other lanes.
            readable = select.POLLIN if number == 0 else 0
            self._poll.modify(end, readable | (select.POLLOUT if blocked and not pause else 0))
            if pause:
                wait = min(wait, pause)
        # The first lane gets the tile that was just read. So the lanes take turns at being first.
        self._lanes.append(self._lanes.pop(0))
        return wait


class Usb:
    """The link over USB: the board's own transport on a stand-in for the controller."""

    def __init__(self, fd, clock, configuration, poll):
        import micropython

        from .ports import usbdevice
        from .transports import cdc, usb

        options = configuration["usb"]
        self._clock = clock
        self._poll = poll
        self._cable = open(fd, "r+b")
        poll.register(self._cable, select.POLLIN)
        self._usbd = usbdevice.USBDevice(self._cable, options["speed"], micropython.schedule)
        self.count = max(1, options["lanes"])
        self._blocks = False
        serial = configuration["serial"]
        if options["lanes"]:
            self._transport = usb.UsbTransport(
                self._usbd, self.count, serial, configuration["model"], configuration["maker"]
            )
            self._transport.start()
        elif options["device"]:
            self._transport = cdc.CdcTransport(self._usbd.cdc, clock, self._usbd, serial)
            self._transport.start()
        else:
            # A board without machine.USBDevice: only the driver has access to the endpoint.
            self._blocks = True
            self._transport = socket_stream.StreamTransport(self._usbd.cdc, clock)
            builtin = self._usbd.builtin_driver = self._usbd.cdc
            strings = (None, None, None, serial)
            self._usbd.config(builtin.desc_dev, builtin.desc_cfg, strings)
            self._usbd.active(True)

    def receive(self, link):
        """Pass received bytes to the link, as Sockets.receive() does. EOFError at the end."""
        self._usbd.pump()
        self._transport.receive(link, self._clock.now())
        return True

    def send(self, link, wait):
        """Send what can be sent, as Sockets.send() does."""
        if self._transport.send(link) and not self._blocks:
            # The transfer may have ended already: its callback runs in the next turn.
            wait = 0
        backlog = select.POLLOUT if self._usbd.flush() else 0
        self._poll.modify(self._cable, select.POLLIN | backlog)
        return wait


def run(configuration, rows_fds, pins_fd, link_fds):
    """Serve hosts until lane 0 or the plant ends."""
    ticks = clock.Clock(time.ticks_us, time.ticks_add(0, -1))
    rows, pins = [open(fd, "r+b") for fd in rows_fds], open(pins_fd, "r+b")
    file = configuration.get("calibration_fd")
    calibrations = None if file is None else open(file, "rb")
    crcs = configuration["sensor"].get("crc", False)
    ports = sim.SimPorts(rows, pins, ticks, crcs, calibrations)
    if configuration.get("authenticator"):
        # The name of a module that stands in for a board's secure element. It has authenticate()
        # and SCHEMES, the numbers of its schemes.
        authenticator = __import__(configuration["authenticator"])
        ports.authenticate = authenticator.authenticate
        ports.auth_schemes = authenticator.SCHEMES
    camera = module.Module(configuration, ports, ticks)
    link = camera.link
    poll = select.poll()
    for channel in rows:
        poll.register(channel, select.POLLIN)
    poll.register(pins, select.POLLIN)
    if "usb" in configuration:
        backend = Usb(link_fds[0], ticks, configuration, poll)
    else:
        backend = Sockets(link_fds, ticks, configuration["limits"], poll)
    link.max_lanes = backend.count
    while True:
        if not backend.receive(link):
            return
        read = camera.step()
        wait = backend.send(link, camera.get_idle_ms())
        # Rows that cannot be read yet must not wake the loop.
        for number, channel in enumerate(rows):
            poll.modify(channel, select.POLLIN if camera.has_row_space(number) else 0)
        poll.poll(0 if read else wait)


if __name__ == "__main__":
    try:
        descriptors = [int(argument) for argument in sys.argv[1:]]
        with open(descriptors[0]) as file:
            configuration = json.load(file)
        run(configuration, descriptors[1:3], descriptors[3], descriptors[4:])
    except (OSError, EOFError) as error:
        # The bench has gone, so the module ends.
        print("lensfw:", error, file=sys.stderr)
        sys.exit(3)
