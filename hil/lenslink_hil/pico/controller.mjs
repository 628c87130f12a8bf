// The RP2040's USB controller as a device: registers, endpoint buffers and interrupts, after the
// datasheet (4.1) and TinyUSB. usb_bus.mjs is the wire. It sends tokens with answerIn(), answerOut()
// and takeSetup(), and reports the end of a transaction with completeIn() and completeOut().

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
// Bits of SIE_STATUS that stay until software writes 1 to them. CONNECTED and SUSPENDED show the
// state instead: writing 1 to them clears the interrupt of their change.
const SIE_CLEARED = SIE.DATA_SEQ | SIE.BUS_RESET | SIE.SETUP | SIE.RESUME;

const INT = { SOF: 1 << 17, BUFFER: 1 << 4 };
const SIE_INTERRUPTS = [
  [SIE.SETUP, 1 << 16], [SIE.RESUME, 1 << 15], [SIE.BUS_RESET, 1 << 12], [SIE.VBUS, 1 << 11],
  [SIE.DATA_SEQ, 1 << 5],
];
const CHANGE_INTERRUPTS = [[SIE.SUSPENDED, 1 << 14], [SIE.CONNECTED, 1 << 13]];

const IRQ_USBCTRL = 5;

/** Answers to a token, besides data. */
export const NAK = "nak";
export const STALLED = "stall";
export const SILENT = "silent";

export class Controller {
  constructor(chip) {
    this.chip = chip;
    /** Called with true when the pull-up comes on, and with false when it goes off. */
    this.onPullupChange = () => {};
    /** Called when software has made a buffer available. */
    this.onBufferAvailable = () => {};
    this.isLocked = false;
    this.isPulledUp = false;
    this.clearRegisters();
  }

  clearRegisters() {
    this.address = 0;
    this.mainCtrl = 0;
    this.frame = 0;
    this.sieCtrl = 0;
    this.sieStatus = 0;
    this.changedStatus = 0;
    this.sofInterrupt = false;
    this.buffStatus = 0;
    this.abort = 0;
    this.abortDone = 0;
    this.stallArm = 0;
    this.pwr = 0;
    this.muxing = 0;
    this.interruptEnable = 0;
    this.interruptForce = 0;
    this.otherRegisters = new Map();
    /** Which of its two buffers an endpoint uses next. The index is 2 * number, + 1 for OUT. */
    this.nextBuffer = new Uint8Array(32);
  }

  /** Reset the peripheral, as RESETS does: everything but the buffer memory is as after power-on. */
  resetPeripheral() {
    this.isLocked = false;
    this.clearRegisters();
    this.updateInterrupt();
    this.updatePullup();
  }

  /** Stop answering until RESETS resets the controller, as in the lock-up that TinyUSB describes. */
  lockUp() {
    this.isLocked = true;
  }

  updatePullup() {
    const isPulledUp = !!(this.sieCtrl & PULLUP) && !!(this.mainCtrl & CONTROLLER_EN) && !(this.mainCtrl & HOST_NDEVICE);
    if (isPulledUp !== this.isPulledUp) {
      this.isPulledUp = isPulledUp;
      this.onPullupChange(isPulledUp);
    }
  }

  // --- registers ------------------------------------------------------------------------

  get rawInterrupts() {
    let raw = this.sofInterrupt ? INT.SOF : 0;
    if (this.buffStatus) raw |= INT.BUFFER;
    for (const [status, bit] of SIE_INTERRUPTS) if (this.sieStatus & status) raw |= bit;
    for (const [status, bit] of CHANGE_INTERRUPTS) if (this.changedStatus & status) raw |= bit;
    return raw;
  }

  updateInterrupt() {
    const pending = ((this.rawInterrupts & this.interruptEnable) | this.interruptForce) !== 0;
    this.chip.setInterrupt(IRQ_USBCTRL, pending);
  }

  readUint32(offset) {
    switch (offset) {
      case R.ADDR: return this.address;
      case R.MAIN_CTRL: return this.mainCtrl;
      case R.SOF_RD:
        this.sofInterrupt = false;
        this.updateInterrupt();
        return this.frame;
      case R.SIE_CTRL: return this.sieCtrl;
      case R.SIE_STATUS: return this.sieStatus >>> 0;
      case R.BUFF_STATUS: return this.buffStatus >>> 0;
      case R.ABORT: return this.abort;
      case R.ABORT_DONE: return this.abortDone;
      case R.STALL_ARM: return this.stallArm;
      case R.MUXING: return this.muxing;
      case R.PWR: return this.pwr;
      case R.INTR: return this.rawInterrupts;
      case R.INTE: return this.interruptEnable;
      case R.INTF: return this.interruptForce;
      case R.INTS: return (this.rawInterrupts & this.interruptEnable) | this.interruptForce;
      default: return this.otherRegisters.get(offset) ?? 0;
    }
  }

  /** Write through one of the aliases of a register: 0 writes, 1 flips, 2 sets, 3 clears bits. */
  writeUint32Atomic(offset, value, alias) {
    if (offset === R.BUFF_STATUS || offset === R.SIE_STATUS || offset === R.ABORT_DONE || offset === R.STALL_NAK) {
      // Writing 1 clears a bit here, through each of the aliases.
      this.writeUint32(offset, value);
      return;
    }
    if (alias) {
      const old = this.readUint32(offset);
      if (alias === 1) value = old ^ value;
      else if (alias === 2) value = old | value;
      else value = old & ~value;
    }
    this.writeUint32(offset, value);
  }

  writeUint32(offset, value) {
    switch (offset) {
      case R.ADDR: this.address = value & 0x7f; break;
      case R.MAIN_CTRL:
        this.mainCtrl = value;
        this.updatePullup();
        break;
      case R.SIE_CTRL:
        this.sieCtrl = value & ~(1 << 12);
        this.updatePullup();
        break;
      case R.SIE_STATUS:
        this.sieStatus &= ~(value & SIE_CLEARED);
        this.changedStatus &= ~value;
        this.updateInterrupt();
        break;
      case R.BUFF_STATUS:
        this.buffStatus &= ~value;
        this.updateInterrupt();
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
        // Bits 2 and 3 are VBUS detect and the enable of its override.
        if ((value & 0xc) === 0xc) this.sieStatus |= SIE.VBUS;
        else if (value & 4) this.sieStatus &= ~SIE.VBUS;
        this.updateInterrupt();
        break;
      case R.INTE:
        this.interruptEnable = value & 0xfffff;
        this.updateInterrupt();
        break;
      case R.INTF:
        this.interruptForce = value & 0xfffff;
        this.updateInterrupt();
        break;
      default: this.otherRegisters.set(offset, value);
    }
  }

  // --- buffers --------------------------------------------------------------------------

  /** Handle a write to the buffer memory. rp2040js calls it by this name. */
  DPRAMUpdated(offset, value) {
    if (offset < BUFFER_CONTROL || offset >= EP0_BUFFER) return;
    const index = (offset - BUFFER_CONTROL) >> 2;
    if (value & SELECT) this.nextBuffer[index] = 0;
    if (value & (AVAILABLE | STALL | (AVAILABLE << 16))) this.onBufferAvailable(index);
  }

  readEndpointControl(index) {
    return index < 2 ? EP_ENABLE : this.chip.usbDPRAMView.getUint32(EP_CONTROL + 4 * (index - 2), true);
  }

  /** Return the buffer that an endpoint uses next: its control half-word and its place. */
  findBuffer(index) {
    const control = this.readEndpointControl(index);
    if (!(control & EP_ENABLE)) return null;
    const isDouble = !!(control & EP_DOUBLE);
    const isSecond = isDouble && this.nextBuffer[index] === 1;
    const at = BUFFER_CONTROL + 4 * index + (isSecond ? 2 : 0);
    const base = index < 2 ? EP0_BUFFER : control & 0xffc0;
    return {
      index, at, control, isDouble, isSecond,
      value: this.chip.usbDPRAMView.getUint16(at, true),
      data: base + (isSecond ? 64 : 0),
    };
  }

  isAddressed(address) {
    return this.isPulledUp && !this.isLocked && address === this.address;
  }

  isStalled(buffer, number, isOut) {
    if (!(buffer.value & STALL)) return false;
    return number !== 0 || !!(this.stallArm & (isOut ? 2 : 1));
  }

  /** Answer an IN token: NAK, STALLED, SILENT, or { data, toggle, buffer }. */
  answerIn(address, number) {
    if (!this.isAddressed(address)) return SILENT;
    const buffer = this.findBuffer(2 * number);
    if (buffer === null) return SILENT;
    if (this.isStalled(buffer, number, false)) return STALLED;
    if (!(buffer.value & AVAILABLE) || !(buffer.value & FULL)) return NAK;
    const length = buffer.value & LENGTH;
    return {
      data: this.chip.usbDPRAM.slice(buffer.data, buffer.data + length),
      toggle: buffer.value & DATA1 ? 1 : 0,
      buffer,
    };
  }

  /** Answer an OUT token and its data: NAK, STALLED, SILENT, or { buffer }. */
  answerOut(address, number) {
    if (!this.isAddressed(address)) return SILENT;
    const buffer = this.findBuffer(2 * number + 1);
    if (buffer === null) return SILENT;
    if (this.isStalled(buffer, number, true)) return STALLED;
    if (!(buffer.value & AVAILABLE) || buffer.value & FULL) return NAK;
    return { buffer };
  }

  /** End an IN transaction: the host has acknowledged the data. */
  completeIn({ buffer }) {
    this.finishBuffer(buffer, buffer.value & ~(AVAILABLE | FULL));
  }

  /** End an OUT transaction; return false if the toggle was wrong and the data is dropped. */
  completeOut({ buffer }, data, toggle) {
    if ((buffer.value & DATA1 ? 1 : 0) !== toggle) {
      this.sieStatus |= SIE.DATA_SEQ;
      this.updateInterrupt();
      return false;
    }
    this.chip.usbDPRAM.set(data, buffer.data);
    this.finishBuffer(buffer, (buffer.value & ~(AVAILABLE | LENGTH)) | FULL | data.length);
    return true;
  }

  finishBuffer(buffer, value) {
    this.chip.usbDPRAMView.setUint16(buffer.at, value, true);
    const { index } = buffer;
    if (buffer.isDouble) this.nextBuffer[index] ^= 1;
    if (!(buffer.isDouble && buffer.control & EP_EVERY_TWO && !buffer.isSecond)) this.buffStatus |= 1 << index;
    this.updateInterrupt();
  }

  /** Take a SETUP packet; return false if the device does not answer. */
  takeSetup(address, bytes) {
    if (!this.isAddressed(address)) return false;
    this.chip.usbDPRAM.set(bytes, 0);
    this.stallArm = 0;
    this.sieStatus |= SIE.SETUP;
    this.updateInterrupt();
    return true;
  }

  // --- the state of the bus -------------------------------------------------------------

  handleSof(frame) {
    if (!this.isPulledUp || this.isLocked) return;
    this.frame = frame & 0x7ff;
    this.sofInterrupt = true;
    this.updateInterrupt();
  }

  handleBusReset() {
    if (!this.isPulledUp || this.isLocked) return;
    this.address = 0;
    if (!(this.sieStatus & SIE.CONNECTED)) this.changedStatus |= SIE.CONNECTED;
    this.sieStatus |= SIE.BUS_RESET | SIE.CONNECTED;
    this.sieStatus &= ~SIE.SUSPENDED;
    this.updateInterrupt();
  }

  handleSuspend() {
    if (!this.isPulledUp || this.isLocked) return;
    this.sieStatus |= SIE.SUSPENDED;
    this.changedStatus |= SIE.SUSPENDED;
    this.updateInterrupt();
  }

  handleResume() {
    if (!this.isPulledUp || this.isLocked) return;
    this.sieStatus |= SIE.RESUME;
    this.sieStatus &= ~SIE.SUSPENDED;
    this.updateInterrupt();
  }
}
