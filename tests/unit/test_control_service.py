"""What other processes ask through the control socket, in virtual time and without a thread.

The clients are plain sockets. The owner answers in its own calls. So each test sends lines, lets
the owner wait for a frame, and reads what came back.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import stat
from contextlib import closing
from typing import Any

import pytest
from helpers.attach_harness import Lens, install
from helpers.frame_rings import fresh_name

import lenslink
from lenslink import Device, FrameRing, FrameRingReader, StreamEnded
from lenslink.control import client_connection, control_server, control_socket
from lenslink.control.control_messages import MAX_LINE
from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, NotFound, StorageError, UsageError
from lenslink.frame_ring import segment

URL = "bay:1"
STILLS = (1,)
REGIONS = (2,)


@pytest.fixture
def bay(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path)


@pytest.fixture
def lens(bay):
    made = Lens(bay.clock, "LENS-1")
    bay.plug(URL, made)
    return made


@pytest.fixture
def ring():
    with FrameRing(fresh_name(), 8, frame_bytes=1 << 16) as made:
        yield made
    assert not control_socket.path_of(made.name).exists()


@pytest.fixture
def module(lens, ring):
    del lens
    with Device(URL, 5.0, ring=ring) as opened:
        opened.serve()
        yield opened


class Client:
    """A client that never waits for the owner."""

    def __init__(self, name: str) -> None:
        self.socket = control_socket.connect(name, Deadline(1, "connecting"))
        self.socket.setblocking(False)
        self._text = b""
        self._id = 0

    def send(self, **fields: object) -> int:
        self._id += 1
        self.socket.send(json.dumps({"id": self._id, **fields}).encode() + b"\n")
        return self._id

    def read(self) -> list[dict[str, Any]]:
        """Return what has come since the last time; None at the end says that the owner left."""
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                break
            if not data:
                self._text += b"null\n"
                break
            self._text += data
        *lines, self._text = self._text.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def client(module, ring):
    with closing(Client(ring.name)) as made:
        module.start(exposure_us=4000)
        yield made


def turn(module, count: int = 1) -> list[Any]:
    """Let the owner receive frames, and answer meanwhile."""
    frames = []
    for _ in range(count):
        with module.next_frame() as frame:
            frames.append(frame)
    return frames


def carry_out(module) -> None:
    """Let the owner look at the socket and do what was asked, without waiting for a frame."""
    service = module._service
    for _ in range(4):
        service.poll()
    while service._server.has_commands:
        service.carry_out()


def answer(module, client, frames: int = 2) -> dict[str, Any]:
    turn(module, frames)
    [found] = client.read()
    return found


# --- what is asked -------------------------------------------------------------------------------


def test_the_state_says_what_the_owner_sees(module, client):
    turn(module)
    number = client.send(op="state")
    found = answer(module, client)
    assert (found["id"], found["ok"]) == (number, True)
    state = lenslink.ModuleState.from_json(found["result"])
    assert (state.is_attached, state.serial, state.url) == (True, "LENS-1", URL)
    assert state.nonce == module.nonce
    assert state.streams[0].width == module.configuration(0).width
    assert state.streams[0].is_running
    assert state.clients == 1
    assert 1 <= state.complete_frames <= 3
    assert state.complete_frames <= state.begun_frames
    assert state.contacts == 2


def test_a_change_holds_from_the_frame_that_is_announced(module, client):
    client.send(op="set", settings={"exposure_us": 2500, "gain_milli": 2000})
    frames = turn(module, 6)
    [found] = client.read()
    first = found["result"]["first_frame"]
    assert found["result"]["module_ms"] >= 0
    for frame in frames:
        is_after = frame.number >= first
        assert (frame.exposure_us == 2500) is is_after, (frame.number, first)
    assert frames[-1].number >= first


def test_many_requests_are_answered_in_their_order(module, client):
    numbers = [client.send(op="set", settings={"gain_milli": 1000 + each}) for each in range(8)]
    turn(module, 12)
    assert [each["id"] for each in client.read()] == numbers
    assert turn(module)[0].gain_milli == 1007


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 9000, "not JSON"),
        (b"1" * 9000, "not JSON"),
        (b"7", "not a JSON object"),
        (b'{"op": "state"}', "id=None"),
        (b'{"id": -1, "op": "state"}', "id=-1"),
        (b'{"id": 1e300, "op": "state"}', "id=1e"),
        (b'{"id": 1}', "op=None is unknown"),
        (b'{"id": 1, "op": ["state"]}', "is unknown"),
        (b'{"id": 1, "op": "zoom"}', "op='zoom' is unknown"),
        (b'{"id": 1, "op": "state", "x": 1}', "state has no field 'x'"),
        (b'{"id": 1, "op": "set", "settings": 5}', "settings=5"),
        (b'{"id": 1, "op": "set", "settings": {"zoom": 5}}', "no field 'zoom'"),
        (b'{"id": 1, "op": "set", "settings": {"gain_milli": "5"}}', "gain_milli='5'"),
        (b'{"id": 1, "op": "set", "settings": {"gain_milli": 0}}', "gain_milli=0"),
        (b'{"id": 1, "op": "set", "settings": {"gain_milli": 999999}}', "the module takes"),
        (b'{"id": 1, "op": "set", "stream": 77}', "stream=77"),
        (b'{"id": 1, "op": "stop", "stream": true}', "stream=True"),
        (b'{"id": 1, "op": "start"}', "start needs roi="),
        (b'{"id": 1, "op": "start", "options": {"roi": [0, 0, 8]}}', "roi=[0, 0, 8]"),
        (b'{"id": 1, "op": "start", "options": {"roi": [0, 1, 8, 4]}}', "must be even"),
        (b'{"id": 1, "op": "start", "options": {"roi": [0, 0, 8, 65534]}}', "roi"),
        (b'{"id": 1, "op": "set", "stream": 2, "settings": {"roi_x": -2}}', "roi_x=-2"),
        (b'{"id": 1, "op": "capture", "frames": {}}', "frames="),
        (b'{"id": 1, "op": "capture", "frames": []}', "0 entries"),
        (b'{"id": 1, "op": "capture", "frames": [1]}', "frames=1"),
        (b'{"id": 1, "op": "capture", "timeout": -1}', "timeout=-1"),
        (b'{"id": 1, "op": "capture", "timeout": NaN}', "timeout=nan"),
        (b'{"id": 1, "op": "capture", "options": {"mode": "nosuch"}}', "nosuch"),
        (b'{"id": 1, "op": "capture", "options": {"mode": 7}}', "mode=7"),
    ],
)
def test_a_bad_request_is_one_error_and_changes_nothing(module, client, line, words):
    client.socket.send(line + b"\n")
    found = answer(module, client)
    assert found["ok"] is False
    assert words in found["error"]["message"]
    assert found["error"]["type"] == "UsageError"
    client.send(op="state")
    assert answer(module, client)["ok"] is True
    assert turn(module)[0].exposure_us == 4000


def test_what_the_module_refuses_is_told_with_its_code(module, client):
    client.send(op="set", stream=1, settings={"gain_milli": 2000})
    found = answer(module, client)
    assert (found["error"]["type"], found["error"]["code"]) == ("DeviceError", 4)


def test_a_reader_learns_what_the_owner_learns_of_a_frame(module, ring):
    module.start()
    with FrameRingReader(ring.name, "every", timeout=0) as reader:
        for _ in range(4):
            with module.next_frame() as mine, reader.next() as theirs:
                assert theirs.metadata == mine.metadata
                assert 0 < theirs.time_bound_ns < 1e9
                assert theirs.time == mine.time == theirs.time_ns / 1e9
                assert theirs.row_times.tolist() == mine.row_times.tolist()
            assert theirs.metadata == mine.metadata, "also when they are released"


# --- stills --------------------------------------------------------------------------------------


def test_the_frames_of_a_bracket_come_through_the_ring(module, client, ring):
    steps = [1000 * step for step in range(1, 6)]
    with FrameRingReader(ring.name, "every", streams=STILLS, timeout=0) as reader:
        client.send(op="capture", frames=[{"exposure_us": us} for us in steps], timeout=3)
        seen, lines = [], []
        while len(lines) < 2:
            turn(module)
            lines += client.read()
            with contextlib.suppress(lenslink.Timeout):
                while True:
                    with reader.next() as frame:
                        assert frame.nonce == module.nonce
                        assert frame.start.request == lines[0]["result"]["request"]
                        seen.append((frame.number, frame.exposure_us))
        assert [us for _, us in seen] == steps
        assert lines[0]["result"]["count"] == 5
        assert lines[1]["event"] == "captured"
        assert lines[1]["frames"] == [number for number, _ in seen]
        assert lines[1]["error"] is None
    client.send(op="capture")
    turn(module, 4)
    assert [each.get("event") for each in client.read()] == [None, "captured"]


def test_only_one_capture_at_a_time(module, client, ring):
    with closing(Client(ring.name)) as other:
        client.send(op="capture", settings={"exposure_us": 500_000})
        carry_out(module)
        other.send(op="capture")
        carry_out(module)
        [refused] = other.read()
        assert refused["error"]["type"] == "DeviceBusy"
        turn(module, 40)
        assert client.read()[-1]["error"] is None
        other.send(op="capture")
        turn(module, 4)
        assert other.read()[-1]["event"] == "captured"


def test_a_capture_whose_time_is_over_is_stopped(module, client, lens, monkeypatch):
    client.send(op="capture", settings={"exposure_us": 900_000}, timeout=0)
    turn(module, 4)
    accepted, captured = client.read()
    assert accepted["ok"] is True
    assert captured["error"]["type"] == "Timeout"
    with module.capture(exposure_us=1000) as frame:
        assert frame.exposure_us == 1000


def test_the_owners_own_still_ends_a_clients_capture(module, client):
    client.send(op="capture", settings={"exposure_us": 900_000})
    carry_out(module)
    with module.capture(exposure_us=1000) as frame:
        assert frame.exposure_us == 1000
    turn(module, 2)
    assert "stopped" in client.read()[-1]["error"]["message"]


def test_a_client_that_leaves_takes_its_capture_with_it(module, client):
    client.send(op="capture", settings={"exposure_us": 900_000})
    carry_out(module)
    assert module.is_running(1)
    client.close()
    turn(module, 3)
    assert not module.is_running(1)


# --- a region of interest ------------------------------------------------------------------------


def list_arrived(reader: FrameRingReader) -> list[Any]:
    """Return the frames that are in the ring, released."""
    frames = []
    with contextlib.suppress(lenslink.Timeout):
        while True:
            with reader.next() as frame:
                frames.append(frame)
    return frames


def test_a_region_is_started_moved_and_stopped_beside_the_preview(module, client, ring):
    with FrameRingReader(ring.name, "every", streams=REGIONS, timeout=0) as reader:
        client.send(op="start", options={"roi": [2, 2, 8, 4]}, settings={"exposure_us": 2000})
        found = answer(module, client, 6)
        assert found["ok"], found
        frames = list_arrived(reader)
        assert frames
        for frame in frames:
            assert (frame.width, frame.height, frame.exposure_us) == (8, 4, 2000)
            assert (frame.crop_x, frame.crop_y) == (2, 2)
            assert frame.start.request == found["result"]["request"]
        client.send(op="set", stream=2, settings={"roi_x": 4})
        first = answer(module, client, 8)["result"]["first_frame"]
        frames = list_arrived(reader)
        assert frames[-1].number >= first
        for frame in frames:
            assert frame.crop_x == (4 if frame.number >= first else 2), (frame.number, first)
        client.send(op="stop", stream=2)
        assert answer(module, client)["ok"]
        assert not module.is_running(2)
    assert turn(module)[0].exposure_us == 4000


def test_a_still_of_a_region_is_taken(module, client, ring):
    with FrameRingReader(ring.name, "every", streams=STILLS, timeout=0) as reader:
        client.send(op="capture", options={"roi": [4, 2, 8, 4]})
        turn(module, 4)
        assert client.read()[-1]["error"] is None
        [frame] = list_arrived(reader)
    assert (frame.width, frame.height, frame.crop_x, frame.crop_y) == (8, 4, 4, 2)


def test_a_region_is_started_anew_and_ends_with_its_client(module, client, ring):
    with closing(Client(ring.name)) as other:
        other.send(op="start", options={"roi": [0, 0, 8, 4]})
        assert answer(module, other)["ok"]
        client.send(op="start", options={"roi": [0, 0, 4, 4]})
        assert answer(module, client)["ok"]
        assert module.configuration(2).width == 4
    turn(module, 2)
    assert module.is_running(2), "it is another client's by now"
    client.close()
    turn(module, 3)
    assert not module.is_running(2)


def test_the_owners_own_region_stays_its_own(module, client):
    module.start(roi=(0, 0, 8, 4))
    client.send(op="start", options={"roi": [0, 0, 4, 4]})
    assert answer(module, client)["error"]["type"] == "DeviceBusy"
    with module.next_frame(stream=2) as frame:
        assert frame.width == 8
    client.send(op="stop", stream=2)
    with pytest.raises(StreamEnded):
        for _ in range(3):
            module.next_frame(stream=2).release()


# --- the end of a stream -------------------------------------------------------------------------


def test_stop_ends_the_owners_loop(lens, ring):
    del lens
    with Device(URL, 5.0, ring=ring) as module:
        module.serve()
        with closing(Client(ring.name)) as client:
            client.send(op="stop")
            frames = 0
            for frame in module.stream():
                frame.release()
                frames += 1
            assert frames <= 1
            assert client.read()[0]["ok"] is True
        module.start()
        with closing(Client(ring.name)) as client:
            client.send(op="stop")
            with pytest.raises(StreamEnded):
                turn(module, 3)


# --- events --------------------------------------------------------------------------------------


def test_events_reach_those_who_asked(module, client, lens, ring):
    with closing(Client(ring.name)) as other:
        client.send(op="events")
        turn(module, 2)
        lines = client.read()
        assert lines[0]["ok"] is True
        assert [each["kind"] for each in lines[1:5]] == [1, 2, 3, 4]
        other.send(op="state")
        turn(module, 2)
        assert len(other.read()) == 1
        assert module.take_events(), "the owner gets them too"


# --- bounds --------------------------------------------------------------------------------------


def test_a_line_that_is_too_long_ends_the_client(module, client):
    client.socket.send(b"x" * (MAX_LINE + 1))
    turn(module, 12)
    refused, end = client.read()
    assert "longer than" in refused["error"]["message"]
    assert end is None
    turn(module)


def test_a_client_that_does_not_read_is_dropped_and_nobody_waits(module, client, ring):
    line = b'{"id": 1, "op": "state"}\n'
    sent = 0
    with closing(Client(ring.name)) as other:
        for _ in range(3000):
            try:
                sent += client.socket.send(line * 8)
            except BlockingIOError:
                pass
            except OSError:
                break
            turn(module)
        else:
            pytest.fail("it was never dropped")
        assert sent > client_connection.MAX_UNSENT // 1000
        other.send(op="state")
        assert answer(module, other)["result"]["clients"] == 1


def test_a_flood_is_read_a_little_at_a_time(module, client, ring, monkeypatch):
    """Between two looks at the module, a client gets a few lines, so frames go on."""
    lines = []
    read_line = control_server.ControlServer._read_line
    monkeypatch.setattr(
        control_server.ControlServer,
        "_read_line",
        lambda self, who, line: (lines.append(line), read_line(self, who, line)),
    )
    polls = []
    poll = control_server.ControlServer.poll
    monkeypatch.setattr(
        control_server.ControlServer,
        "poll",
        lambda self, seconds=0.0: (polls.append(len(lines)), poll(self, seconds)),
    )
    client.socket.send(b'{"id": 1, "op": "zoom"}\n' * 150)
    turn(module, 30)
    polls.append(len(lines))
    assert len(lines) == 150
    assert max(after - before for before, after in itertools.pairwise(polls)) <= 4


def test_more_clients_than_allowed_are_told(module, ring):
    module.start()
    clients = []
    for _ in range(control_server.MAX_CLIENTS):
        clients.append(Client(ring.name))
        carry_out(module)
    late = Client(ring.name)
    carry_out(module)
    refused, end = late.read()
    assert refused["error"]["type"] == "DeviceBusy"
    assert end is None
    clients[0].close()
    turn(module, 2)
    with closing(Client(ring.name)) as again:
        again.send(op="state")
        assert answer(module, again)["result"]["clients"] == control_server.MAX_CLIENTS
    for each in (*clients, late):
        each.close()


def test_more_requests_than_may_wait_are_refused(module, client):
    for _ in range(20):
        client.send(op="set", settings={"gain_milli": 1500})
    turn(module, 40)
    lines = client.read()
    assert len(lines) == 20
    refused = [each for each in lines if not each["ok"]]
    assert all(each["error"]["type"] == "DeviceBusy" for each in refused)
    assert turn(module)[0].gain_milli == 1500


def test_a_client_may_leave_in_the_middle_of_anything(module, ring):
    module.start()
    for text in (b"", b'{"id": 1', b'{"id": 1, "op": "set"}\n', b'{"id": 1, "op": "state"}\n'):
        client = Client(ring.name)
        if text:
            client.socket.send(text)
        client.close()
        turn(module, 2)
    with closing(Client(ring.name)) as client:
        client.send(op="state")
        assert answer(module, client)["result"]["clients"] == 1


# --- the socket ----------------------------------------------------------------------------------


def test_only_the_user_may_open_the_socket(module, ring):
    path = control_socket.path_of(ring.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.parent == ring.path.parent


def test_a_process_of_another_user_is_refused(module, ring, monkeypatch):
    module.start()
    with closing(Client(ring.name)) as client:
        monkeypatch.setattr(control_socket, "is_same_user", lambda connection: False)
        turn(module, 2)
        assert client.read() == [None]
        with pytest.raises(StorageError, match="another user"):
            control_socket.connect(ring.name, Deadline(1, ""))


def test_a_socket_of_a_dead_owner_is_replaced_and_a_foreign_file_is_not(lens, ring):
    del lens
    path = control_socket.path_of(ring.name)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(NotFound, match="no process takes requests"):
        control_socket.connect(ring.name, Deadline(1, ""))
    with Device(URL, 5.0, ring=ring) as module:
        module.serve()
        with pytest.raises(UsageError, match="served already"):
            module.serve()
    assert not path.exists()
    path.write_text("")
    with Device(URL, 5.0, ring=ring) as module, pytest.raises(StorageError, match="not a socket"):
        module.serve()
    with pytest.raises(StorageError, match="not a socket"):
        control_socket.connect(ring.name, Deadline(1, ""))
    path.unlink()


def test_the_socket_goes_with_the_ring_of_a_dead_owner():
    ring = FrameRing(fresh_name(), 2, frame_bytes=4096)
    listener = control_socket.listen(ring.name)
    listener.close()
    segment.unlock(ring._descriptor, segment.WRITER)
    ring._end.detach()
    os.close(ring._descriptor)
    ring._is_closed = True
    assert ring.path in segment.clean()
    assert not control_socket.path_of(ring.name).exists()


def test_serve_makes_a_ring_of_its_own(lens):
    del lens
    name = fresh_name()
    with Device(URL, 5.0) as module:
        with pytest.raises(UsageError, match="takes a name"):
            module.serve()
        module.start()
        with pytest.raises(UsageError, match="a stream runs"):
            module.serve(name)
        module.stop()
        module.serve(name)
        with (
            FrameRingReader(name, "every", timeout=0) as reader,
            module.capture(exposure_us=2000) as frame,
            reader.next() as seen,
        ):
            assert seen.metadata == frame.metadata
    assert not segment.path_of(name).exists()
    assert not control_socket.path_of(name).exists()


# --- detachments ---------------------------------------------------------------------------------


def test_requests_wait_while_the_module_is_away(bay, lens, ring):
    with lenslink.attach(URL, timeout=5, ring=ring) as module:
        with pytest.raises(UsageError, match="served already"):
            module.serve()
            module.serve()
        with closing(Client(ring.name)) as client:
            module.start(exposure_us=4000)
            client.send(op="capture", settings={"exposure_us": 900_000})
            carry_out(module._reconnector.device)
            assert client.read()[0]["ok"] is True
            bay.pull(URL)
            with pytest.raises(Disconnected):
                module.next_frame(timeout=0.3)
            client.send(op="state")
            client.send(op="set", settings={"exposure_us": 3000})
            with pytest.raises(Disconnected):
                module.next_frame(timeout=0.3)
            [state] = client.read()
            assert state["result"]["is_attached"] is False
            lens.start()
            bay.plug(URL, lens)
            frames = turn(module, 6)
            lines = client.read()
            assert "went away" in lines[0]["error"]["message"]
            assert frames[-1].exposure_us == 3000
            assert frames[-1].number >= lines[1]["result"]["first_frame"]
    with lenslink.attach(URL, timeout=5) as module, pytest.raises(UsageError, match="frame ring"):
        module.serve()
