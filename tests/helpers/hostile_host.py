"""Flood a module on MicroPython with requests and read no answer. Then run an honest host.

Prints a line of JSON for each flood: its name, by how many bytes the heap had grown at the worst
moment, and the error or "".
"""

import gc
import io
import json
import struct
import sys

# A board loads compiled code. Here MicroPython compiles the sources, and what that leaves behind
# would fragment so small a heap if it was not collected early.
gc.threshold(20000)

from helpers import module_world  # noqa: E402
from lensfw import wire  # noqa: E402

gc.threshold(-1)

PACKETS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000


def garbage(host, index):
    data = bytearray(256)
    value = index * 2654435761 & 0x3FFFFFFF
    for at in range(256):
        value = (value * 1103515245 + 12345) & 0x3FFFFFFF
        data[at] = value >> 16 & 0xFF
    host.raw(data)


def magics(host, index):
    host.raw(wire.MAGIC * 64)


def half_packets(host, index):
    host.raw(
        module_world.make_packet(0x10, wire.T_FLUSH, host.nonce, host.sequence, 1, bytes(900))[:100]
    )


def hellos(host, index):
    host.hello_only(1)


def new_sessions(host, index):
    host.nonce = 0x50000000 + index
    host.hello_only(1)


def heartbeats(host, index):
    host.say(wire.T_HEARTBEAT, index, (0, 0, 0, 0))


def manifests(host, index):
    host.say(wire.T_GET_MANIFEST, index + 2, (0,))


def the_same_request(host, index):
    host.say(wire.T_GET_MANIFEST, 2, (0,))


def unknown_requests(host, index):
    host.say(0x3F, index + 2, payload=bytes(1024))


def malformed(host, index):
    host.say(wire.T_CONFIGURE, index + 2, payload=b"\xff\xff" + bytes(1000))


def vendor(host, index):
    host.say(0xF0, index + 2, payload=bytes(1024))


def queries(host, index):
    host.say(wire.T_QUERY, index + 2, (index, index))


def flushes(host, index):
    host.say(wire.T_FLUSH, index + 2)


def stops(host, index):
    host.say(wire.T_STOP, index + 2, (0,))


def starts_and_stops(host, index):
    number = 3 * index + 2
    host.say(wire.T_CONFIGURE, number, (0, 0, 1, 0, 0))
    host.say(wire.T_STREAM, number + 1, (0, 0, 0, 0))
    host.say(wire.T_STOP, number + 2, (0,))


def longest_captures(host, index):
    host.say(wire.T_CONFIGURE, 2 * index + 2, (1, 0, 1, 0, 1))
    most = module_world.settings(wire.MAX_SETTING, wire.MAX_SETTING, wire.MAX_SETTING)
    host.say(wire.T_CAPTURE, 2 * index + 3, (1, 0, 65535), most)


def resends(host, index):
    """Ask for tiles of a stream that has no credit."""
    if index == 0:
        host.say(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
        host.say(wire.T_STREAM, 3, (0, 0, 0, 0))
    tail = struct.pack("<4H", 0, 0, 65535, 65535) * 32
    flags = wire.RESEND_START | wire.RESEND_END
    first = host.camera.next_frame - 1
    host.say(wire.T_RESEND, max(0, first), (flags, 0, 32), tail)
    host.say(wire.T_RESEND, index + 100000, (flags, 0, 32), tail)


FLOODS = (
    garbage, magics, half_packets, hellos, new_sessions, heartbeats, manifests, the_same_request,
    unknown_requests, malformed, vendor, queries, flushes, stops, starts_and_stops,
    longest_captures, resends,
)  # fmt: skip


class Host(module_world.Peer):
    """A host that sends and never reads."""

    def say(self, kind, number, values=(), tail=b"", payload=None):
        if payload is None:
            payload = wire.encode(kind, values, tail)
        self.raw(module_world.make_packet(0x10, kind, self.nonce, self.sequence, number, payload))
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF

    def hello_only(self, number):
        self.say(wire.T_HELLO, number, (0x10, 0x10, 1, 0, wire.CAP_LOG | wire.CAP_RESEND, 4194304))

    def raw(self, data):
        """Pass bytes in pieces, as a transport does. The module must always accept some."""
        rest = memoryview(data)
        receiver = self.camera.link.receiver
        while rest:
            space = receiver.get_space()
            count = min(len(space), len(rest))
            assert count, "the module takes no more"
            space[:count] = rest[:count]
            receiver.add_received(count, self.time.us)
            rest = rest[count:]
            self.camera.step()


def honest(camera, time, nonce):
    """Run an honest session, from Hello to the last pixel of a frame."""
    time.us += 2 * wire.STALL_MS * 1000
    camera.step()
    host = module_world.Peer(camera, time, nonce)
    for _ in range(3):
        # The receiver may have to search and discard what the flood has left.
        said = host.hello(1)
        if [1 for header, _ in said if header[2] == wire.T_HELLO_REPLY and header[5] == nonce]:
            break
        time.us += 2 * wire.STALL_MS * 1000
    else:
        raise AssertionError("hello was not answered")
    host.send(wire.T_HEARTBEAT, 0, (1 << 20, 1 << 20, 1 << 20, 0))
    module_world.only(host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0)), wire.T_CONFIGURED)
    host.heard = []
    host.send(wire.T_CAPTURE, 3, (0, 0, 1), module_world.settings(10000, 1000, 0))
    for _ in range(3000):
        if camera.streams[0].frames_left == 0:
            break
        time.us += 1000
        host.turn()
    for _ in range(8):
        host.turn()
    pixels = b"".join([payload for header, payload in host.heard if header[2] == wire.T_TILE])
    numbers = [header[7] for header, _ in host.heard if header[2] == wire.T_TILE]
    assert numbers, module_world.kinds(host.heard)
    assert pixels == bytes(module_world.gradient(numbers[0], 1))
    module_world.only(host.heard, wire.T_FRAME_END)


def run(flood, index, camera, time):
    host = Host(camera, time, 0x40000000 + index)
    host.hello_only(1)
    gc.collect()
    before = worst = gc.mem_alloc()
    for number in range(PACKETS):
        flood(host, number)
        time.us += 100
        if number % 64 == 63:
            gc.collect()
            worst = max(worst, gc.mem_alloc())
    honest(camera, time, 0x60000000 + index)
    return worst - before


def main():
    camera, ports, time = module_world.camera()
    ports.calls = None
    honest(camera, time, 0x3FFFFFFF)
    for index, flood in enumerate(FLOODS):
        trace = io.StringIO()
        grown = -1
        try:
            grown = run(flood, index, camera, time)
        except Exception as error:
            sys.print_exception(error, trace)
        print(json.dumps([flood.__name__, grown, trace.getvalue()]))
    gc.collect()
    print(json.dumps(["at the end", gc.mem_alloc(), ""]))


main()
