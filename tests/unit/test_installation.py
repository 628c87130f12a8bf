"""Test the line that a message tells the user to type, in a checkout and from a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from lenslink import MissingExtra, installation
from lenslink.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_a_checkout_is_installed_from_its_folder() -> None:
    assert installation.find_checkout() == ROOT
    assert installation.make_install_hint("demo") == (
        'in the checkout, type: pip install -e ".[demo]"'
    )


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the package lie where a wheel puts it, beside another project's file."""
    folder = tmp_path / "lib" / "site-packages" / "lenslink"
    monkeypatch.setattr(installation, "__file__", str(folder / "installation.py"))
    (tmp_path / "lib" / "pyproject.toml").parent.mkdir(parents=True)
    (tmp_path / "lib" / "pyproject.toml").write_text('name = "other"\n', encoding="utf-8")


@pytest.mark.usefixtures("wheel")
def test_a_wheel_is_not_told_to_install_a_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    assert installation.find_checkout() is None
    assert str(MissingExtra("a chart", "bench")) == (
        "a chart needs the extra 'bench': type: pip install \"lenslink[bench]\""
    )
    assert installation.make_install_hint() == 'type: pip install "lenslink"'
    main(["doctor"])
    assert "-e" not in capsys.readouterr().out.split()
