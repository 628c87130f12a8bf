"""The link over a USB interface of its own, beside the board's built-in serial port (CDC).

The interface has one bulk OUT endpoint for the host's packets and one bulk IN endpoint for each
lane. The main loop (``lensfw.board``, ``lensfw.main``) calls :meth:`UsbTransport.receive` and
:meth:`UsbTransport.send`. They pass bytes to ``link.receiver`` and take packets from the link.
*usbd* is ``machine.USBDevice()`` or its stand-in, ``ports.usbdevice``. The controller's rules:

- An endpoint has one transfer in flight. Another one raises OSError(EBUSY).
- A length has 16 bits and is not checked: 65,536 would become 0.
- After a bus reset, and after a halt, no callback comes for the transfer that was in flight.
- No transfer may start between a bus reset and its callback. On an RP2040 TinyUSB would panic,
  because the endpoint does not exist any more. So the transports start transfers with *submit*, a
  function of the chip's Machine: see ``ports.pins`` and ``ports.rp2``.
- If the host halts an endpoint during a transfer, TinyUSB may keep the endpoint busy for ever.
  Only a bus reset helps. The board then disconnects and re-enumerates to get one.
- The controller adds no zero-length packet. If a link packet fills its last USB packet and no
  other packet follows, the lane sends an empty transfer, so that the host's read ends.

Concurrency: callbacks run in the scheduler, between any two bytecodes of the main loop. They only
change this module's state and start the next transfer. The main loop does the rest. Callbacks and
main loop allocate no memory for a packet that fits into one transfer. A longer packet needs a
memoryview for each of its transfers.
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
_NO_BYTES = memoryview(b"")
_TRANSFER = wire.USB_TRANSFER
# An endpoint with a fault that refuses transfers for longer than this is stuck.
_STUCK_MS = const(250)
# The most packets that a lane queues, the one in flight included.
_MAX_QUEUE = const(8)
_DEVICE = "<BBHBBBBHHHBBBB"
_MISCELLANEOUS = (0xEF, 2, 1)  # a device of several functions

# Endpoint.state. Inbound uses _IDLE and _LAST only.
_IDLE = const(0)
_PART = const(1)
_LAST = const(2)
_ZERO = const(3)
# Endpoint.fault. A value of 0 or more is a third state, _REFUSED in the table: one number, because
# a field of its own would cost RAM. The value is the time of the first refusal, in ms.
_NO_FAULT = const(-2)
_HALTED = const(-1)


def find_bulk_in(descriptors):
    """Return address and packet size of the built-in driver's bulk IN endpoint, or (0, 64)."""
    at = 0
    while at < len(descriptors):
        if descriptors[at + 1] == 5 and descriptors[at + 2] & _IN and descriptors[at + 3] == _BULK:
            return descriptors[at + 2], struct.unpack_from("<H", descriptors, at + 4)[0]
        at += descriptors[at] or len(descriptors)
    return 0, 64


class Endpoint:
    """Start transfers on one endpoint, and notice when the controller never gives it back.

    ``is_open`` is written by callbacks only: True while the host has configured the endpoint and
    has not halted it. ``state`` is the transfer in flight, ``_IDLE`` if there is none.

    ``fault`` finds a stuck endpoint:

    =============  ==========================================  =============
    fault          event                                       next fault
    =============  ==========================================  =============
    _NO_FAULT      the host halts it during a transfer         _HALTED
    _HALTED        a transfer is refused                       _REFUSED
    _REFUSED       the host halts or clears it                 _HALTED
    any            a transfer is accepted, or the bus resets   _NO_FAULT
    =============  ==========================================  =============
    """

    def __init__(self, submit, address):
        self.address = address
        self.is_open = False
        self.state = _IDLE
        self.fault = _NO_FAULT
        self._submit = submit

    def is_stuck(self):
        """Return True if the endpoint will never accept a transfer again."""
        return (
            self.fault >= 0
            and self.is_open
            and time.ticks_diff(time.ticks_ms(), self.fault) > _STUCK_MS
        )

    def _start(self, buffer, state):
        """Start a transfer and set the state. Return True if the controller accepted it."""
        # The state is set first, because the callback may come before submit_xfer() returns.
        self.state = state
        try:
            if self._submit(self.address, buffer):
                self.fault = _NO_FAULT
                return True
        except OSError:
            # The host has halted the endpoint or reset the bus. The main loop tries again.
            pass
        self.state = _IDLE
        if self.fault == _HALTED:
            self.fault = time.ticks_ms()
        return False

    def _stop(self, is_open):
        """Forget the transfer in flight: no callback comes for it. Called in a callback."""
        self.state = _IDLE
        self.is_open = is_open
        if self.fault >= 0:
            self.fault = _HALTED


class Lane(Endpoint):
    """A bulk IN endpoint and its queue of packets. The first packet is the one in flight.

    The queue holds more than one packet: the controller sends a short packet faster than the main
    loop queues the next one, and the bus would be idle meanwhile. Behind the packet in flight the
    queue holds one tile at most, and control packets before and after that tile.

    ======  ============================  ==========================================  ==========
    state   transfer in flight            event                                       next state
    ======  ============================  ==========================================  ==========
    _IDLE   none                          a packet is queued that fits one transfer   _LAST
    _IDLE   none                          a longer packet is queued                   _PART
    _PART   a part of the first packet    it ends, the packet needs one more          _LAST
    _PART   a part of the first packet    it ends, the packet needs several more      _PART
    _PART   a part of the first packet    it fails: the packet is dropped             as _LAST
    _LAST   the end of the first packet   it ends or fails, another packet waits      _LAST/_PART
    _LAST   the end of the first packet   it fills its last USB packet, none waits    _ZERO
    _LAST   the end of the first packet   it ends otherwise, none waits               _IDLE
    _ZERO   an empty transfer             it ends, no packet waits                    _IDLE
    _ZERO   an empty transfer             it ends, a packet waits                     _LAST/_PART
    any     any                           refused, halted, cleared, or bus reset      _IDLE
    ======  ============================  ==========================================  ==========

    A packet whose transfer failed counts as sent: the host requests again what it did not get.
    After a halt, a clear or a reset no callback comes for the transfer in flight, so the board
    cannot know which packets arrived. ``is_queue_lost`` is then True, and no transfer starts until
    the main loop has called :meth:`drop`.
    """

    def __init__(self, submit, address, packet_bytes):
        super().__init__(submit, address)
        self._packet_bytes = packet_bytes
        self.is_queue_lost = False
        # Tiles that were sent, until return_tiles() returns them to the link.
        self.sent_tiles = []
        # Each (packet, tile), as link.take_packet() returns it.
        self._queue = []
        # The number of tiles in _queue and in sent_tiles.
        self._tile_count = 0
        # The number of bytes of the first packet that were sent, with the transfer in flight.
        self._sent_bytes = 0

    def has_space(self, most=1):
        """Return True if another packet may be queued.

        *most* is 0 or 1. With 0 the queue has to be empty. With 1 the queue may hold one tile, and
        _MAX_QUEUE - 1 packets.
        """
        return (
            self.is_open
            and self._tile_count - len(self.sent_tiles) <= most
            and len(self._queue) < (_MAX_QUEUE if most else 1)
        )

    def take(self, link, number):
        """Queue the link's next packet for lane *number*. Return False if there is none."""
        if not link.has_packets():
            return False
        item = link.take_packet(number)
        if item is None:
            return False
        self.queue(item)
        return True

    def queue(self, item):
        """Queue a packet, and send it at once if the lane is idle. Call only if has_space()."""
        if item[1] is not None:
            self._tile_count += 1
        self._queue.append(item)
        if self.state == _IDLE:
            self._start_next(False)

    def resume(self):
        """Send the first packet if the lane is idle. Called by the main loop."""
        if self.state == _IDLE and self.is_open:
            self._start_next(False)

    def poll(self):
        """Offer the second packet to the endpoint, which refuses it while a transfer is in flight.

        CdcTransport calls this from the main loop, because Python gets no callback of its
        endpoint. UsbTransport gets the callbacks and does not call it.
        """
        try:
            while (
                self.state == _LAST
                and len(self._queue) > 1
                and len(self._queue[1][0]) <= _TRANSFER
                and self.is_open
                and self._submit(self.address, self._queue[1][0])
            ):
                self._advance()
        except OSError:
            # The transfer in flight has not ended.
            pass

    def return_tiles(self, link):
        """Return sent tiles to the link. Called by the main loop."""
        tiles = self.sent_tiles
        while tiles:
            self._tile_count -= 1
            link.release_tile(tiles.pop(0))

    def on_transfer_end(self, result):
        """Start the next transfer, then do the accounting. Called in a callback.

        After a pause of more than 150 us between two transfers, the 1 ms USB frame has no room
        for the last packets of the second transfer. In the usual case another packet waits that
        fits into one transfer. That packet is submitted first, before any other call.
        """
        try:
            if (
                self.state == _LAST
                and not result
                and len(self._queue) > 1
                and len(self._queue[1][0]) <= _TRANSFER
                and self._submit(self.address, self._queue[1][0])
            ):
                self._advance()
                return
        except OSError:
            pass
        state = self.state
        if state == _IDLE:
            # A transfer from before a halt has ended. No queued packet was part of it.
            return
        self.state = _IDLE
        is_full = False
        if state == _LAST or (state == _PART and result):
            is_full = self._sent_bytes > 0 and self._sent_bytes % self._packet_bytes == 0
            self._pop_first()
        self._start_next(is_full)

    def stop(self, is_open):
        """Forget the transfer in flight and mark the queue as lost. Called in a callback."""
        self._stop(is_open)
        self.is_queue_lost = True

    def drop(self):
        """Drop all packets after a reset or a halt. Their tiles count as sent.

        Called by the main loop. The host asks again for the tiles that it did not get.
        """
        queue, self._queue = self._queue, []
        self._sent_bytes = 0
        for _, tile in queue:
            if tile is not None:
                self.sent_tiles.append(tile)
        # Last: until here no callback may start a transfer.
        self.is_queue_lost = False

    def _advance(self):
        """Remove the first packet, which was sent. The second packet is in flight now."""
        self._pop_first()
        self._sent_bytes = len(self._queue[0][0])

    def _pop_first(self):
        """Remove the first packet, which was sent."""
        tile = self._queue.pop(0)[1]
        self._sent_bytes = 0
        if tile is not None:
            self.sent_tiles.append(tile)

    def _start_next(self, is_full):
        """Start the next transfer; an empty one if *is_full* and no packet waits."""
        if self.is_queue_lost or not self.is_open:
            return
        if not self._queue:
            if is_full:
                self._start(_NO_BYTES, _ZERO)
            return
        packet = self._queue[0][0]
        sent = self._sent_bytes
        left = len(packet) - sent
        if sent or left > _TRANSFER:
            packet = self._cut(packet)
        self._sent_bytes = sent + len(packet)
        if not self._start(packet, _LAST if left <= _TRANSFER else _PART):
            self._sent_bytes = sent

    def _cut(self, packet):
        """Return the next part of a packet that needs several transfers. Allocates a view."""
        return packet[self._sent_bytes : self._sent_bytes + _TRANSFER]


class Inbound(Endpoint):
    """The bulk OUT endpoint. The controller fills one buffer while the main loop reads the other.

    So the board accepts a packet of the host while the main loop is busy, as long as a buffer is
    free. A host may wait until its packet is accepted before it reads from the board again.

    Every transfer is the only one of its buffer, so a transfer in flight has the state _LAST.

    ======  ============  =========================================================  ==========
    state   in flight     event                                                      next state
    ======  ============  =========================================================  ==========
    _IDLE   none          the endpoint is open and a buffer is free                  _LAST
    _LAST   a transfer    it ends, the other buffer is free: the buffers are         _LAST
                          swapped
    _LAST   a transfer    it ends, the other buffer is unread: ``_waiting`` is set   _IDLE
    any     any           refused, halted, cleared, or bus reset                     _IDLE
    ======  ============  =========================================================  ==========
    """

    def __init__(self, submit, address, size):
        super().__init__(submit, address)
        # Bytes in the buffer that the main loop reads, and how many of them it has read.
        self.count = 0
        self._read = 0
        # Bytes in the other buffer, if it was filled before the first one was read.
        self._waiting = 0
        self._filling = memoryview(bytearray(size))
        self._full = memoryview(bytearray(size))

    def resume(self):
        """Listen, if nothing is in flight and a buffer is free."""
        if self.state == _IDLE and self.is_open and not self._waiting:
            self._start(self._filling, _LAST)

    def pass_bytes(self, receiver, now):
        """Pass received bytes to *receiver*, as many as it has space for.

        Called by the main loop, only if ``count`` is not 0.
        """
        space = receiver.get_space()
        start = self._read
        count = min(len(space), self.count - start)
        space[:count] = self._full[start : start + count]
        receiver.add_received(count, now)
        self._read = start + count
        if self._read == self.count:
            self._read = 0
            # From here on a callback may swap the buffers.
            self.count = 0
            if self._waiting:
                self._swap(self._waiting)
                self._waiting = 0

    def on_transfer_end(self, result, count):
        """Swap the buffers and listen again, if the other buffer was read. Called in a callback."""
        self.state = _IDLE
        if not result and count:
            if self.count:
                self._waiting = count
                return
            self._swap(count)
        self.resume()

    def stop(self, is_open):
        """Forget the transfer in flight. Called in a callback."""
        self._stop(is_open)

    def drop(self):
        """Drop the bytes that arrived before a bus reset. Called by the main loop."""
        self.count = self._read = self._waiting = 0

    def _swap(self, count):
        self._filling, self._full = self._full, self._filling
        self.count = count


class UsbTransport:
    """Carry the link's bytes over *usbd*. *lanes* is the number of lanes, each a bulk IN endpoint.

    A bus reset ends the session, because the host has gone or begins anew. The first call of
    receive() or send() after a reset drops all packets and bytes. *submit* starts a transfer, as
    ``usbd.submit_xfer`` does.
    """

    def __init__(self, usbd, lanes, serial, model, maker, submit=None):
        submit = submit or usbd.submit_xfer
        self._usbd = usbd
        self._builtin = usbd.BUILTIN_DEFAULT
        self.packet_bytes = find_bulk_in(self._builtin.desc_cfg)[1]
        self._interface = self._builtin.itf_max
        first = self._builtin.ep_max
        self.lanes = [Lane(submit, _IN | first + i, self.packet_bytes) for i in range(lanes)]
        self._strings = [None, maker, model, serial]
        # A transfer takes the host's longest link packet, in whole USB packets. It ends when it is
        # full, or with a short or empty USB packet. If a shorter link packet fills its last USB
        # packet and the host sends no empty one, the transfer goes on with the next link packet.
        longest = wire.HEADER_BYTES + wire.MAX_CONTROL + self.packet_bytes
        longest -= longest % self.packet_bytes
        # The callback of each IN endpoint, by its number.
        self._callbacks = [None] * first + [lane.on_transfer_end for lane in self.lanes]
        self.inbound = Inbound(submit, first, longest)
        self._is_open = False
        self._was_reset = False

    def start(self):
        """Connect the board to the bus. A connected board disconnects first and re-enumerates."""
        usbd, builtin = self._usbd, self._builtin
        usbd.active(False)
        usbd.builtin_driver = builtin
        strings = self._strings + [None] * (builtin.str_max - len(self._strings))
        usbd.config(
            self._describe_device(), self._describe_interfaces(), strings,
            self._on_open, self._on_reset, self._on_control, self._on_transfer_end,
        )  # fmt: skip
        usbd.active(True)

    def is_configured(self):
        """Return True if a host has configured the board since the last bus reset."""
        return self._is_open

    def on_controller_reset(self):
        """React to a reset of the controller: the same as for a bus reset, which always follows."""
        self._on_reset()

    def receive(self, link, now):
        """Pass received bytes to the link and listen again. Ends the session after a bus reset."""
        if self._was_reset:
            self._drop_all(link)
        if self.inbound.count:
            # Return the sent tiles before the link reads requests. A host that requests a tile
            # again has received everything that was sent before. If that tile still counted as in
            # flight, it would be neither resent nor reported as gone.
            for lane in self.lanes:
                lane.return_tiles(link)
            self.inbound.pass_bytes(link.receiver, now)
        if self.inbound.state == _IDLE:
            self.inbound.resume()
            self._recover(self.inbound)

    def send(self, link):
        """Queue packets on each lane with space. Return True if one was queued.

        Ends the session after a bus reset.
        """
        if self._was_reset:
            self._drop_all(link)
        for lane in self.lanes:
            if lane.is_queue_lost:
                lane.drop()
            if lane.sent_tiles:
                lane.return_tiles(link)
            if lane.state == _IDLE:
                lane.resume()
                self._recover(lane)
        # First one packet on each lane, so that no lane is idle while another one has two.
        if not link.has_packets():
            return False
        was_queued = self._fill(link, 0)
        return self._fill(link, 1) or was_queued

    def _fill(self, link, most):
        """Queue packets on each lane while has_space(most). Return True if a packet was queued."""
        was_queued = False
        number = 0
        for lane in self.lanes:
            while lane.has_space(most) and lane.take(link, number):
                was_queued = True
            number += 1
        return was_queued

    def _recover(self, endpoint):
        """Disconnect and re-enumerate if the endpoint is stuck: only a bus reset frees it."""
        if endpoint.is_stuck():
            self._on_reset()
            self.start()

    def _drop_all(self, link):
        """Drop all bytes and packets from before the bus reset, and end the host's session."""
        self._was_reset = False
        for lane in self.lanes:
            lane.drop()
            lane.return_tiles(link)
        self.inbound.drop()
        link.end_session()

    # --- descriptors ----------------------------------------------------------------------

    def _describe_device(self):
        fields = list(struct.unpack(_DEVICE, self._builtin.desc_dev))
        # VID and PID stay the board's. bcdDevice is the link's version.
        fields[3:6] = _MISCELLANEOUS
        fields[9] = wire.VERSION_MAJOR << 8 | wire.VERSION_MINOR
        return struct.pack(_DEVICE, *fields)

    def _describe_interfaces(self):
        """Return the configuration descriptor: the built-in interfaces, then the link's own."""
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

    # --- callbacks ------------------------------------------------------------------------

    def _on_open(self, descriptors):
        """The host has configured the board."""
        self._is_open = True
        self.inbound.stop(True)
        for lane in self.lanes:
            lane.stop(True)

    def _on_reset(self):
        """The host has reset the bus."""
        self._is_open = False
        self._was_reset = True
        self.inbound.stop(False)
        self.inbound.fault = _NO_FAULT
        for lane in self.lanes:
            lane.stop(False)
            lane.fault = _NO_FAULT

    def _on_control(self, stage, request):
        """The host has halted or cleared an endpoint. The controller has already done it.

        A host that opens the interface clears each endpoint. A host that drops a lane halts its
        endpoint and leaves it so. The tiles of that lane then go over the other lanes.
        """
        if request[0] != _TO_ENDPOINT:
            return False
        if stage == _STAGE_SETUP:
            for endpoint in [self.inbound] + self.lanes:
                if endpoint.address == request[4]:
                    is_clear = request[1] == _CLEAR_FEATURE
                    if endpoint.state != _IDLE and not is_clear:
                        endpoint.fault = _HALTED
                    endpoint.stop(is_clear)
        return True

    def _on_transfer_end(self, address, result, count):
        """A transfer has ended. *result* is 0 if it succeeded."""
        if address & _IN:
            self._callbacks[address & 15](result)
        else:
            self.inbound.on_transfer_end(result, count)
        return True
