"""The main loop of a board: its USB, its ports, and the camera between them."""

import gc
import sys
import time

from . import clock, link_backends, module

# What a module makes beside its tiles, and how closely room for both is looked for.
_REST = 12288
_STEP = 8192
_COLLECT_US = 1000000


def _spare(limits):
    """Memory that is taken while the tiles are made: so they lie at the end of the heap.

    MicroPython looks for memory from the heap's beginning. Tiles that lay there would be passed
    over, block by block, each time that a function of a dozen variables is called.
    """
    gc.collect()
    needed = limits["tiles"] * limits["tile_bytes"] + _REST
    size = gc.mem_free() - needed
    while size > 0:
        try:
            # In one piece. It is free again at once, and the spare begins where it did.
            bytearray(size + needed)
            return bytearray(size)
        except MemoryError:
            size -= _STEP
    return None


class Board:
    """``machine`` is the port's: its pins, and what of it watches and recovers the board."""

    def __init__(self, configuration, machine):
        self._machine = machine
        spare = _spare(configuration["limits"])
        self._clock = clock.Clock(time.ticks_us, time.ticks_add(0, -1))
        self._camera = module.Module(configuration, machine.ports, self._clock)
        del spare
        self._backend = link_backends.choose(configuration, machine, self._clock)
        self._camera.link.max_lanes = self._backend.lanes
        gc.collect()

    def connect(self):
        """Pull up: the host sees the board from now on."""
        self._backend.start()

    def serve(self):
        """Serve hosts until the user ends it; the REPL's serial port is as it was, then."""
        machine = self._machine
        try:
            machine.start_watchdog()
            self._run()
        except KeyboardInterrupt:
            print("lensfw: ended")
        except Exception as error:
            # Counted as a start that went wrong; the REPL says why.
            self._backend.stop()
            sys.print_exception(error)
        finally:
            self._backend.stop()
            machine.stop_watchdog()

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
                machine.starts.poll(now, link.nonce is not None)
                if was_read and now - collected > _COLLECT_US:
                    # All tiles are full, and one has hardly begun to go: nothing waits for us now.
                    # Left to itself this comes when a lane is empty, and leaves it so for 11 ms.
                    gc.collect()
                    collected = now
                else:
                    machine.sleep()
            machine.feed_watchdog()
