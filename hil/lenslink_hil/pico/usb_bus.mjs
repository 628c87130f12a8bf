// A full-speed bus with one device. A frame lasts 1 ms: it begins with a SOF and holds as many
// transactions as fit. A transaction costs 13 bytes besides its data (USB 2.0, 5.11.3).
//
// An `ideal` host polls an endpoint only when it has something to move, and a NAK costs no time. A
// `strict` host loses time as real ones do: on polls that the device NAKs, also those of an open
// serial port, on stuffed bits, at the end of a frame and in gaps between packets.
//
// usb_host.mjs puts jobs into the pipes; controller.mjs is the device's end.

import { NAK, SILENT, STALLED } from "./controller.mjs";

const FRAME = 1_000_000; // ns
const BYTE = 8_000 / 12; // ns
const OVERHEAD_BYTES = 13;
const SOF_COST = 6 * BYTE; // sync, 3 bytes, end of packet, and the gap after it
const NAK_COST = 6_000;
const FRAME_END = 32 * (BYTE / 8); // EOF1, USB 2.0 11.2.1
const MAX_GAP = 8_000;
const SUSPEND_AFTER = 3 * FRAME;
const MAX_TIMEOUTS = 3; // in a row, before a transfer fails

export const STRICT = "strict";
export const IDEAL = "ideal";

/** Count the bits that are stuffed into data: one after every six ones. */
export function countStuffedBits(data) {
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

/** Make a generator of numbers in [0, 1), xorshift32: the same seed gives the same gaps. */
function makeGenerator(seed) {
  let state = seed >>> 0 || 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/**
 * One direction of an endpoint, on the host's side. `jobs` are what the host wants moved. A job has
 * `nextPacket()`, the data to send (OUT), `handlePacket(count, data)`, `handleError(reason)`, and
 * maybe `handleAbort()`.
 */
export class Pipe {
  constructor(address, packetBytes, interval = 0) {
    this.address = address;
    this.number = address & 15;
    this.isIn = !!(address & 0x80);
    this.packetBytes = packetBytes;
    /** The poll interval of an interrupt endpoint, in frames; 0 for other endpoints. */
    this.interval = interval;
    /** Whether another program has it open, so that it is polled without a job too. */
    this.isAlwaysPolled = false;
    this.jobs = [];
    this.toggle = 0;
    this.isHalted = false;
    this.timeoutCount = 0;
    this.lastPollFrame = -1;
    this.counters = { packets: 0, bytes: 0, naks: 0, toggleErrors: 0, timeouts: 0 };
  }
}

export class Bus {
  constructor(clock, controller, { kind = IDEAL, seed = 1 } = {}) {
    this.clock = clock;
    this.controller = controller;
    this.isStrict = kind === STRICT;
    this.random = makeGenerator(seed);
    this.pipes = [];
    this.address = 0;
    this.frame = 0;
    this.frameStart = 0;
    this.nextPipe = 0;
    this.isOn = false;
    this.isSuspended = false;
    this.isIdle = true;
    /** Ends the transaction that is on the wire; null if there is none. */
    this.endCurrent = null;
    this.counters = { frames: 0, packets: 0, naks: 0, longestFrame: 0 };
    this.framePackets = 0;
    this.frameAlarm = clock.createAlarm(() => this.beginFrame());
    this.alarm = clock.createAlarm(() => this.endTransaction());
    this.suspendAlarm = clock.createAlarm(() => this.suspendDevice());
    controller.onBufferAvailable = () => this.wake();
    controller.onAbort = (mask) => this.handleAbort(mask);
  }

  // --- the state of the bus -------------------------------------------------------------

  /** Begin to send SOFs. */
  start() {
    if (this.isOn) return;
    this.isOn = true;
    this.suspendAlarm.cancel();
    if (this.isSuspended) {
      this.isSuspended = false;
      this.controller.handleResume();
    }
    this.beginFrame();
  }

  /** Send no more SOFs: the device suspends after 3 ms without them. */
  stop() {
    this.isOn = false;
    this.frameAlarm.cancel();
    this.alarm.cancel();
    const done = this.endCurrent;
    this.endCurrent = null;
    if (done) done();
    this.suspendAlarm.schedule(SUSPEND_AFTER);
  }

  /** Whether a transaction of that pipe is on the wire. */
  isTransferring(pipe) {
    return this.endCurrent?.pipe === pipe;
  }

  suspendDevice() {
    this.isSuspended = true;
    this.controller.handleSuspend();
  }

  /** Reset the bus (SE0): the transaction on the wire is lost. */
  reset() {
    this.endCurrent = null;
    this.stop();
    this.suspendAlarm.cancel();
    this.isSuspended = false;
    this.address = 0;
    this.controller.handleBusReset();
  }

  beginFrame() {
    this.frameStart = this.clock.nanos;
    this.frameAlarm.schedule(FRAME);
    this.frame = (this.frame + 1) & 0x7ff;
    this.counters.frames++;
    this.counters.longestFrame = Math.max(this.counters.longestFrame, this.framePackets);
    this.framePackets = 0;
    this.controller.handleSof(this.frame);
    this.endCurrent = null;
    this.isIdle = false;
    this.alarm.schedule(SOF_COST);
  }

  /** Begin a transaction if none is on the wire, because one may have become possible. */
  wake() {
    if (this.isOn && this.isIdle) {
      this.isIdle = false;
      this.alarm.schedule(0);
    }
  }

  // --- transactions ---------------------------------------------------------------------

  /** The time until the end of the frame, in ns. */
  get remainingTime() {
    return this.frameStart + FRAME - this.clock.nanos - (this.isStrict ? FRAME_END : 0);
  }

  endTransaction() {
    const done = this.endCurrent;
    this.endCurrent = null;
    if (done) done();
    if (this.isOn) this.beginTransaction();
  }

  /** Begin the next transaction. If there is none, wait for wake() or for the next frame. */
  beginTransaction() {
    const count = this.pipes.length;
    for (let i = 0; i < count; i++) {
      const pipe = this.pipes[(this.nextPipe + i) % count];
      if (pipe.interval && (pipe.lastPollFrame === this.frame || this.frame % pipe.interval)) continue;
      const isWanted = pipe.jobs.length > 0 && !pipe.isHalted;
      if (!isWanted && !(this.isStrict && pipe.isAlwaysPolled)) continue;
      const cost = isWanted ? this.poll(pipe) : NAK_COST;
      if (cost === 0) continue; // a NAK that takes no time
      if (cost < 0) return; // no room in this frame
      pipe.lastPollFrame = this.frame;
      this.nextPipe = (this.nextPipe + i + 1) % count;
      this.alarm.schedule(cost);
      return;
    }
    this.isIdle = true;
  }

  /** Return the time that a transaction takes, in ns. */
  transactionTime(bytes, data) {
    let cost = (bytes + OVERHEAD_BYTES) * BYTE;
    if (this.isStrict) cost += (countStuffedBits(data) * BYTE) / 8 + this.random() * MAX_GAP;
    return cost;
  }

  /** Poll an endpoint; return the time it takes, 0 for a NAK that takes none, -1 for no room. */
  poll(pipe) {
    if (this.remainingTime < NAK_COST) return -1;
    return pipe.number === 0 && pipe.jobs[0].setup ? this.sendSetup(pipe)
      : pipe.isIn ? this.pollIn(pipe) : this.pollOut(pipe);
  }

  handleRefusal(pipe, answer) {
    if (answer === NAK) {
      pipe.counters.naks++;
      this.counters.naks++;
      return this.isStrict ? NAK_COST : 0;
    }
    this.endCurrent = () => {
      if (answer === STALLED) {
        pipe.isHalted = pipe.number !== 0;
        pipe.jobs[0]?.handleError("stall");
      } else {
        pipe.counters.timeouts++;
        if (++pipe.timeoutCount >= MAX_TIMEOUTS) {
          pipe.timeoutCount = 0;
          pipe.jobs[0]?.handleError("timeout");
        }
      }
    };
    return NAK_COST;
  }

  /** Put a transaction on the wire; `end` is called at its end. Return its time, or -1. */
  beginPacket(pipe, bytes, data, end) {
    const cost = this.transactionTime(bytes, data);
    if (cost > this.remainingTime) return -1;
    this.endCurrent = () => {
      pipe.timeoutCount = 0;
      end();
    };
    this.endCurrent.pipe = pipe;
    this.endCurrent.index = 2 * pipe.number + (pipe.isIn ? 0 : 1);
    return cost;
  }

  countPacket(pipe, bytes) {
    pipe.counters.packets++;
    pipe.counters.bytes += bytes;
    this.counters.packets++;
    this.framePackets++;
  }

  pollIn(pipe) {
    const answer = this.controller.answerIn(this.address, pipe.number);
    if (answer === NAK || answer === STALLED || answer === SILENT) return this.handleRefusal(pipe, answer);
    return this.beginPacket(pipe, answer.data.length, answer.data, () => {
      this.controller.completeIn(answer);
      this.countPacket(pipe, answer.data.length);
      if (answer.toggle !== pipe.toggle) {
        // The host takes it for a repetition: it acknowledges and drops the data.
        pipe.counters.toggleErrors++;
        return;
      }
      pipe.toggle ^= 1;
      pipe.jobs[0]?.handlePacket(answer.data.length, answer.data);
    });
  }

  pollOut(pipe) {
    const answer = this.controller.answerOut(this.address, pipe.number);
    const data = pipe.jobs[0].nextPacket();
    if (answer === STALLED || answer === SILENT) return this.handleRefusal(pipe, answer);
    if (answer === NAK) {
      // The host has sent its data before the device answers with a NAK.
      const nakTime = this.handleRefusal(pipe, NAK);
      return nakTime && (this.transactionTime(data.length, data) > this.remainingTime ? -1 : this.transactionTime(data.length, data));
    }
    return this.beginPacket(pipe, data.length, data, () => {
      if (!this.controller.completeOut(answer, data, pipe.toggle)) pipe.counters.toggleErrors++;
      pipe.toggle ^= 1;
      this.countPacket(pipe, data.length);
      pipe.jobs[0]?.handlePacket(data.length);
    });
  }

  sendSetup(pipe) {
    const job = pipe.jobs[0];
    if (!this.controller.isAddressed(this.address)) return this.handleRefusal(pipe, SILENT);
    return this.beginPacket(pipe, job.setup.length, job.setup, () => {
      this.controller.takeSetup(this.address, job.setup);
      this.countPacket(pipe, job.setup.length);
      pipe.jobs[0]?.handlePacket(job.setup.length);
    });
  }

  /** Drop the transaction on the wire if the device takes back its buffer. */
  handleAbort(mask) {
    if (this.endCurrent && mask & (1 << this.endCurrent.index)) {
      const { pipe } = this.endCurrent;
      this.endCurrent = () => pipe.jobs[0]?.handleAbort?.();
    }
  }
}
