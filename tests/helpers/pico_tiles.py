"""Make tiles on an emulated Pico, without its USB, by a call of main().

Prints, for a few stretches inside frames: tiles, and bytes of heap that were allocated meanwhile.
Then for *many* tiles of several frames: tiles, and by how many bytes the heap has grown.
"""

import binascii
import gc
import json
import struct
import time

# As boot does, so that the garbage of an import does not lie between what is loaded.
gc.threshold(4096)

from lensfw import board, clock, module, wire  # noqa: E402
from lensfw.ports import rp2  # noqa: E402

NONCE = 0xF234ABCD  # no small integer


def main(many):
    with open("/a/config.json") as file:
        configuration = json.load(file)
    ticks = clock.Clock(time.ticks_us, time.ticks_add(0, -1))
    ports = rp2.Machine(configuration).ports
    # As the board does, so that the tiles find memory in one piece.
    spare = board._spare(configuration["limits"])
    camera = module.Module(configuration, ports, ticks)
    del spare
    gc.threshold(-1)
    link = camera.link
    # Samples of the supply are due every 100 ms, not with each tile.
    camera.power.poll(ticks.now())
    sequence = 0

    def say(kind, number, values):
        nonlocal sequence
        payload = wire.encode(kind, values)
        packet = struct.pack(
            wire.HEADER[:-1], wire.MAGIC, 0x10, kind, 0, 0, NONCE, sequence, number,
            0, 0, 0, 0, len(payload), binascii.crc32(payload),
        )  # fmt: skip
        packet += struct.pack("<I", binascii.crc32(packet)) + payload
        sequence += 1
        link.receiver.get_space()[: len(packet)] = packet
        link.receiver.add_received(len(packet), ticks.now())
        camera.step()

    def tiles(count):
        done = 0
        while done < count:
            camera.step()
            found = link.take_packet(0)
            while found is not None:
                if found[1] is not None:
                    link.release_tile(found[1])
                    done += 1
                found = link.take_packet(0)

    for _ in range(20):
        camera.step()
        time.sleep_ms(2)
    say(wire.T_HELLO, 1, (0x10, 0x10, 1, 0, 0, 4194304))
    say(wire.T_HEARTBEAT, 0, (1 << 40, 1 << 40, 1 << 40, 0))
    # Small tiles: a frame has more of them.
    say(wire.T_CONFIGURE, 2, (0, 0, 0, 0, 2560))
    say(wire.T_STREAM, 3, (0, 0, 0, 0))
    camera.power.poll = lambda now: None
    # Tiles of more frames than are remembered.
    tiles(1000)
    channel = camera._channels[0]

    def inside():
        while channel.readout is None or not 0 < channel.readout._y < 100:
            tiles(1)
        gc.collect()
        return gc.mem_alloc()

    for _ in range(5):
        before = inside()
        tiles(10)
        print(10, gc.mem_alloc() - before)
    before = inside()
    tiles(many)
    print(many, inside() - before)
