// The host: it enumerates the device that was plugged in, and moves the transfers of others (the
// URBs of USB/IP) as a kernel does. usb_bus.mjs moves the packets of its jobs.

import { Pipe } from "./usb_bus.mjs";

const MS = 1_000_000;
// USB 2.0, 7.1.7.3 and 7.1.7.5: debounce, reset, recovery; 9.2.6.3: the pause after SET_ADDRESS.
const DEBOUNCE = 100 * MS;
const RESET = 10 * MS;
const RECOVERY = 10 * MS;
const SETTLE = 2 * MS;
const CONTROL_TIMEOUT = 1000 * MS;

export const OK = 0;
const ENODEV = -19;
const ENOENT = -2;
const EPIPE = -32;
const EPROTO = -71;
const EOVERFLOW = -75;
const ECONNRESET = -104;
const ETIMEDOUT = -110;

const GET_DESCRIPTOR = 6;
const SET_ADDRESS = 5;
const SET_CONFIGURATION = 9;
const SET_INTERFACE = 11;
const CLEAR_FEATURE = 1;
const CDC_DATA = 0x0a;

const REASONS = { stall: EPIPE, timeout: EPROTO };

/**
 * A transfer: `data` to send, or `length` bytes to receive. `isOwn` marks the host's own requests.
 * `complete(status, transfer)` is called once, at the end.
 */
export class Transfer {
  constructor({ endpoint, length = 0, data = null, setup = null, hasZeroPacket = false, isOwn = false, complete }) {
    Object.assign(this, { endpoint, length, data, setup, hasZeroPacket, isOwn, complete });
    this.receivedPieces = [];
    this.actualLength = 0;
    this.isOver = false;
  }

  get received() {
    return Buffer.concat(this.receivedPieces, this.actualLength);
  }

  end(status) {
    if (this.isOver) return;
    this.isOver = true;
    this.complete(status, this);
  }
}

// Moves the packets of one transfer on a pipe until the transfer is full or a packet is short.
class Job {
  constructor(host, pipe, transfer) {
    this.host = host;
    this.pipe = pipe;
    this.transfer = transfer;
    /** Whether the transfer ends with the transaction that is on the wire. */
    this.isUnlinked = false;
  }

  nextPacket() {
    const { data, actualLength } = this.transfer;
    return data.subarray(actualLength, actualLength + this.pipe.packetBytes);
  }

  handlePacket(bytes, data) {
    const { transfer, pipe } = this;
    if (pipe.isIn) {
      if (transfer.actualLength + bytes > transfer.length) return this.end(EOVERFLOW);
      if (bytes) transfer.receivedPieces.push(data);
      transfer.actualLength += bytes;
      if (bytes < pipe.packetBytes || transfer.actualLength === transfer.length || this.isUnlinked) this.end(OK);
      return undefined;
    }
    transfer.actualLength += bytes;
    const isWholePacket = bytes === pipe.packetBytes;
    const isComplete = transfer.actualLength === transfer.data.length && !(isWholePacket && transfer.hasZeroPacket);
    if (isComplete || this.isUnlinked) this.end(OK);
    return undefined;
  }

  /** Handle a transaction that the device has aborted. */
  handleAbort() {
    if (this.isUnlinked) this.end(this.transfer.actualLength ? OK : ECONNRESET);
  }

  handleError(reason) {
    this.end(REASONS[reason]);
  }

  end(status) {
    const { jobs } = this.pipe;
    const at = jobs.indexOf(this);
    if (at >= 0) jobs.splice(at, 1);
    this.transfer.end(status);
    if (!this.pipe.isIn) this.host.events.onTaken?.();
    else if (!jobs.length) this.host.events.onStarved?.(this.pipe);
  }
}

// A control transfer: its stages are jobs on the two pipes of endpoint 0.
class Control {
  constructor(host, transfer) {
    this.host = host;
    this.transfer = transfer;
    this.setup = transfer.setup;
    this.length = transfer.setup.readUInt16LE(6);
    this.isIn = !!(transfer.setup[0] & 0x80);
    this.stage = "setup";
    this.timer = host.clock.createAlarm(() => this.finish(ETIMEDOUT));
    this.timer.schedule(CONTROL_TIMEOUT);
    host.controlOut.jobs = [this];
    host.controlIn.jobs = [];
    host.bus.wake();
  }

  // The methods of a job: see Pipe.
  nextPacket() {
    if (this.stage === "status") return Buffer.alloc(0);
    const { data, actualLength } = this.transfer;
    return data.subarray(actualLength, Math.min(actualLength + this.host.controlOut.packetBytes, this.length));
  }

  handlePacket(bytes, data) {
    const { transfer } = this;
    const isShort = bytes < this.host.controlIn.packetBytes;
    if (this.stage === "setup") {
      this.setup = null;
      this.enterStage(this.length ? "data" : "status");
    } else if (this.stage === "status") {
      this.finish(OK);
    } else {
      if (this.isIn && bytes) {
        // A device may send more than the host asked for: the rest is dropped.
        const piece = data.subarray(0, Math.min(bytes, transfer.length - transfer.actualLength));
        transfer.receivedPieces.push(piece);
        transfer.actualLength += piece.length;
      } else {
        transfer.actualLength += bytes;
      }
      if (transfer.actualLength >= this.length || (this.isIn && isShort)) this.enterStage("status");
    }
  }

  enterStage(stage) {
    const { controlIn, controlOut, bus } = this.host;
    this.stage = stage;
    const isIncoming = stage === "data" ? this.isIn : !this.isIn || !this.length;
    controlIn.jobs = isIncoming ? [this] : [];
    controlOut.jobs = isIncoming ? [] : [this];
    // The data and the status stage both begin with DATA1.
    controlIn.toggle = controlOut.toggle = 1;
    bus.wake();
  }

  handleError(reason) {
    this.finish(REASONS[reason]);
  }

  finish(status) {
    this.timer.cancel();
    this.host.controlIn.jobs = [];
    this.host.controlOut.jobs = [];
    this.host.endControl(this, status);
  }
}

/** List the configuration's endpoints: [address, packet, interval in frames, interface class]. */
function listEndpoints(configuration) {
  const found = [];
  let interfaceClass = 0;
  for (let at = 0; at + 2 <= configuration.length && configuration[at]; at += configuration[at]) {
    if (configuration[at + 1] === 4) interfaceClass = configuration[at + 5];
    else if (configuration[at + 1] === 5) {
      const isInterrupt = (configuration[at + 3] & 3) === 3;
      found.push([
        configuration[at + 2], configuration.readUInt16LE(at + 4) & 0x7ff,
        isInterrupt ? Math.max(configuration[at + 6], 1) : 0, interfaceClass,
      ]);
    }
  }
  return found;
}

export class Host {
  /**
   * `events` are callbacks: onAttached(device, configuration), onDetached(), and maybe onPullup(),
   * onReset() when the device has its address again after a bus reset, onConfigured() after a
   * request has chosen a configuration, onStarved(pipe) when the last transfer of an IN pipe has
   * ended, onTaken() when the device has taken the data of an OUT transfer.
   */
  constructor(clock, bus, controller, events) {
    Object.assign(this, { clock, bus, controller, events });
    this.device = null;
    this.configuration = null;
    this.configurationValue = 0;
    this.controlQueue = [];
    this.currentControl = null;
    this.controlIn = new Pipe(0x80, 64);
    this.controlOut = new Pipe(0x00, 64);
    this.timer = clock.createAlarm(() => this.nextStep());
    this.nextStep = () => {};
    /** Whether the device has its address, so that requests of others can go to it. */
    this.isAddressed = false;
    this.resetState();
    controller.onPullupChange = (on) => (on ? this.handleAttach() : this.handleDetach());
  }

  scheduleStep(nanos, step) {
    this.nextStep = step;
    this.timer.schedule(nanos);
  }

  // --- enumeration ----------------------------------------------------------------------

  handleAttach() {
    this.events.onPullup?.();
    this.scheduleStep(DEBOUNCE, () => this.enumerate());
  }

  handleDetach() {
    this.timer.cancel();
    const wasAttached = this.device !== null;
    this.device = this.configuration = null;
    this.bus.stop();
    this.cancelAll(ENODEV);
    if (wasAttached) this.events.onDetached();
  }

  /** Reset the bus and give the device its address; then call `done`. */
  assignAddress(done) {
    this.resetState();
    this.isAddressed = false;
    this.bus.reset();
    this.scheduleStep(RESET, () => {
      this.bus.start();
      this.scheduleStep(RECOVERY, () => {
        this.sendRequest(0x00, SET_ADDRESS, 1, 0, 0, (status) => {
          if (status !== OK) return this.retryEnumeration();
          this.bus.address = 1;
          return this.scheduleStep(SETTLE, () => {
            this.isAddressed = true;
            done();
            this.startNextControl();
          });
        });
      });
    });
  }

  enumerate() {
    this.assignAddress(() => {
      this.sendRequest(0x80, GET_DESCRIPTOR, 0x0100, 0, 18, (status, device) => {
        if (status !== OK || device.length < 18) return this.retryEnumeration();
        return this.sendRequest(0x80, GET_DESCRIPTOR, 0x0200, 0, 9, (_, head) => {
          if (head.length < 9) return this.retryEnumeration();
          return this.sendRequest(0x80, GET_DESCRIPTOR, 0x0200, 0, head.readUInt16LE(2), (ok, whole) => {
            if (ok !== OK || whole.length !== head.readUInt16LE(2)) return this.retryEnumeration();
            this.device = device;
            this.configuration = whole;
            return this.events.onAttached(device, whole);
          });
        });
      });
    });
  }

  retryEnumeration() {
    if (this.controller.isPulledUp) this.scheduleStep(DEBOUNCE, () => this.enumerate());
  }

  sendRequest(type, request, value, index, length, done, data = null) {
    const setup = Buffer.from([type, request, value & 255, value >> 8, index & 255, index >> 8, length & 255, length >> 8]);
    this.submit(new Transfer({
      endpoint: 0, length, data, setup, isOwn: true, complete: (status, transfer) => done(status, transfer.received),
    }));
  }

  /** Reset the bus while a program has the device: it gets an address and no configuration. */
  resetBus() {
    if (this.controller.isPulledUp) this.assignAddress(() => this.device && this.events.onReset?.());
  }

  suspend() {
    this.bus.stop();
  }

  resume() {
    this.bus.start();
  }

  resetState() {
    this.cancelAll(ECONNRESET);
    this.configurationValue = 0;
    for (const pipe of [this.controlIn, this.controlOut]) pipe.jobs = [];
    this.bus.pipes = [this.controlIn, this.controlOut];
  }

  /** End all transfers but those of endpoint 0. */
  endJobs(status) {
    for (const pipe of this.bus.pipes) {
      if (pipe.number) for (const job of pipe.jobs.splice(0)) job.transfer.end(status);
    }
  }

  cancelAll(status) {
    this.endJobs(status);
    const waiting = this.controlQueue.splice(0);
    const control = this.currentControl;
    this.currentControl = null;
    if (control) {
      control.timer.cancel();
      control.transfer.end(status);
    }
    for (const transfer of waiting) transfer.end(status);
  }

  // --- transfers ------------------------------------------------------------------------

  findPipe(address) {
    return this.bus.pipes.find((pipe) => pipe.number && pipe.address === address);
  }

  submit(transfer) {
    if (!this.device && !transfer.isOwn) {
      transfer.end(ENODEV);
      return;
    }
    if (transfer.setup) {
      this.controlQueue.push(transfer);
      this.startNextControl();
      return;
    }
    const pipe = this.findPipe(transfer.endpoint);
    if (!pipe) transfer.end(ENOENT);
    else if (pipe.isHalted) transfer.end(EPIPE);
    else {
      pipe.jobs.push(new Job(this, pipe, transfer));
      this.bus.wake();
    }
  }

  /** Take a transfer back: it ends with the bytes that it has moved. */
  unlink(transfer) {
    if (transfer.setup) {
      const at = this.controlQueue.indexOf(transfer);
      if (at >= 0) this.controlQueue.splice(at, 1);
      else if (this.currentControl?.transfer === transfer) {
        this.currentControl.finish(ECONNRESET);
        return;
      }
    } else {
      for (const pipe of this.bus.pipes) {
        const at = pipe.number ? pipe.jobs.findIndex((job) => job.transfer === transfer) : -1;
        if (at < 0) continue;
        if (at === 0 && this.bus.isTransferring(pipe)) {
          pipe.jobs[0].isUnlinked = true;
          return;
        }
        pipe.jobs.splice(at, 1);
        if (pipe.isIn && !pipe.jobs.length) this.events.onStarved?.(pipe);
      }
    }
    transfer.end(transfer.actualLength ? OK : ECONNRESET);
  }

  /** Whether the device has data to take or a request to answer. */
  isBusy() {
    return this.currentControl !== null || this.bus.pipes.some((pipe) => !pipe.isIn && pipe.jobs.length);
  }

  startNextControl() {
    if (this.currentControl) return;
    // The host's own come first: a program must not lose its transfers to the host's SET_CONFIGURATION.
    let at = this.controlQueue.findIndex((transfer) => transfer.isOwn);
    if (at < 0 && this.isAddressed && this.controlQueue.length) at = 0;
    if (at >= 0) this.currentControl = new Control(this, this.controlQueue.splice(at, 1)[0]);
  }

  endControl(control, status) {
    if (this.currentControl !== control) return;
    this.currentControl = null;
    if (status === OK) this.trackRequest(control.transfer.setup);
    control.transfer.end(status);
    this.startNextControl();
  }

  /** Update the host's own state after a request that has succeeded. */
  trackRequest(setup) {
    const [type, request, low, , index] = setup;
    if (type === 0x00 && request === SET_CONFIGURATION) {
      this.configurationValue = low;
      this.endJobs(ECONNRESET);
      this.bus.pipes = [this.controlIn, this.controlOut];
      if (low && this.configuration) {
        for (const [address, packet, interval, interfaceClass] of listEndpoints(this.configuration)) {
          const pipe = new Pipe(address, packet, interval);
          pipe.isAlwaysPolled = interfaceClass === CDC_DATA && pipe.isIn;
          this.bus.pipes.push(pipe);
        }
        this.events.onConfigured?.();
      }
    } else if (type === 0x02 && request === CLEAR_FEATURE && low === 0) {
      const pipe = this.findPipe(index);
      if (pipe) {
        pipe.isHalted = false;
        pipe.toggle = 0;
      }
    } else if (type === 0x01 && request === SET_INTERFACE) {
      for (const pipe of this.bus.pipes) pipe.toggle = 0;
    }
  }
}
