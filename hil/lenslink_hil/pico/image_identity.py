"""Which MicroPython an image is: an emulated Pico is started with it and asked.

An image of micropython.org passes, and so does one that somebody built. What counts is what the
interpreter says about itself, not the bytes of the file.
"""

from __future__ import annotations

import ast
from typing import Final

from lenslink.errors import RigError, UsageError

from ..benches.board_profile import load_board
from ..flash.board_files import compile_source
from ..flash.board_identity import Identity, check_is_board, check_loads
from ..flash.bundle import read_mpy_head
from .run import run_script

TESTED_VERSION: Final = "v1.28.0"
"""The version of MicroPython that the tests have passed with."""
_BOARD: Final = "pico"
_ASK: Final = b"""
import sys
print(repr((sys.version, sys.implementation._machine, sys.implementation._mpy)))
"""
# Native code has the sub-version and the architecture in its head.
_NATIVE: Final = b"@micropython.native\ndef f():\n    return 1\n"
_SECONDS: Final = 10.0


def identify_image() -> Identity:
    """Start an emulated Pico with the image, and return what its MicroPython says.

    Raises:
        RigError: there is no image, it does not start, or it does not answer.
    """
    pieces = run_script({}, script=_ASK, seconds=_SECONDS)
    output = b"".join(each for each in pieces if isinstance(each, bytes))
    try:
        version, machine, mpy = ast.literal_eval(output.decode("utf-8", "replace").strip())
    except (ValueError, SyntaxError, TypeError):
        raise RigError("the image does not say which MicroPython it is") from None
    return Identity(str(machine), int(mpy), str(version))


def check_image(identity: Identity) -> str:
    """Check that the firmware runs on this MicroPython, and return a line that describes it.

    >>> check_image(Identity("Raspberry Pi Pico with RP2040", 0x1306, "3.4.0; MicroPython v1.28.0"))
    '3.4.0; MicroPython v1.28.0, .mpy 6.3, Raspberry Pi Pico with RP2040'

    Raises:
        RigError: it is for another board, or it cannot load the firmware's files.
    """
    architecture = load_board(_BOARD).image["architecture"]
    native = compile_source("native.py", _NATIVE, architecture)
    try:
        check_is_board(identity, _BOARD)
        check_loads(identity, read_mpy_head({"native.mpy": native}))
    except UsageError as error:
        raise RigError(str(error)) from None
    version, sub_version = identity.mpy_version
    line = f"{identity.version}, .mpy {version}.{sub_version}, {identity.machine}"
    is_tested = TESTED_VERSION in identity.version.split()
    return line if is_tested else f"{line} (the tests have passed with {TESTED_VERSION})"
