// An emulated Raspberry Pi Pico as a process.
//
//   node emulator.mjs '{"library": ..., "flash": ..., "bootrom": ..., "bus": ..., "seed": ...}'
//
// With "console" true its serial port is standard input and output, and it runs as fast as it can
// for "seconds" of emulated time; what there is to say at the end is a line of JSON on stderr.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { Bus } from "./bus.mjs";
import { makeChip } from "./chip.mjs";
import { Console } from "./console.mjs";
import { Host } from "./host.mjs";

const SLICE = 1_000_000; // ns, between two looks at the world outside

const options = JSON.parse(process.argv[2]);
const library = await import(pathToFileURL(path.join(options.library, "dist/esm/index.js")).href);
const chip = makeChip(library, options.bootrom && fs.readFileSync(options.bootrom));
chip.flash.set(fs.readFileSync(options.flash));
const bus = new Bus(chip.clock, chip.usbCtrl, { kind: options.bus, seed: options.seed });

function report(extra = {}) {
  const { clock, core } = chip;
  return {
    emulated_us: Math.round(clock.micros),
    slept_us: Math.round(chip.sleptNanos / 1000),
    ...bus.counters,
    pc: core.PC,
    ...extra,
  };
}

function runConsole() {
  const console_ = new Console(null, (data) => fs.writeSync(1, data));
  const host = new Host(chip.clock, bus, chip.usbCtrl, {
    attached: (_, configuration) => console_.attached(configuration),
    detached: () => console_.detached(),
  });
  console_.host = host;
  const end = options.seconds * 1e9;
  process.stdin.on("data", (data) => console_.write(data));
  process.stdin.on("end", () => finish());
  let reason;
  function finish() {
    process.stderr.write(JSON.stringify(report({ stopped: reason })) + "\n", () => process.exit(reason ? 1 : 0));
  }
  function step() {
    try {
      for (let i = 0; i < 20 && chip.clock.nanos < end; i++) chip.run(Math.min(chip.clock.nanos + SLICE, end));
    } catch (error) {
      reason = error.stack;
    }
    if (reason || chip.clock.nanos >= end) finish();
    else setImmediate(step);
  }
  chip.boot();
  step();
}

runConsole();
