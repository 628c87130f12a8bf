// Compares our decoder with rp2040js's own: registers, flags, memory and cycles must be the same.
// $RP2040JS is the folder of rp2040js, $SEED the seed of the operands.

import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";

import { makeStep } from "../../../hil/lenslink_hil/pico/core.mjs";

const { RP2040 } = await import(pathToFileURL(path.join(process.env.RP2040JS, "dist/esm/index.js")).href);
const SEED = Number(process.env.SEED);
const CODE = 0x20000100;
const DATA = 0x20010000;
// Some accesses go to addresses without memory, and rp2040js prints a warning for each.
console.warn = console.error = console.log = () => {};
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

let state = SEED >>> 0 || 1;
function random() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
}

const EDGES = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 31, 32, 33];

function randomValue() {
  const which = random() % 8;
  if (which < 4) return (DATA + (random() % 4096) * 4) >>> 0;
  if (which === 4) return (0x10000000 + (random() % 65536)) >>> 0;
  if (which === 5) return EDGES[random() % EDGES.length];
  return random();
}

function readRegisters({ core }) {
  const { N, Z, C, V } = core;
  return { registers: [...core.registers], N, Z, C, V };
}

function readMemory({ sram }) {
  return Buffer.from(sram.buffer, 0xc000, 0xc000);
}

/** Whether our decoder handles it: it leaves breaks, hints and 32-bit instructions to rp2040js. */
function isDecoded(opcode) {
  if (opcode >>> 8 === 0xbe || opcode >>> 8 === 0xde || opcode >>> 8 === 0xdf) return false; // breaks
  if (opcode >>> 12 === 0xf || opcode >>> 11 === 0x1d) return false; // wide
  return opcode >>> 8 !== 0xbf && opcode >>> 4 !== 0xb66 && opcode >>> 4 !== 0xb67; // hints, CPS
}

/** Whether a load or store wraps past the last address, which rp2040js does not handle. */
function isWrapping(opcode, registers) {
  if (opcode >>> 12 < 5 || opcode >>> 12 > 8) return false;
  const base = registers[(opcode >> 3) & 7];
  const offset = opcode >>> 12 === 5 ? registers[(opcode >> 6) & 7] : 128;
  return base + offset > 0xffffffff;
}

function makeChip() {
  const chip = new RP2040();
  chip.logger = quiet;
  for (let at = 0; at < 65536; at++) chip.flash[at] = (at * 37) & 255;
  return chip;
}

const ours = makeChip();
const theirs = makeChip();
const step = makeStep(ours);

function compare(opcodes, registers, flags) {
  if (isWrapping(opcodes[0], registers)) return;
  for (const chip of [ours, theirs]) {
    chip.core.registers.set(registers);
    chip.core.registers[15] = CODE;
    [chip.core.N, chip.core.Z, chip.core.C, chip.core.V] = flags;
    chip.core.interruptsUpdated = false;
    opcodes.forEach((opcode, at) => chip.writeUint16(CODE + 2 * at, opcode));
  }
  const cycles = [step(), theirs.core.executeInstruction()];
  const text = () => `${opcodes.map((each) => each.toString(16))} with ${[...registers].map((each) => each.toString(16))}`;
  if (cycles[0] !== cycles[1]) assert.fail(`${cycles} cycles: ${text()}`);
  try {
    assert.deepEqual(readRegisters(ours), readRegisters(theirs));
    assert.ok(readMemory(ours).equals(readMemory(theirs)), "memory");
  } catch (error) {
    error.message = `${text()}: ${error.message}`;
    throw error;
  }
}

function randomOperands() {
  const registers = new Uint32Array(16).map(randomValue);
  registers[13] = DATA + 0x2000;
  return [registers, [0, 1, 2, 3].map(() => !(random() & 1))];
}

// rp2040js computes the carry of add-with-carry in doubles; our decoder leaves ADC to it.
test("every 16-bit instruction does what rp2040js does, with three sets of operands", () => {
  for (let opcode = 0; opcode < 65536; opcode++) {
    if (!isDecoded(opcode)) continue;
    for (let i = 0; i < 3; i++) compare([opcode], ...randomOperands());
  }
});

test("a call goes where rp2040js goes", () => {
  for (let i = 0; i < 5000; i++) compare([0xf000 | (random() & 0x7ff), 0xd000 | (random() & 0x2fff)], ...randomOperands());
});
