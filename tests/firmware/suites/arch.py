"""Compare packing, checksums and pixels of this processor with the portable reference."""

import binascii

from lensfw import arch
from lensfw.arch import plain_coder, portable
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


def test_packing_of_any_bits():
    random = Random(3)
    for _ in range(60):
        bits = (10, 12, 14)[random.below(3)]
        count, at = random.below(30), random.below(5)
        pixels = bytearray()
        whole = 0
        for i in range(count):
            value = random.below(1 << bits)
            pixels += bytes([value & 0xFF, value >> 8])
            whole |= value << bits * i
        wanted = bytearray([whole >> 8 * i & 0xFF for i in range((bits * count + 7) // 8)])
        for each in (arch, plain_coder):
            if each.pack_lsb is None:
                continue
            got = bytearray(70)
            each.pack_lsb(got, at, pixels, count, bits)
            assert got == bytes(at) + wanted + bytes(70 - at - len(wanted)), (arch.NAME, bits)


def test_codes():
    """Each way writes the same code, and none beyond its end."""
    random = Random(4)
    coded = 0
    for number in range(40):
        bits = (10, 12, 14)[number % 3]
        columns, rows = 2 + 2 * random.below(21), 1 + random.below(9)
        spread = (1, 3, 20, 200)[random.below(4)]
        level = random.below((1 << bits) - spread + 1)
        pixels = bytearray(8)
        for _ in range(columns * rows):
            # Some pixels are anything.
            value = level + random.below(spread)
            if random.below(40) == 0:
                value = random.below(1 << bits)
            pixels += bytes([value & 0xFF, value >> 8])
        # The code of so few pixels is filled up to one or two steps.
        most = (300, 600, 850, 1400)[random.below(4)]
        results = []
        for each in (arch, plain_coder):
            out = bytearray(b"\xa5" * (most + 40))
            kept = bytearray(pixels)
            length = each.encode_rice(out, kept, 8, columns, rows, bits, most)
            assert kept == pixels, arch.NAME
            assert length <= most and length % portable.RICE_STEP == 0
            assert out[:8] == b"\xa5" * 8 and out[8 + most :] == b"\xa5" * 32, arch.NAME
            results.append((length, bytes(out[8 : 8 + length])))
        assert results[0] == results[1], (arch.NAME, bits, columns, rows, spread)
        coded += results[0][0] > 0
    assert 10 < coded < 40
