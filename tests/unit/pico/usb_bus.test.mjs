import assert from "node:assert/strict";
import test from "node:test";

import { countStuffedBits } from "../../../hil/lenslink_hil/pico/usb_bus.mjs";
import { Cable } from "../../../hil/lenslink_hil/pico/cable.mjs";
import { Console } from "../../../hil/lenslink_hil/pico/console.mjs";
import { UsbHarness, MS, REGISTER, STALL } from "./bus_harness.mjs";

const EPIPE = -32;
const EPROTO = -71;
const EOVERFLOW = -75;
const ECONNRESET = -104;
const ENODEV = -19;

const packet = (seed, length = 64) => Buffer.from(Array.from({ length }, (_, i) => (seed * 31 + i * 7) & 255));

/** Let the device always have its next two packets ready, numbered so that a test sees the order. */
function keepFilled(harness, address) {
  let count = 0;
  const two = () => harness.fill(address, packet(count++), packet(count++));
  const others = harness.onBuffersDone;
  harness.onBuffersDone = (which) => (which === address ? two() : others(which));
  two();
}

/** Return the number of the first packet that is out of order, or -1. */
function findDisorder(data) {
  for (let n = 0; n < data.length / 64; n++) {
    const expected = packet(n);
    if (!data.subarray(64 * n, 64 * n + 64).equals(expected)) return n;
  }
  return -1;
}

test("19 packets of 64 bytes fit into a frame, and arrive in order", () => {
  const harness = new UsbHarness().configure();
  keepFilled(harness, 0x83);
  const read = harness.submit(0x83, 64 * 19 * 20);
  harness.clock.run(22 * MS);
  assert.equal(read.status, 0);
  assert.equal(findDisorder(read.data), -1);
  assert.equal(harness.bus.counters.longestFrame, 19);
});

test("several endpoints share the frame evenly", () => {
  const harness = new UsbHarness({ ins: [0x83, 0x84, 0x85, 0x86] }).configure();
  for (const address of harness.ins) keepFilled(harness, address);
  const reads = harness.ins.map((address) => harness.submit(address, 1 << 20));
  harness.clock.run(40 * MS);
  const moved = reads.map((read) => read.transfer.actualLength);
  assert.ok(Math.abs(moved.reduce((a, b) => a + b) - 40 * 19 * 64) <= 2 * 19 * 64, `${moved}`);
  assert.ok(Math.max(...moved) - Math.min(...moved) <= 64, `${moved}`);
});

test("each frame begins with a SOF, whose number has 11 bits", () => {
  const harness = new UsbHarness().configure();
  const before = harness.read(REGISTER.sof);
  harness.clock.run(5 * MS);
  assert.equal(harness.read(REGISTER.sof), before + 5);
  harness.clock.run(2048 * MS);
  assert.equal(harness.read(REGISTER.sof), before + 5);
});

test("a device is not asked before a host wants something", () => {
  const harness = new UsbHarness().configure();
  harness.fill(0x83, packet(1));
  harness.clock.run(20 * MS);
  assert.equal(harness.host.findPipe(0x83).counters.packets, 0);
  const read = harness.submit(0x83, 64);
  harness.clock.run(2 * MS);
  assert.deepEqual(read.data, packet(1));
});

test("nothing moves while the device NAKs, and at once when it has something", () => {
  const harness = new UsbHarness().configure();
  const read = harness.submit(0x83, 64);
  harness.clock.run(10.5 * MS);
  assert.equal(read.status, null);
  assert.ok(harness.host.findPipe(0x83).counters.naks > 0);
  harness.fill(0x83, packet(2));
  harness.clock.run(0.06 * MS); // 51.3 us and the microseconds of nothing
  assert.deepEqual(read.data, packet(2));
});

for (const kind of ["ideal", "strict"]) {
  test(`a poll between the two writes of a double buffer takes neither (${kind})`, () => {
    const harness = new UsbHarness({ kind }).configure();
    const read = harness.submit(0x83, 128);
    harness.fill(0x83, packet(1), packet(2), () => harness.clock.run(0.2 * MS));
    harness.clock.run(2 * MS);
    assert.deepEqual(read.data, Buffer.concat([packet(1), packet(2)]));
    assert.equal(harness.host.findPipe(0x83).counters.packets, 2);
    assert.equal(harness.host.findPipe(0x83).counters.toggleErrors, 0);
  });
}

test("both buffers of a pair are done before the driver hears of it", () => {
  const harness = new UsbHarness().configure();
  const heard = [];
  harness.onBuffersDone = (address) => heard.push(address);
  const read = harness.submit(0x83, 64);
  harness.fill(0x83, packet(1), packet(2));
  harness.clock.run(2 * MS);
  assert.deepEqual(read.data, packet(1));
  assert.deepEqual(heard, []);
  const second = harness.submit(0x83, 64);
  harness.clock.run(2 * MS);
  assert.deepEqual(second.data, packet(2));
  assert.deepEqual(heard, [0x83]);
});

test("a packet with the wrong toggle is acknowledged and thrown away", () => {
  const harness = new UsbHarness().configure();
  harness.pids[0x83] = 1;
  const read = harness.submit(0x83, 64);
  harness.fill(0x83, packet(1));
  harness.clock.run(2 * MS);
  assert.equal(read.status, null);
  assert.equal(harness.host.findPipe(0x83).counters.toggleErrors, 1);
  harness.fill(0x83, packet(2));
  harness.clock.run(2 * MS);
  assert.deepEqual(read.data, packet(2));
});

test("OUT data waits for a buffer, and arrives in packets", () => {
  const harness = new UsbHarness().configure();
  const got = [];
  harness.onBuffersDone = (address) => {
    got.push(harness.readBuffer(address));
    harness.listen(address);
  };
  const written = harness.submit(0x03, Buffer.concat([packet(1), packet(2), packet(3, 10)]));
  harness.clock.run(5 * MS);
  assert.deepEqual(got, []);
  harness.listen(0x03);
  harness.clock.run(5 * MS);
  assert.equal(written.status, 0);
  assert.deepEqual(got, [packet(1), packet(2), packet(3, 10)]);
});

test("OUT data with the wrong toggle is an error of sequence, and not received", () => {
  const harness = new UsbHarness().configure();
  const got = [];
  harness.onBuffersDone = (address) => got.push(harness.readBuffer(address));
  harness.pids[0x03] = 1;
  harness.listen(0x03);
  harness.submit(0x03, packet(1));
  harness.clock.run(2 * MS);
  assert.deepEqual(got, []);
  assert.ok(harness.read(REGISTER.sieStatus) >>> 31);
});

test("an empty packet follows whole ones only where that was asked for", () => {
  const harness = new UsbHarness().configure();
  const got = [];
  harness.onBuffersDone = (address) => {
    got.push(harness.readBuffer(address).length);
    harness.listen(address);
  };
  harness.listen(0x03);
  harness.submit(0x03, packet(1));
  harness.clock.run(2 * MS);
  harness.submit(0x03, packet(2), { hasZeroPacket: true });
  harness.clock.run(2 * MS);
  harness.submit(0x03, Buffer.alloc(0));
  harness.clock.run(2 * MS);
  assert.deepEqual(got, [64, 64, 0, 0]);
});

test("a short packet ends a transfer, an empty one too", () => {
  const harness = new UsbHarness().configure();
  const first = harness.submit(0x83, 4096);
  harness.fill(0x83, packet(1), packet(2, 5));
  harness.clock.run(2 * MS);
  assert.deepEqual(first.data, Buffer.concat([packet(1), packet(2, 5)]));
  const second = harness.submit(0x83, 4096);
  harness.fill(0x83, Buffer.alloc(0));
  harness.clock.run(2 * MS);
  assert.equal(second.status, 0);
  assert.equal(second.data.length, 0);
});

test("more than there is room for is an overflow", () => {
  const harness = new UsbHarness().configure();
  const read = harness.submit(0x83, 10);
  harness.fill(0x83, packet(1));
  harness.clock.run(2 * MS);
  assert.equal(read.status, EOVERFLOW);
});

test("a halted endpoint fails, and begins with DATA0 when that is cleared", () => {
  const harness = new UsbHarness().configure();
  harness.fill(0x83, packet(1));
  harness.submit(0x83, 64);
  harness.clock.run(2 * MS); // the host's toggle is at DATA1 now
  harness.setControl(0x83, STALL);
  const failed = harness.submit(0x83, 64);
  harness.clock.run(2 * MS);
  assert.equal(failed.status, EPIPE);
  assert.equal(harness.submit(0x83, 64).status, EPIPE);
  harness.host.sendRequest(0x02, 1, 0, 0x83, 0, () => {});
  harness.clock.run(5 * MS);
  harness.pids[0x83] = 0;
  const read = harness.submit(0x83, 64);
  harness.fill(0x83, packet(2));
  harness.clock.run(2 * MS);
  assert.deepEqual(read.data, packet(2));
});

test("a request that is refused stalls, and the next one is served", () => {
  const harness = new UsbHarness().configure();
  const answers = [];
  harness.host.sendRequest(0x80, 6, 0x0300, 0, 8, (status) => answers.push(status));
  harness.host.sendRequest(0x80, 6, 0x0100, 0, 18, (status, data) => answers.push(status, data.length));
  harness.clock.run(10 * MS);
  assert.deepEqual(answers, [EPIPE, 0, 18]);
});

test("a bus without SOFs suspends the device after 3 ms, and resumes it", () => {
  const harness = new UsbHarness().configure();
  const suspended = () => !!(harness.read(REGISTER.sieStatus) & (1 << 4));
  harness.host.suspend();
  harness.clock.run(2.9 * MS);
  assert.ok(!suspended());
  harness.clock.run(0.2 * MS);
  assert.ok(suspended());
  const frame = harness.read(REGISTER.sof);
  harness.clock.run(20 * MS);
  assert.equal(harness.read(REGISTER.sof), frame);
  const read = harness.submit(0x83, 64);
  harness.fill(0x83, packet(1));
  harness.clock.run(5 * MS);
  assert.equal(read.status, null);
  harness.host.resume();
  harness.clock.run(2 * MS);
  assert.ok(!suspended());
  assert.deepEqual(read.data, packet(1));
});

test("a bus reset ends what is in flight, and gives the device its address anew", () => {
  const harness = new UsbHarness().configure();
  const before = harness.resetCount;
  keepFilled(harness, 0x83);
  const read = harness.submit(0x83, 1 << 20);
  harness.clock.run(3 * MS);
  harness.host.resetBus();
  assert.equal(read.status, ECONNRESET);
  const answers = [];
  harness.host.sendRequest(0x80, 6, 0x0100, 0, 18, (status, data) => answers.push(status, data.length));
  harness.clock.run(60 * MS);
  assert.equal(harness.resetCount, before + 1);
  assert.equal(harness.controller.address, 1);
  assert.deepEqual(answers, [0, 18]);
});

test("the pull-up attaches after 100 ms of it, and its absence detaches at once", () => {
  const harness = new UsbHarness();
  harness.attach();
  harness.clock.run(99 * MS);
  assert.equal(harness.bus.counters.frames, 0);
  harness.clock.run(101 * MS);
  assert.deepEqual(harness.events, ["attached"]);
  const read = harness.submit(0x80, 1);
  assert.equal(read.status, -2); // ENOENT: not configured
  harness.detach();
  assert.deepEqual(harness.events, ["attached", "detached"]);
  assert.equal(harness.submit(0x83, 1).status, ENODEV);
});

test("a locked controller answers nothing and sees no SOF, until RESETS resets it", () => {
  const harness = new UsbHarness().configure();
  keepFilled(harness, 0x83);
  harness.controller.lockUp();
  const frame = harness.read(REGISTER.sof);
  const read = harness.submit(0x83, 64);
  harness.clock.run(20 * MS);
  assert.equal(read.status, EPROTO);
  assert.equal(harness.read(REGISTER.sof), frame);
  assert.ok(!(harness.read(REGISTER.sieStatus) & (1 << 4)), "it does not look suspended");
  harness.host.resetBus();
  harness.clock.run(50 * MS);
  assert.equal(harness.read(REGISTER.sof), frame);
  harness.controller.resetPeripheral();
  assert.deepEqual(harness.events, ["attached", "detached"]);
  harness.configure();
  assert.deepEqual(harness.events, ["attached", "detached", "attached"]);
});

test("a transfer that is taken back ends with the packet that is on the wire", () => {
  const harness = new UsbHarness().configure();
  keepFilled(harness, 0x83);
  const read = harness.submit(0x83, 1 << 20);
  harness.clock.run(3.13 * MS);
  harness.host.unlink(read.transfer);
  harness.clock.run(0.1 * MS);
  assert.equal(read.status, 0);
  const rest = harness.submit(0x83, 64 * 20);
  harness.clock.run(3 * MS);
  assert.equal(findDisorder(Buffer.concat([read.data, rest.data])), -1);
  const idle = harness.submit(0x03, packet(1));
  harness.clock.run(1 * MS);
  harness.host.unlink(idle.transfer);
  harness.clock.run(1 * MS);
  assert.equal(idle.status, ECONNRESET);
});

test("bits are stuffed after six ones, across bytes", () => {
  assert.equal(countStuffedBits(Buffer.from([0x3f])), 1);
  assert.equal(countStuffedBits(Buffer.from([0x1f])), 0);
  assert.equal(countStuffedBits(Buffer.from([0xe0, 0x07])), 1);
  assert.equal(countStuffedBits(Buffer.alloc(64, 0xff)), 85);
  assert.equal(countStuffedBits(Buffer.alloc(64)), 0);
});

test("the strict bus charges what hosts waste, the same for the same seed", () => {
  const moved = (kind, seed) => {
    const harness = new UsbHarness({ kind, seed }).configure();
    keepFilled(harness, 0x83);
    const read = harness.submit(0x83, 1 << 20);
    harness.clock.run(50 * MS);
    return [read.transfer.actualLength, harness.bus.counters.longestFrame];
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
    const harness = new UsbHarness({ kind }).configure();
    const { bus, controller } = harness;
    const sent = controller.completeIn.bind(controller);
    controller.completeIn = (answer) => {
      assert.ok(harness.clock.nanos <= bus.frameStart + MS);
      assert.ok(harness.clock.nanos >= bus.frameStart + 0.055 * MS);
      sent(answer);
    };
    keepFilled(harness, 0x83);
    harness.submit(0x83, 1 << 20);
    harness.clock.run(30 * MS);
    assert.ok(harness.host.findPipe(0x83).counters.packets > 400);
  }
});

function makePort() {
  const received = [];
  const opened = [];
  const harness = new UsbHarness({ port: new Console((data) => received.push(...data), () => opened.push("open")) });
  harness.attach();
  harness.clock.run(300 * MS);
  return { harness, received, opened };
}

test("the serial port is opened once the board is attached, and its bytes arrive", () => {
  const { harness, received, opened } = makePort();
  assert.deepEqual(opened, ["open"]);
  harness.fill(0x83, Buffer.from("hello"));
  harness.clock.run(5 * MS);
  assert.equal(Buffer.from(received).toString(), "hello");
});

test("the serial port is opened again after a bus reset and after another SET_CONFIGURATION", () => {
  const { harness, received, opened } = makePort();
  harness.host.resetBus();
  harness.clock.run(60 * MS);
  harness.host.sendRequest(0x00, 9, 1, 0, 0, () => {});
  harness.clock.run(20 * MS);
  assert.deepEqual(opened, ["open", "open", "open"]);
  harness.fill(0x83, Buffer.from("again"));
  harness.clock.run(5 * MS);
  assert.equal(Buffer.from(received).toString(), "again", "each byte once");
});

test("bytes to a serial port that is not open are dropped, and the writer goes on", () => {
  const { harness } = makePort();
  harness.detach();
  let done = 0;
  harness.port.write(packet(1), () => done++);
  assert.equal(done, 1);
});

test("a program that comes and goes beside the serial port takes its own transfers along, and no other", () => {
  const { harness, received } = makePort();
  const sent = [];
  const socket = { on() {}, write: (data) => sent.push(data) };
  const cable = new Cable(socket, () => {}, true);
  cable.host = harness.host;
  const before = harness.resetCount;
  const record = (kind, value, payload = Buffer.alloc(0)) => {
    const header = Buffer.alloc(12);
    header[0] = kind;
    header[1] = value;
    header.writeUInt32LE(payload.length, 8);
    return Buffer.concat([header, payload]);
  };
  const urb = Buffer.alloc(16 + 64);
  urb.writeUInt32LE(7, 0);
  cable.feed(record(21, 0x03, urb)); // a write that the board does not take
  cable.feed(record(16, 0));
  harness.clock.run(1 * MS);
  assert.equal(sent.length, 1);
  assert.equal(sent[0].readUInt32LE(12), 7);
  assert.equal(sent[0].readInt32LE(16), ECONNRESET);
  assert.equal(harness.resetCount, before);
  harness.fill(0x83, Buffer.from("still"));
  harness.clock.run(5 * MS);
  assert.equal(Buffer.from(received).toString(), "still");
});
