// An RP2040: rp2040js's, with the parts that it lacks. They are a boot ROM, the USB controller as a
// device, peripheral resets that take effect, and a fast decoder of instructions.
// emulator.mjs makes one chip; boot() and run() are what it calls.

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

/** Make a chip. `library` is rp2040js; `bootrom` the bytes of a boot ROM, or null for our own. */
export function makeChip(library, bootrom) {
  const { RP2040, LogLevel, ConsoleLogger } = library;

  class Chip extends RP2040 {
    // A busy board mostly writes bytes into the USB buffer, so this access is a fast one.
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
  chip.stopWithError = (reason) => {
    throw new Error(`the board has stopped: ${reason}`);
  };

  const rom = bootrom ? Bootrom.fromPublished(chip, bootrom) : Bootrom.buildStub(chip);
  chip.bootrom.set(rom.words);
  chip.onBreak = (number) => {
    const cycles = rom.serveTrap(chip.core, number);
    if (cycles < 0) chip.stopWithError(`breakpoint ${number} at 0x${(chip.core.PC - 2).toString(16)}`);
    chip.trapCycles += cycles;
  };

  const usb = new Controller(chip);
  chip.usbCtrl = usb;
  chip.peripherals[USB_BASE] = usb;

  const resets = chip.peripherals[RESETS_BASE];
  const writeResets = resets.writeUint32.bind(resets);
  resets.writeUint32 = (offset, value) => {
    if (offset === 0) {
      if (value & RESETS_USBCTRL) usb.resetPeripheral();
      resets.reset_done = ~value & 0x1ffffff;
    }
    writeResets(offset, value);
  };

  const sysinfo = chip.peripherals[SYSINFO_BASE];
  const readSysinfo = sysinfo.readUint32.bind(sysinfo);
  sysinfo.readUint32 = (offset) => (offset === 0 ? CHIP_B2 : readSysinfo(offset));

  // An input that nothing drives has the level of its pull-up or pull-down.
  const drivenLevels = new Map();
  const updateInput = (pin) => {
    const gpio = chip.gpio[pin];
    const level = drivenLevels.get(pin) ?? !!(gpio.padValue & PULL_UP);
    if (level !== gpio.rawInputValue) gpio.setInputValue(level);
  };
  /** Drive a pin from outside: true, false, or null to stop driving it. */
  chip.drivePin = (pin, level) => {
    drivenLevels.set(pin, level);
    updateInput(pin);
  };
  const pads = chip.peripherals[PADS_BASE];
  const writePads = pads.writeUint32.bind(pads);
  pads.writeUint32 = (offset, value) => {
    writePads(offset, value);
    const pin = offset / 4 - 1;
    if (pin >= 0 && pin < chip.gpio.length) updateInput(pin);
  };

  chip.boot = () => {
    const { core } = chip;
    core.VTOR = 0;
    core.SP = chip.bootrom[0];
    core.LR = 0; // boot2 then jumps to the vectors of the image
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

  /** Restart the chip, as the watchdog or the pin RUN does: flash and RAM keep their content. */
  chip.restart = () => {
    usb.resetPeripheral();
    watchdog.writeUint32(WATCHDOG_CTRL, 0);
    chip.boot();
  };
  const watchdog = chip.peripherals[WATCHDOG_BASE];
  watchdog.onWatchdogTrigger = () => {
    chip.isRestartPending = true;
  };

  const step = makeStep(chip);
  /** Run until the emulated time is `nanos`, or until something sets `chip.stop`. */
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
      if (chip.isRestartPending) {
        chip.isRestartPending = false;
        chip.restart();
      }
    }
  };
  return chip;
}
