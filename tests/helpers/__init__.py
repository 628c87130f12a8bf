"""What tests of several folders share: a module on a bench of plain Python, and MicroPython.

``world`` is in the common subset of Python and MicroPython; the rest is for CPython.
"""
