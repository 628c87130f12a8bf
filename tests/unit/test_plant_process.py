"""Test the plant as a process: its one line, its sockets, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lenslink.settings import Settings
from lenslink_hil.plant import plant_process
from lenslink_hil.plant.body_constants import load_body_constants
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.plant.pin_records import (
    DETECT_PIN,
    END_STOP,
    POWER_PINS,
    Kind,
    Record,
    RecordReader,
)
from lenslink_hil.plant.row_service import Request
from lenslink_hil.plant.scene import SceneOptions, open_scene
from lenslink_hil.plant.spring_contacts import make_attach_edges

PATIENCE = 20  # seconds; nothing here takes one


class Plant:
    """A plant process and the test's ends of its sockets."""

    def __init__(self, options):
        self.rows, rows = socket.socketpair()
        self.pins, pins = socket.socketpair()
        for side in (self.rows, self.pins):
            side.settimeout(PATIENCE)
        fds = [rows.fileno(), pins.fileno()]
        command = [sys.executable, "-m", "lenslink_hil.plant", "--options", json.dumps(options)]
        command += ["--rows-fd", str(fds[0]), "--pins-fd", str(fds[1])]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, pass_fds=fds, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        rows.close()
        pins.close()
        self.ready = json.loads(self.process.stdout.readline())
        self.reader = RecordReader()
        self.records = []

    def command(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def record(self, *kinds):
        """Wait for the next record of these kinds and drop others."""
        while True:
            while self.records:
                record = self.records.pop(0)
                if record.kind in kinds:
                    return record
            self.records = self.reader.feed(self.pins.recv(4096))

    def receive(self, height, width):
        data = bytearray(height * width * 2)
        view = memoryview(data)
        while view:
            count = self.rows.recv_into(view)
            assert count, "the plant closed its rows"
            view = view[count:]
        return np.frombuffer(data, "<u2").reshape(height, width)

    def close_stdin(self):
        # The plant may have ended already; that is not what the test is about.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self):
        """Wait for its end; return exit code, the rest of stdout, and stderr."""
        code = self.process.wait(PATIENCE)
        return code, self.process.stdout.read(), self.process.stderr.read()


@pytest.fixture
def plant():
    with contextlib.ExitStack() as stack:

        def start(**options):
            one = Plant(options)
            for side in (one.rows, one.pins, one.process.stdout, one.process.stderr):
                stack.callback(side.close)
            stack.callback(one.process.wait, PATIENCE)
            stack.callback(one.process.kill)
            stack.callback(one.close_stdin)
            return one

        yield start


OPTIONS = {"scene": "prbs", "width": 640, "height": 480, "seed": 5}


def test_the_plant_prints_one_line_and_serves_rows(plant):
    one = plant(**OPTIONS)
    assert one.ready["ready"] is True
    assert one.ready["note"] is None
    assert (one.ready["sensor"]["width"], one.ready["sensor"]["height"]) == (640, 480)
    for number in (4, 5, 6, 7, 2):
        one.rows.sendall(Request(number, 0, Settings(1, 2, 3)).pack())
        frame = one.receive(480, 640)
        shown = {"bits": 12, "cfa": "RGGB", "seed": 5, "frame_number": number}
        assert np.array_equal(frame, make_pattern("prbs", 640, 480, **shown))
    one.process.stdin.close()
    assert one.end() == (0, "", "")


@pytest.mark.parametrize("which", ["rows", "pins", "stdin", "rows in mid-frame"])
def test_the_plant_ends_when_any_input_ends(plant, which):
    one = plant(**OPTIONS)
    if which == "rows in mid-frame":
        one.rows.sendall(Request(0, 0, Settings()).pack())
        assert one.rows.recv(100)
    end = {"pins": one.pins, "stdin": one.process.stdin}.get(which, one.rows)
    end.close()
    code, out, err = one.end()
    assert (code, out, err) == (0, "", "")


def test_the_plant_ends_when_its_parent_is_killed(tmp_path):
    """kill -9 gives the parent no time to close anything in order."""
    parent = """
import os, socket, subprocess, sys, time
ours, rows = socket.socketpair()
ours2, pins = socket.socketpair()
fds = [rows.fileno(), pins.fileno()]
child = subprocess.Popen([sys.executable, "-m", "lenslink_hil.plant", "--options",
    '{"scene": "bars"}', "--rows-fd", str(fds[0]), "--pins-fd", str(fds[1])],
    pass_fds=fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
time.sleep(60)
"""
    # Parent and plant share this pipe as stderr, so it ends when both have ended.
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, stderr=writer
    )
    os.close(writer)
    with process, os.fdopen(reader, "rb") as both:
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        assert both.read() == b""


def test_the_plant_ignores_ctrl_c(plant):
    one = plant(**OPTIONS)
    one.process.send_signal(signal.SIGINT)
    one.rows.sendall(Request(1, 1, Settings()).pack())
    assert one.receive(240, 320).shape == (240, 320)
    one.rows.close()
    assert one.end() == (0, "", "")


def test_pins(plant):
    one = plant(**OPTIONS)
    # Detect bounces, and then the dock gives power, once.
    edges = make_attach_edges(5, load_body_constants())
    edges = [(pin, level) for _, pin, level in edges if pin == DETECT_PIN]
    seen = [one.record(Kind.CONTACT) for _ in range(len(edges) + 2)]
    assert [(r.channel, r.value) for r in seen] == [(END_STOP, 1), *edges, (POWER_PINS, 1)]
    one.command(contacts=[[2000, 1, 1], [0, 1, 0]])
    assert [one.record(Kind.CONTACT).value for _ in range(2)] == [0, 1]
    one.command(ring=-4)
    ring = [one.record(Kind.RING) for _ in range(4)]
    assert [(r.channel, r.value) for r in ring] == [(1, 1), (0, 1), (1, 0), (0, 0)]
    one.pins.sendall(Record(Kind.SAMPLE, 0, 0).pack())
    assert one.record(Kind.ADC) == (Kind.ADC, 0, round(2500 / 3300 * 4095))
    one.pins.sendall(Record(Kind.LOAD, 0, 500).pack() + Record(Kind.SAMPLE, 0, 0).pack())
    assert one.record(Kind.ADC) == (Kind.ADC, 0, round(2475 / 3300 * 4095))
    one.pins.sendall(Record(Kind.SAMPLE, 1, 0).pack())
    assert one.record(Kind.ADC).value == pytest.approx(750 / 3300 * 4095, abs=2)
    one.command(report=True)
    report = json.loads(one.process.stdout.readline())
    assert (report["dock"], report["load_ma"], report["supply_mv"]) == ("powered", 500, 4950)
    # A supply of 3.9 V or less is none.
    one.command(contact_mohm=2200)
    assert one.record(Kind.CONTACT) == (Kind.CONTACT, POWER_PINS, 0)


def test_pins_are_served_while_rows_wait(plant):
    one = plant(scene="prbs", width=4096, height=3072)
    for number in range(5):
        one.rows.sendall(Request(number, 0, Settings()).pack())
    one.rows.recv(10)  # and no more: everything is stuck behind this
    one.command(ring=4)
    assert [one.record(Kind.RING).channel for _ in range(4)] == [0, 1, 0, 1]


def test_the_lens_moves_before_rows_that_are_asked_for_later(monkeypatch):
    """Also where the plant was busy, and finds both on its sockets at once."""
    clock = SimpleNamespace(us=1_000_000)
    monkeypatch.setattr(
        plant_process, "time", SimpleNamespace(monotonic_ns=lambda: 1000 * clock.us)
    )
    monkeypatch.setattr(plant_process.PlantServer, "_get_timeout", lambda _: 0)
    scene = open_scene(SceneOptions(scene="edges", width=64, height=64))
    with contextlib.ExitStack() as stack:
        ends = [each for _ in range(3) for each in socket.socketpair()]
        rows, plant_rows, pins, plant_pins, _, plant_commands = map(stack.enter_context, ends)
        server = plant_process.PlantServer(
            scene, [plant_rows], plant_pins, plant_commands.fileno(), 0
        )
        pins.sendall(Record(Kind.SWITCH, 0, 1).pack())
        for _ in range(100):
            clock.us += 1000
            server._run_once()
        # From the end stop to infinity, and 500 steps more.
        pins.sendall(Record(Kind.STEP, 0, 540).pack())
        rows.sendall(Request(1, 0, Settings(1000, 1000, 780)).pack())
        server._run_once()
        asked = server._services[0]._active.request
    assert asked.settings.focus_mdpt > 500


def test_protocol_violations_end_the_plant_with_one_line(plant):
    one = plant(**OPTIONS)
    one.rows.sendall(Request(0, 9, Settings()).pack())
    code, out, err = one.end()
    assert (code, out, err) == (6, "", "plant: rows request: no mode 9\n")
    assert one.rows.recv(1) == b""


def test_wrong_commands_end_the_plant_with_one_line(plant):
    for line in ('{"rign": 5}', '{"ring": "x"}', '{"contacts": [[0, 5, 1]]}', "5", "nonsense"):
        one = plant(scene="ramp", width=64, height=64)
        one.process.stdin.write(line + "\n")
        one.process.stdin.flush()
        assert one.end() == (2, "", f"plant: unknown command: {line}\n")


def test_usage_errors_are_one_line_of_json(plant, tmp_path):
    Image.new("L", (64, 64)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    for options, part in (
        ({"scene": str(tmp_path / "none.png")}, "no such file"),
        ({"scene": str(tmp_path / "cut.png")}, "damaged"),
        ({"scene": "bars", "width": 65}, "must be even"),
        ({"scene": "bars", "colour": "x"}, "unknown scene options: colour"),
    ):
        one = plant(**options)
        assert one.ready["ready"] is False
        assert one.ready["exit_code"] == 2
        assert part in one.ready["error"]
        assert one.end() == (2, "", "")


def test_wrong_descriptors_are_a_rig_error():
    command = [sys.executable, "-m", "lenslink_hil.plant", "--rows-fd", "77", "--pins-fd", "78"]
    done = subprocess.run(
        [*command, "--options", '{"scene": "ramp"}'],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 11
    assert done.stderr == b""


def test_the_plant_starts_without_the_slow_packages():
    """Each of these packages takes longer to import than the whole start may."""
    code = """
import sys
from lenslink_hil.plant.scene import SceneOptions, open_scene
open_scene(SceneOptions())
print(sorted({"skimage", "scipy", "rawpy", "tifffile"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"
