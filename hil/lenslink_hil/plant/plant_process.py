"""The plant's process: one thread between the rows socket, the pins socket and stdin.

Rows are computed a band at a time between two looks at the sockets, and written as far as the
socket takes them, so that a 100 MP frame on its way does not hold up a contact's edge.

It ends at the end of any of the three, however the other side ended: both the bench and the
firmware going away close their ends, and the plant outlives neither.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

from lenslink.errors import ProtocolError, UsageError
from lenslink.settings import Settings

from .body import Body
from .pin_records import DETECT_PIN, POWER_PINS, RELEASE_BUTTON, Kind, Record, RecordReader
from .row_service import Request, RowService
from .scene import Scene

READ_SIZE = 1 << 16
ROWS_SEND_BUFFER = 1 << 20
MAX_UNREAD_PINS = 1 << 16
"""Bytes of pin records the firmware may leave unread before it counts as broken."""


class Server:
    """Serves a scene and a body until an input ends.

    :param commands: file descriptor of the bench's commands, one JSON object a line:
        ``{"ring": detents}``, ``{"contacts": [[delay_us, pin, level], ...]}``,
        ``{"vbus_mv": millivolts}``, ``{"wrong_crcs": frames}`` (on each channel).
    """

    def __init__(
        self,
        scene: Scene,
        rows: Sequence[socket.socket],
        pins: socket.socket,
        commands: int,
        seed: int,
    ) -> None:
        self._rows, self._pins, self._commands = list(rows), pins, commands
        for side in (*rows, pins):
            side.setblocking(False)
        for channel in rows:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROWS_SEND_BUFFER)
        # A frame at a time on each of the sensor's channels, all channels at once.
        self._services = [RowService(scene, scene.sensor.repeat) for _ in rows]
        self._external_us: int | None = None
        self._start_us = self._now_us()
        self._body = Body(seed, self._start_us)
        self._records = RecordReader()
        self._unsent_pins = b""
        self._partial_command = b""
        # poll, not epoll: stdin may be a file or /dev/null, which epoll refuses.
        self._selector = selectors.PollSelector()
        for number, channel in enumerate(rows):
            self._selector.register(channel, selectors.EVENT_READ, number)
        self._selector.register(pins, selectors.EVENT_READ)
        self._selector.register(commands, selectors.EVENT_READ)
        for mode in scene.sensor.modes:
            if "preview" in mode.use and not scene.sensor.repeat:
                # Probably the first frame asked for; done while the firmware boots.
                self._services[0].prefetch(Request(0, mode.id, Settings(10_000, 1000, 0)))

    def serve(self) -> None:
        """Serve until one of the inputs ends.

        :raises ProtocolError: when the firmware breaks the rules of a socket; UsageError for a
            command that is none.
        """
        try:
            while True:
                self._run_once()
        except (EOFError, ConnectionError):
            pass
        finally:
            self._selector.close()
            for channel in self._rows:
                channel.close()
            self._pins.close()

    def _run_once(self) -> None:
        """Wait for something to do and do it once."""
        for channel, service in zip(self._rows, self._services, strict=True):
            self._watch_events(channel, service.get_output() is not None)
        self._watch_events(self._pins, bool(self._unsent_pins))
        for key, events in self._selector.select(self._get_timeout()):
            if key.data is not None:
                self._serve_rows(key.data, events)
            elif key.fileobj is self._pins:
                if events & selectors.EVENT_READ:
                    self._read_pins()
            else:
                self._read_commands()
        if self._external_us is None:
            self._send_pins(self._body.take_due_records(self._now_us()))
        for service in self._services:
            if service.has_work():
                service.work()

    def _get_timeout(self) -> float | None:
        if any(service.has_work() for service in self._services):
            return 0
        due = self._body.get_next_event_us()
        if due is None or self._external_us is not None:
            return None  # whoever tells the time comes when it is due
        return max(0, due - self._now_us()) / 1e6

    def _watch_events(self, side: socket.socket, write: bool) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        if self._selector.get_key(side).events != wanted:
            self._selector.modify(side, wanted, self._selector.get_key(side).data)

    def _serve_rows(self, number: int, events: int) -> None:
        channel, service = self._rows[number], self._services[number]
        if events & selectors.EVENT_READ:
            service.feed(_receive(channel))
        data = service.get_output()
        if events & selectors.EVENT_WRITE and data is not None:
            service.mark_sent(_send(channel, data))

    def _read_pins(self) -> None:
        for record in self._records.feed(_receive(self._pins)):
            if record.kind == Kind.ELAPSED:
                # Its first moment is the body's.
                before = self._start_us if self._external_us is None else self._external_us
                self._external_us = before + record.value
                self._send_pins(
                    [*self._body.take_due_records(self._external_us), self._make_next_record(1)]
                )
            else:
                self._send_pins(self._body.handle(record, self._now_us()))

    def _make_next_record(self, asked: int) -> Record:
        due = self._body.get_next_event_us()
        ahead = -1 if due is None else max(0, due - self._now_us())
        return Record(Kind.NEXT, asked, ahead)

    def _now_us(self) -> int:
        return time.monotonic_ns() // 1000 if self._external_us is None else self._external_us

    def _send_pins(self, records: list[Record]) -> None:
        self._unsent_pins += b"".join(record.pack() for record in records)
        if len(self._unsent_pins) > MAX_UNREAD_PINS:
            raise ProtocolError("pins: the firmware does not read its records")
        if self._unsent_pins:
            self._unsent_pins = self._unsent_pins[_send(self._pins, self._unsent_pins) :]

    def _read_commands(self) -> None:
        data = os.read(self._commands, READ_SIZE)
        if not data:
            raise EOFError
        *lines, self._partial_command = (self._partial_command + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._run_command(line)

    def _run_command(self, line: bytes) -> None:
        now = self._now_us()
        try:
            match list(json.loads(line).items()):
                case [("ring", detents)]:
                    self._body.turn_ring(_parse_integer(detents), now)
                case [("contacts", edges)]:
                    self._body.plan_contacts([_parse_edge(edge) for edge in edges], now)
                case [("vbus_mv", millivolts)]:
                    self._body.supply.set_vbus(_parse_integer(millivolts), now)
                case [("wrong_crcs", frames)]:
                    for service in self._services:
                        service.spoil_crcs(_parse_integer(frames))
                case _:
                    raise _make_command_error(line)
            if self._external_us is not None:
                self._send_pins([self._make_next_record(0)])
        except (ValueError, TypeError, AttributeError):
            raise _make_command_error(line) from None


def _make_command_error(line: bytes) -> UsageError:
    return UsageError(f"no such command: {line.decode(errors='replace').strip()}")


def _receive(side: socket.socket) -> bytes:
    """Read what is there; raises EOFError at the end."""
    try:
        data = side.recv(READ_SIZE)
    except BlockingIOError:  # a wake-up for nothing
        return b""
    if not data:
        raise EOFError
    return data


def _send(side: socket.socket, data: bytes | memoryview) -> int:
    """Write what the socket takes; gives how many bytes that was."""
    try:
        return side.send(data)
    except BlockingIOError:
        return 0


def _parse_integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(value)
    return value


def _parse_edge(value: Any) -> tuple[int, int, int]:
    delay_us, pin, level = (_parse_integer(number) for number in value)
    if delay_us < 0 or pin not in {POWER_PINS, DETECT_PIN, RELEASE_BUTTON} or level not in {0, 1}:
        raise ValueError(value)
    return delay_us, pin, level
