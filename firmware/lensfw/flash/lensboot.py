"""Choose the slot whose firmware a board starts, and fall back if that firmware fails.

A board holds two copies of the firmware, in the folders ``/a`` and ``/b``. This file, boot.py,
main.py and lensfw.json lie outside of them. lensfw.json has what belongs to the board, such as its
serial number; the configuration that a firmware needs lies in its slot. The marker, a small file,
names the slot to start. It is only ever replaced by rename, so a power cut leaves the old marker or
the new one.

A start has failed if the watchdog or an exception ended it. A cut supply, a reset and Ctrl-C do
not count. A slot is confirmed once a host has opened a session, or after 10 s.

    slot         event                    what happens
    unconfirmed  confirmed                it becomes the good slot; the failures are forgotten
    unconfirmed  third failure in a row   the good slot is started; without one: as confirmed
    confirmed    confirmed                the failures are forgotten
    confirmed    third failure in a row   the board is plain MicroPython for one start

The board is plain MicroPython too while its guard pin is low, and after a soft reset that does not
run main.py. Without ``resume``, each command of mpremote begins with such a reset.
"""

import io
import json
import os
import sys
import time

MARKER = "/lensboot.json"
OWN = "/lensfw.json"
CONFIGURATION = "/%s/config.json"
MOST_FAILURES = 3
_INTERRUPT = 3
# Characters of the last crash that are kept.
_CRASH_CHARS = 1000

# RP2040 datasheet, 4.7.6 and 2.14.3; RP2350 datasheet, 12.9.7 and 7.5.3: why the chip was reset,
# and which of its parts are held in reset.
_RP2040 = (0x40058008, 0x4000C000, 1 << 24)
_RP2350 = (0x400D8008, 0x40020000, 1 << 28)
_REASON_TIMER = 1
# RP2040 datasheet, 4.1.4; the same on an RP2350. It is read only if it is not held in reset.
_USB_MAIN = 0x50110040
_USB_ENABLED = 1


class Starts:
    """The marker, and what a start and its end change in it."""

    def __init__(self, path=MARKER):
        self._path = path
        try:
            with open(path) as file:
                self.marker = json.load(file)
        except (OSError, ValueError):
            self.marker = None

    def begin(self, was_watchdog):
        """Return the slot to start; None for plain MicroPython.

        *was_watchdog* is True if the watchdog ended the last start.
        """
        marker = self.marker
        if was_watchdog:
            self._count_failure("the watchdog ended it")
        if marker["failures"] < MOST_FAILURES:
            return marker["slot"]
        good = marker["good"]
        marker["failures"] = 0
        is_confirmed = good is None or good == marker["slot"]
        if not is_confirmed:
            marker["slot"] = good
        self._write()
        return None if is_confirmed else good

    def fail(self, error):
        """Count a start that an exception ended, and keep its traceback."""
        text = io.StringIO()
        sys.print_exception(error, text)
        self._count_failure(text.getvalue())

    def is_settled(self):
        """Return True if there is nothing to confirm."""
        return not self.marker["failures"] and self.marker["good"] == self.marker["slot"]

    def confirm(self):
        """Confirm the slot: the start went well."""
        self.marker["failures"] = 0
        self.marker["good"] = self.marker["slot"]
        self._write()

    def _count_failure(self, why):
        marker = self.marker
        marker["failures"] += 1
        marker["crash"] = {"slot": marker["slot"], "text": why[-_CRASH_CHARS:]}
        self._write()

    def _write(self):
        with open(self._path + ".new", "w") as file:
            json.dump(self.marker, file)
        os.rename(self._path + ".new", self._path)


def start():
    """Start the chosen slot's firmware, which connects the board. Called by boot.py.

    Return the firmware, or None for plain MicroPython. After a soft reset return False: main.py
    calls load() then. Never raises: a board that cannot start still has its REPL.
    """
    return False if _is_soft_reset() else load()


def load():
    """Load the chosen slot's firmware and connect the board. Return it, or None.

    After a soft reset the serial port is open meanwhile. If it carries the link, any byte of a
    host's packet may be a 3, so Ctrl-C is a byte like any other from here on.
    """
    _set_interrupt(-1)
    firmware = None
    try:
        firmware = _load()
    except Exception as error:
        fail(error)
    finally:
        if firmware is None:
            _set_interrupt(_INTERRUPT)
    return firmware


def _set_interrupt(byte):
    """Choose the byte of the serial port that raises KeyboardInterrupt; -1 for none."""
    import micropython

    micropython.kbd_intr(byte)


def _load():
    """Load the chosen slot's firmware. Return None if the board is to be plain MicroPython."""
    own = _read_own()
    if _is_guarded(own.get("guard")):
        print("lensfw: the guard pin is low: plain MicroPython")
        return None
    starts = Starts()
    if starts.marker is None:
        print("lensfw: no slot is chosen: plain MicroPython")
        return None
    slot = starts.begin(_was_watchdog())
    if slot is None:
        print("lensfw: the last starts went wrong: plain MicroPython, once")
        return None
    with open(CONFIGURATION % slot) as file:
        configuration = json.load(file)
    if configuration["usb"]["lanes"]:
        _set_interrupt(_INTERRUPT)  # the port is the REPL's alone
    configuration["serial"] = own.get("serial") or ""
    sys.path.insert(0, "/" + slot)
    from lensfw import boot

    boot.start(configuration, starts.is_settled())
    return boot


def fail(error):
    """Show the error on the REPL and count it. A board without a marker has nothing to count."""
    sys.print_exception(error)
    starts = Starts()
    if starts.marker is not None:
        starts.fail(error)


def _read_own():
    """Return what belongs to the board. Without its file, the serial number is the chip's."""
    try:
        with open(OWN) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def _is_guarded(number):
    """Return True if the guard pin, GPIO *number*, is low."""
    if number is None:
        return False
    from machine import Pin

    pin = Pin(number, Pin.IN, Pin.PULL_UP)
    time.sleep_us(50)  # for the pull-up to be one
    return not pin.value()


def _get_registers():
    return _RP2040 if "RP2040" in sys.implementation._machine else _RP2350


def _was_watchdog():
    """Return True if the watchdog's timer reset the chip. machine.reset() does not count."""
    import machine

    if _is_soft_reset():
        return False
    if sys.platform == "rp2":
        return bool(machine.mem32[_get_registers()[0]] & _REASON_TIMER)
    return machine.reset_cause() == getattr(machine, "WDT_RESET", -1)


def _is_soft_reset():
    """Return True if only MicroPython was reset: then the USB controller runs already."""
    import machine

    if sys.platform == "rp2":
        _, resets, usb = _get_registers()
        return not machine.mem32[resets] & usb and bool(machine.mem8[_USB_MAIN] & _USB_ENABLED)
    return machine.reset_cause() == getattr(machine, "SOFT_RESET", -1)
