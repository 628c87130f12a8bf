"""The work on every byte of a picture, as fast as the processor can do it.

Each implementation has the same names: ``append_crc``, ``pack12``, ``pack_lsb``, ``encode_rice``
and ``Prbs``. ``portable`` and ``plain_coder`` define their results, and a suite compares the others
with them. A board's image has only the one that it runs.
"""

import sys


def _choose_name():
    machine = getattr(sys.implementation, "_mpy", 0) >> 10 & 63
    # The numbers of .mpy files. 4 to 8 are armv6m to armv7emdp: all run armv6m's instructions.
    if 4 <= machine <= 8:
        return "thumb"
    return "viper" if machine else "plain_coder"


def _load_module():
    # CPython, and a processor without an implementation of its own, run the portable one.
    if sys.implementation.name == "micropython":
        try:
            return __import__("lensfw.arch." + _choose_name(), None, None, ("pack12",))
        except ImportError:
            pass
    from . import plain_coder

    return plain_coder


_module = _load_module()
NAME = _module.NAME
append_crc = _module.append_crc
pack12 = _module.pack12
# No board with Thumb instructions has a sensor of other bits than 12.
pack_lsb = getattr(_module, "pack_lsb", None)
encode_rice = _module.encode_rice
Prbs = _module.Prbs
