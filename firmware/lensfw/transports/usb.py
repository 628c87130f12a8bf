"""The link on USB: an interface of its own beside the board's built-in CDC.

One bulk OUT endpoint, and a bulk IN endpoint for each lane. ``usbd`` is ``machine.USBDevice()`` or
what stands in for it. Its rules, which shape this module:

- One transfer is in flight per endpoint; another raises OSError(EBUSY).
- Lengths have 16 bits, unchecked: 65,536 would become 0.
- After a bus reset, and after a halt, no callback comes for what was in flight.
- Nor may a transfer be started between a bus reset and the callback that tells of it: TinyUSB then
  panics on an RP2040 (the endpoint it would use is gone already). ``addressed`` tells: memory and
  the place in it of a byte whose lower seven bits are the device's address, 0 after a reset.
- An endpoint that a host halts under a transfer, and clears, may never be given back by TinyUSB: it
  stays busy, and no callback comes. Only a bus reset helps then, so the host is made to give one.
- Callbacks run in the scheduler: anywhere between two bytecodes of the main loop. They touch
  nothing but this module's own state, and start the packet that is ready; the rest is left to
  send() and receive(), which the main loop calls.
- No zero-length packet is added: where a packet of the link ends with a full packet of USB and
  nothing follows, one is sent, so that the host's read ends.
"""

import struct
import time

from .. import wire
from ..wire import const

_CLASS_VENDOR = const(0xFF)
_BULK = const(2)
_IN = const(0x80)
_STAGE_SETUP = const(1)
_CLEAR_FEATURE = const(1)
_TO_ENDPOINT = const(0x02)
_EMPTY = memoryview(b"")
_NOTHING = (_EMPTY, None)
_TRANSFER = wire.USB_TRANSFER
# For how long an endpoint that has nothing of ours in flight may be busy.
_STUCK_MS = const(250)
_MOST = const(8)  # packets that wait on a lane, the one on its way among them
ALWAYS = (b"\x01", 0)
_ADDRESS = const(0x7F)
_DEVICE = "<BBHBBBBHHHBBBB"
_MISCELLANEOUS = (0xEF, 2, 1)  # a device of several functions


def bulk_in(descriptors):
    """Address and packet size of the built-in driver's bulk IN endpoint; (0, 64) without."""
    at = 0
    while at < len(descriptors):
        if descriptors[at + 1] == 5 and descriptors[at + 2] & _IN and descriptors[at + 3] == _BULK:
            return descriptors[at + 2], struct.unpack_from("<H", descriptors, at + 4)[0]
        at += descriptors[at] or len(descriptors)
    return 0, 64


class Endpoint:
    """What lanes and the bulk OUT endpoint have in common: transfers that are taken or refused."""

    def __init__(self, usbd, address, addressed):
        self.address = address
        self.open = False
        self.busy = False
        self._submit = usbd.submit_xfer
        self._memory, self._place = addressed
        # Halted under a transfer, which may keep it for ever; and since when it refuses all, in ms.
        self.kept = False
        self._refused = None

    def _start(self, buffer):
        """Start a transfer; whether it is in flight now."""
        # Before: the callback may come first.
        self.busy = True
        try:
            if self._submit(self.address, buffer):
                self.kept = False
                return True
        except OSError:
            # Halted by the host, or reset: kick() tries again.
            pass
        self.busy = False
        if self.kept and self._refused is None:
            self._refused = time.ticks_ms()
        return False

    def stuck(self):
        """Whether it is never going to take one."""
        refused = self._refused
        return (
            self.kept
            and refused is not None
            and self.open
            and time.ticks_diff(time.ticks_ms(), refused) > _STUCK_MS
        )


class Lane(Endpoint):
    """A bulk IN endpoint, and the packets that wait for it: the first is on its way.

    Behind it waits a tile, and packets of control around that: a short one is gone before the main
    loop can bring the next. ``done`` are tiles that have been sent.
    """

    def __init__(self, usbd, address, packet_bytes, addressed=ALWAYS):
        super().__init__(usbd, address, addressed)
        self.lost = False
        self.done = []
        self._packet_bytes = packet_bytes
        # Each (packet, tile), as the link gives them.
        self._queue = []
        # Tiles that came, and that went: each number has one that counts it.
        self._offered = 0
        self._ended = 0
        # Bytes of the first that have gone, and of the transfer that is in flight.
        self._sent = 0
        self._flying = 0
        # Whether the first packet ends with it.
        self._ends = False
        # What is started at once when it is over: the second packet, if that goes in one transfer.
        self._following = None
        self._whole = False

    def wants(self, most=1):
        """Whether it takes another packet, behind *most* tiles, 0 or 1: behind nothing, if 0."""
        return (
            self.open
            and self._offered - self._ended <= most
            and len(self._queue) < (_MOST if most else 1)
        )

    def take(self, link, number):
        """Take the link's next for the lane of that number; whether there was one."""
        if not link.has_packets():
            return False
        item = link.take_packet(number)
        if item is None:
            return False
        self.offer(item)
        return True

    def offer(self, item):
        """Send a packet after what is being sent; only if wants()."""
        if item[1] is not None:
            self._offered += 1
        if self._ends and len(self._queue) == 1:
            # Before it is in the queue: a callback that comes now starts it, and it is found there
            # when that is over. The other way round it could be started twice.
            self._expect(item[0])
        self._queue.append(item)
        if not self.busy:
            self._go_on()

    def kick(self):
        """Go on where nothing is in flight: for the main loop."""
        if not self.busy and self.open:
            self._go_on()

    def poll(self):
        """Go on while what was in flight is over, where no callback says so: for the main loop."""
        try:
            while (
                self.busy
                and self._following is not None
                and self.open
                and self._memory[self._place] & _ADDRESS
                and self._submit(self.address, self._following)
            ):
                self._followed()
        except OSError:
            # It is not.
            pass

    def settle(self, link):
        """Tell the link what has been sent."""
        done = self.done
        while done:
            link.release_tile(done.pop(0))

    def completed(self, result):
        """A transfer is over: called from the scheduler.

        The next goes first, and only then are the books kept: a pause of more than 150 us between
        two transfers costs a full-speed frame its last packets. So this is one function, small
        enough for MicroPython's stack.
        """
        try:
            if (
                not result
                and self._following is not None
                and self._memory[self._place] & _ADDRESS
                and self._submit(self.address, self._following)
            ):
                self._followed()
                return
        except OSError:
            pass
        # One that was in flight when the host cleared the endpoint has nothing of this packet.
        if self.busy:
            self.stopped(self.open)
            self._over(result)
        self._go_on()

    def _followed(self):
        """What follows is being sent."""
        self._sent = 0
        self._flying = len(self._following)
        self._end()
        self._look_ahead()

    def stopped(self, is_open):
        """What was in flight is lost, without a word: called from the scheduler."""
        self.busy = self._ends = False
        self._following = self._refused = None
        self.open = is_open

    def drop(self):
        """Everything is lost, by a reset or a halt: for the main loop."""
        self.lost = False
        self._whole = self._ends = False
        self._following = None
        self._flying = 0
        queue, self._queue = self._queue, []
        if self.busy:
            # What has been started since is still in flight, and takes its place with it.
            self._queue.append(_NOTHING)
        self._sent = 0
        for _, tile in queue:
            if tile is not None:
                self.done.append(tile)
        self._ended = self._offered

    def _look_ahead(self):
        """What may follow: in the scheduler, or with nothing in flight."""
        self._following = None
        if self._ends and len(self._queue) > 1:
            self._expect(self._queue[1][0])

    def _expect(self, packet):
        if len(packet) <= _TRANSFER:
            self._following = packet

    def _end(self):
        """The first packet is over."""
        tile = self._queue.pop(0)[1]
        if tile is not None:
            self._ended += 1
            self.done.append(tile)

    def _over(self, result):
        """What was in flight has gone, or failed: its packet has ended, or goes on."""
        self._sent += self._flying
        if not self._queue or (not result and self._sent < len(self._queue[0][0])):
            return
        # Whether the host's read is still open behind it.
        self._whole = self._sent > 0 and self._sent % self._packet_bytes == 0
        self._sent = 0
        self._end()

    def _part(self, packet):
        """What is left of a packet, or a transfer of it: only a board with long tiles needs it."""
        return packet[self._sent : self._sent + _TRANSFER]

    def _go_on(self):
        if not self.open or not self._memory[self._place] & _ADDRESS:
            return
        if self._queue:
            packet = self._queue[0][0]
            left = len(packet) - self._sent
            if self._sent or left > _TRANSFER:
                packet = self._part(packet)
            self._ends = left <= _TRANSFER
        elif self._whole:
            packet = _EMPTY
        else:
            return
        self._whole = False
        self._flying = len(packet)
        self._look_ahead()
        if not self._start(packet):
            self._ends = False
            self._following = None


class Inbound(Endpoint):
    """The bulk OUT endpoint: one buffer is filled while the main loop reads the other.

    So a host's packet is taken at once, whatever the main loop does: the host may wait for that
    before it reads on.
    """

    def __init__(self, usbd, address, size, addressed=ALWAYS):
        super().__init__(usbd, address, addressed)
        # Bytes of the full buffer.
        self.have = 0
        self._taken = 0
        # Bytes that the other one has been filled with, before the full one was read.
        self._next = 0
        self._filling = memoryview(bytearray(size))
        self._full = memoryview(bytearray(size))

    def kick(self):
        """Listen, where nothing is in flight: for the main loop."""
        if self.open and not self.busy and not self._next:
            self._listen()

    def read(self, receiver, now):
        """Hand on what there is space for; only if there is any. For the main loop."""
        space = receiver.get_space()
        taken = self._taken
        count = min(len(space), self.have - taken)
        space[:count] = self._full[taken : taken + count]
        receiver.add_received(count, now)
        self._taken = taken + count
        if self._taken == self.have:
            self._taken = 0
            # From here on a callback may bring the next.
            self.have = 0
            if self._next:
                self._turn(self._next)
                self._next = 0

    def completed(self, result, count):
        """A transfer is over: called from the scheduler."""
        self.busy = False
        if not result and count:
            if self.have:
                self._next = count
                return
            self._turn(count)
        self.kick()

    def stopped(self):
        """What was in flight is lost, without a word: called from the scheduler."""
        self.busy = False
        self._refused = None

    def drop(self):
        """The host is gone, and what it has said with it: for the main loop."""
        self.have = self._taken = self._next = 0

    def _turn(self, count):
        self._filling, self._full = self._full, self._filling
        self.have = count

    def _listen(self):
        if self._memory[self._place] & _ADDRESS:
            self._start(self._filling)


class UsbTransport:
    """The link's bytes over ``usbd``; ``lanes`` bulk IN endpoints."""

    def __init__(self, usbd, lanes, serial, model, maker, addressed=ALWAYS):
        self._usbd = usbd
        self._builtin = usbd.BUILTIN_DEFAULT
        self.packet_bytes = bulk_in(self._builtin.desc_cfg)[1]
        self._interface = self._builtin.itf_max
        first = self._builtin.ep_max
        self.lanes = [
            Lane(usbd, _IN | first + i, self.packet_bytes, addressed) for i in range(lanes)
        ]
        self._strings = [None, maker, model, serial]
        # A host's longest packet, in whole packets of USB. It ends with a short one; a host that
        # fills its last and sends no empty one is heard with the next that it sends.
        longest = wire.HEADER_BYTES + wire.MAX_CONTROL + self.packet_bytes
        longest -= longest % self.packet_bytes
        # By the number of their endpoint.
        self._completions = [None] * first + [lane.completed for lane in self.lanes]
        self.inbound = Inbound(usbd, first, longest, addressed)
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
        if self.inbound.have:
            self._hand_on(link, now)
        if not self.inbound.busy:
            self.inbound.kick()
            self._check(self.inbound)

    def _check(self, endpoint):
        """Come anew, where an endpoint will never be given back: a bus reset is what it needs."""
        if endpoint.stuck():
            self._reset()
            self.start()

    def _hand_on(self, link, now):
        # Before: a host that asks for a tile again has had what was sent before it asked, and one
        # that still counted as on its way would neither be sent again nor be named gone.
        for lane in self.lanes:
            lane.settle(link)
        self.inbound.read(link.receiver, now)

    def send(self, link):
        """Offer packets to every lane that takes one; whether any did."""
        if self._was_reset:
            self._after_reset(link)
        for lane in self.lanes:
            if lane.lost:
                # Its tiles count as sent, and will be asked for again.
                lane.drop()
            if lane.done:
                lane.settle(link)
            if not lane.busy:
                lane.kick()
                self._check(lane)
        # One each, so that no lane waits while another has two.
        return link.has_packets() and self._offer(link, 1, self._offer(link, 0, False))

    def _offer(self, link, most, moved):
        """Packets to every lane that has *most* others at the most; whether any *moved*."""
        number = 0
        for lane in self.lanes:
            while lane.wants(most) and lane.take(link, number):
                moved = True
            number += 1
        return moved

    def _after_reset(self, link):
        """The host is gone, or begins anew: nothing of before may follow."""
        self._was_reset = False
        for lane in self.lanes:
            lane.drop()
            lane.settle(link)
        self.inbound.drop()
        link.end_session()

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
        for address in [self.inbound.address] + [lane.address for lane in self.lanes]:
            own += struct.pack("<BBBBHB", 7, 5, address, _BULK, self.packet_bytes, 0)
        whole = bytearray(builtin + own)
        struct.pack_into("<HB", whole, 2, len(whole), self._interface + 1)
        return whole

    # --- called from the scheduler --------------------------------------------------------

    def _opened(self, descriptors):
        self._open = True
        self.inbound.stopped()
        self.inbound.open = True
        for lane in self.lanes:
            lane.stopped(True)

    def _reset(self):
        self._open = False
        self._was_reset = True
        self.inbound.stopped()
        self.inbound.open = self.inbound.kept = False
        for lane in self.lanes:
            lane.stopped(False)
            lane.kept = False

    def _control(self, stage, request):
        """The controller has done it; what was in flight is for us to know.

        A host that opens the interface clears each endpoint. One that drops a lane halts it and
        leaves it so: what was on its way there goes by the others.
        """
        if request[0] != _TO_ENDPOINT:
            return False
        if stage == _STAGE_SETUP:
            clear = request[1] == _CLEAR_FEATURE
            address = request[4]
            if address == self.inbound.address:
                self.inbound.kept |= self.inbound.busy and not clear
                self.inbound.stopped()
            for lane in self.lanes:
                if lane.address == address:
                    lane.kept |= lane.busy and not clear
                    # Left alone, or begun anew.
                    lane.stopped(clear)
                    lane.lost = True
        return True

    def _completed(self, address, result, count):
        if address & _IN:
            self._completions[address & 15](result)
        else:
            self.inbound.completed(result, count)
        return True
