"""Load the firmware and connect the board. ``lensboot``, outside of the slots, calls this module.

start() connects the board to USB, before MicroPython would do so by itself. serve() serves the
link. All modules are imported before the board connects, because the host's time counts from then
on. In these cases the board is plain MicroPython, with its REPL and without a link:

- ``lensboot`` has decided so: guard pin, failed starts, or a soft reset without main.py.
- The user pressed Ctrl-C on the serial port, and the serial port does not carry the link.
- The user pressed Ctrl-C twice while no session was open, and the serial port carries the link.
  mpremote begins with these two bytes.
"""

import gc
import sys

_board = None
# Bytes between two collections while the board starts. So the garbage of an import does not lie
# between what is loaded, and the tiles find memory in one piece.
_COLLECT_BYTES = 4096


def _set_threshold(count):
    if hasattr(gc, "threshold"):
        gc.threshold(count)


def start(configuration, is_confirmed):
    """Connect the board to USB. If not *is_confirmed*, a start that goes well confirms the slot.

    Raises whatever goes wrong. The watchdog is stopped then, so that the REPL can be used.
    """
    global _board
    _set_threshold(_COLLECT_BYTES)
    machine = None
    try:
        port = __import__("lensfw.ports." + configuration["port"], None, None, ("Machine",))
        machine = port.Machine(configuration)
        machine.start_watchdog()
        if not configuration["serial"]:
            configuration["serial"] = machine.read_chip_number()
        from . import board

        started = board.Board(configuration, machine, None if is_confirmed else confirm)
        started.connect()
        _board = started
    finally:
        _set_threshold(-1)
        if machine is not None and _board is None:
            machine.stop_watchdog()


def confirm():
    """Confirm the slot: the start went well."""
    import lensboot

    del sys.modules["lensboot"]
    lensboot.Starts().confirm()


def serve():
    """Serve hosts until the user ends it; raise the error that ends it otherwise."""
    _board.serve()
