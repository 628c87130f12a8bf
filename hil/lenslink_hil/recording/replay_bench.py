"""``replay:session.lcap``: the module of a recorded session."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, NotFound, UsageError
from lenslink.transports.base import DeviceInfo
from lenslink.url import Url

from .lcap import load
from .module_player import ModulePlayer
from .script import make_script

OPTIONS: Mapping[str, str] = {
    "speed": "1 as it was recorded, 2 twice as fast; 0, the default, as fast as possible",
}

# A host that has received for so long, while the recording waits for a request, waits in vain.
_PATIENCE_S = 2.0


class ReplayTransport:
    """Plays to a driver; one lane or several."""

    private = True

    def __init__(self, player: ModulePlayer, note: str | None) -> None:
        self.lanes = player.lanes
        self.note = note
        self._player = player
        self._closed: str | None = None
        self._progress = -1
        self._waited = 0.0

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        if 0 not in self.ready(seconds):
            return 0
        return self._fill(0, buffers)

    def ready(self, seconds: float) -> list[int]:
        """The lane that is next, so that lanes keep the order among them; or one that ended."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            self._check(now)
            peek = self._player.peek(now)
            ended = [lane for lane in self._player.lane_ends if lane > 0]
            if peek is not None or ended:
                return [*ended, *([peek[0]] if peek is not None else [])]
            wait = min(end, self._player.get_next_due(now)) - now
            if wait <= 0:
                if now >= end:
                    return []
                continue
            time.sleep(wait)
            self._waited += wait

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        if lane in self._player.lane_ends:
            # Said once: then nobody asks for it again.
            del self._player.lane_ends[lane]
            return None
        return self._fill(lane, buffers)

    def send(self, data: bytes, deadline: Deadline) -> None:
        now = time.monotonic()
        if self._closed is not None:
            raise Disconnected(self._closed)
        self._player.receive(data, now)

    def close(self) -> None:
        self._closed = self._closed or "the recording was closed"

    def _fill(self, lane: int, buffers: Sequence[memoryview]) -> int:
        """As much of what is next as fits, while it is for this lane."""
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

    def _check(self, now: float) -> None:
        if self._closed is None:
            self._closed = self._ending(now)
        if self._closed is not None:
            raise Disconnected(self._closed)

    def _ending(self, now: float) -> str | None:
        """Why nothing more comes, if that is so."""
        player = self._player
        if player.peek(now) is not None:
            return None
        if 0 in player.lane_ends:
            return f"{player.lane_ends[0]} (so it was recorded)"
        if player.is_over(now):
            return "the recording ends here"
        if player.progress != self._progress:
            self._progress, self._waited = player.progress, 0.0
        if player.awaited_request is not None and self._waited > _PATIENCE_S:
            return f"the recording goes on only after {player.awaited_request}"
        return None


class ReplayOpener:
    """``replay:PATH`` with the options above."""

    options = OPTIONS

    def open(self, url: Url, deadline: Deadline) -> ReplayTransport:
        player, note = open_player(url)
        return ReplayTransport(player, note)

    def devices(self) -> list[DeviceInfo]:
        """None: a recording is named."""
        return []


def open_player(url: Url) -> tuple[ModulePlayer, str | None]:
    """The module's side of the recording, and what the user should know of it."""
    if not url.path:
        raise UsageError("replay: needs a recording, as in replay:session.lcap")
    path = Path(url.path)
    if not path.exists():
        raise NotFound(f"{url.text}: there is no such file")
    recording = load(path)
    script = make_script(recording)
    if script.nonce is None:
        raise UsageError(f"{url.text} holds no session: no HELLO of a host")
    note = f"the recording is {recording.truncation}" if recording.truncation else None
    return ModulePlayer(script, parse_speed(url)), note


def parse_speed(url: Url) -> float:
    """The option, checked."""
    text = url.options.get("speed", "0")
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 <= speed < math.inf:
        raise UsageError(f"replay: speed={text} is not a number of 0 or more")
    return speed


REPLAY = ReplayOpener()
