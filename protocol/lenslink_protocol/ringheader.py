"""Generate the frame ring's C header from :mod:`.ringlayout`; :mod:`.codegen` calls it."""

from __future__ import annotations

import enum

from . import ringlayout
from .layout import Field, list_fields
from .ringlayout import HEADER, READER, SLOT, Part, Word
from .structs import MESSAGES

NOTICE = "Generated from lenslink_protocol/ringlayout.py by `make gen`; do not edit."

_C_TYPES = {"B": "uint8_t", "H": "uint16_t", "I": "uint32_t", "Q": "uint64_t", "i": "int32_t"}
_CONSTANTS = (
    "VERSION",
    "READERS",
    "MAX_STREAMS",
    "PINS",
    "MAX_SLOTS",
    "MAX_MISSING_RANGES",
    "READERS_AT",
    "SLOTS_AT",
    "PAYLOADS_AT",
    "MAX_PAYLOAD_BYTES",
    "GENERATION_SHIFT",
)

_HEAD = """\
/* The memory of LensLink's frame ring, for C11.
 *
 * {notice}
 *
{doc}
 */
#ifndef LENSLINK_RING_H
#define LENSLINK_RING_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the frame ring is little-endian"
#endif
"""


def ring_h(notice: str = NOTICE) -> str:
    """Return the header's text."""
    text = (ringlayout.__doc__ or "").partition("\n\n")[2].rstrip()
    doc = "\n".join(f" * {line}".rstrip() for line in text.splitlines())
    lines = [_HEAD.format(notice=notice, doc=doc)]
    lines.append(f"#define LENSLINK_RING_MAGIC UINT64_C(0x{ringlayout.MAGIC:016X})")
    lines += [f"#define LENSLINK_RING_{name} {getattr(ringlayout, name)}" for name in _CONSTANTS]
    for prefix, members in (
        ("", ringlayout.SlotState),
        ("", ringlayout.Policy),
        ("ASLEEP_", ringlayout.Asleep),
        ("", ringlayout.FrameState),
    ):
        lines += ["", *_format_enum(prefix, members)]
    fields = next(list_fields(each.struct) for each in MESSAGES if each.name == "FrameStart")
    lines += ["", "/* a FrameStart: what the module says of a frame at its start */"]
    lines += ["struct lenslink_ring_frame_start {", *map(_format_field, fields), "};"]
    asserts = _format_field_asserts(fields)
    for part in (HEADER, READER, SLOT):
        lines += ["", f"/* {part.doc} */", f"struct lenslink_ring_{part.name} {{"]
        lines += [f"    {_format_member(word)}" for word in part.words]
        if part.size > part.used:
            lines.append(f"    uint8_t reserved[{part.size - part.used}];")
        lines.append("};")
        asserts += _format_asserts(part)
    return "\n".join([*lines, "", *asserts, "", "#endif"]) + "\n"


def _format_enum(prefix: str, members: type[enum.IntEnum]) -> list[str]:
    names = [f"    LENSLINK_RING_{prefix}{m.name} = {m.value}," for m in members]
    return ["enum {", *names, "};"]


def _format_field(field: Field) -> str:
    count = f"[{field.count}]" if field.count > 1 else ""
    return f"    {_C_TYPES[field.code]} {field.name}{count}; /* {field.doc} */"


def _format_field_asserts(fields: list[Field]) -> list[str]:
    """Return assertions that C lays out a FrameStart as the wire does."""
    name = "struct lenslink_ring_frame_start"
    size = ringlayout.FRAME_START_BYTES
    return [f'static_assert(sizeof({name}) == {size}, "frame_start");'] + [
        f'static_assert(offsetof({name}, {field.name}) == {field.offset}, "{field.name}");'
        for field in fields
    ]


def _format_member(word: Word) -> str:
    if word.name == "frame_start":
        return f"struct lenslink_ring_frame_start frame_start; /* {word.doc} */"
    kind = ("_Atomic " if word.atomic else "") + _C_TYPES[word.code]
    count = f"[{word.count}]" if word.count > 1 else ""
    return f"{kind} {word.name}{count}; /* {word.doc} */"


def _format_asserts(part: Part) -> list[str]:
    name = f"struct lenslink_ring_{part.name}"
    return [f'static_assert(sizeof({name}) == {part.size}, "{part.name}");'] + [
        f'static_assert(offsetof({name}, {word.name}) == {word.offset}, "{word.name}");'
        for word in part.words
    ]
