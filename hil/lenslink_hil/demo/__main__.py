"""The command ``python -m lenslink_hil.demo``, which ``make demo`` runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import lenslink
from lenslink import Device, LensLinkError
from lenslink.cli.options import CommonOptions
from lenslink.cli.screen import Progress, Screen, escape_controls
from lenslink.cli.signals import Stopped, stop_on_signals
from lenslink.cli.values import format_bytes
from lenslink.errors import ProtocolError, StorageError, UsageError
from lenslink.image_files.atomic_file import publish
from lenslink.image_files.opcodes import find_corrections
from lenslink.image_files.save import save
from lenslink_isp.develop.picture_files import save_picture
from lenslink_isp.opencv import require_opencv

T = TypeVar("T")

TITLE = "LensLink: a simulated camera module on a simulated phone"
SMALL_PRINT = (
    "Lens, sensor, contacts and motor are simulated. All figures were measured in this run. "
    "Photographs in the scenes: Eileen Collins and the Hubble deep field (NASA, public domain), "
    "a cat (Stefan van der Walt, CC0), a cup (Rachel Michetti, Pikolo Espresso Bar, CC0)."
)
LEAST_WIDTH = 400
MOST_WIDTH = 1280
LONGEST_S = 600.0


def main() -> int:
    """Run the demo from the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lenslink_hil.demo",
        description="Show what a simulated camera module and the phone's software do, as pictures "
        "before and after.",
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="seconds of preview (default: %(default)s)"
    )
    parser.add_argument(
        "--width", type=int, default=800, help="width of the sensor (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for the files (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        with stop_on_signals():
            demo(arguments.width, arguments.seconds, arguments.out)
    except LensLinkError as error:
        print(f"lenslink: error: {escape_controls(str(error))}", file=sys.stderr)
        return error.exit_code
    except Stopped as stop:
        print("lenslink: interrupted", file=sys.stderr)
        return stop.exit_code
    return 0


def demo(width: int, seconds: float, out: Path) -> None:
    """Run all steps and write ``demo.dng``, ``demo.png`` and ``demo.html``.

    Args:
        width: of the sensor in pixels, 400 to 1280.
        seconds: how long to stream the preview.
        out: folder for the files; it is made if it is missing.

    Raises:
        LensLinkError: a step failed.
    """
    if not LEAST_WIDTH <= width <= MOST_WIDTH or width % 4:
        raise UsageError(
            f"--width {width}: must be a multiple of 4 from {LEAST_WIDTH} to {MOST_WIDTH}"
        )
    if not 1 <= seconds <= LONGEST_S:
        raise UsageError(f"--seconds {seconds:g}: must be from 1 to {LONGEST_S:g}")
    require_opencv()
    # These import OpenCV.
    from . import steps
    from .contact_sheet import draw_contact_sheet
    from .demo_page import make_demo_page

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {out}: {error.strerror}") from None
    start = time.monotonic()
    screen = Screen(CommonOptions())

    def work(what: str, task: Callable[[Progress], T]) -> T:
        with screen.show_progress() as progress:
            progress.show(f"{what} ...")
            return task(progress)

    def compare(what: str, task: Callable[[], steps.Pair]) -> steps.Pair:
        pair = work(what, lambda _: task())
        _say(f"{pair.title}: {pair.figures}")
        return pair

    def start_module(what: str, url: str) -> Device:
        return work(what, lambda _: lenslink.open(f"{url}&width={width}"))

    with start_module("Putting the module on", steps.SCENE) as device:
        contacts = steps.describe_contacts(device, time.monotonic() - start)
        _say(f"Module put on: {contacts}")
        foci = work("Focusing", lambda _: steps.find_foci(device))
        exposure_us, preview = work(
            "Preview",
            lambda progress: steps.run_preview(device, foci.far, seconds, progress.update),
        )
        _say(f"Preview: {preview}")
        pairs = [
            compare("Tap to focus", lambda: steps.compare_foci(device, exposure_us, foci)),
            compare("Auto exposure", lambda: steps.follow_a_step(device, exposure_us, foci)),
            compare("Bracket", lambda: steps.merge_bracket(device, exposure_us, foci)),
        ]
        still = work(
            "Photograph", lambda _: _save_still(device, exposure_us, foci.near, out / "demo.dng")
        )
        _say(f"Photograph: {still}")
    with start_module("Holding it by hand", steps.HAND_HELD) as device:
        pairs.append(compare("Burst", lambda: steps.merge_burst(device, exposure_us, foci)))
        pairs.append(compare("Denoise", lambda: steps.denoise_frame(device, exposure_us, foci)))
    with start_module("Switching on a bulb", steps.WARM_SCENE) as device:
        pairs.append(compare("White balance", lambda: steps.balance_white(device)))
    facts = [f"Put on: {contacts}.", f"Preview: {preview}.", f"Photograph: {still}."]
    save_picture(draw_contact_sheet(TITLE, pairs, facts, SMALL_PRINT), out / "demo.png", True)
    with publish(out / "demo.html", True) as file:
        file.write(make_demo_page(TITLE, pairs, facts, SMALL_PRINT).encode())
    _say(
        f"It took {time.monotonic() - start:.1f} s. See {out / 'demo.html'} or {out / 'demo.png'}; "
        f"the RAW photograph is {out / 'demo.dng'}."
    )


def _save_still(device: Device, exposure_us: int, focus_mdpt: int, path: Path) -> str:
    """Take a still, save it as a DNG, and return what was measured.

    Raises:
        ProtocolError: a part of the still is missing.
    """
    start = time.monotonic()
    with device.capture(exposure_us=exposure_us, gain_milli=1000, focus_mdpt=focus_mdpt) as frame:
        seconds = time.monotonic() - start
        if frame.received_fraction < 1:
            raise ProtocolError(f"only {frame.received_fraction:.1%} of the still arrived")
        written = save(frame, path, True, find_corrections(frame, device.calibration))
        return (
            f"{frame.width} x {frame.height} pixels in {seconds:.2f} s, "
            f"{format_bytes(written)} as {path.name}"
        )


def _say(text: str) -> None:
    # Flushed, so that a pipe shows it at once too.
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
