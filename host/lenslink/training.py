"""Which tile size pays on a link: tried on the first frames of a preview, then remembered.

Short tiles begin to travel earlier and lose less, long ones cost the module and the bus fewer
turns; which is faster depends on the board, the controller and the hub between. So the first frames
of a preview come in short batches: the module's own choice, which is also what comes first, without
delay; then half of it, and a quarter. Nothing longer than its own is tried, so its board's limits
hold. The frames are the caller's like any other; between batches passes a round trip.

What was fastest is kept for the next time, by the module's serial number and the port it is in.
LENSLINK_TRAINING=off has everything left as the module chooses.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import deque
from pathlib import Path
from typing import Any, Final

import platformdirs

from lenslink_protocol.params import MAX_PAYLOAD

from .errors import StorageError
from .raw.atomic import publish

SCHEMA: Final = "lenslink.training/1"
MOST_KEPT: Final = 64
"""Links that are remembered; those that were trained longest ago are forgotten."""
GAIN: Final = 1.03
"""What is to be taken instead of the module's choice has to be so much faster."""
FEWEST: Final = 3
MOST: Final = 60
"""Frames of a batch, and seconds that it should last."""
BATCH_S: Final = 0.25
PATIENCE_S: Final = 1.0
"""A batch's next frame is waited for so long, or four times as long as usual."""
FIRST_S: Final = 10.0
"""The first frames are waited for so long."""
_LEAST_BYTES = 2048
_MOST_FILE = 1 << 16

_log = logging.getLogger(__name__)


class Training:
    """Tries tile sizes, without I/O: says which batch comes next, and is told of its frames.

    A batch is ``count`` frames. ``chosen`` is None until all have been tried, then what pays, in
    bytes: 0 is the module's choice.
    """

    def __init__(self) -> None:
        self.count = FEWEST
        self.chosen: int | None = None
        self.over = False
        """The batch has ended: it is time for :meth:`next`."""
        self._todo: deque[int] | None = None
        self._usual_s = 0.0
        self._rates: dict[int, float] = {}
        self._size = 0
        self._came: list[float] = []
        self._spoilt = False

    def began(self, tile_bytes: int) -> bool:
        """A batch begins, with tiles of so many bytes; False if those have been tried."""
        if self._todo is None:
            # The first frames of a stream are no measure, but say how many make one.
            self._todo = deque([0, tile_bytes // 2, tile_bytes // 4])
        self._size = tile_bytes
        self._came, self._spoilt, self.over = [], False, False
        return tile_bytes not in self._rates

    def frame(self, now: float, complete: bool, last: bool) -> None:
        """A frame of the batch has come, at *now* on any monotonic clock, in seconds."""
        self._came.append(now)
        self._spoilt |= not complete
        if last:
            self._end()

    @property
    def patience_s(self) -> float:
        """How long the batch's next frame may take; nobody knows of the first ones."""
        return max(PATIENCE_S, 4 * self._usual_s) if self._usual_s else FIRST_S

    def next(self) -> int:
        """The longest tile of the next batch; of all that come, once it is ``chosen``."""
        while self._todo:
            size = self._todo.popleft()
            if size == 0 or size >= _LEAST_BYTES:
                return size
        self.chosen = self._best()
        return self.chosen

    def _end(self) -> None:
        self.over = True
        gaps = len(self._came) - 1
        passed = self._came[-1] - self._came[0]
        if not self._usual_s:
            # Too few of the first came to know: as if they were fast.
            self._usual_s = passed / gaps if gaps > 0 and passed > 0 else BATCH_S / MOST
            wanted = math.ceil(BATCH_S / self._usual_s)
            self.count = 1 + max(FEWEST, min(MOST, wanted))
        else:
            good = gaps > 0 and passed > 0 and not self._spoilt
            self._rates.setdefault(self._size, gaps / passed if good else 0.0)

    def _best(self) -> int:
        rates = self._rates
        own = next(iter(rates))
        best = max(rates, key=lambda size: rates[size])
        pays = rates[best] >= GAIN * rates[own] and best != own
        tried = ", ".join(f"{rate:.2f} of {size} bytes" for size, rate in rates.items())
        _log.info("trained: frames a second with tiles %s; best %d", tried, best if pays else own)
        return best if pays else 0


class Memory:
    """The file of what was chosen, by link: read when it is asked for, written whole."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = state_dir() / "training.json" if path is None else path

    def tile_bytes(self, key: str) -> int | None:
        """What was chosen for that link; None if it was never trained."""
        return self._read().get(key)

    def keep(self, key: str, tile_bytes: int) -> None:
        """Remember it, as the newest; a disk that does not take it is logged."""
        known = self._read()
        known.pop(key, None)
        kept = dict([*known.items(), (key, tile_bytes)][-MOST_KEPT:])
        text = json.dumps({"schema": SCHEMA, "tile_bytes": kept}, indent=1)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with publish(self.path, True) as file:
                file.write(text.encode())
        except (OSError, StorageError) as error:
            _log.warning("what was trained is not remembered: %s", error)

    def _read(self) -> dict[str, int]:
        """All that is known: nothing, where the file is missing or not what we write."""
        try:
            with self.path.open("rb") as file:
                return _checked(json.loads(file.read(_MOST_FILE)))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            _log.warning("%s is ignored: %s", self.path, error)
            return {}


def _checked(found: Any) -> dict[str, int]:
    """What the file holds; ValueError for what this module does not write."""
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ValueError(f"it is not {SCHEMA}")
    kept = found.get("tile_bytes")
    if not isinstance(kept, dict) or not all(type(size) is int for size in kept.values()):
        raise ValueError("it has no sizes")
    return {key: size for key, size in kept.items() if 0 <= size <= MAX_PAYLOAD}


def state_dir() -> Path:
    """$LENSLINK_STATE_DIR, else the system's place for what a program remembers of this user."""
    named = os.environ.get("LENSLINK_STATE_DIR")
    return Path(named) if named else platformdirs.user_state_path("lenslink")


def is_off() -> bool:
    """Whether the user wants none of it."""
    return os.environ.get("LENSLINK_TRAINING", "") == "off"
