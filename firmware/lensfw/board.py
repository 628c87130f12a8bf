"""The main loop of a board: its USB, its ports, and the camera between them."""

import gc
import sys
import time

from . import carriers, clock, module


class Board:
    """``machine`` is the port's: its pins, and what of it watches and recovers the board."""

    def __init__(self, configuration, machine):
        self._machine = machine
        # The tiles want whole pieces of memory, as long as there are any.
        gc.collect()
        self._clock = clock.Clock(time.ticks_us, time.ticks_add(0, -1))
        self._camera = module.Module(configuration, machine.ports, self._clock)
        self._carrier = carriers.choose(configuration, machine, self._clock)
        self._camera.link.lanes_offered = self._carrier.lanes
        gc.collect()

    def show(self):
        """Pull up: the host sees the board from now on."""
        self._carrier.start()

    def serve(self):
        """Serve hosts until the user ends it; the REPL's serial port is as it was, then."""
        machine = self._machine
        try:
            machine.watch()
            self._run()
        except KeyboardInterrupt:
            print("lensfw: ended")
        except Exception as error:
            # Counted as a start that went wrong; the REPL says why.
            self._carrier.end()
            sys.print_exception(error)
        finally:
            self._carrier.end()
            machine.unwatch()

    def _run(self):
        machine, carrier, camera = self._machine, self._carrier, self._camera
        link = camera.link
        while True:
            now = self._clock.now()
            carrier.receive(link, now)
            camera.step()
            if not carrier.send(link, now):
                if carrier.left:
                    return
                machine.starts.poll(now, link.nonce is not None)
                machine.idle()
            machine.feed()
