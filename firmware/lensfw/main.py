"""The simulated module: ``micropython -m lensfw.main CONFIGURATION ROWS ROWS PINS LINK ...``.

All are file descriptors: of a file of JSON, and of connected, non-blocking stream sockets: ROWS
for each of the sensor's channels (preview, still), a LINK for each lane. It ends with lane 0, and
never outlives the bench: it ends with ROWS and PINS too.
"""

import json
import select
import sys
import time

from . import clock, module
from .ports import sim
from .transports import stream


def run(configuration, rows_fds, pins_fd, link_fds):
    ticks = clock.Clock(time.ticks_us, time.ticks_add(0, -1))
    rows, pins = [open(fd, "r+b") for fd in rows_fds], open(pins_fd, "r+b")
    ports = sim.SimPorts(rows, pins, configuration["sensor"].get("crc", False))
    if configuration.get("authenticator"):
        # A module on the path, whose authenticate() is what a board's secure element would be.
        ports.authenticate = __import__(configuration["authenticator"]).authenticate
    camera = module.Module(configuration, ports, ticks)
    link = camera.link
    limits = configuration["limits"]
    rate, latency = limits.get("rate", 0), limits.get("latency_us", 0)
    lanes = []
    poll = select.poll()
    for channel in rows:
        poll.register(channel, select.POLLIN)
    poll.register(pins, select.POLLIN)
    for fd in link_fds:
        end = open(fd, "r+b")
        poll.register(end, select.POLLIN)
        lanes.append((len(lanes), end, stream.StreamTransport(end, ticks, rate, latency)))
    link.lanes_offered = len(lanes)
    while True:
        if not lanes[0][2].receive(link.receiver):
            return
        camera.step()
        wait = camera.idle_ms()
        for lane in lanes[:]:
            number, end, transport = lane
            try:
                blocked = transport.send(link, number)
            except OSError:
                if number == 0:
                    raise
                # What was on its way there is asked for again, and goes by the others.
                transport.end(link)
                poll.unregister(end)
                lanes.remove(lane)
                continue
            pause = transport.wait_ms()
            # The host says nothing on the other lanes.
            readable = select.POLLIN if number == 0 else 0
            poll.modify(end, readable | (select.POLLOUT if blocked and not pause else 0))
            if pause:
                wait = min(wait, pause)
        # Rows that nobody can take yet must not keep the loop spinning.
        for number, channel in enumerate(rows):
            poll.modify(channel, select.POLLIN if camera.takes_rows(number) else 0)
        poll.poll(wait)


if __name__ == "__main__":
    try:
        descriptors = [int(argument) for argument in sys.argv[1:]]
        with open(descriptors[0]) as file:
            configuration = json.load(file)
        run(configuration, descriptors[1:3], descriptors[3], descriptors[4:])
    except (OSError, EOFError) as error:
        # Whoever held the other ends is gone: so is the module.
        print("lensfw:", error, file=sys.stderr)
        sys.exit(3)
