"""The spring contacts: debounce, half-seated, bounce."""

from lensfw import contacts
from lensfw.contacts import ATTACHED, DETACHED, DETECT_PIN, HALF_SEATED, POWER_PIN, SETTLE_US


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
