"""List the fields of a `construct` layout, in order.

The generators use the list, and so do tests that change single fields of encoded bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from construct import Array, Bytes, Const, Default, GreedyBytes, Renamed

_TYPE_NAMES = {"B": "u8", "H": "u16", "I": "u32", "Q": "u64", "i": "i32"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a layout. ``code`` is a :mod:`struct` code, or "" for the tail.

    ``default`` is what the host's codec takes for a field that is not given, or None.
    """

    name: str
    code: str
    count: int
    doc: str
    offset: int
    default: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the field, 0 for the tail."""
        return struct.calcsize(f"<{self.count}{self.code}") if self.code else 0

    @property
    def is_bytes(self) -> bool:
        """Whether the value is bytes, as opposed to numbers."""
        return self.code in ("s", "")

    @property
    def python_type(self) -> str:
        """The type annotation in the host's codec."""
        if self.is_bytes:
            return "bytes"
        return "int" if self.count == 1 else f"tuple[{', '.join(['int'] * self.count)}]"

    @property
    def wire_type(self) -> str:
        """The type as SPEC.md names it."""
        if self.code == "":
            return "bytes, the rest"
        if self.code == "s":
            return f"bytes[{self.count}]"
        name = _TYPE_NAMES[self.code]
        return name if self.count == 1 else f"{name}[{self.count}]"


def list_fields(layout: Any) -> list[Field]:
    """Return the fields of a `construct.Struct` in order.

    Raises:
        TypeError: A field has no codec.
    """
    found: list[Field] = []
    offset = 0
    for renamed in layout.subcons:
        subcon, count, default = renamed, 1, None
        while isinstance(subcon, Renamed | Default):
            if isinstance(subcon, Default):
                default = subcon.value
            subcon = subcon.subcon
        if isinstance(subcon, Array):
            count, subcon = subcon.count, subcon.subcon
        if subcon is GreedyBytes:
            code = ""
        elif isinstance(subcon, Const):
            code, count = "s", len(subcon.value)
        elif isinstance(subcon, Bytes):
            code, count = "s", subcon.length
        elif hasattr(subcon, "fmtstr") and subcon.fmtstr[0] == "<":
            code = subcon.fmtstr[1:].replace("L", "I").replace("l", "i")
        else:
            raise TypeError(f"no codec for {renamed.name}: {subcon!r}")
        if found and found[-1].code == "":
            raise TypeError(f"{renamed.name} follows a tail")
        field = Field(renamed.name, code, count, renamed.docs, offset, default)
        found.append(field)
        offset += field.size
    return found


def get_format(layout: list[Field]) -> str:
    """Return the :mod:`struct` format of the fixed part."""
    return "<" + "".join(
        f"{'' if f.count == 1 and f.code != 's' else f.count}{f.code}" for f in layout if f.code
    )
