"""The link on USB: an interface of its own beside the board's built-in CDC.

One bulk OUT endpoint, and a bulk IN endpoint for each lane. ``usbd`` is ``machine.USBDevice()`` or
what stands in for it. Its rules, which shape this module:

- One transfer is in flight per endpoint; another raises OSError(EBUSY).
- Lengths have 16 bits, unchecked: 65,536 would become 0.
- After a bus reset, and after a halt, no callback comes for what was in flight.
- Nor may a transfer be started between a bus reset and the callback that tells of it: TinyUSB then
  panics on an RP2040 (the endpoint it would use is gone already). ``addressed`` tells: memory and
  the place in it of a byte whose lower seven bits are the device's address, 0 after a reset.
- Callbacks run in the scheduler: anywhere between two bytecodes of the main loop. They touch
  nothing but this module's own state, and start the packet that is ready; the rest is left to
  send() and receive(), which the main loop calls.
- No zero-length packet is added: where a packet of the link ends with a full packet of USB and
  nothing follows, one is sent, so that the host's read ends.
"""

import struct

from .. import wire

_CLASS_VENDOR = 0xFF
_BULK = 2
_IN = 0x80
_STAGE_SETUP = 1
_CLEAR_FEATURE = 1
_TO_ENDPOINT = 0x02
_EMPTY = memoryview(b"")
_ALWAYS = (b"\x01", 0)
_ADDRESS = 0x7F
_DEVICE = "<BBHBBBBHHHBBBB"
_MISCELLANEOUS = (0xEF, 2, 1)  # a device of several functions


def bulk_packet(descriptors):
    """The bulk packet size that the built-in driver has at the controller's speed; 64 without."""
    at = 0
    while at < len(descriptors):
        if descriptors[at + 1] == 5 and descriptors[at + 3] & 3 == _BULK:
            return struct.unpack_from("<H", descriptors, at + 4)[0]
        at += descriptors[at] or len(descriptors)
    return 64


class Lane:
    """A bulk IN endpoint: the packet that is being sent, and what follows it.

    That is a tile, or a packet of control and then a tile: a short one is gone before the main loop
    can bring the next.
    """

    def __init__(self, usbd, address, packet_bytes, addressed=_ALWAYS):
        self.address = address
        self._memory, self._place = addressed
        self.open = False
        self.busy = False
        self.lost = False
        self._usbd = usbd
        self._packet_bytes = packet_bytes
        self._packet = None
        self._tile = None
        self._sent = 0
        self._following = None
        self._following_tile = None
        self._last = None
        self._last_tile = None
        self._whole = False
        self._done = []

    def wants(self):
        """Whether it takes another packet."""
        if self._last is not None:
            if self._following is None:
                self._close_up()
            return False
        return self.open and (self._following is None or self._following_tile is None)

    def offer(self, packet, tile):
        """Send a packet after what is being sent; only if wants()."""
        # The packet is set last: from then on a callback may take it.
        if self._following is None:
            self._following_tile = tile
            self._following = packet
        else:
            self._last_tile = tile
            self._last = packet
        self.kick()

    def kick(self):
        """Go on where nothing is in flight: for the main loop."""
        if self._following is None and self._last is not None:
            self._close_up()
        if self.open and not self.busy:
            self._go_on()

    def completed(self, result, count):
        """A transfer is over: called from the scheduler."""
        packet, following = self._packet, self._following
        if self.busy and not result and packet is not None and following is not None:
            # The usual case: the next goes first, and only then are the books kept.
            if not self._memory[self._place] & _ADDRESS:
                return
            if self._sent + count >= len(packet) and len(following) <= wire.USB_TRANSFER:
                try:
                    if self._usbd.submit_xfer(self.address, following):
                        if self._tile is not None:
                            self._done.append(self._tile)
                        self._take()
                        return
                except OSError:
                    pass
        # One that was in flight when the host cleared the endpoint has nothing of this packet.
        ours, self.busy = self.busy, False
        if ours and self._packet is not None:
            self._sent += count
            if result or self._sent >= len(self._packet):
                self._end()
        self._go_on()

    def halted(self):
        """What was in flight is lost, without a word: called from the scheduler."""
        self.open = False
        self.busy = False
        self.lost = True

    def cleared(self):
        """The host begins anew with this endpoint: called from the scheduler."""
        self.busy = False
        self.lost = True
        self.open = True

    def finished(self):
        """A tile that has been sent, or None."""
        return self._done.pop(0) if self._done else None

    def drop(self):
        """Everything is lost, by a reset or a halt: for the main loop."""
        self.lost = False
        if self._packet is not None:
            self._end()
        for tile in (self._following_tile, self._last_tile):
            if tile is not None:
                self._done.append(tile)
        self._following = self._following_tile = self._last = self._last_tile = None
        self._whole = False

    def _end(self):
        # Whether the host's read is still open behind it.
        self._whole = self._sent > 0 and self._sent % self._packet_bytes == 0
        if self._tile is not None:
            self._done.append(self._tile)
        self._packet = self._tile = None

    def _take(self):
        """What follows is being sent now: called from the scheduler, or with nothing in flight."""
        self._packet, self._tile = self._following, self._following_tile
        self._sent = 0
        self._whole = False
        self._following, self._following_tile = self._last, self._last_tile
        self._last = self._last_tile = None

    def _close_up(self):
        """The last follows now: for the main loop, so that at no moment it is there twice."""
        packet, self._last = self._last, None
        self._following_tile = self._last_tile
        self._following = packet

    def _go_on(self):
        if not self.open or not self._memory[self._place] & _ADDRESS:
            return
        if self._packet is None and self._following is not None:
            self._take()
        packet = self._packet
        if packet is None:
            if not self._whole:
                return
            self._whole = False
            packet = _EMPTY
        elif self._sent or len(packet) > wire.USB_TRANSFER:
            # Only a board with tiles longer than a transfer comes here.
            packet = packet[self._sent : self._sent + wire.USB_TRANSFER]
        # Before: the callback may come first.
        self.busy = True
        try:
            if not self._usbd.submit_xfer(self.address, packet):
                self.busy = False
        except OSError:
            # Halted by the host, or reset: kick() tries again.
            self.busy = False


class UsbTransport:
    """The link's bytes over ``usbd``; ``lanes`` bulk IN endpoints."""

    def __init__(self, usbd, lanes, serial, model, maker, addressed=_ALWAYS):
        self._usbd = usbd
        self._builtin = usbd.BUILTIN_DEFAULT
        self.packet_bytes = bulk_packet(self._builtin.desc_cfg)
        self._interface = self._builtin.itf_max
        first = self._builtin.ep_max
        self._out = first
        self._memory, self._place = addressed
        self.lanes = [
            Lane(usbd, _IN | first + i, self.packet_bytes, addressed) for i in range(lanes)
        ]
        self._strings = [None, maker, model, serial]
        # A host's longest packet, in whole packets of USB. It ends with a short one; a host that
        # fills its last and sends no empty one is heard with the next that it sends.
        longest = wire.HEADER_BYTES + wire.MAX_CONTROL + self.packet_bytes
        self._space = memoryview(bytearray(longest - longest % self.packet_bytes))
        self._have = 0
        self._taken = 0
        self._listening = False
        self._open = False
        self._was_reset = False

    def start(self):
        """Show the board to the host; its configuration is changed, so the host sees it anew."""
        usbd, builtin = self._usbd, self._builtin
        usbd.active(False)
        usbd.builtin_driver = builtin
        strings = self._strings + [None] * (builtin.str_max - len(self._strings))
        usbd.config(
            self._device(), self._configuration(), strings,
            self._opened, self._reset, self._control, self._completed,
        )  # fmt: skip
        usbd.active(True)

    @property
    def configured(self):
        """Whether a host has configured the board, as far as has been heard."""
        return self._open

    def vanished(self):
        """The controller has been reset: as after a bus reset, which follows."""
        self._reset()

    def receive(self, link, now):
        """Hand on what has come."""
        if self._was_reset:
            self._after_reset(link)
        if self._have:
            # Before: a host that asks for a tile again has had what was sent before it asked, and
            # one that still counted as on its way would neither be sent again nor be named gone.
            for lane in self.lanes:
                self._settle(link, lane)
            receiver = link.receiver
            space = receiver.space()
            count = min(len(space), self._have - self._taken)
            space[:count] = self._space[self._taken : self._taken + count]
            self._taken += count
            receiver.received(count, now)
            if self._taken == self._have:
                self._have = self._taken = 0
        if self._open and not self._listening and not self._have:
            if self._memory[self._place] & _ADDRESS:
                self._listen()

    def send(self, link):
        """Offer packets to every lane that takes one; whether any did."""
        if self._was_reset:
            self._after_reset(link)
        for lane in self.lanes:
            if lane.lost:
                # Its tiles count as sent, and will be asked for again.
                lane.drop()
            self._settle(link, lane)
        moved = False
        more = True
        # One each, so that no lane waits while another has two.
        while more:
            more = False
            number = 0
            for lane in self.lanes:
                if lane.wants():
                    item = link.next_packet(number)
                    if item is not None:
                        lane.offer(item[0], item[1])
                        more = moved = True
                number += 1
        for lane in self.lanes:
            lane.kick()
        return moved

    def _after_reset(self, link):
        """The host is gone, or begins anew: nothing of before may follow."""
        self._was_reset = False
        for lane in self.lanes:
            lane.drop()
            self._settle(link, lane)
        self._have = self._taken = 0
        link.end()

    def _settle(self, link, lane):
        tile = lane.finished()
        while tile is not None:
            link.sent(tile)
            tile = lane.finished()

    def _listen(self):
        self._listening = True
        try:
            if not self._usbd.submit_xfer(self._out, self._space):
                self._listening = False
        except OSError:
            self._listening = False

    # --- what the host sees ---------------------------------------------------------------

    def _device(self):
        fields = list(struct.unpack(_DEVICE, self._builtin.desc_dev))
        # VID and PID stay the board's; bcdDevice is the link's version.
        fields[3:6] = _MISCELLANEOUS
        fields[9] = wire.VERSION_MAJOR << 8 | wire.VERSION_MINOR
        return struct.pack(_DEVICE, *fields)

    def _configuration(self):
        builtin = self._builtin.desc_cfg or b"\x09\x02\x00\x00\x00\x01\x00\x80\x7d"
        own = struct.pack(
            "<9B", 9, 4, self._interface, 0, 1 + len(self.lanes),
            _CLASS_VENDOR, wire.USB_SUBCLASS, wire.USB_PROTOCOL, 0,
        )  # fmt: skip
        for address in [self._out] + [lane.address for lane in self.lanes]:
            own += struct.pack("<BBBBHB", 7, 5, address, _BULK, self.packet_bytes, 0)
        whole = bytearray(builtin + own)
        struct.pack_into("<HB", whole, 2, len(whole), self._interface + 1)
        return whole

    # --- called from the scheduler --------------------------------------------------------

    def _opened(self, descriptors):
        self._open = True
        self._listening = False
        for lane in self.lanes:
            lane.busy = False
            lane.open = True

    def _reset(self):
        self._open = False
        self._listening = False
        self._was_reset = True
        for lane in self.lanes:
            lane.open = False
            lane.busy = False

    def _control(self, stage, request):
        """The controller has done it; what was in flight is for us to know.

        A host that opens the interface halts and clears each endpoint. One that drops a lane halts
        it and leaves it so: what was on its way there goes by the others.
        """
        if request[0] != _TO_ENDPOINT:
            return False
        if stage == _STAGE_SETUP:
            clear = request[1] == _CLEAR_FEATURE
            address = request[4]
            if address == self._out:
                self._listening = False
            for lane in self.lanes:
                if lane.address == address:
                    if clear:
                        lane.cleared()
                    else:
                        lane.halted()
        return True

    def _completed(self, address, result, count):
        if address == self._out:
            self._listening = False
            if not result:
                self._have = count
                self._taken = 0
        else:
            self.lanes[(address & 15) - self._out].completed(result, count)
        return True
