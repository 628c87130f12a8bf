"""A locked-up controller differs from an idle, a suspended and a non-reading host."""

from lensfw import controller_lockup


class Controller:
    def __init__(self):
        self.number = 0
        self.quiet = False
        self.resets = 0

    def read_frame(self):
        return self.number & 0x7FF

    def is_suspended(self):
        return self.quiet

    def recover(self):
        self.resets += 1


def run(watched, controller, first, last, frames=True, configured=True, step=1):
    """Run the main loop from *first* to *last* milliseconds. Return the times of recoveries."""
    found = []
    for ms in range(first, last, step):
        if frames:
            controller.number = ms
        if watched.poll(ms & 0x3FFFFFFF, configured):
            found.append(ms)
    return found


def made():
    controller = Controller()
    return controller_lockup.Lockup(controller), controller


def test_a_host_that_sends_frames_is_left_alone():
    """An idle host and one that does not read send frames too, however rarely the loop samples."""
    for step in (1, 3, 5, 17, 100, 2047, 2049, 5000):
        watched, controller = made()
        assert not run(watched, controller, 0, 60000, step=step), step


def test_a_suspended_host_is_left_alone():
    watched, controller = made()
    run(watched, controller, 0, 100)
    # The bus is quiet for 3 ms before it counts as suspended.
    assert not run(watched, controller, 100, 104, frames=False)
    controller.quiet = True
    assert not run(watched, controller, 104, 60000, frames=False)
    controller.quiet = False
    assert not run(watched, controller, 60000, 61000)


def test_a_host_that_has_not_configured_it_is_left_alone():
    watched, controller = made()
    assert not run(watched, controller, 0, 60000, frames=False, configured=False)


def test_a_counter_that_stands_still_is_a_lock_up():
    watched, controller = made()
    run(watched, controller, 0, 100)
    found = run(watched, controller, 100, 200, frames=False)
    assert found[0] - 100 <= controller_lockup.SAMPLE_MS * (controller_lockup.SAMPLES + 1), found
    assert controller.resets == watched.recoveries == len(found)


def test_after_its_recovery_it_has_to_be_configured_again():
    watched, controller = made()
    run(watched, controller, 0, 50)
    assert len(run(watched, controller, 50, 85, frames=False)) == 1
    assert not run(watched, controller, 85, 2000, frames=False, configured=False)
    assert not run(watched, controller, 2000, 4000)
    assert len(run(watched, controller, 4000, 4035, frames=False)) == 1


def test_ticks_wrap():
    watched, controller = made()
    end = 1 << 30
    assert not run(watched, controller, end - 500, end + 500)
    assert len(run(watched, controller, end + 500, end + 540, frames=False)) == 1


def test_a_loop_that_was_away_for_one_round_of_the_counter():
    watched, controller = made()
    run(watched, controller, 0, 100)
    assert not run(watched, controller, 99 + 2048, 99 + 2049)
    assert not run(watched, controller, 99 + 2049, 99 + 2200)
