"""What a module's link makes of a stream of bytes: in the common subset, for both interpreters."""

from lensfw import link, wire


class Listening(link.Link):
    """Keeps type and sequence of what it used, or skipped as the vendor's."""

    def __init__(self, module, clock):
        super().__init__(module, clock, 1, 0)
        self.used = []

    def _packet(self, header, payload):
        before = sum(self.discards.values())
        super()._packet(header, payload)
        if sum(self.discards.values()) == before:
            self.used.append([header[2], header[6]])


class Still:
    """A module that is attached, has a manifest, and accepts everything."""

    manifest = b"manifest"
    link = None
    us = 0

    def attached(self):
        return True

    def opened(self):
        pass

    def closed(self):
        pass

    def unbegun(self):
        return []

    def request(self, kind, number, fields):
        self.link.answer(number, wire.T_ACCEPTED, (0, 0, 0))

    def resend(self, stream, frame, flags, ranges):
        pass

    def now(self):
        return self.us


def listen(stream, chunk):
    """What is used of pieces of hex and silences in ms, cut to *chunk* bytes; and the discards."""
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
            space = listening.receiver.space()
            count = min(len(space), len(rest), chunk)
            space[:count] = rest[:count]
            listening.receiver.received(count, still.us)
            rest = rest[count:]
            listening.poll()
    return [listening.used, listening.discards]
