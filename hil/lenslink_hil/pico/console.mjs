// The board's serial port as a program has it that talks to the REPL: opened as soon as it is
// there, bytes both ways.

import fs from "node:fs";

import { Host, OK, Transfer } from "./usb_host.mjs";
import { report } from "./exit_report.mjs";

const SLICE = 1_000_000; // ns, and how many of them between two looks at standard input
const SLICES = 20;

const CDC = 0x02;
const CDC_DATA = 0x0a;
const SET_LINE_CODING = 0x20;
const SET_CONTROL_LINE_STATE = 0x22;
const BAUD_115200_8N1 = Buffer.from([0x00, 0xc2, 0x01, 0x00, 0, 0, 8]);
const READ_BYTES = 4096;

function port(configuration) {
  const found = { control: -1, in: 0, out: 0 };
  let cls = 0;
  for (let at = 0; at + 2 <= configuration.length && configuration[at]; at += configuration[at]) {
    if (configuration[at + 1] === 4) {
      cls = configuration[at + 5];
      if (cls === CDC && found.control < 0) found.control = configuration[at + 2];
    } else if (configuration[at + 1] === 5 && cls === CDC_DATA) {
      const address = configuration[at + 2];
      if (address & 0x80) found.in ||= address;
      else found.out ||= address;
    }
  }
  return found;
}

export class Console {
  /** `output` takes what the board writes. */
  constructor(host, output) {
    this.host = host;
    this.output = output;
    this.found = null;
    this.waiting = [];
  }

  attached(configuration) {
    const found = port(configuration);
    if (found.control < 0) return;
    const { host } = this;
    host.request(0x00, 9, configuration[5], 0, 0, () => {
      host.request(0x21, SET_LINE_CODING, 0, found.control, 7, () => {
        host.request(0x21, SET_CONTROL_LINE_STATE, 3, found.control, 0, () => {
          this.found = found;
          this.read();
          for (const data of this.waiting.splice(0)) this.write(data);
        });
      }, BAUD_115200_8N1);
    });
  }

  detached() {
    this.found = null;
  }

  read() {
    this.host.submit(new Transfer({
      endpoint: this.found.in,
      length: READ_BYTES,
      complete: (status, transfer) => {
        if (transfer.count) this.output(transfer.received);
        if (status === OK && this.found) this.read();
      },
    }));
  }

  write(data) {
    if (this.found) this.host.submit(new Transfer({ endpoint: this.found.out, data, complete: () => {} }));
    else this.waiting.push(data);
  }
}

/** Run with the port on standard input and output; the last line on stderr is a report, in JSON. */
export function runConsole(chip, bus, { seconds }) {
  const port_ = new Console(null, (data) => fs.writeSync(1, data));
  const host = new Host(chip.clock, bus, chip.usbCtrl, {
    attached: (_, configuration) => port_.attached(configuration),
    detached: () => port_.detached(),
  });
  port_.host = host;
  const end = chip.clock.nanos + seconds * 1e9;
  let reason;
  const finish = () => {
    const line = JSON.stringify({ ...report(chip, bus), stopped: reason });
    process.stderr.write(`${line}\n`, () => process.exit(reason ? 1 : 0));
  };
  process.stdin.on("data", (data) => port_.write(data));
  process.stdin.on("end", finish);
  const step = () => {
    try {
      for (let i = 0; i < SLICES && chip.clock.nanos < end; i++) {
        chip.run(Math.min(chip.clock.nanos + SLICE, end));
      }
    } catch (error) {
      reason = error.message;
    }
    if (reason || chip.clock.nanos >= end) finish();
    else setImmediate(step);
  };
  chip.boot();
  step();
}
