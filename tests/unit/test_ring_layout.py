"""Test that C and Python agree on the frame ring's layout, and that its words are aligned."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from lenslink_protocol.layout import get_format, list_fields
from lenslink_protocol.ringlayout import (
    FRAME_START_BYTES,
    HEADER,
    MAX_SLOTS,
    PAYLOADS_AT,
    READER,
    READERS,
    READERS_AT,
    SLOT,
    SLOTS_AT,
    Part,
)
from lenslink_protocol.structs import MESSAGES

PARTS = (HEADER, READER, SLOT)


def c_program() -> str:
    lines = ['#include "lenslink_ring_reader.h"', "#include <stdio.h>", "int main(void) {"]
    lines.append('    printf("{");')
    for part in PARTS:
        kind = f"struct lenslink_ring_{part.name}"
        lines.append(f'    printf("\\"{part.name}\\": [%zu", sizeof({kind}));')
        for word in part.words:
            member = f"(({kind} *)0)->{word.name}"
            lines.append(f'    printf(", %zu", offsetof({kind}, {word.name}));')
            lines.append(f'    printf(", %zu", sizeof({member}));')
        lines.append('    printf("], ");')
    lines.append('    printf("\\"magic\\": %llu}", (unsigned long long)LENSLINK_RING_MAGIC);')
    return "\n".join([*lines, "    return 0;", "}"])


def test_c_has_the_same_layout(tool, root: Path, tmp_path: Path):
    source, program = tmp_path / "layout.c", tmp_path / "layout"
    source.write_text(c_program())
    folder = root / "host/lenslink/frame_ring"
    flags = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{folder}"]
    subprocess.run([tool("gcc"), *flags, str(source), "-o", str(program)], check=True)
    found = json.loads(subprocess.run([str(program)], capture_output=True, check=True).stdout)
    expected = {
        part.name: [part.size]
        + [number for word in part.words for number in (word.offset, word.size * word.count)]
        for part in PARTS
    }
    assert found == expected | {"magic": int.from_bytes(b"LLRING\r\n", "little")}


def test_c_reads_a_frame_start_as_the_wire_has_it(tool, root: Path, tmp_path: Path):
    """Each field has a value of its own, so two fields that change places are noticed."""
    fields = next(list_fields(each.struct) for each in MESSAGES if each.name == "FrameStart")
    lines = ['#include "lenslink_ring_reader.h"', "#include <stdio.h>", "int main(void) {"]
    lines += ["    struct lenslink_ring_frame_start start;"]
    lines += ["    if (fread(&start, sizeof start, 1, stdin) != 1) return 1;"]
    for field in fields:
        for index in range(field.count):
            member = f"start.{field.name}[{index}]" if field.count > 1 else f"start.{field.name}"
            lines.append(f'    printf("%lld ", (long long){member});')
    source, program = tmp_path / "start.c", tmp_path / "start"
    source.write_text("\n".join([*lines, "    return 0;", "}"]))
    flags = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    flags += [f"-I{root / 'host/lenslink/frame_ring'}"]
    subprocess.run([tool("gcc"), *flags, str(source), "-o", str(program)], check=True)
    values = list(range(1, 1 + sum(field.count for field in fields)))
    payload = struct.pack(get_format(fields), *values).ljust(FRAME_START_BYTES, b"\0")
    found = subprocess.run([str(program)], input=payload, capture_output=True, check=True).stdout
    assert [int(each) for each in found.split()] == values


def test_all_is_aligned_and_nothing_overlaps():
    for part in PARTS:
        at = 0
        for word in part.words:
            assert word.offset == at
            assert word.offset % word.size == 0
            at += word.size * word.count
        assert at <= part.size
    assert HEADER.size <= READERS_AT
    assert READERS_AT + READERS * READER.size <= SLOTS_AT
    assert SLOTS_AT + MAX_SLOTS * SLOT.size <= PAYLOADS_AT


@pytest.mark.parametrize(
    ("size", "words", "why"),
    [
        (8, (("a", "Q", ""), ("b", "B", "")), "takes 9 of 8"),
        (16, (("a", "B", ""), ("b", "Q", "")), "not aligned"),
        (12, (("a", "Q", ""),), "takes 8 of 12"),
    ],
)
def test_a_bad_layout_is_refused(size, words, why):
    with pytest.raises(ValueError, match=why):
        Part("bad", "", size, *words)
