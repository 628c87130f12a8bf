"""The module's end of the link, without I/O: the session, the requests, and the packets to send.

A transport puts bytes into ``Link.receiver``, calls take_packet() and release_tile(), and never
looks into a packet. ``module`` calls poll() and answers the requests.
"""

import struct

from . import framing, outbox, sensor, wire

_VERSION = wire.VERSION_MAJOR << 4 | wire.VERSION_MINOR
_HALF = 1 << 31
_SMALL = 1 << 30
# Answers that are remembered, in case the host repeats a request.
_ANSWERS = 4
# Ended sessions whose outcomes are remembered.
_SESSIONS = 2
# If more control packets wait, log lines are dropped. Some hosts do not read for a while.
_QUEUE = 32
# The most answers that wait before requests are dropped. An honest host waits for fewer.
_OWED = 8

# The types that module.handle_request() and this file answer as requests, besides Hello and Query.
_REQUESTS = bytes(
    (
        wire.T_GET_MANIFEST, wire.T_CONFIGURE, wire.T_CAPTURE, wire.T_STREAM,
        wire.T_STOP, wire.T_FLUSH, wire.T_TEST, wire.T_CHALLENGE,
        wire.T_SET_SETTINGS, wire.T_GET_CALIBRATION, wire.T_SET_BUDGET,
    )
)  # fmt: skip

# The types that need no request memory.
_OTHERS = bytes((wire.T_HEARTBEAT, wire.T_RESEND, wire.T_QUERY, wire.T_CLOSE))

# What is known only when a packet is sent, by the offset in its payload: the last sequence of each
# lane in FrameEnd and Flushed, the time in HeartbeatReply.
_FRAME_END_SEQUENCES = 12
_FLUSHED_SEQUENCES = 8
_REPLY_TIME = 2


class Refusal(Exception):
    """Raised by a handler to answer a request with Error."""

    def __init__(self, code, detail):
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Link:
    """The session with one host: its requests, its answers, and the packets to send.

    The link calls these of *module*:

    - ``is_attached()``: whether a Hello is answered at all
    - ``on_session_open()``, ``on_session_end()``
    - ``manifest``: bytes
    - ``handle_request(kind, number, fields)``: calls send_answer() now or later, or raises Refusal
    - ``resend_ranges(stream, frame, flags, ranges)``
    - ``list_unstarted()``: ids of accepted requests that had no effect yet

    ========  =========  ==============================================  ============
    session   ``nonce``  event                                           session
    ========  =========  ==============================================  ============
    none      None       Hello with a version that the module speaks     open
    none      None       another Hello                                   refused
    refused   a number   any Hello, as in ``none``                       open/refused
    refused   a number   Close                                           none
    open      a number   Hello with the same nonce: answered, unchanged  open
    open      a number   Hello with another nonce, as in ``none``        open/refused
    open      a number   Close, end_session()                            none
    ========  =========  ==============================================  ============
    """

    def __init__(self, module, clock, boot_count, reset_reason):
        self.discards = {}
        self.receiver = framing.Receiver(self.discards, self._on_damage)
        self.nonce = None
        # The optional capabilities of this module.
        self.capabilities = wire.CAP_LOG | wire.CAP_RESEND | wire.CAP_EVENTS
        # The object that packets pass before they are sent, or None; see ``fault_injection``.
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
        # The longest payload that the host accepts.
        self.max_payload = wire.MAX_PAYLOAD
        self._rx = None
        self.max_lanes = 1
        self._tx = [0] * wire.MAX_LANES
        self.lanes = 1
        # The last answers: id, type, payload, and whether a newer request was answered before.
        self._answers = []
        # The request that is still being executed.
        self._unanswered = None
        self._past = []
        self._farewell = None
        # By stream: the number after that of the newest frame whose FrameStart was sent.
        self._begun = [0] * wire.MAX_STREAMS
        # The payload of the open session's HelloReply.
        self._hello_reply = None
        self.last_request = 0
        self.previous_request = 0

    # --- received packets -----------------------------------------------------------------

    def poll(self):
        """Handle the packets that were received."""
        while self.receiver.has_bytes():
            packet = self.receiver.parse_packet(self._clock.now())
            if packet is None:
                return
            self._on_packet(packet[0], packet[1])

    def _on_packet(self, header, payload):
        kind, nonce, sequence, number = header[2], header[5], header[6], header[7]
        if kind == wire.T_HELLO:
            self._on_hello(nonce, sequence, number, payload)
            return
        if nonce != self.nonce or (self._refused and kind != wire.T_CLOSE):
            self.receiver.count_discard("nonce")
            return
        if not self._accept_sequence(sequence):
            self.receiver.count_discard("sequence")
            return
        if kind >= wire.VENDOR_FIRST:
            return
        if kind != wire.T_CLOSE and self._is_overloaded(kind):
            return
        if kind not in _OTHERS:
            self._on_request(kind, number, payload)
            return
        try:
            fields = wire.decode(kind, payload)
            if kind == wire.T_HEARTBEAT:
                self._on_heartbeat(number, fields)
            elif kind == wire.T_QUERY:
                self._on_query(number, fields[0], fields[1])
            elif kind == wire.T_RESEND:
                self._on_resend(header[4], number, fields)
            else:
                self.end_session()
        except ValueError:
            self.receiver.count_discard("malformed")

    def _is_overloaded(self, kind):
        """Count a request that comes while too many answers wait. Return True if it is dropped.

        The credits of a heartbeat count all the same. Resents wait for credits, perhaps for ever.
        So they keep out other Resends only.
        """
        waiting = self.outbox.count_answers()
        if kind == wire.T_RESEND:
            waiting = max(waiting, self.outbox.count_resents())
        if waiting < _OWED:
            return False
        self.dropped_requests += 1
        return kind != wire.T_HEARTBEAT

    def _on_heartbeat(self, number, fields):
        """Grant credits and answer. A repeated or lost heartbeat does no harm: it is no request."""
        self.outbox.grant_credits(fields)
        if self.outbox.count_answers() >= _OWED:
            return
        times = [fields[wire.MAX_STREAMS], self._clock.now()]
        reply = [0] + self.outbox.count_sent() + self._begun + times
        payload = wire.encode(wire.T_HEARTBEAT_REPLY, reply)
        self.outbox.queue_control(outbox.Item(wire.T_HEARTBEAT_REPLY, number, 0, payload))

    def _on_resend(self, stream, frame, fields):
        flags, _, count, tail = fields
        if count > wire.MAX_RANGES or len(tail) < 8 * count:
            raise ValueError("ranges")
        if not self._capabilities & wire.CAP_RESEND:
            # The session does not have it, so the host cannot mean it.
            return
        ranges = [struct.unpack_from("<4H", tail, 8 * i) for i in range(count)]
        self._module.resend_ranges(stream, frame, flags, ranges)

    def _on_query(self, number, nonce, request):
        outcome = wire.OUTCOME_UNKNOWN
        for past, oldest, outcomes in [self._remember()] + self._past:
            if past == nonce:
                # Ids rise. So an id that is newer than a remembered one, and is not remembered
                # itself, never arrived.
                if (request - oldest) & 0xFFFFFFFF < _HALF:
                    outcome = wire.OUTCOME_NOT_DONE
                outcome = outcomes.get(request, outcome)
                break
        payload = wire.encode(wire.T_QUERY_REPLY, (outcome,))
        self.outbox.queue_control(outbox.Item(wire.T_QUERY_REPLY, number, 0, payload))

    def _remember(self):
        """Return what Query needs of this session: its nonce, its oldest answer, its outcomes."""
        outcomes = {}
        if self._unanswered is not None:
            outcomes[self._unanswered] = wire.OUTCOME_UNKNOWN
        for number, kind, _, _ in self._answers:
            outcomes[number] = wire.OUTCOME_NOT_DONE if kind == wire.T_ERROR else wire.OUTCOME_DONE
        oldest = self.last_request
        for number, _, _, is_late in self._answers:
            if not is_late:
                oldest = number
                break
        return self.nonce, oldest, outcomes

    def _on_damage(self, header):
        """Use up the sequence of a packet with a sound header and a damaged payload."""
        if header[5] == self.nonce:
            self._accept_sequence(header[6])

    def _accept_sequence(self, sequence):
        step = (sequence - self._rx) & 0xFFFFFFFF
        if step == 0 or step >= _HALF:
            return False
        self._rx = sequence
        return True

    def _on_hello(self, nonce, sequence, number, payload):
        if not self._module.is_attached():
            return
        if nonce == self.nonce:
            if not self._accept_sequence(sequence):
                self.receiver.count_discard("sequence")
                return
            if self._is_overloaded(wire.T_HELLO):
                return
        try:
            oldest, newest, lanes, _, capabilities, most = wire.decode(wire.T_HELLO, payload)
        except ValueError:
            self.receiver.count_discard("malformed")
            return
        if nonce == self.nonce and not self._refused:
            # The session is open. This Hello changes nothing, whatever it offers.
            item = outbox.Item(wire.T_HELLO_REPLY, number, 0, self._hello_reply)
            self.outbox.queue_control(item)
            return
        if nonce != self.nonce:
            # A new session. Nothing of the old one may be sent any more.
            self.end_session()
            self.nonce = nonce
            self._rx = sequence
            self._tx = [0] * wire.MAX_LANES
            self.last_request = 0
        self.last_request = number
        spoken = min(newest, _VERSION)
        if spoken >> 4 != wire.VERSION_MAJOR or spoken < oldest:
            # No session. The nonce is valid for this answer, for Close and for another Hello.
            self._refused = True
            self._capabilities = 0
            text = "this module speaks version %d" % wire.VERSION_MAJOR
            self._send_error(number, wire.ERR_VERSION, text)
            return
        self._refused = False
        self._capabilities = capabilities & self.capabilities
        self.max_payload = most
        self.lanes = max(1, min(lanes, self.max_lanes))
        fields = (
            spoken, self.lanes, self._reset_reason, 0, self._capabilities,
            wire.MAX_CONTROL, len(self._module.manifest), self._boot_count, self._clock.now(),
        )  # fmt: skip
        self._hello_reply = wire.encode(wire.T_HELLO_REPLY, fields)
        self.send_answer(number, wire.T_HELLO_REPLY, fields)
        self._module.on_session_open()

    def _on_request(self, kind, number, payload):
        if kind not in _REQUESTS:
            # Its number may not be the id of a request. So it does not touch the request memory.
            if kind not in wire.FORMATS:
                self.receiver.count_discard("unknown_type")
            detail = ("type 0x%02x" % kind).encode()
            payload = wire.encode(wire.T_ERROR, (wire.ERR_UNKNOWN_REQUEST,), detail)
            self.outbox.queue_control(outbox.Item(wire.T_ERROR, number, 0, payload))
            return
        if self._repeat_answer(number):
            return
        self.previous_request, self.last_request = self.last_request, number
        pending = self._unanswered
        self._unanswered = number
        self._execute(kind, number, payload)
        if self._unanswered is None:
            # One that the host has given up is still under way.
            self._unanswered = pending

    def _execute(self, kind, number, payload):
        try:
            fields = wire.decode(kind, payload)
        except ValueError:
            self.receiver.count_discard("malformed")
            self._send_error(number, wire.ERR_MALFORMED, "type 0x%02x" % kind)
            return
        try:
            if kind == wire.T_GET_MANIFEST:
                self._send_piece(number, fields[0])
                return
            self._module.handle_request(kind, number, fields)
        except Refusal as refusal:
            if refusal.code == wire.ERR_MALFORMED:
                self.receiver.count_discard("malformed")
            self._send_error(number, refusal.code, refusal.detail)

    def _send_piece(self, number, offset):
        manifest = self._module.manifest
        if offset >= len(manifest):
            raise Refusal(wire.ERR_UNSUPPORTED, "the manifest has %d bytes" % len(manifest))
        most = wire.MAX_CONTROL - wire.FORMATS[wire.T_MANIFEST][1]
        piece = manifest[offset : offset + most]
        self.send_answer(number, wire.T_MANIFEST, (offset, len(manifest)), piece)

    def _repeat_answer(self, number):
        """Answer a repeated request as before. Return False if the request is new.

        No request is executed twice.
        """
        if self.outbox.has_answer(number):
            return True
        for known, kind, payload, _ in self._answers:
            if known == number:
                self.outbox.queue_control(outbox.Item(kind, number, 0, payload))
                return True
        if number == self.last_request or number == self._unanswered:
            # The request is still being executed.
            self.send_pending(number, 1000)
            return True
        if (number - self.last_request) & 0xFFFFFFFF >= _HALF:
            payload = wire.encode(wire.T_ERROR, (wire.ERR_REPEATED,), b"executed before")
            self.outbox.queue_control(outbox.Item(wire.T_ERROR, number, 0, payload))
            return True
        return False

    # --- packets to send ------------------------------------------------------------------

    def send_answer(self, number, kind, fields, tail=b"", ordered=0):
        """Send an answer and remember it.

        The bits of *ordered* are streams: the answer is sent behind their data.
        """
        payload = wire.encode(kind, fields, tail)
        self._answers.append((number, kind, payload, number != self.last_request))
        if number == self._unanswered:
            self._unanswered = None
        if len(self._answers) > _ANSWERS:
            self._answers.pop(0)
        item = outbox.Item(kind, number, 0, payload, None, 0, ordered)
        if ordered:
            self.outbox.queue_data(item)
        else:
            self.outbox.queue_control(item)

    def send_pending(self, number, lease_ms):
        """Tell the host that a request will be answered within *lease_ms*."""
        payload = wire.encode(wire.T_PENDING, (lease_ms,))
        self.outbox.queue_control(outbox.Item(wire.T_PENDING, number, 0, payload))

    def has_capability(self, capability):
        """Return True if the session has a capability."""
        return bool(self._capabilities & capability)

    def _send_error(self, number, code, detail):
        self.send_answer(number, wire.T_ERROR, (code,), detail.encode())

    def send_log(self, level, text):
        """Send a log line, if the session has the capability LOG."""
        if self.nonce is None or not self.has_capability(wire.CAP_LOG):
            return
        if self.outbox.count_control() >= _QUEUE:
            self.dropped_logs += 1
            return
        payload = wire.encode(wire.T_LOG, (level, 0, self._clock.now()), text.encode()[:200])
        self.outbox.queue_control(outbox.Item(wire.T_LOG, 0, 0, payload))

    def send_message(self, kind, fields):
        """Send a message that answers no request: Busy, Notice or Event."""
        if self.nonce is not None and not self._refused:
            self.outbox.queue_control(outbox.Item(kind, 0, 0, wire.encode(kind, fields)))

    def end_session(self, reason=None):
        """End the session and forget it. With a *reason*, a Close is sent to the host."""
        if self.nonce is None:
            return
        if not self._refused:
            memory = self._remember()
            if self._unanswered is not None:
                # It will never be executed.
                memory[2][self._unanswered] = wire.OUTCOME_NOT_DONE
            for number in self._module.list_unstarted():
                memory[2][number] = wire.OUTCOME_NOT_DONE
            self._past.insert(0, memory)
            del self._past[_SESSIONS:]
        self._refused = False
        self._module.on_session_end()
        self.outbox.clear()
        self._begun = [0] * wire.MAX_STREAMS
        self._answers.clear()
        self._unanswered = None
        if reason is not None:
            payload = wire.encode(wire.T_CLOSE, (reason,))
            self._farewell = self._make_packet(outbox.Item(wire.T_CLOSE, 0, 0, payload), 0)
        self.nonce = None

    def has_packets(self):
        """Return False if take_packet() would return None on each lane."""
        return self.send_filter is not None or self._farewell is not None or self.outbox.has_items()

    def take_packet(self, lane=0):
        """Remove and return the next packet to send on a lane as (view, tile or None), or None.

        Call release_tile() once the tile is sent.
        """
        if self.send_filter is not None:
            return self.send_filter.take_packet(lane)
        return self.take_unfiltered(lane)

    def take_unfiltered(self, lane):
        """Return the next packet as take_packet() does, but without the send filter."""
        if lane >= self.lanes:
            return None
        if self._farewell is not None and lane == 0:
            packet, self._farewell = self._farewell, None
            return packet
        item = self.outbox.take_next(lane)
        return self._make_packet(item, lane) if item is not None else None

    def release_tile(self, tile):
        """Take back a tile that was sent. It is held until its memory is needed."""
        tile.release()

    def _make_packet(self, item, lane):
        if item.tile is not None:
            found = self._finish_tile(item, self._tx[lane])
        else:
            found = self._make_control(item, self._tx[lane]), None
        sequence = self._tx[lane] + 1
        # The mask is no small integer: applied to each packet, it would allocate on a board.
        self._tx[lane] = sequence if sequence < _SMALL else sequence & 0xFFFFFFFF
        return found

    def _finish_tile(self, item, sequence):
        tile = item.tile
        tile.state = sensor.SENDING
        framing.finish_header(tile.packet, item, self.nonce, sequence)
        return tile.get_packet()

    def _make_control(self, item, sequence):
        """Return the packet of an item without a tile, in memory of its own."""
        packet = bytearray(wire.HEADER_BYTES) + item.payload
        length = len(item.payload)
        if item.kind == wire.T_FRAME_END:
            self._write_sequences(packet, _FRAME_END_SEQUENCES)
        elif item.kind == wire.T_FLUSHED:
            self._write_sequences(packet, _FLUSHED_SEQUENCES)
        elif item.kind == wire.T_HEARTBEAT_REPLY:
            struct.pack_into("<Q", packet, wire.HEADER_BYTES + _REPLY_TIME, self._clock.now())
        elif item.kind == wire.T_FRAME_START:
            # 0 means none, so the count stops one short of 2**32. A FrameStart that is sent again
            # is older than the newest one.
            number = min(item.frame + 1, 0xFFFFFFFF)
            begun = self._begun[item.stream]
            if not begun or (number - begun) & 0xFFFFFFFF < _HALF:
                self._begun[item.stream] = number
        framing.append_payload_crc(packet, length)
        framing.write_header(
            packet, length, item.kind, item.flags, item.stream, self.nonce, sequence, item.frame
        )
        return memoryview(packet)

    def _write_sequences(self, packet, offset):
        """Write the sequence of the last packet of each lane into a payload."""
        last = [(tx - 1) & 0xFFFFFFFF for tx in self._tx]
        struct.pack_into("<4I", packet, wire.HEADER_BYTES + offset, *last)
