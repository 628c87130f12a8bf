"""Fault injection (capability TEST): on request the module is silent, late, or wrong.

While an action is active, FaultInjection is the send filter between the link and its transports.
A board whose configuration does not ask for it never loads this module.

=========  ==================================  ==============================  ==========
state      meaning                             event                           next state
=========  ==================================  ==============================  ==========
IDLE       no action                           a request for PENDING           TIMED
IDLE       no action                           another valid request           WAITING
WAITING    its own answer was not sent yet     the answer is sent              ARMED
ARMED      the packet of the action is next    REJECT: packet sent, damaged    IDLE
ARMED      the packet of the action is next    STALL: half a packet is sent    TIMED
ARMED      the packet of the action is next    BUSY, DETACH: packet is sent    TIMED
TIMED      the time of the action runs         the time ends                   IDLE
any        any                                 the session ends                IDLE
=========  ==================================  ==============================  ==========
"""

from . import wire
from .link import Refusal
from .outbox import Item

# The packet type of each action. STALL takes the next packet, whatever it is.
_PACKET_TYPES = {
    wire.TEST_BUSY: wire.T_BUSY,
    wire.TEST_REJECT: wire.T_CLOSE,
    wire.TEST_DETACH: wire.T_NOTICE,
}
_CUT = wire.HEADER_BYTES // 2

_IDLE = wire.const(0)
_WAITING = wire.const(1)
_ARMED = wire.const(2)
_TIMED = wire.const(3)


class FaultInjection:
    """Run one action at a time. The module calls poll() in each step."""

    def __init__(self, link, clock):
        self._link = link
        self._clock = clock
        self._state = _IDLE
        self._action = 0
        self._number = 0
        self._damage = 0
        self._us = 0
        self._answer = (0, 0, 0)
        # In state _TIMED: when the time ends, and the rest of the packet that STALL has cut.
        self._end = 0
        self._rest = None

    def start_action(self, number, fields, next_frame):
        """Start an action and answer the request, or raise Refusal."""
        action, damage, ms = fields
        is_valid = wire.TEST_BUSY <= action <= wire.TEST_DETACH and ms <= wire.MAX_BUSY_MS
        if action == wire.TEST_REJECT:
            is_valid = is_valid and damage in (wire.DAMAGE_PAYLOAD, wire.DAMAGE_HEADER)
        if not is_valid:
            raise Refusal(wire.ERR_UNSUPPORTED, "no test %d, %d for %d ms" % (action, damage, ms))
        if self._state != _IDLE:
            raise Refusal(wire.ERR_STATE, "test %d is active" % self._action)
        link = self._link
        self._action, self._number, self._damage = action, number, damage
        self._us = ms * 1000
        self._answer = (0, 0, next_frame)
        if action == wire.TEST_PENDING:
            self._start_time()
            link.send_pending(number, ms)
            return
        self._state = _WAITING
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
        """End the action if its time is over."""
        if self._state != _TIMED or now < self._end:
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
        """End the action with the session."""
        if self._rest is not None and self._rest[1] is not None:
            self._link.release_tile(self._rest[1])
        self._end_action()

    def take_packet(self, lane):
        """Return the next packet as link.take_packet() does, or None while it is silent."""
        if self._state != _TIMED:
            found = self._link.take_unfiltered(lane)
            return self._watch_packet(found) if found is not None and lane == 0 else found
        if self._action == wire.TEST_DETACH:
            return self._link.take_unfiltered(lane)
        if self._clock.now() < self._end:
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
        """Look at a packet of lane 0, and go on to the next state if it is the awaited one.

        Return the packet, damaged or cut if the action asks for that.
        """
        view, tile = found
        if self._state == _WAITING:
            if view[5] == wire.T_ACCEPTED and self._is_own_answer(view):
                self._state = _ARMED
        elif self._action == wire.TEST_STALL:
            self._start_time()
            self._rest = view[_CUT:], tile
            return view[:_CUT], None
        elif view[5] == _PACKET_TYPES[self._action]:
            if self._action == wire.TEST_REJECT:
                view[-1 if self._damage == wire.DAMAGE_PAYLOAD else 36] ^= 1
                self._end_action()
            else:
                self._start_time()
        return found

    def _is_own_answer(self, view):
        return int.from_bytes(bytes(view[16:20]), "little") == self._number

    def _start_time(self):
        self._state = _TIMED
        self._end = self._clock.now() + self._us

    def _end_action(self):
        self._state = _IDLE
        self._rest = None
        self._link.send_filter = None
