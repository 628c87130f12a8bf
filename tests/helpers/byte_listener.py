"""Show what a module's link uses of a stream of bytes, on both interpreters."""

from lensfw import link, wire


class Listening(link.Link):
    """A link that records type and sequence of each packet that it did not discard."""

    def __init__(self, module, clock):
        super().__init__(module, clock, 1, 0)
        self.used = []

    def _on_packet(self, header, payload):
        before = sum(self.discards.values())
        super()._on_packet(header, payload)
        if sum(self.discards.values()) == before:
            self.used.append([header[2], header[6]])


class Still:
    """Stand in for a module that is attached, has a manifest and accepts every request."""

    manifest = b"manifest"
    link = None
    us = 0

    def is_attached(self):
        return True

    def on_session_open(self):
        pass

    def on_session_end(self):
        pass

    def list_unstarted(self):
        return []

    def handle_request(self, kind, number, fields):
        self.link.send_answer(number, wire.T_ACCEPTED, (0, 0, 0))

    def resend_ranges(self, stream, frame, flags, ranges):
        pass

    def now(self):
        return self.us


def listen(stream, chunk):
    """Return used packets and discards of a stream: bytes, cut to *chunk*, and pauses."""
    still = Still()
    listening = Listening(still, still)
    still.link = listening
    for step in stream:
        if "idle_ms" in step:
            still.us += 1000 * step["idle_ms"]
            listening.poll()
            listening.poll()
            continue
        rest = bytes.fromhex(step["hex"])
        while rest:
            space = listening.receiver.get_space()
            count = min(len(space), len(rest), chunk)
            space[:count] = rest[:count]
            listening.receiver.add_received(count, still.us)
            rest = rest[count:]
            listening.poll()
    return [listening.used, listening.discards]
