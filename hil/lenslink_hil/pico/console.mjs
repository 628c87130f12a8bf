// The board's serial port, opened by the host as soon as the board is attached: what a kernel's driver
// does. emulator.mjs has the port on standard input and output with the option "console", and on a
// socket with "serial_fd".

import fs from "node:fs";

import { Host, OK, Transfer } from "./usb_host.mjs";
import { buildReport } from "./exit_report.mjs";

const SLICE = 1_000_000; // ns of emulated time
const SLICES = 20; // between two looks at standard input

const SET_CONFIGURATION = 9;
const CDC = 0x02;
const CDC_DATA = 0x0a;
const SET_LINE_CODING = 0x20;
const SET_CONTROL_LINE_STATE = 0x22;
const BAUD_115200_8N1 = Buffer.from([0x00, 0xc2, 0x01, 0x00, 0, 0, 8]);
const DTR_RTS = 3;
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

/**
 * The serial port of the board. It shares the bus with other programs of the host:
 *
 *   state     event                what happens
 *   closed    openPort()           the configuration is chosen; opening follows
 *   any       handleConfigured()   opening: line coding and control lines are set
 *   opening   the lines are set    open: reading goes on until closePort()
 *   any       closePort()          closed
 *
 * A bus reset and a detached board end each transfer, so closePort() must be called for both.
 */
export class Console {
  /** `output` is called with the bytes that the board writes, `onOpen` when the port is open. */
  constructor(output, onOpen = () => {}) {
    this.host = null;
    this.output = output;
    this.onOpen = onOpen;
    /** The interface and the endpoints; null until the port is open. */
    this.port = null;
    /** The state "opening": what the port will be. */
    this.opening = null;
  }

  openPort(configuration) {
    this.host.sendRequest(0x00, SET_CONFIGURATION, configuration[5], 0, 0, () => {});
  }

  handleConfigured() {
    this.closePort();
    const { host } = this;
    const found = findSerialPort(host.configuration);
    if (found.control < 0) return;
    this.opening = found;
    host.sendRequest(0x21, SET_LINE_CODING, 0, found.control, 7, () => {
      host.sendRequest(0x21, SET_CONTROL_LINE_STATE, DTR_RTS, found.control, 0, () => {
        if (this.opening !== found) return;
        this.opening = null;
        this.port = found;
        this.readNext();
        this.onOpen();
      });
    }, BAUD_115200_8N1);
  }

  closePort() {
    this.port = this.opening = null;
  }

  readNext() {
    const { port } = this;
    this.host.submit(new Transfer({
      endpoint: port.in,
      length: READ_BYTES,
      complete: (status, transfer) => {
        if (transfer.actualLength) this.output(transfer.received);
        if (status === OK && this.port === port) this.readNext();
      },
    }));
  }

  /** Send `data` to the board, and then call `done`. A port that is not open drops the data. */
  write(data, done = () => {}) {
    if (this.port) this.host.submit(new Transfer({ endpoint: this.port.out, data, complete: done }));
    else done();
  }
}

/** Run for `seconds` of emulated time. The last line on stderr is a report, in JSON. */
export function runConsole(chip, bus, { seconds }) {
  const unsentData = [];
  const terminal = new Console(
    (data) => fs.writeSync(1, data),
    () => {
      for (const data of unsentData.splice(0)) terminal.write(data);
    },
  );
  terminal.host = new Host(chip.clock, bus, chip.usbCtrl, {
    onAttached: (_, configuration) => terminal.openPort(configuration),
    onConfigured: () => terminal.handleConfigured(),
    onDetached: () => terminal.closePort(),
  });
  const end = chip.clock.nanos + seconds * 1e9;
  let reason;
  const finish = () => {
    const line = JSON.stringify({ ...buildReport(chip, bus), stopped: reason });
    process.stderr.write(`${line}\n`, () => process.exit(reason ? 1 : 0));
  };
  process.stdin.on("data", (data) => (terminal.port ? terminal.write(data) : unsentData.push(data)));
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
