"""Generate the C header: constants, packed structures of :mod:`.structs`, a decoder of tiles.

:mod:`.codegen` calls :func:`make_c_header`.
"""

from __future__ import annotations

import enum
import re

from . import ids, rice
from .layout import Field, get_format, list_fields
from .params import PARAMS
from .structs import ENTRIES, MAGIC, MESSAGES, PARTS, Header, Setting

_C_TYPES = {"B": "uint8_t", "H": "uint16_t", "I": "uint32_t", "Q": "uint64_t", "i": "int32_t"}

_HEAD = """\
/* Constants, structures and a decoder of coded tiles of the LensLink protocol, for C11 and C++11.
 *
 * {notice}
 *
 * The structure of a message is the fixed part of its payload. The field `size` is the number of
 * bytes of that part, and a tail begins behind them. `size` may be larger than the structure: a
 * newer minor version appends fields. Check both CRCs, the length and `size` before you read a
 * payload.
 */
#ifndef LENSLINK_H
#define LENSLINK_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the wire is little-endian: these structures are for little-endian machines"
#endif

#ifdef __cplusplus
#define LENSLINK_ASSERT(condition, text) static_assert(condition, text)
#else
#define LENSLINK_ASSERT(condition, text) _Static_assert(condition, text)
#endif
"""


# The packing ``rice``: SPEC.md, 6.3.1. The numbers are those of lenslink_protocol.rice.
_RICE = f"""\
/* Decode a coded tile of `width` x `height` pixels of `bits` bits from `length` bytes of `data`.
 * `pixels` has room for all of them, row by row. Return 0, or -1 if the tile is damaged: `pixels`
 * then has any values. `width` and `height` are at least 1, `bits` is 10, 12 or 14. */
static inline int lenslink_decode_rice(const uint8_t *data, size_t length, unsigned bits,
                                       size_t width, size_t height, uint16_t *pixels)
{{
    uint64_t code = 0; /* the next `left` bits of the tile */
    unsigned left = 0, k = 4, average = {rice.FIRST_AVERAGE};
    size_t at = 0;
    for (size_t y = 0; y < height; y++) {{
        uint16_t *row = pixels + y * width;
        unsigned sum = 0;
        for (size_t x = 0; x < width; x++) {{
            int32_t prediction = 0, pixel, difference;
            unsigned zeros = 0, used;
            while (left <= 32) {{
                code |= (uint64_t)(at < length ? data[at] : 0) << left;
                at++;
                left += 8;
            }}
            if (y >= 2)
                prediction = row[x - 2 * width];
            if (x >= 2)
                prediction = y >= 2 ? (prediction + row[x - 2]) >> 1 : row[x - 2];
            while (k + zeros < {rice.PREFIX_BITS} && !(code >> (k + zeros) & 1))
                zeros++;
            int32_t low = (int32_t)(code & ((1u << k) - 1));
            if (k + zeros < {rice.PREFIX_BITS}) {{
                int32_t residual = (int32_t)(zeros << k) | low;
                pixel = prediction + ((residual >> 1) ^ -(residual & 1));
                used = k + zeros + 1;
            }} else {{
                unsigned rest = bits - k;
                pixel = (int32_t)(code >> {rice.PREFIX_BITS} & ((1u << rest) - 1)) << k | low;
                used = {rice.PREFIX_BITS} + rest;
            }}
            code >>= used;
            left -= used;
            if (pixel < 0 || pixel >> bits || at * 8 - left > length * 8)
                return -1;
            row[x] = (uint16_t)pixel;
            difference = pixel - prediction;
            sum += (unsigned)(difference < 0 ? -2 * difference - 1 : 2 * difference);
            if (x % {rice.BLOCK} == {rice.BLOCK - 1}) {{
                average = (average + sum) >> 1;
                sum = 0;
                for (k = 0; k < {rice.MAX_K} && average >> 4 >> k; k++)
                    ;
            }}
        }}
    }}
    for (; at < length; at++)
        code |= data[at];
    return code ? -1 : 0;
}}"""


def to_snake_case(name: str) -> str:
    """Return a name in ``CamelCase`` as ``camel_case``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def list_enums() -> list[type[enum.IntEnum] | type[enum.IntFlag]]:
    """Return every enumeration of numbers in :mod:`.ids`, in order."""
    return [
        each
        for each in vars(ids).values()
        if isinstance(each, type)
        and issubclass(each, (enum.IntEnum, enum.IntFlag))
        and each.__module__ == ids.__name__
    ]


def make_c_header(notice: str) -> str:
    """Return the text of the header."""
    magic = ", ".join(f"0x{byte:02X}" for byte in MAGIC)
    lines = [_HEAD.format(notice=notice), f"#define LENSLINK_MAGIC {{{magic}}}"]
    for param in PARAMS.values():
        unit = f"{param.unit}: " if param.unit else ""
        lines.append(f"#define LENSLINK_{param.name} {param.value} /* {unit}{param.reason} */")
    lines.append(f"#define LENSLINK_VENDOR_FIRST 0x{ids.VENDOR_FIRST:02X}")
    for members in list_enums():
        name = to_snake_case(members.__name__)
        prefix = f"LENSLINK_{name.upper()}_"
        lines += ["", f"enum lenslink_{name} {{"]
        lines += [f"    {prefix}{m.name} = 0x{m.value:02X}," for m in members if m.value < 1 << 31]
        lines += ["};"]
        # An enumerator of C is an int, which cannot hold these values.
        lines += [f"#define {prefix}{m.name} 0x{m.value:02X}u" for m in members if m.value >> 31]
    lines += ["", "#pragma pack(push, 1)"]
    structures = [
        ("header", "begins every packet", Header),
        ("setting", "an entry of a settings list", Setting),
    ]
    structures += [
        (to_snake_case(m.name), f"0x{m.type:02X}, {m.sender}: {m.doc}", m.struct) for m in MESSAGES
    ]
    structures += [
        (to_snake_case(e.name), f"manifest entry 0x{e.key:04X}: {e.doc}", e.struct)
        for e in ENTRIES
        if e.struct is not None
    ]
    structures += [(to_snake_case(p.name), f"calibration: {p.doc}", p.struct) for p in PARTS]
    asserts = []
    for name, doc, structure in structures:
        fields = list_fields(structure)
        lines += ["", f"/* {doc} */", f"struct lenslink_{name} {{"]
        lines += [f"    {_declare_member(field)}" for field in fields]
        lines += ["};"]
        asserts.append(_make_assert(name, fields))
    lines += ["", "#pragma pack(pop)", "", *asserts, "", _RICE, "", "#endif"]
    return "\n".join(lines) + "\n"


def _declare_member(field: Field) -> str:
    if field.code == "":
        return f"/* then {field.name}: {field.doc} */"
    kind = "uint8_t" if field.code == "s" else _C_TYPES[field.code]
    count = f"[{field.count}]" if field.code == "s" or field.count > 1 else ""
    return f"{kind} {field.name}{count}; /* {field.doc} */"


def _make_assert(name: str, fields: list[Field]) -> str:
    """Return an assertion of a structure's size, which shows that no member is padded."""
    size = sum(field.size for field in fields)
    text = f'"{name}: {get_format(fields)}"'
    return f"LENSLINK_ASSERT(sizeof(struct lenslink_{name}) == {size}, {text});"
