"""Hold the vocabulary: retired names do not come back, and every public name says what it is.

CONTRIBUTING.md has the glossary. An identifier is retired as a whole word of code: a parameter, a
JSON key or a file name counts too. Prose is held against coined terms only.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The retired identifier, and the word that took its place.
RETIRED = {
    "Bench": "Harness (a fixture class), bench (a place where a module runs)",
    "CdcCarrier": "CdcBackend",
    "Coverage": "ReceivedRanges",
    "Course": "TilePrediction",
    "Fate": "Outcome",
    "FaultBench": "FaultHarness",
    "Gate": "SendFilter",
    "HostedBoard": "RemoteDevice",
    "OnDemand": "FaultInjection",
    "PlacingTransport": "DirectPlacementTransport",
    "Raster": "TileGrid",
    "Reject": "DiscardReason",
    "Rehearsal": "(deleted)",
    "Ring": "FrameRing, ByteRing or FocusRing",
    "RingReader": "FrameRingReader",
    "Ticket": "RequestHandle",
    "Trainer": "(deleted; lenslink bench link --sweep)",
    "UsbCarrier": "UsbBackend",
    "Yank": "SurpriseRemoval",
    "attach_bench": "attach_harness",
    "carrier": "backend",
    "carriers": "link_backends",
    "coverage": "received_ranges, received_fraction",
    "fate": "outcome",
    "fates": "outcomes",
    "foreseen": "predicted",
    "lab": "helpers",
    "ondemand": "fault_injection",
    "raster": "grid",
    "rehearsal": "(deleted)",
    "rejects": "discards",
    "ticket": "request_handle",
    "trainer": "(deleted)",
    "training": "(deleted)",
    "usbbench": "usb_device",
    "usbrig": "usb_harness",
    "yank": "surprise_removal",
}
# A file that may use a retired identifier, and why.
MAY_USE: dict[str, set[str]] = {
    # This list.
    "tests/unit/test_words.py": set(RETIRED),
}
# Coined terms, which no reader finds in a dictionary of this field. Prose does not use them.
COINED = ("fate", "ticket", "yank", "carriers", "rehearsal", "foreseen")
# The same name in two folders, where it means the same thing, and why.
SAME_NAME = {
    "__init__": "Python's name for a package",
    "__main__": "Python's name for a program",
    "cable": "both ends of one protocol, in Python and in JavaScript",
    "conftest": "pytest's name",
    "esp32": "the port, and the chip's stand-in that tests it",
    "framing": "the host's end and the module's end of the same framing",
    "link": "the host's end and the module's end of the same link",
    "manifest": "the manifest: written by the module, read by the host",
    "boot": "the board's constant stub, and what it calls",
    "main": "MicroPython's name on the board, and the command line's own",
    "device": "a camera module to its user; a USB device to the bus",
    "pico": "the bench pico: and its command",
    "sim": "the bench sim:, its command, and the module's ports on it",
    "usb": "the host's end and the module's end of the USB transport",
    "usbip": "the bench usbip: and its command",
}
PACKAGES = {
    "lenslink_protocol": "protocol",
    "lenslink": "host",
    "lenslink_program": "host",
    "lenslink_hil": "hil",
}


@cache
def tracked() -> list[str]:
    """Return the files of the checkout that people write, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - whichever git the user has
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("it is not a git checkout")
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return [name for name in names if not name.startswith("tests/fuzz/corpus/")]


def identifiers(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each name, and of each string that is one word: a JSON key, say."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string.lstrip("_")
        elif token.type == tokenize.STRING and re.fullmatch(r"[\"']\w+[\"']", token.string):
            yield token.start[0], token.string[1:-1]


def test_a_name_a_key_and_a_private_name_are_identifiers() -> None:
    found = {name for _, name in identifiers("a._fate = {'ticket': b('two words')}  # prose")}
    assert found == {"a", "fate", "ticket", "b"}


def test_no_retired_identifier_is_used() -> None:
    found = []
    for name in tracked():
        allowed = MAY_USE.get(name, set())
        if Path(name).stem in RETIRED:
            found.append(f"{name}: the file's name; write {RETIRED[Path(name).stem]}")
        if not name.endswith(".py"):
            continue
        for line, word in identifiers((ROOT / name).read_text(encoding="utf-8")):
            if word in RETIRED and word not in allowed:
                found.append(f"{name}:{line}: {word}; write {RETIRED[word]}")
    assert not found, "\n".join(found)


def test_no_coined_term_is_used_in_prose() -> None:
    pattern = re.compile(rf"\b({'|'.join(COINED)})\b", re.IGNORECASE)
    found = []
    for name in tracked():
        if not name.endswith((".py", ".md", ".mjs", ".toml", ".sh", ".h", ".c", ".lua")):
            continue
        # The glossary, this list and the test of SPEC.md name what they retire.
        if name in ("tests/unit/test_words.py", "tests/golden/test_spec.py", "CONTRIBUTING.md"):
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            found += [f"{name}:{number}: {match[0]}" for match in pattern.finditer(line)]
    assert not found, "\n".join(found)


def test_a_file_name_means_one_thing() -> None:
    folders: dict[str, list[str]] = {}
    for name in tracked():
        path = Path(name)
        # A suite is named after the firmware's file that it tests.
        if path.suffix in (".py", ".mjs") and not name.startswith("tests/firmware/suites/"):
            folders.setdefault(path.stem, []).append(name)
    found = [
        f"{stem}: {', '.join(names)}"
        for stem, names in sorted(folders.items())
        if len(names) > 1 and stem not in SAME_NAME
    ]
    assert not found, "\n".join(found)


def test_every_name_that_may_stand_twice_does() -> None:
    stems = [Path(name).stem for name in tracked()]
    assert [stem for stem in SAME_NAME if stems.count(stem) < 2] == []


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Yield the public classes and functions at the top of a module."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sorted((ROOT / PACKAGES[package] / package).rglob("*.py"))
        for node in public(ast.parse(path.read_text(encoding="utf-8")))
        if not ast.get_docstring(node)
    ]
    assert not found, "\n".join(found)


def test_every_method_of_the_public_api_has_a_docstring() -> None:
    import lenslink

    found = []
    for name in lenslink.__all__:
        value = getattr(lenslink, name)
        if not getattr(value, "__doc__", None):
            found.append(name)
        for member, each in vars(value).items() if isinstance(value, type) else ():
            documented = getattr(each, "__doc__", None)
            if callable(each) and not member.startswith("_") and not documented:
                found.append(f"{name}.{member}")
    assert not found, "\n".join(found)
