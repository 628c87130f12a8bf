// The chip's pins on the plant. The plant's records (lenslink_hil.plant.pin_records) become edges of
// inputs and results of the ADC. Pulses of the step output become records for the plant.
//
// A chip may be powered long after its plant. So this side first reads the level of each pin, and
// ignores the answers to a chip that had the plant's socket before.
//
// The plant's clock is the emulated one: this side sends it the time. The plant answers with the time
// of its next edge, and the chip does not run past that time before it has the edge. So a run repeats
// exactly, however fast it is. emulator_commands.mjs uses this file.
//
// `wiring` has numbers of pins: {"contacts": [[pin, level when closed], ...], "ring": [a, b],
// "adc": [[channel of the ADC, factor, offset], ...], "step": pin, "direction": pin, "enable": pin of
// the module's power switch, "inputs": {pin: level}}. "ring" is the focus ring.

import net from "node:net";

const RECORD_BYTES = 8;
const CONTACT = 1;
const ADC = 2;
const RING = 3;
const NEXT = 4;
const LEVELS = 5;
const STEP = 16;
const SAMPLE = 18;
const ELAPSED = 19;
const READ = 20;
const SWITCH = 21;
const CONVERSION = 2_000; // ns
const MAX_ELAPSED = 1_000_000; // us between two records
const HIGH = 1; // GPIOPinState

export class PlantPins {
  /** `fd` is the plant's socket. `onData` is called after records have arrived. */
  constructor(chip, fd, wiring, onData) {
    this.chip = chip;
    this.wiring = wiring;
    /** The time that the plant has been sent, in ns. */
    this.plantTime = chip.clock.nanos;
    /** The time of the plant's next edge, in ns. */
    this.nextEventTime = Infinity;
    /** The number of answers that the plant owes: the chip does not run before it has them. */
    this.pendingAnswers = 0;
    /** Whether the plant has sent the level of each pin, and answers only this chip. */
    this.hasLevels = false;
    this.partialRecord = Buffer.alloc(0);
    this.socket = new net.Socket({ fd, readable: true, writable: true });
    this.socket.on("data", (data) => {
      this.feed(data);
      onData();
    });
    this.socket.on("error", () => process.exit(0));
    for (const [pin, closed] of wiring.contacts) this.drivePin(pin, !closed);
    for (const pin of wiring.ring) this.drivePin(pin, 0);
    for (const [pin, level] of Object.entries(wiring.inputs)) this.drivePin(pin, level);
    if (wiring.step !== undefined) {
      chip.gpio[wiring.step].addListener((state, before) => {
        if (state === HIGH && before !== HIGH) this.sendStep();
      });
    }
    if (wiring.enable !== undefined) {
      chip.gpio[wiring.enable].addListener((state, before) => {
        if (state !== before && this.hasLevels) this.sendSwitch(state === HIGH);
      });
    }
    chip.adc.onADCRead = (channel) => this.startConversion(channel);
    this.conversionAlarm = chip.clock.createAlarm(() => chip.adc.completeADCRead(this.adcCounts, false));
    this.adcCounts = 0;
    this.pendingAnswers++;
    this.send(READ, 0, 0);
  }

  drivePin(pin, level) {
    this.chip.drivePin(pin, !!level);
  }

  send(kind, channel, value) {
    const record = Buffer.alloc(RECORD_BYTES);
    record[0] = kind;
    record[1] = channel;
    record.writeInt32LE(value, 4);
    this.socket.write(record);
  }

  // --- time -----------------------------------------------------------------------------

  /** Send the plant the time; it answers with the edges that are due by then, and NEXT. */
  sendTime() {
    const elapsed = Math.floor((this.chip.clock.nanos - this.plantTime) / 1000);
    this.plantTime += elapsed * 1000;
    this.pendingAnswers++;
    this.send(ELAPSED, 0, elapsed);
  }

  /** Whether the chip must not run before the plant has answered. */
  get isWaiting() {
    return this.pendingAnswers > 0;
  }

  /** Send the plant the time if an edge is due, or if the last time was sent long ago. */
  sendTimeIfDue() {
    if (this.pendingAnswers) return;
    const now = this.chip.clock.nanos;
    if (now >= this.nextEventTime || now - this.plantTime >= MAX_ELAPSED * 1000) this.sendTime();
  }

  // --- records --------------------------------------------------------------------------

  feed(data) {
    let rest = Buffer.concat([this.partialRecord, data]);
    for (; rest.length >= RECORD_BYTES; rest = rest.subarray(RECORD_BYTES)) this.handleRecord(rest[0], rest[1], rest.readInt32LE(4));
    this.partialRecord = rest;
  }

  handleRecord(kind, channel, value) {
    const { contacts, ring } = this.wiring;
    if (kind === CONTACT && contacts[channel]) {
      const [pin, closed] = contacts[channel];
      this.drivePin(pin, value ? closed : !closed);
    } else if (kind === RING) {
      this.drivePin(ring[channel], value);
    } else if (kind === LEVELS) {
      this.hasLevels = true;
      this.pendingAnswers--;
      this.sendTime();
    } else if (!this.hasLevels) {
      return;
    } else if (kind === ADC) {
      const [, factor, offset] = this.wiring.adc[channel];
      this.adcCounts = Math.min(Math.max(Math.round(value * factor + offset), 0), 4095);
      this.pendingAnswers--;
      this.conversionAlarm.schedule(CONVERSION);
    } else if (kind === NEXT) {
      // The plant sends NEXT unasked too: when a command waits for the time, or an edge was planned.
      this.nextEventTime = value < 0 ? Infinity : this.plantTime + value * 1000;
      if (channel) this.pendingAnswers--;
    }
  }

  startConversion(channel) {
    const plantChannel = this.wiring.adc.findIndex(([wired]) => wired === channel);
    if (plantChannel < 0) {
      // Nothing is wired to this channel.
      this.adcCounts = 0;
      this.conversionAlarm.schedule(CONVERSION);
      return;
    }
    this.sendTime();
    this.pendingAnswers++;
    this.send(SAMPLE, plantChannel, 0);
    this.chip.stop = true;
  }

  /** The power switch has moved: the plant has to know the exact time. */
  sendSwitch(isClosed) {
    this.sendTime();
    this.send(SWITCH, 0, isClosed ? 1 : 0);
    this.chip.stop = true;
  }

  sendStep() {
    const { direction } = this.wiring;
    const isCloser = direction === undefined || this.chip.gpio[direction].value === HIGH;
    this.send(STEP, 0, isCloser ? 1 : -1);
  }
}
