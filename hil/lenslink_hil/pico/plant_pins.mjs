// The chip's pins on the plant: its records (lenslink_hil.plant.pin_records) are edges of inputs and
// conversions of the ADC; steps of the motor are pulses of outputs.
//
// The plant's clock is the emulated one, told by us. It says when its next edge is due, and we run
// to that moment and no further before we have it; so a run repeats exactly, however fast it is.
//
// `wiring`, numbers of pins: {"contacts": [[pin, level when closed], ...], "ring": [a, b],
// "adc": [[channel of the ADC, factor, offset], ...], "step": pin, "direction": pin, "inputs": {pin: level}}.

import net from "node:net";

const RECORD = 8;
const CONTACT = 1;
const ADC = 2;
const RING = 3;
const NEXT = 4;
const STEP = 16;
const SAMPLE = 18;
const ELAPSED = 19;
const CONVERSION = 2_000; // ns
const MOST_ELAPSED = 1_000_000; // us, between two records
const HIGH = 1; // GPIOPinState

export class Pins {
  /** `arrived` is called when something has come. */
  constructor(chip, fd, wiring, arrived) {
    this.chip = chip;
    this.wiring = wiring;
    this.told = chip.clock.nanos; // what the plant takes the time to be
    this.next = Infinity;
    /** Answers that are outstanding: we do not run before they are there. */
    this.owed = 0;
    this.rest = Buffer.alloc(0);
    this.socket = new net.Socket({ fd, readable: true, writable: true });
    this.socket.on("data", (data) => {
      this.feed(data);
      arrived();
    });
    this.socket.on("error", () => process.exit(0));
    for (const [pin, closed] of wiring.contacts) this.drive(pin, !closed);
    for (const pin of wiring.ring) this.drive(pin, 0);
    for (const [pin, level] of Object.entries(wiring.inputs)) this.drive(pin, level);
    if (wiring.step !== undefined) {
      chip.gpio[wiring.step].addListener((state, before) => {
        if (state === HIGH && before !== HIGH) this.stepped();
      });
    }
    chip.adc.onADCRead = (channel) => this.convert(channel);
    this.conversion = chip.clock.createAlarm(() => chip.adc.completeADCRead(this.counts, false));
    this.counts = 0;
    this.ask();
  }

  drive(pin, level) {
    this.chip.drive(pin, !!level);
  }

  send(kind, channel, value) {
    const record = Buffer.alloc(RECORD);
    record[0] = kind;
    record[1] = channel;
    record.writeInt32LE(value, 4);
    this.socket.write(record);
  }

  // --- time -----------------------------------------------------------------------------

  /** Tell the plant the time; it answers with what is due by then, and NEXT. */
  ask() {
    const elapsed = Math.floor((this.chip.clock.nanos - this.told) / 1000);
    this.told += elapsed * 1000;
    this.owed++;
    this.send(ELAPSED, 0, elapsed);
  }

  waits() {
    return this.owed > 0;
  }

  /** How far we may run. */
  until() {
    return this.next;
  }

  /** We have run. */
  elapsed() {
    if (this.owed) return;
    const now = this.chip.clock.nanos;
    if (now >= this.next || now - this.told >= MOST_ELAPSED * 1000) this.ask();
  }

  // --- records --------------------------------------------------------------------------

  feed(data) {
    let rest = Buffer.concat([this.rest, data]);
    for (; rest.length >= RECORD; rest = rest.subarray(RECORD)) this.take(rest[0], rest[1], rest.readInt32LE(4));
    this.rest = rest;
  }

  take(kind, channel, value) {
    const { contacts, ring } = this.wiring;
    if (kind === CONTACT && contacts[channel]) {
      const [pin, closed] = contacts[channel];
      this.drive(pin, value ? closed : !closed);
    } else if (kind === RING) {
      this.drive(ring[channel], value);
    } else if (kind === ADC) {
      const [, factor, offset] = this.wiring.adc[channel];
      this.counts = Math.min(Math.max(Math.round(value * factor + offset), 0), 4095);
      this.owed--;
      this.conversion.schedule(CONVERSION);
    } else if (kind === NEXT) {
      // It says so unasked too, when a command has planned something.
      this.next = value < 0 ? Infinity : this.told + value * 1000;
      if (channel) this.owed--;
    }
  }

  convert(channel) {
    const known = this.wiring.adc.findIndex(([wired]) => wired === channel);
    if (known < 0) {
      // Nothing is wired to it.
      this.counts = 0;
      this.conversion.schedule(CONVERSION);
      return;
    }
    this.ask();
    this.owed++;
    this.send(SAMPLE, known, 0);
    this.chip.stop = true;
  }

  stepped() {
    const { direction } = this.wiring;
    const closer = direction === undefined || this.chip.gpio[direction].value === HIGH;
    this.send(STEP, 0, closer ? 1 : -1);
  }
}
