"""Check that the packages of the phone's side are there, before a command starts its work."""

from __future__ import annotations

import importlib.util

from lenslink.errors import MissingExtra


def require_opencv() -> None:
    """Raise MissingExtra, which names the line to type, if OpenCV is not installed."""
    if importlib.util.find_spec("cv2") is None:
        raise MissingExtra("developing a picture", "isp")


def require_aiohttp() -> None:
    """Raise MissingExtra, which names the line to type, if aiohttp is not installed."""
    if importlib.util.find_spec("aiohttp") is None:
        raise MissingExtra("the viewfinder", "viewfinder")
