"""Test the program: every ending has its exit code and at most one line on stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from helpers.fake_device import FakeDevice
from helpers.slowdown import patience

import lenslink
from lenslink.cli import main as program
from lenslink.cli.main import cli, main
from lenslink.cli.signals import Stopped, stop_on_signals

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["capture", "completion", "doctor", "info", "list", "sim", "stream"]


@pytest.fixture(autouse=True)
def _own_runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path / "run"))
    for name in ("LENSLINK_URL", "LENSLINK_DEBUG", "_LENSLINK_COMPLETE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def raising(monkeypatch):
    """Return a function that makes every opening of a module raise an error."""

    def arm(error):
        def fail(*_args, **_settings):
            raise error

        monkeypatch.setattr(lenslink, "open", fail)

    return arm


def error_line(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert line.startswith("lenslink: error: ")
    return line.removeprefix("lenslink: error: ")


def register(tmp_path, name, pid):
    folder = tmp_path / "run" / "modules"
    folder.mkdir(parents=True, exist_ok=True)
    entry = {"url": f"unix:/{name}", "description": "fake", "serial": name, "pid": pid}
    (folder / f"{name}.json").write_text(json.dumps(entry))


# --- help ---------------------------------------------------------------------------------


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for name in COMMANDS:
        assert f"\n  {name} " in captured.out
    assert "cannot be loaded" not in captured.out
    assert "LENSLINK_URL" in captured.out
    assert "Exit codes" in captured.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_and_the_common_options(name, capsys):
    assert main([name, "-h"]) == 0
    text = capsys.readouterr().out
    assert "Examples:\n" in text
    for option in ("--verbose", "--quiet", "--timeout"):
        assert option in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lenslink 0.")


def test_no_arguments_print_the_usage_and_fail(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: lenslink")


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["capture", "--help"]])
def test_help_imports_nothing_slow(args):
    code = (
        "import sys\nfrom lenslink.cli.main import main\n"
        f"main({args!r})\n"
        "slow = {'numpy', 'rich', 'tifffile', 'rawpy', 'PIL', 'construct'} & sys.modules.keys()\n"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=patience(60), stdout=subprocess.DEVNULL
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "_LENSLINK_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("lenslink cap", ["capture"]),
        ("lenslink info si", ["sim:"]),
        ("lenslink capture us", ["usb:", "usbip:"]),
        ("lenslink capture sim: --mode f", ["full"]),
        ("lenslink stream sim: --packing l", ["lsb", "legacy"]),
        ("lenslink conform module sim: --clause M-HELLO-1", ["M-HELLO-1"]),
        ("lenslink sim --board pico2", ["pico2"]),
        ("lenslink sim --cfa GB", ["GBRG"]),
    ],
)
def test_completion_itself(line, offers, monkeypatch, capsys):
    monkeypatch.setenv("_LENSLINK_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == [f"plain,{offer}" for offer in offers]


def test_completion_offers_the_modules_that_are_found(tmp_path, monkeypatch, capsys):
    register(tmp_path, "one", os.getpid())
    monkeypatch.setenv("_LENSLINK_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "lenslink info un")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert main([]) == 0
    assert capsys.readouterr().out == "plain,unix:/one\nplain,unix:\n"


def test_a_command_that_cannot_be_imported_breaks_no_other(monkeypatch, capsys):
    class Broken:
        name = "broken"

        def load(self):
            raise ImportError("no module named frobnicate")

    real = program.entry_points
    monkeypatch.setattr(
        program, "entry_points", lambda **query: [*real(**query), Broken()], raising=True
    )
    assert main(["--help"]) == 0
    assert "cannot be loaded" in capsys.readouterr().out
    assert main(["broken", "--help"]) == 0
    capsys.readouterr()
    assert main(["broken"]) == 2
    assert "frobnicate" in error_line(capsys)


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["frobnicate"], 2, "no command 'frobnicate' (known: bench, capture"),
        (["captur"], 2, "did you mean 'capture'?"),
        (["-v"], 2, "Missing command"),
        (["capture", "sim:", "--forse"], 2, "--force"),
        (["info", "a:", "b:"], 2, "unexpected extra argument"),
        (["info", "foo:"], 2, "unknown device URL scheme 'foo:'"),
        (["info", "simm:"], 2, "did you mean 'sim'?"),
        (["info", "sim"], 2, "no device URL"),
        (["info", "sim:?scen=ramp"], 2, "did you mean 'scene'?"),
        (["info", "sim:?scene"], 2, "not key=value"),
        (["info", "sim:what"], 2, "options only"),
        (["info", "unix:"], 2, "needs a path"),
        (["info", "unix:/nowhere/at/all"], 3, "No such file"),
        (["info", "unix:/" + "x" * 200], 2, "path too long"),
        (["info", "tcp:localhost"], 2, "a host and a port"),
        (["info"], 3, "no device found"),
        (["--timeout", "0", "info"], 2, "positive number of seconds"),
        (["info", "--timeout", "soon"], 2, "not a number of seconds"),
        (["info", "--timeout", "inf"], 2, "inf is more than 1000000 seconds"),
        (["info", "--timeout", "1e300"], 2, "1e300 is more than 1000000 seconds"),
        (["capture", "sim:", "-o", "dir.npy/"], 2, "'dir.npy/' names a folder: name a file"),
        (["stream", "sim:", "-o", "dir.raw/"], 2, "*.raw"),
        (["record", "sim:", "-o", "dir.lcap/"], 2, "'dir.lcap/' names a folder"),
        (["replay", "x.lcap", "--pcapng", "x.pcapng/"], 2, "'x.pcapng/' names a folder"),
        (["capture", "sim:", "-o", "x.gif"], 2, "known are .dng"),
        (["capture", "sim:", "-o", "x"], 2, "no extension"),
        (["capture", "sim:", "-o", "x.npy", "-o", "./x.npy"], 2, "named twice"),
        (["capture", "sim:", "-o", "missing/x.dng"], 9, "no such folder"),
        (["capture", "sim:", "-o", "there.npy"], 9, "--force"),
        (["capture", "sim:", "--exposure", "long"], 2, "10ms"),
        (["capture", "sim:", "--gain", "-1"], 2, "where 1 is unity"),
        (["capture", "sim:", "--focus", "near"], 2, "dioptres"),
        (["stream", "sim:", "-o", "x.mp4"], 2, "*.raw"),
        (["stream", "sim:", "-o", "missing/x.raw"], 9, "no such folder"),
        (["stream", "sim:", "-o", "there.raw"], 9, "--force"),
        (["stream", "sim:", "-o", "folder.raw", "--force"], 9, "is a folder"),
        (["stream", "sim:", "--frames", "0"], 2, "x>=1"),
        (["stream", "sim:", "--duration", "nan"], 2, "positive number"),
        (["completion", "tcsh"], 2, "'bash', 'zsh', 'fish'"),
    ],
)
def test_bad_input(args, code, text, tmp_path, capsys):
    (tmp_path / "there.npy").write_bytes(b"mine")
    (tmp_path / "there.raw").write_bytes(b"mine")
    (tmp_path / "folder.raw").mkdir()
    assert main(args) == code
    assert text in error_line(capsys)
    assert (tmp_path / "there.npy").read_bytes() == b"mine"
    left = {path.name for path in tmp_path.iterdir()} - {"run"}
    assert left == {"there.npy", "there.raw", "folder.raw"}


def test_two_devices(tmp_path, capsys):
    register(tmp_path, "one", os.getpid())
    register(tmp_path, "two", os.getppid())
    assert main(["info"]) == 4
    line = error_line(capsys)
    assert "unix:/one, unix:/two" in line
    assert "LENSLINK_URL" in line


def test_the_only_device_is_the_default(tmp_path, capsys):
    register(tmp_path, "one", os.getpid())
    assert main(["info"]) == 3
    assert "unix:/one: No such file" in error_line(capsys)


def test_the_environment_names_the_default(monkeypatch, capsys):
    monkeypatch.setenv("LENSLINK_URL", "unix:/named")
    assert main(["info"]) == 3
    assert "unix:/named" in error_line(capsys)
    assert main(["info", "unix:/said"]) == 3
    assert "unix:/said" in error_line(capsys)


def test_what_a_name_contains_cannot_break_the_line(capsys):
    assert main(["info", "unix:/a\nb\x1b[31mc\udcff"]) == 3
    assert "/a\\nb\\x1b[31mc\\udcff" in error_line(capsys)


# --- list ---------------------------------------------------------------------------------


def test_list_of_nothing(capsys):
    assert main(["list"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "'sim:' needs no hardware" in captured.err
    assert main(["list", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"schema": "lenslink.list/1", "devices": []}
    assert captured.err == ""
    assert main(["list", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_list(tmp_path, capsys):
    register(tmp_path, "one", os.getpid())
    name = "x" * 300
    register(tmp_path, name[:100], os.getppid())
    assert main(["list"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    # A pipe has no width, so nothing is cut or folded.
    assert [line.split() for line in captured.out.splitlines()] == [
        ["URL", "MODULE", "SERIAL", "STATE"],
        ["unix:/one", "fake", "one", "free"],
        [f"unix:/{name[:100]}", "fake", name[:100], "free"],
    ]
    assert main(["list", "--json"]) == 0
    [one, _] = json.loads(capsys.readouterr().out)["devices"]
    assert one == {"url": "unix:/one", "description": "fake", "serial": "one", "busy": False}


# --- endings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (lenslink.Disconnected("it went away"), 5),
        (lenslink.ProtocolError("it went away"), 6),
        (lenslink.Timeout("it went away"), 8),
        (lenslink.DeviceBusy("it went away"), 10),
        (lenslink.RigError("it went away\nfor good"), 11),
        (OSError(28, "it went away", "file"), 9),
        (ValueError("it went away"), 1),
    ],
)
def test_every_error_is_one_line_and_its_code(error, code, raising, capsys):
    raising(error)
    assert main(["info", "sim:"]) == code
    assert "it went away" in error_line(capsys)


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["info", "unix:/nowhere", "--json"], 3, "NotFound"),
        (["stream", "sim:", "-o", "-", "--json"], 2, "UsageError"),
        (["list", "--json", "--frobnicate"], 2, "NoSuchOption"),
        (["capture", "--json", "sim:", "-o", "missing/x.npy"], 9, "StorageError"),
    ],
)
def test_with_json_an_error_is_a_json_object_on_stderr(args, code, error, capsys):
    assert main(args) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    report = json.loads(captured.err)
    assert report.keys() == {"schema", "error", "message", "exit_code"}
    assert (report["schema"], report["error"]) == ("lenslink.error/1", error)
    assert report["exit_code"] == code
    assert report["message"]


def test_json_among_the_words_of_another_program_changes_nothing(capsys):
    assert main(["conform", "host", "tcp:nowhere", "--", "myhost", "--json"]) == 2
    assert "{url}" in error_line(capsys)


@pytest.mark.parametrize(
    ("args", "code"), [(["list", "--json"], 9), (["--version"], 9), (["list"], 0)]
)
def test_a_closed_stdout_is_an_error_for_a_command_that_writes_there(args, code):
    script = 'exec "$0" -m lenslink "$@" >&-'
    run = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable, *args],
        stderr=subprocess.PIPE,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert run.returncode == code
    assert ("standard output is closed" in run.stderr) == (code == 9)
    assert "Traceback" not in run.stderr


def test_a_defect_says_that_it_is_one(raising, capsys):
    raising(KeyError("x"))
    assert main(["info", "sim:"]) == 1
    line = error_line(capsys)
    assert "KeyError" in line
    assert "defect" in line
    assert "-vv" in line


@pytest.mark.parametrize("args", [["-vv", "info", "sim:"], ["-v", "info", "sim:", "-v"]])
def test_the_traceback_is_there_for_those_who_ask(args, raising, capsys):
    raising(lenslink.Timeout("late"))
    assert main(args) == 8
    assert "Traceback" in capsys.readouterr().err


def test_the_traceback_by_environment(raising, monkeypatch, capsys):
    monkeypatch.setenv("LENSLINK_DEBUG", "1")
    raising(lenslink.Timeout("late"))
    assert main(["info", "sim:"]) == 8
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (Stopped(2), 130), (Stopped(15), 143)]
)
def test_an_interrupt_prints_one_line_unless_quiet(error, code, raising, capsys):
    raising(error)
    assert main(["info", "sim:"]) == code
    assert capsys.readouterr().err == "lenslink: interrupted\n"
    assert main(["info", "sim:", "-q"]) == code
    assert capsys.readouterr().err == ""


def test_a_closed_pipe_is_no_error(monkeypatch, capsys):
    def closed(*_args, **_settings):
        raise BrokenPipeError

    monkeypatch.setattr(lenslink, "list_devices", closed)
    monkeypatch.setattr(program, "_discard_stdout", lambda: None)
    assert main(["list"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("args", [["--timeout", "3", "capture"], ["capture", "--timeout", "3s"]])
def test_the_timeout_reaches_the_driver(args, monkeypatch, capsys):
    device = FakeDevice([lenslink.Timeout("late")])
    monkeypatch.setattr(lenslink, "open", device.open)
    assert main([*args, "fake:", "-o", "x.npy"]) == 8
    assert device.opened == [("fake:", 3.0)]
    assert device.closed
    assert error_line(capsys) == "late"


@pytest.mark.parametrize("package", ["lenslink", "lenslink_program"])
def test_an_interrupt_during_the_imports_ends_the_program_quietly(package):
    """The interrupt arrives while the program imports the driver, before the command line runs."""
    code = """if True:
        import importlib.abc, os, runpy, signal, sys

        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Interrupting(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == sys.argv[1]:
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Interrupting())
        runpy.run_module(sys.argv[2], run_name="__main__", alter_sys=True)
    """
    for module in ("lenslink.errors", "lenslink.cli.main", "click"):
        run = subprocess.run(
            [sys.executable, "-c", code, module, package],
            env=os.environ | {"PYTHONPATH": str(ROOT / "host")},
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        assert (run.returncode, run.stdout, run.stderr) == (130, "", "lenslink: interrupted\n")


# --- signals ------------------------------------------------------------------------------


def test_the_first_signal_stops_and_the_second_lets_the_cleaning_up_go_on():
    cleaned = False
    with pytest.raises(Stopped) as caught, stop_on_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            cleaned = True
    assert cleaned
    assert caught.value.exit_code == 143


def test_signals_are_left_as_they_were():
    # A shell without job control starts what is in the background with SIGINT ignored.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        check_signals_come_back()
    finally:
        signal.signal(signal.SIGINT, ours)


def check_signals_come_back():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with stop_on_signals():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_it_is_a_click_group_that_others_may_embed():
    assert isinstance(cli, click.Group)
