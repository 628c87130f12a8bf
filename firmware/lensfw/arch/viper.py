"""``portable`` in MicroPython's viper, for processors without a module of their own.

Only packing and pixels gain from it. A checksum in viper is no faster than the C of binascii.
"""

from array import array

import micropython

from . import portable

NAME = "viper"

append_crc = portable.append_crc


@micropython.viper
def pack12(out: ptr8, at: int, pixels: ptr8, count: int):
    i = 0
    while count >= 2:
        second = int(pixels[i + 2])
        out[at] = pixels[i]
        out[at + 1] = int(pixels[i + 1]) | (second & 15) << 4
        out[at + 2] = second >> 4 | int(pixels[i + 3]) << 4
        at += 3
        i += 4
        count -= 2
    if count:
        out[at] = pixels[i]
        out[at + 1] = pixels[i + 1]


@micropython.viper
def _write_pixels(state: ptr32, out: ptr8, first: int, count: int):
    """Write pixels of a block. *state* has its key's halves, mask, shift, multipliers, index."""
    low = int(state[0])
    high = int(state[1])
    mask = int(state[2])
    shift = int(state[3])
    multiplier_1 = int(state[4])
    multiplier_2 = int(state[5])
    at = int(state[6])
    end = first + count
    while first < end:
        value = ((first ^ low) & mask) * multiplier_1 & mask
        value ^= value >> shift
        value = ((value + high) & mask) * multiplier_2 & mask
        value ^= value >> shift
        out[at] = value
        out[at + 1] = value >> 8
        at += 2
        first += 1


class Prbs(portable.Prbs):
    def __init__(self, bits, seed):
        super().__init__(bits, seed)
        multipliers = portable.CONSTANTS[2:]
        self._state = array("i", [0, 0, (1 << bits) - 1, (bits + 1) // 2] + multipliers + [0])

    def write_pixels(self, out, at, first, count):
        state, bits = self._state, self._bits
        size = 1 << bits
        while count:
            piece = min(size - (first & size - 1), count)
            key = portable.mix32(self._start + (first >> bits) & 0xFFFFFFFF)
            state[0] = key & 0xFFFF
            state[1] = key >> 16
            state[6] = at
            _write_pixels(state, out, first, piece)
            at += 2 * piece
            first += piece
            count -= piece
