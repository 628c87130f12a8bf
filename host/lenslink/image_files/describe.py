"""What a file says about the frame inside it: one line for people, JSON for programs."""

from __future__ import annotations

import json
import math

from lenslink.frame import Frame, FrameStatus

SCHEMA = "lenslink.frame/2"
"""Version of what :func:`make_metadata_json` writes; it changes when a key changes its meaning."""


def to_ascii(text: str) -> str:
    """``text`` as TIFF's ASCII type may hold it: printable 7-bit, one line, never empty.

    A module's manifest may hold any Unicode; what does not fit becomes "?".
    """
    kept = "".join(char if " " <= char <= "~" else "?" for char in text).strip()
    return kept or "unknown"


def make_caption(frame: Frame) -> str:
    """One ASCII line: ``LensLink frame 12, 12 bit, incomplete: 97.3 % covered``.

    The percentage is rounded down, so that no incomplete frame ever claims 100.0 %.
    """
    status = frame.status.value
    if frame.status is not FrameStatus.COMPLETE:
        status += f": {math.floor(frame.received_fraction * 1000) / 10:.1f} % covered"
    return f"LensLink frame {frame.number}, {frame.bits} bit, {status}"


def make_metadata_json(frame: Frame) -> str:
    """All that is known about the frame except its pixels, as one line of ASCII JSON.

    The keys and units are those of :class:`lenslink.frame.Frame`.
    """
    return json.dumps(
        {
            "schema": SCHEMA,
            "description": make_caption(frame),
            "height": frame.height,
            "width": frame.width,
            "bits": frame.bits,
            "cfa": frame.cfa,
            "black": list(frame.black),
            "white": frame.white,
            "active_area": list(frame.active_area),
            "orientation": frame.orientation,
            "color": {
                "matrix": [list(ratio) for ratio in frame.color.matrix],
                "neutral": [list(ratio) for ratio in frame.color.neutral],
                "illuminant": frame.color.illuminant,
            },
            "identity": {
                "maker": frame.identity.maker,
                "model": frame.identity.model,
                "serial": frame.identity.serial,
                "firmware": frame.identity.firmware,
            },
            "number": frame.number,
            "stream": frame.stream,
            "timestamp_us": frame.timestamp_us,
            "exposure_us": frame.exposure_us,
            "gain_milli": frame.gain_milli,
            "focus_mdpt": frame.focus_mdpt,
            "temperature_mc": frame.temperature_mc,
            "status": frame.status.value,
            "received_fraction": frame.received_fraction,
            "uncovered": [list(span) for span in frame.uncovered],
        },
        ensure_ascii=True,
    )
