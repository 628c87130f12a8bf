// An emulated Raspberry Pi Pico as a process.
//
//   node emulator.mjs '{"library": ..., "flash": ..., "bootrom": ..., "bus": ..., "seed": ...}'
//
// With "console" the serial port is standard input and output, and the chip runs as fast as it can
// for "seconds" of emulated time: see console.mjs. Without it, standard input takes commands: see
// emulator_commands.mjs. Then "fds" are the cable to the USB/IP server and, if there are "pins", the
// plant's socket. "serial_fd" is a socket with the bytes of the board's serial port. "clock" is the
// descriptor of a file of eight bytes that holds the seconds since the start. With "keeps_flash" the
// file "flash" follows each change of the flash chip.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { Bus } from "./usb_bus.mjs";
import { makeChip } from "./chip.mjs";
import { runConsole } from "./console.mjs";
import { runCommands } from "./emulator_commands.mjs";

const options = JSON.parse(process.argv[2]);
const library = await import(pathToFileURL(path.join(options.library, "dist/esm/index.js")).href);
const chip = makeChip(library, options.bootrom && fs.readFileSync(options.bootrom));
chip.flash.set(fs.readFileSync(options.flash));
if (options.keeps_flash) {
  const file = fs.openSync(options.flash, "r+");
  chip.onFlashChange = (offset, count) => fs.writeSync(file, chip.flash, offset, count, offset);
}
chip.clock.nanosCounter = (options.start_us ?? 0) * 1000;
const bus = new Bus(chip.clock, chip.usbCtrl, { kind: options.bus, seed: options.seed });
(options.console ? runConsole : runCommands)(chip, bus, options);
