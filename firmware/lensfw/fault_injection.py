"""What a host may have the module do on purpose (capability TEST): be silent, late, or wrong.

It stands between the link and its transports while an action is under way, and only then. A board
whose configuration does not ask for it never loads it.
"""

from . import wire
from .link import Refusal
from .outbox import Item

# What has to be sent before the time of an action runs; STALL takes whatever comes.
_SIGNS = {
    wire.TEST_BUSY: wire.T_BUSY,
    wire.TEST_REJECT: wire.T_CLOSE,
    wire.TEST_DETACH: wire.T_NOTICE,
}
_CUT = wire.HEADER_BYTES // 2


class FaultInjection:
    """One action at a time. poll() is called every now and then, end() with the session."""

    def __init__(self, link, clock):
        self._link = link
        self._clock = clock
        self._action = 0
        self._number = 0
        self._damage = 0
        self._us = 0
        self._answer = (0, 0, 0)
        self._has_answered = False
        self._until = None
        self._rest = None

    def request(self, number, fields, next_frame):
        """Take an action, or raise Refusal."""
        action, damage, ms = fields
        known = wire.TEST_BUSY <= action <= wire.TEST_DETACH and ms <= wire.MAX_BUSY_MS
        if action == wire.TEST_REJECT:
            known = known and damage in (wire.DAMAGE_PAYLOAD, wire.DAMAGE_HEADER)
        if not known:
            raise Refusal(wire.ERR_UNSUPPORTED, "no test %d, %d for %d ms" % (action, damage, ms))
        if self._action:
            raise Refusal(wire.ERR_STATE, "test %d is under way" % self._action)
        link = self._link
        self._action, self._number, self._damage = action, number, damage
        self._us = ms * 1000
        self._answer = (0, 0, next_frame)
        self._has_answered = False
        self._until = None
        if action == wire.TEST_PENDING:
            self._until = self._clock.now() + self._us
            link.send_pending(number, ms)
            return
        link.send_filter = self
        link.send_answer(number, wire.T_ACCEPTED, self._answer)
        if action == wire.TEST_BUSY:
            link.send_message(wire.T_BUSY, (wire.BUSY_OTHER, 0, ms))
        elif action == wire.TEST_DETACH:
            link.send_message(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, ms))
        elif action == wire.TEST_REJECT:
            payload = wire.encode(wire.T_CLOSE, (wire.CLOSE_INTERNAL,))
            link.outbox.queue_control(Item(wire.T_CLOSE, 0, 0, payload))

    def poll(self, now):
        """End what has lasted long enough."""
        if self._until is None or now < self._until:
            return
        action, number = self._action, self._number
        if action == wire.TEST_PENDING:
            self._end_action()
            self._link.send_answer(number, wire.T_ACCEPTED, self._answer)
        elif action == wire.TEST_DETACH:
            self._link.end_session(wire.CLOSE_DETACH)
        elif self._rest is None:
            self._end_action()

    def end_session(self):
        """The session is over, and with it what was under way in it."""
        if self._rest is not None and self._rest[1] is not None:
            self._link.release_tile(self._rest[1])
        self._end_action()

    def take_packet(self, lane):
        """As the link's, which asks for it here while an action is under way."""
        if self._until is None:
            found = self._link.take_unfiltered(lane)
            return self._watch_packet(found) if found is not None and lane == 0 else found
        if self._action == wire.TEST_DETACH:
            return self._link.take_unfiltered(lane)
        if self._clock.now() < self._until:
            return None
        if self._rest is None:
            self._end_action()
            return self._link.take_unfiltered(lane)
        if lane:
            return None
        rest = self._rest
        self._end_action()
        return rest

    def _watch_packet(self, found):
        """A packet on lane 0, after which the time of the action may begin to run."""
        view, tile = found
        if not self._has_answered:
            self._has_answered = view[5] == wire.T_ACCEPTED and self._is_own_answer(view)
        elif self._action == wire.TEST_STALL:
            self._start_time()
            self._rest = view[_CUT:], tile
            return view[:_CUT], None
        elif view[5] == _SIGNS[self._action]:
            self._start_time()
            if self._action == wire.TEST_REJECT:
                view[-1 if self._damage == wire.DAMAGE_PAYLOAD else 36] ^= 1
                self._end_action()
        return found

    def _is_own_answer(self, view):
        return int.from_bytes(bytes(view[16:20]), "little") == self._number

    def _start_time(self):
        self._until = self._clock.now() + self._us

    def _end_action(self):
        self._action = 0
        self._until = None
        self._rest = None
        self._link.send_filter = None
