"""Boards of a rig through labgrid, on loopback: places, faults, and places of jobs that died."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.inner_pytest import InnerPytest
from helpers.labgrid_harness import LabgridHarness, NoLabgrid, ending, find_python
from helpers.nightly_scale import choose, say
from helpers.rig_harness import RigHarness
from helpers.slowdown import current_slowdown, patience

from lenslink_hil.plugin.rig_outcomes import EXIT_RIG
from lenslink_hil.rig.taken_board import take_board

FIRST_FRAME_S = 2.0
"""From asking for a place to the first frame."""
RIG_ERROR_S = 20.0
"""From the exporter's death to the end of the job."""
FREE_AGAIN_S = 60.0
"""From a job's death to its place being free."""

# Acquire by name and by tags; then what is refused; then a board that is unplugged and comes back.
USE = """
import json, sys, time
before = set(sys.modules)
import lenslink, lenslink_hil, lenslink_hil.plugin
found = {"imports": sorted({"grpc", "labgrid"} & set(sys.modules))}
from lenslink_hil.labgrid.coordinator import Coordinator, choose_address
from lenslink_hil.labgrid.held_place import take_place
from lenslink_hil.labgrid.place_setup import set_up_places
from lenslink_hil.rig.rig_file import find_rig_file, load_rig
from lenslink.deadline import Deadline
from lenslink.transports import parse
from dataclasses import replace

def try_to_open(url, timeout):
    try:
        lenslink.open(url, timeout=timeout).close()
    except lenslink.LensLinkError as error:
        return f"{type(error).__name__}: {error}"

def command(text):
    print(text, flush=True)
    input()

began = time.monotonic()
with lenslink.open("labgrid:harness-left", timeout=60) as module:
    with module.capture() as frame:
        found["first_frame_s"] = time.monotonic() - began
        found["status"] = frame.status.value
    found["busy"] = try_to_open("labgrid:harness-left", 0.5)
    with lenslink.open("labgrid:?board=sim&serial=SIM-right", timeout=60) as other:
        found["by_tags"] = other.identity.serial
        found["none_left"] = try_to_open("labgrid:?board=sim", 0.5)
command("take")
found["taken_there"] = try_to_open("labgrid:harness-left", 20)
command("give")
found["no_place"] = try_to_open("labgrid:harness-lef", 5)
found["no_tags"] = try_to_open("labgrid:?board=pico", 5)
found["both"] = try_to_open("labgrid:harness-left?board=sim", 5)
found["no_coordinator"] = try_to_open("labgrid:harness-left?coordinator=127.0.0.1:9", 5)

held = take_place([parse("labgrid:harness-left")], Deadline(60))
with lenslink.open(held.board.url, timeout=60) as module:
    command("unplug")
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            module.capture(timeout=60).release()
    except lenslink.Disconnected:
        pass
while not held.explain_loss() and time.monotonic() < end:
    time.sleep(0.05)
found["unplugged"] = held.explain_loss()
command("plug")
while held.explain_loss() and time.monotonic() < end:
    time.sleep(0.05)
with lenslink.open(held.board.url, timeout=60) as module:
    module.capture().release()
held.release()
held.release()
with Coordinator(choose_address(), "a/b", Deadline(20)) as coordinator:
    found["left"] = [p.owner + p.reservation for p in coordinator.list_places()]
    found["left"] += [r.token for r in coordinator.list_reservations()]
    rig = load_rig(find_rig_file())
    right = replace(rig.boards["right"], roles=("af",))
    other = replace(rig, boards={**rig.boards, "right": right})
    found["places"] = [
        [[c.tags, c.change] for c in set_up_places(each, coordinator)] for each in (rig, other, rig)
    ]
print(json.dumps(found))
"""
# Two of these processes take turns. The one that has the place finds no mark of the other.
TAKE_TURNS = """
import os, sys, lenslink
from lenslink.deadline import Deadline
from lenslink.transports import parse
from lenslink_hil.labgrid.held_place import take_place
for _ in range(int(sys.argv[1])):
    with take_place([parse("labgrid:harness-left")], Deadline(300)) as held:
        os.close(os.open("mark", os.O_CREAT | os.O_EXCL))
        with lenslink.open(held.board.url, timeout=60) as module:
            module.capture().release()
        os.unlink("mark")
"""
HOLD = """
import os, signal
from lenslink.deadline import Deadline
from lenslink.transports import parse
from lenslink_hil.labgrid.held_place import take_place
held = take_place([parse("labgrid:?serial=SIM-right")], Deadline(60))
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
WAIT_UNTIL_FREE = """
import json, sys, time
from lenslink.deadline import Deadline
from lenslink_hil.labgrid.coordinator import Coordinator, choose_address
with Coordinator(choose_address(), "a/b", Deadline(float(sys.argv[1]))) as coordinator:
    while coordinator.list_reservations() or any(p.owner for p in coordinator.list_places()):
        time.sleep(0.1)
print("null")
"""
STRATEGY = """
import json, os
import lenslink
from labgrid import Environment
from lenslink_hil.labgrid.held_place import hold_any_place
from lenslink_hil.labgrid.coordinator import choose_address
from lenslink.deadline import Deadline

found = {}
with hold_any_place("harness-left", choose_address(), Deadline(60)) as owner:
    # labgrid's own client asks for the place under this name.
    os.environ["LG_HOSTNAME"], os.environ["LG_USERNAME"] = owner.split("/")
    environment = Environment("environment.yaml")
    target = environment.get_target()
    strategy = target.get_driver("LensModuleStrategy")
    strategy.transition("ready")
    driver = target.get_driver("LensModuleDriver")
    driver.module.capture().release()
    found["ready"] = driver.module.identity.serial
    strategy.transition("off")
    try:
        strategy.transition("standby")
    except lenslink.UsageError as error:
        found["unknown"] = str(error)
    print("kill", flush=True)
    input()
    # The coordinator tells it soon.
    while "gone" not in found:
        try:
            strategy.transition("ready")
        except lenslink.RigError as error:
            found["gone"] = str(error)
print(json.dumps(found))
"""
ENVIRONMENT = """
imports: [lenslink_hil.labgrid.lens_resource]
targets:
  main:
    resources:
      RemotePlace: {name: harness-left}
    drivers:
      LensModuleDriver: {}
      LensModuleStrategy: {}
"""
CAPTURES = """
def test_captures_until_the_end(lens):
    lens.capture().release()
    open("began", "w").close()
    for _ in range(100000):
        lens.capture().release()
"""
# A power switch of the lab, and its place; then what it is switched to.
OUTLET = """
outlets:
  power:
    cls: NetworkPowerPort
    model: simplerest
    host: '{url}/{{value}}'
    index: '0'
"""
SWITCH = """
import json, sys
from lenslink.deadline import Deadline
from lenslink_hil.labgrid.coordinator import Coordinator, choose_address
from lenslink_hil.rig.rig_file import PowerEntry
from lenslink_hil.rig.rig_power import RigPower
with Coordinator(choose_address(), "a/b", Deadline(60)) as coordinator:
    coordinator.add_place("outlet")
    coordinator.add_match("outlet", "outlets/outlets/NetworkPowerPort")
power = RigPower(PowerEntry("p", "labgrid", {"place": "outlet", "outlet": "power"}, 60.0))
print(json.dumps([getattr(power, action)() for action in sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RigHarness]:
    with RigHarness(tmp_path_factory.mktemp("a rig"), ["left", "right"]) as rig:
        text = rig.file.read_text()
        for name in rig.names:
            head = f"[board.{name}]\n"
            text = text.replace(head, f'{head}kind = "sim"\nserial = "SIM-{name}"\n')
            # A board with a power switch needs a keeper, which is one more process.
            power = f'power = "{name}"\n'
            text = text.replace(power, choose("", power))
        rig.file.write_text(text)
        yield rig


@pytest.fixture(scope="module")
def site(boards: RigHarness, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabgridHarness]:
    try:
        python = find_python()
    except NoLabgrid as problem:
        pytest.skip(str(problem))
    with LabgridHarness(python, tmp_path_factory.mktemp("labgrid"), boards.load()) as harness:
        text = harness.run("-m", "lenslink", "rig", "places", str(boards.file), "--json")
        places = json.loads(text)["places"]
        assert [(each["place"], each["change"]) for each in places] == [
            ("harness-left", "created"),
            ("harness-right", "created"),
        ]
        yield harness


def talk(site: LabgridHarness, script: str, boards: RigHarness) -> dict[str, object]:
    """Run *script*, do what it asks for, and return the JSON that it prints in the end."""
    with (
        subprocess.Popen(
            [str(site.python), "-c", script],
            cwd=site.folder,
            env=site.make_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
        ending(process),
        contextlib.ExitStack() as jobs,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        line, rig = "", boards.load()
        for text in process.stdout:
            line = text.strip()
            if line == "kill":
                site.kill_exporter()
            elif line in ("unplug", "plug"):
                boards.command("left", line)
            elif line == "take":
                board = rig.boards["left"]
                jobs.enter_context(take_board([board], patience(20), rig=rig, command="pytest"))
            elif line == "give":
                jobs.close()
            else:
                continue
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.wait(patience(20)) == 0
    found: dict[str, object] = json.loads(line)
    return found


def test_a_place_is_a_board_and_each_fault_is_one_sentence(
    site: LabgridHarness, boards: RigHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    found = talk(site, USE, boards)
    assert found["imports"] == []
    assert found["status"] == "complete"
    took = found["first_frame_s"]
    say(capsys, f"labgrid: acquire to first frame {took:.2f} s")
    assert isinstance(took, float)
    assert took < FIRST_FRAME_S * current_slowdown()
    assert found["by_tags"] == "SIM-right"
    for key, words in {
        "busy": "RigError: no place is free within 0.5 s (harness-left): held by ",
        "none_left": "RigError: no place is free within 0.5 s (board=sim): held by ",
        "taken_there": "RigError: the exporter of place harness-left says: board left cannot be "
        "served: no board is free within 1 s (left): held by ",
        "no_place": "RigError: there is no place 'harness-lef'; did you mean 'harness-left'?",
        "no_tags": "RigError: no place has the tags board=pico (places: harness-left: board=sim",
        "both": "UsageError: labgrid:harness-left?board=sim: name either a place",
        "no_coordinator": "RigError: no labgrid coordinator answers at 127.0.0.1:9; start",
    }.items():
        assert str(found[key]).startswith(words)
    assert found["unplugged"] == (
        "the exporter of place harness-left says: board left is not there; check its cable and "
        "its power"
    )
    assert found["left"] == ["", ""]
    left = ["board=sim rig=harness serial=SIM-left", "unchanged"]
    right = "board=sim rig=harness serial=SIM-right"
    with_role = "board=sim rig=harness role_af=yes serial=SIM-right"
    assert found["places"] == [
        [left, [right, "unchanged"]],
        [left, [with_role, "changed"]],
        [left, [right, "changed"]],
    ]


def test_two_workers_never_have_one_place_both(
    site: LabgridHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = choose(1, 20)
    command = [str(site.python), "-c", TAKE_TURNS, str(rounds)]
    workers = [
        subprocess.Popen(command, cwd=site.folder, env=site.make_environment()) for _ in range(2)
    ]
    assert [worker.wait(patience(10 + 10 * rounds)) for worker in workers] == [0, 0]
    say(capsys, f"labgrid: 2 workers x {rounds} rounds for one place: never both")


def test_the_place_of_a_job_that_was_killed_is_free_again(
    site: LabgridHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    slowest = 0.0
    for _ in range(choose(1, 10)):
        job, _ = site.start("-c", HOLD, until=b"held")
        # It still runs, so it keeps its place, whatever it does not do.
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        killed = time.monotonic()
        site.run("-c", WAIT_UNTIL_FREE, str(patience(FREE_AGAIN_S)))
        slowest = max(slowest, time.monotonic() - killed)
    say(capsys, f"labgrid: places of killed jobs are free again within {slowest:.1f} s")
    assert slowest < FREE_AGAIN_S * current_slowdown()


def test_labgrids_own_tests_get_a_module_and_sentences(
    site: LabgridHarness, boards: RigHarness
) -> None:
    (site.folder / "environment.yaml").write_text(ENVIRONMENT)
    try:
        found = talk(site, STRATEGY, boards)
    finally:
        site.restart_exporter()
    assert found["ready"] == "SIM-left"
    assert found["unknown"] == "there is no state 'standby' (known: off, ready)"
    assert str(found["gone"]).startswith("the exporter of the lens module has ended; type on its")


def test_a_killed_exporter_is_a_rig_error_and_never_a_failure(
    site: LabgridHarness, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(seed)
    slowest = 0.0
    count = choose(1, 20)
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = InnerPytest(
            folder, CAPTURES, "--lens", "labgrid:harness-left", "--lens-evidence", "none",
            # A worker process costs another second of the processor.
            "-n", str(choose(0, 1)),
            python=site.python, **site.environment,
        )  # fmt: skip
        with ending(run.process):
            # At any moment: in the midst of the captures, or of the run's start.
            while number % 2 == 0 and not (folder / "began").exists():
                assert run.process.poll() is None, run.text
                time.sleep(0.02)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(rng.uniform(0, 2))
            site.kill_exporter()
            killed = time.monotonic()
            status = run.wait()
            slowest = max(slowest, time.monotonic() - killed)
        assert (status, run.outcomes()) == (
            EXIT_RIG,
            {"test_captures_until_the_end": "error"},
        ), run.text
        site.restart_exporter()
    say(capsys, f"labgrid: {count} killed exporters: 0 failures, rig errors in {slowest:.1f} s")
    assert slowest < RIG_ERROR_S * current_slowdown()


def test_a_power_switch_of_the_lab_is_a_power_switch_of_a_rig(
    site: LabgridHarness, tmp_path: Path
) -> None:
    states = ["1"]

    class Relay(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            value = self.path.removeprefix("/relay").strip("/")
            states.extend([value] if value else [])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(states[-1].encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay) as relay:
        thread = threading.Thread(target=relay.serve_forever, daemon=True)
        thread.start()
        file = tmp_path / "outlets.yaml"
        file.write_text(OUTLET.format(url=f"http://127.0.0.1:{relay.server_address[1]}/relay"))
        site.start("-m", "labgrid.remote.exporter", "-n", "outlets", str(file), until=b"ready")
        actions = choose(["off"], ["off", "read", "on", "read"])
        assert site.run_script(SWITCH, *actions) == choose([None], [None, False, None, True])
        relay.shutdown()
        thread.join()
    assert states == choose(["1", "0"], ["1", "0", "1"])
