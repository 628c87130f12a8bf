"""What a file states about its frame: one line for people, JSON for programs.

The writers in :mod:`.dng` and :mod:`.save` call these functions.
"""

from __future__ import annotations

import json
import math

from lenslink.frame import Frame, FrameStatus

SCHEMA = "lenslink.frame/3"
"""Version of :func:`make_metadata_json`'s keys; it changes when a key changes its meaning."""


def to_ascii(text: str) -> str:
    """Return *text* for TIFF's ASCII type: printable 7-bit characters, one line, never empty.

    A module's manifest may hold any Unicode. Other characters become "?".
    """
    printable = "".join(char if " " <= char <= "~" else "?" for char in text).strip()
    return printable or "unknown"


def make_caption(frame: Frame) -> str:
    """Return one ASCII line: ``LensLink frame 12, 12 bit, incomplete: 97.3 % received``.

    The percentage is rounded down, so that an incomplete frame never claims 100.0 %.
    """
    status = frame.status.value
    if frame.status is not FrameStatus.COMPLETE:
        status += f": {math.floor(frame.received_fraction * 1000) / 10:.1f} % received"
    return f"LensLink frame {frame.number}, {frame.bits} bit, {status}"


def make_metadata_json(frame: Frame) -> str:
    """Return everything about the frame except its pixels, as one line of ASCII JSON.

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
                "second": None
                if frame.color.second is None
                else {
                    "matrix": [list(ratio) for ratio in frame.color.second.matrix],
                    "neutral": [list(ratio) for ratio in frame.color.second.neutral],
                    "illuminant": frame.color.second.illuminant,
                },
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
            "aperture_milli": frame.aperture_milli,
            "is_adjusted": frame.is_adjusted,
            "is_moving": frame.is_moving,
            "interval_us": frame.interval_us,
            "row_time_ns": frame.row_time_ns,
            "noise_profile": None if frame.noise_profile is None else list(frame.noise_profile),
            "energy_uj": frame.energy_uj,
            "focus_ring": frame.focus_ring,
            "temperature_mc": frame.temperature_mc,
            "status": frame.status.value,
            "received_fraction": frame.received_fraction,
            "missing_ranges": [list(span) for span in frame.missing_ranges],
        },
        ensure_ascii=True,
    )
