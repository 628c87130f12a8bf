"""Compare packing, checksums and pixels of this processor with the portable reference."""

import binascii

from lensfw import arch
from lensfw.arch import portable
from lensfw.ports import generated


class Random:
    """Yield the same numbers on each interpreter: xorshift32."""

    def __init__(self, seed):
        self._state = seed

    def below(self, most):
        x = self._state
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        self._state = x
        return x % most

    def bytes(self, count):
        return bytearray([self.below(256) for _ in range(count)])


def test_checksums():
    random = Random(1)
    for _ in range(60):
        start, count, at = random.below(9), random.below(90), 100 + random.below(8)
        buffer = random.bytes(120)
        wanted = bytearray(buffer)
        crc = binascii.crc32(bytes(buffer[start : start + count]))
        for i in range(4):
            wanted[at + i] = crc >> 8 * i & 0xFF
        for each in (arch, portable):
            got = bytearray(buffer)
            each.append_crc(got, start, count, at)
            assert got == wanted, (each.NAME, start, count, at)


def test_packing():
    random = Random(2)
    for _ in range(80):
        count, at = random.below(45), random.below(9)
        pixels = bytearray()
        whole = 0
        for i in range(count):
            value = random.below(4096)
            pixels += bytes([value & 0xFF, value >> 8])
            whole |= value << 12 * i
        bits = bytearray()
        for i in range((12 * count + 7) // 8):
            bits.append(whole >> 8 * i & 0xFF)
        for each in (arch, portable):
            got = bytearray(90)
            each.pack12(got, at, pixels, count)
            assert got == bytes(at) + bits + bytes(90 - at - len(bits)), (each.NAME, count, at)


def test_pixels():
    for bits in range(8, 17):
        ours, wanted = arch.Prbs(bits, 0x9E3779B9), portable.Prbs(bits, 0x9E3779B9)
        for number in (0, 7, 0xFFFFFFFF):
            ours.set_frame(number)
            wanted.set_frame(number)
            for first, count, at in (
                (0, 5, 6), ((1 << bits) - 3, 9, 2), (100000001, 4, 0), (640, 16, 4),
                (1 << bits, 2, 0),
            ):  # fmt: skip
                got, right = bytearray(48), bytearray(48)
                ours.write_pixels(got, at, first, count)
                wanted.write_pixels(right, at, first, count)
                assert got == right, (arch.NAME, bits, number, first)


def test_rows_are_the_same_however_they_are_cut():
    for bits, code in ((12, 0x010C0059), (12, 0x01100011), (10, 0x0110000D)):
        sensor = {"bits": bits, "modes": [{"id": 1, "width": 22}]}
        frames = []
        for columns, rows in ((22, 10), (22, 2), (8, 1), (2, 1)):
            made = generated.GeneratedRows(sensor, 5)
            made.request_rows(3, 1, (0, 0, 0), code, (columns, rows), (0, 0, 22, 10))
            width = code >> 16 & 0xFF
            stride = 22 * width // 8
            frame = bytearray(stride * 10)
            y = x = 0
            while y < 10:
                some = min(columns, 22 - x)
                size = some * width // 8
                tile = memoryview(bytearray(size * rows))
                assert made.read_rows(tile) == len(tile)
                for row in range(rows):
                    at = (y + row) * stride + x * width // 8
                    frame[at : at + size] = tile[row * size : (row + 1) * size]
                x += some
                if x >= 22:
                    x = 0
                    y += rows
            frames.append(frame)
        assert frames[0] == frames[1] == frames[2] == frames[3], (bits, code)
