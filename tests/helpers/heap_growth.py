"""Stream on MicroPython. Print as JSON the heap in use after 20, 40, ... and 200 frames."""

import gc
import json

from helpers import module_world
from lensfw import module, wire
from lensfw.transports.socket_stream import StreamTransport

NONCE = 0x1234ABCD


class Sink:
    """The host's end. It accepts 100 bytes at a time and counts the frames' ends."""

    def __init__(self):
        self.frames = 0
        self.bytes = 0
        self._begins = True

    def write(self, view):
        if self._begins and view[5] == wire.T_FRAME_END:
            self.frames += 1
        count = min(len(view), 100)
        self._begins = count == len(view)
        self.bytes += count
        return count


def main():
    time = module_world.Time()
    ports = module_world.Ports()
    ports.calls = None
    rows = module_world.gradient(0, 1)
    ports.picture = lambda number, mode: rows
    camera = module.Module(module_world.configuration(), ports, time)
    module_world.seat(camera, time)
    sink = Sink()
    transport = StreamTransport(sink, time)
    sequence = 0

    def say(kind, number, values):
        nonlocal sequence
        payload = wire.encode(kind, values)
        packet = module_world.make_packet(0x10, kind, NONCE, sequence, number, payload)
        sequence += 1
        space = camera.link.receiver.get_space()
        space[: len(packet)] = packet
        camera.link.receiver.add_received(len(packet), time.us)

    def until(frames):
        while sink.frames < frames:
            if not time.us % 100000:
                say(wire.T_HEARTBEAT, 0, (1 << 30, 1 << 30, 1 << 30, 0))
            time.us += 1000
            camera.step()
            transport.send(camera.link)

    def measure():
        gc.collect()
        gc.collect()
        return gc.mem_alloc()

    both = wire.CAP_LOG | wire.CAP_RESEND
    say(wire.T_HELLO, 1, (0x10, 0x10, 1, 0, both, 4194304))
    say(wire.T_HEARTBEAT, 0, (1 << 30, 1 << 30, 1 << 30, 0))
    say(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    say(wire.T_STREAM, 3, (0, 0, 0, 0))
    found = [0] * 10
    for index in range(10):
        until(20 * (index + 1))
        found[index] = measure()
    print(json.dumps([found, sink.frames, sink.bytes]))


main()
