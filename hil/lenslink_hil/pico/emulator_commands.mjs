// The emulated Pico on a cable: its USB goes to a server, and its pins to the plant.
//
// Emulated time never runs ahead of real time. A busy chip falls behind, and the others wait for it.
// Emulated time stands still for a moment when a transfer of the host has ended and the next has not
// arrived yet: a real host controller would have had the next transfer in its queue.
//
// Commands are JSON objects, one a line, on standard input:
//   {"report": true}       answer {"report": {...}}: see exit_report.mjs
//   {"lock": true}         lock the USB controller up, until RESETS resets it
//   {"suspend": true}      suspend the bus; false resumes it
//   {"reset": true}        reset the bus
//   {"restart": true}      restart the chip, as its pin RUN does
//   {"pin": [n, level]}    drive an input; null stops driving it
// Events are JSON objects on standard output: {"event": "attached", "us": ...}, and "detached",
// "pullup", "opened" (the serial port, if it is on a socket), "stopped" (with "reason").

import fs from "node:fs";
import net from "node:net";
import readline from "node:readline";

import { Cable } from "./cable.mjs";
import { Console } from "./console.mjs";
import { Host } from "./usb_host.mjs";
import { PlantPins } from "./plant_pins.mjs";
import { buildReport } from "./exit_report.mjs";

const SLICE = 250_000; // ns of emulated time, between two looks at sockets and commands
const MAX_LAG = 5_000_000; // ns of real time that emulated time may catch up
// Real time after which a host that has not asked again wants no more. A busy machine keeps a
// process waiting for less.
const NEXT_TRANSFER_MS = 100;

/** Run until standard input or the cable ends. */
export function runCommands(chip, bus, options) {
  const { clock } = chip;
  const starvedPipes = new Set();
  let waitEnd = 0;
  let timer = null;
  let immediate = null;
  let isStopped = false;

  const writeLine = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  const reportEvent = (name, more = {}) => writeLine({ event: name, us: Math.round(clock.micros), ...more });

  // --- time -----------------------------------------------------------------------------

  let anchorWall = performance.now() * 1e6;
  let anchorEmulated = clock.nanos;

  const seconds = new Float64Array(1);
  const startNanos = clock.nanos;

  /** Write the time into the file that is the clock. */
  function writeClock() {
    seconds[0] = (clock.nanos - startNanos) / 1e9;
    fs.writeSync(options.clock, seconds, 0, 8, 0);
  }

  /** Return the emulated time up to which the chip may run now. */
  function findTimeLimit() {
    const wall = performance.now() * 1e6;
    let limit = anchorEmulated + (wall - anchorWall);
    if (limit > clock.nanos + MAX_LAG) {
      anchorWall = wall;
      anchorEmulated = clock.nanos;
      limit = clock.nanos + SLICE;
    }
    return limit;
  }

  function scheduleStep() {
    clearTimeout(timer);
    timer = null;
    immediate ??= setImmediate(step);
  }

  function scheduleStepAfter(ms) {
    clearTimeout(timer);
    timer = setTimeout(step, ms);
  }

  /** Whether emulated time stands still because the host has not asked again yet. */
  function isWaitingForHost() {
    const isOver = performance.now() >= waitEnd;
    for (const pipe of starvedPipes) {
      if (isOver || pipe.jobs.length || !bus.pipes.includes(pipe)) starvedPipes.delete(pipe);
    }
    if (!starvedPipes.size || !host.isBusy()) return starvedPipes.size > 0;
    // The host waits until the device has taken its data, and asks only after that.
    waitEnd = performance.now() + NEXT_TRANSFER_MS;
    return false;
  }

  function step() {
    clearTimeout(timer);
    timer = immediate = null;
    if (isStopped) return;
    if (isWaitingForHost()) {
      scheduleStepAfter(waitEnd - performance.now());
      return;
    }
    if (pins?.isWaiting) return; // The answer calls scheduleStep().
    const limit = pins ? Math.min(findTimeLimit(), pins.nextEventTime) : findTimeLimit();
    try {
      chip.run(Math.min(limit, clock.nanos + SLICE));
    } catch (error) {
      isStopped = true;

      reportEvent("stopped", { reason: error.message });
      return;
    }
    pins?.sendTimeIfDue();
    writeClock();
    if (clock.nanos < limit || chip.stop) scheduleStep();
    else scheduleStepAfter(1);
  }

  // --- sockets and commands -------------------------------------------------------------

  const [cableFd, pinsFd] = options.fds;
  const socket = new net.Socket({ fd: cableFd, readable: true, writable: true });
  socket.on("close", () => process.exit(0));
  socket.on("error", () => process.exit(0));
  const cable = new Cable(socket, scheduleStep, options.serial_fd !== undefined);
  const host = new Host(clock, bus, chip.usbCtrl, {
    onPullup: () => reportEvent("pullup"),
    onAttached: (device, configuration) => {
      reportEvent("attached");
      cable.sendAttach(device, configuration);
      terminal?.openPort(configuration);
    },
    onDetached: () => {
      reportEvent("detached");
      terminal?.closePort();
      cable.sendDetach();
    },
    onReset: () => {
      terminal?.closePort();
      terminal?.openPort(host.configuration);
    },
    onConfigured: () => terminal?.handleConfigured(),
    onStarved: (pipe) => {
      if (!starvedPipes.size) waitEnd = performance.now() + NEXT_TRANSFER_MS;
      starvedPipes.add(pipe);
      chip.stop = true;
    },
    onTaken: () => {
      chip.stop = starvedPipes.size > 0;
    },
  });
  cable.host = host;
  const terminal = options.serial_fd === undefined ? null : serveSerialPort(options.serial_fd);
  if (terminal) terminal.host = host;
  const pins = options.pins ? new PlantPins(chip, pinsFd, options.pins, scheduleStep) : null;

  /** Open the board's serial port whenever it is there, for the program at the socket. */
  function serveSerialPort(fd) {
    const program = new net.Socket({ fd, readable: true, writable: true });
    const port = new Console((data) => program.write(data), () => reportEvent("opened"));
    program.on("data", (data) => {
      program.pause();
      port.write(data, () => program.resume());
      scheduleStep();
    });
    program.on("error", () => process.exit(0));
    return port;
  }

  const commands = {
    report: () => writeLine({ report: buildReport(chip, bus) }),
    lock: () => chip.usbCtrl.lockUp(),
    suspend: (on) => (on ? host.suspend() : host.resume()),
    reset: () => host.resetBus(),
    restart: () => {
      chip.isRestartPending = true;
      chip.core.waiting = false;
    },
    pin: ([number, level]) => chip.drivePin(number, level === null ? null : !!level),
  };
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    for (const [name, value] of Object.entries(JSON.parse(line))) commands[name](value);
    scheduleStep();
  });
  lines.on("close", () => process.exit(0));

  chip.boot();
  scheduleStep();
}
