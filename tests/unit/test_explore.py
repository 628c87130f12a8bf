"""Both link machines together: all that can happen, and that bugs put in are found by it.

CI has two kinds of faults at a time. With LENSLINK_NIGHTLY=1 there are all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.nightly_scale import NIGHTLY, tell

from lensfw import framing, outbox, sensor, wire
from lensfw import link as module_link
from lensfw import module as firmware
from lenslink.receive.reassembly import Reassembly
from lenslink_hil.explore.search import Bounds, Counterexample, explore
from lenslink_protocol import link as host_link
from lenslink_protocol.framing import Receiver
from lenslink_protocol.link import Link
from lenslink_protocol.messages import Heartbeat

SINGLE = Bounds(losses=1, duplicates=0, swaps=0, restarts=0)

SMALL = {
    "two losses": Bounds(losses=2, duplicates=0, swaps=0, restarts=0),
    "a loss, a duplicate": Bounds(losses=1, duplicates=1, swaps=0, restarts=0),
    "a loss, a swap": Bounds(losses=1, duplicates=0, swaps=1, restarts=0),
    "a duplicate, a swap": Bounds(losses=0, duplicates=1, swaps=1, restarts=0),
    "a loss, a new session": Bounds(losses=1, duplicates=0, swaps=0, restarts=1),
    "a duplicate, a new session": Bounds(losses=0, duplicates=1, swaps=0, restarts=1),
    "a late copy, a new session": Bounds(losses=0, duplicates=0, swaps=0, late=1, restarts=1),
    "an early timer": Bounds(losses=1, duplicates=0, swaps=0, early=1, restarts=0),
    "two lanes": Bounds(losses=1, duplicates=0, swaps=0, restarts=0, lanes=2),
    "flush": Bounds(losses=1, duplicates=0, swaps=0, restarts=0, flush=True),
    "flush on two lanes": Bounds(losses=1, duplicates=0, swaps=0, restarts=0, flush=True, lanes=2),
    "two buffers": Bounds(losses=1, duplicates=0, swaps=0, restarts=0, buffers=2),
}

LARGE = {
    "all of it": Bounds(),
    "late copies": Bounds(losses=1, duplicates=0, swaps=0, late=1, restarts=1),
    "early timers": Bounds(losses=2, duplicates=0, swaps=0, early=1, restarts=1),
    "two lanes": Bounds(losses=2, duplicates=1, swaps=0, restarts=0, lanes=2),
    "flush": Bounds(losses=2, duplicates=1, swaps=1, restarts=0, flush=True),
    "two buffers": Bounds(losses=2, duplicates=1, swaps=0, restarts=1, buffers=2),
    "more on the way": Bounds(losses=2, duplicates=1, swaps=1, restarts=0, capacity=4),
}


@pytest.mark.parametrize("name", SMALL)
def test_all_that_can_happen(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = explore(SMALL[name])
    tell(capsys, f"  {name}: {result}")
    assert result.closed
    assert result.states > 100


@pytest.mark.skipif(not NIGHTLY, reason="NOT RUN: minutes; LENSLINK_NIGHTLY=1 runs it")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", LARGE)
def test_all_that_can_happen_at_night(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = explore(LARGE[name], seconds=3500)
    tell(capsys, f"  {name}: {result}")
    assert result.closed


# --- bugs put in --------------------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, tuple[Patch, Bounds, str]] = {}


def bug(bounds: Bounds, text: str) -> Callable[[Patch], Patch]:
    """Register a bug, where it is to be found, and what it is found by."""

    def register(patch: Patch) -> Patch:
        BUGS[patch.__name__] = (patch, bounds, text)
        return patch

    return register


@bug(SINGLE, "no way to a good end|still holds the rest")
def credits_are_not_repeated(patch: pytest.MonkeyPatch) -> None:
    heartbeat = Link.send_heartbeat

    def silent(self: Link, now: float) -> None:
        granted = self.snapshot().granted
        heartbeat(self, now)
        if granted == self.snapshot().granted:
            self.outgoing.pop()
            self._send(Heartbeat((0, 0, 0), 0), 0)

    patch.setattr(Link, "send_heartbeat", silent)


@bug(SINGLE, "no way to a good end")
def credits_of_lost_tiles_are_not_given_back(patch: pytest.MonkeyPatch) -> None:
    def alive(self: Link, message: Any) -> None:
        for stream in (0, 1):
            if message.begun[stream]:
                self._frames.on_frame_announced(stream, message.begun[stream] - 1, self.now)

    patch.setattr(Link, "_on_heartbeat_reply", alive)


@bug(SINGLE, "no way to a good end|still holds the rest|gave up a module")
def grants_are_relative(patch: pytest.MonkeyPatch) -> None:
    """Each heartbeat grants what has arrived since the last: a lost one is lost."""

    def heartbeat(self: Link, now: float) -> None:
        self._liveness.next_heartbeat = now + 0.125
        fresh = [
            a + host_link.WINDOW - g
            for a, g in zip(self._credits.settled, self._credits.granted, strict=True)
        ]
        self._credits.granted = [a + host_link.WINDOW for a in self._credits.settled]
        self._send(Heartbeat((fresh[0], fresh[1], 0), 0), 0)

    def grant(self: Any, limits: Any) -> None:
        total(self, [a + b for a, b in zip(limits, self._limits, strict=True)])

    total = outbox.Outbox.grant_credits
    patch.setattr(Link, "send_heartbeat", heartbeat)
    patch.setattr(outbox.Outbox, "grant_credits", grant)


@bug(SINGLE, "without credit")
def credits_are_not_kept_to(patch: pytest.MonkeyPatch) -> None:
    grant = outbox.Outbox.grant_credits

    def generous(self: Any, limits: Any) -> None:
        grant(self, limits)
        self._credits = [1 << 29] * len(limits)

    patch.setattr(outbox.Outbox, "grant_credits", generous)


@bug(Bounds(losses=0, duplicates=0, swaps=0, restarts=1), "of another session")
def the_host_does_not_check_the_nonce(patch: pytest.MonkeyPatch) -> None:
    fresh = Receiver._is_fresh

    def trusting(self: Receiver, header: Any) -> bool:
        return fresh(self, header._replace(nonce=self.nonce))

    patch.setattr(Receiver, "_is_fresh", trusting)


@bug(Bounds(losses=0, duplicates=0, swaps=0, late=1, restarts=1), ".")
def the_module_does_not_check_the_nonce(patch: pytest.MonkeyPatch) -> None:
    packet = module_link.Link._on_packet

    def trusting(self: Any, header: Any, payload: Any) -> None:
        if header[2] != wire.T_HELLO and self.nonce is not None:
            header = (*header[:5], self.nonce, *header[6:])
        packet(self, header, payload)

    patch.setattr(module_link.Link, "_on_packet", trusting)


@bug(Bounds(losses=0, duplicates=0, swaps=0, restarts=0, flush=True), "last_sequence|after Flushed")
def the_flush_is_answered_early(patch: pytest.MonkeyPatch) -> None:
    answer = module_link.Link.send_answer

    def early(self: Any, number: int, kind: int, values: Any, tail: bytes = b"", **_: Any) -> None:
        answer(self, number, kind, values, tail)

    patch.setattr(module_link.Link, "send_answer", early)


@bug(SINGLE, "executed twice")
def a_repeated_request_is_executed_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module_link.Link, "_repeat_answer", lambda self, number: False)


@bug(SINGLE, "answered with Error")
def the_cache_of_answers_forgets(patch: pytest.MonkeyPatch) -> None:
    answer = module_link.Link.send_answer

    def forgetful(self: Any, number: int, kind: int, *rest: Any, **keywords: Any) -> None:
        answer(self, number, kind, *rest, **keywords)
        if kind != wire.T_HELLO_REPLY:
            self._answers.clear()
            self.last_request += 1

    patch.setattr(module_link.Link, "send_answer", forgetful)


@bug(SINGLE, "ends before its tiles|still holds the rest|last_sequence")
def the_frame_end_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    data = outbox.Outbox.queue_data

    def hasty(self: Any, item: Any) -> None:
        if item.kind == wire.T_FRAME_END:
            self.queue_control(item)
        else:
            data(self, item)

    patch.setattr(outbox.Outbox, "queue_data", hasty)


@bug(Bounds(losses=0, duplicates=0, swaps=0, restarts=0, lanes=2), "still holds the rest")
def the_host_does_not_wait_for_stragglers(patch: pytest.MonkeyPatch) -> None:
    end = Reassembly.on_frame_end

    def hasty(self: Reassembly, header: Any, message: Any, now: float) -> None:
        end(self, header, message, now)
        for assembly in list(self._open.values()):
            self._finish(assembly)

    patch.setattr(Reassembly, "on_frame_end", hasty)


@bug(SINGLE, "wrong pixel")
def a_resend_is_answered_with_another_tile(patch: pytest.MonkeyPatch) -> None:
    find = sensor.Tiles.find

    def another(self: Any, stream: int, frame: int, place: Any) -> Any:
        found = find(self, stream, frame, place)
        others = [t for t in self._tiles if t.state == sensor.HELD and t is not found]
        if found is None or not others:
            return found
        framing.write_rectangle(others[0].packet, frame, *place, others[0].length)
        return others[0]

    patch.setattr(sensor.Tiles, "find", another)


@bug(SINGLE, "wrong pixel")
def coverage_is_set_before_the_crc(patch: pytest.MonkeyPatch) -> None:
    place = Reassembly.reserve_buffer

    def trusting(self: Reassembly, header: Any, lane: int) -> memoryview | None:
        found = place(self, header, lane)
        if found is not None:
            assembly = self._open[header.frame]
            assembly.add_received(*assembly.reservations[lane])
        return found

    patch.setattr(Reassembly, "reserve_buffer", trusting)


@bug(SINGLE, "wrong pixel|repr|IndexError|struct|range")
def the_payload_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    end = Receiver._end_packet

    def trusting(self: Receiver, is_sound: bool = False) -> None:
        from isal.isal_zlib import crc32

        packet = self._packet
        assert packet is not None
        packet.header = packet.header._replace(payload_crc=crc32(packet.payload))
        end(self, is_sound)

    patch.setattr(Receiver, "_end_packet", trusting)


@bug(SINGLE, "still holds the rest|no way to a good end")
def nothing_is_asked_for_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reassembly, "request_missing", lambda self, now: [])


@bug(SINGLE, "no way to a good end")
def requests_are_not_repeated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(host_link.Request, "take_due", lambda self, now: False)


@bug(Bounds(losses=0, duplicates=0, swaps=0, restarts=1), ".")
def a_new_session_finds_the_old_frame_under_way(patch: pytest.MonkeyPatch) -> None:
    """The module forgets the session, not its frame."""
    patch.setattr(firmware.Module, "on_session_end", lambda self: None)
    patch.setattr(outbox.Outbox, "clear", lambda self: None)


@bug(Bounds(losses=0, duplicates=1, swaps=0, restarts=0), "executed twice|stage|asked for")
def the_module_does_not_check_the_sequence(patch: pytest.MonkeyPatch) -> None:
    """And so takes a copy for another request, whose answer it has not kept."""

    def careless(self: Any, sequence: int) -> bool:
        self._rx = sequence
        return True

    patch.setattr(module_link.Link, "_accept_sequence", careless)
    patch.setattr(module_link.Link, "_repeat_answer", lambda self, number: False)


@bug(SINGLE, "incomplete|wrong pixel|no way")
def nothing_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    """The answer to a resend is empty, for ever."""
    from lensfw import frame_history

    def sort(self: Any, record: Any, ranges: Any) -> Any:
        return [], []

    patch.setattr(frame_history.FrameHistory, "sort_ranges", sort)


@bug(Bounds(losses=0, duplicates=0, swaps=0, restarts=0, flush=True), "ends before its tiles")
def the_end_of_a_stopped_frame_says_all_is_well(patch: pytest.MonkeyPatch) -> None:
    """A bug that was there until this exploration found it."""
    drop = outbox.Outbox.drop_tiles

    def quiet(self: Any, stream: int) -> list[int]:
        drop(self, stream)
        return []

    patch.setattr(outbox.Outbox, "drop_tiles", quiet)


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, bounds, text = BUGS[name]
    patch(monkeypatch)
    with pytest.raises(Counterexample, match=text) as caught:
        explore(bounds, seconds=600)
    assert caught.value.actions
