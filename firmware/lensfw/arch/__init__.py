"""What is done to every byte of a picture, as fast as the processor can.

The same names whatever it is: ``append_crc``, ``pack12`` and ``Prbs``. ``portable`` is their
definition; the others are held against it. A board's image has only the one that it runs.
"""

import sys


def _choose_name():
    machine = getattr(sys.implementation, "_mpy", 0) >> 10 & 63
    # As .mpy files count: armv6m to armv7emdp, all that run the first one's instructions.
    if 4 <= machine <= 8:
        return "thumb"
    return "viper" if machine else "portable"


def _load_module():
    # CPython, and a processor that has no module of its own, run what defines them all.
    if sys.implementation.name == "micropython":
        try:
            return __import__("lensfw.arch." + _choose_name(), None, None, ("pack12",))
        except ImportError:
            pass
    from . import portable

    return portable


_module = _load_module()
NAME = _module.NAME
append_crc = _module.append_crc
pack12 = _module.pack12
Prbs = _module.Prbs
