"""How a board starts: called by the boot.py and main.py that lie in the root of its flash.

boot.py shows the board on USB, before MicroPython would do so by itself; main.py serves the link.
Everything is imported first: from the pull-up on, time counts. The board is plain MicroPython,
with its REPL and without a link,

- while the guard pin is held low as it starts;
- for one start, after three in a row that hung or fell over (see recovery);
- after Ctrl-C on its serial port, where that is not the link itself;
- where it is: after Ctrl-C Ctrl-C while no session is open, which is what mpremote begins with.
"""

import sys

CONFIGURATION = "/lensfw.json"

_board = None


def start():
    """From boot.py. Never raises: a board that cannot start has its REPL all the same."""
    global _board
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

        started = board.Board(configuration, machine)
        started.connect()
        _board = started
    except Exception as error:
        sys.print_exception(error)


def serve():
    """From main.py: until the user, or an error, ends it."""
    if _board is not None:
        _board.serve()
