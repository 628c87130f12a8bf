"""How a board starts. The boot.py and main.py in the root of its flash call this module.

boot.py connects the board to USB, before MicroPython would do so by itself. main.py serves the
link. All modules are imported before the board connects, because the host's time counts from then
on. In these cases the board is plain MicroPython, with its REPL and without a link:

- The guard pin is low at the start.
- The last three starts in a row hung or failed (see ``start_counter``). This lasts for one start.
- The user pressed Ctrl-C on the serial port, and the serial port does not carry the link.
- The user pressed Ctrl-C twice while no session was open, and the serial port carries the link.
  mpremote begins with these two bytes.
"""

import gc
import sys

CONFIGURATION = "/lensfw.json"
# The key by which the module proves that it is genuine, in hexadecimal digits.
KEY_FILE = "/lenslink.key"

_board = None
# Bytes between two collections while the board starts. So the garbage of an import does not lie
# between what is loaded, and the tiles find memory in one piece.
_COLLECT_BYTES = 4096


def _set_threshold(count):
    if hasattr(gc, "threshold"):
        gc.threshold(count)


def _read_key():
    """Return the text of the module's key, or None if it has none."""
    try:
        with open(KEY_FILE) as file:
            return file.read()
    except OSError:
        return None


def start():
    """Connect the board to USB, unless it has to be plain MicroPython. Called by boot.py.

    Never raises: a board that cannot start still has its REPL.
    """
    global _board
    try:
        import json

        _set_threshold(_COLLECT_BYTES)
        with open(CONFIGURATION) as file:
            configuration = json.load(file)
        port = __import__("lensfw.ports." + configuration["port"], None, None, ("Machine",))
        configuration["auth_key"] = _read_key()
        machine = port.Machine(configuration)
        if machine.is_guarded():
            print("lensfw: the guard pin is low: plain MicroPython")
            return
        if not machine.starts.count_start():
            print("lensfw: the last starts went wrong: plain MicroPython, once")
            return
        from . import board

        started = board.Board(configuration, machine)
        started.connect()
        _board = started
    except Exception as error:
        sys.print_exception(error)
    finally:
        _set_threshold(-1)


def serve():
    """Serve hosts until the user or an error ends it. Called by main.py."""
    if _board is not None:
        _board.serve()
