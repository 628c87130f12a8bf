// The board's serial port on standard input and output, for a program that talks to the REPL. The
// port is opened as soon as the board is attached. emulator.mjs runs it with the option "console".

import fs from "node:fs";

import { Host, OK, Transfer } from "./usb_host.mjs";
import { buildReport } from "./exit_report.mjs";

const SLICE = 1_000_000; // ns of emulated time
const SLICES = 20; // between two looks at standard input

const CDC = 0x02;
const CDC_DATA = 0x0a;
const SET_LINE_CODING = 0x20;
const SET_CONTROL_LINE_STATE = 0x22;
const BAUD_115200_8N1 = Buffer.from([0x00, 0xc2, 0x01, 0x00, 0, 0, 8]);
const READ_BYTES = 4096;

function findSerialPort(configuration) {
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
  /** `output` is called with the bytes that the board writes. */
  constructor(host, output) {
    this.host = host;
    this.output = output;
    /** The interface and the endpoints; null until the port is open. */
    this.port = null;
    this.unsentData = [];
  }

  openPort(configuration) {
    const found = findSerialPort(configuration);
    if (found.control < 0) return;
    const { host } = this;
    host.sendRequest(0x00, 9, configuration[5], 0, 0, () => {
      host.sendRequest(0x21, SET_LINE_CODING, 0, found.control, 7, () => {
        host.sendRequest(0x21, SET_CONTROL_LINE_STATE, 3, found.control, 0, () => {
          this.port = found;
          this.readNext();
          for (const data of this.unsentData.splice(0)) this.write(data);
        });
      }, BAUD_115200_8N1);
    });
  }

  closePort() {
    this.port = null;
  }

  readNext() {
    this.host.submit(new Transfer({
      endpoint: this.port.in,
      length: READ_BYTES,
      complete: (status, transfer) => {
        if (transfer.actualLength) this.output(transfer.received);
        if (status === OK && this.port) this.readNext();
      },
    }));
  }

  write(data) {
    if (this.port) this.host.submit(new Transfer({ endpoint: this.port.out, data, complete: () => {} }));
    else this.unsentData.push(data);
  }
}

/** Run for `seconds` of emulated time. The last line on stderr is a report, in JSON. */
export function runConsole(chip, bus, { seconds }) {
  const terminal = new Console(null, (data) => fs.writeSync(1, data));
  const host = new Host(chip.clock, bus, chip.usbCtrl, {
    onAttached: (_, configuration) => terminal.openPort(configuration),
    onDetached: () => terminal.closePort(),
  });
  terminal.host = host;
  const end = chip.clock.nanos + seconds * 1e9;
  let reason;
  const finish = () => {
    const line = JSON.stringify({ ...buildReport(chip, bus), stopped: reason });
    process.stderr.write(`${line}\n`, () => process.exit(reason ? 1 : 0));
  };
  process.stdin.on("data", (data) => terminal.write(data));
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
