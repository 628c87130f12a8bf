"""LensLink's firmware: the module's end of the link, for MicroPython.

It is written in the common subset of Python and MicroPython, so that CPython can import and
explore its machines. Everything that touches hardware is behind ``ports`` and ``transports``.
"""

VERSION = "0.1.0"
