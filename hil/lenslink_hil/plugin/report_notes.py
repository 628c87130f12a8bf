"""Figures and pictures of a test, for the report and for the history of its board.

With ``--lens-history`` each figure is compared with those of earlier runs on the same board. A
test whose figure has dropped fails, after it has passed otherwise.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import re
from collections.abc import Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ..report.report_document import Figure, Picture, Trend
from .lens_fixtures import HELD, HELD_USERS
from .run_options import get_history_folder
from .worker_plan import starts_module

if TYPE_CHECKING:
    from lenslink import Device, Frame, Stats

MAX_FIGURES: Final = 20
MAX_PICTURES: Final = 4
MAX_LOG_LINES: Final = 200
_SIDE: Final = 160
_QUALITY: Final = 75
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,40}")
_NOTES = pytest.StashKey["ReportNotes"]()


class ReportNotes:
    """What a test notes for the report: the value of the fixture ``lens_report``."""

    def __init__(self, item: pytest.Item) -> None:
        self.figures: list[Figure] = []
        self.pictures: list[Picture] = []
        self._item = item

    def add_figure(
        self, name: str, value: float, unit: str = "", *, is_smaller_better: bool = False
    ) -> None:
        """Note a measured number.

        Args:
            name: Letters, digits, ``_``, ``.`` and ``-``; at most 40 characters.
            value: A finite number.
            unit: As it is printed behind the number: ``1/s``.
            is_smaller_better: True for a latency, False for a rate.

        Raises:
            UsageError: One of them is not so, or the test has that figure or 20 figures already.
        """
        from lenslink import UsageError

        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a figure, as frames_per_s is")
        if not math.isfinite(value):
            raise UsageError(f"the figure {name} is not finite: {value}")
        if len(self.figures) >= MAX_FIGURES or name in [each.name for each in self.figures]:
            raise UsageError(f"{name}: a test has each figure once, and {MAX_FIGURES} at most")
        self.figures.append(Figure(name, float(value), unit[:20], is_smaller_better))
        self._item.user_properties.append((f"lens_figure_{name}", float(value)))

    def add_picture(self, frame: Frame, title: str = "frame") -> None:
        """Note a frame as a picture of at most 160 pixels. Pictures behind the fourth are dropped.

        Args:
            frame: It stays unchanged, and may be released afterwards.
            title: What the picture shows.
        """
        if len(self.pictures) >= MAX_PICTURES:
            return
        from PIL import Image

        from lenslink.cli.quick_picture import make_quick_picture

        image = Image.fromarray(make_quick_picture(frame))
        image.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=_QUALITY)
        self.pictures.append(Picture(title[:100], base64.b64encode(file.getvalue()).decode()))

    def judge(self, folder: Path, owner: str, link: str) -> list[str]:
        """Compare the figures with those of earlier runs; return a sentence for each that dropped.

        Args:
            folder: Where the histories of the boards are.
            owner: Whose history it is: see :func:`name_history`.
            link: The scheme of its URL.
        """
        from ..report.board_history import RECENT, judge_figure, make_history_path, read_series

        problems = []
        path = make_history_path(folder, owner)
        for index, figure in enumerate(self.figures):
            name = name_series(self._item.nodeid, figure.name)
            earlier = read_series(path, name, link)
            trend, problem = judge_figure(
                figure.value, earlier, is_smaller_better=figure.is_smaller_better
            )
            self.figures[index] = replace(figure, trend=trend, earlier=tuple(earlier[-RECENT:]))
            if trend is Trend.DROPPED:
                problems.append(f"{figure.name}: {problem}")
        return problems


def name_history(board: str, serial: str, link: str) -> str:
    """Return whose history a board's figures belong to; "" if there is none, as for a recording.

    A board is known by its serial number. A module that is started for the run has a new number
    each time, so it is known by its URL.

    >>> name_history("left", "LL-0042", "usb"), name_history("sim:", "SIM-1-1", "sim")
    ('LL-0042', 'sim:')
    """
    if link == "replay":
        return ""
    return board if starts_module(board) else serial


def name_series(test: str, figure: str) -> str:
    """Return the name of a figure of a test in the history of a board."""
    return f"{test} {figure}"


@pytest.fixture
def lens_report(request: pytest.FixtureRequest) -> ReportNotes:
    """Take figures and pictures for the report: ``add_figure()``, ``add_picture()``."""
    notes = ReportNotes(request.node)
    request.node.stash[_NOTES] = notes
    return notes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that has passed, if one of its figures has dropped."""
    result = yield
    notes = item.stash.get(_NOTES, None)
    folder = get_history_folder(item.config)
    if notes is not None and folder is not None:
        facts = {key: str(value) for key, value in item.user_properties}
        link = facts.get("lens_link", "")
        if owner := name_history(facts.get("lens_board", ""), facts.get("lens_serial", ""), link):
            problems = notes.judge(folder, owner, link)
            if problems:
                pytest.fail("; ".join(problems), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Give the report the notes of the test, as text: it may go to another process."""
    report: pytest.TestReport = yield
    facts: dict[str, object] = {}
    held = item.config.stash.get(HELD, None)
    fixtures = getattr(item, "fixturenames", ())
    if held is not None and "lens_held" in fixtures:
        facts["board"] = held.board.name
        if held.taken is not None and held.taken.rig_file is not None:
            facts["rig"] = str(held.taken.rig_file)
        if call.excinfo is not None and held.device is not None:
            facts["module_log"] = _take_log(held.device)
    if report.when == "call":
        if (notes := item.stash.get(_NOTES, None)) is not None:
            facts["figures"] = [asdict(each) for each in notes.figures]
            facts["pictures"] = [asdict(each) for each in notes.pictures]
        if held is not None and held.device is not None and set(HELD_USERS) & set(fixtures):
            facts["counters"] = _count(held.device.stats)
    if facts:
        report.lens_notes = json.dumps(facts)  # type: ignore[attr-defined]
    return report


def _take_log(device: Device) -> list[str]:
    """Return the last lines that the module has logged, with its time in seconds."""
    from lenslink import LensLinkError

    with contextlib.suppress(LensLinkError):
        return [
            f"{each.timestamp_us / 1e6:.6f} level {each.level}: "
            f"{each.text.decode('utf-8', 'replace')}"
            for each in device.take_logs()[-MAX_LOG_LINES:]
        ]
    return []


def _count(stats: Stats) -> dict[str, int]:
    """Return the counters of the link that the report states."""
    return {
        "frames": stats.complete,
        "incomplete frames": stats.incomplete,
        "lost packets": stats.lost_packets,
        "discarded packets": sum(stats.discards.values()),
        "bytes": stats.wire_bytes,
    }
