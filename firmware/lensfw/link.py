"""The module's end of a link, without I/O: session, requests, and what is sent when."""

import struct

from . import framing, outbox, sensor, wire

_VERSION = wire.VERSION_MAJOR << 4 | wire.VERSION_MINOR
_HALF = 1 << 31
_SMALL = 1 << 30
# Answers that are kept, in case the host asks again.
_ANSWERS = 4
# Sessions that ended, of which the requests are remembered.
_SESSIONS = 2
# A host that does not read must not fill the module's memory with log lines.
_QUEUE = 32
# Nor one that asks and does not read: it asks again. Nobody honest waits for so many answers.
_OWED = 8

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
    or raises Refusal; module.resend(stream, frame, flags, ranges); module.unbegun() - ids of
    requests that were accepted and have had no effect yet.
    """

    def __init__(self, module, clock, boot_count, reset_reason):
        self.discards = {}
        self.receiver = framing.Receiver(self.discards, self._spent)
        self.nonce = None
        # What this module can do beyond the core.
        self.capabilities = wire.CAP_LOG | wire.CAP_RESEND
        # Where packets pass on their way out, if anywhere: see ondemand.
        self.send_filter = None
        self.dropped_logs = 0
        self.dropped_requests = 0
        self._module = module
        self._clock = clock
        self._boot_count = boot_count
        self._reset_reason = reset_reason
        self.outbox = outbox.Outbox()
        self._capabilities = 0
        self._refused = False
        # Longest payload that the host takes.
        self.max_payload = wire.MAX_PAYLOAD
        self._rx = None
        self.lanes_offered = 1
        self._tx = [0] * wire.MAX_LANES
        self.lanes = 1
        self._answers = []
        self._past = []
        self._farewell = None
        # The number after the newest frame's of which anything was sent, by stream.
        self._begun = [0] * wire.MAX_STREAMS
        self.last_request = 0
        self.previous_request = 0

    # --- from the host --------------------------------------------------------------------

    def poll(self):
        """Handle what has been received."""
        while self.receiver.holds():
            packet = self.receiver.next(self._clock.now())
            if packet is None:
                return
            self._packet(packet[0], packet[1])

    def _packet(self, header, payload):
        version, kind, nonce, sequence, number = (
            header[1],
            header[2],
            header[5],
            header[6],
            header[7],
        )
        if kind == wire.T_HELLO:
            self._hello(version, nonce, sequence, number, payload)
            return
        if nonce != self.nonce or (self._refused and kind != wire.T_CLOSE):
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
        if self._overasked(kind):
            return
        if kind == wire.T_HEARTBEAT or kind == wire.T_RESEND or kind == wire.T_QUERY:
            try:
                fields = wire.decode(kind, payload)
                if kind == wire.T_HEARTBEAT:
                    self._heartbeat(number, fields)
                elif kind == wire.T_QUERY:
                    self._query(number, fields[0], fields[1])
                else:
                    self._resend(header[4], number, fields)
            except ValueError:
                self.receiver.reject("malformed")
            return
        self._request(kind, number, payload)

    def _overasked(self, kind):
        """Whether too many answers wait already; the credits of a heartbeat count all the same."""
        if self.outbox.owed() < _OWED:
            return False
        self.dropped_requests += 1
        return kind != wire.T_HEARTBEAT

    def _heartbeat(self, number, limits):
        """As a resend and a query, it may be repeated or lost without harm: no answer is kept."""
        self.outbox.grant(limits)
        if self.outbox.owed() >= _OWED:
            return
        fields = [self._clock.now()] + self.outbox.sent() + self._begun
        payload = wire.encode(wire.T_HEARTBEAT_REPLY, fields)
        self.outbox.control(outbox.Item(wire.T_HEARTBEAT_REPLY, number, 0, payload))

    def _resend(self, stream, frame, fields):
        flags, _, count, tail = fields
        if count > wire.MAX_RANGES or len(tail) < 8 * count:
            raise ValueError("ranges")
        ranges = [struct.unpack_from("<4H", tail, 8 * i) for i in range(count)]
        self._module.resend(stream, frame, flags, ranges)

    def _query(self, number, nonce, request):
        outcome = wire.OUTCOME_UNKNOWN
        for past, last, outcomes in [
            (self.nonce, self.last_request, self._outcomes())
        ] + self._past:
            if past == nonce:
                outcome = (
                    wire.OUTCOME_NOT_DONE if request > last else outcomes.get(request, outcome)
                )
                break
        payload = wire.encode(wire.T_QUERY_REPLY, (outcome,))
        self.outbox.control(outbox.Item(wire.T_QUERY_REPLY, number, 0, payload))

    def _outcomes(self):
        """What became of the session's last requests, by id."""
        outcomes = {}
        for number, kind, _ in self._answers:
            outcomes[number] = wire.OUTCOME_NOT_DONE if kind == wire.T_ERROR else wire.OUTCOME_DONE
        return outcomes

    def _spent(self, header):
        """A packet with a sound header is damaged: it has used up its sequence all the same."""
        if header[5] == self.nonce:
            self._in_order(header[6])

    def _in_order(self, sequence):
        step = (sequence - self._rx) & 0xFFFFFFFF
        if step == 0 or step >= _HALF:
            return False
        self._rx = sequence
        return True

    def _hello(self, version, nonce, sequence, number, payload):
        if not self._module.attached():
            return
        try:
            oldest, newest, lanes, _, capabilities, most = wire.decode(wire.T_HELLO, payload)
        except ValueError:
            self.receiver.reject("malformed")
            return
        if nonce == self.nonce:
            if not self._in_order(sequence):
                self.receiver.reject("sequence")
                return
            if self._overasked(wire.T_HELLO):
                return
            if self._answered(number):
                return
        else:
            # A new session: nothing of the old one may follow.
            self.end()
            self.nonce = nonce
            self._rx = sequence
            self._tx = [0] * wire.MAX_LANES
            self.last_request = 0
        self.last_request = number
        major = wire.VERSION_MAJOR
        if version >> 4 != major or oldest >> 4 > major or newest >> 4 < major:
            # No session: the nonce is good for this answer, and for another Hello.
            self._refused = True
            self._capabilities = 0
            self._refuse(number, wire.ERR_VERSION, "this module speaks version %d" % major)
            return
        self._refused = False
        self._capabilities = capabilities & self.capabilities
        self.max_payload = most
        self.lanes = max(1, min(lanes, self.lanes_offered))
        fields = (
            min(newest, _VERSION), self.lanes, self._reset_reason, 0, self._capabilities,
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
        if self.outbox.answers(number):
            return True
        for known, kind, payload in self._answers:
            if known == number:
                self.outbox.control(outbox.Item(kind, number, 0, payload))
                return True
        if number == self.last_request:
            # Asked again before the answer could be given.
            self.postpone(number, 1000)
            return True
        if (number - self.last_request) & 0xFFFFFFFF >= _HALF:
            payload = wire.encode(wire.T_ERROR, (wire.ERR_REPEATED,), b"executed before")
            self.outbox.control(outbox.Item(wire.T_ERROR, number, 0, payload))
            return True
        return False

    # --- to the host ----------------------------------------------------------------------

    def answer(self, number, kind, fields, tail=b"", ordered=False):
        """Answer a request, now and whenever it is repeated; *ordered*: behind all data."""
        payload = wire.encode(kind, fields, tail)
        self._answers.append((number, kind, payload))
        if len(self._answers) > _ANSWERS:
            self._answers.pop(0)
        item = outbox.Item(kind, number, 0, payload, None, 0, ordered)
        if ordered:
            self.outbox.data(item)
        else:
            self.outbox.control(item)

    def postpone(self, number, lease_ms):
        """Say that a request will be answered later."""
        payload = wire.encode(wire.T_PENDING, (lease_ms,))
        self.outbox.control(outbox.Item(wire.T_PENDING, number, 0, payload))

    def has(self, capability):
        """Whether the session has it."""
        return bool(self._capabilities & capability)

    def _refuse(self, number, code, detail):
        self.answer(number, wire.T_ERROR, (code,), detail.encode())

    def log(self, level, text):
        """Tell the host, if there is one that wants to know."""
        if self.nonce is None or not self.has(wire.CAP_LOG):
            return
        if self.outbox.waiting() >= _QUEUE:
            self.dropped_logs += 1
            return
        payload = wire.encode(wire.T_LOG, (level, 0, self._clock.now()), text.encode()[:200])
        self.outbox.control(outbox.Item(wire.T_LOG, 0, 0, payload))

    def tell(self, kind, fields):
        """Send a message that nobody asked for: BUSY, NOTICE."""
        if self.nonce is not None and not self._refused:
            self.outbox.control(outbox.Item(kind, 0, 0, wire.encode(kind, fields)))

    def end(self, reason=None):
        """Forget the session; with a reason, tell the host."""
        if self.nonce is None:
            return
        if not self._refused:
            outcomes = self._outcomes()
            for number in self._module.unbegun():
                outcomes[number] = wire.OUTCOME_NOT_DONE
            self._past.insert(0, (self.nonce, self.last_request, outcomes))
            del self._past[_SESSIONS:]
        self._refused = False
        self._module.closed()
        self.outbox.clear()
        self._begun = [0] * wire.MAX_STREAMS
        self._answers.clear()
        if reason is not None:
            payload = wire.encode(wire.T_CLOSE, (reason,))
            self._farewell = self._seal(outbox.Item(wire.T_CLOSE, 0, 0, payload), 0)
        self.nonce = None

    def waits(self):
        """Whether there may be a packet to send: without, next_packet() need not be asked."""
        return self.send_filter is not None or self._farewell is not None or self.outbox.holds_any()

    def next_packet(self, lane=0):
        """The next packet to send on a lane as (view, tile or None), or None.

        Call sent() for the tile once it is.
        """
        if self.send_filter is not None:
            return self.send_filter.next_packet(lane)
        return self.sealed(lane)

    def sealed(self, lane):
        """The same, whatever stands at the gate."""
        if lane >= self.lanes:
            return None
        if self._farewell is not None and lane == 0:
            packet, self._farewell = self._farewell, None
            return packet
        item = self.outbox.next(lane)
        return self._seal(item, lane) if item is not None else None

    def sent(self, tile):
        """A tile is on the wire: it is held until its memory is needed."""
        tile.release()

    def _seal(self, item, lane):
        if item.tile is not None:
            found = self._tile_of(item, self._tx[lane])
        else:
            found = self._packet_of(item, self._tx[lane]), None
        sequence = self._tx[lane] + 1
        # A mask that is no small integer would cost a board an allocation a packet.
        self._tx[lane] = sequence if sequence < _SMALL else sequence & 0xFFFFFFFF
        return found

    def _tile_of(self, item, sequence):
        tile = item.tile
        tile.state = sensor.SENDING
        framing.number(tile.packet, item, self.nonce, sequence)
        return tile.whole()

    def _packet_of(self, item, sequence):
        """An item without a tile, in memory of its own."""
        packet = bytearray(wire.HEADER_BYTES) + item.payload
        length = len(item.payload)
        if item.kind in _SEQUENCED:
            last = [(tx - 1) & 0xFFFFFFFF for tx in self._tx]
            struct.pack_into("<4I", packet, wire.HEADER_BYTES + length - 16, *last)
        elif item.kind == wire.T_FRAME_START:
            self._begun[item.stream] = max(
                self._begun[item.stream], min(item.frame + 1, 0xFFFFFFFF)
            )
        framing.seal_payload(packet, length)
        framing.seal(
            packet, length, item.kind, item.flags, item.stream, self.nonce, sequence, item.frame
        )
        return memoryview(packet)
