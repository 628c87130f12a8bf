// The cable to the USB/IP server, with the records of lenslink_hil.usbip.cable. The bus is on this
// side of the cable: the server sends URBs, and this side answers with the end of each.

import { Transfer } from "./usb_host.mjs";

const HEADER_BYTES = 12;
const DETACH = 2;
const ATTACH_REMOTE = 6;
const COMPLETE_URB = 7;
const URB_END_BYTES = 12;
const RESET = 16;
const SUBMIT = 21;
const UNLINK = 22;
const SPEED_FULL = 2;
const ZERO_PACKET = 0x40;

function buildRecord(kind, value, ...payload) {
  const length = payload.reduce((sum, piece) => sum + piece.length, 0);
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = kind;
  header.writeUInt16LE(value, 4);
  header.writeUInt32LE(length, 8);
  return Buffer.concat([header, ...payload]);
}

export class Cable {
  /**
   * `onData` is called after records have arrived. `host` must be set before that. With `isShared`
   * the host has opened the board's serial port. The bus is not reset then for a program at the
   * other end: its transfers end, and the board keeps its configuration.
   */
  constructor(socket, onData, isShared) {
    this.socket = socket;
    this.isShared = isShared;
    this.host = null;
    this.transfers = new Map();
    this.partialRecord = Buffer.alloc(0);
    socket.on("data", (data) => {
      this.feed(data);
      onData();
    });
  }

  sendAttach(device, configuration) {
    this.socket.write(buildRecord(ATTACH_REMOTE, SPEED_FULL, device, configuration));
  }

  sendDetach() {
    this.socket.write(buildRecord(DETACH, 0));
  }

  feed(data) {
    let rest = this.partialRecord.length ? Buffer.concat([this.partialRecord, data]) : data;
    while (rest.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + rest.readUInt32LE(8);
      if (rest.length < end) break;
      this.handleRecord(rest[0], rest[1], rest.readUInt16LE(4), rest.subarray(HEADER_BYTES, end));
      rest = rest.subarray(end);
    }
    this.partialRecord = Buffer.from(rest);
  }

  handleRecord(kind, endpoint, flags, payload) {
    if (kind === RESET) this.reset();
    else if (kind === SUBMIT) this.submitUrb(endpoint, flags, payload);
    else if (kind === UNLINK) {
      const transfer = this.transfers.get(payload.readUInt32LE(0));
      if (transfer) this.host.unlink(transfer);
    }
  }

  reset() {
    if (!this.isShared) this.host.resetBus();
    else for (const transfer of [...this.transfers.values()]) this.host.unlink(transfer);
  }

  submitUrb(endpoint, flags, payload) {
    const seqnum = payload.readUInt32LE(0);
    const isControl = (endpoint & 15) === 0;
    const transfer = new Transfer({
      endpoint,
      length: payload.readUInt32LE(4),
      setup: isControl ? Buffer.from(payload.subarray(8, 16)) : null,
      data: endpoint & 0x80 ? null : Buffer.from(payload.subarray(16)),
      hasZeroPacket: !!(flags & ZERO_PACKET),
      complete: (status, { data, received, actualLength }) => {
        this.transfers.delete(seqnum);
        const end = Buffer.alloc(URB_END_BYTES);
        end.writeUInt32LE(seqnum, 0);
        end.writeInt32LE(status, 4);
        end.writeUInt32LE(actualLength, 8);
        this.socket.write(buildRecord(COMPLETE_URB, 0, end, ...(data === null ? [received] : [])));
      },
    });
    this.transfers.set(seqnum, transfer);
    this.host.submit(transfer);
  }
}
