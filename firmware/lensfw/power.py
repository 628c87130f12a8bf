"""The supply: its voltage, the load of the module, its energy, and the budget that it has."""

from . import energy

_NOMINAL_MV = 5000
# The converter of a module takes the same power at any voltage. A difference of the voltage that is
# larger than this changes the current.
_LOAD_STEP_MV = 20
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


# Without a budget of the host. It is no large integer.
UNLIMITED_MW = 1 << 29


def get_mode_mw(needs, mode):
    """Return the power of frames of a mode. *needs* is the configuration's."""
    if mode["binning"] > 1:
        return needs.get("binned_mw", needs["active_mw"])
    return needs["active_mw"]


class Power:
    """Sample the supply voltage and the temperature. ``is_good`` has hysteresis.

    The focus motor may run at any time. So an idle module draws *idle_mw* + *motor_mw* at most, and
    one that exposes or reads frames the power of their mode + *motor_mw*.
    """

    def __init__(self, ports, idle_mw, motor_mw=0):
        self.meter = energy.EnergyMeter(self._sample_energy)
        self.budget_mw = UNLIMITED_MW
        self._motor_mw = motor_mw
        self.vbus_mv = 0
        self.is_good = False
        self.temperature_mc = 25000
        self._ports = ports
        self._idle_mw = idle_mw
        self._next = 0
        self._next_vbus = 0
        # The load that was told, and the voltage at which its current was computed.
        self._load_mw = None
        self._load_mv = 0

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
        """Take a sample of another channel than ENERGY. Return True if ``is_good`` has changed."""
        if channel == TEMPERATURE_CHANNEL:
            # TMP36: 500 mV at 0 degrees, 10 mV a degree.
            millidegrees = (counts * 3300 // _COUNTS - 500) * 100
            if _COLDEST_MC <= millidegrees <= _HOTTEST_MC:
                self.temperature_mc = millidegrees
            return False
        self.vbus_mv = counts * _FULL_SCALE_MV // _COUNTS
        if self._load_mw is not None and abs(self.vbus_mv - self._load_mv) > _LOAD_STEP_MV:
            self._tell_load()
        was = self.is_good
        self.is_good = self.vbus_mv >= (LOW_MV if was else GOOD_MV)
        if self.is_good == was:
            return False
        self._next_vbus = 0
        return True

    @property
    def idle_need_mw(self):
        """What a module without frames may draw."""
        return self._idle_mw + self._motor_mw

    def get_need_mw(self, mode_mw):
        """Return what a module may draw while it has frames of a mode with that power."""
        return mode_mw + self._motor_mw

    def set_budget(self, milliwatts):
        """Take the budget that the host grants. Return False if it is too low for an idle module.

        Ending the frames that need more is up to the caller.
        """
        if milliwatts < self.idle_need_mw:
            return False
        self.budget_mw = min(milliwatts, UNLIMITED_MW)
        return True

    def set_active(self, mode_mw):
        """Tell the ports the load of a module with frames of that power, 0 of an idle one."""
        self.meter.set_active(mode_mw > 0)
        load = mode_mw or self._idle_mw
        if load != self._load_mw:
            self._load_mw = load
            self._tell_load()

    def _tell_load(self):
        self._load_mv = self.vbus_mv or _NOMINAL_MV
        self._ports.set_load(self._load_mw * 1000 // self._load_mv)

    def restart(self):
        """React to a converter that has just started: sample at once, and tell the load again."""
        self._next = 0
        self._load_mw = None

    def _sample_energy(self):
        self._ports.sample(ENERGY_CHANNEL)
