"""The link on the IN endpoint of the built-in serial port, beside the port's own driver."""

from helpers.usb_harness import ARM, CONTROL, DONE, HALT, OPEN, RESET, Harness

from lensfw.transports.cdc import CdcTransport

OUT, IN = 0x02, 0x82


class Board(Harness):
    """The transport on a stand-in controller. A host has opened its serial port."""

    def __init__(self):
        super().__init__(2, lambda usbd: CdcTransport(usbd.cdc, None, usbd, "S1", self.submit))

    def open(self):
        """Reset the bus, configure the board and open the port, as a host does."""
        self.generation += 1
        self.cable.say(RESET, 0, self.generation)
        self.cable.say(OPEN, 0, self.generation, 1)
        self.cable.say(CONTROL, 0, self.generation, 0, bytes((0x21, 0x22, 1, 0, 0, 0, 0, 0)))
        self.usbd.pump()
        self.cable.heard()

    def turn(self):
        """Run the main loop once."""
        self.usbd.pump()
        assert self.transport.receive(self.link, 0)
        return self.transport.send(self.link)

    def taken(self, count):
        """Let the host read a transfer of *count* bytes."""
        self.cable.say(DONE, IN, self.generation, count)

    def armed(self):
        self.usbd.pump()
        return self.cable.armed(IN)


def test_the_host_sees_the_port_as_it_was_but_for_the_serial_number():
    board = Board()
    blob = board.attached[4]
    assert bytes(board.usbd.cdc.desc_dev) + bytes(board.usbd.cdc.desc_cfg) == blob[: 18 + 75]
    assert b"S1" in blob[18 + 75 :]


def test_a_packet_goes_in_one_transfer_and_the_next_when_it_is_over():
    board = Board()
    packets = [board.link.give(count, count) for count in (5800, 74, 5800)]
    assert board.turn() is True
    assert board.armed() == packets[:1], "64 bytes at a time would be the driver's"
    for _ in range(3):
        assert board.turn() is False
        assert board.armed() == [], "it is under way"
    assert board.link.released == []
    board.taken(5800)
    board.turn()
    assert board.armed() == packets[1:2]
    assert board.link.released == [5800]
    board.taken(74)
    board.turn()
    assert board.armed() == packets[2:]
    assert board.link.released == [5800, 74]


def test_what_comes_later_follows_what_has_gone_unnoticed():
    board = Board()
    first = board.link.give(100, "first")
    board.turn()
    board.taken(100)
    board.turn()
    assert board.armed() == [first] and board.link.released == [], "nobody has said so"
    second = board.link.give(200, "second")
    board.turn()
    assert board.armed() == [second]
    board.turn()
    assert board.link.released == ["first"]


def test_a_short_packet_holds_up_the_next_for_no_turn():
    board = Board()
    board.link.give(5800)
    board.turn()
    assert len(board.armed()) == 1
    reply, tile = board.link.give(74), board.link.give(5800)
    board.turn()
    submit = board.usbd.submit_xfer

    def quick(address, data):
        """Let the reply be sent before the main loop sees the packet behind it."""
        done = submit(address, data)
        if len(data) == 74:
            board.taken(74)
            board.usbd.pump()
        return done

    board.transport._lane._submit = quick
    board.taken(5800)
    board.turn()
    assert board.armed() == [reply, tile]


def test_the_driver_ends_what_fills_its_last_packet():
    board = Board()
    whole = board.link.give(128)
    board.turn()
    assert board.armed() == [whole]
    board.taken(128)
    assert board.armed() == [b""]
    behind = board.link.give(10)
    board.turn()
    assert board.armed() == [], "the empty one is under way"
    board.taken(0)
    board.turn()
    assert board.armed() == [behind]


def test_what_the_repl_prints_goes_between_packets():
    board = Board()
    packet = board.link.give(100)
    board.turn()
    assert board.armed() == [packet]
    assert board.usbd.cdc.write(b"Traceback") == 9
    behind = board.link.give(50)
    board.turn()
    assert board.armed() == [], "the endpoint is busy"
    board.taken(100)
    board.turn()
    assert board.armed() == [b"Traceback"]
    board.taken(9)
    board.turn()
    assert board.armed() == [behind]


def test_the_host_is_heard():
    board = Board()
    for piece in (b"one", bytes(range(64)), b"two"):
        board.cable.say(DONE, OUT, 1, len(piece), piece)
        board.turn()
    assert board.link.receiver.data == b"one" + bytes(range(64)) + b"two"
    assert len([each for each in board.cable.heard() if each[:2] == (ARM, OUT)]) == 3


def test_what_was_sent_is_known_before_the_host_is_heard():
    """The host asks for a tile again after it has received all that was sent before."""
    board = Board()
    known = []
    board.link.receiver.add_received = lambda count, now: known.extend(board.link.released)
    board.link.give(100, "tile")
    board.link.give(50)
    board.turn()
    board.taken(100)
    board.cable.say(DONE, OUT, 1, 10, bytes(10))
    board.turn()
    assert known == ["tile"]


def test_after_a_reset_nothing_of_before_follows_nor_is_heard():
    board = Board()
    board.link.give(5800, "under way")
    board.link.give(5800, "behind")
    board.turn()
    board.cable.say(DONE, OUT, 1, 5, b"stale")
    board.usbd.pump()
    board.open()
    board.link.waiting = [[], [], [], []]
    board.turn()
    assert board.link.ended == 1
    assert board.link.receiver.data == b""
    assert sorted(board.link.released) == ["behind", "under way"]
    assert board.armed() == []
    fresh = board.link.give(60)
    board.turn()
    assert board.armed() == [fresh]


def test_nothing_is_sent_between_a_reset_and_what_tells_of_it():
    """TinyUSB would panic: the address is 0 before the callback of the reset comes."""
    board = Board()
    board.link.give(100)
    board.turn()
    board.taken(100)
    assert len(board.armed()) == 1
    board.is_addressed = False
    board.link.give(50)
    for _ in range(3):
        board.turn()
        assert board.armed() == []
    board.is_addressed = True
    board.turn()
    assert len(board.armed()) == 1


def test_nothing_is_sent_before_the_host_has_been_heard_again():
    """The endpoint does not exist between the reset and the configuration."""
    board = Board()
    board.link.give(100)
    board.turn()
    assert len(board.armed()) == 1
    board.generation = 2
    board.cable.say(RESET, 0, 2)
    board.usbd.pump()
    board.link.give(50)
    assert board.transport.send(board.link) is False
    assert board.transport._lane.is_open is False
    assert board.armed() == []


def test_a_halted_endpoint_is_tried_again():
    board = Board()
    board.cable.say(HALT, IN, 2, 1)
    board.usbd.pump()
    packet = board.link.give(100)
    for _ in range(3):
        board.turn()
        assert board.armed() == []
    board.cable.say(HALT, IN, 3, 0)
    board.turn()
    assert board.armed() == [packet]
