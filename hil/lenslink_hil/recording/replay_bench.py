"""The transport ``replay:FILE``: the module of a recorded session, played in this process.

:class:`ReplayTransport` gives the driver the bytes of a :class:`.module_player.ModulePlayer`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, NotFound, StorageError, UsageError
from lenslink.transports.base import DeviceInfo
from lenslink.url import Url

from .lcap import load
from .module_player import ModulePlayer
from .script import make_script

OPTIONS: Mapping[str, str] = {
    "speed": "1 as recorded, 2 twice as fast; 0, the default, as fast as possible",
}

# If the recording waits for a request and the host receives for so long, neither will go on.
_STALL_S = 2.0


class ReplayTransport:
    """Plays a recorded module to a driver, over one lane or several."""

    private = True

    def __init__(self, player: ModulePlayer, note: str | None) -> None:
        self.lanes = player.lanes
        self.note = note
        self._player = player
        self._close_reason: str | None = None
        self._progress = -1
        self._waited_s = 0.0

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        if 0 not in self.ready(seconds):
            return 0
        return self._fill(0, buffers)

    def ready(self, seconds: float) -> list[int]:
        """Return the lane whose bytes are next, and the lanes that have ended.

        Only one lane has bytes at a time, so that lanes keep their recorded order.
        """
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            self._raise_if_closed(now)
            peek = self._player.peek(now)
            ended_lanes = [lane for lane in self._player.lane_ends if lane > 0]
            if peek is not None or ended_lanes:
                return [*ended_lanes, *([peek[0]] if peek is not None else [])]
            wait = min(end, self._player.get_next_due(now)) - now
            if wait <= 0:
                if now >= end:
                    return []
                continue
            time.sleep(wait)
            self._waited_s += wait

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        if lane in self._player.lane_ends:
            # Reported once; the driver does not ask for this lane again.
            del self._player.lane_ends[lane]
            return None
        return self._fill(lane, buffers)

    def send(self, data: bytes, deadline: Deadline) -> None:
        now = time.monotonic()
        if self._close_reason is not None:
            raise Disconnected(self._close_reason)
        self._player.receive(data, now)

    def close(self) -> None:
        self._close_reason = self._close_reason or "the recording was closed"

    def _fill(self, lane: int, buffers: Sequence[memoryview]) -> int:
        """Copy the next bytes into *buffers*, as long as they belong to *lane*."""
        now = time.monotonic()
        total = 0
        for buffer in buffers:
            rest = buffer
            while rest:
                peek = self._player.peek(now)
                if peek is None or peek[0] != lane:
                    return total
                count = min(len(rest), len(peek[1]))
                rest[:count] = peek[1][:count]
                self._player.take(count, now)
                rest = rest[count:]
                total += count
        return total

    def _raise_if_closed(self, now: float) -> None:
        if self._close_reason is None:
            self._close_reason = self._find_end(now)
        if self._close_reason is not None:
            raise Disconnected(self._close_reason)

    def _find_end(self, now: float) -> str | None:
        """Return why nothing more will come; None if something will."""
        player = self._player
        if player.peek(now) is not None:
            return None
        if 0 in player.lane_ends:
            return f"{player.lane_ends[0]} (as recorded)"
        if player.is_over(now):
            return "the recording ends here"
        if player.progress != self._progress:
            self._progress, self._waited_s = player.progress, 0.0
        if player.awaited_request is not None and self._waited_s > _STALL_S:
            return f"the recording continues only after {player.awaited_request}"
        return None


class ReplayOpener:
    """``replay:PATH`` with the options above."""

    options = OPTIONS

    def open(self, url: Url, deadline: Deadline) -> ReplayTransport:
        player, note = open_player(url)
        return ReplayTransport(player, note)

    def devices(self) -> list[DeviceInfo]:
        """Return nothing: a recording is opened by its name."""
        return []


def open_player(url: Url) -> tuple[ModulePlayer, str | None]:
    """Return the player of the recording that *url* names, and a note for the user or None."""
    if not url.path:
        raise UsageError("replay: needs a recording, as in replay:session.lcap")
    if "\0" in url.path:
        raise NotFound(f"{url.text}: there is no such file")
    path = Path(url.path)
    try:
        recording = load(path)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise NotFound(f"{url.text}: there is no such file") from None
        raise
    script = make_script(recording)
    if script.nonce is None:
        raise UsageError(f"{url.text} holds no session: the HELLO of a host is missing")
    note = f"the recording is {recording.truncation}" if recording.truncation else None
    return ModulePlayer(script, parse_speed(url)), note


def parse_speed(url: Url) -> float:
    """Return the option ``speed``; raise UsageError if it is no number of 0 or more."""
    text = url.options.get("speed", "0")
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 <= speed < math.inf:
        raise UsageError(f"replay: speed={text} is not a number of 0 or more")
    return speed


REPLAY = ReplayOpener()
