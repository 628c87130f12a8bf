"""The link on USB, and the rules of the stand-in controller."""

import struct

from helpers.usb_harness import (  # fmt: skip
    ARM,
    ATTACH,
    CONTROL,
    DETACH,
    DONE,
    HALT,
    OPEN,
    REPLY,
    RESET,
    Cable,
    Harness,
    Link,
)

from lensfw import wire
from lensfw.ports import usbdevice
from lensfw.transports import usb

OUT, IN = 0x03, 0x83


class Controller:
    """The stand-in controller with a bulk OUT and a bulk IN endpoint. It records callbacks."""

    def __init__(self, speed=2):
        self.cable = Cable()
        self.usbd = usbdevice.USBDevice(self.cable, speed, lambda task, argument: task(argument))
        self.calls = []
        self.transport = usb.UsbTransport(self.usbd, 1, "S1", "M", "L")
        self.usbd.builtin_driver = self.usbd.BUILTIN_DEFAULT
        self.usbd.config(
            self.transport._describe_device(), self.transport._describe_interfaces(), [],
            lambda descriptors: self.calls.append(("open", len(descriptors))),
            lambda: self.calls.append(("reset",)),
            self._control,
            lambda ep, result, count: self.calls.append(("done", ep, result, count)),
        )  # fmt: skip
        self.usbd.active(True)
        self.open(1)

    def _control(self, stage, request):
        self.calls.append(("control", stage, bytes(request)))
        return True

    def open(self, generation):
        self.cable.say(RESET, 0, generation)
        self.cable.say(OPEN, 0, generation, 1)
        self.usbd.pump()
        self.cable.heard()
        found, self.calls = self.calls, []
        return found


def errno_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.args[0]
    return None


def test_one_transfer_per_endpoint_and_direction():
    controller = Controller()
    controller.usbd.submit_xfer(IN, b"a")
    assert errno_of(controller.usbd.submit_xfer, IN, b"b") == 16
    controller.usbd.submit_xfer(OUT, bytearray(64))
    controller.cable.say(DONE, IN, 1, 1)
    controller.usbd.pump()
    assert controller.calls == [("done", IN, 0, 1)]
    assert controller.usbd.submit_xfer(IN, b"b")


def test_nothing_is_submitted_while_inactive():
    controller = Controller()
    controller.usbd.active(False)
    assert errno_of(controller.usbd.submit_xfer, IN, b"a") == 22
    assert controller.cable.heard()[-1][0] == DETACH


def test_a_driver_is_not_changed_while_active():
    controller = Controller()
    assert errno_of(setattr, controller.usbd, "builtin_driver", controller.usbd.BUILTIN_NONE) == 22


def test_lengths_have_16_bits_and_are_not_checked():
    controller = Controller()
    controller.usbd.submit_xfer(IN, bytearray(65536 + 3))
    assert controller.cable.armed(IN) == [bytes(3)]
    controller.cable.say(DONE, IN, 1, 3)
    controller.usbd.pump()
    controller.usbd.submit_xfer(IN, bytearray(65536))
    assert controller.cable.armed(IN) == [b""]


def test_no_callback_comes_after_a_reset():
    controller = Controller()
    controller.usbd.submit_xfer(IN, b"a")
    assert controller.open(7) == [("reset",), ("open", 9 + 2 * 7)]
    # The bus had not seen the reset when it ended the transfer.
    controller.cable.say(DONE, IN, 1, 1)
    controller.usbd.pump()
    assert controller.calls == []
    controller.usbd.submit_xfer(IN, b"b")
    assert controller.cable.heard() == [(ARM, IN, 7, 0, b"b")]


def test_a_halt_drops_what_is_in_flight_without_a_callback():
    controller = Controller()
    controller.usbd.submit_xfer(IN, b"a")
    controller.cable.say(HALT, IN, 2, 1)
    controller.cable.say(DONE, IN, 1, 1)
    controller.usbd.pump()
    request = bytes((2, 3, 0, 0, IN, 0, 0, 0))
    assert controller.calls == [("control", 1, request), ("control", 3, request)]
    assert errno_of(controller.usbd.submit_xfer, IN, b"b") == 16
    assert controller.usbd.stall(IN)
    controller.cable.say(HALT, IN, 3, 0)
    controller.usbd.pump()
    assert controller.calls[-1] == ("control", 3, bytes((2, 1, 0, 0, IN, 0, 0, 0)))
    controller.cable.heard()
    controller.usbd.submit_xfer(IN, b"c")
    assert controller.cable.heard() == [(ARM, IN, 3, 0, b"c")]


def test_a_clear_without_a_halt_leaves_what_is_in_flight_to_be_replaced():
    controller = Controller()
    controller.usbd.submit_xfer(IN, b"a")
    controller.cable.say(HALT, IN, 2, 0)
    controller.usbd.pump()
    controller.calls = []
    controller.usbd.submit_xfer(IN, b"b")
    controller.cable.say(DONE, IN, 1, 1)
    controller.usbd.pump()
    assert controller.calls == []
    controller.cable.say(DONE, IN, 2, 1)
    controller.usbd.pump()
    assert controller.calls == [("done", IN, 0, 1)]


def test_what_comes_goes_into_the_buffer_of_the_transfer():
    controller = Controller()
    buffer = bytearray(64)
    controller.usbd.submit_xfer(OUT, buffer)
    controller.cable.say(DONE, OUT, 1, 5, b"hello")
    controller.usbd.pump()
    assert controller.calls == [("done", OUT, 0, 5)] and buffer[:6] == b"hello\0"


def test_a_class_request_is_answered_by_the_built_in_port():
    controller = Controller()
    coding = struct.pack("<IBBB", 9600, 0, 0, 8)
    controller.cable.say(CONTROL, 0, 1, 0, bytes((0x21, 0x20, 0, 0, 0, 0, 7, 0)) + coding)
    controller.cable.say(CONTROL, 0, 1, 0, bytes((0xA1, 0x21, 0, 0, 0, 0, 7, 0)))
    controller.cable.say(CONTROL, 0, 1, 0, bytes((0x21, 0x55, 0, 0, 0, 0, 0, 0)))
    controller.usbd.pump()
    assert controller.cable.heard() == [
        (REPLY, 0, 1, 1, b""),
        (REPLY, 0, 1, 1, coding),
        (REPLY, 0, 1, 0, b""),
    ]
    assert controller.calls == []


def test_a_slow_bus_gets_every_byte():
    controller = Controller()
    controller.cable._most = 7
    controller.usbd.submit_xfer(IN, bytes(range(100)))
    assert controller.cable.heard() == [(ARM, IN, 1, 0, bytes(range(100)))]


# --- the transport --------------------------------------------------------------------------------


class Board(Harness):
    """The transport on a stand-in controller that a host has configured."""

    def __init__(self, lanes=1, speed=2):
        super().__init__(
            speed, lambda usbd: usb.UsbTransport(usbd, lanes, "S1", "M", "L", self.submit)
        )

    def open(self):
        self.generation += 1
        self.cable.say(RESET, 0, self.generation)
        self.cable.say(OPEN, 0, self.generation, 1)
        self.turn()

    def turn(self):
        """Run the main loop once."""
        self.usbd.pump()
        self.transport.receive(self.link, 0)
        self.transport.send(self.link)

    def taken(self, count, ep=IN, generation=None):
        self.cable.say(DONE, ep, generation or self.generation, count)
        self.turn()

    def host_takes_all(self, ep=IN):
        """Let the host read until nothing is left. Return the data of each transfer."""
        found = []
        while True:
            armed = self.cable.armed(ep)
            if not armed:
                return found
            assert len(armed) == 1
            found.append(armed[0])
            self.taken(len(armed[0]), ep)


def test_it_is_found_by_class_and_version():
    for lanes in (1, 4):
        for speed, packet in ((2, 64), (3, 512)):
            kind, _, _, value, blob = Board(lanes, speed).attached
            assert (kind, value) == (ATTACH, speed)
            device = struct.unpack("<BBHBBBBHHHBBBB", blob[:18])
            assert device[7:10] == (0x2E8A, 0x0005, wire.VERSION_MAJOR << 8 | wire.VERSION_MINOR)
            total = struct.unpack("<H", blob[20:22])[0]
            own = blob[18 + 75 : 18 + total]
            assert own[:9] == bytes(
                (9, 4, 2, 0, 1 + lanes, 0xFF, wire.USB_SUBCLASS, wire.USB_PROTOCOL, 0)
            )
            ends = [struct.unpack("<BBBBHB", own[at : at + 7]) for at in range(9, len(own), 7)]
            assert [each[2] for each in ends] == [OUT] + [IN + i for i in range(lanes)]
            assert {each[3:5] for each in ends} == {(2, packet)}
            assert blob[18 + total :].find(b"\x03\x02S1") >= 0


def test_packets_of_every_length():
    for speed, packet in ((2, 64), (3, 512)):
        for length in (1, 63, 64, 65, 511, 512, 513, 1024, 65023, 65024):
            board = Board(1, speed)
            data = board.link.give(length)
            board.turn()
            found = board.host_takes_all()
            assert found == ([data] if length % packet else [data, b""]), length


def test_a_packet_longer_than_a_transfer():
    board = Board()
    data = board.link.give(150001, "tile")
    board.turn()
    found = board.host_takes_all()
    assert [len(each) for each in found] == [65024, 65024, 150001 - 2 * 65024]
    assert b"".join(found) == data and board.link.released == ["tile"]


def test_no_empty_packet_where_another_follows():
    board = Board()
    first, second = board.link.give(128, "a"), board.link.give(10, "b")
    board.turn()
    assert board.host_takes_all() == [first, second]
    assert board.link.released == ["a", "b"]


def test_a_packet_that_comes_during_the_empty_one():
    board = Board()
    board.link.give(64)
    board.turn()
    board.cable.heard()
    board.taken(64)
    assert board.cable.armed(IN) == [b""]
    data = board.link.give(3)
    board.turn()
    assert board.cable.armed(IN) == []
    board.taken(0)
    assert board.cable.armed(IN) == [data]


def test_a_host_that_never_reads_is_given_two_packets():
    board = Board()
    for number in range(9):
        board.link.give(100, number)
    for _ in range(20):
        board.turn()
    assert len(board.cable.armed(IN)) == 1
    assert len(board.link.waiting[0]) == 7 and board.link.released == []


def test_a_reset_gives_every_tile_back_and_ends_the_session():
    board = Board(2)
    for number in range(4):
        board.link.give(100, number, number % 2)
    board.turn()
    board.turn()
    ended = board.link.ended
    board.open()
    assert sorted(board.link.released) == [0, 1, 2, 3]
    assert board.link.ended == ended + 1
    board.cable.heard()
    data = board.link.give(5)
    board.turn()
    assert board.cable.armed(IN) == [data]


def test_an_endpoint_starts_anew_after_it_was_halted_and_cleared():
    board = Board()
    board.link.give(100, "old")
    board.link.give(200, "next")
    board.turn()
    board.cable.say(HALT, IN, 8, 1)
    board.cable.say(HALT, IN, 9, 0)
    board.cable.say(HALT, OUT, 11, 0)
    board.turn()
    assert board.link.released == ["old", "next"]
    board.cable.heard()
    data = board.link.give(7)
    board.turn()
    assert [each[1:] for each in board.cable.heard() if each[0] == ARM] == [(IN, 9, 0, data)]
    board.cable.say(DONE, OUT, 11, 2, b"ok")
    board.turn()
    assert board.link.receiver.data == b"ok"


def test_a_lane_that_is_halted_is_left_alone():
    board = Board(2)
    board.link.give(100, "lost", 1)
    board.turn()
    board.cable.heard()
    board.cable.say(HALT, IN + 1, 8, 1)
    board.turn()
    assert board.link.released == ["lost"]
    board.link.give(100, "stays", 1)
    data = board.link.give(50, "goes", 0)
    board.turn()
    heard = board.cable.heard()
    assert [(each[1], each[4]) for each in heard if each[0] == ARM] == [(IN, data)]
    board.cable.say(HALT, IN + 1, 9, 0)
    board.turn()
    assert len(board.cable.armed(IN + 1)) == 1


def test_what_the_host_sends_reaches_the_link():
    board = Board()
    for length in (1, 64, 1064):
        data = bytes(index % 251 for index in range(length))
        board.link.receiver.data = b""
        board.cable.say(DONE, OUT, 1, length, data)
        for _ in range(4):
            board.turn()
        assert board.link.receiver.data == data


def test_no_transfer_starts_between_a_bus_reset_and_its_callback():
    board = Board()
    board.link.give(100, 1)
    board.link.give(100, 2)
    board.turn()
    assert len(board.cable.armed(IN)) == 1
    # The controller has been reset, and its callback has not come yet.
    board.is_addressed = False
    board.taken(100)
    assert not board.cable.armed(IN), "neither what follows"
    board.cable.say(DONE, OUT, 1, 10, bytes(10))
    board.turn()
    board.turn()
    assert not board.cable.armed(OUT), "nor a transfer of the host's"
    board.is_addressed = True
    board.open()
    board.link.give(50)
    board.turn()
    assert [len(each) for each in board.cable.armed(IN)] == [50], "what was there is gone"


def test_tiles_sent_before_a_host_packet_are_held_when_it_is_handled():
    board = Board()
    released = []

    def heard(count, now):
        released.extend(board.link.released)

    board.link.receiver.add_received = heard
    board.link.give(100, "tile")
    board.turn()
    board.cable.say(DONE, IN, 1, 100)
    board.cable.say(DONE, OUT, 1, 10, bytes(10))
    board.turn()
    assert released == ["tile"], "it can be sent again to a host that asks for it now"


def test_an_empty_transfer_of_the_host_is_none():
    board = Board()
    board.cable.say(DONE, OUT, 1, 0)
    board.turn()
    board.turn()
    assert board.link.receiver.data == b""
    assert len([each for each in board.cable.heard() if each[:2] == (ARM, OUT)]) == 2


def test_it_is_silent_until_it_is_configured():
    cable = Cable()
    usbd = usbdevice.USBDevice(cable, 2, lambda task, argument: task(argument))
    transport = usb.UsbTransport(usbd, 1, "S1", "M", "L")
    transport.start()
    link = Link()
    link.give(10)
    cable.say(RESET, 0, 1)
    for _ in range(3):
        usbd.pump()
        transport.receive(link, 0)
        transport.send(link)
    assert [each[0] for each in cable.heard()] == [ATTACH]
    assert len(link.waiting[0]) == 1


class Clock:
    """Harness in for MicroPython's module time: CPython's has no ticks."""

    def __init__(self):
        self.ms = 0

    def ticks_ms(self):
        return self.ms

    def ticks_diff(self, end, start):
        return end - start


def with_clock(test):
    """Run a test with its own clock in the transport."""
    clock, kept = Clock(), usb.time
    usb.time = clock
    try:
        test(clock)
    finally:
        usb.time = kept


def test_the_board_re_enumerates_if_an_endpoint_stays_busy_after_a_halt():
    def test(clock):
        board = Board()
        board.cable.say(HALT, OUT, 2, 1)
        board.cable.say(HALT, OUT, 3, 0)
        board.turn()
        board.cable.heard()
        clock.ms += 250
        board.turn()
        assert not board.cable.heard()
        clock.ms += 1
        board.turn()
        assert [each[0] for each in board.cable.heard()] == [DETACH, ATTACH]
        for _ in range(3):
            clock.ms += 1000
            board.turn()
        assert not board.cable.heard(), "once"
        assert board.link.ended == 2, "at the first reset, and now"
        board.open()
        assert (ARM, OUT) in [each[:2] for each in board.cable.heard()]

    with_clock(test)


def test_an_endpoint_that_is_halted_and_stays_so_is_left_alone():
    def test(clock):
        board = Board(2)
        board.link.give(100)
        board.turn()
        assert len(board.cable.armed(IN)) == 1
        board.cable.say(HALT, IN, 2, 1)
        for _ in range(5):
            clock.ms += 1000
            board.turn()
        assert not board.cable.heard()

    with_clock(test)


def test_an_endpoint_that_is_only_cleared_may_wait_for_its_host():
    """The transfer in flight goes on: a host has opened the interface and is silent so far."""

    def test(clock):
        board = Board()
        board.usbd._claimable = Never()
        board.cable.say(HALT, OUT, 2, 0)
        for _ in range(5):
            clock.ms += 1000
            board.turn()
        assert not [each for each in board.cable.heard() if each[0] == DETACH]

    with_clock(test)


class Never(set):
    """A set that contains nothing. So the earlier transfer stays in flight, as on a board."""

    def __contains__(self, ep):
        return False
