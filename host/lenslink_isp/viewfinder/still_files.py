"""The stills of a session as files: a DNG and a JPEG each, of the newest few."""

from __future__ import annotations

import re
import tempfile
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Final

from lenslink.context import ClosesOnExit
from lenslink.errors import ProtocolError
from lenslink.frame import FrameStatus
from lenslink.image_files.opcodes import find_corrections
from lenslink.image_files.save import save
from lenslink.settings import Settings

from .remote_module import RemoteModule

KEPT_STILLS: Final = 8
EXTENSIONS: Final = (".dng", ".jpg")
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,64}\.(dng|jpg)")


class StillFiles(ClosesOnExit):
    """A temporary folder of stills. Older ones than KEPT_STILLS are removed."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lenslink-stills-")
        self._stems: deque[str] = deque()
        self._count = 0

    def take(self, module: RemoteModule, settings: Settings) -> list[str]:
        """Take a still and return the names of its files.

        Raises:
            LensLinkError: the still cannot be taken, or its files cannot be written.
        """
        with module.capture(
            exposure_us=settings.exposure_us,
            gain_milli=settings.gain_milli,
            focus_mdpt=settings.focus_mdpt,
            aperture_milli=settings.aperture_milli,
        ) as frame:
            if frame.status is not FrameStatus.COMPLETE:
                percent = int(100 * frame.received_fraction)
                raise ProtocolError(f"the still is incomplete, {percent} % arrived: take it again")
            corrections = find_corrections(frame, module.calibration)
            self._count += 1
            stem = f"lenslink-{datetime.now():%Y%m%d-%H%M%S}-{self._count}"
            self._stems.append(stem)
            for extension in EXTENSIONS:
                path = Path(self._folder.name, stem + extension)
                save(frame, path, force=True, corrections=corrections)
        while len(self._stems) > KEPT_STILLS:
            oldest = self._stems.popleft()
            for extension in EXTENSIONS:
                Path(self._folder.name, oldest + extension).unlink(missing_ok=True)
        return [stem + extension for extension in EXTENSIONS]

    def find(self, name: str) -> Path | None:
        """Return the file called *name*; None if there is none."""
        if not _NAME.fullmatch(name):
            return None
        path = Path(self._folder.name, name)
        return path if path.is_file() else None

    def close(self) -> None:
        """Remove the folder. Idempotent."""
        self._folder.cleanup()
