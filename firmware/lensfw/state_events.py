"""Report changes of the module's state to a host that wants them (capability EVENTS).

``module`` marks what has changed, and poll() sends it. Each Event has the state as it is when it is
sent, that time, and a counter since the start. So an Event that is lost heals with the next one,
and changes that come too fast become one. At the start of a session all four are sent.
"""

from . import wire

# At most one Event of each kind in this time. The supply has news without a change of its state.
_INTERVAL_US = 20000
_POWER_US = 1000000
# A link on which so many control packets wait is slow: the Events wait, too.
_MOST_WAITING = 8
_ALL = (
    (1 << wire.EVENT_RING)
    | (1 << wire.EVENT_CONTACTS)
    | (1 << wire.EVENT_HEAT)
    | (1 << wire.EVENT_POWER)
)


class Events:
    """*camera* is the Module whose state is reported."""

    def __init__(self, camera):
        self._camera = camera
        self._marked = 0
        self._next = 0
        self._next_power = 0
        # The last state of the contacts that was neither attached nor detached.
        self._bad_contacts = 0
        self._ring_ticks = 0

    def open_session(self):
        self._marked = _ALL

    def mark(self, kind):
        """Note that something has changed."""
        self._marked |= 1 << kind

    def mark_contacts(self, state, is_bad):
        if is_bad:
            self._bad_contacts = state
        self.mark(wire.EVENT_CONTACTS)

    def mark_ring(self, ticks):
        self._ring_ticks = (self._ring_ticks + abs(ticks)) & 0x3FFFFFFF
        self.mark(wire.EVENT_RING)

    def poll(self, now):
        """Send what is marked and due."""
        if not self._marked and now < self._next_power:
            return
        link = self._camera.link
        if not link.has_capability(wire.CAP_EVENTS) or link.nonce is None:
            return
        if now >= self._next_power:
            self._next_power = now + _POWER_US
            self.mark(wire.EVENT_POWER)
        if not self._marked or now < self._next or link.outbox.count_control() > _MOST_WAITING:
            return
        self._next = now + _INTERVAL_US
        marked, self._marked = self._marked, 0
        for kind in (wire.EVENT_RING, wire.EVENT_CONTACTS, wire.EVENT_HEAT, wire.EVENT_POWER):
            if marked & 1 << kind:
                value, low, high = self._read(kind)
                link.send_message(wire.T_EVENT, (kind, 0, value, now, low, high))

    def _read(self, kind):
        """Return the value and both words of the counter."""
        camera = self._camera
        if kind == wire.EVENT_RING:
            return camera.focus_ring.position, self._ring_ticks, 0
        if kind == wire.EVENT_CONTACTS:
            return camera.contacts.state | self._bad_contacts << 8, camera.contacts.bounces, 0
        if kind == wire.EVENT_HEAT:
            return camera.heat.state, camera.heat.changes, 0
        low, high = camera.power.meter.get_words()
        return camera.power.vbus_mv, low, high
