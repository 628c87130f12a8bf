"""Benches: the places where a module runs, chosen by the scheme of a URL.

    sim              ``sim:``: the firmware on MicroPython's Unix port, in front of the plant
    usbip            ``usbip:``: the firmware behind a virtual USB board
    pico             ``pico:``: the firmware on an emulated Raspberry Pi Pico
    shm_bridge       shared memory for a firmware that has none
    board_profile    the boards and their limits, and the firmware's configuration
    micropython      finds MicroPython's Unix port

The driver finds the openers through the entry points ``lenslink.transports``.
"""
