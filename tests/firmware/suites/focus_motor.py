"""The focus motor: ramps, end stops, backlash, homing, parking, the ring, and the calibration."""

from lensfw import focus_motor
from lensfw.focus_motor import (
    AT_REST,
    HOMING,
    MOVING,
    PARKED,
    RING_HOLD_US,
    SETTLING,
    UNHOMED,
)

STEPS = 2000
CLOSEST = 3300
STEP_US = 125
# Without ramps and backlash: for what does not depend on them.
PLAIN = {"steps": STEPS, "steps_per_s": 8000}
TABLE = [[0, 0], [500, 780], [1000, 1590], [1500, 2430], [2000, 3300]]
FULL = {
    "steps": STEPS,
    "steps_per_s": 8000,
    "steps_per_s2": 800000,
    "settle_us": 15000,
    "backlash": 25,
    "stop": 40,
    "calibration": TABLE,
}
# Of the ramps: 10 ms and 40 steps each.
RAMP_US = 10000
RAMP_STEPS = 40


class Motor:
    """Ports with a motor whose gear stops at the end stop, as step -40."""

    def __init__(self, position=0, lowest=-40):
        self.position = position
        self.lowest = lowest
        self.moves = []

    def step(self, count):
        self.position = max(self.position + count, self.lowest)
        self.moves.append(count)


def plain():
    motor = Motor()
    return focus_motor.Focus(motor, PLAIN, CLOSEST), motor


def homed(position=-40):
    motor = Motor(position)
    lens = focus_motor.Focus(motor, FULL, CLOSEST)
    lens.is_end_stop_closed = position == -40
    lens.home(0)
    now = arrive(lens, 0)
    motor.moves.clear()
    return lens, motor, now


def arrive(lens, now, interval=1000):
    for _ in range(10000):
        now += interval
        lens.poll(now)
        if lens.is_settled:
            return now
    raise AssertionError("it never settles")


def test_it_begins_at_infinity_and_stands_still():
    moved, motor = plain()
    assert moved.is_settled
    assert moved.mdpt == 0
    moved.poll(1000000)
    assert motor.moves == []


def test_steps_come_at_the_motors_rate():
    moved, motor = plain()
    moved.move_to(CLOSEST, 5000)
    moved.poll(5000)
    moved.poll(5000 + STEP_US - 1)
    assert motor.moves == []
    moved.poll(5000 + STEP_US)
    assert motor.moves == [1]
    moved.poll(5000 + 9 * STEP_US - 1)
    assert motor.moves == [1, 7]
    # Fractions of a step are not lost, however often it is polled.
    for now in range(6000, 105001, 77):
        moved.poll(now)
    moved.poll(105000)
    assert motor.position == moved.position == 100000 // STEP_US
    moved.poll(5000 + STEPS * STEP_US)
    assert moved.is_settled
    assert motor.position == STEPS


def test_the_last_poll_stops_at_the_target():
    moved, motor = plain()
    moved.move_to(33, 0)
    moved.poll(1000000)
    assert motor.moves == [20]
    assert moved.is_settled


def test_standing_still_saves_up_no_steps():
    moved, motor = plain()
    moved.move_to(33, 0)
    arrive(moved, 0)
    motor.moves.clear()
    moved.move_to(0, 9000000)
    moved.poll(9000000 + STEP_US)
    assert motor.moves == [-1]


def test_a_new_target_on_the_way_turns_it_round():
    moved, motor = plain()
    moved.move_to(CLOSEST, 0)
    moved.poll(100 * STEP_US)
    moved.move_to(0, 100 * STEP_US)
    moved.poll(101 * STEP_US)
    assert motor.moves == [100, -1]
    moved.poll(300 * STEP_US)
    assert motor.position == 0
    assert moved.is_settled


def test_beyond_the_stops_means_to_the_stop():
    moved, _ = plain()
    moved.move_to(1000000, 0)
    assert moved.target == STEPS
    arrive(moved, 0)
    assert moved.mdpt == CLOSEST
    moved.move_to(-7, 0)
    assert moved.target == 0


def test_every_distance_is_met_to_half_a_step():
    for configuration in (PLAIN, FULL):
        moved = focus_motor.Focus(Motor(), configuration, CLOSEST)
        moved.state = AT_REST
        for mdpt in range(0, CLOSEST + 1, 7):
            moved.move_to(mdpt, 0)
            moved.position = moved.target
            # Half a step is 0.87 milli-dioptres at most.
            assert abs(moved.mdpt - mdpt) <= 1
            # What it says of itself leads back to the same step.
            target = moved.target
            moved.move_to(moved.mdpt, 0)
            assert moved.target == target
            assert not moved.has_to_move(mdpt)


def test_rounding_is_to_the_nearest_step():
    moved, _ = plain()
    for mdpt, step in ((0, 0), (1, 1), (2, 1), (3, 2), (1650, 1000), (3299, 1999), (3300, 2000)):
        moved.move_to(mdpt, 0)
        assert moved.target == step, (mdpt, moved.target)


def test_the_calibration_is_met_at_its_points_and_between_them():
    moved = focus_motor.Focus(Motor(), FULL, CLOSEST)
    for step, mdpt in TABLE:
        moved.position = step
        assert moved.mdpt == mdpt
        moved.move_to(mdpt, 0)
        assert moved.target == step
    moved.position = 750
    assert moved.mdpt == 1185
    moved.move_to(2430 + 87, 0)
    assert moved.target == 1550


# --- ramps ------------------------------------------------------------------------------------


def expected(elapsed, distance):
    """Return the steps of a leg after a time, in floating point."""
    ramp = min(RAMP_US, (distance * 1.25e6) ** 0.5)
    top = min(RAMP_STEPS, distance / 2)
    end = 2 * ramp + max(0, distance - 2 * RAMP_STEPS) * STEP_US
    if elapsed >= end:
        return distance
    if elapsed < ramp:
        return elapsed * elapsed * 4e-7
    if elapsed > end - ramp:
        return distance - (end - elapsed) * (end - elapsed) * 4e-7
    return top + (elapsed - ramp) / STEP_US


def test_a_leg_accelerates_cruises_and_brakes():
    for mdpt in (2, 20, 130, 200, 1000, CLOSEST):
        moved, motor, now = homed()
        moved.move_to(mdpt, now)
        distance = moved.target
        most = 0
        for elapsed in range(0, 300000, 997):
            before = motor.position
            moved.poll(now + elapsed)
            # A step more or less: time and square root are whole microseconds.
            assert abs(motor.position - expected(elapsed, distance)) <= 1.1, (mdpt, elapsed)
            most = max(most, motor.position - before)
        assert motor.position == moved.target
        assert most <= 9, "8,000 steps a second"


def test_the_position_does_not_depend_on_how_often_it_is_polled():
    found = []
    for interval in (100, 1000, 13000, 400000):
        moved, motor, now = homed()
        moved.move_to(1590, now)
        for at in range(now, now + 60000, interval):
            moved.poll(at)
        moved.poll(now + 60000)
        found.append(motor.position)
    assert found == [found[0]] * 4


def test_it_is_settled_15_ms_after_its_last_step():
    moved, _, now = homed()
    moved.move_to(1590, now)
    end = now + 2 * RAMP_US + (1000 - 2 * RAMP_STEPS) * STEP_US
    moved.poll(end - 1)
    assert moved.state == MOVING
    moved.poll(end)
    assert moved.state == SETTLING
    moved.poll(end + 14999)
    assert not moved.is_settled
    moved.poll(end + 15000)
    assert moved.state == AT_REST


def test_a_target_further_on_needs_no_stop():
    moved, motor, now = homed()
    moved.move_to(1590, now)
    moved.poll(now + 50000)
    moved.move_to(CLOSEST, now + 50000)
    moved.poll(now + 2 * RAMP_US + (STEPS - 2 * RAMP_STEPS) * STEP_US)
    assert motor.position == STEPS


def test_no_target_makes_it_faster_than_its_ramps_allow():
    """Random targets at random times: the speed changes by 0.8 steps a millisecond, at most."""
    seed = 1
    moved, motor, now = homed()
    speed = 0
    for at in range(20000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        if seed >> 8 & 63 == 0:
            moved.move_to((seed >> 14) % 3300, now)
        before = motor.position
        now += 1000
        moved.poll(now)
        found = motor.position - before
        assert abs(found) <= 9, at
        # One for the change, and two for the rounding of both positions to whole steps.
        assert abs(found - speed) <= 3, (at, found, speed)
        speed = found
    now = arrive(moved, now)
    assert motor.position == moved.target


# --- backlash ---------------------------------------------------------------------------------


def test_it_always_arrives_from_below():
    moved, motor, now = homed()
    for mdpt in (1000, 900, 899, 901, 2000, 0, 1, 3300, 3299, 2):
        moved.move_to(mdpt, now)
        moves = []
        motor.moves.clear()
        now = arrive(moved, now)
        moves = [move for move in motor.moves if move]
        assert motor.position == moved.target
        up = 0
        for move in reversed(moves):
            if move < 0:
                break
            up += move
        is_reversed = min(moves) < 0
        assert up > 25 or not is_reversed, (mdpt, moves)
        assert abs(moved.mdpt - mdpt) <= 1


def test_a_step_up_needs_no_detour_and_a_step_down_does():
    moved, motor, now = homed()
    moved.move_to(1590, now)
    now = arrive(moved, now)
    motor.moves.clear()
    moved.turn_ring(1, now)
    now = arrive(moved, now)
    assert motor.moves == [1]
    motor.moves.clear()
    moved.turn_ring(-1, now)
    arrive(moved, now)
    assert sum(move for move in motor.moves if move < 0) == -28
    assert sum(motor.moves) == -1


def test_the_position_at_a_time_has_the_backlash():
    moved, _, now = homed()
    moved.move_to(1590, now)
    now = arrive(moved, now)
    assert moved.get_mdpt_at(now) == 1590
    moved.move_to(780, now)
    # In the first 20 steps down only the slack moves: 20 * 20 / 2 at 0.8 steps / ms^2.
    assert moved.get_mdpt_at(now) == moved.get_mdpt_at(now + 7000) == 1590
    ahead = moved.get_mdpt_at(now + 20000)
    assert 1400 < ahead < 1580
    moved.poll(now + 20000)
    assert moved.get_mdpt_at(now + 20000) == moved.mdpt == ahead


# --- homing and parking -----------------------------------------------------------------------


def test_it_finds_the_end_stop_from_anywhere():
    for position in (-39, 0, 777, 2040):
        motor = Motor(position)
        lens = focus_motor.Focus(motor, FULL, CLOSEST)
        assert lens.state == UNHOMED
        lens.poll(1000000)
        assert motor.moves == []
        lens.home(2000000)
        assert lens.state == HOMING and not lens.is_settled
        now = arrive(lens, 2000000)
        # Full travel, both ramps, and 40 steps up to infinity.
        assert now - 2000000 < 320000
        assert motor.position == lens.position == 0
        assert motor.moves[-1] > 0


def test_a_parked_lens_needs_no_travel():
    motor = Motor(-40)
    lens = focus_motor.Focus(motor, FULL, CLOSEST)
    lens.is_end_stop_closed = True
    lens.home(0)
    assert arrive(lens, 0) <= 31000
    assert [move for move in motor.moves if move < 0] == []
    assert motor.position == 0


def test_a_target_that_is_set_while_it_homes_is_met_afterwards():
    motor = Motor(1500)
    lens = focus_motor.Focus(motor, FULL, CLOSEST)
    assert lens.move_to(1590, 0)
    lens.home(0)
    lens.move_to(780, 5000)
    arrive(lens, 5000)
    assert motor.position == 500


def test_parking_drives_to_the_stop_at_once_and_unpark_goes_back():
    for moving in (False, True):
        lens, motor, now = homed()
        lens.move_to(1590, now)
        now = now + 30000 if moving else arrive(lens, now)
        lens.poll(now)
        lens.park(now)
        assert not lens.is_settled
        # Targets wait: the host's next frame must not move the lens out again.
        lens.move_to(780, now)
        now = arrive(lens, now)
        assert lens.state == PARKED
        assert motor.position == -40
        lens.unpark(now)
        arrive(lens, now)
        assert motor.position == 500


def test_a_lost_supply_makes_the_position_unknown():
    lens, motor, now = homed()
    lens.move_to(1590, now)
    lens.poll(now + 30000)
    lens.lose()
    steps = len(motor.moves)
    lens.poll(now + 100000)
    assert lens.state == UNHOMED and len(motor.moves) == steps
    lens.is_end_stop_closed = False
    lens.home(now + 200000)
    arrive(lens, now + 200000)
    assert motor.position == 1000, "it goes where it was to go"


# --- ring -------------------------------------------------------------------------------------


def test_a_slow_tick_is_less_than_3_mdpt():
    moved, _, now = homed()
    moved.move_to(1590, now)
    now = arrive(moved, now)
    for ticks in (1, 1, -1, 1):
        before = moved.mdpt
        now += 100000
        moved.turn_ring(ticks, now)
        now = arrive(moved, now)
        assert 0 < (moved.mdpt - before) * ticks <= 3


def test_a_faster_ring_moves_further():
    moved, _, now = homed()
    moved.turn_ring(1, now)
    for interval, steps in ((4000, 2), (1000, 4), (500, 4), (6000, 1)):
        before = moved.target
        now += interval
        moved.turn_ring(1, now)
        assert moved.target - before == steps
        # Several ticks in one call count like as many calls.
        before = moved.target
        now += 3 * interval
        moved.turn_ring(-3, now)
        assert before - moved.target == min(3 * steps, before)
    moved.turn_ring(100000, now + 1)
    assert moved.target == STEPS


def test_the_ring_wins_over_a_move_of_the_host():
    moved, motor, now = homed()
    moved.move_to(CLOSEST, now)
    now += 60000
    moved.poll(now)
    here = moved.position
    moved.turn_ring(1, now)
    assert moved.target == here + 1
    # The host has the lens again when the ring has rested.
    assert not moved.move_to(CLOSEST, now + RING_HOLD_US - 1)
    assert not moved.has_to_move(CLOSEST)
    now = arrive(moved, now)
    assert motor.position == here + 1
    moved.poll(now + RING_HOLD_US)
    assert moved.has_to_move(CLOSEST)
    assert moved.move_to(CLOSEST, now + RING_HOLD_US)
    arrive(moved, now + RING_HOLD_US)
    assert motor.position == STEPS


def test_ticks_add_up_while_the_lens_follows():
    moved, motor, now = homed()
    for _ in range(100):
        now += 10000
        moved.turn_ring(1, now)
        moved.poll(now)
    arrive(moved, now)
    assert motor.position == 100
