// A fast decoder for the Cortex-M0+ instructions that make up nearly all of what runs. It finds an
// instruction by a table, where rp2040js compares one pattern after the other. Rare instructions go
// to rp2040js's own decoder. Effects and cycles are the same: tests/unit/pico/core.test.mjs compares
// the two. chip.mjs uses makeStep().

const SRAM = 0x20000000;
const FLASH = 0x10000000;
const SIO = 0xd;
const APB = 0x4;

// [pattern of the upper bits, number of bits]; the index + 1 is the kind
const KINDS = [];
function defineKind(bits) {
  const text = bits.replaceAll("_", "");
  KINDS.push([Number.parseInt(text, 2), text.length]);
  return KINDS.length;
}

const LSL_IMM = defineKind("00000");
const LSR_IMM = defineKind("00001");
const ASR_IMM = defineKind("00010");
const ADD_REG = defineKind("0001100");
const SUB_REG = defineKind("0001101");
const ADD_IMM3 = defineKind("0001110");
const SUB_IMM3 = defineKind("0001111");
const MOV_IMM = defineKind("00100");
const CMP_IMM = defineKind("00101");
const ADD_IMM8 = defineKind("00110");
const SUB_IMM8 = defineKind("00111");
const AND = defineKind("0100000000");
const EOR = defineKind("0100000001");
const TST = defineKind("0100001000");
const CMP_REG = defineKind("0100001010");
const ORR = defineKind("0100001100");
const MUL = defineKind("0100001101");
const BIC = defineKind("0100001110");
const MVN = defineKind("0100001111");
const ADC = defineKind("0100000101");
const NEG = defineKind("0100001001");
const ADD_HIGH = defineKind("01000100");
const CMP_HIGH = defineKind("01000101");
const MOV_REG = defineKind("01000110");
const LDR_LIT = defineKind("01001");
const STR_REG = defineKind("0101000");
const STRH_REG = defineKind("0101001");
const STRB_REG = defineKind("0101010");
const LDR_REG = defineKind("0101100");
const LDRH_REG = defineKind("0101101");
const LDRB_REG = defineKind("0101110");
const STR_IMM = defineKind("01100");
const LDR_IMM = defineKind("01101");
const STRB_IMM = defineKind("01110");
const LDRB_IMM = defineKind("01111");
const STRH_IMM = defineKind("10000");
const LDRH_IMM = defineKind("10001");
const STR_SP = defineKind("10010");
const LDR_SP = defineKind("10011");
const ADR = defineKind("10100");
const ADD_SP = defineKind("10101");
const SP_UP = defineKind("101100000");
const SP_DOWN = defineKind("101100001");
const SXTH = defineKind("1011001000");
const SXTB = defineKind("1011001001");
const UXTH = defineKind("1011001010");
const UXTB = defineKind("1011001011");
const PUSH = defineKind("1011010");
const POP = defineKind("1011110");
const STM = defineKind("11000");
const LDM = defineKind("11001");
const B_COND = defineKind("1101");
const B = defineKind("11100");
const BL = defineKind("11110");

const DECODED = new Uint8Array(65536);
for (const [index, [pattern, length]] of KINDS.entries()) {
  const low = 16 - length;
  DECODED.fill(index + 1, pattern << low, (pattern + 1) << low);
}
// UDF and SVC are rare.
DECODED.fill(0, 0xde00, 0xe000);

/** Make a function that executes one instruction of the chip's core and returns its cycles. */
export function makeStep(chip) {
  const { core, sram, flash } = chip;
  const r = core.registers;
  const executeRare = core.executeInstruction.bind(core);
  const sram16 = new Uint16Array(sram.buffer);
  const sram32 = new Uint32Array(sram.buffer);
  const flash16 = new Uint16Array(flash.buffer);
  const flash32 = new Uint32Array(flash.buffer);
  const sramBytes = sram.length;
  const flashBytes = flash.length;

  const read32 = (address) => {
    if (!(address & 3)) {
      const at = (address - SRAM) >>> 0;
      if (at < sramBytes) return sram32[at >>> 2];
      const offset = (address - FLASH) >>> 0;
      if (offset < flashBytes) return flash32[offset >>> 2];
    }
    return chip.readUint32(address >>> 0);
  };
  const read16 = (address) => {
    if (!(address & 1)) {
      const at = (address - SRAM) >>> 0;
      if (at < sramBytes) return sram16[at >>> 1];
      const offset = (address - FLASH) >>> 0;
      if (offset < flashBytes) return flash16[offset >>> 1];
    }
    return chip.readUint16(address >>> 0);
  };
  const read8 = (address) => {
    const at = (address - SRAM) >>> 0;
    if (at < sramBytes) return sram[at];
    const offset = (address - FLASH) >>> 0;
    if (offset < flashBytes) return flash[offset];
    return chip.readUint8(address >>> 0);
  };
  const write32 = (address, value) => {
    const at = (address - SRAM) >>> 0;
    if (at < sramBytes && !(at & 3)) sram32[at >>> 2] = value;
    else chip.writeUint32(address >>> 0, value);
  };
  const write16 = (address, value) => {
    const at = (address - SRAM) >>> 0;
    if (at < sramBytes && !(at & 1)) sram16[at >>> 1] = value;
    else chip.writeUint16(address >>> 0, value);
  };
  const write8 = (address, value) => {
    const at = (address - SRAM) >>> 0;
    if (at < sramBytes) sram[at] = value;
    else chip.writeUint8(address >>> 0, value);
  };
  const loadCycles = (address) => {
    const top = address >>> 28;
    return top === SIO ? 1 : top === APB ? 4 : 2;
  };
  const storeCycles = (address) => {
    const top = address >>> 28;
    return top === SIO ? 1 : top === APB ? 5 : 2;
  };
  const setNZ = (result) => {
    core.N = result < 0;
    core.Z = result === 0;
  };
  const add = (a, b) => {
    const sum = a + b;
    const result = sum | 0;
    core.N = result < 0;
    core.Z = result === 0;
    core.C = sum > 0xffffffff;
    core.V = (~(a ^ b) & (a ^ result)) < 0;
    return result;
  };
  const subtract = (a, b) => {
    const result = (a - b) | 0;
    core.N = result < 0;
    core.Z = result === 0;
    core.C = a >= b;
    core.V = ((a ^ b) & (a ^ result)) < 0;
    return result;
  };

  return () => {
    if (core.interruptsUpdated) return executeRare();
    const pc = r[15];
    const at = (pc - FLASH) >>> 0;
    let opcode;
    if (at < flashBytes) opcode = flash16[at >>> 1];
    else {
      const offset = (pc - SRAM) >>> 0;
      if (offset >= sramBytes) return executeRare();
      opcode = sram16[offset >>> 1];
    }
    const low = opcode & 7;
    const mid = (opcode >> 3) & 7;
    const high = (opcode >> 6) & 7;
    switch (DECODED[opcode]) {
      case LSL_IMM: {
        const shift = (opcode >> 6) & 31;
        const input = r[mid];
        const result = input << shift;
        r[low] = result;
        setNZ(result);
        if (shift) core.C = ((input >>> (32 - shift)) & 1) === 1;
        break;
      }
      case LSR_IMM: {
        const shift = (opcode >> 6) & 31;
        const input = r[mid];
        const result = shift ? input >>> shift : 0;
        r[low] = result;
        setNZ(result | 0);
        core.C = ((input >>> (shift ? shift - 1 : 31)) & 1) === 1;
        break;
      }
      case ASR_IMM: {
        const shift = (opcode >> 6) & 31;
        const input = r[mid] | 0;
        const result = input >> (shift || 31);
        r[low] = result;
        setNZ(result);
        core.C = ((input >>> (shift ? shift - 1 : 31)) & 1) === 1;
        break;
      }
      case ADD_REG: r[low] = add(r[mid], r[high]); break;
      case SUB_REG: r[low] = subtract(r[mid], r[high]); break;
      case ADD_IMM3: r[low] = add(r[mid], high); break;
      case SUB_IMM3: r[low] = subtract(r[mid], high); break;
      case MOV_IMM: {
        const value = opcode & 0xff;
        r[(opcode >> 8) & 7] = value;
        core.N = false;
        core.Z = value === 0;
        break;
      }
      case CMP_IMM: subtract(r[(opcode >> 8) & 7], opcode & 0xff); break;
      case ADD_IMM8: r[(opcode >> 8) & 7] = add(r[(opcode >> 8) & 7], opcode & 0xff); break;
      case SUB_IMM8: r[(opcode >> 8) & 7] = subtract(r[(opcode >> 8) & 7], opcode & 0xff); break;
      case AND: setNZ((r[low] &= r[mid]) | 0); break;
      case EOR: setNZ((r[low] ^= r[mid]) | 0); break;
      case TST: setNZ(r[low] & r[mid]); break;
      case CMP_REG: subtract(r[low], r[mid]); break;
      case ORR: setNZ((r[low] |= r[mid]) | 0); break;
      case MUL: {
        const result = Math.imul(r[mid], r[low]);
        r[low] = result;
        setNZ(result);
        break;
      }
      case BIC: setNZ((r[low] &= ~r[mid]) | 0); break;
      case MVN: {
        const result = ~r[mid];
        r[low] = result;
        setNZ(result);
        break;
      }
      case NEG: r[low] = subtract(0, r[mid]); break;
      case ADD_HIGH: {
        const to = ((opcode & 0x80) >> 4) | low;
        const from = (opcode >> 3) & 15;
        if (to === 15 || from === 15 || to === 13) return executeRare();
        r[to] += r[from];
        break;
      }
      case CMP_HIGH: {
        const left = ((opcode >> 4) & 8) | low;
        const right = (opcode >> 3) & 15;
        if (left === 15 || right === 15) return executeRare();
        subtract(r[left], r[right]);
        break;
      }
      case MOV_REG: {
        const to = ((opcode >> 4) & 8) | low;
        const from = (opcode >> 3) & 15;
        if (to === 15 || from === 15 || to === 13) return executeRare();
        r[to] = r[from];
        break;
      }
      case LDR_LIT:
        r[(opcode >> 8) & 7] = read32((((pc + 4) & 0xfffffffc) >>> 0) + ((opcode & 0xff) << 2));
        r[15] = pc + 2;
        return 2;
      case LDR_REG: {
        const address = (r[mid] + r[high]) >>> 0;
        r[15] = pc + 2;
        r[low] = read32(address);
        return loadCycles(address);
      }
      case LDRH_REG: {
        const address = (r[mid] + r[high]) >>> 0;
        r[15] = pc + 2;
        r[low] = read16(address);
        return loadCycles(address);
      }
      case LDRB_REG: {
        const address = (r[mid] + r[high]) >>> 0;
        r[15] = pc + 2;
        r[low] = read8(address);
        return loadCycles(address);
      }
      case LDR_IMM: {
        const address = (r[mid] + ((opcode >> 4) & 0x7c)) >>> 0;
        r[15] = pc + 2;
        r[low] = read32(address);
        return loadCycles(address);
      }
      case LDRH_IMM: {
        const address = (r[mid] + ((opcode >> 5) & 0x3e)) >>> 0;
        r[15] = pc + 2;
        r[low] = read16(address);
        return loadCycles(address);
      }
      case LDRB_IMM: {
        const address = (r[mid] + ((opcode >> 6) & 31)) >>> 0;
        r[15] = pc + 2;
        r[low] = read8(address);
        return loadCycles(address);
      }
      case LDR_SP: {
        const address = (r[13] + ((opcode & 0xff) << 2)) >>> 0;
        r[15] = pc + 2;
        r[(opcode >> 8) & 7] = read32(address);
        return loadCycles(address);
      }
      case STR_REG: {
        const address = (r[mid] + r[high]) >>> 0;
        r[15] = pc + 2;
        write32(address, r[low]);
        return storeCycles(address);
      }
      case STRH_REG: {
        const address = (r[mid] + r[high]) >>> 0;
        r[15] = pc + 2;
        write16(address, r[low]);
        return storeCycles(address);
      }
      case STRB_REG: {
        const address = (r[mid] + r[high]) >>> 0;
        r[15] = pc + 2;
        write8(address, r[low]);
        return storeCycles(address);
      }
      case STR_IMM: {
        const address = (r[mid] + ((opcode >> 4) & 0x7c)) >>> 0;
        r[15] = pc + 2;
        write32(address, r[low]);
        return storeCycles(address);
      }
      case STRH_IMM: {
        const address = (r[mid] + ((opcode >> 5) & 0x3e)) >>> 0;
        r[15] = pc + 2;
        write16(address, r[low]);
        return storeCycles(address);
      }
      case STRB_IMM: {
        const address = (r[mid] + ((opcode >> 6) & 31)) >>> 0;
        r[15] = pc + 2;
        write8(address, r[low]);
        return storeCycles(address);
      }
      case STR_SP: {
        const address = (r[13] + ((opcode & 0xff) << 2)) >>> 0;
        r[15] = pc + 2;
        write32(address, r[(opcode >> 8) & 7]);
        return storeCycles(address);
      }
      case ADR: r[(opcode >> 8) & 7] = (pc & 0xfffffffc) + 4 + ((opcode & 0xff) << 2); break;
      case ADD_SP: r[(opcode >> 8) & 7] = r[13] + ((opcode & 0xff) << 2); break;
      case SP_UP: r[13] += (opcode & 0x7f) << 2; break;
      case SP_DOWN: r[13] -= (opcode & 0x7f) << 2; break;
      case SXTH: r[low] = (r[mid] << 16) >> 16; break;
      case SXTB: r[low] = (r[mid] << 24) >> 24; break;
      case UXTH: r[low] = r[mid] & 0xffff; break;
      case UXTB: r[low] = r[mid] & 0xff; break;
      case PUSH: {
        let count = 0;
        for (let bits = opcode & 0x1ff; bits; bits &= bits - 1) count++;
        let address = (r[13] - 4 * count) >>> 0;
        r[13] = address;
        r[15] = pc + 2;
        for (let i = 0; i < 8; i++) {
          if (opcode & (1 << i)) {
            write32(address, r[i]);
            address += 4;
          }
        }
        if (opcode & 0x100) {
          write32(address, r[14]);
          return count; // rp2040js charges nothing for storing the link register
        }
        return 1 + count;
      }
      case POP: {
        let address = r[13];
        let cycles = 1;
        for (let i = 0; i < 8; i++) {
          if (opcode & (1 << i)) {
            r[i] = read32(address);
            address += 4;
            cycles++;
          }
        }
        if (opcode & 0x100) {
          r[13] = address + 4;
          r[15] = pc + 2;
          core.BXWritePC(read32(address));
          return cycles + 2;
        }
        r[13] = address;
        r[15] = pc + 2;
        return cycles;
      }
      case STM: {
        const base = (opcode >> 8) & 7;
        let address = r[base];
        let cycles = 1;
        r[15] = pc + 2;
        for (let i = 0; i < 8; i++) {
          if (opcode & (1 << i)) {
            write32(address, r[i]);
            address += 4;
            cycles++;
          }
        }
        if (!(opcode & (1 << base))) r[base] = address;
        return cycles;
      }
      case LDM: {
        const base = (opcode >> 8) & 7;
        let address = r[base];
        let cycles = 1;
        r[15] = pc + 2;
        for (let i = 0; i < 8; i++) {
          if (opcode & (1 << i)) {
            r[i] = read32(address);
            address += 4;
            cycles++;
          }
        }
        if (!(opcode & (1 << base))) r[base] = address;
        return cycles;
      }
      case B_COND: {
        let taken;
        switch ((opcode >> 9) & 7) {
          case 0: taken = core.Z; break;
          case 1: taken = core.C; break;
          case 2: taken = core.N; break;
          case 3: taken = core.V; break;
          case 4: taken = core.C && !core.Z; break;
          case 5: taken = core.N === core.V; break;
          default: taken = core.N === core.V && !core.Z;
        }
        if (opcode & 0x100) taken = !taken;
        if (taken) {
          r[15] = pc + 4 + (((opcode & 0xff) << 24) >> 23);
          return 2;
        }
        break;
      }
      case B:
        r[15] = pc + 4 + (((opcode & 0x7ff) << 21) >> 20);
        return 2;
      case BL: {
        const second = at < flashBytes ? flash16[(at >>> 1) + 1] : sram16[((pc - SRAM) >>> 1) + 1];
        if ((second & 0xd000) !== 0xd000) return executeRare();
        const sign = (opcode >> 10) & 1;
        const i1 = 1 - (sign ^ ((second >> 13) & 1));
        const i2 = 1 - (sign ^ ((second >> 11) & 1));
        const offset = (sign ? 0xff000000 : 0) | (i1 << 23) | (i2 << 22) | ((opcode & 0x3ff) << 12) | ((second & 0x7ff) << 1);
        r[14] = (pc + 4) | 1;
        r[15] = pc + 4 + offset;
        return 3;
      }
      default: return executeRare();
    }
    r[15] = pc + 2;
    return 1;
  };
}
