// The floating-point functions of the boot ROM, computed in JavaScript. They are IEEE 754, rounded
// to nearest, with denormals read and written as zero, as in the RP2040's boot ROM.
//
// There is a table of calls for each precision, in the order of pico-sdk's sf_table.h. Cycle counts
// are the RP2040 datasheet's (2.8.3.2), rounded. bootrom.mjs uses the tables.

const buffer = new DataView(new ArrayBuffer(8));

function decodeSingle(bits) {
  if (!(bits & 0x7f800000)) bits &= 0x80000000;
  buffer.setUint32(0, bits);
  return buffer.getFloat32(0);
}

function decodeDouble(low, high) {
  if (!(high & 0x7ff00000)) {
    high &= 0x80000000;
    low = 0;
  }
  buffer.setUint32(0, high);
  buffer.setUint32(4, low);
  return buffer.getFloat64(0);
}

const SINGLE = {
  words: 1,
  read: (r, at) => decodeSingle(r[at]),
  write: (r, value) => {
    buffer.setFloat32(0, value);
    const bits = buffer.getUint32(0);
    r[0] = bits & 0x7f800000 ? bits : bits & 0x80000000;
  },
};

const DOUBLE = {
  words: 2,
  read: (r, at) => decodeDouble(r[at], r[at + 1]),
  write: (r, value) => {
    buffer.setFloat64(0, value);
    const high = buffer.getUint32(0);
    const normal = high & 0x7ff00000;
    r[0] = normal ? buffer.getUint32(4) : 0;
    r[1] = normal ? high : high & 0x80000000;
  },
};

// It saturates as the boot ROM does. The boot ROM has no NaN.
function clamp(value, low, high) {
  if (!(value >= low)) return low;
  return value > high ? high : value;
}

function writeInt64(r, value, low, high) {
  const whole = Math.floor(value);
  let bits;
  if (!(whole > Number(low))) bits = low;
  else if (whole >= Number(high)) bits = high;
  else bits = BigInt(whole);
  bits = BigInt.asUintN(64, bits);
  r[0] = Number(bits & 0xffffffffn);
  r[1] = Number(bits >> 32n);
}

const INT64 = [-(1n << 63n), (1n << 63n) - 1n];
const UINT64 = [0n, (1n << 64n) - 1n];

function readSigned64(r) {
  return (BigInt(r[1] | 0) << 32n) | BigInt(r[0]);
}

function readUnsigned64(r) {
  return (BigInt(r[1]) << 32n) | BigInt(r[0]);
}

// Writes a scaled 64-bit integer, rounded once. Number() rounds to double precision, and a second
// rounding to single could give another result. So the bits below single precision are folded into
// one sticky bit first.
function writeFromInt64(type, r, bits, shift) {
  if (type.words === 1) {
    const negative = bits < 0n;
    let size = negative ? -bits : bits;
    const excess = size.toString(2).length - 50;
    if (excess > 0) {
      const sticky = size & ((1n << BigInt(excess)) - 1n) ? 1n : 0n;
      size = ((size >> BigInt(excess)) | sticky) << BigInt(excess);
    }
    bits = negative ? -size : size;
  }
  type.write(r, Number(bits) * 2 ** -shift);
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

// [name, cycles in single, cycles in double, function (type, registers, core)]
const CALLS = [
  ["add", 71, 91, (t, r) => t.write(r, t.read(r, 0) + t.read(r, t.words))],
  ["sub", 74, 95, (t, r) => t.write(r, t.read(r, 0) - t.read(r, t.words))],
  ["mul", 58, 155, (t, r) => t.write(r, t.read(r, 0) * t.read(r, t.words))],
  ["div", 71, 183, (t, r) => t.write(r, t.read(r, 0) / t.read(r, t.words))],
  ["cmp_fast", 36, 39, (t, r) => { r[0] = compare(t.read(r, 0), t.read(r, t.words)); }],
  ["cmp_flags", 36, 39, (t, r, core) => {
    const order = compare(t.read(r, 0), t.read(r, t.words));
    core.N = order < 0;
    core.Z = order === 0;
    core.C = order >= 0;
    core.V = false;
  }],
  ["sqrt", 63, 169, (t, r) => {
    const value = t.read(r, 0);
    t.write(r, value < 0 ? -Infinity : Math.sqrt(value));
  }],
  ["to_int", 37, 75, (t, r) => { r[0] = clamp(Math.floor(t.read(r, 0)), -(2 ** 31), 2 ** 31 - 1); }],
  ["to_fix", 37, 75, (t, r) => {
    const scaled = t.read(r, 0) * 2 ** (r[t.words] | 0);
    r[0] = clamp(Math.floor(scaled), -(2 ** 31), 2 ** 31 - 1);
  }],
  ["to_uint", 37, 75, (t, r) => { r[0] = clamp(Math.floor(t.read(r, 0)), 0, 2 ** 32 - 1); }],
  ["to_ufix", 37, 75, (t, r) => {
    const scaled = t.read(r, 0) * 2 ** (r[t.words] | 0);
    r[0] = clamp(Math.floor(scaled), 0, 2 ** 32 - 1);
  }],
  ["from_int", 55, 69, (t, r) => t.write(r, r[0] | 0)],
  ["from_fix", 55, 69, (t, r) => t.write(r, (r[0] | 0) * 2 ** -(r[1] | 0))],
  ["from_uint", 55, 69, (t, r) => t.write(r, r[0])],
  ["from_ufix", 55, 69, (t, r) => t.write(r, r[0] * 2 ** -(r[1] | 0))],
  ["cos", 577, 1617, (t, r) => t.write(r, Math.cos(t.read(r, 0)))],
  ["sin", 577, 1618, (t, r) => t.write(r, Math.sin(t.read(r, 0)))],
  ["tan", 641, 1891, (t, r) => t.write(r, Math.tan(t.read(r, 0)))],
  ["sincos", 600, 1700, (t, r) => {
    const angle = t.read(r, 0);
    t.write(r, Math.cos(angle));
    const cosine = [r[0], r[1]];
    t.write(r, Math.sin(angle));
    r[t.words] = cosine[0];
    if (t.words === 2) r[3] = cosine[1];
  }],
  ["exp", 553, 804, (t, r) => t.write(r, Math.exp(t.read(r, 0)))],
  ["ln", 546, 804, (t, r) => {
    const value = t.read(r, 0);
    t.write(r, value <= 0 ? -Infinity : Math.log(value));
  }],
  ["cmp", 36, 39, (t, r) => { r[0] = compare(t.read(r, 0), t.read(r, t.words)); }],
  ["atan2", 599, 2168, (t, r) => t.write(r, Math.atan2(t.read(r, 0), t.read(r, t.words)))],
  ["from_int64", 61, 79, (t, r) => writeFromInt64(t, r, readSigned64(r), 0)],
  ["from_fix64", 61, 79, (t, r) => writeFromInt64(t, r, readSigned64(r), r[2] | 0)],
  ["from_uint64", 61, 79, (t, r) => writeFromInt64(t, r, readUnsigned64(r), 0)],
  ["from_ufix64", 61, 79, (t, r) => writeFromInt64(t, r, readUnsigned64(r), r[2] | 0)],
  ["to_int64", 53, 55, (t, r) => writeInt64(r, t.read(r, 0), ...INT64)],
  ["to_fix64", 53, 55, (t, r) => writeInt64(r, t.read(r, 0) * 2 ** (r[t.words] | 0), ...INT64)],
  ["to_uint64", 53, 55, (t, r) => writeInt64(r, t.read(r, 0), ...UINT64)],
  ["to_ufix64", 53, 55, (t, r) => writeInt64(r, t.read(r, 0) * 2 ** (r[t.words] | 0), ...UINT64)],
  // The last entry converts to the other precision.
  ["convert", 38, 48, (t, r) => (t.words === 1 ? DOUBLE : SINGLE).write(r, t.read(r, 0))],
];

/** The single-precision table and the double-precision one: name, and serve(core) -> cycles. */
export const SINGLE_CALLS = CALLS.map(([name, cycles, , call]) => ({
  name: `single ${name}`,
  serve: (core) => (call(SINGLE, core.registers, core), cycles),
}));
export const DOUBLE_CALLS = CALLS.map(([name, , cycles, call]) => ({
  name: `double ${name}`,
  serve: (core) => (call(DOUBLE, core.registers, core), cycles),
}));
