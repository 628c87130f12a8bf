// A boot ROM of our own. pico-sdk finds the ROM's functions by two-letter codes, in a table at a
// fixed place. Here each function is a breakpoint, and the emulator does its work. A copy of
// Raspberry Pi's published ROM can be used instead: then only the functions that access the flash
// chip become breakpoints, because that chip is not emulated.
//
// The layout is the RP2040 datasheet's, 2.8.3. Cycle counts are those of the published routines.
// chip.mjs uses this file.

import { DOUBLE_CALLS, SINGLE_CALLS } from "./floats.mjs";

const BKPT = 0xbe00;
const BX_LR = 0x4770;
const STACK_TOP = 0x20041f00;
const VERSION = 3; // B2
const FUNCTIONS_AT = 0x14;
const DATA_AT = 0x16;
const LOOKUP_AT = 0x18;
const SECTOR = 4096;

function findMemory(chip, address, length) {
  const { sram, flash } = chip;
  if (address >= 0x20000000 && address + length <= 0x20000000 + sram.length) {
    return sram.subarray(address - 0x20000000, address - 0x20000000 + length);
  }
  if (address >= 0x10000000 && address + length <= 0x10000000 + flash.length) {
    return flash.subarray(address - 0x10000000, address - 0x10000000 + length);
  }
  return null;
}

function copy(chip, to, from, length) {
  const source = findMemory(chip, from, length);
  const target = to >= 0x20000000 ? findMemory(chip, to, length) : null;
  if (source && target) {
    target.set(source);
    return;
  }
  // Registers and the USB buffer take words only, so words are copied where both sides are aligned.
  let at = 0;
  if (!((to | from) & 3)) {
    for (; at + 4 <= length; at += 4) chip.writeUint32(to + at, chip.readUint32(from + at));
  }
  for (; at < length; at++) chip.writeUint8(to + at, chip.readUint8(from + at));
}

function countCopyCycles(to, from, length) {
  if (length < 8) return 12 + 6 * length;
  return (to - from) & 3 ? 10 + 7 * length : 40 + Math.ceil((length * 13) / 16);
}

function memcpy(core, chip) {
  const [to, from, length] = core.registers;
  copy(chip, to, from, length);
  return countCopyCycles(to, from, length);
}

function memset(core, chip) {
  const [to, value, length] = core.registers;
  const target = to >= 0x20000000 ? findMemory(chip, to, length) : null;
  if (target) {
    target.fill(value);
  } else {
    let at = 0;
    const word = Math.imul(value & 0xff, 0x01010101) >>> 0;
    if (!(to & 3)) for (; at + 4 <= length; at += 4) chip.writeUint32(to + at, word);
    for (; at < length; at++) chip.writeUint8(to + at, value & 0xff);
  }
  return length < 8 ? 12 + 4 * length : 30 + Math.ceil((length * 8) / 16);
}

function makeBitFunction(compute, cycles) {
  return (core) => {
    core.registers[0] = compute(core.registers[0]);
    return cycles;
  };
}

function countBits(value) {
  let count = 0;
  for (; value; value &= value - 1) count++;
  return count;
}

function reverseBits(value) {
  let result = 0;
  for (let i = 0; i < 32; i++) result = (result << 1) | ((value >>> i) & 1);
  return result;
}

function findFunction(core, chip) {
  const [table, code] = core.registers;
  let cycles = 8;
  for (let at = table; ; at += 4, cycles += 9) {
    const found = chip.readUint16(at);
    if (found === code || !found) {
      core.registers[0] = found ? chip.readUint16(at + 2) : 0;
      return cycles;
    }
  }
}

// The times are the typical ones of a W25Q16JV, 45 ms for a sector and 0.4 ms for a page.
function eraseFlash(core, chip) {
  const [offset, count] = core.registers;
  chip.flash.subarray(offset, offset + count).fill(0xff);
  chip.onFlashChange?.(offset, count);
  return Math.ceil(count / SECTOR) * 45e-3 * chip.clkSys;
}

function programFlash(core, chip) {
  const [offset, from, count] = core.registers;
  for (let at = 0; at < count; at++) chip.flash[offset + at] &= chip.readUint8(from + at);
  chip.onFlashChange?.(offset, count);
  return Math.ceil(count / 256) * 0.4e-3 * chip.clkSys;
}

const doNothing = () => 20;

const FLASH_FUNCTIONS = {
  IF: doNothing, // connect_internal_flash
  EX: doNothing, // flash_exit_xip
  RE: eraseFlash,
  RP: programFlash,
  FC: doNothing, // flash_flush_cache
  CX: doNothing, // flash_enter_cmd_xip
};

const FUNCTIONS = {
  P3: makeBitFunction(countBits, 20),
  R3: makeBitFunction(reverseBits, 20),
  L3: makeBitFunction(Math.clz32, 14),
  T3: makeBitFunction((value) => (value ? 31 - Math.clz32(value & -value) : 32), 14),
  MS: memset,
  S4: memset,
  MC: memcpy,
  C4: memcpy,
  UB: (core, chip) => (chip.stopWithError("it asked for the USB boot loader"), 1),
  ...FLASH_FUNCTIONS,
};

function encodeName(text) {
  return text.charCodeAt(0) | (text.charCodeAt(1) << 8);
}

/** A ROM, and the functions that are breakpoints: a breakpoint's number is its index in `traps`. */
export class Bootrom {
  constructor(chip) {
    this.chip = chip;
    this.traps = [];
    this.words = new Uint32Array(4096);
    this.view = new DataView(this.words.buffer);
  }

  /** Build our own ROM. */
  static buildStub(chip) {
    const rom = new Bootrom(chip);
    const { view } = rom;
    view.setUint32(0x00, STACK_TOP, true);
    for (let vector = 4; vector < 0x10; vector += 4) view.setUint32(vector, rom.placeTrap(0x100, "a fault", () => (chip.stopWithError("it faulted before it had vectors of its own"), 1)), true);
    [0x4d, 0x75, 0x01, VERSION].forEach((byte, at) => view.setUint8(0x10 + at, byte));
    let at = 0x200;
    const next = (name, serve) => {
      const address = rom.placeTrap(at, name, serve);
      at += 4;
      return address;
    };
    view.setUint16(LOOKUP_AT, next("lookup", findFunction), true);
    const functions = Object.entries(FUNCTIONS).map(([name, serve]) => [encodeName(name), next(name, serve)]);
    const tables = [["SF", SINGLE_CALLS], ["SD", DOUBLE_CALLS]].map(([name, calls]) => [
      name, calls.map((call) => next(call.name, call.serve)),
    ]);
    // Two bytes before a table stands its length in words.
    const data = tables.map(([name, addresses]) => {
      at += 4;
      view.setUint8(at - 2, addresses.length);
      const start = at;
      for (const address of addresses) {
        view.setUint32(at, address, true);
        at += 4;
      }
      return [encodeName(name), start];
    });
    for (const [pointer, entries] of [[FUNCTIONS_AT, functions], [DATA_AT, data]]) {
      view.setUint16(pointer, at, true);
      for (const [key, address] of entries) {
        view.setUint16(at, key, true);
        view.setUint16(at + 2, address, true);
        at += 4;
      }
      at += 4;
    }
    return rom;
  }

  /** Take Raspberry Pi's ROM and trap its flash functions. Throws if the bytes are not that ROM. */
  static fromPublished(chip, bytes) {
    const rom = new Bootrom(chip);
    if (bytes.length !== 16384 || bytes[0x10] !== 0x4d || bytes[0x11] !== 0x75) {
      throw new Error("this is not an RP2040 boot ROM, which has 16 KiB and begins with its header");
    }
    new Uint8Array(rom.words.buffer).set(bytes);
    for (let at = rom.view.getUint16(FUNCTIONS_AT, true); ; at += 4) {
      const key = rom.view.getUint16(at, true);
      if (!key) break;
      const serve = FLASH_FUNCTIONS[String.fromCharCode(key & 0xff, key >> 8)];
      if (serve) rom.placeTrap(rom.view.getUint16(at + 2, true) & ~1, "flash", serve);
    }
    return rom;
  }

  /** Put a breakpoint at the address `at`; return it as a function pointer. */
  placeTrap(at, name, serve) {
    const index = this.traps.findIndex((trap) => trap.at === at);
    if (index < 0) {
      this.view.setUint16(at, BKPT | this.traps.length, true);
      this.view.setUint16(at + 2, BX_LR, true);
      this.traps.push({ at, name, serve });
    }
    return at | 1;
  }

  /** Do the work of a breakpoint; return its cycles, or -1 if it is not one of ours. */
  serveTrap(core, number) {
    const trap = this.traps[number];
    if (!trap || core.PC - 2 !== trap.at) return -1;
    return trap.serve(core, this.chip);
  }
}
