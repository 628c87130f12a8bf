"""The main loop of a board: USB on one side, the ports on the other, the camera between them.

Called by ``boot``. It calls ``module`` (the camera) and ``link_backends`` (USB or serial port).
"""

import gc
import sys
import time

from . import clock, link_backends, module

# Memory that a module needs besides its tiles, with words of 4 and of 8 bytes; and the step of the
# search for room for both.
_REST = 12288 if sys.maxsize < 1 << 32 else 65536
_STEP = 8192
_COLLECT_US = 1000000
# A board that has run for this long without a fault has started well, even without a session.
_WELL_US = 10000000


def _spare(limits):
    """Return memory to hold while the tiles are made, so that they lie at the end of the heap.

    MicroPython searches for free memory from the start of the heap. If the tiles lay there, each
    call of a function with a dozen variables would skip them block by block.
    """
    gc.collect()
    needed = limits["tiles"] * limits["tile_bytes"] + _REST
    size = gc.mem_free() - needed
    while size > 0:
        try:
            # One piece for both. It is free again at once, and the spare begins at its start.
            bytearray(size + needed)
            return bytearray(size)
        except MemoryError:
            size -= _STEP
    return None


class Board:
    """The camera and its link on a board.

    *machine* is the port's Machine: pins and watchdog. *confirm* is called once the start went
    well.
    """

    def __init__(self, configuration, machine, confirm=None):
        self._machine = machine
        self._confirm = confirm
        spare = _spare(configuration["limits"])
        self._clock = clock.Clock(time.ticks_us, time.ticks_add(0, -1))
        self._camera = module.Module(configuration, machine.ports, self._clock)
        del spare
        self._backend = link_backends.choose_backend(configuration, machine, self._clock)
        self._camera.link.max_lanes = self._backend.lanes
        gc.collect()

    def connect(self):
        """Connect the board to the bus."""
        self._backend.start()

    def serve(self):
        """Serve hosts until the user ends it. Afterwards the REPL has its serial port again."""
        try:
            self._run()
        except KeyboardInterrupt:
            print("lensfw: ended")
        finally:
            self._backend.stop()
            self._machine.stop_watchdog()

    def _run(self):
        machine, backend, camera = self._machine, self._backend, self._camera
        link = camera.link
        collected, read = 0, False
        while True:
            now = self._clock.now()
            backend.receive(link, now)
            was_read, read = read, camera.step()
            if not backend.send(link) and not read:
                if backend.wants_repl:
                    return
                if self._confirm is not None and (link.nonce is not None or now >= _WELL_US):
                    confirm, self._confirm = self._confirm, None
                    confirm()
                if was_read and now - collected > _COLLECT_US:
                    # All tiles are full, and the transfer of one has just begun: no lane waits.
                    # An automatic collection comes when a lane is empty, and costs it 11 ms.
                    gc.collect()
                    collected = now
                else:
                    machine.sleep()
            machine.feed_watchdog()
