"""How a board starts. The boot.py and main.py in the root of its flash call this module.

boot.py connects the board to USB, before MicroPython would do so by itself. main.py serves the
link. All modules are imported before the board connects, because the host's time counts from then
on. In these cases the board is plain MicroPython, with its REPL and without a link:

- The guard pin is low at the start.
- The last three starts in a row hung or failed (see ``start_counter``). This lasts for one start.
- The user pressed Ctrl-C on the serial port, and the serial port does not carry the link.
- The user pressed Ctrl-C twice while no session was open, and the serial port carries the link.
  mpremote begins with these two bytes.

After a soft reset main.py connects the board, and not boot.py. A soft reset into the raw REPL, as
mpremote does it, runs boot.py alone: the board would show itself as a module that nobody serves.
"""

import sys

CONFIGURATION = "/lensfw.json"

_board = None
_is_connected = False


def start():
    """Prepare the board, and connect it to USB after a hard reset. Called by boot.py.

    Never raises: a board that cannot start still has its REPL.
    """
    global _board, _is_connected
    try:
        import json

        with open(CONFIGURATION) as file:
            configuration = json.load(file)
        port = __import__("lensfw.ports." + configuration["port"], None, None, ("Machine",))
        machine = port.Machine(configuration)
        if machine.is_guarded():
            print("lensfw: the guard pin is low: plain MicroPython")
            return
        if not machine.starts.count_start():
            print("lensfw: the last starts went wrong: plain MicroPython, once")
            return
        from . import board

        is_soft_reset = machine.is_soft_reset()
        started = board.Board(configuration, machine)
        if not is_soft_reset:
            started.connect()
            _is_connected = True
        _board = started
    except Exception as error:
        sys.print_exception(error)


def serve():
    """Connect the board if start() has not. Serve until the user or an error ends it.

    Called by main.py.
    """
    if _board is not None:
        if not _is_connected:
            _board.connect()
        _board.serve()
