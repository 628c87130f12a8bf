"""Tests of the firmware in the common subset: each function runs on CPython and on MicroPython.

They use plain asserts and ``helpers.module_world``, no test framework: a board has none.
"""
