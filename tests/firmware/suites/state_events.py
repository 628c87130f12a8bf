"""Events: what changed, with counters; once a session begins, and to hosts that want them only."""

from helpers import module_world

from lensfw import contacts, power, wire

RING, CONTACTS, HEAT, POWER = (
    wire.EVENT_RING,
    wire.EVENT_CONTACTS,
    wire.EVENT_HEAT,
    wire.EVENT_POWER,
)
WANTED = wire.CAP_LOG | wire.CAP_RESEND | wire.CAP_EVENTS
INTERVAL_US = 20000


def session(capabilities=WANTED, nonce=0x1234ABCD):
    camera, ports, time = module_world.camera()
    return camera, open_session(camera, time, capabilities, nonce), ports, time


def open_session(camera, time, capabilities=WANTED, nonce=0x1234ABCD):
    host = module_world.Peer(camera, time, nonce)
    host.send(wire.T_HELLO, 1, (0x10, 0x10, 1, 0, capabilities, 4194304))
    return host


def events(said):
    """Return (kind, value, counter) of each Event, in order."""
    found = []
    for header, payload in said:
        if header[2] == wire.T_EVENT:
            kind, _, value, _, low, high = wire.decode(wire.T_EVENT, payload)
            found.append((kind, value, low | high << 32))
    return found


def later(host, time, us=INTERVAL_US):
    time.us += us
    return events(host.turn())


def test_a_session_begins_with_all_states():
    camera, host, _, _ = session()
    assert events(host.heard + host.turn()) == [
        (RING, 0, 0),
        (CONTACTS, contacts.ATTACHED, 2),
        (HEAT, 0, 0),
        (POWER, camera.power.vbus_mv, 0),
    ]


def test_a_host_that_does_not_want_them_gets_none():
    _, host, ports, time = session(wire.CAP_LOG | wire.CAP_RESEND)
    ports.events.append((ports.RING, 0, 1))
    assert events(host.heard) + later(host, time) + later(host, time, 2000000) == []


def test_the_ring_is_reported_once_in_20_ms():
    _, host, ports, time = session()
    later(host, time)
    found = []
    # Four ticks on and one back, 5 ms from each other: the position, and ticks in any direction.
    for channel, level in ((0, 1), (1, 1), (0, 0), (1, 0), (1, 1)):
        ports.events.append((ports.RING, channel, level))
        found += later(host, time, 5000)
    found += later(host, time)
    assert found == [(RING, 1, 1), (RING, 3, 5)]


def test_the_supply_is_reported_once_a_second():
    _, host, _, time = session()
    later(host, time)
    found = []
    for _ in range(30):
        found += later(host, time, 100000)
    assert [kind for kind, _, _ in found] == [POWER] * 3


def test_heat_is_reported_when_its_state_changes():
    _, host, ports, time = session()
    later(host, time)
    for counts, state, changes in ((1155, 2, 1), (1155, 2, 1), (931, 0, 2)):
        ports.events.append((ports.ADC, power.TEMPERATURE_CHANNEL, counts))
        found = [each for each in later(host, time) if each[0] == HEAT]
        assert found in ([(HEAT, state, changes)], []), found
    assert later(host, time) == []


def test_a_short_is_named_in_the_next_session():
    camera, host, ports, time = session()
    for level in (1, 0):
        ports.events.append((ports.CONTACT, contacts.FAULT_PIN, level))
    host.turn()
    time.us += contacts.SETTLE_US
    camera.step()
    assert camera.is_attached()
    again = open_session(camera, time, nonce=7)
    time.us += INTERVAL_US
    found = events(again.heard + again.turn())
    assert (CONTACTS, contacts.ATTACHED | contacts.SHORTED << 8, 2) in found


def test_events_wait_behind_a_slow_link():
    camera, host, ports, time = session()
    host.heard.clear()
    later(host, time)
    for _ in range(20):
        camera.link.send_message(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, 0))
    ports.events.append((ports.RING, 0, 1))
    time.us += INTERVAL_US
    camera.step()
    said = host.collect()
    assert events(said) == []
    assert (RING, 1, 1) in later(host, time)
