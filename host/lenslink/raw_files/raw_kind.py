"""Tells a camera's RAW file from a picture, and names its camera.

A RAW file often contains a small picture, and Pillow opens that picture without a warning. So
the plant asks :func:`find_raw_mark` before it asks Pillow. A file with any mark of a RAW file
is never used as a picture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tiff_tags import Tags

HEAD_BYTES = 32
"""Bytes at the start of a file that show its signature."""

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF and of a BigTIFF: a picture, a DNG or the RAW file of most makers."""

# Offset and bytes of signatures that only RAW files have.
_SIGNATURES = (
    (0, b"IIU\0", "Panasonic or Leica"),
    (0, b"IIRO", "Olympus"),
    (0, b"IIRS", "Olympus"),
    (0, b"MMOR", "Olympus"),
    (6, b"HEAPCCDR", "Canon CRW"),
    (8, b"CR\2\0", "Canon CR2"),
    (4, b"ftypcrx ", "Canon CR3"),
    (8, b"IIII", "Phase One IIQ"),
    (8, b"MMMM", "Phase One IIQ"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (0, b"FOVb", "Sigma X3F"),
    (0, b"\0MRM", "Minolta MRW"),
    (0, b"ARRI", "ARRI"),
    (0, b"NOKIARAW", "Nokia"),
)
_CFA, _LINEAR_RAW = 32803, 34892
# Compressions of pictures: none, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard and WebP.
_PICTURE_COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000, 50001}
_COMPRESSION_NAMES = {
    9: "GoPro VC-5",
    32769: "packed RAW",
    32770: "Samsung RAW",
    32867: "Kodak RAW",
    34713: "Nikon NEF",
    34892: "lossy JPEG",
    52546: "JPEG XL",
    65000: "Kodak DCR",
    65535: "Pentax PEF",
}
_MAKE, _MODEL, _ASCII = 271, 272, 2
# CIFF, the format of CRW: the record with maker and model, and the bits of a record's type.
_CIFF_CAMERA = 0x080A
_CIFF_IN_ENTRY, _CIFF_KIND, _CIFF_FOLDERS = 0xC000, 0x3800, (0x2800, 0x3000)
_MAX_DEPTH = 8


def is_tiff(head: bytes) -> bool:
    """Return True if a file that starts with *head* is a TIFF or a BigTIFF."""
    return head[:4] in TIFF_MAGIC


def find_raw_mark(head: bytes, directories: list[Tags]) -> str | None:
    """Return the first mark of a RAW file, in words; None for a picture.

    Args:
        head: the first HEAD_BYTES of the file.
        directories: the tags of each directory, if the file is a TIFF.
    """
    for offset, signature, maker in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return f"the signature of {maker}"
    for tags in directories:
        if "DNGVersion" in tags:
            return "a DNG"
        if tags.get("PhotometricInterpretation") in (_CFA, _LINEAR_RAW):
            return "a mosaic"
        if "SubIFDs" in tags:
            return "a SubIFD"
        if str(tags.get("Make") or "").strip("\0 "):
            return f"the maker {str(tags['Make']).strip()}"
        exif = tags.get("ExifTag")
        if isinstance(exif, dict) and "MakerNote" in exif:
            return "a maker's note"
        if name_compression(tags) is not None:
            return f"the compression {name_compression(tags)}"
    return None


def name_compression(tags: Tags) -> str | None:
    """Return the name of a compression that no picture has; None for a picture's."""
    code = int(tags.get("Compression", 1))
    if code in _PICTURE_COMPRESSIONS:
        return None
    return _COMPRESSION_NAMES.get(code, f"number {code}")


def read_camera_name(path: Path) -> tuple[str | None, str | None]:
    """Return maker and model from a RAW file that is no TIFF; None for what is not found.

    The function knows Panasonic's and Olympus' variants of TIFF, Canon's CRW, Minolta's MRW and
    Fujifilm's RAF.
    """
    data = path.read_bytes()
    try:
        if data[:4] in (b"IIU\0", b"IIRO", b"IIRS", b"MMOR"):
            return _read_directory(data)
        if data[6:14] == b"HEAPCCDR":
            start = struct.unpack_from("<I", data, 2)[0]
            return next(_find_ciff_names(data[start:], 0), (None, None))
        if data[:4] == b"\0MRM":
            return _read_mrw(data)
        if data.startswith(b"FUJIFILMCCD-RAW"):
            return "FUJIFILM", _decode(data[28:60])
    except struct.error:
        pass  # the file is cut; LibRaw reports that
    return None, None


def _read_mrw(data: bytes) -> tuple[str | None, str | None]:
    """Find the block TTW of an MRW file, which is a TIFF."""
    at = 8
    end = at + struct.unpack_from(">I", data, 4)[0]
    while at + 8 <= end:
        name, size = struct.unpack_from(">4sI", data, at)
        if name == b"\0TTW":
            return _read_directory(data[at + 8 : at + 8 + size])
        at += 8 + size
    return None, None


def _read_directory(data: bytes) -> tuple[str | None, str | None]:
    """Read maker and model from the first directory of a TIFF, whatever its magic number is."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    texts: dict[int, str | None] = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        code, kind, size, offset = struct.unpack_from(f"{order}HHII", data, at)
        if code in (_MAKE, _MODEL) and kind == _ASCII:
            # A text of up to four bytes stands in the entry itself.
            place = at + 8 if size <= 4 else offset
            texts[code] = _decode(data[place : place + size])
    return texts.get(_MAKE), texts.get(_MODEL)


def _find_ciff_names(heap: bytes, depth: int) -> Iterator[tuple[str | None, str | None]]:
    """Yield maker and model from a CIFF heap and the heaps in it."""
    (table,) = struct.unpack_from("<I", heap, len(heap) - 4)
    (count,) = struct.unpack_from("<H", heap, table)
    for at in range(table + 2, table + 2 + 10 * count, 10):
        kind, size, offset = struct.unpack_from("<HII", heap, at)
        if kind & _CIFF_IN_ENTRY:
            continue
        value = heap[offset : offset + size]
        if kind == _CIFF_CAMERA:
            maker, _, rest = value.partition(b"\0")
            yield _decode(maker), _decode(rest)
        elif kind & _CIFF_KIND in _CIFF_FOLDERS and depth < _MAX_DEPTH:
            yield from _find_ciff_names(value, depth + 1)


def _decode(value: Any) -> str | None:
    """Return a text up to its first zero byte, without blanks around it; None if it is empty."""
    return value.partition(b"\0")[0].decode("ascii", "replace").strip() or None
