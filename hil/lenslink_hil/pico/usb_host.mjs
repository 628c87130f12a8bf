// The machine that has the port: it finds out what was plugged in, gives it an address, and moves
// other people's transfers (USB/IP's URBs), as a kernel does.

import { Pipe } from "./usb_bus.mjs";

const MS = 1_000_000;
// USB 2.0, 7.1.7.3 and 7.1.7.5: debouncing, reset, recovery; 9.2.6.3: after SET_ADDRESS.
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

/** A transfer on an endpoint: `data` to send, or `length` to receive. `complete(status, bytes)`. */
export class Transfer {
  constructor({ endpoint, length = 0, data = null, setup = null, zero = false, own = false, complete }) {
    Object.assign(this, { endpoint, length, data, setup, zero, own, complete });
    this.pieces = [];
    this.count = 0;
    this.over = false;
  }

  get received() {
    return Buffer.concat(this.pieces, this.count);
  }

  end(status) {
    if (this.over) return;
    this.over = true;
    this.complete(status, this);
  }
}

// Moves packets of one transfer on a pipe until it is full, or a packet was short.
class Job {
  constructor(host, pipe, transfer) {
    this.host = host;
    this.pipe = pipe;
    this.transfer = transfer;
    /** It ends with the transaction that is on the wire. */
    this.unlinked = false;
  }

  packet() {
    const { data, count } = this.transfer;
    return data.subarray(count, count + this.pipe.packetBytes);
  }

  moved(bytes, data) {
    const { transfer, pipe } = this;
    if (pipe.isIn) {
      if (transfer.count + bytes > transfer.length) return this.done(EOVERFLOW);
      if (bytes) transfer.pieces.push(data);
      transfer.count += bytes;
      if (bytes < pipe.packetBytes || transfer.count === transfer.length || this.unlinked) this.done(OK);
      return undefined;
    }
    transfer.count += bytes;
    const whole = bytes === pipe.packetBytes;
    const all = transfer.count === transfer.data.length && !(whole && transfer.zero);
    if (all || this.unlinked) this.done(OK);
    return undefined;
  }

  /** A transaction did not take place. */
  missed() {
    if (this.unlinked) this.done(this.transfer.count ? OK : ECONNRESET);
  }

  failed(reason) {
    this.done(REASONS[reason]);
  }

  done(status) {
    const { jobs } = this.pipe;
    const at = jobs.indexOf(this);
    if (at >= 0) jobs.splice(at, 1);
    this.transfer.end(status);
    if (!this.pipe.isIn) this.host.events.taken?.();
    else if (!jobs.length) this.host.events.starved?.(this.pipe);
  }
}

// The stages of a control transfer are jobs on the two pipes of endpoint 0.
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
    host.bus.kick();
  }

  // As a job: see Pipe.
  packet() {
    if (this.stage === "status") return Buffer.alloc(0);
    const { data, count } = this.transfer;
    return data.subarray(count, Math.min(count + this.host.controlOut.packetBytes, this.length));
  }

  moved(bytes, data) {
    const { transfer } = this;
    const short = bytes < this.host.controlIn.packetBytes;
    if (this.stage === "setup") {
      this.setup = null;
      this.enter(this.length ? "data" : "status");
    } else if (this.stage === "status") {
      this.finish(OK);
    } else {
      if (this.isIn && bytes) {
        // Never more than was asked for, whatever the device says.
        const piece = data.subarray(0, Math.min(bytes, transfer.length - transfer.count));
        transfer.pieces.push(piece);
        transfer.count += piece.length;
      } else {
        transfer.count += bytes;
      }
      if (transfer.count >= this.length || (this.isIn && short)) this.enter("status");
    }
  }

  enter(stage) {
    const { controlIn, controlOut, bus } = this.host;
    this.stage = stage;
    const incoming = stage === "data" ? this.isIn : !this.isIn || !this.length;
    controlIn.jobs = incoming ? [this] : [];
    controlOut.jobs = incoming ? [] : [this];
    // Data and status both begin with DATA1.
    controlIn.toggle = controlOut.toggle = 1;
    bus.kick();
  }

  failed(reason) {
    this.finish(REASONS[reason]);
  }

  finish(status) {
    this.timer.cancel();
    this.host.controlIn.jobs = [];
    this.host.controlOut.jobs = [];
    this.host.controlDone(this, status);
  }
}

/** The configuration's endpoints: [address, packet, interval in frames, interface class]. */
function endpoints(configuration) {
  const found = [];
  let interfaceClass = 0;
  for (let at = 0; at + 2 <= configuration.length && configuration[at]; at += configuration[at]) {
    if (configuration[at + 1] === 4) interfaceClass = configuration[at + 5];
    else if (configuration[at + 1] === 5) {
      const interrupt = (configuration[at + 3] & 3) === 3;
      found.push([
        configuration[at + 2], configuration.readUInt16LE(at + 4) & 0x7ff,
        interrupt ? Math.max(configuration[at + 6], 1) : 0, interfaceClass,
      ]);
    }
  }
  return found;
}

export class Host {
  /**
   * `events`: attached(device, configuration), detached(), and, if wanted, starved(pipe): its last
   * transfer has ended.
   */
  constructor(clock, bus, controller, events) {
    Object.assign(this, { clock, bus, controller, events });
    this.device = null;
    this.configuration = null;
    this.configured = 0;
    this.controls = [];
    this.control = null;
    this.controlIn = new Pipe(0x80, 64);
    this.controlOut = new Pipe(0x00, 64);
    this.timer = clock.createAlarm(() => this.then());
    this.then = () => {};
    /** It has its address, so that other people's requests can be passed on. */
    this.ready = false;
    this.reset();
    controller.onPullup = (on) => (on ? this.plugged() : this.unplugged());
  }

  after(nanos, then) {
    this.then = then;
    this.timer.schedule(nanos);
  }

  // --- plug and play --------------------------------------------------------------------

  plugged() {
    this.events.pullup?.();
    this.after(DEBOUNCE, () => this.enumerate());
  }

  unplugged() {
    this.timer.cancel();
    const known = this.device !== null;
    this.device = this.configuration = null;
    this.bus.stop();
    this.cancelAll(ENODEV);
    if (known) this.events.detached();
  }

  /** Reset the bus and give the device its address; then *done*. */
  address(done) {
    this.reset();
    this.ready = false;
    this.bus.reset();
    this.after(RESET, () => {
      this.bus.start();
      this.after(RECOVERY, () => {
        this.request(0x00, SET_ADDRESS, 1, 0, 0, (status) => {
          if (status !== OK) return this.retry();
          this.bus.address = 1;
          return this.after(SETTLE, () => {
            this.ready = true;
            done();
            this.nextControl();
          });
        });
      });
    });
  }

  enumerate() {
    this.address(() => {
      this.request(0x80, GET_DESCRIPTOR, 0x0100, 0, 18, (status, device) => {
        if (status !== OK || device.length < 18) return this.retry();
        return this.request(0x80, GET_DESCRIPTOR, 0x0200, 0, 9, (_, head) => {
          if (head.length < 9) return this.retry();
          return this.request(0x80, GET_DESCRIPTOR, 0x0200, 0, head.readUInt16LE(2), (ok, whole) => {
            if (ok !== OK || whole.length !== head.readUInt16LE(2)) return this.retry();
            this.device = device;
            this.configuration = whole;
            return this.events.attached(device, whole);
          });
        });
      });
    });
  }

  retry() {
    if (this.controller.attached) this.after(DEBOUNCE, () => this.enumerate());
  }

  request(type, request, value, index, length, done, data = null) {
    const setup = Buffer.from([type, request, value & 255, value >> 8, index & 255, index >> 8, length & 255, length >> 8]);
    this.submit(new Transfer({
      endpoint: 0, length, data, setup, own: true, complete: (status, transfer) => done(status, transfer.received),
    }));
  }

  /** A bus reset while somebody has the device: it is addressed, and not configured. */
  busReset(done = () => {}) {
    if (this.controller.attached) this.address(done);
  }

  suspend() {
    this.bus.stop();
  }

  resume() {
    this.bus.start();
  }

  reset() {
    this.cancelAll(ECONNRESET);
    this.configured = 0;
    for (const pipe of [this.controlIn, this.controlOut]) pipe.jobs = [];
    this.bus.pipes = [this.controlIn, this.controlOut];
  }

  cancelAll(status) {
    for (const pipe of this.bus.pipes) {
      if (pipe.number) for (const job of pipe.jobs.splice(0)) job.transfer.end(status);
    }
    const waiting = this.controls.splice(0);
    const { control } = this;
    this.control = null;
    if (control) {
      control.timer.cancel();
      control.transfer.end(status);
    }
    for (const transfer of waiting) transfer.end(status);
  }

  // --- transfers ------------------------------------------------------------------------

  pipe(address) {
    return this.bus.pipes.find((pipe) => pipe.number && pipe.address === address);
  }

  submit(transfer) {
    if (!this.device && !transfer.own) {
      transfer.end(ENODEV);
      return;
    }
    if (transfer.setup) {
      this.controls.push(transfer);
      this.nextControl();
      return;
    }
    const pipe = this.pipe(transfer.endpoint);
    if (!pipe) transfer.end(ENOENT);
    else if (pipe.halted) transfer.end(EPIPE);
    else {
      pipe.jobs.push(new Job(this, pipe, transfer));
      this.bus.kick();
    }
  }

  /** Take a transfer back: it ends with what it has moved. */
  unlink(transfer) {
    if (transfer.setup) {
      const at = this.controls.indexOf(transfer);
      if (at >= 0) this.controls.splice(at, 1);
      else if (this.control?.transfer === transfer) {
        this.control.finish(ECONNRESET);
        return;
      }
    } else {
      for (const pipe of this.bus.pipes) {
        const at = pipe.number ? pipe.jobs.findIndex((job) => job.transfer === transfer) : -1;
        if (at < 0) continue;
        if (at === 0 && this.bus.busy(pipe)) {
          pipe.jobs[0].unlinked = true;
          return;
        }
        pipe.jobs.splice(at, 1);
        if (pipe.isIn && !pipe.jobs.length) this.events.starved?.(pipe);
      }
    }
    transfer.end(transfer.count ? OK : ECONNRESET);
  }

  /** Whether the device has something to take, or a request to answer. */
  busy() {
    return this.control !== null || this.bus.pipes.some((pipe) => !pipe.isIn && pipe.jobs.length);
  }

  nextControl() {
    if (this.control) return;
    const at = this.controls.findIndex((transfer) => transfer.own || this.ready);
    if (at >= 0) this.control = new Control(this, this.controls.splice(at, 1)[0]);
  }

  controlDone(control, status) {
    if (this.control !== control) return;
    this.control = null;
    if (status === OK) this.snoop(control.transfer.setup);
    control.transfer.end(status);
    this.nextControl();
  }

  /** What a request that went well means for the host's own picture of the device. */
  snoop(setup) {
    const [type, request, low, , index] = setup;
    if (type === 0x00 && request === SET_CONFIGURATION) {
      this.configured = low;
      this.bus.pipes = [this.controlIn, this.controlOut];
      if (low && this.configuration) {
        for (const [address, packet, interval, itsClass] of endpoints(this.configuration)) {
          const pipe = new Pipe(address, packet, interval);
          pipe.phantom = itsClass === CDC_DATA && pipe.isIn;
          this.bus.pipes.push(pipe);
        }
      }
    } else if (type === 0x02 && request === CLEAR_FEATURE && low === 0) {
      const pipe = this.pipe(index);
      if (pipe) {
        pipe.halted = false;
        pipe.toggle = 0;
      }
    } else if (type === 0x01 && request === SET_INTERFACE) {
      for (const pipe of this.bus.pipes) pipe.toggle = 0;
    }
  }
}
