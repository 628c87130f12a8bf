"""The coder of tiles, and the packing of any bits, in plain Python.

With what it takes from ``portable`` it is the reference. It stands alone, because a board with a
coder of its own has no memory for it.
"""

from .portable import NAME, RICE_SLACK, RICE_STEP, Prbs, append_crc, pack12  # noqa: F401


def pack_lsb(out, at, pixels, count, bits):
    """Pack *count* pixels of *bits* from 16-bit words, low bits first, from out[at] on."""
    held = number = 0
    for i in range(0, 2 * count, 2):
        held |= (pixels[i] | pixels[i + 1] << 8) << number
        number += bits
        while number >= 8:
            out[at] = held & 0xFF
            at += 1
            held >>= 8
            number -= 8
    if number:
        out[at] = held


def encode_rice(out, pixels, at, columns, rows, bits, most):
    """Code a tile as SPEC.md, 6.3.1 says, and fill it up with zeros to a multiple of RICE_STEP.

    The pixels are 16-bit words from pixels[at] on, and the code begins at out[at]. *at* is a
    multiple of four and not 0, *columns* is even. Return the bytes of the code, or 0 if they could
    be more than *most*. Only *most* bytes are written.
    """
    if most < RICE_SLACK:
        return 0
    start, last = at, at + most - RICE_SLACK
    held = number = 0
    k, average = 4, 128
    pixel = at
    above = 4 * columns
    for y in range(rows):
        total = 0
        for x in range(columns):
            value = pixels[pixel] | pixels[pixel + 1] << 8
            if x > 1:
                guess = pixels[pixel - 4] | pixels[pixel - 3] << 8
                if y > 1:
                    guess += pixels[pixel - above] | pixels[pixel - above + 1] << 8
                    guess >>= 1
            elif y > 1:
                guess = pixels[pixel - above] | pixels[pixel - above + 1] << 8
            else:
                guess = 0
            pixel += 2
            residual = 2 * (value - guess) if value >= guess else 2 * (guess - value) - 1
            total += residual
            length = (residual >> k) + k
            if length < 16:
                held |= (residual & (1 << k) - 1 | 1 << length) << number
                number += length + 1
            else:
                held |= (value & (1 << k) - 1 | value >> k << 16) << number
                number += 16 + bits - k
            while number >= 16:
                out[at] = held & 0xFF
                out[at + 1] = held >> 8 & 0xFF
                at += 2
                held >>= 16
                number -= 16
            if at > last:
                return 0
            if x & 7 == 7:
                average = (average + total) >> 1
                total = 0
                k = 0
                while k < 8 and average >> 4 >> k:
                    k += 1
    out[at] = held & 0xFF
    out[at + 1] = held >> 8
    at += 2
    while (at - start) % RICE_STEP:
        out[at] = 0
        at += 1
    return at - start
