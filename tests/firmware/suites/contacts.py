"""The spring contacts: debounce, half-seated, wet, shorted, bounce; and what the module does."""

from helpers import module_world

from lensfw import contacts, power, wire
from lensfw.contacts import (
    ATTACHED,
    DETACHED,
    DETECT_PIN,
    FAULT,
    FAULT_PIN,
    HALF_SEATED,
    NOTHING,
    POWER_PIN,
    SETTLE_US,
    SHORTED,
    WET,
    WET_COUNTS,
)


def seated(now=0):
    pins = contacts.Contacts()
    pins.add_edge(POWER_PIN, 1, now)
    pins.add_edge(DETECT_PIN, 1, now)
    assert pins.poll(now + SETTLE_US)
    return pins


def test_nothing_touches_at_first():
    pins = contacts.Contacts()
    assert pins.state == DETACHED
    assert not pins.poll(10 * SETTLE_US)


def test_attached_once_levels_were_still_and_said_once():
    pins = contacts.Contacts()
    pins.add_edge(POWER_PIN, 1, 1000)
    pins.add_edge(DETECT_PIN, 1, 3000)
    assert not pins.poll(3000 + SETTLE_US - 1)
    assert pins.state == DETACHED
    assert pins.poll(3000 + SETTLE_US)
    assert pins.state == ATTACHED
    assert not pins.poll(3000 + SETTLE_US)
    assert not pins.poll(9000 + SETTLE_US)


def test_power_alone_is_half_seated():
    pins = contacts.Contacts()
    pins.add_edge(POWER_PIN, 1, 0)
    assert pins.poll(SETTLE_US)
    assert pins.state == HALF_SEATED
    pins.add_edge(DETECT_PIN, 1, 50000)
    assert pins.poll(50000 + SETTLE_US)
    assert pins.state == ATTACHED


def test_detect_without_power_is_detached():
    pins = contacts.Contacts()
    pins.add_edge(DETECT_PIN, 1, 0)
    assert not pins.poll(SETTLE_US)
    assert pins.state == DETACHED


def test_bounce_holds_it_off_until_it_is_over():
    pins = contacts.Contacts()
    now = 0
    for bounce in range(15):  # 1 ms each
        pins.add_edge(POWER_PIN, 1 - bounce % 2, now)
        pins.add_edge(DETECT_PIN, 1 - bounce % 2, now + 300)
        assert not pins.poll(now + 999)
        now += 1000
    last = now - 1000 + 300
    assert not pins.poll(last + SETTLE_US - 1)
    assert pins.poll(last + SETTLE_US)
    assert pins.state == ATTACHED
    assert pins.bounces == 30
    # The module's own budget: attached is known within 100 ms of the first touch.
    assert last + SETTLE_US < 100000


def test_a_level_that_did_not_change_is_no_edge():
    pins = contacts.Contacts()
    pins.add_edge(POWER_PIN, 1, 0)
    pins.add_edge(DETECT_PIN, 1, 0)
    pins.add_edge(DETECT_PIN, 1, SETTLE_US - 1)
    assert pins.bounces == 2
    assert pins.poll(SETTLE_US)


def test_a_short_loss_does_not_detach():
    pins = seated()
    pins.add_edge(DETECT_PIN, 0, 100000)
    assert not pins.poll(100000 + SETTLE_US - 1)
    pins.add_edge(DETECT_PIN, 1, 100000 + SETTLE_US - 1)
    assert not pins.poll(100000 + 3 * SETTLE_US)
    assert pins.state == ATTACHED


def test_leaving_goes_through_half_seated():
    pins = seated()
    pins.add_edge(DETECT_PIN, 0, 100000)
    assert pins.poll(100000 + SETTLE_US)
    assert pins.state == HALF_SEATED
    pins.add_edge(POWER_PIN, 0, 200000)
    assert pins.poll(200000 + SETTLE_US)
    assert pins.state == DETACHED


def test_detect_that_stays_without_power_is_detached():
    pins = seated()
    pins.add_edge(POWER_PIN, 0, 100000)
    assert pins.poll(100000 + SETTLE_US)
    assert pins.state == DETACHED


def test_a_short_is_known_at_its_first_edge():
    pins = seated()
    assert pins.add_edge(FAULT_PIN, 1, 100000) == FAULT
    assert pins.state == SHORTED
    # It bounces, and stays what it is until all levels were stable.
    assert pins.add_edge(FAULT_PIN, 0, 100100) == NOTHING
    assert pins.add_edge(POWER_PIN, 0, 100200) == NOTHING
    assert not pins.poll(100200 + SETTLE_US - 1)
    assert pins.state == SHORTED
    assert pins.poll(100200 + SETTLE_US)
    assert pins.state == DETACHED
    # The first edge counts before anything has settled, too.
    assert contacts.Contacts().add_edge(FAULT_PIN, 1, 0) == FAULT


def test_a_short_that_stays_is_told_once():
    pins = seated()
    assert pins.add_edge(FAULT_PIN, 1, 100000) == FAULT
    assert pins.add_edge(FAULT_PIN, 1, 110000) == NOTHING
    assert not pins.poll(200000)
    assert pins.state == SHORTED
    assert pins.bounces == 2, "a short is no bounce"


def test_two_samples_of_leakage_are_wet():
    pins = seated()
    assert not pins.add_leakage(WET_COUNTS)
    assert not pins.add_leakage(WET_COUNTS - 1)
    assert not pins.add_leakage(WET_COUNTS)
    assert pins.state == ATTACHED
    assert pins.add_leakage(4095)
    assert pins.state == WET
    assert not pins.add_leakage(4095)
    assert not pins.poll(10 * SETTLE_US)
    pins.add_leakage(0)
    assert pins.poll(10 * SETTLE_US)
    assert pins.state == ATTACHED


def test_contacts_that_were_wet_before_they_were_seated():
    pins = contacts.Contacts()
    for _ in range(5):
        assert not pins.add_leakage(4095)
    pins.add_edge(POWER_PIN, 1, 0)
    pins.add_edge(DETECT_PIN, 1, 0)
    assert pins.poll(SETTLE_US)
    assert pins.state == WET
    # Without a supply there is nothing to leak.
    pins.add_edge(POWER_PIN, 0, 100000)
    assert pins.poll(100000 + SETTLE_US)
    assert pins.state == DETACHED


def test_a_bounce_of_the_power_contact_is_no_low_supply():
    camera, ports, time = module_world.camera()
    host = module_world.Peer(camera, time)
    host.hello()
    ports.vbus_mv = 0
    ports.events.append((ports.CONTACT, POWER_PIN, 0))
    for _ in range(3):
        ports.sample(power.VBUS_CHANNEL)
        time.us += 5000
        assert wire.T_NOTICE not in module_world.kinds(host.turn())
    ports.vbus_mv = 4500
    ports.events.append((ports.CONTACT, POWER_PIN, 1))
    time.us += 1000
    host.turn()
    host.turn()
    # It is sampled as soon as the contact is closed.
    assert camera.is_attached() and camera.power.vbus_mv == 4500


class Switch(module_world.Ports):
    """Ports with a power switch."""

    def set_switch(self, closed):
        self.calls.append(("switch", closed))


def switched():
    time = module_world.Time()
    ports = Switch()
    camera = module_world.module.Module(module_world.configuration(), ports, time)
    module_world.seat(camera, time)
    host = module_world.Peer(camera, time)
    host.hello()
    ports.calls.clear()
    return camera, host, ports, time


def test_a_short_opens_the_switch_in_the_same_step():
    camera, host, ports, time = switched()
    ports.events.append((ports.CONTACT, FAULT_PIN, 1))
    said = host.turn()
    assert ("switch", False) in ports.calls
    assert module_world.only(said, wire.T_CLOSE) == (wire.CLOSE_POWER,)
    assert not camera.is_attached()
    # When the short has gone, the module may be seated again.
    ports.events.append((ports.CONTACT, FAULT_PIN, 0))
    camera.step()
    time.us += SETTLE_US
    camera.step()
    assert ("switch", True) in ports.calls
    assert camera.is_attached()


def test_water_opens_the_switch():
    camera, host, ports, _ = switched()
    for _ in range(2):
        ports.events.append((ports.ADC, power.LEAKAGE_CHANNEL, 4095))
    assert module_world.only(host.turn(), wire.T_CLOSE) == (wire.CLOSE_POWER,)
    assert camera.contacts.state == WET
    assert ports.calls == [("switch", False)]


def test_open_contacts_leave_the_switch_closed():
    _, host, ports, time = switched()
    ports.events.append((ports.CONTACT, DETECT_PIN, 0))
    host.turn()
    time.us += SETTLE_US
    assert module_world.only(host.turn(), wire.T_CLOSE) == (wire.CLOSE_DETACH,)
    assert ("switch", False) not in ports.calls
