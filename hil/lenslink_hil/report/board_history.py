"""The figures of each board over time: a file for a board, a line of JSON for a run.

A file is only appended to. A line that was cut, as by a full disk, is left out. A figure has
dropped if it is worse than the median of the last :data:`RECENT` runs by more than
:data:`LARGEST_DROP` and by more than :data:`LARGEST_DEVIATION` median absolute deviations. The
second bound keeps a noisy figure from failing. With fewer than :data:`FEWEST` earlier runs there
is no verdict.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from lenslink.image_files.atomic_file import make_storage_error

from .report_document import Trend

SCHEMA: Final = "lenslink.history/1"
RECENT: Final = 20
FEWEST: Final = 8
LARGEST_DROP: Final = 0.1
LARGEST_DEVIATION: Final = 3.0
MAX_READ: Final = 4 << 20
"""Only so many bytes at the end of a file are read."""
_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")


def make_history_path(folder: Path, owner: str) -> Path:
    """Return the file of a board, which a serial number or a URL names.

    >>> make_history_path(Path("history"), "LL 42/7").name
    'LL-42-7.jsonl'
    """
    return folder / f"{_NAME.sub('-', owner).strip('.')[:100] or 'unnamed'}.jsonl"


def append_run(
    path: Path, date: str, figures: Mapping[str, float], facts: Mapping[str, str]
) -> None:
    """Append the figures of one run on one board, as one line in one write.

    Args:
        path: See :func:`make_history_path`. Missing folders are made.
        date: When the run began.
        figures: Values by name.
        facts: What else the line holds: serial, link, firmware.

    Raises:
        StorageError: The line cannot be written.
    """
    line = json.dumps({"schema": SCHEMA, "date": date, **facts, "figures": dict(figures)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            # What a full disk has cut must not spoil this line too.
            cut = b"\n" if size and file.read(1) != b"\n" else b""
            file.write(cut + line.encode() + b"\n")
    except OSError as error:
        raise make_storage_error(path, error) from error


def read_series(path: Path, name: str, link: str) -> list[float]:
    """Return the values of a figure in the runs over the same link, the oldest first.

    A file that is missing or cannot be read has none.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_READ))
            lines = file.read(MAX_READ).splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            run = json.loads(line)
            value = run["figures"][name] if run["link"] == link else None
        except (ValueError, LookupError, TypeError):
            continue
        if isinstance(value, int | float) and math.isfinite(value):
            found.append(float(value))
    return found


def judge_figure(
    value: float, earlier: Sequence[float], *, is_smaller_better: bool = False
) -> tuple[Trend, str]:
    """Return how *value* compares with *earlier* runs, and a sentence if it has dropped.

    >>> judge_figure(25.0, [29.9, 30.1] * 4)
    (<Trend.DROPPED: 'dropped'>, '25 is 16.7 % worse than 30, the median of the last 8 runs')
    >>> judge_figure(25.0, [30.0] * 7)
    (<Trend.UNKNOWN: 'unknown'>, '')
    """
    recent = earlier[-RECENT:]
    if len(recent) < FEWEST:
        return Trend.UNKNOWN, ""
    middle = median(recent)
    deviation = median(abs(each - middle) for each in recent)
    loss = value - middle if is_smaller_better else middle - value
    if loss <= LARGEST_DROP * abs(middle) or loss <= LARGEST_DEVIATION * deviation:
        return Trend.STEADY, ""
    share = f"{loss / abs(middle):.1%}".replace("%", " %") if middle else "more"
    return Trend.DROPPED, (
        f"{value:.4g} is {share} worse than {middle:.4g}, the median of the last {len(recent)} runs"
    )
