"""Generate the Wireshark dissector: tables of :mod:`.structs` for ``dissector_core.lua``.

:mod:`.codegen` calls :func:`make_dissector`. ``dissector_core.lua`` is written by hand. It knows
the messages by the tables only.
"""

from __future__ import annotations

import enum
from importlib.resources import files
from pathlib import Path

from . import ids
from .cheader import to_snake_case
from .layout import Field, list_fields
from .structs import ENTRIES, MAGIC, MESSAGES, Header, Setting

_ANY = "*"

ENUM_OF: dict[tuple[str, str], type[enum.IntEnum] | type[enum.IntFlag]] = {
    ("Header", "type"): ids.MessageType,
    ("Header", "flags"): ids.Flag,
    (_ANY, "capabilities"): ids.Capability,
    ("Configure", "flags"): ids.ConfigureFlag,
    ("Configured", "flags"): ids.ConfigureFlag,
    ("FrameStart", "flags"): ids.FrameFlag,
    ("Setting", "control"): ids.ControlId,
    ("ControlEntry", "control"): ids.ControlId,
    ("ControlEntry", "flags"): ids.ControlFlag,
    ("Error", "code"): ids.ErrorCode,
    ("QueryReply", "outcome"): ids.Outcome,
    ("Challenge", "scheme"): ids.AuthScheme,
    ("Proof", "scheme"): ids.AuthScheme,
    ("AuthEntry", "scheme"): ids.AuthScheme,
    ("Close", "reason"): ids.CloseReason,
    ("Busy", "reason"): ids.BusyReason,
    ("Notice", "reason"): ids.NoticeReason,
    ("Event", "kind"): ids.EventKind,
    ("Test", "action"): ids.TestAction,
    ("Test", "damage"): ids.Damage,
    ("Resend", "flags"): ids.ResendFlag,
    ("Resent", "flags"): ids.ResendFlag,
    ("Resent", "state"): ids.FrameState,
    ("FrameEnd", "status"): ids.EndStatus,
    (_ANY, "reset_reason"): ids.ResetReason,
    ("Log", "level"): ids.LogLevel,
    (_ANY, "cfa"): ids.Cfa,
    ("ModeEntry", "use"): ids.ModeUse,
    (_ANY, "kind"): ids.CalibrationKind,
    (_ANY, "pixel_format"): ids.PixelFormat,
}
"""The enumeration of a field's values, by message and field."""


def get_dissector_path() -> Path:
    """Return the path of the generated dissector, for ``tshark -X lua_script:``."""
    return Path(__file__).with_name("lenslink.lua")


def make_dissector(notice: str) -> str:
    """Return the text of the dissector."""
    core = files(__package__).joinpath("dissector_core.lua").read_text(encoding="utf-8")
    lines = [f"-- Wireshark dissector of the LensLink protocol. {notice}", ""]
    lines += [f'local MAGIC = "{"".join(f"{chr(92)}{byte}" for byte in MAGIC)}"']
    lines += ["", "local ENUMS = {"]
    used = sorted({e.__name__ for e in ENUM_OF.values()} | {"ManifestKey"})
    for name in used:
        members = getattr(ids, name)
        kind = "true" if issubclass(members, enum.IntFlag) else "false"
        lines.append(f"  {name} = {{flags = {kind}, names = {{")
        lines += [f'    [{m.value}] = "{m.name}",' for m in members]
        lines.append("  }},")
    lines += ["}", "", "-- A field: name, type, count, meaning, enumeration of its values."]
    lines += ["local HEADER = {", *_make_rows("Header", list_fields(Header)), "}"]
    lines += ["", "local SETTING = {", *_make_rows("Setting", list_fields(Setting)), "}"]
    lines += ["", "local MESSAGES = {"]
    for message in MESSAGES:
        lines.append(f"  [{message.type.value}] = {_open_table(message.name, message.doc)}")
        lines += [f"  {row}" for row in _make_rows(message.name, list_fields(message.struct))]
        lines.append("  }},")
    lines += ["}", "", "local ENTRIES = {"]
    for entry in ENTRIES:
        lines.append(f"  [{entry.key.value}] = {_open_table(entry.name, entry.doc)}")
        layout = [] if entry.struct is None else list_fields(entry.struct)
        lines += [f"  {row}" for row in _make_rows(entry.name, layout)]
        if entry.struct is None:
            lines.append(f'    {{"{entry.name}", "text", 1, "{entry.doc}"}},')
        lines.append("  }},")
    lines += ["}", ""]
    return "\n".join(lines) + "\n" + core


def _open_table(name: str, doc: str) -> str:
    return f'{{name = "{name}", abbr = "{to_snake_case(name)}", doc = "{doc}", fields = {{'


def _make_rows(owner: str, layout: list[Field]) -> list[str]:
    rows = []
    for field in layout:
        kind = field.code
        if kind == "":
            kind = "text" if field.doc.startswith("UTF-8") else "tail"
        members = ENUM_OF.get((owner, field.name)) or ENUM_OF.get((_ANY, field.name))
        names = f', "{members.__name__}"' if members else ""
        rows.append(f'  {{"{field.name}", "{kind}", {field.count}, "{field.doc}"{names}}},')
    return rows
