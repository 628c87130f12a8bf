// Our decoding of instructions against rp2040js's own: the same registers, flags, memory and cycles.
// $RP2040JS is where it is installed.

import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";

import { makeStep } from "../../../hil/lenslink_hil/pico/core.mjs";

const { RP2040 } = await import(pathToFileURL(path.join(process.env.RP2040JS, "dist/esm/index.js")).href);
const SEED = Number(process.env.SEED);
const CODE = 0x20000100;
const DATA = 0x20010000;
// Some of it goes where nothing is, and rp2040js says so.
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

function value() {
  const which = random() % 8;
  if (which < 4) return (DATA + (random() % 4096) * 4) >>> 0;
  if (which === 4) return (0x10000000 + (random() % 65536)) >>> 0;
  if (which === 5) return EDGES[random() % EDGES.length];
  return random();
}

function registersOf({ core }) {
  const { N, Z, C, V } = core;
  return { registers: [...core.registers], N, Z, C, V };
}

function memory({ sram }) {
  return Buffer.from(sram.buffer, 0xc000, 0xc000);
}

/** Breaks, hints and what has 32 bits are not decoded by us. */
function sound(opcode) {
  if (opcode >>> 8 === 0xbe || opcode >>> 8 === 0xde || opcode >>> 8 === 0xdf) return false; // breaks
  if (opcode >>> 12 === 0xf || opcode >>> 11 === 0x1d) return false; // wide
  return opcode >>> 8 !== 0xbf && opcode >>> 4 !== 0xb66 && opcode >>> 4 !== 0xb67; // hints, CPS
}

/** A load or store beyond the end of all addresses: there rp2040js forgets to begin anew. */
function wraps(opcode, registers) {
  if (opcode >>> 12 < 5 || opcode >>> 12 > 8) return false;
  const base = registers[(opcode >> 3) & 7];
  const offset = opcode >>> 12 === 5 ? registers[(opcode >> 6) & 7] : 128;
  return base + offset > 0xffffffff;
}

function make() {
  const chip = new RP2040();
  chip.logger = quiet;
  for (let at = 0; at < 65536; at++) chip.flash[at] = (at * 37) & 255;
  return chip;
}

const ours = make();
const theirs = make();
const step = makeStep(ours);

function both(opcodes, registers, flags) {
  if (wraps(opcodes[0], registers)) return;
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
    assert.deepEqual(registersOf(ours), registersOf(theirs));
    assert.ok(memory(ours).equals(memory(theirs)), "memory");
  } catch (error) {
    error.message = `${text()}: ${error.message}`;
    throw error;
  }
}

function operands() {
  const registers = new Uint32Array(16).map(value);
  registers[13] = DATA + 0x2000;
  return [registers, [0, 1, 2, 3].map(() => !(random() & 1))];
}

// The reference computes a carry of add-with-carry in doubles, as we leave it to do.
test("every narrow instruction, thrice, does what rp2040js does", () => {
  for (let opcode = 0; opcode < 65536; opcode++) {
    if (!sound(opcode)) continue;
    for (let i = 0; i < 3; i++) both([opcode], ...operands());
  }
});

test("a call goes where rp2040js goes", () => {
  for (let i = 0; i < 5000; i++) both([0xf000 | (random() & 0x7ff), 0xd000 | (random() & 0x2fff)], ...operands());
});
