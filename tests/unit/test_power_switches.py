"""Power switches: what they send, what they refuse, and that no call outlives its deadline."""

from __future__ import annotations

import http.server
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.scripts import write_script
from helpers.slowdown import patience

from lenslink.deadline import Deadline
from lenslink.errors import RigError, UsageError
from lenslink_hil.rig import rig_power
from lenslink_hil.rig.power_switch import list_switches, load_switch
from lenslink_hil.rig.rig_file import PowerEntry
from lenslink_hil.rig.rig_power import RigPower

PYTHON = sys.executable


def make(kind: str, timeout: float = 20.0, **options: object) -> RigPower:
    return RigPower(PowerEntry("socket", kind, options, patience(timeout)))


def program(code: str) -> list[str]:
    return [PYTHON, "-c", code]


def test_the_switches_are_entry_points() -> None:
    assert {"command", "uhubctl", "http", "labgrid", "sim"} <= set(list_switches())
    with pytest.raises(RigError, match=r"no switch 'htp'; did you mean 'http'\?"):
        load_switch("htp")


def test_a_command_switches_and_tells_the_state(tmp_path: Path) -> None:
    file = tmp_path / "the state"
    write = f"import pathlib; pathlib.Path({str(file)!r}).write_text"
    read = f"import pathlib; print('power is', pathlib.Path({str(file)!r}).read_text())"
    power = make(
        "command",
        on=program(f"{write}('on')"), off=program(f"{write}('off')"), state=program(read),
    )  # fmt: skip
    power.off()
    assert power.read() is False
    power.on()
    assert power.read() is True


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no relay 7')", "ended with 1: no relay 7"),
        ("import time; time.sleep(600)", "did not end within"),
    ],
)
def test_a_command_that_fails_or_hangs_is_a_rig_error(code: str, said: str) -> None:
    timeout = 0.3 if "sleep" in code else 20.0
    power = RigPower(
        PowerEntry("socket", "command", {"on": program(code), "off": program(code)}, timeout)
    )
    began = time.monotonic()
    with pytest.raises(RigError, match=said) as caught:
        power.on()
    assert str(caught.value).startswith("power 'socket': ")
    assert time.monotonic() - began < patience(20)


def test_a_program_that_is_missing_is_named() -> None:
    power = make("command", on=["/nowhere/relay"], off=["/nowhere/relay"])
    with pytest.raises(RigError, match="/nowhere/relay cannot be started: No such file"):
        power.on()


UHUBCTL = """import pathlib, sys
folder = pathlib.Path({folder!r})
(folder / "arguments").write_text(" ".join(sys.argv[1:]))
state = folder / "port"
if "-a" in sys.argv and {obeys}:
    state.write_text("0000 off" if sys.argv[-1] == "off" else "0103 power enable connect")
print("Current status for hub 1-1 [2109:2813]")
print("  Port 2: 0100 power")
print("  Port 3: " + state.read_text() + " [2e8a:0005]")
"""


def fake_uhubctl(folder: Path, obeys: bool = True) -> str:
    path = write_script(folder / "uhubctl", UHUBCTL.format(folder=str(folder), obeys=obeys))
    (folder / "port").write_text("0103 power enable connect")
    return str(path)


def test_uhubctl_is_called_with_a_list_of_arguments(tmp_path: Path) -> None:
    power = make("uhubctl", location="1-1", port=3, program=fake_uhubctl(tmp_path))
    assert power.read() is True
    assert (tmp_path / "arguments").read_text() == "-l 1-1 -p 3"
    power.off()
    assert (tmp_path / "arguments").read_text() == "-l 1-1 -p 3 -a off"
    assert power.read() is False


def test_a_hub_that_does_not_obey_uhubctl_is_found(tmp_path: Path) -> None:
    power = make("uhubctl", location="1-1", port=3, program=fake_uhubctl(tmp_path, obeys=False))
    with pytest.raises(RigError, match="did not switch port 3 off"):
        power.off()
    power = make("uhubctl", location="1-1", port=9, program=fake_uhubctl(tmp_path))
    with pytest.raises(RigError, match="shows no port 9"):
        power.read()


def test_without_uhubctl_the_message_names_it() -> None:
    power = make("uhubctl", location="1-1", port=3, program="/nowhere/uhubctl")
    with pytest.raises(RigError, match="install uhubctl"):
        power.on()


@pytest.fixture
def relay() -> Iterator[str]:
    """A relay's web server, whose state is kept."""
    state = {"power": "off"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            action = self.path.strip("/").replace("?", "")
            if action == "broken":
                self.send_error(500)
                return
            if action == "drip":
                self.send_response(200)
                self.end_headers()
                for _ in range(200):
                    self.wfile.write(b".")
                    time.sleep(0.05)
                return
            if action in ("on", "off"):
                state["power"] = action
            body = f'{{"ison": "{state["power"]}"}}'.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_http_switches_and_tells_the_state(relay: str) -> None:
    power = make(
        "http", on=f"{relay}/on", off=f"{relay}/off", state=f"{relay}/state",
        state_on='"ison": "on"',
    )  # fmt: skip
    assert power.read() is False
    power.on()
    assert power.read() is True
    power.cycle(off_s=0.01)
    assert power.read() is True
    power.rest()
    assert power.read() is True


def test_an_error_of_the_server_is_a_rig_error(relay: str) -> None:
    power = make("http", on=f"{relay}/broken", off=f"{relay}/broken")
    with pytest.raises(RigError, match="answered 500 Internal Server Error"):
        power.on()
    power = make("http", on="http://127.0.0.1:1/on", off="http://127.0.0.1:1/off")
    with pytest.raises(RigError, match="Connection refused"):
        power.on()
    assert make("http", on=f"{relay}/on", off=f"{relay}/off").read() is None


def test_a_server_that_sends_a_byte_now_and_then_does_not_outlive_the_deadline(relay: str) -> None:
    entry = PowerEntry("socket", "http", {"on": f"{relay}/drip", "off": f"{relay}/drip"}, 0.2)
    began = time.monotonic()
    with pytest.raises(RigError, match=r"'on' did not return within 0.2 s"):
        RigPower(entry).on()
    assert time.monotonic() - began < patience(5)


class _Endless:
    options = {}  # noqa: RUF012 - a fake

    def make(self, _: object) -> _Endless:
        return self

    def set_power(self, is_on: bool, deadline: Deadline) -> None:
        if not is_on:
            raise KeyError("port")
        threading.Event().wait(60)

    def read_power(self, deadline: Deadline) -> bool | None:
        return None


def test_a_switch_of_another_package_can_neither_hang_nor_raise_what_it_likes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rig_power, "load_switch", lambda _: _Endless())
    told: list[bool] = []
    power = RigPower(PowerEntry("socket", "other", {}, 0.1), told.append)
    with pytest.raises(RigError, match=r"'on' did not return within 0.1 s; check the switch"):
        power.on()
    with pytest.raises(RigError, match="KeyError: 'port'"):
        power.off()
    assert told == [True, False]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("command", {}, "on is no list"),
        ("command", {"on": "relay on", "off": []}, "on is no list"),
        ("command", {"on": ["relay", 3], "off": ["x"]}, "on is no list"),
        ("uhubctl", {"port": True, "location": "1-1"}, "port = True"),
        ("uhubctl", {"port": 3}, "location is missing"),
        ("http", {"on": "ftp://x/", "off": "http://x/"}, "on = 'ftp://x/' is no URL"),
        ("http", {"on": "http://x:99999/", "off": "http://x/"}, "is no URL"),
        ("http", {"on": "http://x/\r\nA: b", "off": "http://x/"}, "is no URL"),
        ("http", {"on": "http://x/", "off": "http://x/", "state": "http://x/"}, "together"),
        ("http", {"on": "http://x/", "off": "http://x/", "method": "BREW"}, "method = 'BREW'"),
        ("sim", {}, "socket is missing"),
    ],
)
def test_options_are_checked_before_anything_is_switched(
    kind: str, options: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        load_switch(kind).make(options)
