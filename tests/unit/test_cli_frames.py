"""Test capture and stream with a fake module."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_device import HEIGHT, WIDTH, FakeDevice, ramp, torn
from helpers.made_frames import make_frame

import lenslink
from lenslink import Settings, StreamOptions
from lenslink.cli.main import main
from lenslink.cli.signals import Stopped
from lenslink.cli.sink import open_sink
from lenslink.frame import ColorCalibration
from lenslink_protocol.trace import TRACE

FRAME_BYTES = 2 * HEIGHT * WIDTH


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("LENSLINK_URL", raising=False)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")


@pytest.fixture
def device(monkeypatch):
    fake = FakeDevice([ramp(number) for number in range(4)])
    monkeypatch.setattr(lenslink, "open", fake.open)
    return fake


def files():
    return sorted(path.name for path in Path().iterdir())


def size(name):
    return Path(name).stat().st_size


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


# --- capture ------------------------------------------------------------------------------


def test_capture_writes_what_it_says(device, capsys):
    assert main(["capture", "fake:", "-o", "a b.npy", "-o", "a.tiff"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.partition(" ")[0] for line in captured.err.splitlines()] == [
        "frame",
        "wrote",
        "wrote",
    ]
    assert np.array_equal(np.load("a b.npy"), ramp(0).pixels)
    assert files() == ["a b.npy", "a.tiff"]
    assert device.closed


def test_capture_json(device, capsys):
    name = "x" * 200 + ".npy"
    assert main(["capture", "fake:", "-o", name, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    [answer] = objects(captured.out)
    assert answer["schema"] == "lenslink.capture/2"
    assert answer["files"] == [{"path": name, "bytes": size(name)}]
    assert answer["discards"] == {"payload_crc": 0, "noise": 0}
    assert answer["first_tile_ms"] == 12.5
    assert answer["seconds"] >= 0
    assert answer["bytes"] > 0
    expected = {
        "number": 0, "width": WIDTH, "height": HEIGHT, "bits": 12, "cfa": "RGGB",
        "status": "complete", "received_fraction": 1.0, "exposure_us": 12_500, "gain_milli": 2000,
        "focus_mdpt": 2000, "timestamp_us": 123_456, "black": [64.0] * 4, "white": 4095,
        "orientation": 1,
    }  # fmt: skip
    assert answer["frame"].items() >= expected.items()


def test_capture_without_a_name_dates_the_file(device):
    assert main(["capture", "fake:", "-q"]) == 0
    [name] = files()
    assert name.startswith("lenslink-2")
    assert name.endswith(".dng")


def test_settings_reach_the_module_and_what_it_changed_is_said(device, capsys):
    settings = ["--exposure", "12.5ms", "--gain", "2", "--focus", "3.3", "--mode", "still"]
    assert main(["capture", "fake:", "-o", "a.npy", *settings, "--packing", "lsb"]) == 0
    assert device.asked == [(Settings(12_500, 2000, 3300), StreamOptions("still", "lsb"))]
    said = capsys.readouterr().err
    assert "focus: asked for 3.3 dioptres (30.3 cm), the module applied 2 dioptres (50 cm)" in said
    assert "exposure:" not in said
    assert "gain:" not in said


def test_settings_that_are_not_given_stay(device):
    assert main(["capture", "fake:", "-q", "-o", "a.npy", "--focus", "inf"]) == 0
    assert main(["capture", "fake:", "-q", "-o", "b.npy"]) == 0
    assert device.asked == [
        (Settings(focus_mdpt=0), StreamOptions()),
        (Settings(), StreamOptions()),
    ]


def test_an_incomplete_still_is_an_error(device, capsys):
    device.frames = [torn(0)]
    device.discards = {"payload_crc": 2, "noise": 0}
    assert main(["capture", "fake:", "-o", "a.npy", "--json"]) == 6
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert "50.0 % of it arrived (discards: 2 payload_crc)" in line
    assert "--allow-incomplete" in line
    assert files() == []


def test_allow_incomplete_writes_an_incomplete_still(device, capsys):
    device.frames = [torn(0)]
    assert main(["capture", "fake:", "-o", "a.npy", "--json", "--allow-incomplete"]) == 0
    captured = capsys.readouterr()
    [answer] = objects(captured.out)
    assert (answer["frame"]["status"], answer["frame"]["received_fraction"]) == ("incomplete", 0.5)
    assert "warning: the frame is incomplete" in captured.err


@pytest.mark.parametrize(
    ("error", "code"), [(lenslink.Disconnected("gone"), 5), (Stopped(2), 130), (Stopped(15), 143)]
)
def test_a_capture_that_ends_early_leaves_nothing(error, code, device, capsys):
    device.frames = [error]
    assert main(["capture", "fake:", "-o", "a.npy"]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert files() == []
    assert device.closed


def test_the_note_and_the_modules_log_are_shown(device, capsys):
    device.note = "showing colour bars"
    assert main(["capture", "fake:", "-o", "a.npy", "-v"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "lenslink: showing colour bars" in lines
    assert r"[lenslink.module] INFO: 1.500 s: lens seated \x1b[31m\n" in lines
    device.__post_init__()
    assert main(["capture", "fake:", "-o", "b.npy", "-q"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        ([], ["WARNING"]),
        (["-q"], []),
        (["-v"], ["INFO", "WARNING"]),
        (["-vv"], ["DEBUG", "INFO", "WARNING"]),
        (["-vvv"], ["TRACE", "DEBUG", "INFO", "WARNING"]),
    ],
)
def test_each_v_shows_one_level_more_with_the_name_of_the_logger(options, levels, device, capsys):
    log = logging.getLogger("lenslink.some.part")

    def answer(*_args, **_options):
        for level in (TRACE, logging.DEBUG, logging.INFO, logging.WARNING):
            log.log(level, "said")
        return ramp(0)

    device.capture = answer
    device.log_lines = []
    assert main(["capture", "fake:", "-o", "a.npy", *options]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert lines == [f"[lenslink.some.part] {level}: said" for level in levels]
    # The command leaves the loggers as they were.
    assert logging.getLogger("lenslink").handlers == []
    assert not log.isEnabledFor(logging.INFO)


# --- stream -------------------------------------------------------------------------------


def test_stream_json(device, capsys):
    assert main(["stream", "fake:", "--json", "--frames", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    *frames, summary = objects(captured.out)
    assert [frame["number"] for frame in frames] == [0, 1, 2]
    assert {frame["schema"] for frame in frames} == {"lenslink.stream.frame/2"}
    assert summary["schema"] == "lenslink.stream.summary/2"
    assert (summary["frames"], summary["incomplete"], summary["ended"]) == (3, 0, "frames")
    assert device.stopped
    assert device.closed


def test_a_stream_ends_after_its_duration(device, capsys):
    assert main(["stream", "fake:", "--json", "--duration", "1e-9"]) == 0
    *frames, summary = objects(capsys.readouterr().out)
    assert len(frames) == 1
    assert summary["ended"] == "duration"


def test_a_stream_into_a_file(device, capsys):
    device.frames[1] = torn(1)
    assert main(["stream", "fake:", "-o", "a.raw", "-n", "2"]) == 0
    pixels = np.fromfile("a.raw", "<u2").reshape(2, HEIGHT, WIDTH)
    assert np.array_equal(pixels[0], ramp(0).pixels)
    assert np.array_equal(pixels[1], torn(1).pixels)
    summary, wrote = capsys.readouterr().err.splitlines()
    assert "2 frames" in summary
    assert "1 incomplete" in summary
    assert wrote == "wrote a.raw (2 frames)"


def test_pixels_shifted_up_to_16_bits(device):
    assert main(["stream", "fake:", "-o", "a.raw", "-n", "1", "--scale16"]) == 0
    assert np.array_equal(np.fromfile("a.raw", "<u2"), ramp(0).pixels.ravel() << 4)


def test_files_are_kept_unless_forced(device, capsys):
    assert main(["stream", "fake:", "-o", "a.raw", "-n", "1"]) == 0
    assert main(["stream", "fake:", "-o", "a.raw", "-n", "2"]) == 9
    assert size("a.raw") == FRAME_BYTES
    assert main(["stream", "fake:", "-o", "a.raw", "-n", "2", "-f"]) == 0
    assert size("a.raw") == 2 * FRAME_BYTES


@pytest.mark.parametrize(
    ("error", "code", "ended"),
    [
        (Stopped(2), 130, "interrupted"),
        (Stopped(15), 143, "interrupted"),
        (lenslink.Disconnected("gone"), 5, "disconnected"),
        (lenslink.Timeout("late"), 8, "timeout"),
        (lenslink.ProtocolError("odd"), 6, "error"),
    ],
)
def test_what_ends_a_stream_early(error, code, ended, device, capsys):
    device.frames = [ramp(0), ramp(1), error]
    assert main(["stream", "fake:", "--json"]) == code
    captured = capsys.readouterr()
    assert objects(captured.out)[-1]["ended"] == ended
    # An interrupt is the usual end of a stream, so it needs no error.
    assert len(captured.err.splitlines()) == (0 if ended == "interrupted" else 1)
    # Without a bound, the file has all whole frames ...
    assert main(["stream", "fake:", "-o", "open.raw"]) == code
    assert size("open.raw") == 2 * FRAME_BYTES
    # ... with a bound, all requested frames or no file.
    assert main(["stream", "fake:", "-o", "bound.raw", "-n", "3"]) == code
    assert files() == ["open.raw"]


def test_a_stream_that_never_began_has_no_summary(device, capsys):
    device.frames = [lenslink.UsageError("no such mode")]
    assert main(["stream", "fake:", "-o", "a.raw"]) == 2
    assert capsys.readouterr().err == "lenslink: error: no such mode\n"
    assert files() == []


class Interrupted(io.BytesIO):
    """A file that raises Stopped halfway through the second frame."""

    def write(self, data):
        if self.tell() == 0:
            return super().write(data)
        super().write(bytes(data)[: len(data) // 2])
        raise Stopped(2)


def test_a_frame_that_was_half_written_is_taken_back(monkeypatch):
    file = Interrupted()

    @contextlib.contextmanager
    def publish(_path, _force):
        yield file

    monkeypatch.setattr("lenslink.image_files.atomic_file.publish", publish)
    with open_sink("a.raw", False) as sink:
        sink.write(ramp(0))
        with pytest.raises(Stopped):
            sink.write(ramp(1))
    assert file.getvalue() == ramp(0).pixels.tobytes()


def test_stdout_gets_the_pixels_and_nothing_else(device, capfd, monkeypatch):
    reader, writer = os.pipe()
    received = bytearray()

    def read():
        while piece := os.read(reader, 65536):
            received.extend(piece)

    thread = threading.Thread(target=read)
    thread.start()
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        status = main(["stream", "fake:", "-o", "-", "-n", "2", "-v"])
        monkeypatch.undo()
    thread.join()
    os.close(reader)
    assert status == 0
    assert bytes(received) == ramp(0).pixels.tobytes() + ramp(1).pixels.tobytes()
    assert "-pixel_format bayer_rggb16le -video_size 96x64" in capfd.readouterr().err


# --- formats ------------------------------------------------------------------------------


def test_pixels_cut_to_8_bits(device):
    assert main(["stream", "fake:", "-o", "a.raw", "-n", "1", "--scale8"]) == 0
    assert np.array_equal(np.fromfile("a.raw", "u1"), ramp(0).pixels.ravel() >> 4)


def coloured(camera, **changes):
    """Return a frame of one colour, given as the sensor's red, green and blue from 0 to 1."""
    pixels = np.empty((HEIGHT, WIDTH), np.uint16)
    for site, colour in enumerate("RGGB"):
        y, x = divmod(site, 2)
        pixels[y::2, x::2] = round(64 + camera["RGB".index(colour)] * (4095 - 64))
    return make_frame(pixels, **changes)


# The sensor sees sRGB's own primaries here, and white as its neutral (0.5, 1, 0.8).
SRGB = (32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10572)
COLOR = ColorCalibration(tuple((value, 10000) for value in SRGB), ((1, 2), (1, 1), (8, 10)))


@pytest.mark.parametrize(
    ("camera", "srgb"),
    [
        ((0.5, 1.0, 0.8), (255, 255, 255)),
        # A fifth of white's light; sRGB encodes 0.2 as 124.
        ((0.1, 0.2, 0.16), (124, 124, 124)),
        ((0.5, 0.0, 0.0), (255, 0, 0)),
        ((0.0, 0.0, 0.8), (0, 0, 255)),
    ],
)
def test_pictures_have_the_right_colours(camera, srgb, device):
    device.frames = [coloured(camera, color=COLOR)]
    assert main(["stream", "fake:", "-o", "a.rgb", "-n", "1", "--format", "rgb24"]) == 0
    picture = np.fromfile("a.rgb", "u1").reshape(HEIGHT // 2, WIDTH // 2, 3).astype(int)
    assert abs(picture - srgb).max() <= 1


def test_y4m_has_the_size_and_the_rate_of_the_modules_clock(device):
    frames = [coloured((0.5, 0, 0), color=COLOR, timestamp_us=1000 + n * 12_500) for n in range(3)]
    device.frames = frames
    assert main(["stream", "fake:", "-o", "a.y4m", "-n", "3", "--format", "y4m"]) == 0
    header, *pictures = Path("a.y4m").read_bytes().split(b"FRAME\n")
    assert header == b"YUV4MPEG2 W48 H32 F1000000:12500 Ip A1:1 C444\n"
    assert [len(picture) for picture in pictures] == [3 * 48 * 32] * 3
    # Red in BT.601 with limited range: Y 81, U 90, V 240.
    planes = np.frombuffer(pictures[0], "u1").reshape(3, -1).astype(int)
    assert abs(planes - np.array([[81], [90], [240]])).max() <= 1


def test_y4m_of_one_frame(device):
    assert main(["stream", "fake:", "-o", "a.y4m", "-n", "1", "--format", "y4m"]) == 0
    header, picture = Path("a.y4m").read_bytes().split(b"FRAME\n")
    assert header.startswith(b"YUV4MPEG2 W48 H32 F1000000:40000 ")
    assert len(picture) == 3 * 48 * 32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scale8", "--scale16"], "contradict each other"),
        (["--format", "y4m", "--scale16"], "8 bits always"),
        (["--format", "y4m", "-o", "a.raw"], "a file *.y4m"),
        (["--format", "rgb24", "-o", "ring:x"], "as they arrived"),
        (["--scale8", "-o", "ring:x"], "as they arrived"),
    ],
)
def test_formats_that_contradict(options, words, device, capsys):
    assert main(["stream", "fake:", *options]) == 2
    assert words in capsys.readouterr().err
    assert device.opened == []
