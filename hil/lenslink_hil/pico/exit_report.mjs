// The report on a run: emulated time, how much of it the core slept, and the counters of the bus.

export function buildReport(chip, bus) {
  const endpoints = {};
  for (const pipe of bus.pipes) {
    endpoints[pipe.address.toString(16).padStart(2, "0")] = { ...pipe.counters, waiting: pipe.jobs.length };
  }
  return {
    emulated_us: Math.round(chip.clock.micros),
    slept_us: Math.round(chip.sleptNanos / 1000),
    ...bus.counters,
    endpoints,
    pc: chip.core.PC,
  };
}
