"""Test ``serial:`` on pseudo terminals: control lines, many descriptors, and messages."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest
import serial
from helpers.slowdown import patience

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, NotFound, RigError, Timeout, UsageError
from lenslink.transports import open_transport, parse
from lenslink.transports.serial import SerialTransport

if sys.platform == "win32":
    pytest.skip("needs pseudo terminals", allow_module_level=True)


@pytest.fixture
def module() -> Iterator[tuple[int, str]]:
    """Yield the module's descriptor, and the path of the host's port."""
    ours, theirs = os.openpty()
    path = os.ttyname(theirs)
    yield ours, path
    for descriptor in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def open_port(path: str, options: str = "") -> SerialTransport:
    transport = open_transport(parse(f"serial:{path}{options}"), Deadline(5, "opening"))
    assert isinstance(transport, SerialTransport)
    return transport


def receive(transport: SerialTransport, size: int, seconds: float = 5.0) -> bytes:
    buffer = bytearray(size)
    count = transport.receive_into([memoryview(buffer)], patience(seconds))
    return bytes(buffer[:count])


def test_bytes_pass_in_both_directions(module: tuple[int, str]) -> None:
    ours, path = module
    transport = open_port(path)
    os.write(ours, b"hello")
    assert receive(transport, 3) == b"hel"
    assert receive(transport, 9) == b"lo"
    assert receive(transport, 9, 0) == b""
    transport.send(b"ping", Deadline(5))
    assert os.read(ours, 9) == b"ping"
    transport.close()
    with pytest.raises(Disconnected, match="was closed"):
        receive(transport, 1)


def test_an_unplugged_port_is_disconnected(module: tuple[int, str]) -> None:
    ours, path = module
    transport = open_port(path)
    os.close(ours)
    with pytest.raises(Disconnected, match="unplugged"):
        receive(transport, 1)
    with pytest.raises(Disconnected, match="unplugged"):
        transport.send(b"x", Deadline(1))


def test_a_module_that_reads_nothing_is_a_timeout(module: tuple[int, str]) -> None:
    transport = open_port(module[1])
    start = time.monotonic()
    with pytest.raises(Timeout, match="took no bytes"):
        transport.send(bytes(1 << 20), Deadline(0.2))
    assert time.monotonic() - start < patience(2)
    transport.close()


def test_a_descriptor_above_1023_works(module: tuple[int, str]) -> None:
    """select() fails for such descriptors."""
    ours, path = module
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this user may not open 2,048 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    used: list[int] = []
    try:
        while not used or used[-1] < 1100:
            used.append(os.open(os.devnull, os.O_RDONLY))
        transport = open_port(path)
        assert transport._port.fd > 1023
        assert receive(transport, 9, 0.01) == b""
        os.write(ours, b"hello")
        assert receive(transport, 9) == b"hello"
        transport.send(b"ping", Deadline(5))
        assert os.read(ours, 9) == b"ping"
        with pytest.raises(Timeout):
            transport.send(bytes(1 << 20), Deadline(0.2))
        transport.close()
    finally:
        for descriptor in used:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        ("", (True, True)),
        ("?dtr=0", (False, True)),
        ("?rts=0", (True, False)),
        ("?dtr=0&rts=0", (False, False)),
        ("?dtr=1&rts=1", (True, True)),
    ],
)
def test_control_lines_have_their_levels_from_the_opening_on(
    options: str, levels: tuple[bool, bool], module: tuple[int, str], monkeypatch: Any
) -> None:
    at_opening: list[tuple[bool, bool]] = []
    original = serial.Serial.open

    def watched(port: serial.Serial) -> None:
        at_opening.append((port.dtr, port.rts))
        original(port)

    monkeypatch.setattr(serial.Serial, "open", watched)
    open_port(module[1], options).close()
    assert at_opening == [levels]


@pytest.mark.parametrize("option", ["dtr=on", "rts=2", "dtr="])
def test_another_level_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="is neither 0 nor 1"):
        open_port("/dev/null", f"?{option}")


def test_the_message_names_the_error_once() -> None:
    with pytest.raises(NotFound) as caught:
        open_port("/missing/port")
    assert str(caught.value) == "serial:/missing/port: No such file or directory"


def test_a_file_that_is_no_serial_port_is_called_that() -> None:
    with pytest.raises(NotFound) as caught:
        open_port("/dev/null")
    assert str(caught.value) == "serial:/dev/null: it is no serial port"


def test_a_port_that_goes_away_while_it_is_opened_ends_in_one_of_our_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pyserial lets termios.error through here, which is no OSError."""

    def fail(port: serial.Serial) -> None:
        raise termios.error(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(serial.Serial, "reset_input_buffer", fail)
    ours, theirs = os.openpty()
    try:
        with pytest.raises(NotFound, match="Input/output error"):
            open_port(os.ttyname(theirs))
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EACCES, NotFound),
        (errno.EMFILE, RigError),
        (errno.ENXIO, NotFound),
        (errno.EIO, NotFound),
    ],
)
def test_errors_at_opening_are_ours(
    code: int, kind: type[LensLinkError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(port: serial.Serial) -> None:
        raise serial.SerialException(code, f"could not open port x: [Errno {code}] words")

    monkeypatch.setattr(serial.Serial, "open", fail)
    with pytest.raises(kind) as caught:
        open_port("/dev/x")
    assert "Errno" not in str(caught.value)
