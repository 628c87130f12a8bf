// A full-speed bus with one device: frames of 1 ms, each begun by a SOF, and in them as many
// transactions as fit. USB 2.0, 5.11.3, has what a transaction costs: 13 bytes beside its data.
//
// `ideal` is a greedy host: it asks an endpoint when there is something to be had, and never
// wastes time on a NAK. `strict` charges what hosts waste: polls that are NAKed, also those of a
// serial port that is open beside us, stuffed bits, the end of a frame, gaps between packets.

import { NAK, SILENT, STALLED } from "./controller.mjs";

const FRAME = 1_000_000; // ns
const BYTE = 8_000 / 12; // ns
const OVERHEAD = 13;
const SOF_COST = 6 * BYTE; // sync, 3 bytes, end of packet, and the gap after it
const NAK_COST = 6_000;
const RESERVE = 32 * (BYTE / 8); // EOF1, USB 2.0 11.2.1
const GAP = 8_000;
const SUSPEND_AFTER = 3 * FRAME;
const STRIKES = 3;

export const STRICT = "strict";
export const IDEAL = "ideal";

/** Bits that are stuffed into data: one after every six ones. */
export function stuffed(data) {
  let ones = 0;
  let bits = 0;
  for (const byte of data) {
    for (let bit = 0; bit < 8; bit++) {
      if ((byte >> bit) & 1) {
        if (++ones === 6) {
          bits++;
          ones = 0;
        }
      } else {
        ones = 0;
      }
    }
  }
  return bits;
}

/** xorshift32; gaps between packets are the same for the same seed. */
function generator(seed) {
  let state = seed >>> 0 || 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/**
 * One direction of an endpoint, as the host has it. `jobs` are what it wants moved: objects with
 * `packet()`, for OUT: the data of the next one, and `moved(count, data)` or `failed(reason)`.
 */
export class Pipe {
  constructor(address, packetBytes, interval = 0) {
    this.address = address;
    this.number = address & 15;
    this.isIn = !!(address & 0x80);
    this.packetBytes = packetBytes;
    /** Of an interrupt endpoint, in frames; 0 for others. */
    this.interval = interval;
    /** Polled even when nobody wants its data: a port that another program has open. */
    this.phantom = false;
    this.jobs = [];
    this.toggle = 0;
    this.halted = false;
    this.strikes = 0;
    this.polled = -1;
    this.counters = { packets: 0, bytes: 0, naks: 0, toggleErrors: 0, timeouts: 0 };
  }
}

export class Bus {
  constructor(clock, controller, { kind = IDEAL, seed = 1 } = {}) {
    this.clock = clock;
    this.controller = controller;
    this.strict = kind === STRICT;
    this.random = generator(seed);
    this.pipes = [];
    this.address = 0;
    this.frame = 0;
    this.frameStart = 0;
    this.turn = 0;
    this.on = false;
    this.quietSince = 0;
    this.suspended = false;
    this.idle = true;
    this.current = null;
    this.counters = { frames: 0, packets: 0, naks: 0, longestFrame: 0 };
    this.inFrame = 0;
    this.frameAlarm = clock.createAlarm(() => this.beginFrame());
    this.alarm = clock.createAlarm(() => this.finish());
    this.suspendAlarm = clock.createAlarm(() => this.goneQuiet());
    controller.onAvailable = () => this.kick();
    controller.onAbort = (mask) => this.aborted(mask);
  }

  // --- the state of the bus -------------------------------------------------------------

  /** SOFs begin. */
  start() {
    if (this.on) return;
    this.on = true;
    this.suspendAlarm.cancel();
    if (this.suspended) {
      this.suspended = false;
      this.controller.resume();
    }
    this.beginFrame();
  }

  /** SOFs end: the bus is idle, and the device suspends after 3 ms of that. */
  stop() {
    this.on = false;
    this.frameAlarm.cancel();
    this.alarm.cancel();
    const done = this.current;
    this.current = null;
    if (done) done();
    this.suspendAlarm.schedule(SUSPEND_AFTER);
  }

  /** Whether a transaction with that pipe is on the wire. */
  busy(pipe) {
    return this.current?.pipe === pipe;
  }

  goneQuiet() {
    this.suspended = true;
    this.controller.suspend();
  }

  /** SE0: whatever is under way is lost. */
  reset() {
    this.current = null;
    this.stop();
    this.suspendAlarm.cancel();
    this.suspended = false;
    this.address = 0;
    this.controller.busReset();
  }

  beginFrame() {
    this.frameStart = this.clock.nanos;
    this.frameAlarm.schedule(FRAME);
    this.frame = (this.frame + 1) & 0x7ff;
    this.counters.frames++;
    this.counters.longestFrame = Math.max(this.counters.longestFrame, this.inFrame);
    this.inFrame = 0;
    this.controller.sof(this.frame);
    this.current = null;
    this.idle = false;
    this.alarm.schedule(SOF_COST);
  }

  /** Something may have become possible. */
  kick() {
    if (this.on && this.idle) {
      this.idle = false;
      this.alarm.schedule(0);
    }
  }

  // --- transactions ---------------------------------------------------------------------

  get left() {
    return this.frameStart + FRAME - this.clock.nanos - (this.strict ? RESERVE : 0);
  }

  finish() {
    const done = this.current;
    this.current = null;
    if (done) done();
    if (this.on) this.next();
  }

  /** Begin the next transaction; without one, wait for kick() or for the next frame. */
  next() {
    const count = this.pipes.length;
    let polls = 0;
    for (let i = 0; i < count; i++) {
      const pipe = this.pipes[(this.turn + i) % count];
      if (pipe.interval && (pipe.polled === this.frame || this.frame % pipe.interval)) continue;
      const wanted = pipe.jobs.length > 0 && !pipe.halted;
      if (!wanted && !(this.strict && pipe.phantom)) continue;
      const cost = wanted ? this.attempt(pipe) : NAK_COST;
      if (cost === 0) continue; // NAKed, at no cost
      if (cost < 0) return; // does not fit into the frame any more
      pipe.polled = this.frame;
      this.turn = (this.turn + i + 1) % count;
      this.alarm.schedule(cost);
      return;
    }
    this.idle = true;
  }

  cost(bytes, data) {
    let cost = (bytes + OVERHEAD) * BYTE;
    if (this.strict) cost += (stuffed(data) * BYTE) / 8 + this.random() * GAP;
    return cost;
  }

  /** Ask an endpoint: what the answer takes, 0 for a NAK that costs nothing, -1 for no room. */
  attempt(pipe) {
    if (this.left < NAK_COST) return -1;
    return pipe.number === 0 && pipe.jobs[0].setup ? this.setup(pipe)
      : pipe.isIn ? this.in(pipe) : this.out(pipe);
  }

  refused(pipe, answer) {
    if (answer === NAK) {
      pipe.counters.naks++;
      this.counters.naks++;
      return this.strict ? NAK_COST : 0;
    }
    this.current = () => {
      if (answer === STALLED) {
        pipe.halted = pipe.number !== 0;
        pipe.jobs[0]?.failed("stall");
      } else {
        pipe.counters.timeouts++;
        if (++pipe.strikes >= STRIKES) {
          pipe.strikes = 0;
          pipe.jobs[0]?.failed("timeout");
        }
      }
    };
    return NAK_COST;
  }

  /** A transaction that takes place; `end` is what it comes to. */
  occupy(pipe, bytes, data, end) {
    const cost = this.cost(bytes, data);
    if (cost > this.left) return -1;
    this.current = () => {
      pipe.strikes = 0;
      end();
    };
    this.current.pipe = pipe;
    this.current.index = 2 * pipe.number + (pipe.isIn ? 0 : 1);
    return cost;
  }

  count(pipe, bytes) {
    pipe.counters.packets++;
    pipe.counters.bytes += bytes;
    this.counters.packets++;
    this.inFrame++;
  }

  in(pipe) {
    const answer = this.controller.in(this.address, pipe.number);
    if (answer === NAK || answer === STALLED || answer === SILENT) return this.refused(pipe, answer);
    return this.occupy(pipe, answer.data.length, answer.data, () => {
      this.controller.sent(answer);
      this.count(pipe, answer.data.length);
      if (answer.toggle !== pipe.toggle) {
        // The host takes it for a repetition: acknowledged, and thrown away.
        pipe.counters.toggleErrors++;
        return;
      }
      pipe.toggle ^= 1;
      pipe.jobs[0]?.moved(answer.data.length, answer.data);
    });
  }

  out(pipe) {
    const answer = this.controller.out(this.address, pipe.number);
    const data = pipe.jobs[0].packet();
    if (answer === STALLED || answer === SILENT) return this.refused(pipe, answer);
    if (answer === NAK) {
      // OUT data has been sent by the time that it is NAKed.
      const free = this.refused(pipe, NAK);
      return free && (this.cost(data.length, data) > this.left ? -1 : this.cost(data.length, data));
    }
    return this.occupy(pipe, data.length, data, () => {
      if (!this.controller.received(answer, data, pipe.toggle)) pipe.counters.toggleErrors++;
      pipe.toggle ^= 1;
      this.count(pipe, data.length);
      pipe.jobs[0]?.moved(data.length);
    });
  }

  setup(pipe) {
    const job = pipe.jobs[0];
    if (!this.controller.answers(this.address)) return this.refused(pipe, SILENT);
    return this.occupy(pipe, job.setup.length, job.setup, () => {
      this.controller.setup(this.address, job.setup);
      this.count(pipe, job.setup.length);
      pipe.jobs[0]?.moved(job.setup.length);
    });
  }

  /** The device takes back buffers: what is under way with one of them does not take place. */
  aborted(mask) {
    if (this.current && mask & (1 << this.current.index)) {
      const { pipe } = this.current;
      this.current = () => pipe.jobs[0]?.missed?.();
    }
  }
}
