"""``portable`` in Thumb instructions that every Cortex-M has: RP2040, RP2350, and more.

The inline assembler takes four arguments. A function that needs more gets a block of words. It has
no loads with a register as offset and no sums with r8 and up: data() emits those.
"""

from array import array

import micropython

from . import portable

NAME = "thumb"

# start, count, at, the CRC so far; then its table.
_crc_block = array("I", bytes(4 * (4 + 256)))
# Callbacks wait for the end of a bytecode, and with them an endpoint. So no bytecode may take long.
# These bytes take a fifth of a millisecond.
_PIECE = 3072
_ONES = 0xFFFFFFFF


@micropython.asm_thumb
def _fill_table(r0, r1):
    """Fill table r0 for the reflected polynomial r1."""
    add(r0, 16)
    mov(r2, 0)
    label(EACH)
    mov(r3, r2)
    mov(r4, 8)
    label(BIT)
    mov(r5, 1)
    and_(r5, r3)
    lsr(r3, r3, 1)
    cmp(r5, 0)
    beq(EVEN)
    eor(r3, r1)
    label(EVEN)
    sub(r4, 1)
    bne(BIT)
    str(r3, [r0, 0])
    add(r0, 4)
    add(r2, 1)
    lsr(r5, r2, 8)
    beq(EACH)


@micropython.asm_thumb
def _continue_crc(r0, r1):
    """Continue the CRC over bytes of buffer r1, as block r0 says: 31 cycles for four bytes."""
    ldr(r2, [r0, 0])
    add(r2, r2, r1)
    ldr(r3, [r0, 4])
    add(r3, r3, r2)
    ldr(r4, [r0, 8])
    add(r1, r1, r4)
    ldr(r4, [r0, 12])
    add(r0, 16)
    label(NEXT)
    cmp(r2, r3)
    beq(DONE)
    mov(r5, 3)
    and_(r5, r2)
    bne(BYTE)
    sub(r6, r3, r2)
    cmp(r6, 4)
    blt(BYTE)
    sub(r7, r3, 4)
    label(WORD)
    ldr(r5, [r2, 0])
    add(r2, 4)
    eor(r4, r5)
    data(2, 0xB2E5)  # uxtb r5, r4
    lsl(r5, r5, 2)
    data(2, 0x5945)  # ldr r5, [r0, r5]
    lsr(r4, r4, 8)
    eor(r4, r5)
    data(2, 0xB2E5)
    lsl(r5, r5, 2)
    data(2, 0x5945)
    lsr(r4, r4, 8)
    eor(r4, r5)
    data(2, 0xB2E5)
    lsl(r5, r5, 2)
    data(2, 0x5945)
    lsr(r4, r4, 8)
    eor(r4, r5)
    data(2, 0xB2E5)
    lsl(r5, r5, 2)
    data(2, 0x5945)
    lsr(r4, r4, 8)
    eor(r4, r5)
    cmp(r2, r7)
    bls(WORD)
    b(NEXT)
    label(BYTE)
    ldrb(r5, [r2, 0])
    add(r2, 1)
    eor(r5, r4)
    data(2, 0xB2ED)  # uxtb r5, r5
    lsl(r5, r5, 2)
    data(2, 0x5945)
    lsr(r4, r4, 8)
    eor(r4, r5)
    b(NEXT)
    label(DONE)
    sub(r0, 4)
    str(r4, [r0, 0])
    mvn(r4, r4)
    strb(r4, [r1, 0])
    lsr(r4, r4, 8)
    strb(r4, [r1, 1])
    lsr(r4, r4, 8)
    strb(r4, [r1, 2])
    lsr(r4, r4, 8)
    strb(r4, [r1, 3])


_fill_table(_crc_block, 0xEDB88320)


def append_crc(packet, start, count, at):
    block = _crc_block
    block[2] = at
    block[3] = _ONES
    while True:
        piece = count if count < _PIECE else _PIECE
        block[0] = start
        block[1] = piece
        _continue_crc(block, packet)
        start += piece
        count -= piece
        if not count:
            return


@micropython.asm_thumb
def pack12(r0, r1, r2, r3):
    """Pack pixels: 40 cycles for eight if both buffers start at a multiple of four."""
    add(r0, r0, r1)
    mov(r1, r0)
    orr(r1, r2)
    mov(r4, 3)
    and_(r1, r4)
    bne(PAIRS)
    # Two pixels in a word, w = p + q * 2**16, to p + q * 2**12: w - q * (2**16 - 2**12).
    mov(r1, 15)
    lsl(r1, r1, 12)
    b(EIGHTS)
    label(EIGHT)
    ldr(r4, [r2, 0])
    lsr(r5, r4, 16)
    mul(r5, r1)
    sub(r4, r4, r5)
    ldr(r5, [r2, 4])
    lsr(r6, r5, 16)
    mul(r6, r1)
    sub(r5, r5, r6)
    lsl(r6, r5, 24)
    orr(r4, r6)
    str(r4, [r0, 0])
    lsr(r5, r5, 8)
    ldr(r4, [r2, 8])
    lsr(r6, r4, 16)
    mul(r6, r1)
    sub(r4, r4, r6)
    lsl(r6, r4, 16)
    orr(r5, r6)
    str(r5, [r0, 4])
    lsr(r4, r4, 16)
    ldr(r5, [r2, 12])
    lsr(r6, r5, 16)
    mul(r6, r1)
    sub(r5, r5, r6)
    lsl(r5, r5, 8)
    orr(r4, r5)
    str(r4, [r0, 8])
    add(r0, 12)
    add(r2, 16)
    sub(r3, 8)
    label(EIGHTS)
    cmp(r3, 8)
    bge(EIGHT)
    label(PAIRS)
    cmp(r3, 2)
    blt(ODD)
    ldrb(r4, [r2, 0])
    strb(r4, [r0, 0])
    ldrb(r4, [r2, 1])
    ldrb(r5, [r2, 2])
    lsl(r6, r5, 4)
    orr(r4, r6)
    strb(r4, [r0, 1])
    lsr(r5, r5, 4)
    ldrb(r4, [r2, 3])
    lsl(r4, r4, 4)
    orr(r5, r4)
    strb(r5, [r0, 2])
    add(r0, 3)
    add(r2, 4)
    sub(r3, 2)
    b(PAIRS)
    label(ODD)
    cmp(r3, 1)
    blt(DONE)
    ldrb(r4, [r2, 0])
    strb(r4, [r0, 0])
    ldrb(r4, [r2, 1])
    strb(r4, [r0, 1])
    label(DONE)


# Of a coded tile: at, bits that are held, their number, k, average; row and row above in bytes,
# bytes of a row, bits of a pixel, the last at; then four words of the coder itself.
_code_block = array("I", bytes(4 * 14))


@micropython.asm_thumb
def _code_row(r0, r1, r2):
    """Code a row of pixels r2 into buffer r1, as block r0 says. A pixel takes about 40 cycles.

    r0 and r1 are four bytes before the pixel above and the pixel itself. r2 holds r3 bits, r4 is k.
    r8 is the sum, r9 the mask of k bits, r10 the next halfword, r11 the block's end, r12 the block.
    So that each pixel has a left one, two pixels are written before the row: those above its first
    ones, or zeros. The first two rows have no row above. Their left pixel stands for it.
    """
    mov(r4, r8)
    mov(r5, r9)
    mov(r6, r10)
    mov(r7, r11)
    push({r4, r5, r6, r7})
    mov(r12, r0)
    str(r1, [r0, 52])
    ldr(r4, [r0, 0])
    add(r4, r4, r1)
    mov(r10, r4)
    ldr(r4, [r0, 36])
    add(r4, r4, r1)
    str(r4, [r0, 48])
    ldr(r1, [r0, 20])
    add(r1, r1, r2)
    sub(r1, 4)
    ldr(r4, [r0, 28])
    add(r4, r4, r1)
    str(r4, [r0, 44])
    ldr(r6, [r0, 24])
    add(r6, r6, r2)
    ldr(r7, [r1, 0])
    str(r7, [r0, 40])
    ldr(r2, [r0, 4])
    ldr(r3, [r0, 8])
    ldr(r4, [r0, 12])
    mov(r7, 0)
    cmp(r6, r1)
    beq(FIRST)
    ldr(r7, [r6, 0])
    label(FIRST)
    str(r7, [r1, 0])
    mov(r0, r6)
    b(MASK)
    label(PAIR)
    ldrh(r5, [r1, 4])
    ldrh(r6, [r1, 0])
    ldrh(r7, [r0, 0])
    add(r6, r6, r7)
    lsr(r6, r6, 1)
    sub(r6, r5, r6)
    asr(r7, r6, 31)
    add(r6, r6, r6)
    eor(r6, r7)
    data(2, 0x44B0)  # add r8, r6
    mov(r7, r6)
    lsr(r7, r4)
    add(r7, r7, r4)
    cmp(r7, 16)
    bge(ESCAPE_1)
    mov(r5, r9)
    and_(r6, r5)
    mov(r5, 1)
    lsl(r5, r7)
    orr(r6, r5)
    lsl(r6, r3)
    orr(r2, r6)
    add(r3, r3, r7)
    add(r3, 1)
    label(CHECK_1)
    cmp(r3, 16)
    blt(NEXT_1)
    mov(r7, r10)
    strh(r2, [r7, 0])
    add(r7, 2)
    mov(r10, r7)
    lsr(r2, r2, 16)
    sub(r3, 16)
    label(NEXT_1)
    ldrh(r5, [r1, 6])
    ldrh(r6, [r1, 2])
    ldrh(r7, [r0, 2])
    add(r6, r6, r7)
    lsr(r6, r6, 1)
    sub(r6, r5, r6)
    asr(r7, r6, 31)
    add(r6, r6, r6)
    eor(r6, r7)
    data(2, 0x44B0)  # add r8, r6
    mov(r7, r6)
    lsr(r7, r4)
    add(r7, r7, r4)
    cmp(r7, 16)
    bge(ESCAPE_2)
    mov(r5, r9)
    and_(r6, r5)
    mov(r5, 1)
    lsl(r5, r7)
    orr(r6, r5)
    lsl(r6, r3)
    orr(r2, r6)
    add(r3, r3, r7)
    add(r3, 1)
    label(CHECK_2)
    cmp(r3, 16)
    blt(NEXT_2)
    mov(r7, r10)
    strh(r2, [r7, 0])
    add(r7, 2)
    mov(r10, r7)
    lsr(r2, r2, 16)
    sub(r3, 16)
    label(NEXT_2)
    add(r0, 4)
    add(r1, 4)
    data(2, 0x4559)  # cmp r1, r11
    beq(BLOCK_END)
    b(PAIR)
    label(ESCAPE_1)
    # The first 16 bits: low bits of the pixel and zeros. As many are written, so r3 stays.
    mov(r6, r9)
    and_(r6, r5)
    lsl(r6, r3)
    orr(r2, r6)
    mov(r7, r10)
    strh(r2, [r7, 0])
    add(r7, 2)
    mov(r10, r7)
    lsr(r2, r2, 16)
    lsr(r5, r4)
    lsl(r5, r3)
    orr(r2, r5)
    mov(r7, r12)
    ldr(r7, [r7, 32])
    sub(r7, r7, r4)
    add(r3, r3, r7)
    b(CHECK_1)
    label(ESCAPE_2)
    # The first 16 bits: low bits of the pixel and zeros. As many are written, so r3 stays.
    mov(r6, r9)
    and_(r6, r5)
    lsl(r6, r3)
    orr(r2, r6)
    mov(r7, r10)
    strh(r2, [r7, 0])
    add(r7, 2)
    mov(r10, r7)
    lsr(r2, r2, 16)
    lsr(r5, r4)
    lsl(r5, r3)
    orr(r2, r5)
    mov(r7, r12)
    ldr(r7, [r7, 32])
    sub(r7, r7, r4)
    add(r3, r3, r7)
    b(CHECK_2)
    label(BLOCK_END)
    mov(r7, r12)
    ldr(r5, [r7, 44])
    cmp(r1, r5)
    bne(UPDATE)
    # The end of a row may cut a block, which then changes nothing.
    ldr(r6, [r7, 28])
    lsl(r6, r6, 28)
    bne(ROW_END)
    label(UPDATE)
    ldr(r5, [r7, 16])
    mov(r6, r8)
    add(r5, r5, r6)
    lsr(r5, r5, 1)
    str(r5, [r7, 16])
    # k becomes the bits of the average without its last four, 8 at most. It changes little.
    lsr(r5, r5, 4)
    cmp(r5, 255)
    bls(LARGER)
    mov(r5, 255)
    label(LARGER)
    mov(r6, r5)
    lsr(r6, r4)
    beq(SMALLER)
    add(r4, 1)
    b(LARGER)
    label(SMALLER)
    cmp(r4, 0)
    beq(MASK)
    sub(r4, 1)
    mov(r6, r5)
    lsr(r6, r4)
    beq(SMALLER)
    add(r4, 1)
    label(MASK)
    mov(r6, 1)
    lsl(r6, r4)
    sub(r6, 1)
    mov(r9, r6)
    mov(r6, 0)
    mov(r8, r6)
    mov(r7, r12)
    ldr(r5, [r7, 48])
    data(2, 0x4555)  # cmp r5, r10
    bcc(ROW_END)
    ldr(r5, [r7, 44])
    cmp(r1, r5)
    beq(ROW_END)
    mov(r6, r1)
    add(r6, 16)
    cmp(r6, r5)
    bls(FITS)
    mov(r6, r5)
    label(FITS)
    mov(r11, r6)
    b(PAIR)
    label(ROW_END)
    mov(r7, r12)
    str(r2, [r7, 4])
    str(r3, [r7, 8])
    str(r4, [r7, 12])
    mov(r4, r10)
    ldr(r5, [r7, 52])
    sub(r4, r4, r5)
    str(r4, [r7, 0])
    ldr(r5, [r7, 44])
    ldr(r6, [r7, 28])
    sub(r5, r5, r6)
    ldr(r6, [r7, 40])
    str(r6, [r5, 0])
    pop({r4, r5, r6, r7})
    mov(r8, r4)
    mov(r9, r5)
    mov(r10, r6)
    mov(r11, r7)


@micropython.asm_thumb
def _finish_code(r0, r1, r2, r3):
    """Write the held bits, then zeros until r2 & (at - r3) is 0. Return the code's bytes."""
    ldr(r4, [r0, 0])
    ldr(r5, [r0, 4])
    label(HALFWORD)
    add(r6, r4, r1)
    strh(r5, [r6, 0])
    mov(r5, 0)
    add(r4, 2)
    sub(r6, r4, r3)
    and_(r6, r2)
    bne(HALFWORD)
    sub(r0, r4, r3)


def encode_rice(out, pixels, at, columns, rows, bits, most):
    block = _code_block
    last = at + most - portable.RICE_SLACK
    if last < at:
        return 0
    block[0] = at
    block[1] = block[2] = 0
    block[3] = 4
    block[4] = 128
    pitch = block[7] = 2 * columns
    block[8] = bits
    block[9] = last
    row = at
    for y in range(rows):
        block[5] = row
        block[6] = row - 2 * pitch if y > 1 else row - 4
        _code_row(block, out, pixels)
        if block[0] > last:
            return 0
        row += pitch
    return _finish_code(block, out, portable.RICE_STEP - 1, at)


@micropython.asm_thumb
def _write_pixels(r0, r1, r2, r3):
    """Write r3 pixels of one block, from number r2 on, by state r0 into buffer r1.

    A pixel takes 21 cycles. It takes 16 if pixels have 12 bits and are written in pairs to a
    multiple of four. Values are in the upper bits of their registers: there a product loses the
    bits that the mask would remove.
    """
    mov(r4, r8)
    mov(r5, r9)
    mov(r6, r10)
    mov(r7, r11)
    push({r4, r5, r6, r7})
    # Its key: mix32(start + block).
    ldr(r5, [r0, 4])
    mov(r4, r2)
    lsr(r4, r5)
    ldr(r6, [r0, 0])
    add(r4, r4, r6)
    lsr(r6, r4, 16)
    eor(r4, r6)
    ldr(r6, [r0, 12])
    mul(r4, r6)
    lsr(r6, r4, 15)
    eor(r4, r6)
    ldr(r6, [r0, 16])
    mul(r4, r6)
    lsr(r6, r4, 16)
    eor(r4, r6)
    # Where, and up to where.
    ldr(r6, [r0, 8])
    add(r1, r1, r6)
    add(r3, r3, r3)
    add(r3, r3, r1)
    mov(r11, r3)
    # r8 index, r9 one, r10 upper half of the key, r2 lower half, r12 how far all are shifted.
    mov(r6, 32)
    sub(r6, r6, r5)
    mov(r12, r6)
    lsl(r2, r6)
    mov(r8, r2)
    mov(r7, 1)
    lsl(r7, r6)
    mov(r9, r7)
    lsr(r7, r4, 16)
    lsl(r7, r6)
    mov(r10, r7)
    mov(r2, r4)
    lsl(r2, r6)
    mov(r7, 0)
    mvn(r7, r7)
    lsl(r7, r6)
    add(r5, 1)
    lsr(r5, r5, 1)
    ldr(r3, [r0, 20])
    ldr(r4, [r0, 24])
    mov(r0, r7)
    mov(r7, r1)
    mov(r6, r11)
    orr(r7, r6)
    mov(r6, 3)
    and_(r7, r6)
    mov(r6, r12)
    sub(r6, 20)
    orr(r7, r6)
    bne(PIXEL)
    label(TWO)
    mov(r6, r8)
    eor(r6, r2)
    mul(r6, r3)
    lsr(r7, r6, 6)
    eor(r6, r7)
    and_(r6, r0)
    data(2, 0x4456)  # add r6, r10
    mul(r6, r4)
    lsr(r7, r6, 6)
    eor(r6, r7)
    lsr(r5, r6, 20)
    data(2, 0x44C8)  # add r8, r9
    mov(r6, r8)
    eor(r6, r2)
    mul(r6, r3)
    lsr(r7, r6, 6)
    eor(r6, r7)
    and_(r6, r0)
    data(2, 0x4456)
    mul(r6, r4)
    lsr(r7, r6, 6)
    eor(r6, r7)
    lsr(r6, r6, 20)
    data(2, 0x44C8)
    lsl(r6, r6, 16)
    orr(r5, r6)
    str(r5, [r1, 0])
    add(r1, 4)
    data(2, 0x4559)  # cmp r1, r11
    bne(TWO)
    b(DONE)
    label(PIXEL)
    mov(r6, r8)
    eor(r6, r2)
    mul(r6, r3)
    mov(r7, r6)
    lsr(r7, r5)
    eor(r6, r7)
    and_(r6, r0)
    data(2, 0x4456)  # add r6, r10
    mul(r6, r4)
    mov(r7, r6)
    lsr(r7, r5)
    eor(r6, r7)
    mov(r7, r12)
    lsr(r6, r7)
    strh(r6, [r1, 0])
    add(r1, 2)
    data(2, 0x44C8)  # add r8, r9
    data(2, 0x4559)  # cmp r1, r11
    bne(PIXEL)
    label(DONE)
    pop({r4, r5, r6, r7})
    mov(r8, r4)
    mov(r9, r5)
    mov(r10, r6)
    mov(r11, r7)


class Prbs(portable.Prbs):
    def __init__(self, bits, seed):
        super().__init__(bits, seed)
        # start, bits, at, then constants that no instruction holds.
        self._state = array("I", [0, bits, 0] + portable.CONSTANTS)
        self._mask = (1 << bits) - 1

    def set_frame(self, number):
        super().set_frame(number)
        self._state[0] = self._start

    def write_pixels(self, out, at, first, count):
        while count:
            piece = self._mask + 1 - (first & self._mask)
            if piece > count:
                piece = count
            self._state[2] = at
            _write_pixels(self._state, out, first, piece)
            at += 2 * piece
            first += piece
            count -= piece
