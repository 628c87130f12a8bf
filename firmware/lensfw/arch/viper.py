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


# A function of viper has at most four arguments, so these two get a block.
_pack_block = array("i", [0] * 3)
_code_block = array("i", [0] * 6)


@micropython.viper
def _pack_lsb(block: ptr32, out: ptr8, pixels: ptr16):
    at = int(block[0])
    count = int(block[1])
    bits = int(block[2])
    held = 0
    number = 0
    pixel = 0
    while pixel < count:
        held |= int(pixels[pixel]) << number
        pixel += 1
        number += bits
        while number >= 8:
            out[at] = held
            at += 1
            held >>= 8
            number -= 8
    if number:
        out[at] = held


def pack_lsb(out, at, pixels, count, bits):
    block = _pack_block
    block[0] = at
    block[1] = count
    block[2] = bits
    _pack_lsb(block, out, pixels)


@micropython.viper
def _encode_rice(block: ptr32, out: ptr8, pixels: ptr16) -> int:
    at = int(block[0])
    columns = int(block[1])
    rows = int(block[2])
    bits = int(block[3])
    last = int(block[4])
    step = int(block[5])
    start = at
    held = 0
    number = 0
    k = 4
    average = 128
    pixel = at >> 1
    above = 2 * columns
    y = 0
    while y < rows:
        total = 0
        x = 0
        while x < columns:
            value = int(pixels[pixel])
            guess = 0
            if x > 1:
                guess = int(pixels[pixel - 2])
                if y > 1:
                    guess = (guess + int(pixels[pixel - above])) >> 1
            elif y > 1:
                guess = int(pixels[pixel - above])
            pixel += 1
            residual = value - guess
            residual = (residual << 1) ^ (residual >> 31)
            total += residual
            length = (residual >> k) + k
            mask = (1 << k) - 1
            if length < 16:
                held |= ((residual & mask) | (1 << length)) << number
                number += length + 1
            else:
                # The first 16 bits: low bits and zeros. As many are written, so number stays.
                held |= (value & mask) << number
                out[at] = held
                out[at + 1] = held >> 8
                at += 2
                held >>= 16
                held |= (value >> k) << number
                number += bits - k
            if number >= 16:
                out[at] = held
                out[at + 1] = held >> 8
                at += 2
                held >>= 16
                number -= 16
            if at > last:
                return 0
            x += 1
            if x & 7 == 0:
                average = (average + total) >> 1
                total = 0
                k = 0
                while k < 8 and (average >> 4) >> k:
                    k += 1
        y += 1
    out[at] = held
    out[at + 1] = held >> 8
    at += 2
    while (at - start) & (step - 1):
        out[at] = 0
        at += 1
    return at - start


def encode_rice(out, pixels, at, columns, rows, bits, most):
    if most < portable.RICE_SLACK:
        return 0
    block = _code_block
    block[0] = at
    block[1] = columns
    block[2] = rows
    block[3] = bits
    block[4] = at + most - portable.RICE_SLACK
    block[5] = portable.RICE_STEP
    return _encode_rice(block, out, pixels)


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
