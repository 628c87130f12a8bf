"""Test that no error of the system leaves the driver as anything but the driver's own errors.

The calls of the system are found by the syntax tree: see :mod:`helpers.os_faults`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.nightly_scale import choose
from helpers.os_faults import list_sites

if sys.platform != "linux":
    pytest.skip("counts descriptors and calls as on Linux", allow_module_level=True)

SCENARIOS = (
    "stream_sockets",
    "tcp_sockets",
    "lane_sockets",
    "shared_memory",
    "serial_port",
    "usb_interface",
    "locks",
    "runtime_folders",
    "frame_ring",
    "image_files",
)
SHARE = choose(0.0, 1.0)
# Calls that no scenario reaches, with the reason.
UNREACHED = {
    "transports/serial.py": {"port.read": "Windows only", "port.write": "Windows only"},
    "transports/stream_socket.py": {"connection.recv_into": "Windows only"},
    "transports/shm.py": {"connection.close": "after a connection that takes too long"},
    "transports/socket.py": {"connection.close": "after a connection that takes too long"},
    "transports/usb.py": {
        "usb.util.dispose_resources": "in test_usb_driver.py",
    },
    "transports/usb_lanes.py": {"self._handle.clear_halt": "in test_usb_driver.py"},
    "transports/usb_reads.py": {"self._handle.clear_halt": "in test_usb_driver.py"},
}


@pytest.fixture(scope="module")
def reports(seed: int) -> dict[str, dict[str, list[str]]]:
    """Run all scenarios in one other process, whose driver is instrumented."""
    run = subprocess.run(
        [sys.executable, "-m", "helpers.os_faults", str(seed), str(SHARE), *SCENARIOS],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, dict[str, list[str]]] = json.loads(run.stdout)
    return found


@pytest.mark.timeout(choose(180, 3600))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_failing_call_ends_in_one_of_our_errors(
    scenario: str, reports: dict[str, dict[str, list[str]]], seed: int
) -> None:
    """No other exception leaves the driver, and no descriptor is left."""
    assert not reports[scenario]["problems"], f"seed {seed}"


@pytest.mark.timeout(choose(180, 3600))
def test_every_call_is_reached(reports: dict[str, dict[str, list[str]]]) -> None:
    """A new call of the system needs a scenario, or a reason in UNREACHED."""
    reached = {site for report in reports.values() for site in report["reached"]}
    missing = [
        f"{site} {name}"
        for site, name in list_sites().items()
        if site not in reached and name not in UNREACHED.get(site.partition(":")[0], {})
    ]
    assert not missing
