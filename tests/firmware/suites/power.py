"""The supply: sampling, hysteresis, temperature, load, budget."""

from lensfw import power
from lensfw.power import (
    ENERGY_CHANNEL,
    LEAKAGE_CHANNEL,
    RISING_US,
    SAMPLE_US,
    TEMPERATURE_CHANNEL,
    VBUS_CHANNEL,
)


class Asked:
    def __init__(self):
        self.samples = []
        self.loads = []

    def sample(self, channel):
        self.samples.append(channel)

    def set_load(self, milliamperes):
        self.loads.append(milliamperes)


def supply():
    asked = Asked()
    return power.Power(asked, 150), asked


# Counts of a 12-bit ADC behind a divider by two, at 3.3 V.
MV_4598 = 2854
MV_4600 = 2855
MV_4400 = 2731
MV_4398 = 2730


def test_low_until_it_is_well_above():
    supplied, _ = supply()
    assert not supplied.is_good
    assert not supplied.add_sample(VBUS_CHANNEL, MV_4598)
    assert not supplied.is_good
    assert supplied.vbus_mv == 4598
    assert supplied.add_sample(VBUS_CHANNEL, MV_4600)
    assert supplied.is_good


def test_good_until_it_is_well_below():
    supplied, _ = supply()
    supplied.add_sample(VBUS_CHANNEL, 4095)
    assert supplied.vbus_mv == 6598
    assert not supplied.add_sample(VBUS_CHANNEL, MV_4598)
    assert not supplied.add_sample(VBUS_CHANNEL, MV_4400)
    assert supplied.is_good
    assert supplied.add_sample(VBUS_CHANNEL, MV_4398)
    assert not supplied.is_good
    assert not supplied.add_sample(VBUS_CHANNEL, MV_4400)
    assert not supplied.is_good


def test_samples_are_asked_for_when_due():
    supplied, asked = supply()
    every = [VBUS_CHANNEL, TEMPERATURE_CHANNEL, LEAKAGE_CHANNEL, ENERGY_CHANNEL]
    supplied.add_sample(VBUS_CHANNEL, MV_4600)
    supplied.poll(0)
    assert asked.samples == every
    supplied.poll(SAMPLE_US - 1)
    assert asked.samples == every
    supplied.poll(SAMPLE_US)
    assert asked.samples == every * 2


def test_a_supply_that_is_not_good_is_sampled_more_often():
    supplied, asked = supply()
    supplied.poll(0)
    asked.samples.clear()
    supplied.poll(RISING_US - 1)
    assert asked.samples == []
    supplied.poll(RISING_US)
    supplied.poll(2 * RISING_US - 1)
    assert asked.samples == [VBUS_CHANNEL]
    supplied.poll(2 * RISING_US)
    assert asked.samples == [VBUS_CHANNEL] * 2
    supplied.add_sample(VBUS_CHANNEL, MV_4600)
    supplied.poll(SAMPLE_US - 1)
    assert asked.samples == [VBUS_CHANNEL] * 2


def test_temperature_changes_no_supply():
    supplied, _ = supply()
    assert not supplied.add_sample(TEMPERATURE_CHANNEL, 931)
    assert supplied.temperature_mc == 25000
    assert not supplied.add_sample(TEMPERATURE_CHANNEL, 1117)
    assert supplied.temperature_mc == 39900
    # Sensors that are broken or not there.
    for counts in (0, 123, 2175, 4095):
        supplied.add_sample(TEMPERATURE_CHANNEL, counts)
        assert supplied.temperature_mc == 39900
    assert not supplied.is_good


def test_load_is_said_when_it_changes():
    supplied, asked = supply()
    supplied.set_active(0)
    supplied.set_active(0)
    supplied.add_sample(VBUS_CHANNEL, MV_4600)
    supplied.set_active(1400)
    supplied.set_active(1400)
    supplied.set_active(0)
    # 150 mW at the nominal 5 V, then 150, 1400 and 150 mW at 4.6 V.
    assert asked.loads == [30, 32, 304, 32]


def test_a_converter_that_started_again_is_sampled_and_told_the_load():
    supplied, asked = supply()
    supplied.add_sample(VBUS_CHANNEL, MV_4600)
    supplied.set_active(1400)
    supplied.poll(0)
    asked.samples.clear()
    supplied.restart()
    supplied.poll(1)
    supplied.set_active(1400)
    assert VBUS_CHANNEL in asked.samples
    assert asked.loads == [304, 304]


def test_a_supply_that_falls_is_sampled_again_soon():
    supplied, asked = supply()
    supplied.add_sample(VBUS_CHANNEL, MV_4600)
    supplied.poll(0)
    supplied.add_sample(VBUS_CHANNEL, MV_4398)
    asked.samples.clear()
    supplied.poll(1)
    supplied.poll(2)
    assert asked.samples == [VBUS_CHANNEL]


def test_a_load_is_a_power_and_not_a_current():
    supplied, asked = supply()
    supplied.add_sample(VBUS_CHANNEL, MV_4600)
    supplied.set_active(1400)
    # 10 mV more are noise, 198 mV less are not.
    supplied.add_sample(VBUS_CHANNEL, MV_4600 + 6)
    supplied.add_sample(VBUS_CHANNEL, MV_4400 + 2)
    supplied.set_active(1100)
    assert asked.loads == [304, 317, 249]


def test_the_budget_says_which_frames_are_possible():
    supplied = power.Power(Asked(), 150, 300)
    assert supplied.get_need_mw(1400) == 1700 <= supplied.budget_mw, "without a budget"
    assert not supplied.set_budget(449), "an idle module whose motor runs needs more"
    assert supplied.budget_mw == power.UNLIMITED_MW
    assert supplied.set_budget(450)
    assert supplied.budget_mw == supplied.idle_need_mw == 450
    assert supplied.set_budget(0xFFFFFFFF)
    assert supplied.budget_mw == power.UNLIMITED_MW


def test_modes_have_their_power():
    needs = {"active_mw": 1400}
    assert power.get_mode_mw(needs, {"binning": 2}) == 1400
    needs["binned_mw"] = 1100
    assert power.get_mode_mw(needs, {"binning": 2}) == 1100
    assert power.get_mode_mw(needs, {"binning": 1}) == 1400
