"""Checksums, packing and pixels in plain Python: slow, and the reference for the others."""

import binascii
import struct

NAME = "portable"

# Coded tiles have few lengths, because a board has a view in memory for each.
RICE_STEP = 256
# A coder is ahead of its check by 14 pixels of four bytes at most. Then come zeros.
RICE_SLACK = RICE_STEP + 64

# lowbias32 by Chris Wellons (github.com/skeeto/hash-prospector, Unlicense).
_MIX_1 = 0x7FEB352D
_MIX_2 = 0x846CA68B
_MULTIPLIER_1 = 0xB2D5
_MULTIPLIER_2 = 0x6C4B
CONSTANTS = [_MIX_1, _MIX_2, _MULTIPLIER_1, _MULTIPLIER_2]


def append_crc(packet, start, count, at):
    """Write the CRC-32 of *count* bytes from *start* on into the four bytes at *at*."""
    struct.pack_into("<I", packet, at, binascii.crc32(memoryview(packet)[start : start + count]))


def pack12(out, at, pixels, count):
    """Pack *count* pixels from 16-bit words as PFNC's 12p, low bits first, from out[at] on."""
    for i in range(0, count - 1, 2):
        first, second = pixels[2 * i] | pixels[2 * i + 1] << 8, pixels[2 * i + 2]
        second |= pixels[2 * i + 3] << 8
        out[at] = first & 0xFF
        out[at + 1] = first >> 8 | (second & 15) << 4
        out[at + 2] = second >> 4
        at += 3
    if count & 1:
        out[at] = pixels[2 * count - 2]
        out[at + 1] = pixels[2 * count - 1]


def mix32(value):
    """Hash a 32-bit number. Different numbers have different hashes."""
    value = (value ^ value >> 16) * _MIX_1 & 0xFFFFFFFF
    value = (value ^ value >> 15) * _MIX_2 & 0xFFFFFFFF
    return value ^ value >> 16


class Prbs:
    """The plant's pattern ``prbs`` (lenslink_hil.plant.patterns), for a sensor without a scene.

    A pixel has *bits*, 8 to 16, in a 16-bit word. Each pixel is computed on its own, so any part of
    any frame can be written at any time.
    """

    def __init__(self, bits, seed):
        self._bits = bits
        self._seed = mix32(seed & 0xFFFFFFFF)
        self._start = 0

    def set_frame(self, number):
        """Select the frame of the pixels that follow."""
        self._start = mix32(self._seed + number & 0xFFFFFFFF)

    def write_pixels(self, out, at, first, count):
        """Write *count* pixels, from number *first* on, to out[at] and behind."""
        bits = self._bits
        mask, shift = (1 << bits) - 1, (bits + 1) // 2
        block = -1
        key = 0
        for i in range(first, first + count):
            if i >> bits != block:
                block = i >> bits
                key = mix32(self._start + block & 0xFFFFFFFF)
            value = ((i ^ key) & mask) * _MULTIPLIER_1 & mask
            value ^= value >> shift
            value = (value + (key >> 16)) * _MULTIPLIER_2 & mask
            value ^= value >> shift
            out[at] = value & 0xFF
            out[at + 1] = value >> 8
            at += 2
