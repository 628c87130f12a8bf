"""The focus motor: its rate, its end stops, and the conversion of dioptres to steps and back."""

from lensfw import focus_motor

STEPS = 2000
CLOSEST = 3300
STEP_US = 125


class Motor:
    def __init__(self):
        self.position = 0
        self.moves = []

    def step(self, count):
        self.position += count
        self.moves.append(count)


def lens():
    motor = Motor()
    return focus_motor.Focus(motor, STEPS, CLOSEST, 1000000 // STEP_US), motor


def arrive(lens, now):
    while not lens.is_settled:
        now += 1000
        lens.poll(now)
    return now


def test_it_begins_at_infinity_and_stands_still():
    moved, motor = lens()
    assert moved.is_settled
    assert moved.mdpt == 0
    moved.poll(1000000)
    assert motor.moves == []


def test_steps_come_at_the_motors_rate():
    moved, motor = lens()
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
    moved, motor = lens()
    moved.move_to(33, 0)
    moved.poll(1000000)
    assert motor.moves == [20]
    assert moved.is_settled


def test_standing_still_saves_up_no_steps():
    moved, motor = lens()
    moved.move_to(33, 0)
    arrive(moved, 0)
    motor.moves.clear()
    moved.move_to(0, 9000000)
    moved.poll(9000000 + STEP_US)
    assert motor.moves == [-1]


def test_a_new_target_on_the_way_turns_it_round():
    moved, motor = lens()
    moved.move_to(CLOSEST, 0)
    moved.poll(100 * STEP_US)
    moved.move_to(0, 100 * STEP_US)
    moved.poll(101 * STEP_US)
    assert motor.moves == [100, -1]
    moved.poll(300 * STEP_US)
    assert motor.position == 0
    assert moved.is_settled


def test_beyond_the_stops_means_to_the_stop():
    moved, _ = lens()
    moved.move_to(1000000, 0)
    assert moved.target == STEPS
    arrive(moved, 0)
    assert moved.mdpt == CLOSEST
    moved.move_to(-7, 0)
    assert moved.target == 0


def test_every_distance_is_met_to_half_a_step():
    moved, _ = lens()
    for mdpt in range(0, CLOSEST + 1, 7):
        moved.move_to(mdpt, 0)
        moved.position = moved.target
        # Half a step is 0.825 milli-dioptres.
        assert abs(moved.mdpt - mdpt) <= 1
        # What it says of itself leads back to the same step.
        target = moved.target
        moved.move_to(moved.mdpt, 0)
        assert moved.target == target


def test_rounding_is_to_the_nearest_step():
    moved, _ = lens()
    for mdpt, step in ((0, 0), (1, 1), (2, 1), (3, 2), (1650, 1000), (3299, 1999), (3300, 2000)):
        moved.move_to(mdpt, 0)
        assert moved.target == step, (mdpt, moved.target)


def test_a_detent_is_an_eightieth_of_the_travel():
    moved, _ = lens()
    moved.turn_ring(3, 0)
    assert moved.target == 75
    moved.turn_ring(-1, 0)
    assert moved.target == 50
    moved.turn_ring(-5, 0)
    assert moved.target == 0
    moved.turn_ring(200, 0)
    assert moved.target == STEPS


def test_a_turn_after_a_rest_saves_up_no_steps():
    moved, motor = lens()
    moved.turn_ring(1, 9000000)
    moved.poll(9000000 + 2 * STEP_US)
    assert motor.moves == [2]
