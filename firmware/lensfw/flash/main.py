"""Serve hosts until the user ends it. MicroPython runs this file after boot.py."""

import lensfw.boot

lensfw.boot.serve()
