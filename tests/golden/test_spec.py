"""Test SPEC.md: its transcripts against the firmware, its tables, links and words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import module_world

from lensfw import manifest
from lenslink_protocol import transcripts
from lenslink_protocol.ids import MessageType
from lenslink_protocol.manifest import parse_manifest
from lenslink_protocol.messages import BY_TYPE
from lenslink_protocol.packings import find_layout
from lenslink_protocol.structs import Header

TRANSCRIPTS = transcripts.TRANSCRIPTS
SIDE = transcripts.SIDE
# Bytes of a tile and number of tile buffers of the firmware that answers a transcript.
MEMORY = {"transcript_resend": (128, 2), "transcript_two_lanes": (256, 4)}


def read_spec(root: Path) -> str:
    return (root / "protocol/SPEC.md").read_text(encoding="utf-8")


def make_configuration(name: str) -> dict:
    """Return the configuration of the transcripts' module."""
    tile_bytes, tiles = MEMORY.get(name, (2 * SIDE * SIDE, 2))
    config = module_world.configuration(tile_bytes, tiles // 2, held=tiles - tiles // 2)
    config["sensor"] |= {
        "width": SIDE,
        "height": SIDE,
        "orientation": 1,
        "black": [64, 64, 64, 64],
        "modes": [module_world.mode(1, SIDE, SIDE, ["preview", "still"]) | {"name": "full"}],
    }
    config["scale"] = None
    config["power"]["motor_mw"] = 300
    config["test"] = name == "transcript_pending"
    return config


class Replay:
    """A seated firmware module, to which the host's packets of a transcript are sent."""

    def __init__(self, name: str) -> None:
        def picture(number: int, mode: int) -> bytes:
            del number, mode
            return transcripts.get_pixels(0, SIDE)

        self.camera, _, self.time = module_world.camera(make_configuration(name), picture)
        self.camera.link.max_lanes = 2
        self.time.us = transcripts.CLOCK_US
        self.peer = module_world.Peer(self.camera, self.time)

    def take_packet(self, lane: int) -> bytes:
        """Let the module step until it sends a packet on *lane*, and return the packet."""
        for _ in range(100):
            found = self.camera.link.take_packet(lane)
            if found is not None:
                view, tile = found
                data = bytes(view)
                if tile is not None:
                    self.camera.link.release_tile(tile)
                return data
            self.camera.step()
        raise AssertionError("the module sends nothing")


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_firmware_answers_as_the_transcript_says(name, monkeypatch):
    monkeypatch.setattr(manifest, "VERSION", "0.1.0")
    replay = Replay(name)
    for packet in TRANSCRIPTS[name]():
        if packet.sender == "host":
            replay.peer.raw(packet.data)
            replay.camera.step()
        else:
            if packet.note.endswith("ms later"):
                replay.time.us += 1000 * int(packet.note.split()[0])
            assert replay.take_packet(packet.lane).hex(" ") == packet.data.hex(" ")
    assert replay.camera.link.take_packet(0) is None


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_text_has_every_byte_of_the_transcript(name, root):
    text = read_spec(root).split(f"<!-- generated: {name} -->")[1].split("<!-- end -->")[0]
    pairs = re.findall(r"^ {5}((?:[0-9a-f]{2} ?)+(?:  ?[0-9a-f ]+)*)$", text, flags=re.M)
    data = b"".join(packet.data for packet in TRANSCRIPTS[name]())
    assert bytes.fromhex("".join(pairs)) == data


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_keeps_the_rules_of_packets(name):
    """Both CRCs hold, by another library, and each lane and direction counts from 0."""
    import zlib

    sequences: dict[tuple[str, int], int] = {}
    for packet in TRANSCRIPTS[name]():
        header = Header.parse(packet.data)
        payload = packet.data[40:]
        assert zlib.crc32(packet.data[:36]) == header.header_crc
        assert (len(payload), zlib.crc32(payload)) == (header.length, header.payload_crc)
        key = (packet.sender, packet.lane)
        assert header.sequence == sequences.get(key, 0)
        sequences[key] = header.sequence + 1
        if header.type != MessageType.TILE:
            assert BY_TYPE[header.type].decode(payload).encode() == payload


def test_the_manifest_of_the_transcript_is_possible():
    parsed = parse_manifest(transcripts.make_manifest())
    assert (parsed.model, parsed.modes[0].name) == ("Model", "full")
    assert [find_layout(code).bits for code in parsed.formats] == [16]


def test_every_table_of_fields_or_values_is_generated(root):
    """A table that is written by hand has a heading that no generated table has."""
    by_hand = re.sub(r"<!-- generated: (\w+) -->.*?<!-- end -->", "", read_spec(root), flags=re.S)
    heads = re.findall(r"^(\|[^\n]*\|)\n\|[-:| ]+\|$", by_hand, flags=re.M)
    assert heads
    generated = ("| offset | type |", "| value | name |", "| type | message |", "| parameter |")
    assert [head for head in heads if head.startswith(generated)] == []


def list_sentences(text: str) -> list[str]:
    """Return the sentences of the prose: no code, no tables, no headings, no generated parts."""
    text = re.sub(r"<!-- generated: (\w+) -->.*?<!-- end -->", "", text, flags=re.S)
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||#)", line)]
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:- |\d+\. ))", "\n".join(lines))
    joined = [" ".join(block.split()) for block in blocks]
    return [each for block in joined for each in re.split(r"(?<=[.!?:;])\s+(?=[A-Z`*\[])", block)]


def test_no_sentence_has_more_than_thirty_words(root):
    text = read_spec(root)
    long = [each for each in list_sentences(text) if len(re.findall(r"[^\W_][\w'-]*", each)) > 30]
    assert long == []


def test_retired_words_do_not_appear(root):
    words = r"\b(fate|ticket|yank\w*|rejects?|rejected|rejecting|covered|coverage|ground|raster)\b"
    found = re.findall(words, read_spec(root), flags=re.I)
    # The name of a test action is part of the protocol.
    assert [each for each in found if each != "REJECT"] == []


def test_links_lead_to_files_and_headings(root):
    text = read_spec(root)
    headings = [
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    ]
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif "://" not in link:
            assert (root / "protocol" / link).exists(), link
