// The cable to the USB/IP server: records as lenslink_hil.usbip.cable has them, of a board whose bus
// is on its own side. Transfers come, and their ends go back.

import { Transfer } from "./usb_host.mjs";

const HEADER = 12;
const DETACH = 2;
const HOSTED = 6;
const ENDED = 7;
const RESET = 16;
const SUBMIT = 21;
const UNLINK = 22;
const SPEED_FULL = 2;
const ZERO_PACKET = 0x40;

function record(kind, value, ...payload) {
  const length = payload.reduce((sum, piece) => sum + piece.length, 0);
  const header = Buffer.alloc(HEADER);
  header[0] = kind;
  header.writeUInt16LE(value, 4);
  header.writeUInt32LE(length, 8);
  return Buffer.concat([header, ...payload]);
}

export class Cable {
  /** `arrived` is called when something has come. */
  constructor(socket, arrived) {
    this.socket = socket;
    this.host = null;
    this.transfers = new Map();
    this.rest = Buffer.alloc(0);
    socket.on("data", (data) => {
      this.feed(data);
      arrived();
    });
  }

  attached(device, configuration) {
    this.socket.write(record(HOSTED, SPEED_FULL, device, configuration));
  }

  detached() {
    this.socket.write(record(DETACH, 0));
  }

  feed(data) {
    let rest = this.rest.length ? Buffer.concat([this.rest, data]) : data;
    while (rest.length >= HEADER) {
      const end = HEADER + rest.readUInt32LE(8);
      if (rest.length < end) break;
      this.take(rest[0], rest[1], rest.readUInt16LE(4), rest.subarray(HEADER, end));
      rest = rest.subarray(end);
    }
    this.rest = Buffer.from(rest);
  }

  take(kind, endpoint, flags, payload) {
    if (kind === RESET) this.host.busReset();
    else if (kind === SUBMIT) this.submit(endpoint, flags, payload);
    else if (kind === UNLINK) {
      const transfer = this.transfers.get(payload.readUInt32LE(0));
      if (transfer) this.host.unlink(transfer);
    }
  }

  submit(endpoint, flags, payload) {
    const seqnum = payload.readUInt32LE(0);
    const control = (endpoint & 15) === 0;
    const transfer = new Transfer({
      endpoint,
      length: payload.readUInt32LE(4),
      setup: control ? Buffer.from(payload.subarray(8, 16)) : null,
      data: endpoint & 0x80 ? null : Buffer.from(payload.subarray(16)),
      zero: !!(flags & ZERO_PACKET),
      complete: (status, { data, received, count }) => {
        this.transfers.delete(seqnum);
        const ended = Buffer.alloc(12);
        ended.writeUInt32LE(seqnum, 0);
        ended.writeInt32LE(status, 4);
        ended.writeUInt32LE(count, 8);
        this.socket.write(record(ENDED, 0, ended, ...(data === null ? [received] : [])));
      },
    });
    this.transfers.set(seqnum, transfer);
    this.host.submit(transfer);
  }
}
