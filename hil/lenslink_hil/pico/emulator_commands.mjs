// The emulated Pico on a cable: its USB goes to a server, its pins to the plant, and its time never
// runs ahead of the world's. When it has work to do it is slower than the world, and the world
// waits for it, never the other way round: where the host has just taken what it waited for, and
// has not yet asked for more, emulated time stands still for a moment, as a real host controller
// would have had the next transfer in its queue.
//
// Commands, one JSON object a line on standard input:
//   {"report": true}       answered by {"report": {...}}, see report.mjs
//   {"lock": true}         the USB controller locks up, until RESETS resets it
//   {"suspend": true}      the bus goes quiet; false resumes it
//   {"reset": true}        bus reset
//   {"restart": true}      the chip starts anew, as by its pin RUN
//   {"pin": [n, level]}    drives an input; null lets go of it
// Events go the same way to standard output: {"event": "attached", "us": ...}, and "detached",
// "pullup", "stopped" (with "reason").

import fs from "node:fs";
import net from "node:net";
import readline from "node:readline";

import { Cable } from "./cable.mjs";
import { Host } from "./usb_host.mjs";
import { Pins } from "./plant_pins.mjs";
import { report } from "./exit_report.mjs";

const SLICE = 250_000; // ns of emulated time, between two looks at the world outside
const BEHIND = 5_000_000; // ns that it may catch up, after having been slower
const PATIENCE_MS = 100; // of real time, until a host that has not asked again does not want more: longer than
// a busy machine keeps a process waiting

export function serve(chip, bus, options) {
  const { clock } = chip;
  const starved = new Set();
  let waitingUntil = 0;
  let timer = null;
  let immediate = null;
  let stopped = false;

  const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  const event = (name, more = {}) => say({ event: name, us: Math.round(clock.micros), ...more });

  // --- time -----------------------------------------------------------------------------

  let anchorWall = performance.now() * 1e6;
  let anchorEmulated = clock.nanos;

  const seconds = new Float64Array(1);
  const began = clock.nanos;

  /** Who looks at the file that is our clock. */
  function tell() {
    seconds[0] = (clock.nanos - began) / 1e9;
    fs.writeSync(options.clock, seconds, 0, 8, 0);
  }

  function allowed() {
    const wall = performance.now() * 1e6;
    let limit = anchorEmulated + (wall - anchorWall);
    if (limit > clock.nanos + BEHIND) {
      anchorWall = wall;
      anchorEmulated = clock.nanos;
      limit = clock.nanos + SLICE;
    }
    return limit;
  }

  function soon() {
    clearTimeout(timer);
    timer = null;
    immediate ??= setImmediate(step);
  }

  function later(ms) {
    clearTimeout(timer);
    timer = setTimeout(step, ms);
  }

  function waits() {
    const over = performance.now() >= waitingUntil;
    for (const pipe of starved) {
      if (over || pipe.jobs.length || !bus.pipes.includes(pipe)) starved.delete(pipe);
    }
    if (!starved.size || !host.busy()) return starved.size > 0;
    // It waits for us to take something: only then can it ask.
    waitingUntil = performance.now() + PATIENCE_MS;
    return false;
  }

  function step() {
    clearTimeout(timer);
    timer = immediate = null;
    if (stopped) return;
    if (waits()) {
      later(waitingUntil - performance.now());
      return;
    }
    if (pins?.waits()) return; // its answer brings us back
    const limit = pins ? Math.min(allowed(), pins.until()) : allowed();
    try {
      chip.run(Math.min(limit, clock.nanos + SLICE));
    } catch (error) {
      stopped = true;
      event("stopped", { reason: error.message });
      return;
    }
    pins?.elapsed();
    tell();
    if (clock.nanos < limit || chip.stop) soon();
    else later(1);
  }

  // --- the world ------------------------------------------------------------------------

  const [cableFd, pinsFd] = options.fds;
  const socket = new net.Socket({ fd: cableFd, readable: true, writable: true });
  socket.on("close", () => process.exit(0));
  socket.on("error", () => process.exit(0));
  const cable = new Cable(socket, soon);
  const host = new Host(clock, bus, chip.usbCtrl, {
    pullup: () => event("pullup"),
    attached: (device, configuration) => {
      event("attached");
      cable.attached(device, configuration);
    },
    detached: () => {
      event("detached");
      cable.detached();
    },
    starved: (pipe) => {
      if (!starved.size) waitingUntil = performance.now() + PATIENCE_MS;
      starved.add(pipe);
      chip.stop = true;
    },
    taken: () => {
      chip.stop = starved.size > 0;
    },
  });
  cable.host = host;
  const pins = options.pins ? new Pins(chip, pinsFd, options.pins, soon) : null;

  const commands = {
    report: () => say({ report: report(chip, bus) }),
    lock: () => chip.usbCtrl.lockUp(),
    suspend: (on) => (on ? host.suspend() : host.resume()),
    reset: () => host.busReset(),
    restart: () => {
      chip.restartWanted = true;
      chip.core.waiting = false;
    },
    pin: ([number, level]) => chip.drive(number, level === null ? null : !!level),
  };
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    for (const [name, value] of Object.entries(JSON.parse(line))) commands[name](value);
    soon();
  });
  lines.on("close", () => process.exit(0));

  chip.boot();
  soon();
}
