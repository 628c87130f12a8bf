"""A board's file system on littlefs-python, with a log of each operation of its flash.

A replay of the first operations of the log is the flash after a cut of the supply.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from littlefs import LittleFS, LittleFSError, UserContext

from lenslink_hil.flash.file_system import BLOCK, PROGRAM_BYTES
from lenslink_hil.pico.micropython_image import BLOCKS

Operation = tuple[int, bytes]
"""Where the flash changes, and to what: a program, or an erase as 0xff."""


class LoggedFlash(UserContext):
    """The flash of an RP2040, as littlefs sees it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(len(content))
        self.buffer = bytearray(content)
        self.log: list[Operation] = []

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytearray:
        at = block * BLOCK + off
        return self.buffer[at : at + size]

    def prog(self, cfg: Any, block: int, off: int, data: bytes) -> int:
        return self._change(block * BLOCK + off, bytes(data))

    def erase(self, cfg: Any, block: int) -> int:
        return self._change(block * BLOCK, b"\xff" * BLOCK)

    def sync(self, cfg: Any) -> int:
        return 0

    def _change(self, at: int, data: bytes) -> int:
        self.log.append((at, data))
        self.buffer[at : at + len(data)] = data
        return 0


class LittleFsBoard:
    """A board whose files are in a flash image; it has the methods of ``update.BoardFiles``."""

    def __init__(self, content: bytes | None = None) -> None:
        self.flash = LoggedFlash(content or b"\xff" * (BLOCK * BLOCKS))
        self.writes: list[str] = []
        self._files = LittleFS(
            context=self.flash,
            block_size=BLOCK,
            block_count=BLOCKS,
            prog_size=PROGRAM_BYTES,
            read_size=PROGRAM_BYTES,
            cache_size=PROGRAM_BYTES,
            lookahead_size=32,
            disk_version=0x0002_0000,
            mount=False,
        )
        if content is None:
            self._files.format()
        self._files.mount()
        self.flash.log.clear()

    def hash_files(self, folders: Iterable[str]) -> dict[str, str]:
        found = {}
        for path in self._list("", deep=False):
            found[path] = self._hash(path)
        for folder in folders:
            for path in self._list(folder, deep=True):
                found[path] = self._hash(path)
        return found

    def read_file(self, path: str) -> bytes | None:
        try:
            with self._files.open(path, "rb") as file:
                return file.read()
        except (FileNotFoundError, LittleFSError):
            return None

    def write_file(self, path: str, content: bytes) -> None:
        folder = path.rpartition("/")[0]
        if folder:
            self._files.makedirs(folder, exist_ok=True)
        with self._files.open(path, "wb") as file:
            file.write(content)
        self.writes.append(path)

    def rename_file(self, path: str, target: str) -> None:
        self._files.rename(path, target)

    def remove_file(self, path: str) -> None:
        self._files.remove(path)

    def remove_folders(self, paths: Iterable[str]) -> None:
        for path in paths:
            with contextlib.suppress(LittleFSError):
                entries = list(self._files.scandir(path))
                self.remove_folders(f"{path}/{each.name}" for each in entries if each.type != 1)
                if all(each.type != 1 for each in entries):
                    self._files.rmdir(path)

    def list_folder(self, path: str) -> list[str]:
        return [each.name for each in self._files.scandir(path or "/")]

    def _hash(self, path: str) -> str:
        return hashlib.sha256(self.read_file(path) or b"").hexdigest()

    def _list(self, folder: str, deep: bool) -> Iterator[str]:
        try:
            entries = list(self._files.scandir(folder or "/"))
        except LittleFSError:
            return
        for entry in entries:
            path = f"{folder}/{entry.name}".lstrip("/")
            if entry.type == 1:
                yield path
            elif deep:
                yield from self._list(path, deep=True)


def iterate_cuts(base: bytes, log: list[Operation]) -> Iterator[tuple[int, bool, bytes]]:
    """Yield the flash after a cut before each operation of *log* and halfway through it.

    Each is the number of the operation, whether it was halfway, and the content. The last one is
    after all of them.
    """
    content = bytearray(base)
    for number, (at, data) in enumerate(log):
        yield number, False, bytes(content)
        half = data[: len(data) // 2]
        torn = bytearray(content)
        torn[at : at + len(half)] = half
        yield number, True, bytes(torn)
        content[at : at + len(data)] = data
    yield len(log), False, bytes(content)
