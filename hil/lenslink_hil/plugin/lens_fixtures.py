"""The fixtures of tests on a module.

One connection lies under all tests of a process. ``lens`` begins a new session on it for each test.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from . import session_evidence
from .needed_features import check_needs
from .run_options import (
    DEFAULT_LENS,
    get_seed,
    get_source,
    get_wait,
    named_urls,
    worker_input,
)
from .worker_plan import starts_module

if TYPE_CHECKING:
    from lenslink import Device

    from ..benches.sim import Module
    from ..rig.rig_file import Board
    from ..rig.rig_power import RigPower
    from .held_module import HeldModule

HELD = pytest.StashKey["HeldModule"]()
"""Of the session: the board of this process, once a test has asked for it."""
HELD_USERS = ("lens", "lens_fresh", "lens_plant", "lens_begin")
"""Fixtures that hand out the module over the connection that the process keeps."""


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Return the seed of this run. Each test derives its own generator from the seed."""
    return get_seed(pytestconfig)


@pytest.fixture(scope="session")
def lens_held(pytestconfig: pytest.Config) -> Iterator[HeldModule]:
    """Take a board for this process, and keep it until the last test. Tests use the others."""
    urls = named_urls(pytestconfig)
    if not urls:
        _skip_without_micropython()
    from lenslink import LensLinkError, RigError

    try:
        held = _take(pytestconfig, urls or [DEFAULT_LENS])
    except RigError as error:
        problem: LensLinkError = error
    except LensLinkError as error:
        problem = error
    else:
        pytestconfig.stash[HELD] = held
        try:
            yield held
        finally:
            held.close()
        return
    # Outside of the handler, or pytest prints the cause as well.
    if isinstance(problem, RigError):
        raise RigError(str(problem))
    pytest.fail(f"{get_source(pytestconfig)} {', '.join(urls)}: {problem}", pytrace=False)


def _take(config: pytest.Config, urls: list[str]) -> HeldModule:
    from .held_module import HeldModule, take_named_board

    recorder = config.stash.get(session_evidence.RECORDER, None)
    wrap = recorder.wrap if recorder is not None else None
    # Windows has no flock. There the driver's own locks tell two jobs apart, and there are no rigs.
    is_lockable = sys.platform != "win32" or urls[0].startswith("rig:")
    if len(urls) == 1 and (starts_module(urls[0]) or not is_lockable):
        from lenslink.transports import parse

        parse(urls[0])
        return HeldModule(None, urls[0], wrap)
    worker = worker_input(config)
    taken = take_named_board(
        urls,
        get_wait(config),
        on_wait=lambda who: _say(config, f"lens: waiting for a board, which is held by {who}"),
        controller=None if worker is None else os.getppid(),
        command=f"pytest {' '.join(config.invocation_params.args)}" if worker is None
        else " ".join(map(str, worker.get("mainargv", ()))),
    )  # fmt: skip
    return HeldModule(taken, taken.board.url, wrap)


def _say(config: pytest.Config, text: str) -> None:
    """Print a line now, past pytest's capture: somebody waits for what it says."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        os.write(2, f"\n{text}\n".encode("utf-8", "replace"))


@pytest.fixture(scope="session")
def lens_url(lens_held: HeldModule, pytestconfig: pytest.Config) -> str:
    """Return the URL of the module, for a test that opens the module itself.

    A bench that is named and missing is a rig error. If no bench is named and there is no
    MicroPython, the test is skipped.
    """
    named = named_urls(pytestconfig)
    if named and not starts_module(named[0]):
        # Tests that open it themselves must not take a missing board for a module's failure.
        lens_held.start_session(lens_held.url)
        lens_held.close_connection()
    elif named:
        _check_opens(pytestconfig, named[0])
    return lens_held.url


def _check_opens(config: pytest.Config, url: str) -> None:
    from lenslink import LensLinkError, RigError, UsageError, open

    try:
        open(url).close()
    except UsageError as error:
        problem: LensLinkError = error
    except LensLinkError as error:
        problem = RigError(str(error))
    else:
        return
    if isinstance(problem, RigError):
        raise RigError(f"{get_source(config)} {url}: {problem}")
    pytest.fail(f"{get_source(config)} {url}: {problem}", pytrace=False)


def _skip_without_micropython() -> None:
    from lenslink import RigError

    from ..benches.micropython import find_micropython

    try:
        find_micropython()
    except RigError as error:
        problem = str(error)
    else:
        return
    if os.environ.get("MICROPYTHON"):
        raise RigError(problem)
    pytest.skip(problem)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Close the kept connection before a test that opens the module itself."""
    fixtures = getattr(item, "fixturenames", ())
    held = item.config.stash.get(HELD, None)
    if held is not None and "lens_url" in fixtures and not set(HELD_USERS) & set(fixtures):
        held.close_connection()


def _start(request: pytest.FixtureRequest, held: HeldModule, url: str) -> Device:
    """Begin a session and its recording; note in the report what it runs on."""
    recorder = request.config.stash.get(session_evidence.RECORDER, None)
    if recorder is not None:
        recorder.begin()
    before = held.recoveries.total()
    device = held.start_session(url)
    _note(request.node, device, held, held.recoveries.total() - before)
    check_needs(request.node, device, held.board, url.partition(":")[0])
    return device


def _note(item: pytest.Item, device: Device, held: HeldModule, recoveries: int) -> None:
    """Note properties for JUnit and for the recording of a test that fails."""
    line, manifest = device.line, device.manifest
    facts = {
        "board": held.board.name,
        "serial": manifest.serial,
        "kind": manifest.board,
        "firmware": manifest.firmware,
        "boot_count": device.session_info.boot_count,
        "link": held.url.partition(":")[0],
        "link_speed": line.bus,
        "link_bytes_per_s": line.ceiling,
        "image_sha256": line.image_sha256,
        "recovered": recoveries or None,
    }
    known = {key for key, _ in item.user_properties}
    for key, value in facts.items():
        if value is not None and f"lens_{key}" not in known:
            item.user_properties.append((f"lens_{key}", value))


@pytest.fixture
def lens(request: pytest.FixtureRequest, lens_held: HeldModule, lens_url: str) -> Device:
    """Hand out the module in a new session: stopped, with its defaults."""
    return _start(request, lens_held, lens_url)


@pytest.fixture
def lens_fresh(
    request: pytest.FixtureRequest, lens_held: HeldModule, lens_url: str
) -> Iterator[Device]:
    """Hand out the module over a new connection, which ends with the test."""
    lens_held.close_connection()
    yield _start(request, lens_held, lens_url)
    lens_held.close_connection()


@pytest.fixture(scope="session")
def lens_begin(lens_held: HeldModule, lens_url: str) -> Callable[[], Device]:
    """Return a function that begins a session, for fixtures of a wider scope than a test.

    The session ends when the next one begins: that of ``lens``, for example.
    """
    return lambda: lens_held.start_session(lens_url)


@pytest.fixture(scope="session")
def lens_board(lens_held: HeldModule) -> Board:
    """Return the board that the tests of this process run on: name, kind, roles, floors."""
    return lens_held.board


@pytest.fixture
def lens_power(lens_held: HeldModule) -> Iterator[RigPower]:
    """Return the power of the board: ``off()``, ``on()``, ``cycle()``, ``read()``.

    Without a switch it is a rig error. The power is on again after the test.
    """
    from lenslink import RigError

    taken = lens_held.taken
    if taken is None or taken.power is None:
        raise RigError(
            f"board {lens_held.board.name} has no power switch: add 'power' to it in rig.toml, or "
            "leave this test out"
        )
    lens_held.close_connection()
    yield taken.power
    lens_held.close_connection()
    taken.power.on()


@pytest.fixture
def lens_plant(lens: Device, lens_held: HeldModule) -> Module:
    """Return the simulated world around the module: ``command()`` and ``request_report()``.

    The test is skipped on a bench that has none.
    """
    from ..benches.sim import Module

    del lens
    plant = getattr(lens_held.transport, "module", None)
    if not isinstance(plant, Module):
        pytest.skip(f"{lens_held.url} has no plant; sim: has one")
    return plant
