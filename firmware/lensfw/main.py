"""The simulated module: ``micropython -m lensfw.main CONFIGURATION LINK ROWS PINS``.

All four are file descriptors: of a file of JSON, and of connected, non-blocking stream sockets.
It ends with the link, and never outlives the bench: each of the sockets ends with it.
"""

import json
import select
import sys
import time

from . import clock, module
from .ports import sim
from .transports import stream


def run(configuration, link_fd, rows_fd, pins_fd):
    ticks = clock.Clock(time.ticks_us, time.ticks_add(0, -1))
    streams = [open(fd, "r+b") for fd in (link_fd, rows_fd, pins_fd)]
    link_stream, rows, pins = streams
    camera = module.Module(configuration, sim.SimPorts(rows, pins), ticks)
    limits = configuration["limits"]
    transport = stream.StreamTransport(
        link_stream, ticks, limits.get("rate", 0), limits.get("latency_us", 0)
    )
    poll = select.poll()
    for each in streams:
        poll.register(each, select.POLLIN)
    while True:
        if not transport.receive(camera.link.receiver):
            return
        camera.step()
        blocked = transport.send(camera.link)
        pause = transport.wait_ms()
        writable = select.POLLOUT if blocked and not pause else 0
        poll.modify(link_stream, select.POLLIN | writable)
        # Rows that nobody can take yet must not keep the loop spinning.
        poll.modify(rows, select.POLLIN if camera.takes_rows() else 0)
        poll.poll(min(pause or 1000, camera.idle_ms()))


if __name__ == "__main__":
    try:
        descriptors = [int(argument) for argument in sys.argv[1:5]]
        with open(descriptors[0]) as file:
            configuration = json.load(file)
        run(configuration, descriptors[1], descriptors[2], descriptors[3])
    except (OSError, EOFError) as error:
        # Whoever held the other ends is gone: so is the module.
        print("lensfw:", error, file=sys.stderr)
        sys.exit(3)
