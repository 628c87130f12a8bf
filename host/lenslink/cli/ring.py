"""``lenslink ring``."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Literal

import click

from lenslink.errors import Disconnected

from .options import CommonOptions, Seconds, common_options, pass_common
from .screen import Screen, emit_json
from .values import format_bytes

if TYPE_CHECKING:
    from lenslink import FrameRingReader, SharedFrame

_RECENT = 256


@click.command()
@click.argument("name")
@click.option(
    "--policy",
    type=click.Choice(["latest", "every"]),
    default="latest",
    show_default=True,
    help="Skip frames when slow, or have them wait as far as the ring's slots go.",
)
@click.option("--early", is_flag=True, help="Take frames when their first rows are there.")
@click.option(
    "-n", "--frames", "limit", type=click.IntRange(min=1), metavar="N", help="End after N frames."
)
@click.option("--duration", type=Seconds(), metavar="SECONDS", help="End after so many seconds.")
@click.option(
    "--json", "as_json", is_flag=True, help="A JSON line for each frame and one for the whole."
)
@common_options
@pass_common
def ring(
    common: CommonOptions,
    name: str,
    *,
    policy: Literal["latest", "every"],
    early: bool,
    limit: int | None,
    duration: float | None,
    as_json: bool,
) -> None:
    """Read frames from the ring NAME, as an ISP would, and show rate and latency.

    The ring is what 'lenslink stream -o ring:NAME' writes; it is waited for. Each frame's pixels
    are read. Latency is from the moment when a frame, or with --early its first rows, could be read
    until it was. The end of the ring is the end of the command.

    \b
    Examples:
      lenslink stream sim: -o ring:cam & lenslink ring cam
      lenslink ring cam --early --frames 100 --json
    """
    # Loads numpy, which --help has no use for.
    from lenslink import FrameRingReader

    screen = Screen(common)
    timeout = common.timeout
    with FrameRingReader(name, policy, early=early, timeout=timeout, wait=timeout) as reader:
        report = _Report(reader, early)
        try:
            with screen.progress() as progress:
                for frame in reader:
                    described = report.count(frame)
                    if as_json:
                        emit_json({"schema": "lenslink.ring.frame/1", **described})
                    progress.update(report.line)
                    if reader.delivered_frames == limit:
                        break
                    if duration is not None and report.seconds >= duration:
                        break
        except (KeyboardInterrupt, Disconnected) as stopped:
            report.show(as_json, screen)
            if isinstance(stopped, KeyboardInterrupt):
                raise click.exceptions.Exit(getattr(stopped, "exit_code", 130)) from None
            raise
        report.show(as_json, screen)


class _Report:
    def __init__(self, reader: FrameRingReader, early: bool) -> None:
        self._reader = reader
        self._early = early
        self._start = time.monotonic()
        self._end = self._start
        self._bytes = 0
        self._incomplete = 0
        self._latencies: deque[float] = deque(maxlen=_RECENT)

    @property
    def seconds(self) -> float:
        """From the start to the last frame."""
        return self._end - self._start

    def count(self, frame: SharedFrame) -> dict[str, object]:
        """Read the frame; it as the command line's JSON shows it."""
        now = time.monotonic_ns()
        rows = frame.rows_ready
        frame.wait()
        ready = frame.first_rows_ns if self._early else frame.end_ns
        latency = (now - ready) / 1e6
        self._latencies.append(latency)
        self._bytes += frame.packed.nbytes
        self._incomplete += frame.status.value == "incomplete"
        mean = float(frame.pixels.mean()) if frame.rows_ready else 0.0
        self._end = time.monotonic()
        return {
            "number": frame.number,
            "stream": frame.stream,
            "sequence": frame.sequence,
            "width": frame.width,
            "height": frame.height,
            "bits": frame.bits,
            "cfa": frame.cfa,
            "status": frame.status.value,
            "received_fraction": frame.received_fraction,
            "rows_at_first": rows,
            "latency_ms": latency,
            "mean": mean,
        }

    def line(self) -> str:
        reader, seconds = self._reader, self.seconds or 1.0
        latencies = sorted(self._latencies) or [0.0]
        middle = latencies[len(latencies) // 2]
        return (
            f"{reader.delivered_frames} frames, {reader.delivered_frames / seconds:.1f} fps, "
            f"{format_bytes(self._bytes / seconds)}/s, latency {middle:.2f} ms "
            f"(at most {latencies[-1]:.2f}), {reader.skipped_frames} skipped, "
            f"{reader.dropped_frames} dropped, {self._incomplete} incomplete"
        )

    def show(self, as_json: bool, screen: Screen) -> None:
        if not as_json:
            screen.say(self.line())
            return
        latencies = sorted(self._latencies)
        emit_json(
            {
                "schema": "lenslink.ring.summary/1",
                "frames": self._reader.delivered_frames,
                "skipped": self._reader.skipped_frames,
                "dropped": self._reader.dropped_frames,
                "incomplete": self._incomplete,
                "bytes": self._bytes,
                "seconds": self.seconds,
                "latency_ms_p50": latencies[len(latencies) // 2] if latencies else None,
                "latency_ms_max": latencies[-1] if latencies else None,
            }
        )
