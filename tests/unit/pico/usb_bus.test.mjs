import assert from "node:assert/strict";
import test from "node:test";

import { stuffed } from "../../../hil/lenslink_hil/pico/usb_bus.mjs";
import { Bench, MS, REGISTER, STALL } from "./bus_harness.mjs";

const EPIPE = -32;
const EPROTO = -71;
const EOVERFLOW = -75;
const ECONNRESET = -104;
const ENODEV = -19;

const packet = (seed, length = 64) => Buffer.from(Array.from({ length }, (_, i) => (seed * 31 + i * 7) & 255));

/** A device that always has the next two packets ready: numbered, so that order shows. */
function source(bench, address) {
  let count = 0;
  const two = () => bench.fill(address, packet(count++), packet(count++));
  const others = bench.done;
  bench.done = (which) => (which === address ? two() : others(which));
  two();
}

function inOrder(data) {
  for (let n = 0; n < data.length / 64; n++) {
    const expected = packet(n);
    if (!data.subarray(64 * n, 64 * n + 64).equals(expected)) return n;
  }
  return -1;
}

test("19 packets of 64 bytes fit into a frame, and arrive in order", () => {
  const bench = new Bench().ready();
  source(bench, 0x83);
  const read = bench.submit(0x83, 64 * 19 * 20);
  bench.clock.run(22 * MS);
  assert.equal(read.status, 0);
  assert.equal(inOrder(read.data), -1);
  assert.equal(bench.bus.counters.longestFrame, 19);
});

test("several endpoints share the frame evenly", () => {
  const bench = new Bench({ ins: [0x83, 0x84, 0x85, 0x86] }).ready();
  for (const address of bench.ins) source(bench, address);
  const reads = bench.ins.map((address) => bench.submit(address, 1 << 20));
  bench.clock.run(40 * MS);
  const moved = reads.map((read) => read.transfer.count);
  assert.ok(Math.abs(moved.reduce((a, b) => a + b) - 40 * 19 * 64) <= 2 * 19 * 64, `${moved}`);
  assert.ok(Math.max(...moved) - Math.min(...moved) <= 64, `${moved}`);
});

test("each frame begins with a SOF, whose number has 11 bits", () => {
  const bench = new Bench().ready();
  const before = bench.read(REGISTER.sof);
  bench.clock.run(5 * MS);
  assert.equal(bench.read(REGISTER.sof), before + 5);
  bench.clock.run(2048 * MS);
  assert.equal(bench.read(REGISTER.sof), before + 5);
});

test("a device is not asked before a host wants something", () => {
  const bench = new Bench().ready();
  bench.fill(0x83, packet(1));
  bench.clock.run(20 * MS);
  assert.equal(bench.host.pipe(0x83).counters.packets, 0);
  const read = bench.submit(0x83, 64);
  bench.clock.run(2 * MS);
  assert.deepEqual(read.data, packet(1));
});

test("nothing moves while the device NAKs, and at once when it has something", () => {
  const bench = new Bench().ready();
  const read = bench.submit(0x83, 64);
  bench.clock.run(10.5 * MS);
  assert.equal(read.status, null);
  assert.ok(bench.host.pipe(0x83).counters.naks > 0);
  bench.fill(0x83, packet(2));
  bench.clock.run(0.06 * MS); // 51.3 us and the microseconds of nothing
  assert.deepEqual(read.data, packet(2));
});

for (const kind of ["ideal", "strict"]) {
  test(`a poll between the two writes of a double buffer takes neither (${kind})`, () => {
    const bench = new Bench({ kind }).ready();
    const read = bench.submit(0x83, 128);
    bench.fill(0x83, packet(1), packet(2), () => bench.clock.run(0.2 * MS));
    bench.clock.run(2 * MS);
    assert.deepEqual(read.data, Buffer.concat([packet(1), packet(2)]));
    assert.equal(bench.host.pipe(0x83).counters.packets, 2);
    assert.equal(bench.host.pipe(0x83).counters.toggleErrors, 0);
  });
}

test("both buffers of a pair are done before the driver hears of it", () => {
  const bench = new Bench().ready();
  const heard = [];
  bench.done = (address) => heard.push(address);
  const read = bench.submit(0x83, 64);
  bench.fill(0x83, packet(1), packet(2));
  bench.clock.run(2 * MS);
  assert.deepEqual(read.data, packet(1));
  assert.deepEqual(heard, []);
  const second = bench.submit(0x83, 64);
  bench.clock.run(2 * MS);
  assert.deepEqual(second.data, packet(2));
  assert.deepEqual(heard, [0x83]);
});

test("a packet with the wrong toggle is acknowledged and thrown away", () => {
  const bench = new Bench().ready();
  bench.pids[0x83] = 1;
  const read = bench.submit(0x83, 64);
  bench.fill(0x83, packet(1));
  bench.clock.run(2 * MS);
  assert.equal(read.status, null);
  assert.equal(bench.host.pipe(0x83).counters.toggleErrors, 1);
  bench.fill(0x83, packet(2));
  bench.clock.run(2 * MS);
  assert.deepEqual(read.data, packet(2));
});

test("OUT data waits for a buffer, and arrives in packets", () => {
  const bench = new Bench().ready();
  const got = [];
  bench.done = (address) => {
    got.push(bench.received(address));
    bench.listen(address);
  };
  const written = bench.submit(0x03, Buffer.concat([packet(1), packet(2), packet(3, 10)]));
  bench.clock.run(5 * MS);
  assert.deepEqual(got, []);
  bench.listen(0x03);
  bench.clock.run(5 * MS);
  assert.equal(written.status, 0);
  assert.deepEqual(got, [packet(1), packet(2), packet(3, 10)]);
});

test("OUT data with the wrong toggle is an error of sequence, and not received", () => {
  const bench = new Bench().ready();
  const got = [];
  bench.done = (address) => got.push(bench.received(address));
  bench.pids[0x03] = 1;
  bench.listen(0x03);
  bench.submit(0x03, packet(1));
  bench.clock.run(2 * MS);
  assert.deepEqual(got, []);
  assert.ok(bench.read(REGISTER.sieStatus) >>> 31);
});

test("an empty packet follows whole ones only where that was asked for", () => {
  const bench = new Bench().ready();
  const got = [];
  bench.done = (address) => {
    got.push(bench.received(address).length);
    bench.listen(address);
  };
  bench.listen(0x03);
  bench.submit(0x03, packet(1));
  bench.clock.run(2 * MS);
  bench.submit(0x03, packet(2), { zero: true });
  bench.clock.run(2 * MS);
  bench.submit(0x03, Buffer.alloc(0));
  bench.clock.run(2 * MS);
  assert.deepEqual(got, [64, 64, 0, 0]);
});

test("a short packet ends a transfer, an empty one too", () => {
  const bench = new Bench().ready();
  const first = bench.submit(0x83, 4096);
  bench.fill(0x83, packet(1), packet(2, 5));
  bench.clock.run(2 * MS);
  assert.deepEqual(first.data, Buffer.concat([packet(1), packet(2, 5)]));
  const second = bench.submit(0x83, 4096);
  bench.fill(0x83, Buffer.alloc(0));
  bench.clock.run(2 * MS);
  assert.equal(second.status, 0);
  assert.equal(second.data.length, 0);
});

test("more than there is room for is an overflow", () => {
  const bench = new Bench().ready();
  const read = bench.submit(0x83, 10);
  bench.fill(0x83, packet(1));
  bench.clock.run(2 * MS);
  assert.equal(read.status, EOVERFLOW);
});

test("a halted endpoint fails, and begins with DATA0 when that is cleared", () => {
  const bench = new Bench().ready();
  bench.fill(0x83, packet(1));
  bench.submit(0x83, 64);
  bench.clock.run(2 * MS); // the host's toggle is at DATA1 now
  bench.setControl(0x83, STALL);
  const failed = bench.submit(0x83, 64);
  bench.clock.run(2 * MS);
  assert.equal(failed.status, EPIPE);
  assert.equal(bench.submit(0x83, 64).status, EPIPE);
  bench.host.request(0x02, 1, 0, 0x83, 0, () => {});
  bench.clock.run(5 * MS);
  bench.pids[0x83] = 0;
  const read = bench.submit(0x83, 64);
  bench.fill(0x83, packet(2));
  bench.clock.run(2 * MS);
  assert.deepEqual(read.data, packet(2));
});

test("a request that is refused stalls, and the next one is served", () => {
  const bench = new Bench().ready();
  const answers = [];
  bench.host.request(0x80, 6, 0x0300, 0, 8, (status) => answers.push(status));
  bench.host.request(0x80, 6, 0x0100, 0, 18, (status, data) => answers.push(status, data.length));
  bench.clock.run(10 * MS);
  assert.deepEqual(answers, [EPIPE, 0, 18]);
});

test("a bus without SOFs suspends the device after 3 ms, and resumes it", () => {
  const bench = new Bench().ready();
  const suspended = () => !!(bench.read(REGISTER.sieStatus) & (1 << 4));
  bench.host.suspend();
  bench.clock.run(2.9 * MS);
  assert.ok(!suspended());
  bench.clock.run(0.2 * MS);
  assert.ok(suspended());
  const frame = bench.read(REGISTER.sof);
  bench.clock.run(20 * MS);
  assert.equal(bench.read(REGISTER.sof), frame);
  const read = bench.submit(0x83, 64);
  bench.fill(0x83, packet(1));
  bench.clock.run(5 * MS);
  assert.equal(read.status, null);
  bench.host.resume();
  bench.clock.run(2 * MS);
  assert.ok(!suspended());
  assert.deepEqual(read.data, packet(1));
});

test("a bus reset ends what is in flight, and gives the device its address anew", () => {
  const bench = new Bench().ready();
  const before = bench.resets;
  source(bench, 0x83);
  const read = bench.submit(0x83, 1 << 20);
  bench.clock.run(3 * MS);
  bench.host.busReset();
  assert.equal(read.status, ECONNRESET);
  const answers = [];
  bench.host.request(0x80, 6, 0x0100, 0, 18, (status, data) => answers.push(status, data.length));
  bench.clock.run(60 * MS);
  assert.equal(bench.resets, before + 1);
  assert.equal(bench.controller.address, 1);
  assert.deepEqual(answers, [0, 18]);
});

test("the pull-up attaches after 100 ms of it, and its absence detaches at once", () => {
  const bench = new Bench();
  bench.attach();
  bench.clock.run(99 * MS);
  assert.equal(bench.bus.counters.frames, 0);
  bench.clock.run(101 * MS);
  assert.deepEqual(bench.events, ["attached"]);
  const read = bench.submit(0x80, 1);
  assert.equal(read.status, -2); // ENOENT: not configured
  bench.detach();
  assert.deepEqual(bench.events, ["attached", "detached"]);
  assert.equal(bench.submit(0x83, 1).status, ENODEV);
});

test("a locked controller answers nothing and sees no SOF, until RESETS resets it", () => {
  const bench = new Bench().ready();
  source(bench, 0x83);
  bench.controller.lockUp();
  const frame = bench.read(REGISTER.sof);
  const read = bench.submit(0x83, 64);
  bench.clock.run(20 * MS);
  assert.equal(read.status, EPROTO);
  assert.equal(bench.read(REGISTER.sof), frame);
  assert.ok(!(bench.read(REGISTER.sieStatus) & (1 << 4)), "it does not look suspended");
  bench.host.busReset();
  bench.clock.run(50 * MS);
  assert.equal(bench.read(REGISTER.sof), frame);
  bench.controller.peripheralReset();
  assert.deepEqual(bench.events, ["attached", "detached"]);
  bench.ready();
  assert.deepEqual(bench.events, ["attached", "detached", "attached"]);
});

test("a transfer that is taken back ends with the packet that is on the wire", () => {
  const bench = new Bench().ready();
  source(bench, 0x83);
  const read = bench.submit(0x83, 1 << 20);
  bench.clock.run(3.13 * MS);
  bench.host.unlink(read.transfer);
  bench.clock.run(0.1 * MS);
  assert.equal(read.status, 0);
  const rest = bench.submit(0x83, 64 * 20);
  bench.clock.run(3 * MS);
  assert.equal(inOrder(Buffer.concat([read.data, rest.data])), -1);
  const idle = bench.submit(0x03, packet(1));
  bench.clock.run(1 * MS);
  bench.host.unlink(idle.transfer);
  bench.clock.run(1 * MS);
  assert.equal(idle.status, ECONNRESET);
});

test("bits are stuffed after six ones, across bytes", () => {
  assert.equal(stuffed(Buffer.from([0x3f])), 1);
  assert.equal(stuffed(Buffer.from([0x1f])), 0);
  assert.equal(stuffed(Buffer.from([0xe0, 0x07])), 1);
  assert.equal(stuffed(Buffer.alloc(64, 0xff)), 85);
  assert.equal(stuffed(Buffer.alloc(64)), 0);
});

test("the strict bus charges what hosts waste, the same for the same seed", () => {
  const moved = (kind, seed) => {
    const bench = new Bench({ kind, seed }).ready();
    source(bench, 0x83);
    const read = bench.submit(0x83, 1 << 20);
    bench.clock.run(50 * MS);
    return [read.transfer.count, bench.bus.counters.longestFrame];
  };
  const [ideal] = moved("ideal", 1);
  const [strict, most] = moved("strict", 1);
  assert.equal(Math.round(ideal / 64 / 50), 19);
  assert.ok(strict / 64 / 50 > 16.5 && strict / 64 / 50 < 18.5, `${strict / 64 / 50}`);
  assert.ok(most <= 19);
  assert.deepEqual(moved("strict", 1), [strict, most]);
  assert.notDeepEqual(moved("strict", 2), [strict, most]);
});

test("no transaction crosses the end of a frame", () => {
  for (const kind of ["ideal", "strict"]) {
    const bench = new Bench({ kind }).ready();
    const { bus, controller } = bench;
    const sent = controller.sent.bind(controller);
    controller.sent = (answer) => {
      assert.ok(bench.clock.nanos <= bus.frameStart + MS);
      assert.ok(bench.clock.nanos >= bus.frameStart + 0.055 * MS);
      sent(answer);
    };
    source(bench, 0x83);
    bench.submit(0x83, 1 << 20);
    bench.clock.run(30 * MS);
    assert.ok(bench.host.pipe(0x83).counters.packets > 400);
  }
});
