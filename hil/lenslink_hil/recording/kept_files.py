"""What a recording holds besides bytes: of a test that failed, its facts, log and pictures.

The pytest plugin writes them; ``lenslink replay --about`` shows them. A recording may come from
anywhere, so names and texts in it are not trusted.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Final

from lenslink.errors import StorageError
from lenslink.image_files.atomic_file import make_storage_error, publish

from .lcap import Recording

TEST_FILE: Final = "test.json"
MAX_FILES: Final = 1000
_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")


def describe_recording(recording: Recording, path: Path) -> dict[str, object]:
    """Return what is known of a recording, by name; of a test, with the command that repeats it.

    Args:
        recording: The recording.
        path: Its file, which the command names.
    """
    found: dict[str, object] = dict(recording.info)
    try:
        test = json.loads(recording.files.get(TEST_FILE, b"{}"))
    except ValueError:
        test = {}
    if isinstance(test, dict):
        facts = {key: value for key, value in test.items() if key != "schema"}
        found |= {key: value for key, value in facts.items() if value not in (None, [], {})}
    found["ended"] = recording.end_reason or recording.truncation or "without an end"
    found["files"] = ", ".join(sorted(recording.files)[:MAX_FILES]) or "none"
    if isinstance(found.get("test"), str):
        words = ["pytest", str(found["test"]), "--lens", f"replay:{path}"]
        words.append(f"--lens-seed={found.get('seed')}")
        found["to repeat"] = shlex.join(words)
    return found


def extract_files(recording: Recording, folder: Path, force: bool) -> list[Path]:
    """Write the files that a recording holds into *folder*; return their paths.

    A name in the recording becomes a plain file name. A missing folder is made.

    Raises:
        StorageError: A file exists and *force* is False, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise make_storage_error(folder, error) from error
    paths = []
    for name, data in sorted(recording.files.items())[:MAX_FILES]:
        plain = _NAME.sub("-", name.replace("\\", "/").rpartition("/")[2]).strip(".-")[:100]
        target = folder / (plain or "unnamed")
        if target in paths:
            raise StorageError(f"two files of the recording would be {target}")
        with publish(target, force) as file:
            file.write(data)
        paths.append(target)
    return paths
