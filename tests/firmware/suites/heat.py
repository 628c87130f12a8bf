"""Heat: seven states, hysteresis, the announcement, and what frames have to leave."""

from helpers import module_world

from lensfw import heat, power, wire
from lensfw.heat import (
    CRITICAL,
    EMERGENCY,
    LIGHT,
    MODERATE,
    NONE,
    SEVERE,
    SHUTDOWN,
)

SECOND = 1000000


def warmed(millidegrees, now=0):
    found = heat.Heat()
    found.add_temperature(millidegrees, now)
    found.may_begin(now + SECOND)
    return found


def test_the_states_are_androids():
    names = (NONE, LIGHT, MODERATE, SEVERE, CRITICAL, EMERGENCY, SHUTDOWN)
    assert names == (0, 1, 2, 3, 4, 5, 6)


def test_each_state_begins_at_its_temperature_and_ends_half_a_degree_below():
    begins = (40000, 42800, 43400, 43700, 43900, 45000)
    for number, millidegrees in enumerate(begins):
        state = number + 1
        found = heat.Heat()
        assert found.add_temperature(millidegrees - 1, 0) == (state > 1)
        assert found.state == state - 1
        assert found.add_temperature(millidegrees, 0)
        assert found.state == state
        assert not found.add_temperature(millidegrees - 500, 0)
        found.add_temperature(millidegrees - 501, 0)
        assert found.state < state


def test_it_may_jump_over_states():
    found = heat.Heat()
    assert found.add_temperature(44000, 0)
    assert found.state == EMERGENCY
    assert found.add_temperature(20000, 0)
    assert found.state == NONE
    assert found.changes == 2


def test_a_step_bites_a_second_after_it_was_told():
    found = heat.Heat()
    found.add_temperature(44000, 5 * SECOND)
    assert found.is_throttled()
    assert found.may_begin(6 * SECOND - 1)
    assert not found.may_begin(6 * SECOND)
    # A step back is felt at once.
    found.add_temperature(39000, 7 * SECOND)
    assert found.may_begin(7 * SECOND)


def test_a_shutdown_bites_at_once():
    found = heat.Heat()
    found.add_temperature(45000, 0)
    assert not found.may_begin(0)


def test_frames_leave_a_rest_in_proportion():
    for millidegrees, period in ((25000, 4), (41000, 4), (42800, 6), (43400, 8), (43700, 16)):
        found = warmed(millidegrees)
        found.end_frame(10 * SECOND, 10 * SECOND + 100000)
        due = 10 * SECOND + 25000 * period
        assert found.may_begin(due)
        found.end_frame(10 * SECOND, 10 * SECOND + 100000)
        assert period == 4 or not found.may_begin(due - 1)


def hot(camera, ports, host, degrees):
    """Let the module measure a temperature. Return what it says."""
    counts = -(-(500 + 10 * degrees) * 4096 // 3300)
    ports.events.append((ports.ADC, power.TEMPERATURE_CHANNEL, int(counts)))
    return host.turn()


def session():
    camera, ports, time = module_world.camera()
    host = module_world.Peer(camera, time)
    host.hello()
    return camera, ports, host, time


def test_a_step_that_costs_frames_is_announced():
    camera, ports, host, _ = session()
    assert wire.T_NOTICE not in module_world.kinds(hot(camera, ports, host, 40.5))
    assert camera.heat.state == LIGHT
    for degrees in (43, 43.5, 43.8, 44.2):
        said = hot(camera, ports, host, degrees)
        assert module_world.only(said, wire.T_NOTICE) == (wire.NOTICE_HEAT, 0, heat.NOTICE_MS)
    # Not when it gets cooler.
    assert wire.T_NOTICE not in module_world.kinds(hot(camera, ports, host, 42.8))
    assert camera.heat.state == MODERATE


def test_an_emergency_refuses_frames_and_a_shutdown_ends_the_session():
    camera, ports, host, _ = session()
    host.grant()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    hot(camera, ports, host, 44)
    assert camera.heat.state == EMERGENCY
    said = host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    assert module_world.only(said, wire.T_ERROR)[0] == wire.ERR_POWER
    said = hot(camera, ports, host, 46)
    assert module_world.only(said, wire.T_CLOSE) == (wire.CLOSE_POWER,)
    assert not camera.is_attached()
    hot(camera, ports, host, 42)
    assert camera.is_attached()


def test_a_budget_that_is_too_low_refuses_frames_and_ends_streams():
    camera, ports, host, time = session()
    host.grant()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    said = host.send(wire.T_SET_BUDGET, 21, (0, 149))
    assert module_world.only(said, wire.T_ERROR)[0] == wire.ERR_POWER
    said = host.send(wire.T_SET_BUDGET, 22, (0, 1399))
    assert wire.T_ACCEPTED in module_world.kinds(said)
    said = host.send(wire.T_CAPTURE, 23, (0, 0, 1))
    assert module_world.only(said, wire.T_ERROR)[0] == wire.ERR_POWER
    host.send(wire.T_SET_BUDGET, 24, (0, 1400))
    host.send(wire.T_STREAM, 25, (0, 0, 0, 0))
    assert ports.load_ma == 279
    said = module_world.kinds(host.send(wire.T_SET_BUDGET, 26, (0, 1399)))
    assert ports.load_ma == 29
    # The stream has ended before the answer.
    assert said.index(wire.T_FRAME_END) < said.index(wire.T_ACCEPTED)
    # A budget belongs to its session.
    other = module_world.Peer(camera, time, nonce=9)
    other.hello()
    assert camera.power.budget_mw >= 1400
