"""Where this LensLink runs from, and the line to type that adds a missing package to it.

A checkout and an installed wheel need different commands. Every message that names a missing extra
takes its command from here: :class:`lenslink.errors.MissingExtra`, ``lenslink doctor`` and the
benchmarks.
"""

from __future__ import annotations

from pathlib import Path

_PROJECT_FILE = "pyproject.toml"
_PROJECT_NAME = 'name = "lenslink"'


def find_checkout() -> Path | None:
    """Return the top folder of the checkout that this package runs from, or None for a wheel."""
    # host/lenslink/installation.py: the third folder upwards is the checkout's.
    folder = Path(__file__).resolve().parents[2]
    try:
        text = (folder / _PROJECT_FILE).read_text(encoding="utf-8")
    except OSError:
        return None
    return folder if _PROJECT_NAME in text else None


def make_install_hint(extra: str = "") -> str:
    """Return the instruction that installs LensLink with *extra*, for the end of a message.

    >>> make_install_hint("demo")  # doctest: +SKIP
    'type: pip install "lenslink[demo]"'
    """
    suffix = f"[{extra}]" if extra else ""
    if find_checkout() is None:
        return f'type: pip install "lenslink{suffix}"'
    # pip takes "." for the current folder only.
    return f'in the checkout, type: pip install -e ".{suffix}"'
