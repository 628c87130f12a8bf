"""make test-kernel without its guest: the files that it builds, and its errors."""

from __future__ import annotations

import gzip
import lzma
import os
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.slowdown import patience

from lenslink.errors import RigError
from lenslink_hil.kernel import __main__ as command
from lenslink_hil.kernel import guest_boards, host_boards, initrd, kernel_package, suite_results

ELF = b"\x7fELF" + bytes(range(256)) * 10


def bz_image(payload: bytes, sectors: int = 3, gap: int = 7) -> bytes:
    """A boot sector, *sectors* of setup, a gap, the payload and its four bytes of length."""
    head = bytearray((sectors + 1) * 512 + gap)
    head[0x1F1] = sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, gap, len(payload) + 4)
    return bytes(head) + payload + struct.pack("<I", len(ELF)) + b"after it"


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress], ids=["xz", "gzip"])
def test_the_kernel_is_found_in_a_bzimage(pack: Callable[[bytes], bytes]) -> None:
    assert kernel_package.decompress_kernel(bz_image(pack(ELF))) == ELF


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"MZ", "not a bzImage"),
        (bz_image(b"LZ!!" + ELF), "not supported: 4c5a2121"),
        (bz_image(lzma.compress(ELF)[:-9]), "cannot be decompressed"),
        (bz_image(gzip.compress(ELF)[:-9]), "cannot be decompressed"),
        (bz_image(lzma.compress(b"something else")), "not an ELF kernel"),
    ],
)
def test_a_file_that_is_not_a_kernel_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(RigError, match=words):
        kernel_package.decompress_kernel(data)


def kernel_in(folder: Path) -> kernel_package.Kernel:
    folder.mkdir()
    for name in ("a.ko", "b.ko"):
        (folder / name).write_bytes(name.encode() * 5)
    (folder / "modules.load").write_text("b.ko\na.ko\n")
    return kernel_package.Kernel("linux-image-1", folder)


def test_cpio_unpacks_the_first_file_system(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """The reference is cpio, not our own reading of the format."""
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"static")
    data = initrd.build_initrd(kernel_in(tmp_path / "k"), busybox, {"run": b"echo 'it runs'\n"})
    there = tmp_path / "there"
    there.mkdir()
    unpack = [tool("busybox"), "cpio", "-id"]
    subprocess.run(
        unpack,
        input=gzip.decompress(data),
        cwd=there,
        check=True,
        timeout=patience(10),
        capture_output=True,
    )
    files = {
        str(path.relative_to(there)): path.read_bytes()
        for path in there.rglob("*")
        if path.is_file()
    }
    assert files == {
        "bin/busybox": b"static",
        "init": (Path(initrd.__file__).parent / "guest.sh").read_bytes(),
        "modules/a.ko": b"a.ko" * 5,
        "modules/b.ko": b"b.ko" * 5,
        "modules/load": b"b.ko\na.ko",
        "job/run": b"echo 'it runs'\n",
    }
    assert os.access(there / "init", os.X_OK) and os.access(there / "bin/busybox", os.X_OK)


def test_a_busybox_that_needs_libraries_is_refused(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"\x7fELF.../lib64/ld-linux-x86-64.so.2")
    with pytest.raises(RigError, match="install busybox-static"):
        initrd.build_initrd(kernel_in(tmp_path / "k"), busybox, {})


def test_the_guests_script_can_be_parsed() -> None:
    for text in (Path(initrd.__file__).parent / "guest.sh").read_text(), "":
        subprocess.run(["/bin/sh", "-n"], input=text, text=True, check=True, timeout=patience(10))


def test_the_guests_script_quotes_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "a check out, it's mine"
    checkout.mkdir()
    monkeypatch.chdir(checkout)
    lines = command.build_script(["usb:e2e"]).decode().splitlines()
    [change] = [line for line in lines if line.startswith("cd ")]
    shown = subprocess.run(
        ["/bin/sh", "-c", f"{change}; pwd"], capture_output=True, text=True, check=True, timeout=10
    )
    assert shown.stdout.rstrip("\n") == str(checkout)
    [python] = [line for line in lines if "lenslink_hil.kernel.inside" in line]
    assert shlex.split(python)[-1] == "usb:e2e"


def test_a_suite_is_one_line_and_its_failures() -> None:
    result = {
        "suite": "usb:e2e", "passed": 40, "failed": ["tests/x.py::test_y"], "seconds": 61.4,
        "left_out": {"use no bench": 9, "too many for the guest": 2}, "notes": ["known: 5 ms"],
    }  # fmt: skip
    assert command.format_result(result) == [
        "usb: e2e 40 passed, 1 FAILED, 11 left out (9 use no bench; 2 too many for the guest),"
        " 61 s",
        "  FAILED tests/x.py::test_y",
        "  known: 5 ms",
    ]


def test_the_results_of_a_suite_survive_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "tally"
    assert suite_results.read_results(path)["failed"] == ["pytest did not end"]
    suite_results.write_results(path, 3, ["b", "a", "b"], {"few": 1, "none": 0, "many": 5}, ["n"])
    found = suite_results.read_results(path)
    assert (found["passed"], found["failed"]) == (3, ["a", "b"])
    assert list(found["left_out"].items()) == [("many", 5), ("few", 1)]


@pytest.mark.parametrize(
    ("more", "status", "stream", "start"),
    [((), 11, 1, "lenslink: error: it needs"), (("--if-possible",), 0, 0, "NOT RUN: make test-k")],
)
def test_missing_requirements_are_one_line(
    tmp_path: Path, more: tuple[str, ...], status: int, stream: int, start: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lenslink_hil.kernel", *more],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == status
    texts = (done.stdout, done.stderr)
    [line] = texts[stream].splitlines()
    assert texts[1 - stream] == ""
    assert line.startswith(start)
    assert "sudo apt install qemu-system-x86 busybox-static" in line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "malformed request"),
        (b"[]", "malformed request"),
        (b'{"do": "plug"}', "malformed request: KeyError"),
        (b'{"do": "plug", "slot": 7}', "no slot 7"),
        (b'{"do": "pull", "slot": 0}', "nothing is plugged in at slot 0"),
        (b'{"do": "eat", "slot": 0}', "unknown request 'eat'"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_answered_with_an_error(
    line: bytes, words: str
) -> None:
    made = host_boards.HostBoards()
    try:
        assert words in made.answer(line)["error"]
    finally:
        made.close()


@pytest.mark.parametrize(
    ("cdc", "options", "words"),
    [
        (False, {"width": 128, "height": 96, "lanes": 3}, ""),
        (False, {"width": 128, "height": 96, "lanes": 4}, "more than 3 lanes"),
        (False, {"width": 4096, "height": 3072}, "too many for the guest"),
        (True, {"width": 1280, "height": 960}, "too many for the guest"),
        (True, {"width": 64, "height": 64, "lanes": 3}, "one lane"),
        (False, {"scene": "ramp"}, "the product's own size"),
        (False, {"scene": "ramp", "board": "pico"}, ""),
        (True, {}, ""),
    ],
)
def test_what_is_too_much_for_the_guest(cdc: bool, options: dict[str, object], words: str) -> None:
    why = guest_boards.explain_limit(options, cdc)
    assert words in why and bool(words) == bool(why)
