"""Parsing the host's packets out of a stream of bytes."""

import binascii
import struct

from helpers import module_world

from lensfw import framing, wire
from lensfw.outbox import Item

NONCE = 0x1234ABCD


def packet(number, payload=b"", kind=wire.T_GET_MANIFEST, version=0x10):
    return module_world.make_packet(version, kind, NONCE, number, number, payload)


class Lane:
    """A receiver, and the numbers of the packets that it found."""

    def __init__(self):
        self.discards = {}
        self.receiver = framing.Receiver(self.discards)
        self.out = []
        self.payloads = []

    def feed(self, data, now=0, chunk=500):
        for start in range(0, len(data), chunk):
            piece = data[start : start + chunk]
            space = self.receiver.get_space()
            assert len(space) >= len(piece), "no room for what arrives"
            space[: len(piece)] = piece
            self.receiver.add_received(len(piece), now)
            self.take(now)
        return self.out

    def take(self, now):
        while True:
            found = self.receiver.parse_packet(now)
            if found is None:
                return
            self.out.append(found[0][6])
            self.payloads.append(bytes(found[1]))


def test_packets_come_out_however_they_are_cut():
    data = b"".join(packet(n, bytes(range(n * 7))) for n in range(10))
    for chunk in range(1, 120):
        lane = Lane()
        assert lane.feed(data, chunk=chunk) == list(range(10))
        assert lane.payloads == [bytes(range(n * 7)) for n in range(10)]
        assert lane.discards == {}


def test_the_longest_packets_one_after_another():
    lane = Lane()
    data = b"".join(packet(n, bytes(wire.MAX_CONTROL)) for n in range(20))
    assert lane.feed(data, chunk=997) == list(range(20))
    assert lane.discards == {}


def test_noise_between_packets():
    lane = Lane()
    data = packet(1) + b"noise \x8aLL and \x8a" + packet(2) + b"end."
    assert lane.feed(data) == [1, 2]
    assert set(lane.discards) == {"noise"}


def test_endless_noise_leaves_room():
    lane = Lane()
    for _ in range(100):
        lane.feed(b"\x8aLL" * 300, chunk=900)
    assert lane.feed(packet(1)) == [1]


def test_a_header_whose_crc_fails():
    lane = Lane()
    bad = bytearray(packet(1))
    bad[20] ^= 1
    assert lane.feed(bytes(bad) + packet(2)) == [2]
    assert lane.discards["header_crc"] == 1


def test_another_major_version():
    lane = Lane()
    assert lane.feed(packet(1, version=0x20) + packet(2, version=0x1F)) == [2]
    assert lane.discards["version"] == 1


def test_a_hello_of_another_major_version_is_for_the_link_to_refuse():
    lane = Lane()
    assert lane.feed(packet(1, kind=wire.T_HELLO, version=0x20)) == [1]
    assert lane.discards == {}


def test_longer_than_a_host_may_send():
    lane = Lane()
    data = packet(1, bytes(wire.MAX_CONTROL + 1)) + packet(2)
    assert lane.feed(data) == [2]
    assert lane.discards["length"] == 1


def test_a_payload_whose_crc_fails_is_searched():
    lane = Lane()
    inner = packet(2)
    bad = bytearray(packet(1, b"before" + inner + b"after"))
    bad[wire.HEADER_BYTES] ^= 0x40
    assert lane.feed(bytes(bad) + packet(3)) == [2, 3]
    assert lane.discards["payload_crc"] == 1


def test_a_packet_inside_a_sound_payload_is_payload():
    lane = Lane()
    assert lane.feed(packet(1, packet(7)) + packet(2)) == [1, 2]
    assert lane.discards == {}


def test_a_truncated_packet_costs_no_other():
    whole = packet(1, b"payload")
    for cut in range(1, len(whole)):
        lane = Lane()
        lane.feed(whole[:cut])
        lane.take(wire.STALL_MS * 1000)
        # Searched on after the stall, or when the next one fills it up.
        assert lane.feed(packet(2) + packet(3), 2 * wire.STALL_MS * 1000) == [2, 3], cut
        assert lane.discards


def test_a_stall_gives_a_packet_up():
    lane = Lane()
    lane.feed(packet(1, b"payload")[:-1], now=1000)
    lane.take(1000 + wire.STALL_MS * 1000 - 1)
    assert lane.discards == {}
    lane.take(1000 + wire.STALL_MS * 1000)
    assert lane.discards == {"stall": 1, "noise": 1}


def test_progress_is_no_stall():
    lane = Lane()
    whole = packet(1, bytes(30))
    step = wire.STALL_MS * 1000 - 1
    for place in range(len(whole)):
        lane.take(place * step)
        lane.feed(whole[place : place + 1], now=place * step)
    assert lane.out == [1]
    assert lane.discards == {}


def test_what_stalled_hides_nothing_behind_it():
    lane = Lane()
    lane.feed(packet(1, bytes(600))[:50] + packet(2) + packet(3))
    assert lane.out == []
    lane.take(wire.STALL_MS * 1000)
    lane.take(wire.STALL_MS * 1000)
    assert lane.out == [2, 3]


def test_space_is_never_empty():
    lane = Lane()
    data = packet(1, bytes(wire.MAX_CONTROL))[:-1]
    lane.feed(data)
    assert len(lane.receiver.get_space()) >= wire.MAX_CONTROL


def test_a_header_is_written_as_the_definition_says():
    buffer = bytearray(wire.HEADER_BYTES)
    framing.append_payload_crc(buffer, 0)
    framing.write_header(buffer, 0, 0x41, 9, 1, NONCE, 0xFFFFFFFF, 5)
    fields = struct.unpack(wire.HEADER, buffer)
    assert fields[:5] == (wire.MAGIC, 0x10, 0x41, 9, 1)
    assert fields[5:14] == (NONCE, 0xFFFFFFFF, 5, 0, 0, 0, 0, 0, 0)
    assert fields[14] == binascii.crc32(buffer[:36])


def test_a_header_written_in_parts_is_as_the_definition_says():
    packet = framing.make_tile_packet(12)
    packet[wire.HEADER_BYTES :] = b"twelve bytes"
    framing.write_rectangle(packet, 0xFFFFFFFE, 65534, 4, 6, 1, 12)
    assert framing.read_rectangle(packet) == (65534, 4, 6, 1)
    framing.append_payload_crc(packet, 12)
    # Sent, and sent again in the next session.
    for flags, nonce in ((0, 0), (wire.FLAG_RESENT, NONCE)):
        item = Item(wire.T_TILE, 0, 1, b"", None, flags)
        framing.finish_header(packet, item, nonce, 0xFFFFFFFD)
        fields = struct.unpack_from(wire.HEADER, packet)
        assert fields[:5] == (wire.MAGIC, 0x10, wire.T_TILE, flags, 1)
        assert fields[5:12] == (nonce, 0xFFFFFFFD, 0xFFFFFFFE, 65534, 4, 6, 1)
        assert fields[12:14] == (12, binascii.crc32(b"twelve bytes"))
        assert fields[14] == binascii.crc32(packet[:36])


# --- discards, when they are counted -------------------------------------------------------

STOP = wire.encode(wire.T_STOP, (0,))


def sound(sequence=4):
    """Return a sound Stop."""
    return module_world.make_packet(0x10, wire.T_STOP, NONCE, sequence, 2, STOP)


def damaged(sequence):
    """Return a Stop with one bit of its payload changed."""
    data = bytearray(sound(sequence))
    data[wire.HEADER_BYTES] ^= 1
    return bytes(data)


def receive(data, pieces=0):
    """Return payloads and discards of *data*. Its last *pieces* bytes come one by one."""
    lane = Lane()
    whole = len(data) - pieces
    lane.feed(data[:whole], chunk=len(data))
    lane.feed(data[whole:], chunk=1)
    return lane.payloads, lane.discards


def discards_of(data, now=0):
    """Return the discards of *data*. The receiver is called once, at that time."""
    discards = {}
    receiver = framing.Receiver(discards)
    receiver.get_space()[: len(data)] = data
    receiver.add_received(len(data), 0)
    assert receiver.parse_packet(now) is None
    return discards


def used_up(data):
    """Return the sequences that *data* and a pause use up, and the discards."""
    sequences = []
    discards = {}
    receiver = framing.Receiver(discards, lambda header: sequences.append(header[6]))
    receiver.get_space()[: len(data)] = data
    receiver.add_received(len(data), 0)
    for now in (0, wire.STALL_MS * 1000):
        while receiver.parse_packet(now) is not None:
            pass
    return sequences, discards


def test_only_a_sound_header_uses_up_its_sequence():
    assert used_up(sound()) == ([], {})
    assert used_up(damaged(5) + sound())[0] == [5]
    assert used_up(sound() + sound()[:-1])[0] == [4]
    # The sequence in a header that is cut or damaged is unknown.
    assert used_up(sound()[:30])[0] == []
    assert used_up(sound()[:20] + b"?" + sound()[21:])[0] == []


def test_a_receiver_without_a_callback_for_used_sequences_goes_on():
    lane = Lane()
    assert lane.feed(damaged(4) + sound(5)) == [5]
    assert lane.payloads == [STOP]


def test_a_fourth_byte_is_noise_and_three_may_begin_a_packet():
    assert discards_of(b"noi") == {}
    assert discards_of(b"nois") == {"noise": 1}


def test_stalled_bytes_are_given_up_at_once_but_for_the_first():
    late = wire.STALL_MS * 1000
    assert discards_of(wire.MAGIC, late) == {"stall": 1}
    assert discards_of(wire.MAGIC + b"?", late) == {"stall": 1, "noise": 1}
    # Another magic among them has waited as long.
    assert discards_of(wire.MAGIC + wire.MAGIC, late) == {"stall": 2, "noise": 1}


def test_half_a_header_that_stalls_counts_as_one_stall():
    lane = Lane()
    lane.feed(sound()[:20])
    lane.take(wire.STALL_MS * 1000 - 1)
    assert lane.discards == {}
    lane.take(wire.STALL_MS * 1000)
    assert lane.discards.pop("stall") == 1
    assert lane.discards in ({}, {"noise": 1})


def test_noise_before_a_packet_in_pieces_is_counted_before_the_packet_is_whole():
    lane = Lane()
    data = b"noise" + sound()
    lane.feed(data[:9], chunk=1)
    lane.discards.clear()
    assert lane.feed(data[9:], chunk=1) == [4]
    assert lane.discards == {}


def test_noise_before_a_packet_in_pieces_is_counted_once():
    data = sound()
    assert receive(b"noise" + data, pieces=len(data) - 8) == ([STOP], {"noise": 1})


def test_a_header_that_announces_too_much_is_passed_over():
    header = bytearray(wire.HEADER_BYTES)
    framing.write_header(header, wire.MAX_CONTROL + 1, wire.T_STOP, 0, 0, 0x10, 1, 2)
    payloads, discards = receive(bytes(header) + sound())
    assert payloads == [STOP]
    assert discards == {"length": 1, "noise": 1}


def test_the_receiver_keeps_two_of_the_longest_packets_and_no_more():
    longest = wire.HEADER_BYTES + wire.MAX_CONTROL
    assert len(framing.Receiver({}).get_space()) == 2 * longest
