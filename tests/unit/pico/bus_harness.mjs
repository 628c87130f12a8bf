// A controller, a bus and a host on a clock of their own, with a small device driver that uses the
// controller's registers. It needs neither a chip nor rp2040js.

import { Bus } from "../../../hil/lenslink_hil/pico/usb_bus.mjs";
import { Controller } from "../../../hil/lenslink_hil/pico/controller.mjs";
import { Host, Transfer } from "../../../hil/lenslink_hil/pico/usb_host.mjs";

export const MS = 1_000_000;
const AVAILABLE = 1 << 10;
const FULL = 1 << 15;
const DATA1 = 1 << 13;
const SELECT = 1 << 12;
export const STALL = 1 << 11;
const ENABLE = 0x80000000;
const DOUBLE = 1 << 30;
const EVERY_BUFFER = 1 << 29;
const EVERY_TWO = 1 << 28;
export const REGISTER = { address: 0x00, main: 0x40, sof: 0x48, sieCtrl: 0x4c, sieStatus: 0x50, buffStatus: 0x58, stallArm: 0x68, inte: 0x90, ints: 0x98 };
const PULLUP = 1 << 16;

export class Clock {
  constructor() {
    this.nanos = 0;
    this.alarms = new Set();
  }

  createAlarm(callback) {
    const alarm = {
      at: Infinity,
      schedule: (delay) => {
        alarm.at = this.nanos + delay;
        alarm.order = this.order = (this.order ?? 0) + 1;
        this.alarms.add(alarm);
      },
      cancel: () => this.alarms.delete(alarm),
      fire: callback,
    };
    return alarm;
  }

  run(nanos) {
    const end = this.nanos + nanos;
    for (;;) {
      const due = [...this.alarms].filter((alarm) => alarm.at <= end).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (!due) break;
      this.alarms.delete(due);
      this.nanos = due.at;
      due.fire();
    }
    this.nanos = end;
  }
}

function configuration(ins) {
  const endpoints = [[0x03, 2], ...ins.map((address) => [address, 2])].flatMap(([address, kind]) => [7, 5, address, kind, 64, 0, 0]);
  const total = 9 + 9 + endpoints.length;
  return Buffer.from([9, 2, total, 0, 1, 1, 0, 0x80, 125, 9, 4, 0, 0, 1 + ins.length, 0xff, 0x4c, 0x4b, 0, ...endpoints]);
}

function serialConfiguration() {
  const endpoints = [0x03, 0x83].flatMap((address) => [7, 5, address, 2, 64, 0, 0]);
  const interfaces = [9, 4, 0, 0, 0, 2, 2, 0, 0, 9, 4, 1, 0, 2, 10, 0, 0, 0];
  const total = 9 + interfaces.length + endpoints.length;
  return Buffer.from([9, 2, total, 0, 2, 1, 0, 0x80, 125, ...interfaces, ...endpoints]);
}

const DEVICE = Buffer.from([18, 1, 0, 2, 0xef, 2, 1, 64, 0x8a, 0x2e, 5, 0, 0, 1, 1, 2, 3, 1]);

/** A small device driver: it serves endpoint 0, and the test uses the other endpoints. */
export class UsbHarness {
  constructor({ kind = "ideal", seed = 1, ins = [0x83], port = null } = {}) {
    this.clock = new Clock();
    this.usbDPRAM = new Uint8Array(4096);
    this.usbDPRAMView = new DataView(this.usbDPRAM.buffer);
    this.controller = new Controller(this);
    this.bus = new Bus(this.clock, this.controller, { kind, seed });
    this.events = [];
    this.ins = ins;
    this.configuration = configuration(ins);
    /** The serial port that the host opens, if it is given one. */
    this.port = port;
    if (port) this.configuration = serialConfiguration();
    this.host = new Host(this.clock, this.bus, this.controller, {
      onAttached: (_, found) => {
        this.events.push("attached");
        port?.openPort(found);
      },
      onDetached: () => {
        this.events.push("detached");
        port?.closePort();
      },
      onReset: () => {
        port?.closePort();
        port?.openPort(this.configuration);
      },
      onConfigured: () => port?.handleConfigured(),
    });
    if (port) port.host = this.host;
    /** Called with the address of an endpoint whose buffers the controller is done with. */
    this.onBuffersDone = () => {};
    this.pids = {};
    this.address = 0;
    this.reply = null;
    this.resetCount = 0;
    this.isInInterrupt = false;
  }

  // The core serves an interrupt at once, but never within another.
  setInterrupt(_, pending) {
    if (!pending || this.isInInterrupt) return;
    this.isInInterrupt = true;
    this.serveInterrupt();
    this.isInInterrupt = false;
  }

  write(register, value) {
    this.controller.writeUint32Atomic(register, value, 0);
  }

  read(register) {
    return this.controller.readUint32(register);
  }

  attach() {
    this.write(REGISTER.main, 1);
    this.write(REGISTER.inte, 0x1f010 | (1 << 16));
    this.write(REGISTER.sieCtrl, PULLUP);
  }

  detach() {
    this.write(REGISTER.sieCtrl, 0);
  }

  /** Attach, and let the host address and configure the device. */
  configure() {
    this.attach();
    this.clock.run(200 * MS);
    let status;
    this.host.sendRequest(0x00, 9, 1, 0, 0, (answer) => (status = answer));
    this.clock.run(5 * MS);
    if (status !== 0) throw new Error(`not configured: ${status}`);
    for (const address of [0x03, ...this.ins]) this.openEndpoint(address);
    return this;
  }

  openEndpoint(address) {
    this.pids[address] = 0;
    this.usbDPRAMView.setUint32(this.controlOffset(address), ENABLE | EVERY_BUFFER | this.bufferOffset(address), true);
  }

  controlOffset(address) {
    return 8 * (address & 15) + (address & 0x80 ? 0 : 4);
  }

  bufferOffset(address) {
    return 0x180 + 128 * (2 * (address & 15) + (address & 0x80 ? 0 : 1));
  }

  setControl(address, value) {
    const at = 0x80 + 8 * (address & 15) + (address & 0x80 ? 0 : 4);
    this.usbDPRAMView.setUint32(at, value, true);
    this.controller.DPRAMUpdated(at, value);
  }

  readControl(address) {
    return this.usbDPRAMView.getUint32(0x80 + 8 * (address & 15) + (address & 0x80 ? 0 : 4), true);
  }

  nextHalfWord(address, bytes, available = true) {
    const toggle = this.pids[address] ? DATA1 : 0;
    this.pids[address] ^= 1;
    return bytes | toggle | (available ? AVAILABLE : 0) | (address & 0x80 ? FULL : 0);
  }

  /** Fill a bulk IN endpoint with one packet or two; `between` is called before they are available. */
  fill(address, first, second = null, between = () => {}) {
    const at = this.bufferOffset(address);
    this.usbDPRAM.set(first, at);
    let value = this.nextHalfWord(address, first.length) | SELECT;
    let control = ENABLE | EVERY_BUFFER | at;
    if (second) {
      this.usbDPRAM.set(second, at + 64);
      value |= this.nextHalfWord(address, second.length) << 16;
      control = ENABLE | DOUBLE | EVERY_TWO | at;
    }
    this.usbDPRAMView.setUint32(this.controlOffset(address), control, true);
    this.setControl(address, value & ~AVAILABLE);
    between();
    this.setControl(address, value);
  }

  /** Make the buffer of a bulk OUT endpoint available. */
  listen(address) {
    this.setControl(address, this.nextHalfWord(address, 64) | SELECT);
  }

  readBuffer(address) {
    const at = this.bufferOffset(address);
    return Buffer.from(this.usbDPRAM.subarray(at, at + (this.readControl(address) & 0x3ff)));
  }

  /** Submit a transfer of the host; `status` and `data` of the result are set at its end. */
  submit(endpoint, what, flags = {}) {
    const result = { status: null, data: null, moved: 0 };
    const sent = what instanceof Uint8Array;
    result.transfer = new Transfer({
      endpoint,
      length: sent ? what.length : what,
      data: sent ? Buffer.from(what) : null,
      ...flags,
      complete: (status, transfer) => Object.assign(result, { status, data: transfer.received, moved: transfer.actualLength }),
    });
    this.host.submit(result.transfer);
    return result;
  }

  // --- the driver's interrupt -----------------------------------------------------------

  serveInterrupt() {
    for (let i = 0; i < 8 && this.read(REGISTER.ints); i++) {
      const status = this.read(REGISTER.sieStatus);
      if (status & (1 << 19)) {
        this.resetCount++;
        this.write(REGISTER.address, 0);
        this.write(REGISTER.sieStatus, 1 << 19);
      }
      const buffers = this.read(REGISTER.buffStatus);
      for (let index = 0; index < 32; index++) {
        if (!(buffers & (1 << index))) continue;
        this.write(REGISTER.buffStatus, 1 << index);
        if (index === 0) this.handleControlInDone();
        else if (index > 1) this.onBuffersDone((index >> 1) | (index & 1 ? 0 : 0x80));
      }
      if (status & (1 << 17)) {
        this.write(REGISTER.sieStatus, 1 << 17);
        this.handleRequest(Buffer.from(this.usbDPRAM.subarray(0, 8)));
      }
      if (this.controller.changedStatus) this.write(REGISTER.sieStatus, (1 << 4) | (1 << 16));
      if (status & (1 << 11)) this.write(REGISTER.sieStatus, 1 << 11);
    }
  }

  handleRequest(setup) {
    const [, request, , kind] = setup;
    const length = setup.readUInt16LE(6);
    this.pids[0x80] = this.pids[0x00] = 1;
    if (request === 6 && kind === 1) this.answer(DEVICE.subarray(0, length));
    else if (request === 6 && kind === 2) this.answer(this.configuration.subarray(0, length));
    else if (request === 6) {
      this.write(REGISTER.stallArm, 1);
      this.setControl(0x80, STALL);
    } else {
      if (request === 5) this.address = setup[2];
      if (request === 9 && this.port) for (const address of [0x03, 0x83]) this.openEndpoint(address);
      this.answer(Buffer.alloc(0));
      if (length) this.setControl(0x00, AVAILABLE | DATA1 | SELECT | 64);
    }
  }

  answer(data) {
    this.reply = data;
    this.sendNextPiece();
    if (data.length) this.setControl(0x00, AVAILABLE | DATA1 | SELECT | 64);
  }

  sendNextPiece() {
    const piece = this.reply.subarray(0, 64);
    this.reply = this.reply.subarray(64);
    this.usbDPRAM.set(piece, 0x100);
    this.setControl(0x80, this.nextHalfWord(0x80, piece.length) | SELECT);
  }

  handleControlInDone() {
    if (this.reply?.length) this.sendNextPiece();
    if (this.address) {
      this.write(REGISTER.address, this.address);
      this.address = 0;
    }
  }
}
