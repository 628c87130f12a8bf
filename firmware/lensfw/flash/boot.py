"""Start the firmware of the chosen slot, before MicroPython connects the board."""

import sys

import lensboot

# Its memory is free again afterwards.
del sys.modules["lensboot"]
firmware = lensboot.start()
del lensboot
