"""Each request in each state of stream and module, as Table 6 of SPEC.md says.

The tables are read from SPEC.md, and the firmware runs on a clock that the test sets.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import module_world

from lensfw import contacts, focus_motor, heat, power, wire

ROOT = Path(__file__).resolve().parents[2]
STREAM = 0
SECOND = 1_000_000
CALIBRATION = 1
"""The kind of the only calibration that the module's manifest lists."""
Cells = dict[str, str]


def read_table(title: str) -> dict[str, Cells]:
    """Return a table of SPEC.md, by the first column and the head of another."""
    text = (ROOT / "protocol/SPEC.md").read_text("utf-8").split(f"**{title}**")[1]
    found = re.search(r"^\|.*?(?=^$)", text, flags=re.M | re.S)
    assert found
    lines = [re.split(r" *\| *", line.strip(" |")) for line in found[0].strip().splitlines()]
    head, _, *rows = lines
    assert all(len(row) == len(head) and all(row) for row in rows), "no cell is empty"
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def split_requests(table: dict[str, Cells]) -> dict[str, Cells]:
    """Return a row for each of the requests that share one."""
    return {each: cells for key, cells in table.items() for each in key.split(", ")}


BY_STREAM = split_requests(read_table("Table 6: requests and states of the stream"))
BY_MODULE = read_table("Table 6, continued: states of the module")
# Each request, and whether the session has AUTH and TEST: only two requests need them.
CELLS = [(each, False) for each in ("Hello", *BY_STREAM)] + [("Challenge", True), ("Test", True)]
# A STREAMING stream has two origins, and SetSettings tells them apart.
STREAM_STATES = ("UNCONFIGURED", "CONFIGURED", "STREAMING by StartStream", "STREAMING by Capture")

VALUES: dict[str, tuple[int, tuple[int, ...], bytes]] = {
    "Configure": (wire.T_CONFIGURE, (STREAM, 0, 2, 0, 0), b""),
    "Configure with TEST_ONLY": (
        wire.T_CONFIGURE,
        (STREAM, wire.CONFIGURE_TEST_ONLY, 2, 0, 0),
        b"",
    ),
    "Capture": (wire.T_CAPTURE, (STREAM, 0, 1), b""),
    "StartStream": (wire.T_STREAM, (STREAM, 0, 0, 0), b""),
    "SetSettings": (wire.T_SET_SETTINGS, (STREAM, 0), module_world.settings(2000)),
    "Stop": (wire.T_STOP, (STREAM,), b""),
    "Flush": (wire.T_FLUSH, (), b""),
    "SetBudget": (wire.T_SET_BUDGET, (0, 450), b""),
    "GetManifest": (wire.T_GET_MANIFEST, (0,), b""),
    "GetCalibration": (wire.T_GET_CALIBRATION, (CALIBRATION, 0), b""),
    "Query": (wire.T_QUERY, (0x1234ABCD, 1), b""),
    "Heartbeat": (wire.T_HEARTBEAT, (0, 0, 0, 0), b""),
    "Challenge": (wire.T_CHALLENGE, (wire.AUTH_HMAC_SHA256,), bytes(32)),
    "Test": (wire.T_TEST, (wire.TEST_DETACH, 0, 1000), b""),
}
REPLIES = {
    "GetManifest": wire.T_MANIFEST,
    "GetCalibration": wire.T_CALIBRATION,
    "Query": wire.T_QUERY_REPLY,
    "Heartbeat": wire.T_HEARTBEAT_REPLY,
}
ANSWERS = {
    "Accepted": wire.T_ACCEPTED,
    "Configured": wire.T_CONFIGURED,
    "Flushed": wire.T_FLUSHED,
    "Proof": wire.T_PROOF,
    "HelloReply": wire.T_HELLO_REPLY,
}
ERRORS = {
    "STATE": wire.ERR_STATE,
    "POWER": wire.ERR_POWER,
    "UNSUPPORTED": wire.ERR_UNSUPPORTED,
}
UNSOLICITED = {
    wire.T_LOG, wire.T_NOTICE, wire.T_EVENT, wire.T_FRAME_START, wire.T_TILE, wire.T_FRAME_END,
}  # fmt: skip


class World:
    """A module in an OPEN session, whose frames do not come to their end."""

    def __init__(self, capabilities: int = 0) -> None:
        config = module_world.configuration() | {"auth_key": bytes(32).hex(), "test": True}
        config["power"] |= {"motor_mw": 300}
        config["calibrations"] = [[CALIBRATION, 0, 16, 0]]
        self.camera, self.ports, self.time = module_world.camera(config)
        self.ports.read_calibration = lambda start, count: bytes(16)[start : start + count]
        self.peer = module_world.Peer(self.camera, self.time)
        offered = (0x10, 0x10, 1, 0, capabilities, 4194304)
        self.peer.send(wire.T_HELLO, 1, offered)
        self.last = 1
        self.pass_us(SECOND)
        assert self.stream.state == 0

    @property
    def stream(self) -> Any:
        return self.camera.streams[STREAM]

    def pass_us(self, us: int) -> None:
        for _ in range(0, us, 5000):
            self.time.us += 5000
            self.peer.turn()

    def request(self, name: str) -> list[tuple[Any, bytes]]:
        """Send a request. Return the packets that answer it."""
        self.last += 1
        kind, values, tail = VALUES[name]
        number = 0 if name == "Heartbeat" else self.last
        found = list(self.peer.send(kind, number, values, tail))
        found += self.peer.turn()
        return [each for each in found if each[0][2] not in UNSOLICITED]

    def hello(self) -> list[tuple[Any, bytes]]:
        other = module_world.Peer(self.camera, self.time, 0x5555AAAA)
        found = other.hello(number=99)
        return [each for each in found if each[0][2] not in UNSOLICITED]

    def move_contact(self, pin: int, level: int) -> None:
        self.ports.events.append((self.ports.CONTACT, pin, level))
        self.peer.turn()

    def settle(self, pin: int, level: int) -> None:
        self.move_contact(pin, level)
        self.pass_us(2 * contacts.SETTLE_US)

    def make_wet(self) -> None:
        for _ in range(contacts.WET_SAMPLES):
            self.sample(power.LEAKAGE_CHANNEL, 4095)

    def sample(self, channel: int, counts: int) -> None:
        self.ports.events.append((self.ports.ADC, channel, counts))
        self.peer.turn()

    def warm(self, state: int) -> None:
        """Bring the module to a heat state, and wait until its effect begins."""
        millidegrees = (0, 40_100, 42_900, 43_500, 43_750, 44_100, 46_000)[state]
        self.sample(power.TEMPERATURE_CHANNEL, -(-(millidegrees + 50_000) * 4096 // 330_000))
        if state == heat.CRITICAL:
            # The converter's steps are coarser than the state is wide.
            self.camera.power.temperature_mc = millidegrees
            self.camera._update_heat(self.time.us)
        assert self.camera.heat.state == state
        self.time.us += 1000 * heat.NOTICE_MS

    def lower_supply(self) -> None:
        self.ports.vbus_mv = 4000
        self.sample(power.VBUS_CHANNEL, 4000 * 4096 // 6600)
        assert not self.camera.power.is_good

    def lower_budget(self) -> None:
        assert self.request("SetBudget")[-1][0][2] == wire.T_ACCEPTED

    def move_lens(self) -> None:
        self.camera.focus_motor.move_to(1000, self.time.us)
        assert not self.camera.focus_motor.is_settled

    def home_lens(self) -> None:
        self.camera.focus_motor.lose()
        self.camera.focus_motor.home(self.time.us)
        assert self.camera.focus_motor.state != focus_motor.UNHOMED

    def turn_ring(self) -> None:
        for edge, levels in enumerate((1, 3, 2, 0)):
            self.ports.events.append((self.ports.RING, edge % 2, levels >> edge % 2 & 1))
        self.peer.turn()


def go_nowhere(world: World) -> None:
    del world


BRING: dict[str, Callable[[World], object]] = {
    "contacts ATTACHED, supply good, heat NONE, lens at rest": go_nowhere,
    "a contact is open, and not yet settled": lambda w: w.move_contact(contacts.DETECT_PIN, 0),
    "the release button is pressed": lambda w: w.move_contact(contacts.RELEASE_PIN, 1),
    "contacts DETACHED": lambda w: w.settle(contacts.POWER_PIN, 0),
    "contacts HALF_SEATED": lambda w: w.settle(contacts.DETECT_PIN, 0),
    "contacts WET": World.make_wet,
    "contacts SHORTED": lambda w: w.move_contact(contacts.FAULT_PIN, 1),
    "supply low": World.lower_supply,
    "budget below the need of the frames": World.lower_budget,
    "heat LIGHT": lambda w: w.warm(heat.LIGHT),
    "heat MODERATE": lambda w: w.warm(heat.MODERATE),
    "heat SEVERE": lambda w: w.warm(heat.SEVERE),
    "heat CRITICAL": lambda w: w.warm(heat.CRITICAL),
    "heat EMERGENCY": lambda w: w.warm(heat.EMERGENCY),
    "heat SHUTDOWN": lambda w: w.warm(heat.SHUTDOWN),
    "the lens homes": World.home_lens,
    "the lens moves": World.move_lens,
    "the focus ring was turned": World.turn_ring,
}


def bring_stream(world: World, state: str) -> None:
    if state != "UNCONFIGURED":
        assert world.request("Configure")[-1][0][2] == wire.T_CONFIGURED
    if state.startswith("STREAMING"):
        # Without credit and rows no frame comes to its end.
        world.ports.dead = True
        assert world.request(state.split(" by ")[1])[-1][0][2] == wire.T_ACCEPTED


def find_answer(request: str, stream: str, module: Cells, has_capability: bool) -> str:
    """Return what the tables say: an answer, "Error" with a code, "no answer" or "discard"."""
    if module["the session and its streams"].startswith("end"):
        return "no answer" if request == "Hello" else "discard"
    if request == "Hello":
        return module["Hello"]
    if "becomes CONFIGURED" in module["the session and its streams"]:
        stream = "CONFIGURED" if stream.startswith("STREAMING") else stream
    found = BY_STREAM[request][stream.split()[0]]
    if "; Error STATE after Capture" in found and stream.endswith("Capture"):
        found = "Error STATE"
    if " with " in found:
        found = found.split(" with ")[0] if has_capability else "Error UNSUPPORTED"
    own = module[
        "Capture, StartStream" if request in ("Capture", "StartStream") else "any other request"
    ]
    if own.startswith("Error") and not found.startswith("Error"):
        return own
    return found


def check_answer(world: World, request: str, wanted: str, discards: int) -> None:
    answers = world.hello() if request == "Hello" else world.request(request)
    kinds = module_world.kinds(answers)
    if wanted in ("no answer", "discard"):
        assert kinds == []
        more = world.camera.link.receiver.discards.get("nonce", 0) - discards
        assert more == (wanted == "discard")
        return
    if code := re.match(r"Error (\w+)", wanted):
        assert kinds == [wire.T_ERROR]
        assert module_world.only(answers, wire.T_ERROR)[0] == ERRORS[code[1]]
        return
    if wanted == "their reply":
        assert kinds == [REPLIES[request]]
        return
    name = re.search("Accepted|Configured|Flushed|Proof|HelloReply", wanted)
    assert name, wanted
    assert kinds == [ANSWERS[name[0]]]


def test_the_tables_and_this_test_name_the_same_requests_and_states():
    assert set(BY_STREAM) == set(VALUES)
    assert set(BY_MODULE) == set(BRING)


@pytest.mark.parametrize("state", BRING)
def test_each_request_is_answered_as_the_tables_say(state):
    module = BY_MODULE[state]
    for stream, (request, capable) in itertools.product(STREAM_STATES, CELLS):
        world = World(wire.CAP_AUTH | wire.CAP_TEST if capable else 0)
        bring_stream(world, stream)
        BRING[state](world)
        ending = module["the session and its streams"]
        closes = [
            wire.decode(wire.T_CLOSE, payload)[0]
            for header, payload in world.peer.heard
            if header[2] == wire.T_CLOSE
        ]
        reason = {"DETACH": wire.CLOSE_DETACH, "POWER": wire.CLOSE_POWER}.get(ending.split()[-1])
        where = (state, stream, request, capable)
        assert closes == ([] if reason is None else [reason]), where
        wanted = find_answer(request, stream, module, capable)
        try:
            check_answer(
                world, request, wanted, world.camera.link.receiver.discards.get("nonce", 0)
            )
        except AssertionError as error:
            raise AssertionError(f"{where}: wanted {wanted!r}") from error
