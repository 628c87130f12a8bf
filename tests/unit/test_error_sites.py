"""Test that every call in the driver that can raise OSError or ValueError is accounted for.

The calls are found by the syntax tree. Each stands in a ``try`` or ``suppress`` that handles the
error, or in an allow-list with the reason. :mod:`helpers.os_faults` lets the system's calls fail in
the transports, the frame ring, the image files, the lock and the runtime folder. Those are left out
of the first test here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.os_faults import HOST, list_sources, name_of

MORE_SYSTEM_CALLS = {
    "open", "fileno", "flush", "readlink", "rename", "resolve", "touch", "write_bytes",
    "write_text", "read_bytes", "read_text",
}  # fmt: skip
OS_ERRORS = {"OSError", "Exception", "BaseException"}
ALLOWED_OS = {
    "lenslink/cli/doctor.py": {"lenslink.open": "the driver's own open()"},
    "lenslink/cli/main.py": {
        "io.FileIO": "the descriptor was just opened",
        "os.open": "without /dev/null nothing can be reported",
    },
    "lenslink/cli/opening.py": {"lenslink.open": "the driver's own open()"},
    "lenslink/cli/options.py": {"os.fspath": "it asks no system"},
    "lenslink/cli/screen.py": {"sys.stdout.flush": "main() reports an OSError as exit code 9"},
    "lenslink/cli/signals.py": {"os.kill": "it ends this process"},
    "lenslink/cli/sink.py": {
        "sys.stdout.flush": "main() reports an OSError as exit code 9",
        "sys.stdout.fileno": "main() reports an OSError as exit code 9",
        "os.write": "main() reports an OSError as exit code 9",
        "select.select": "main() reports an OSError as exit code 9",
    },
    "lenslink/connection.py": {"resolve": "the driver's own resolve()"},
    "lenslink/control/client_connection.py": {
        "self.flush": "its own method",
        "self.socket.fileno": "-1 for a socket that is closed",
    },
    "lenslink/control/control_server.py": {
        "client.flush": "its own method",
        "connection.fileno": "-1 for a socket that is closed",
    },
    "lenslink/control/control_service.py": {"self._server.poll": "its own method"},
    "lenslink/control/control_socket.py": {"path.lstat": "both callers handle an OSError"},
    "lenslink/control/module_client.py": {"control_socket.connect": "the driver's own connect()"},
    "lenslink/installation.py": {
        "Path(__file__).resolve": "the file of this module was just imported"
    },
    "lenslink/receive/reassembly.py": {"self._pool.acquire": "the pool's own method"},
    "lenslink/reconnector.py": {"self.service.poll": "the service's own method"},
    "lenslink/session.py": {
        "self.link.poll": "the link's own method",
        "service.poll": "the service's own method",
    },
    "lenslink_program/__init__.py": {"os.write": "the process ends at the next line"},
}

# What raises ValueError, UnicodeError, OverflowError or struct.error for a value.
VALUE_CALLS = {
    "cast", "decode", "encode", "float", "frombuffer", "fromhex", "index", "int", "loads", "pack",
    "pack_into", "remove", "reshape", "unpack", "unpack_from",
}  # fmt: skip
VALUE_ERRORS = {"ValueError", "struct.error", "UnicodeError", "UnicodeEncodeError", "Exception"}
# Names of the driver's own functions and of the standard library that are spelled alike.
OWN = {"unpack", "remove", "segment.remove", "operator.index", "args.index", "self._format.encode"}
FIXED = "a fixed format, and a buffer that is made for it"
SHAPE = "the size follows from the configuration, which find_contradiction() has checked"
ALLOWED_FOLDERS = {
    "lenslink/raw_files/": "read_raw_mosaic() reports every such error of a file as UsageError",
}
ALLOWED_VALUES = {
    "lenslink/arguments.py": {"float": "a number; OverflowError is handled"},
    "lenslink/cli/capture.py": {"int": "a fraction from 0 to 1"},
    "lenslink/cli/pixel_formats.py": {
        "f'YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 C444\\n'.encode": "digits are ASCII",
        "pixels.reshape": "into one dimension",
    },
    "lenslink/cli/quick_picture.py": {
        "'RGB'.index": "the manifest's parser has checked the colour filter",
        "np.array([top / bottom for top, bottom in color_matrix]).reshape": "nine entries",
    },
    "lenslink/cli/ring.py": {"float": "the mean of pixels"},
    "lenslink/cli/screen.py": {"float": "a constant"},
    "lenslink/cli/values.py": {"int": "a finite decimal number"},
    "lenslink/frame.py": {"int": "a dimension of an array", "covered.reshape": SHAPE},
    "lenslink/control/control_messages.py": {
        "json.dumps(message, separators=(',', ':')).encode": "JSON is ASCII here"
    },
    "lenslink/control/control_server.py": {"self._clients.remove": "it was just found there"},
    "lenslink/control/control_socket.py": {"_CREDENTIALS.unpack": FIXED},
    "lenslink/frame_ring/doorbell.py": {"control.cast": FIXED},
    "lenslink/frame_ring/mapped_ring.py": {
        "HEADER.unpack": FIXED,
        "int": "a member of an enum",
        "memory.reshape": "is_sound() has checked the description",
        "np.frombuffer": "is_sound() has checked the description",
        "view.cast": FIXED,
    },
    "lenslink/frame_ring/reader_table.py": {"control.cast": FIXED},
    "lenslink/frame_ring/segment.py": {"_FLOCK.pack": FIXED, "_FLOCK.unpack": FIXED},
    "lenslink/frame_ring/shared_frame.py": {
        "FrameStart.decode": "it raises Malformed, which is handled",
        "SLOT.unpack": FIXED,
        "_BEGINNING.unpack_from": FIXED,
    },
    "lenslink/frame_ring/slot.py": {
        "_DESCRIPTION.pack": "fields that were unpacked from as many bits, and times",
        "_ENDING.pack": "counts that are below the size of the frame",
        "control.cast": FIXED,
        "start.encode": "fields of a FrameStart, which were unpacked from as many bits",
    },
    "lenslink/frame_ring/sync.py": {"int": "check_timeout() has bounded the seconds"},
    "lenslink/frame_ring/writer.py": {
        "control.cast": FIXED,
        "memoryview(self._map)[:PAYLOADS_AT].cast": FIXED,
        "np.frombuffer": "a slot that the ring was made for",
    },
    "lenslink/image_files/dng.py": {
        "float": "a number of a frame",
        "int": "find_contradiction() has bounded the level",
    },
    "lenslink/image_files/exif.py": {
        "struct.pack": "counts, offsets below 64 KiB, and bounded rationals",
        "text.encode": "to_ascii() has replaced other characters",
    },
    "lenslink/image_files/float_raw.py": {"int": "an element of an array's shape"},
    "lenslink/image_files/opcodes.py": {
        "float": "a number of numpy",
        "struct.pack": "sizes of a frame, and floating-point numbers",
    },
    "lenslink/image_files/render.py": {"float": "a rounded number"},
    "lenslink/module_calibration.py": {
        "float": "a number of numpy",
        "int": "a place between the first and the last point",
        "np.array(found.gains).reshape": "parse_calibration() has checked the number of gains",
        "np.array(places, np.intp).reshape": "pairs",
    },
    "lenslink/receive/assembly.py": {"self.buffer.reshape": SHAPE},
    "lenslink/receive/batch.py": {
        "int": "an index of numpy",
        "np.frombuffer": FIXED,
        "np.frombuffer(block, '<u4').reshape": FIXED,
    },
    "lenslink/receive/prediction.py": {"int": "a member of an enum"},
    "lenslink/receive/reassembly.py": {
        "int": "a member of an enum",
        "_RANGE.unpack_from": "on_resent() has checked the length",
        "self.finished_frames.remove": "the frame was just found there",
    },
    "lenslink/receive/rice_decoding.py": {
        "np.frombuffer": "decode_pixels() has checked the length",
        "pack": "a decoded pixel has the bits of its layout",
        "pack(pixels, layout).reshape": "into one dimension",
        "rows.reshape": "into one dimension",
    },
    "lenslink/receive/rice_decoding_numba.py": {"int": "a number of numba"},
    "lenslink/receive/tile_grid.py": {
        "int": "an element of an integer array",
        "(left | top << 16).reshape": "into one dimension",
        "(right - left | rows << 16).reshape": "into one dimension",
        "(np.subtract(self._right, self._left) * rows).reshape": "into one dimension",
        "(self._left + top * configuration.stride).reshape": "into one dimension",
        "frame.reshape": SHAPE,
        "place[:, first:first + same * width].reshape": SHAPE,
        "staged[at:at + size].reshape": SHAPE,
    },
    "lenslink/runtime.py": {"int": "decimal digits of a file name"},
    "lenslink/session.py": {"finished.remove": "the frame was just found there"},
    "lenslink/settings.py": {"int": "check_whole_number() has checked the value"},
    "lenslink/transports/__init__.py": {"cast": "typing.cast()"},
    "lenslink/transports/byte_ring.py": {"own_words.cast": FIXED, "peer_words.cast": FIXED},
    "lenslink/transports/direct_placement.py": {
        "np.frombuffer": "the memory of the frames that was offered"
    },
    "lenslink/transports/records.py": {
        "_HEAD.pack": "lengths and places below the ring's size",
        "_HEAD.unpack": FIXED,
    },
    "lenslink/transports/serial.py": {"int": "the number of a termios.error"},
    "lenslink/transports/shm.py": {
        "_FRAMES.pack": "sizes that were checked before",
        "_FRAMES.unpack": FIXED,
        "_GREETING.pack": FIXED,
        "_GREETING.unpack": FIXED,
        "np.frombuffer": FIXED,
        "whole[_GRANTS_AT:_GRANTS_AT + 8 * slots].cast": FIXED,
    },
    "lenslink/transports/socket.py": {"int": "is_port() has checked it"},
    "lenslink/transports/stream_socket.py": {"struct.pack": "constants"},
    "lenslink/url.py": {"int": "five decimal digits at most"},
}


class Site(NamedTuple):
    """A call that can raise."""

    file: str
    line: int
    name: str
    is_handled: bool
    """It stands in a ``try`` or ``suppress`` that handles the error."""


def names_of(node: ast.expr | None) -> set[str]:
    """Return the names of the exceptions that a handler names."""
    if node is None:
        return {"BaseException"}
    return {ast.unparse(each) for each in (node.elts if isinstance(node, ast.Tuple) else [node])}


def handles(node: ast.AST, errors: set[str]) -> bool:
    """Return True if *node* handles one of *errors* for its body."""
    if isinstance(node, ast.Try):
        return any(names_of(each.type) & errors for each in node.handlers)
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items]
        return any(
            isinstance(call, ast.Call)
            and ast.unparse(call.func).endswith("suppress")
            and {ast.unparse(each) for each in call.args} & errors
            for call in calls
        )
    return False


def walk(node: ast.AST, errors: set[str], is_handled: bool) -> Iterator[tuple[ast.Call, bool]]:
    """Yield the calls below *node*, and whether their errors are handled in their function."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            inside = is_handled or (name == "body" and handles(node, errors))
            if isinstance(child, ast.FunctionDef | ast.Lambda):
                inside = False
            if isinstance(child, ast.Call):
                yield child, inside
            yield from walk(child, errors, inside)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def list_files() -> list[Path]:
    return [
        path
        for package in ("lenslink", "lenslink_program")
        for path in sorted((HOST / package).rglob("*.py"))
    ]


def is_system_call(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    is_more = name.rpartition(".")[2] in MORE_SYSTEM_CALLS or name in ("select.select", "os.write")
    return is_more or name_of(call) is not None


def is_value_call(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    owner, _, method = name.rpartition(".")
    if method not in VALUE_CALLS or name in OWN or (method in ("int", "float") and owner):
        return False
    # A text that is decoded with an error handler never fails.
    return not (method in ("decode", "encode") and len(call.args) > 1)


def list_system_sites() -> list[Site]:
    tested = set(list_sources())
    return [
        Site(str(path.relative_to(HOST)), call.lineno, ast.unparse(call.func), is_handled)
        for path in list_files()
        if path not in tested
        for call, is_handled in walk(parse(path), OS_ERRORS, False)
        if is_system_call(call)
    ]


def list_value_sites() -> list[Site]:
    return [
        Site(str(path.relative_to(HOST)), call.lineno, ast.unparse(call.func), is_handled)
        for path in list_files()
        for call, is_handled in walk(parse(path), VALUE_ERRORS, False)
        if is_value_call(call)
    ]


SITES = {
    "OSError": (list_system_sites, ALLOWED_OS),
    "ValueError": (list_value_sites, ALLOWED_VALUES),
}


@pytest.mark.parametrize("error", SITES)
def test_every_call_that_can_raise_is_handled_or_allowed(error: str) -> None:
    """A new call needs a handler that raises one of our errors, or a reason in the allow-list."""
    list_sites, allowed = SITES[error]
    sites = list_sites()
    assert len(sites) > 10, "the search has found nothing"
    missing = [
        f"{site.file}:{site.line} {site.name}"
        for site in sites
        if not site.is_handled and site.name not in allowed.get(site.file, {})
        if not site.file.startswith(tuple(ALLOWED_FOLDERS))
    ]
    assert not missing, f"{error}: " + ", ".join(missing)


@pytest.mark.parametrize("error", SITES)
def test_every_allowed_call_exists(error: str) -> None:
    list_sites, allowed = SITES[error]
    found = {(site.file, site.name) for site in list_sites() if not site.is_handled}
    listed = {(file, name) for file, names in allowed.items() for name in names}
    assert not listed - found


def test_the_search_knows_what_is_handled() -> None:
    tree = ast.parse(
        "try:\n    int(a)\nexcept ValueError:\n    int(b)\n"
        "with suppress(ValueError):\n    int(c)\n"
        "try:\n    def f():\n        int(d)\nexcept ValueError:\n    pass\n"
        "try:\n    int(e)\nexcept KeyError:\n    pass\n"
    )
    found = {ast.unparse(call): inside for call, inside in walk(tree, VALUE_ERRORS, False)}
    assert found == {
        "int(a)": True, "int(b)": False, "suppress(ValueError)": False, "int(c)": True,
        "int(d)": False, "int(e)": False,
    }  # fmt: skip
