"""The supply: its voltage, the load of the module, its energy, and the budget that it has."""

from . import energy

# 12-bit ADC at 3.3 V behind a divider by two.
_FULL_SCALE_MV = 6600
_COUNTS = 4096
# USB's own limits for a 5 V supply under load, with hysteresis.
LOW_MV = 4400
GOOD_MV = 4600

# A TMP36's range. A sample beyond it is of a sensor that is broken or not there.
_COLDEST_MC = -40000
_HOTTEST_MC = 125000

VBUS_CHANNEL = 0
TEMPERATURE_CHANNEL = 1
# The gauge: microjoules, modulo 2^24.
ENERGY_CHANNEL = 2
# The voltage at the detect pin, for ``contacts``.
LEAKAGE_CHANNEL = 3

SAMPLE_US = 100000
# A supply that is not good yet is sampled more often: the host waits for the module.
RISING_US = 10000


# Without a budget of the host.
UNLIMITED_MW = 1 << 29


class Power:
    """Sample the supply voltage and the temperature. ``is_good`` has hysteresis.

    The focus motor may run at any time. So an idle module draws *idle_mw* + *motor_mw* at most, and
    one that exposes or reads frames *active_mw* + *motor_mw*.
    """

    def __init__(self, ports, idle_mw, active_mw, motor_mw=0):
        self.meter = energy.EnergyMeter(self._sample_energy)
        self.budget_mw = UNLIMITED_MW
        self._motor_mw = motor_mw
        self.vbus_mv = 0
        self.is_good = False
        self.temperature_mc = 25000
        self._ports = ports
        self._idle_mw = idle_mw
        self._active_mw = active_mw
        self._next = 0
        self._next_vbus = 0
        self._load_mw = None

    def poll(self, now):
        """Ask the ports for samples when they are due."""
        if now >= self._next:
            self._next = self._next_vbus = now + SAMPLE_US
            self._ports.sample(VBUS_CHANNEL)
            self._ports.sample(TEMPERATURE_CHANNEL)
            self._ports.sample(LEAKAGE_CHANNEL)
            self.meter.poll()
        elif not self.is_good and now >= self._next_vbus:
            self._ports.sample(VBUS_CHANNEL)
        else:
            return
        if not self.is_good:
            self._next_vbus = now + RISING_US

    def add_sample(self, channel, counts):
        """Take a sample. Return True if ``is_good`` has changed."""
        if channel == TEMPERATURE_CHANNEL:
            # TMP36: 500 mV at 0 degrees, 10 mV a degree.
            millidegrees = (counts * 3300 // _COUNTS - 500) * 100
            if _COLDEST_MC <= millidegrees <= _HOTTEST_MC:
                self.temperature_mc = millidegrees
            return False
        if channel == ENERGY_CHANNEL:
            self.meter.add_sample(counts)
            return False
        self.vbus_mv = counts * _FULL_SCALE_MV // _COUNTS
        was = self.is_good
        self.is_good = self.vbus_mv >= (LOW_MV if was else GOOD_MV)
        if self.is_good == was:
            return False
        self._next_vbus = 0
        return True

    def set_budget(self, milliwatts):
        """Take the budget that the host grants. Return False if it is too low for an idle module.

        ``can_be_active`` says whether frames are possible with it.
        """
        if milliwatts < self._idle_mw + self._motor_mw:
            return False
        self.budget_mw = milliwatts
        return True

    @property
    def active_need_mw(self):
        """What a module with frames may draw."""
        return self._active_mw + self._motor_mw

    @property
    def can_be_active(self):
        """The budget is enough for frames."""
        return self.budget_mw >= self.active_need_mw

    def set_active(self, active):
        """Tell the ports the load of an active or an idle module."""
        self.meter.set_active(active)
        load = self._active_mw if active else self._idle_mw
        if load != self._load_mw:
            self._load_mw = load
            self._ports.set_load(load * 1000 // (self.vbus_mv or 5000))

    def restart(self):
        """React to a converter that has just started: sample at once, and tell the load again."""
        self._next = 0
        self._load_mw = None

    def _sample_energy(self):
        self._ports.sample(ENERGY_CHANNEL)
