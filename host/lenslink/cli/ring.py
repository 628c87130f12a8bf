"""The command ``lenslink ring``: read a frame ring as an ISP would, and show rate and latency."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Literal

import click

from lenslink.errors import Disconnected
from lenslink_protocol.ids import HeatState

from .events_command import name_code
from .options import CommonOptions, Seconds, common_options, pass_common
from .screen import Screen, emit_json
from .values import format_bytes

if TYPE_CHECKING:
    from lenslink import FrameRingReader, SharedFrame

# The latencies shown are those of so many frames.
_RECENT_FRAMES = 256


@click.command()
@click.argument("name")
@click.option(
    "--policy",
    type=click.Choice(["latest", "every"]),
    default="latest",
    show_default=True,
    help="Skip frames when the reader is slow, or let them wait in the ring's slots.",
)
@click.option("--early", is_flag=True, help="Take a frame as soon as its first rows are there.")
@click.option(
    "-n", "--frames", "limit", type=click.IntRange(min=1), metavar="N", help="End after N frames."
)
@click.option("--duration", type=Seconds(), metavar="SECONDS", help="End after so many seconds.")
@click.option(
    "--state",
    "wants_state",
    is_flag=True,
    help="Show the state of module and link instead, as the process that receives tells it.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON line for each frame, and one for all of them; or the state.",
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
    wants_state: bool,
    as_json: bool,
) -> None:
    """Read frames from the frame ring NAME, as an ISP would, and show rate and latency.

    'lenslink stream -o ring:NAME' writes the ring; this command waits until the ring exists. It
    reads the pixels of each frame. The latency is the time from the moment a frame can be read
    until it is read; with --early, from its first rows. The command ends when the ring ends.

    \b
    Examples:
      lenslink stream sim: -o ring:cam & lenslink ring cam
      lenslink ring cam --early --frames 100 --json
      lenslink ring cam --state
    """
    # Imports numpy, which --help does not need.
    from lenslink import FrameRingReader

    screen = Screen(common)
    timeout = common.timeout
    if wants_state:
        _show_state(name, timeout, as_json, screen)
        return
    with FrameRingReader(name, policy, early=early, timeout=timeout, wait=timeout) as reader:
        report = _Report(reader, early)
        try:
            with screen.show_progress() as progress:
                for frame in reader:
                    row = report.count(frame)
                    if as_json:
                        emit_json({"schema": "lenslink.ring.frame/1", **row})
                    progress.update(report.format_line)
                    if reader.delivered_frames == limit:
                        break
                    if duration is not None and report.seconds >= duration:
                        break
        except (KeyboardInterrupt, Disconnected) as stop:
            report.show(as_json, screen)
            if isinstance(stop, KeyboardInterrupt):
                raise click.exceptions.Exit(getattr(stop, "exit_code", 130)) from None
            raise
        report.show(as_json, screen)


def _show_state(name: str, timeout: float, as_json: bool, screen: Screen) -> None:
    """Print what the owner of the module says about its state."""
    from lenslink import ModuleClient

    with ModuleClient(name, timeout=timeout) as client:
        state = client.state
    if as_json:
        emit_json({"schema": "lenslink.ring.state/1", **state.to_json()})
        return
    attached = "attached" if state.is_attached else "away"
    screen.say(f"module {state.serial} at {state.url}: {attached}")
    for number, stream in state.streams.items():
        running = "running" if stream.is_running else "configured"
        screen.say(f"stream {number}: {stream.width} x {stream.height}, {running}")
    if state.heat is not None:
        screen.say(f"heat: {name_code(HeatState, state.heat)}")
    if state.supply_mv is not None and state.energy_uj is not None:
        screen.say(f"supply: {state.supply_mv} mV, {state.energy_uj / 1e6:.3f} J taken")
    screen.say(
        f"frames: {state.complete_frames} complete, {state.incomplete_frames} incomplete, "
        f"{state.dropped_frames} dropped for want of a slot; {state.lost_packets} packets lost"
    )


class _Report:
    """The figures of the frames that were read."""

    def __init__(self, reader: FrameRingReader, is_early: bool) -> None:
        self._reader = reader
        self._is_early = is_early
        self._start = time.monotonic()
        self._end = self._start
        self._bytes = 0
        self._incomplete = 0
        self._latencies: deque[float] = deque(maxlen=_RECENT_FRAMES)

    @property
    def seconds(self) -> float:
        """Seconds from the start to the last frame."""
        return self._end - self._start

    def count(self, frame: SharedFrame) -> dict[str, object]:
        """Read the frame's pixels, count it, and return its JSON line."""
        now = time.monotonic_ns()
        rows = frame.rows_ready
        frame.wait()
        ready_ns = frame.first_rows_ns if self._is_early else frame.end_ns
        latency = (now - ready_ns) / 1e6
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

    def format_line(self) -> str:
        """Return all figures in one line."""
        reader, seconds = self._reader, self.seconds or 1.0
        latencies = sorted(self._latencies) or [0.0]
        median = latencies[len(latencies) // 2]
        return (
            f"{reader.delivered_frames} frames, {reader.delivered_frames / seconds:.1f} fps, "
            f"{format_bytes(self._bytes / seconds)}/s, latency {median:.2f} ms "
            f"(at most {latencies[-1]:.2f}), {reader.skipped_frames} skipped, "
            f"{reader.dropped_frames} dropped, {self._incomplete} incomplete"
        )

    def show(self, as_json: bool, screen: Screen) -> None:
        """Print the figures of all frames."""
        if not as_json:
            screen.say(self.format_line())
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
