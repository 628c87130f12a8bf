"""Count energy: of frames, idle, and all; with answers that arrive late."""

from lensfw.energy import Counter, EnergyMeter


class Gauge:
    """A gauge whose answers arrive when deliver() is called."""

    def __init__(self):
        self.counts = 12345
        self.answers = []

    def ask(self):
        self.answers.append(self.counts & 0xFFFFFF)

    def deliver(self, meter, count=100):
        while self.answers and count:
            meter.add_sample(self.answers.pop(0))
            count -= 1


def gauged():
    gauge = Gauge()
    meter = EnergyMeter(gauge.ask)
    meter.poll()
    gauge.deliver(meter)
    return meter, gauge


def test_it_counts_from_its_first_sample():
    meter, gauge = gauged()
    assert meter.microjoules == 0
    gauge.counts += 700
    meter.poll()
    gauge.deliver(meter)
    assert meter.microjoules == meter.idle.microjoules == 700


def test_each_frame_has_its_energy_and_the_rest_is_idle():
    for late in (False, True):
        meter, gauge = gauged()
        found = []
        for spent, act in (
            (100, lambda meter: meter.set_active(True)),
            (20, EnergyMeter.poll),
            (30, EnergyMeter.end_frame),
            (7, EnergyMeter.poll),
            (40, EnergyMeter.end_frame),
            (3, lambda meter: meter.set_active(False)),
            (500, EnergyMeter.poll),
        ):
            gauge.counts += spent
            act(meter)
            if not late:
                gauge.deliver(meter)
                found.append(meter.last_frame_uj)
        gauge.deliver(meter)
        assert late or found == [0, 0, 50, 50, 47, 47, 47]
        assert meter.frames.microjoules == 97
        # What no frame has ended is idle.
        assert meter.idle.microjoules == 603
        assert meter.microjoules == 700


def test_at_any_time_the_parts_are_the_whole():
    seed = 7
    meter, gauge = gauged()
    for _ in range(3000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        gauge.counts += seed >> 16 & 0xFFFF
        choice = seed >> 8 & 7
        if choice < 2:
            meter.set_active(choice == 0)
        elif choice < 4:
            meter.end_frame()
        else:
            meter.poll()
        gauge.deliver(meter, seed >> 12 & 3)
        parts = meter.frames.microjoules + meter.idle.microjoules + meter.open_uj
        assert meter.microjoules == parts
    gauge.deliver(meter)
    meter.poll()
    gauge.deliver(meter)
    assert meter.microjoules == gauge.counts - 12345


def test_the_register_wraps():
    meter, gauge = gauged()
    for _ in range(10):
        gauge.counts += 0xFFFFFF
        meter.poll()
        gauge.deliver(meter)
    assert meter.microjoules == 10 * 0xFFFFFF


def test_a_gauge_that_does_not_answer_is_asked_no_more():
    meter, gauge = gauged()
    for _ in range(100):
        meter.poll()
    assert len(gauge.answers) == 16
    gauge.counts += 50
    gauge.deliver(meter)
    meter.poll()
    gauge.deliver(meter)
    assert meter.microjoules == 50
    # An answer that nobody asked for is ignored.
    meter.add_sample(99)
    assert meter.microjoules == 50


def test_a_frame_that_ends_while_idle_is_none():
    meter, gauge = gauged()
    meter.end_frame()
    assert gauge.answers == []


def test_counters_are_two_words():
    counter = Counter()
    for _ in range(5000):
        counter.add(999999)
    assert counter.microjoules == 4999995000
    assert counter.get_words() == (4999995000 - (1 << 32), 1)
