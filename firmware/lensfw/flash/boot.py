"""Connect a LensLink module. lensfw/boot.py says how it becomes plain MicroPython again."""

import lensfw.boot

lensfw.boot.start()
