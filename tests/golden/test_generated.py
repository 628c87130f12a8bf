"""Test the C header and the Wireshark dissector against the definition."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from lenslink_hil.recording.lcap import Direction, Kind, Record, Recording
from lenslink_hil.recording.pcapng import export
from lenslink_protocol import cheader, codegen, dissector, ids, manifest
from lenslink_protocol.cheader import to_snake_case
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.layout import list_fields
from lenslink_protocol.messages import BY_TYPE
from lenslink_protocol.params import PARAMS
from lenslink_protocol.structs import ENTRIES, MAGIC, MESSAGES, PARTS, Header, Setting

PROTOCOL = Path(codegen.__file__).parent
NONCE = 0x12345678


@pytest.mark.parametrize("name", ["lenslink.h", "lenslink.lua"])
def test_committed_files_are_what_is_generated(name, root):
    texts = {path.name: text for path, text in codegen.list_outputs(root)}
    assert (PROTOCOL / name).read_text(encoding="utf-8") == texts[name]


# --- C ---------------------------------------------------------------------------------------


def c_program():
    """Return a program that asserts every size, offset and value of the definition."""
    lines = ['#include "lenslink.h"', "static const unsigned char magic[] = LENSLINK_MAGIC;"]
    layouts = [("header", Header), ("setting", Setting)]
    layouts += [(to_snake_case(m.name), m.struct) for m in MESSAGES]
    layouts += [(to_snake_case(e.name), e.struct) for e in ENTRIES if e.struct is not None]
    layouts += [(to_snake_case(p.name), p.struct) for p in PARTS]
    for name, layout in layouts:
        known = [field for field in list_fields(layout) if field.code]
        lines += [
            f"LENSLINK_ASSERT(offsetof(struct lenslink_{name}, {f.name}) == {f.offset}, "
            f'"{name}.{f.name}");'
            for f in known
        ]
        size = known[-1].offset + known[-1].size if known else 0
        lines.append(f'LENSLINK_ASSERT(sizeof(struct lenslink_{name}) == {size}, "{name}");')
    for members in cheader.list_enums():
        prefix = to_snake_case(members.__name__).upper()
        for m in members:
            lines.append(f'LENSLINK_ASSERT(LENSLINK_{prefix}_{m.name} == {m.value}, "{m.name}");')
    lines += [f'LENSLINK_ASSERT(LENSLINK_{p} == {v.value}, "{p}");' for p, v in PARAMS.items()]
    checks = " && ".join(f"magic[{i}] == {byte}" for i, byte in enumerate(MAGIC))
    lines.append(f"int main(void) {{ return {checks} && sizeof magic == {len(MAGIC)} ? 0 : 1; }}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("compiler", "options"),
    [("gcc", ["-x", "c", "-std=c11"]), ("g++", ["-x", "c++", "-std=c++11"])],
)
def test_the_header_compiles_and_has_every_offset(compiler, options, tool, tmp_path):
    source, program = tmp_path / "check.c", tmp_path / "check"
    source.write_text(c_program())
    flags = [*options, "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", str(PROTOCOL)]
    command = [tool(compiler), *flags, str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([program], check=False).returncode == 0


def test_the_header_names_every_enumeration_but_the_discards():
    assert {each.__name__ for each in cheader.list_enums()} == {
        each.__name__ for each in (*codegen._TABLED, ids.MessageType, ids.ManifestKey)
    } - {"DiscardReason"}


# --- Wireshark -------------------------------------------------------------------------------


def test_the_dissector_names_every_enumeration():
    used = {each.__name__ for each in dissector.ENUM_OF.values()} | {"ManifestKey"}
    # An Event's value is one of these, or a number, as its kind says.
    of_events = {"ContactState", "HeatState"}
    assert used == {each.__name__ for each in cheader.list_enums()} - of_events
    known = {
        (m.name, f.name)
        for m in [*MESSAGES, *(e for e in ENTRIES if e.struct)]
        for f in list_fields(m.struct)
    } | {("Header", f.name) for f in list_fields(Header)}
    known |= {("Setting", f.name) for f in list_fields(Setting)}
    for owner, name in dissector.ENUM_OF:
        assert any(name == f and owner in ("*", o) for o, f in known), (owner, name)


def message_bytes(message, seed):
    """Return a payload in which all bytes of the fixed part differ."""
    layout = list_fields(message.struct)
    size = sum(field.size for field in layout)
    fixed = bytearray((seed + 7 * index) % 251 for index in range(size))
    fixed[:2] = size.to_bytes(2, "little")
    tail = b""
    if layout[-1].code == "":
        tail = b"tail text"
    if message.name == "ManifestPiece":
        tail = manifest.encode_entry(ids.ManifestKey.MAKER, b"Me")
    return bytes(fixed) + tail


def dissected(tool, tmp_path, packets, names):
    """Return the values of the fields *names* in each packet, as tshark prints them."""
    records = [
        Record(Kind.DATA, 0, Direction.TO_HOST, number, packet)
        for number, packet in enumerate(packets)
    ]
    with (tmp_path / "a.pcapng").open("wb") as file:
        count = export(Recording({}, records=records), file)
    command = [tool("tshark"), "-X", f"lua_script:{dissector.get_dissector_path()}"]
    command += ["-r", str(tmp_path / "a.pcapng"), "-T", "fields", "-E", "aggregator=,"]
    for name in names:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Error" not in done.stderr, done.stderr
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in done.stdout.splitlines()]
    assert len(rows) == count
    return rows


def number(text):
    return int(text, 0)


def test_tshark_reads_every_field_as_the_codec_does(tool, tmp_path):
    payloads = [message_bytes(message, seed) for seed, message in enumerate(MESSAGES)]
    packets = [
        encode_packet(message.type, payload, nonce=NONCE, sequence=index, frame=index + 5)
        for index, (message, payload) in enumerate(zip(MESSAGES, payloads, strict=True))
    ]
    head = [f"lenslink.{f.name}" for f in list_fields(Header)]
    status = ["lenslink.header_crc.status", "lenslink.payload_crc.status"]
    own = [
        f"lenslink.{to_snake_case(m.name)}.{f.name}"
        for m in MESSAGES
        for f in list_fields(m.struct)
    ]
    rows = dissected(tool, tmp_path, packets, [*head, *status, *own])
    assert len(rows) == len(MESSAGES)
    for row, message, packet, payload in zip(rows, MESSAGES, packets, payloads, strict=True):
        parsed = Header.parse(packet)
        for f in list_fields(Header):
            if f.code != "s":
                assert number(row[f"lenslink.{f.name}"]) == parsed[f.name], (message.name, f.name)
        assert (row[status[0]], row[status[1]]) == ("1", "1")
        decoded = BY_TYPE[message.type].decode(payload)
        oracle = message.struct.parse(payload)
        for f in list_fields(message.struct):
            shown = row[f"lenslink.{to_snake_case(message.name)}.{f.name}"]
            value = oracle[f.name]
            if f.code == "":
                text = shown if f.doc.startswith("UTF-8") else bytes.fromhex(shown).decode("latin1")
                assert text.encode("latin1") == value == getattr(decoded, f.name)
            else:
                expected = list(value) if f.count > 1 else [value]
                assert [number(each) for each in shown.split(",")] == expected, (message, f.name)
        others = [n for n in own if not n.startswith(f"lenslink.{to_snake_case(message.name)}.")]
        assert not any(row[name] for name in others)


def test_tshark_says_which_crc_does_not_hold(tool, tmp_path):
    good = encode_packet(ids.MessageType.STOP, b"\x03\0\1", nonce=NONCE, sequence=1)
    bad_head, bad_payload = bytearray(good), bytearray(good)
    bad_head[20] ^= 1
    bad_payload[41] ^= 1
    long = encode_packet(ids.MessageType.TILE, bytes(300_000), nonce=NONCE, sequence=2)
    newer = encode_packet(ids.MessageType.STOP, b"\x05\0\1NN", nonce=NONCE, sequence=3)
    lies = encode_packet(ids.MessageType.STOP, b"\x09\0\1", nonce=NONCE, sequence=4)
    names = ["lenslink.header_crc.status", "lenslink.payload_crc.status", "lenslink.stop.stream"]
    names += ["lenslink.noise", "lenslink.malformed", "frame.len"]
    packets = [good, bytes(bad_payload), good, long, newer, lies, b"noise", bytes(bad_head)]
    rows = [list(row.values()) for row in dissected(tool, tmp_path, packets, names)]
    assert rows[0][:3] == ["1", "1", "1"]
    assert rows[1][:3] == ["1", "0", ""]
    assert rows[2][:3] == ["1", "1", "1"]
    # Wireshark cuts a packet of that length, so the payload CRC is not judged.
    assert rows[3][:2] == ["1", "2"]
    assert rows[3][5] == str(300_040)
    assert rows[4][:3] == ["1", "1", "1"]
    assert rows[5][:3] == ["1", "1", ""]
    assert rows[5][4]
    assert len(rows) == 7, "the noise and the damaged header behind it are one stretch"
    assert rows[6][:2] == ["0", "2"]
    assert rows[6][3] == b"noise".hex()


def test_the_export_is_one_block_after_the_other(tmp_path):
    """Each block has its length at both ends, a multiple of four."""
    file = io.BytesIO()
    record = Record(Kind.DATA, 1, Direction.TO_MODULE, 3, b"abc")
    assert (
        export(Recording({"began": "2026-11-22T15:57:51.899+00:00"}, records=[record]), file) == 1
    )
    data, at, kinds = file.getvalue(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        assert size % 4 == 0
        assert data[at + size - 4 : at + size] == data[at + 4 : at + 8]
        kinds.append(int.from_bytes(data[at : at + 4], "little"))
        at += size
    assert kinds == [0x0A0D0D0A, 1, 1, 6]
    # A packet to the module is outbound, on the second interface, padded to four bytes.
    packet = data[-int.from_bytes(data[-4:], "little") :]
    assert packet[8:12] == (1).to_bytes(4, "little")
    assert packet[20:36] == (3).to_bytes(4, "little") * 2 + b"abc\0" + b"\2\0\4\0"
    assert packet[36:40] == (2).to_bytes(4, "little")
