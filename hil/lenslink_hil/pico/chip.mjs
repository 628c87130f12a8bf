// An RP2040: rp2040js's, with what it lacks put right. That is a boot ROM, the USB controller as a
// device, resets that reset, and a step that is cheap when nothing happens.

import { Bootrom } from "./bootrom.mjs";
import { Controller } from "./controller.mjs";
import { makeStep } from "./core.mjs";

const DPRAM = 0x50100000;
const DPRAM_BYTES = 4096;
const USB_BASE = 0x50110;
const RESETS_BASE = 0x4000c;
const SYSINFO_BASE = 0x40000;
const PADS_BASE = 0x4001c;
const WATCHDOG_BASE = 0x40058;
const WATCHDOG_CTRL = 0;
const PULL_UP = 1 << 3;
const RESETS_USBCTRL = 1 << 24;
const CHIP_B2 = 0x20002927;
const BOOT2 = 0x10000000;

/** `library` is rp2040js, loaded from where `lenslink pico setup` put it. */
export function makeChip(library, bootrom) {
  const { RP2040, LogLevel, ConsoleLogger } = library;

  class Chip extends RP2040 {
    // The USB buffer is written bytewise for most of a busy board's time.
    writeUint8(address, value) {
      const at = address - DPRAM;
      if (at >= 0x100 && at < DPRAM_BYTES) this.usbDPRAM[at] = value;
      else super.writeUint8(address, value);
    }

    readUint8(address) {
      const at = address - DPRAM;
      return at >= 0 && at < DPRAM_BYTES ? this.usbDPRAM[at] : super.readUint8(address);
    }
  }

  const chip = new Chip();
  chip.logger = new ConsoleLogger(LogLevel.Error, false);
  chip.sleptNanos = 0;
  chip.trapCycles = 0;
  chip.halted = (reason) => {
    throw new Error(`the board has stopped: ${reason}`);
  };

  const rom = bootrom ? Bootrom.published(chip, bootrom) : Bootrom.stub(chip);
  chip.bootrom.set(rom.words);
  chip.onBreak = (number) => {
    const cycles = rom.serve(chip.core, number);
    if (cycles < 0) chip.halted(`breakpoint ${number} at 0x${(chip.core.PC - 2).toString(16)}`);
    chip.trapCycles += cycles;
  };

  const usb = new Controller(chip);
  chip.usbCtrl = usb;
  chip.peripherals[USB_BASE] = usb;

  const resets = chip.peripherals[RESETS_BASE];
  const writeResets = resets.writeUint32.bind(resets);
  resets.writeUint32 = (offset, value) => {
    if (offset === 0) {
      if (value & RESETS_USBCTRL) usb.peripheralReset();
      resets.reset_done = ~value & 0x1ffffff;
    }
    writeResets(offset, value);
  };

  const sysinfo = chip.peripherals[SYSINFO_BASE];
  const readSysinfo = sysinfo.readUint32.bind(sysinfo);
  sysinfo.readUint32 = (offset) => (offset === 0 ? CHIP_B2 : readSysinfo(offset));

  // An input that nobody drives is where its pulls take it.
  const driven = new Map();
  const settle = (pin) => {
    const gpio = chip.gpio[pin];
    const level = driven.get(pin) ?? !!(gpio.padValue & PULL_UP);
    if (level !== gpio.rawInputValue) gpio.setInputValue(level);
  };
  /** Drive a pin from outside: true, false, or null to let go of it. */
  chip.drive = (pin, level) => {
    driven.set(pin, level);
    settle(pin);
  };
  const pads = chip.peripherals[PADS_BASE];
  const writePads = pads.writeUint32.bind(pads);
  pads.writeUint32 = (offset, value) => {
    writePads(offset, value);
    const pin = offset / 4 - 1;
    if (pin >= 0 && pin < chip.gpio.length) settle(pin);
  };

  chip.boot = () => {
    const { core } = chip;
    core.VTOR = 0;
    core.SP = chip.bootrom[0];
    core.LR = 0; // boot2 then goes on to the image's vectors
    core.PC = BOOT2;
    core.PM = false;
    core.IPSR = 0;
    core.currentMode = 0;
    core.SPSEL = 0;
    core.waiting = false;
    core.pendingInterrupts = 0;
    core.enabledInterrupts = 0;
    core.pendingNMI = core.pendingPendSV = core.pendingSVCall = core.pendingSystick = false;
  };

  /** As by the watchdog, or the pin RUN: flash stays, RAM stays, peripherals do not. */
  chip.restart = () => {
    usb.peripheralReset();
    watchdog.writeUint32(WATCHDOG_CTRL, 0);
    chip.boot();
  };
  const watchdog = chip.peripherals[WATCHDOG_BASE];
  watchdog.onWatchdogTrigger = () => {
    chip.restartWanted = true;
  };

  const step = makeStep(chip);
  /** Run until *nanos* of emulated time; less if `chip.stop` is set. */
  chip.run = (nanos) => {
    const { core, clock } = chip;
    const cycleNanos = 1e9 / chip.clkSys;
    chip.stop = false;
    while (clock.nanosCounter < nanos && !chip.stop) {
      if (core.waiting) {
        const alarm = clock.nextAlarm;
        const until = alarm && alarm.nanos < nanos ? alarm.nanos : nanos;
        const slept = Math.max(until - clock.nanosCounter, 0);
        chip.sleptNanos += slept;
        clock.tick(slept);
        continue;
      }
      let cycles = step();
      if (chip.trapCycles) {
        cycles += chip.trapCycles;
        chip.trapCycles = 0;
      }
      const now = clock.nanosCounter + cycles * cycleNanos;
      const alarm = clock.nextAlarm;
      if (alarm && alarm.nanos <= now) clock.tick(cycles * cycleNanos);
      else clock.nanosCounter = now;
      if (chip.restartWanted) {
        chip.restartWanted = false;
        chip.restart();
      }
    }
  };
  return chip;
}
