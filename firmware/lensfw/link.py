"""The module's end of a link, without I/O: session, requests, and what is sent when.

Two queues: control packets overtake data packets, but never inside one, since a packet is whole
on its lane. Data packets keep their order among themselves, and so does an answer that must not
come before them.
"""

import binascii
import struct

from . import framing, wire

_VERSION = wire.VERSION_MAJOR << 4 | wire.VERSION_MINOR
_CAPABILITIES = wire.CAP_LOG
_HALF = 1 << 31
# Answers that are kept, in case the host asks again.
_ANSWERS = 4
# A host that does not read must not fill the module's memory with log lines.
_QUEUE = 32

_NOWHERE = (0, 0, 0, 0)
# Both end with the last sequence of each lane, known only when they are sent.
_SEQUENCED = (wire.T_FRAME_END, wire.T_FLUSHED)


class Refusal(Exception):
    """Raised by a handler: the request is answered with ERROR."""

    def __init__(self, code, detail):
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Link:
    """One host at a time. ``module`` answers requests:

    module.attached() - whether hellos are answered; module.opened(), module.closed();
    module.manifest - bytes; module.request(kind, id, fields), which calls answer() now or later,
    or raises Refusal.
    """

    def __init__(self, module, clock, boot_count, reset_reason):
        self.rejects = {}
        self.receiver = framing.Receiver(self.rejects)
        self.nonce = None
        self.dropped_logs = 0
        self._module = module
        self._clock = clock
        self._boot_count = boot_count
        self._reset_reason = reset_reason
        self._control = []
        self._data = []
        self._capabilities = 0
        self._rx = None
        self._tx = 0
        self._answers = []
        self._farewell = None
        self.last_request = 0
        self.previous_request = 0

    # --- from the host --------------------------------------------------------------------

    def poll(self):
        """Handle what has been received."""
        while True:
            packet = self.receiver.next(self._clock.now())
            if packet is None:
                return
            self._packet(packet[0], packet[1])

    def _packet(self, header, payload):
        version, kind, nonce, sequence, number = (header[1], header[2], header[5], header[6], header[7])
        if kind == wire.T_HELLO:
            self._hello(version, nonce, sequence, number, payload)
            return
        if nonce != self.nonce:
            self.receiver.reject("nonce")
            return
        if not self._in_order(sequence):
            self.receiver.reject("sequence")
            return
        if kind == wire.T_CLOSE:
            self.end()
            return
        if kind >= wire.VENDOR_FIRST:
            return
        self._request(kind, number, payload)

    def _in_order(self, sequence):
        step = (sequence - self._rx) & 0xFFFFFFFF
        if step == 0 or step >= _HALF:
            return False
        self._rx = sequence
        return True

    def _hello(self, version, nonce, sequence, number, payload):
        if not self._module.attached():
            return
        if nonce == self.nonce:
            if not self._in_order(sequence):
                self.receiver.reject("sequence")
                return
            if self._answered(number):
                return
        else:
            # A new session: nothing of the old one may follow.
            if self.nonce is not None:
                self.end()
            self.nonce = nonce
            self._rx = sequence
            self._tx = 0
            self.last_request = 0
        try:
            oldest, newest, lanes, _, capabilities, _ = wire.decode(wire.T_HELLO, payload)
        except ValueError:
            self.receiver.reject("malformed")
            self.nonce = None
            return
        major = wire.VERSION_MAJOR
        if version >> 4 != major or oldest >> 4 > major or newest >> 4 < major:
            self._refuse(number, wire.ERR_VERSION, "this module speaks version %d" % major)
            return
        self._capabilities = capabilities & _CAPABILITIES
        fields = (
            min(newest, _VERSION), min(lanes, 1), self._reset_reason, 0, self._capabilities,
            wire.MAX_CONTROL, len(self._module.manifest), self._boot_count, self._clock.now(),
        )  # fmt: skip
        self.answer(number, wire.T_HELLO_REPLY, fields)
        self._module.opened()

    def _request(self, kind, number, payload):
        if self._answered(number):
            return
        self.previous_request, self.last_request = self.last_request, number
        if kind not in wire.FORMATS:
            self.receiver.reject("unknown_type")
            self._refuse(number, wire.ERR_UNKNOWN_REQUEST, "type 0x%02x" % kind)
            return
        try:
            fields = wire.decode(kind, payload)
        except ValueError:
            self.receiver.reject("malformed")
            self._refuse(number, wire.ERR_MALFORMED, "type 0x%02x" % kind)
            return
        try:
            if kind == wire.T_GET_MANIFEST:
                self._piece(number, fields[0])
                return
            self._module.request(kind, number, fields)
        except Refusal as refusal:
            self._refuse(number, refusal.code, refusal.detail)

    def _piece(self, number, offset):
        manifest = self._module.manifest
        if offset >= len(manifest):
            raise Refusal(wire.ERR_UNSUPPORTED, "the manifest has %d bytes" % len(manifest))
        most = wire.MAX_CONTROL - wire.FORMATS[wire.T_MANIFEST][1]
        piece = manifest[offset : offset + most]
        self.answer(number, wire.T_MANIFEST, (offset, len(manifest)), piece)

    def _answered(self, number):
        """Send the answer again if there was one: a request is not executed twice."""
        for item in self._data:
            if item[5] == number and item[3] < wire.T_FRAME_START:
                return True
        for known, kind, payload in self._answers:
            if known == number:
                self._queue(self._control, kind, payload, number)
                return True
        # Asked again before the answer could be given: it is under way.
        return number == self.last_request

    # --- to the host ----------------------------------------------------------------------

    def answer(self, number, kind, fields, tail=b"", ordered=False):
        """Answer a request, now and whenever it is repeated; *ordered*: behind queued data."""
        payload = wire.encode(kind, fields, tail)
        self._answers.append((number, kind, payload))
        if len(self._answers) > _ANSWERS:
            self._answers.pop(0)
        self._queue(self._data if ordered else self._control, kind, payload, number)

    def _refuse(self, number, code, detail):
        self.answer(number, wire.T_ERROR, (code,), detail.encode())

    def data(self, kind, fields, stream, frame):
        """Send a message of a frame, in order with its tiles."""
        self._queue(self._data, kind, wire.encode(kind, fields), frame, stream)

    def tile(self, tile, length, crc, stream, frame, place):
        """Send a tile; it is released once it is sent, or the session is over."""
        item = (tile.packet, length, crc, wire.T_TILE, stream, frame, place, tile)
        self._data.append(item)

    def log(self, level, text):
        """Tell the host, if there is one that wants to know."""
        if self.nonce is None or not self._capabilities & wire.CAP_LOG:
            return
        if len(self._control) >= _QUEUE:
            self.dropped_logs += 1
            return
        fields = (level, 0, self._clock.now())
        self._queue(self._control, wire.T_LOG, wire.encode(wire.T_LOG, fields, text.encode()[:200]), 0)

    def end(self, reason=None):
        """Forget the session; with a reason, tell the host."""
        if self.nonce is None:
            return
        for item in self._data:
            if item[7] is not None:
                item[7].release()
        self._control.clear()
        self._data.clear()
        self._answers.clear()
        self._module.closed()
        # What closed() still had to say is of no use to anybody.
        self._data.clear()
        if reason is not None:
            self._queue(self._control, wire.T_CLOSE, wire.encode(wire.T_CLOSE, (reason,)), 0)
            self._farewell = self._seal(self._control.pop())
        self.nonce = None

    def _queue(self, queue, kind, payload, frame, stream=0):
        packet = bytearray(wire.HEADER_BYTES) + payload
        crc = binascii.crc32(payload)
        queue.append((packet, len(payload), crc, kind, stream, frame, _NOWHERE, None))

    def next_packet(self):
        """The next packet to send as (view, tile or None), or None. Release the tile once sent."""
        if self._farewell is not None:
            packet, self._farewell = self._farewell, None
            return packet
        queue = self._control or self._data
        return self._seal(queue.pop(0)) if queue else None

    def _seal(self, item):
        packet, length, crc, kind, stream, frame, place, tile = item
        view = memoryview(packet)[: wire.HEADER_BYTES + length]
        if kind in _SEQUENCED:
            last = (self._tx - 1) & 0xFFFFFFFF
            struct.pack_into("<4I", packet, wire.HEADER_BYTES + length - 16, last, 0, 0, 0)
            crc = binascii.crc32(view[wire.HEADER_BYTES :])
        framing.seal(packet, length, crc, kind, stream, self.nonce, self._tx, frame, place)
        self._tx = (self._tx + 1) & 0xFFFFFFFF
        return view, tile
