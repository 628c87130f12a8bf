"""Generate every file that repeats :mod:`.structs`.

Usage: ``python -m lenslink_protocol.codegen [--check] [ROOT]``. ``make gen`` calls it, and ``make
check`` calls it with ``--check``, which writes nothing and fails if a file is out of date.

It writes the host's codec (:mod:`.messages`), the firmware's codec (``lensfw/wire.py``), the C
header (:mod:`.cheader`), the Wireshark dissector (:mod:`.dissector`), the C header of the frame
ring (:mod:`.ringheader`), and the tables and transcripts (:mod:`.transcripts`) of SPEC.md, which
stand between ``<!-- generated: NAME -->`` markers. ``clauses.json`` is made from SPEC.md's clauses.
"""

from __future__ import annotations

import argparse
import enum
import json
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from . import ids
from .cheader import make_c_header
from .dissector import make_dissector
from .layout import Field, get_format, list_fields
from .params import PARAMS
from .ringheader import ring_h
from .structs import ENTRIES, MAGIC, MESSAGES, PARTS, Entry, Header, Message, Setting
from .transcripts import make_spec_transcripts

NOTICE = "Generated from lenslink_protocol/structs.py by `make gen`; do not edit."

# --- CPython ---------------------------------------------------------------------------------


def _make_python_class(name: str, doc: str, layout: list[Field], message: Message | None) -> str:
    sized = message is not None
    body = layout[1:] if sized else layout
    visible = [f for f in body if not f.name.startswith("reserved")]
    tail = next((f for f in visible if f.code == ""), None)
    fmt = get_format(layout)
    lines = [
        "@dataclass(frozen=True, slots=True)",
        f"class {name}:",
        f'    """{_make_sentence(doc)}"""',
        "",
    ]
    if message is not None:
        lines += [f"    TYPE: ClassVar[MessageType] = MessageType.{message.type.name}"]
    lines += [f'    FIXED: ClassVar[struct.Struct] = struct.Struct("{fmt}")', ""]
    for f in visible:
        default = ' = b""' if f.code == "" else "" if f.default is None else f" = {f.default}"
        lines += [f"    {f.name}: {f.python_type}{default}", f'    """{_make_sentence(f.doc)}"""']
    lines += ["", "    def encode(self) -> bytes:", '        """The payload on the wire."""']
    arguments = ["self.FIXED.size"] if sized else []
    for f in body:
        if f.code == "":
            continue
        if f.name.startswith("reserved"):
            arguments.append("0")
        elif f.count > 1 and not f.is_bytes:
            arguments.append(f"*self.{f.name}")
        else:
            arguments.append(f"self.{f.name}")
    pack = f"self.FIXED.pack({', '.join(arguments)})"
    lines.append(f"        return {pack}{f' + self.{tail.name}' if tail else ''}")
    lines += ["", "    @classmethod", f"    def decode(cls, payload: Buffer) -> {name}:"]
    lines += ['        """:exc:`Malformed` if the payload is shorter than the fixed part."""']
    lines += [
        f"        {'size, ' if tail else '_, ' if sized else ''}values = "
        f"{'_fixed' if sized else '_prefix'}(cls.FIXED, payload)"
    ]
    results, at = [], 0
    for f in body:
        if f.code == "":
            results.append("bytes(memoryview(payload)[size:])")
            continue
        width = 1 if f.is_bytes else f.count
        if not f.name.startswith("reserved"):
            if width == 1:
                results.append(f"values[{at}]")
            else:
                results.append(f"({', '.join(f'values[{at + i}]' for i in range(width))})")
        at += width
    lines.append(f"        return cls({', '.join(results)})")
    return "\n".join(lines)


def _make_sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def make_host_codec() -> str:
    """Return the text of the host's codec."""
    header = list_fields(Header)
    names = [f.name for f in header if f.name != "magic"]
    parts = [
        f'"""The messages as frozen dataclasses, and the header. {NOTICE}"""',
        "\n".join(
            [
                "from __future__ import annotations",
                "",
                "import struct",
                "from dataclasses import dataclass",
                "from typing import Any, ClassVar, NamedTuple",
                "",
                "from .ids import ManifestKey, MessageType",
            ]
        ),
        "Buffer = bytes | bytearray | memoryview",
        f'MAGIC = {MAGIC!r}\nHEADER = struct.Struct("{get_format(header)}")\n'
        f'SETTING = struct.Struct("{get_format(list_fields(Setting))}")\n'
        '"""An entry of a settings list: control, frame and value."""',
        "class Malformed(ValueError):\n"
        '    """A payload that is shorter than its message, or whose size field lies."""',
        "class Header(NamedTuple):\n"
        '    """The header of a packet, less its magic."""\n\n'
        + "\n".join(f"    {n}: int" for n in names),
        "def _fixed(layout: struct.Struct, payload: Buffer) -> tuple[int, tuple[Any, ...]]:\n"
        '    """The size of the fixed part as its sender has it, and the values known here."""\n'
        "    if len(payload) < layout.size:\n"
        '        raise Malformed(f"{len(payload)} bytes where {layout.size} are the least")\n'
        "    size, *values = layout.unpack_from(payload)\n"
        "    if not layout.size <= size <= len(payload):\n"
        '        raise Malformed(f"a fixed part of {size} bytes in a payload of {len(payload)}")\n'
        "    return size, tuple(values)",
        "def _prefix(layout: struct.Struct, value: Buffer) -> tuple[Any, ...]:\n"
        "    if len(value) < layout.size:\n"
        '        raise Malformed(f"{len(value)} bytes where {layout.size} are the least")\n'
        "    return layout.unpack_from(value)",
    ]
    parts += [_make_python_class(m.name, m.doc, list_fields(m.struct), m) for m in MESSAGES]
    structured = [e for e in ENTRIES if e.struct is not None]
    parts += [
        _make_python_class(e.name, f"manifest entry: {e.doc}", list_fields(e.struct), None)
        for e in structured
    ]
    parts += [
        _make_python_class(p.name, f"calibration: {p.doc}", list_fields(p.struct), None)
        for p in PARTS
    ]
    union = " | ".join(m.name for m in MESSAGES)
    table = "\n".join(f"    MessageType.{m.type.name}: {m.name}," for m in MESSAGES)
    entries = "\n".join(f"    ManifestKey.{e.key.name}: {e.name}," for e in structured)
    texts = "\n".join(
        f'    ManifestKey.{e.key.name}: "{e.name}",' for e in ENTRIES if e.struct is None
    )
    parts += [
        f"AnyMessage = (\n    {union}\n)",
        f"BY_TYPE: dict[int, type[AnyMessage]] = {{\n{table}\n}}",
        f"ENTRY_BY_KEY: dict[int, type[Any]] = {{\n{entries}\n}}",
        f"TEXT_BY_KEY: dict[int, str] = {{\n{texts}\n}}",
    ]
    return "\n\n\n".join(parts) + "\n"


# --- MicroPython -----------------------------------------------------------------------------

# A name costs a board memory, so the firmware has only the parameters that a module needs.
_HOST_PARAMS = {
    "MAX_MANIFEST", "MAX_TEXT", "MAX_CALIBRATION", "MIN_SIDE", "MAX_WIDTH", "MAX_HEIGHT",
    "MIN_FRAMES_OPEN", "MAX_FRAMES_OPEN", "MAX_OPEN_BYTES", "HELLO_RETRY_MS", "REQUEST_RETRY_MS",
    "HEARTBEAT_MS", "SILENCE_MS", "MAX_SETTINGS_DELAY", "RESEND_RETRY_MS", "RESEND_TRIES",
    "END_GRACE_MS", "FRAME_STALE_MS",
}  # fmt: skip

_PREFIXES: dict[str, Iterable[enum.IntEnum | enum.IntFlag]] = {
    "CAP": ids.Capability,
    "CONFIGURE": ids.ConfigureFlag,
    "CONTROL": ids.ControlId,
    "CONTROL_FLAG": ids.ControlFlag,
    "APPLIED": ids.FrameFlag,
    "ERR": ids.ErrorCode,
    "AUTH": ids.AuthScheme,
    "CLOSE": ids.CloseReason,
    "END": ids.EndStatus,
    "FLAG": ids.Flag,
    "BUSY": ids.BusyReason,
    "NOTICE": ids.NoticeReason,
    "EVENT": ids.EventKind,
    "TEST": ids.TestAction,
    "DAMAGE": ids.Damage,
    "RESEND": ids.ResendFlag,
    "FRAME": ids.FrameState,
    "OUTCOME": ids.Outcome,
    "RESET": ids.ResetReason,
    "LOG": ids.LogLevel,
    "USE": ids.ModeUse,
    "KEY": ids.ManifestKey,
    # The packed ones a module's sensor names by their codes, which say all that firmware asks.
    "PFNC": [each for each in ids.PixelFormat if each >> 16 & 0xFF == 16],
}


def _make_micropython_entry(entry: Entry) -> str:
    layout = list_fields(entry.struct)
    return (
        f"# {entry.name}: {', '.join(f.name for f in layout)}\n"
        f'ENTRY_{entry.key.name} = "{get_format(layout)}"'
    )


def make_firmware_codec() -> str:
    """Return the text of the firmware's codec: constants, formats and two functions."""
    lines = [f'"""The wire for MicroPython. {NOTICE}"""', "", "import struct", ""]
    lines += ["try:", "    from micropython import const", "except ImportError:  # CPython", ""]
    lines += ["    def const(value):", "        return value", "", ""]
    lines += [f"MAGIC = {MAGIC!r}"]
    lines += [f"{p.name} = const({p.value})" for p in PARAMS.values() if p.name not in _HOST_PARAMS]
    lines += [f"VENDOR_FIRST = const({ids.VENDOR_FIRST})", ""]
    lines += [f"T_{t.name} = const({t.value})" for t in ids.MessageType]
    for prefix, members in _PREFIXES.items():
        lines += [""] + [f"{prefix}_{m.name} = const({m.value})" for m in members]
    header = list_fields(Header)
    lines += ["", f"# Header: {', '.join(f.name for f in header)}"]
    lines += [f'HEADER = "{get_format(header)}"', ""]
    setting = list_fields(Setting)
    lines += [
        f"# Setting, an entry of a settings list: {', '.join(f.name for f in setting)}",
        f'SETTING = "{get_format(setting)}"',
        "",
    ]
    lines += [_make_micropython_entry(e) for e in ENTRIES if e.struct is not None]
    lines += [
        "",
        "# Type: format of the fixed part after its size, bytes of it, whether a tail follows.",
    ]
    lines += ["FORMATS = {"]
    for m in MESSAGES:
        layout = list_fields(m.struct)
        fixed = [f for f in layout[1:] if f.code]
        tail = layout[-1].code == ""
        size = struct.calcsize(get_format(layout))
        lines.append(f"    # {m.name}: {', '.join(f.name for f in layout[1:]) or 'nothing'}")
        lines.append(f'    {m.type.value}: ("<{get_format(fixed)[1:]}", {size}, {tail}),')
    lines += ["}", "", ""]
    lines += [
        'def encode(kind, values=(), tail=b""):',
        '    """The payload of a message from its fields in order, reserved ones included."""',
        "    fmt, size, _ = FORMATS[kind]",
        "    out = bytearray(size)",
        '    struct.pack_into("<H", out, 0, size)',
        "    struct.pack_into(fmt, out, 2, *values)",
        "    return out + tail if tail else out",
        "",
        "",
        "def decode(kind, payload):",
        '    """The fields in order, then the tail where there is one; ValueError if malformed."""',
        "    fmt, least, tail = FORMATS[kind]",
        "    if len(payload) < least:",
        '        raise ValueError("short")',
        '    size = struct.unpack_from("<H", payload, 0)[0]',
        "    if size < least or size > len(payload):",
        '        raise ValueError("size")',
        "    values = struct.unpack_from(fmt, payload, 2)",
        "    return values + (bytes(payload[size:]),) if tail else values",
    ]
    return "\n".join(lines) + "\n"


# --- SPEC.md ---------------------------------------------------------------------------------


def _make_field_table(layout: list[Field]) -> str:
    rows = ["| offset | type | field | meaning |", "|---:|---|---|---|"]
    rows += [f"| {f.offset} | {f.wire_type} | `{f.name}` | {f.doc} |" for f in layout]
    return "\n".join(rows)


def _make_enum_table(members: Any) -> str:
    text = Path(sys.modules[members.__module__].__file__ or "").read_text(encoding="utf-8")
    body = re.split(
        r"\n(?=class |def |[A-Z_]+ ?[:=])", text.split(f"class {members.__name__}(", 1)[1]
    )[0]
    docs = dict(re.findall(r'\n    (\w+) = [^\n]+\n    """(.+?)"""', body, flags=re.S))
    rows = ["| value | name | meaning |", "|---:|---|---|"]
    for member in members:
        value = f"`{member.value}`" if isinstance(member.value, str) else f"0x{member.value:02X}"
        rows.append(f"| {value} | {member.name} | {' '.join(docs.get(member.name, '').split())} |")
    return "\n".join(rows)


def _make_control_table() -> str:
    # Imported here, because it imports what is generated.
    from .controls import CONTROLS

    rows = [
        "| id | control | unit | scope | out of range | reported by |",
        "|---:|---|---|---|---|---|",
    ]
    for each in CONTROLS:
        scope = "per frame" if each.is_per_frame else "immediate"
        outside = "nearest value, ADJUSTED" if each.is_adjusted else "UNSUPPORTED"
        reported = f"`{each.reported_by}`" if each.reported_by else ""
        cells = (str(each.id.value), each.id.name, each.unit, scope, outside, reported)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


_TABLED = (
    ids.Capability,
    ids.ConfigureFlag,
    ids.ControlId,
    ids.ControlFlag,
    ids.FrameFlag,
    ids.ErrorCode,
    ids.AuthScheme,
    ids.CloseReason,
    ids.EndStatus,
    ids.Flag,
    ids.BusyReason,
    ids.NoticeReason,
    ids.EventKind,
    ids.ContactState,
    ids.HeatState,
    ids.TestAction,
    ids.Damage,
    ids.ResendFlag,
    ids.FrameState,
    ids.Outcome,
    ids.ResetReason,
    ids.LogLevel,
    ids.Cfa,
    ids.ModeUse,
    ids.CalibrationKind,
    ids.PixelFormat,
    ids.DiscardReason,
)


def make_spec_parts() -> dict[str, str]:
    """Return the generated Markdown by the name of its marker."""
    tables = {"header": _make_field_table(list_fields(Header))}
    tables["setting"] = _make_field_table(list_fields(Setting))
    tables["controls"] = _make_control_table()
    rows = ["| parameter | value | unit | reason |", "|---|---:|---|---|"]
    rows += [f"| {p.name} | {p.value} | {p.unit} | {p.reason} |" for p in PARAMS.values()]
    tables["params"] = "\n".join(rows)
    rows = ["| type | message | sender | meaning |", "|---:|---|---|---|"]
    rows += [f"| 0x{m.type.value:02X} | {m.name} | {m.sender} | {m.doc} |" for m in MESSAGES]
    rows.append(
        f"| 0x{ids.MessageType.TILE:02X} | Tile | module | pixels; the payload has no fields |"
    )
    tables["types"] = "\n".join(rows[:2] + sorted(rows[2:]))
    sections = [
        f"### {m.name} (0x{m.type.value:02X}, {m.sender})\n\n"
        f"{_make_sentence(m.doc)}\n\n{_make_field_table(list_fields(m.struct))}"
        for m in MESSAGES
    ]
    tables["messages"] = "\n\n".join(sections)
    rows = ["| key | entry | value |", "|---:|---|---|"]
    rows += [
        f"| 0x{e.key.value:04X} | {e.name} | {e.doc}{'' if e.struct else ' (UTF-8)'} |"
        for e in ENTRIES
    ]
    tables["manifest"] = "\n\n".join(
        ["\n".join(rows)]
        + [
            f"### {e.name} (0x{e.key.value:04X})\n\n{_make_field_table(list_fields(e.struct))}"
            for e in ENTRIES
            if e.struct
        ]
    )
    tables["calibrations"] = "\n\n".join(
        f"### {p.name}\n\n{_make_sentence(p.doc)}\n\n{_make_field_table(list_fields(p.struct))}"
        for p in PARTS
    )
    for members in _TABLED:
        tables[members.__name__] = _make_enum_table(members)
    return tables | make_spec_transcripts()


def update_spec(current: str) -> str:
    """Return SPEC.md with its generated parts replaced.

    Raises:
        KeyError: A marker has an unknown name.
    """
    tables = make_spec_parts()

    def replace(match: re.Match[str]) -> str:
        return f"<!-- generated: {match[1]} -->\n{tables[match[1]]}\n<!-- end -->"

    return re.sub(r"<!-- generated: (\w+) -->\n.*?<!-- end -->", replace, current, flags=re.S)


_CLAUSE = re.compile(r"^- \*\*\[([MH])(-[A-Z]+-\d+)\]\*\* (.+?)(?=\n- |\n\n)", flags=re.S | re.M)
_SIDES = {"M": "module", "H": "host"}


def make_clauses_json(spec: str) -> str:
    """Return the clauses of SPEC.md as JSON.

    Raises:
        ValueError: An identifier stands twice.
    """
    found = [
        {"id": side + rest, "side": _SIDES[side], "text": " ".join(text.split())}
        for side, rest, text in _CLAUSE.findall(spec)
    ]
    names = [clause["id"] for clause in found]
    if len(set(names)) < len(names):
        raise ValueError("an identifier of a clause stands twice in SPEC.md")
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def list_outputs(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of every generated file below *root*."""
    yield root / "protocol/lenslink_protocol/messages.py", make_host_codec()
    yield root / "firmware/lensfw/wire.py", make_firmware_codec()
    yield root / "protocol/lenslink_protocol/lenslink.h", make_c_header(NOTICE)
    yield root / "protocol/lenslink_protocol/lenslink.lua", make_dissector(NOTICE)
    yield root / "host/lenslink/frame_ring/lenslink_ring.h", ring_h()
    spec = root / "protocol/SPEC.md"
    text = update_spec(spec.read_text(encoding="utf-8"))
    yield spec, text
    yield root / "protocol/lenslink_protocol/clauses.json", make_clauses_json(text)


def main() -> int:
    """Write the generated files, or check them. Return the exit status."""
    parser = argparse.ArgumentParser(
        description="Write every file that is generated from the protocol's definition."
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file is out of date"
    )
    parser.add_argument("root", nargs="?", type=Path, default=Path.cwd())
    arguments = parser.parse_args()
    stale = []
    for path, text in list_outputs(arguments.root):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not arguments.check:
            path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{'differs from' if arguments.check else 'wrote'}: {path}")
    return 1 if arguments.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
