// The RP2040's USB controller as a device: registers, endpoint buffers and interrupts as TinyUSB
// and the datasheet (4.1) have them. What happens on the wire is the bus's business (bus.mjs): it
// asks with in(), out() and setup(), and tells how a transaction ended.

const EP_CONTROL = 0x08;
const BUFFER_CONTROL = 0x80;
const EP0_BUFFER = 0x100;

const EP_ENABLE = 0x80000000;
const EP_DOUBLE = 1 << 30;
const EP_EVERY_TWO = 1 << 28;

const FULL = 1 << 15;
const DATA1 = 1 << 13;
const SELECT = 1 << 12;
const STALL = 1 << 11;
const AVAILABLE = 1 << 10;
const LENGTH = 0x3ff;

const R = {
  ADDR: 0x00, MAIN_CTRL: 0x40, SOF_WR: 0x44, SOF_RD: 0x48, SIE_CTRL: 0x4c, SIE_STATUS: 0x50,
  INT_EP: 0x54, BUFF_STATUS: 0x58, CPU_SHOULD_HANDLE: 0x5c, ABORT: 0x60, ABORT_DONE: 0x64,
  STALL_ARM: 0x68, NAK_POLL: 0x6c, STALL_NAK: 0x70, MUXING: 0x74, PWR: 0x78, DIRECT: 0x7c,
  DIRECT_OVERRIDE: 0x80, TRIM: 0x84, INTR: 0x8c, INTE: 0x90, INTF: 0x94, INTS: 0x98,
};

const CONTROLLER_EN = 1 << 0;
const HOST_NDEVICE = 1 << 1;
const PULLUP = 1 << 16;

const SIE = {
  DATA_SEQ: 0x80000000, BUS_RESET: 1 << 19, SETUP: 1 << 17, CONNECTED: 1 << 16, RESUME: 1 << 11,
  SUSPENDED: 1 << 4, VBUS: 1 << 0,
};
// Bits of SIE_STATUS that stay until they are written with 1. CONNECTED and SUSPENDED say what is;
// writing them takes back the interrupt of their change.
const SIE_CLEARED = SIE.DATA_SEQ | SIE.BUS_RESET | SIE.SETUP | SIE.RESUME;

const INT = { SOF: 1 << 17, BUFFER: 1 << 4 };
const SIE_INTERRUPTS = [
  [SIE.SETUP, 1 << 16], [SIE.RESUME, 1 << 15], [SIE.BUS_RESET, 1 << 12], [SIE.VBUS, 1 << 11],
  [SIE.DATA_SEQ, 1 << 5],
];
const CHANGE_INTERRUPTS = [[SIE.SUSPENDED, 1 << 14], [SIE.CONNECTED, 1 << 13]];

const IRQ_USBCTRL = 5;

/** Answers to a token. */
export const NAK = "nak";
export const STALLED = "stall";
export const SILENT = "silent";

export class Controller {
  constructor(chip) {
    this.chip = chip;
    /** Told when the pull-up comes on (true) or goes (false). */
    this.onPullup = () => {};
    /** Told when a buffer has become available. */
    this.onAvailable = () => {};
    this.locked = false;
    this.pulled = false;
    this.raw = 0;
    this.clear();
  }

  clear() {
    this.address = 0;
    this.main = 0;
    this.frame = 0;
    this.sieCtrl = 0;
    this.sieStatus = 0;
    this.changed = 0;
    this.sofInterrupt = false;
    this.buffStatus = 0;
    this.abort = 0;
    this.abortDone = 0;
    this.stallArm = 0;
    this.pwr = 0;
    this.muxing = 0;
    this.enable = 0;
    this.force = 0;
    this.misc = new Map();
    /** Which of its two buffers an endpoint uses next, by index: 2 * number, + 1 for OUT. */
    this.next = new Uint8Array(32);
  }

  /** RESETS has the controller in reset: everything but the buffer memory is as after power-on. */
  peripheralReset() {
    this.locked = false;
    this.clear();
    this.update();
    this.pull();
  }

  /** Erratum-style lock-up: deaf and dumb, until RESETS resets the controller. */
  lockUp() {
    this.locked = true;
  }

  get attached() {
    return this.pulled;
  }

  pull() {
    const pulled = !!(this.sieCtrl & PULLUP) && !!(this.main & CONTROLLER_EN) && !(this.main & HOST_NDEVICE);
    if (pulled !== this.pulled) {
      this.pulled = pulled;
      this.onPullup(pulled);
    }
  }

  // --- registers ------------------------------------------------------------------------

  get interrupts() {
    let raw = this.sofInterrupt ? INT.SOF : 0;
    if (this.buffStatus) raw |= INT.BUFFER;
    for (const [status, bit] of SIE_INTERRUPTS) if (this.sieStatus & status) raw |= bit;
    for (const [status, bit] of CHANGE_INTERRUPTS) if (this.changed & status) raw |= bit;
    return raw;
  }

  update() {
    const pending = ((this.interrupts & this.enable) | this.force) !== 0;
    this.chip.setInterrupt(IRQ_USBCTRL, pending);
  }

  readUint32(offset) {
    switch (offset) {
      case R.ADDR: return this.address;
      case R.MAIN_CTRL: return this.main;
      case R.SOF_RD:
        this.sofInterrupt = false;
        this.update();
        return this.frame;
      case R.SIE_CTRL: return this.sieCtrl;
      case R.SIE_STATUS: return this.sieStatus >>> 0;
      case R.BUFF_STATUS: return this.buffStatus >>> 0;
      case R.ABORT: return this.abort;
      case R.ABORT_DONE: return this.abortDone;
      case R.STALL_ARM: return this.stallArm;
      case R.MUXING: return this.muxing;
      case R.PWR: return this.pwr;
      case R.INTR: return this.interrupts;
      case R.INTE: return this.enable;
      case R.INTF: return this.force;
      case R.INTS: return (this.interrupts & this.enable) | this.force;
      default: return this.misc.get(offset) ?? 0;
    }
  }

  /** 0 writes, 1 flips, 2 sets, 3 clears; of registers whose bits are cleared by writing 1, 3 does it too. */
  writeUint32Atomic(offset, value, how) {
    if (offset === R.BUFF_STATUS || offset === R.SIE_STATUS || offset === R.ABORT_DONE || offset === R.STALL_NAK) {
      // Written with 1 to clear: set and clear aliases alike arrive at that.
      this.writeUint32(offset, value);
      return;
    }
    if (how) {
      const old = this.readUint32(offset);
      if (how === 1) value = old ^ value;
      else if (how === 2) value = old | value;
      else value = old & ~value;
    }
    this.writeUint32(offset, value);
  }

  writeUint32(offset, value) {
    switch (offset) {
      case R.ADDR: this.address = value & 0x7f; break;
      case R.MAIN_CTRL:
        this.main = value;
        this.pull();
        break;
      case R.SIE_CTRL:
        this.sieCtrl = value & ~(1 << 12);
        this.pull();
        if (value & (1 << 12)) this.onWakeup?.();
        break;
      case R.SIE_STATUS:
        this.sieStatus &= ~(value & SIE_CLEARED);
        this.changed &= ~value;
        this.update();
        break;
      case R.BUFF_STATUS:
        this.buffStatus &= ~value;
        this.update();
        break;
      case R.ABORT:
        this.abort = value;
        this.abortDone |= value;
        this.onAbort?.(value);
        break;
      case R.ABORT_DONE: this.abortDone &= ~value; break;
      case R.STALL_ARM: this.stallArm = value & 3; break;
      case R.MUXING: this.muxing = value; break;
      case R.PWR:
        this.pwr = value;
        // Detect and its override.
        if ((value & 0xc) === 0xc) this.sieStatus |= SIE.VBUS;
        else if (value & 4) this.sieStatus &= ~SIE.VBUS;
        this.update();
        break;
      case R.INTE:
        this.enable = value & 0xfffff;
        this.update();
        break;
      case R.INTF:
        this.force = value & 0xfffff;
        this.update();
        break;
      default: this.misc.set(offset, value);
    }
  }

  // --- buffers --------------------------------------------------------------------------

  /** rp2040js: a word of the buffer memory was written. */
  DPRAMUpdated(offset, value) {
    if (offset < BUFFER_CONTROL || offset >= EP0_BUFFER) return;
    const index = (offset - BUFFER_CONTROL) >> 2;
    if (value & SELECT) this.next[index] = 0;
    if (value & (AVAILABLE | STALL | (AVAILABLE << 16))) this.onAvailable(index);
  }

  control(index) {
    return index < 2 ? EP_ENABLE : this.chip.usbDPRAMView.getUint32(EP_CONTROL + 4 * (index - 2), true);
  }

  /** The buffer an endpoint would use now: its control half-word, and where it is. */
  buffer(index) {
    const control = this.control(index);
    if (!(control & EP_ENABLE)) return null;
    const double = !!(control & EP_DOUBLE);
    const second = double && this.next[index] === 1;
    const at = BUFFER_CONTROL + 4 * index + (second ? 2 : 0);
    const base = index < 2 ? EP0_BUFFER : control & 0xffc0;
    return {
      index, at, control, double, second,
      value: this.chip.usbDPRAMView.getUint16(at, true),
      data: base + (second ? 64 : 0),
    };
  }

  answers(address) {
    return this.pulled && !this.locked && address === this.address;
  }

  stalled(buffer, number, out) {
    if (!(buffer.value & STALL)) return false;
    return number !== 0 || !!(this.stallArm & (out ? 2 : 1));
  }

  /** An IN token: NAK, STALLED, SILENT, or { data, toggle, buffer }. */
  in(address, number) {
    if (!this.answers(address)) return SILENT;
    const buffer = this.buffer(2 * number);
    if (buffer === null) return SILENT;
    if (this.stalled(buffer, number, false)) return STALLED;
    if (!(buffer.value & AVAILABLE) || !(buffer.value & FULL)) return NAK;
    const length = buffer.value & LENGTH;
    return {
      data: this.chip.usbDPRAM.slice(buffer.data, buffer.data + length),
      toggle: buffer.value & DATA1 ? 1 : 0,
      buffer,
    };
  }

  /** An OUT token with its data: NAK, STALLED, SILENT, or { buffer }. */
  out(address, number) {
    if (!this.answers(address)) return SILENT;
    const buffer = this.buffer(2 * number + 1);
    if (buffer === null) return SILENT;
    if (this.stalled(buffer, number, true)) return STALLED;
    if (!(buffer.value & AVAILABLE) || buffer.value & FULL) return NAK;
    return { buffer };
  }

  /** The host has acknowledged what in() gave. */
  sent({ buffer }) {
    this.finish(buffer, buffer.value & ~(AVAILABLE | FULL));
  }

  /** Data for the buffer that out() gave; with the wrong toggle it is acknowledged and thrown away. */
  received({ buffer }, data, toggle) {
    if ((buffer.value & DATA1 ? 1 : 0) !== toggle) {
      this.sieStatus |= SIE.DATA_SEQ;
      this.update();
      return false;
    }
    this.chip.usbDPRAM.set(data, buffer.data);
    this.finish(buffer, (buffer.value & ~(AVAILABLE | LENGTH)) | FULL | data.length);
    return true;
  }

  finish(buffer, value) {
    this.chip.usbDPRAMView.setUint16(buffer.at, value, true);
    const { index } = buffer;
    if (buffer.double) this.next[index] ^= 1;
    if (!(buffer.double && buffer.control & EP_EVERY_TWO && !buffer.second)) this.buffStatus |= 1 << index;
    this.update();
  }

  /** A SETUP packet: always taken. */
  setup(address, bytes) {
    if (!this.answers(address)) return false;
    this.chip.usbDPRAM.set(bytes, 0);
    this.stallArm = 0;
    this.sieStatus |= SIE.SETUP;
    this.update();
    return true;
  }

  // --- the state of the bus -------------------------------------------------------------

  sof(frame) {
    if (!this.pulled || this.locked) return;
    this.frame = frame & 0x7ff;
    this.sofInterrupt = true;
    this.update();
  }

  busReset() {
    if (!this.pulled || this.locked) return;
    this.address = 0;
    if (!(this.sieStatus & SIE.CONNECTED)) this.changed |= SIE.CONNECTED;
    this.sieStatus |= SIE.BUS_RESET | SIE.CONNECTED;
    this.sieStatus &= ~SIE.SUSPENDED;
    this.update();
  }

  suspend() {
    if (!this.pulled || this.locked) return;
    this.sieStatus |= SIE.SUSPENDED;
    this.changed |= SIE.SUSPENDED;
    this.update();
  }

  resume() {
    if (!this.pulled || this.locked) return;
    this.sieStatus |= SIE.RESUME;
    this.sieStatus &= ~SIE.SUSPENDED;
    this.update();
  }
}
