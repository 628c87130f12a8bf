"""``make demo``: a simulated camera module, from its boot to a photograph in two files.

All printed figures are measured during the run. They are figures of this machine: the module is a
second process, and no link of the product's speed lies between the two.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import lenslink
from lenslink import Device, LensLinkError
from lenslink.cli.frame_counts import FrameCounts
from lenslink.cli.info import describe_manifest
from lenslink.cli.options import CommonOptions
from lenslink.cli.screen import Screen, emit_table, escape_controls
from lenslink.cli.signals import Stopped, stop_on_signals
from lenslink.cli.values import format_bytes, format_discards
from lenslink.errors import StorageError
from lenslink.image_files.save import save
from lenslink_protocol.ids import ModeUse

_PLAIN_LINE_S = 1.0


def main() -> int:
    """Run the demo from the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lenslink_hil.demo", description=__doc__)
    parser.add_argument("--url", default="sim:", help="URL of the module (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="seconds of preview (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for the files (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        with stop_on_signals():
            demo(arguments.url, arguments.seconds, arguments.out)
    except LensLinkError as error:
        print(f"lenslink: error: {escape_controls(str(error))}", file=sys.stderr)
        return error.exit_code
    except Stopped as stop:
        print("lenslink: interrupted", file=sys.stderr)
        return stop.exit_code
    return 0


def demo(url: str, seconds: float, out: Path) -> None:
    """Open the module, stream its preview, take a still and save it.

    Args:
        url: the module.
        seconds: how long to stream.
        out: folder for ``demo.dng`` and ``demo.png``; it is made if it is missing.

    Raises:
        LensLinkError: a step failed.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {out}: {error.strerror}") from None
    start = time.monotonic()
    with lenslink.open(url) as device:
        _say(
            f"Booted {url} in {time.monotonic() - start:.2f} s: the processes started, the link "
            "agreed on, the manifest read"
        )
        if device.note:
            _say(device.note)
        emit_table((f"  {name}", value) for name, value in describe_manifest(device.manifest))
        _preview(device, seconds)
        _still(device, out)
    _say(f"All of it took {time.monotonic() - start:.1f} s. The picture: {out / 'demo.png'}")


def _preview(device: Device, seconds: float) -> None:
    mode = device.find_mode(None, ModeUse.PREVIEW)
    _say(f"\nPreview, {mode.width} x {mode.height}, for {seconds:g} s")
    counts = FrameCounts()
    counts.start(device)
    with closing(device.stream()) as frames, _show_progress() as show:
        for frame in frames:
            with frame:
                counts.count(frame)
            show(counts.format_live())
            if counts.check_end(None, seconds):
                break
    _say(f"  {counts.format_summary()}")
    first = device.stats.first_tile_ms
    if first is not None:
        _say(f"  {first:.0f} ms from the request to the first pixels")


def _still(device: Device, out: Path) -> None:
    mode = device.find_mode(None, ModeUse.STILL)
    _say(f"\nStill, {mode.width} x {mode.height}: {mode.width * mode.height / 1e6:.1f} megapixels")
    before = device.stats
    start = time.monotonic()
    with device.capture() as frame:
        seconds = time.monotonic() - start
        after = device.stats
        size = after.bytes - before.bytes
        discards = {cause: n - before.discards[cause] for cause, n in after.discards.items()}
        _say(
            f"  {frame.status.value}: {format_bytes(size)} in {seconds:.2f} s "
            f"({size / seconds / 1e6:.1f} MB/s, the scene's computation included), "
            f"{format_discards(discards)}"
        )
        if frame.received_fraction < 1:
            raise lenslink.ProtocolError(f"only {frame.received_fraction:.1%} of the still arrived")
        for name, what in (
            ("demo.dng", "RAW and a preview, for any RAW converter"),
            ("demo.png", "rendered"),
        ):
            start = time.monotonic()
            written = save(frame, out / name, True)
            taken = time.monotonic() - start
            _say(f"  wrote {out / name}: {what}; {format_bytes(written)} in {taken:.1f} s")


@contextmanager
def _show_progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a line: it is redrawn on a terminal, else printed each second."""
    screen = Screen(CommonOptions())
    if screen.is_animated:
        with screen.show_progress() as progress:
            yield lambda text: progress.update(lambda: f"  {text}")
        return
    due = time.monotonic() + _PLAIN_LINE_S

    def print_each_second(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due += _PLAIN_LINE_S
            _say(f"  {text}")

    yield print_each_second


def _say(text: str) -> None:
    # Flushed, so that a pipe shows it at once too.
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
