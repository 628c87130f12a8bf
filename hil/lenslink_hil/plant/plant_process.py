"""The plant's process: one thread that serves the rows sockets, the pins socket and stdin.

The thread computes one band of rows between two polls of the sockets, and writes what a socket
takes. So a frame of 100 megapixels does not delay a contact's edge.

The process ends when any of its inputs ends. The bench and the firmware close their ends when they
exit, so the plant outlives neither of them.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

from lenslink.errors import ProtocolError, UsageError
from lenslink.settings import Settings

from .body import Body
from .pin_records import Kind, Record, RecordReader
from .row_service import Request, RowService
from .scene import Scene
from .spring_contacts import MOVABLE

_log = logging.getLogger(__name__)

READ_SIZE = 1 << 16
ROWS_SEND_BUFFER = 1 << 20
MAX_UNREAD_PINS = 1 << 16
"""Unread bytes of pin records at which the firmware counts as broken."""


class PlantServer:
    """Serves a scene and a body until an input ends.

    Args:
        scene: what the sensor sees.
        rows: a socket for each channel of the sensor.
        pins: the socket for pin records.
        commands: file descriptor of the bench's commands. Each line is one JSON object:
            ``{"ring": ticks}``, ``{"contacts": [[delay_us, contact, level], ...]}`` with the
            contacts of :mod:`.spring_contacts`, ``{"contact_mohm": milliohms}``,
            ``{"vbus_mv": millivolts}``, ``{"ambient_c": degrees}``, ``{"lose_steps": steps}`` of
            the motor, ``{"wrong_crcs": frames}`` (on each channel), or ``{"report": true}``: print
            :meth:`.body.Body.report` on stdout, and ``readouts``: the number of each of the last
            frames and when its readout began, in microseconds of the monotonic clock.
        seed: of the contacts' bounce.
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
        self._scene = scene
        self._external_us: int | None = None
        # Each channel of the sensor sends one frame at a time; all channels work at once.
        self._services = [
            RowService(scene, scene.sensor.repeat, self._find_focus, self._now_us) for _ in rows
        ]
        self._start_us = self._now_us()
        self._body = Body(seed, self._start_us)
        self._records = RecordReader()
        self._pin_output = b""
        self._partial_command = b""
        self._waiting_commands: list[bytes] = []
        # poll and not epoll, because epoll refuses stdin if it is a file or /dev/null.
        self._selector = selectors.PollSelector()
        for number, channel in enumerate(rows):
            self._selector.register(channel, selectors.EVENT_READ, number)
        self._selector.register(pins, selectors.EVENT_READ)
        self._selector.register(commands, selectors.EVENT_READ)
        for mode in scene.sensor.modes:
            if "preview" in mode.use and not scene.sensor.repeat:
                # This is probably the first request. Compute it while the firmware boots.
                self._services[0].prefetch(Request(0, mode.id, Settings(10_000, 1000, 0)))

    def serve(self) -> None:
        """Serve until one of the inputs ends.

        Raises:
            ProtocolError: the firmware violates the protocol of a socket.
            UsageError: a command is unknown.
        """
        try:
            while True:
                self._run_once()
        except (EOFError, ConnectionError) as end:
            _log.debug("an input ended, so the plant ends: %r", end)
        finally:
            self._selector.close()
            for channel in self._rows:
                channel.close()
            self._pins.close()

    def _run_once(self) -> None:
        """Wait for an event, handle it, and compute one band on each channel."""
        for channel, service in zip(self._rows, self._services, strict=True):
            self._watch_events(channel, service.get_output() is not None)
        self._watch_events(self._pins, bool(self._pin_output))
        for key, events in self._selector.select(self._get_timeout()):
            if key.data is not None:
                self._handle_rows(key.data, events)
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
            return None  # the external clock sends ELAPSED when the edge is due
        return max(0, due - self._now_us()) / 1e6

    def _watch_events(self, side: socket.socket, write: bool) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        if self._selector.get_key(side).events != wanted:
            self._selector.modify(side, wanted, self._selector.get_key(side).data)

    def _handle_rows(self, number: int, events: int) -> None:
        channel, service = self._rows[number], self._services[number]
        if events & selectors.EVENT_READ:
            # The firmware moved the lens before it asked for these rows.
            self._read_pins()
            self._scene.set_temperature(self._body.housing.get_temperature_c(self._now_us()))
            service.feed(_receive(channel))
        data = service.get_output()
        if events & selectors.EVENT_WRITE and data is not None:
            service.mark_sent(_send(channel, data))

    def _read_pins(self) -> None:
        for record in self._records.feed(_receive(self._pins)):
            if record.kind == Kind.ELAPSED:
                # The external clock continues from the body's start.
                before = self._start_us if self._external_us is None else self._external_us
                self._external_us = before + record.value
                self._send_pins(self._body.take_due_records(self._external_us))
                self._run_commands()
                self._send_pins([self._make_next_record(1)])
            else:
                before_us = self._body.get_next_event_us()
                self._send_pins(self._body.handle(record, self._now_us()))
                if self._external_us is not None and self._body.get_next_event_us() != before_us:
                    self._send_pins([self._make_next_record(0)])

    def _make_next_record(self, asked: int) -> Record:
        due = self._body.get_next_event_us()
        ahead = -1 if due is None else max(0, due - self._now_us())
        return Record(Kind.NEXT, asked, ahead)

    def _find_focus(self) -> float:
        return self._body.get_focus_mdpt(self._now_us())

    def _now_us(self) -> int:
        return time.monotonic_ns() // 1000 if self._external_us is None else self._external_us

    def _send_pins(self, records: list[Record]) -> None:
        for record in records:
            _log.debug("send %s", record)
        self._pin_output += b"".join(record.pack() for record in records)
        if len(self._pin_output) > MAX_UNREAD_PINS:
            raise ProtocolError("pins: the firmware does not read its records")
        if self._pin_output:
            self._pin_output = self._pin_output[_send(self._pins, self._pin_output) :]

    def _read_commands(self) -> None:
        data = os.read(self._commands, READ_SIZE)
        if not data:
            raise EOFError
        *lines, self._partial_command = (self._partial_command + data).split(b"\n")
        self._waiting_commands += [line for line in lines if line.strip()]
        if self._external_us is None:
            self._run_commands()
        elif self._waiting_commands:
            # The external clock is ahead of the time that it has sent. Edges that are planned in
            # its past would come all at once, so the commands wait for its answer to this.
            self._send_pins([Record(Kind.NEXT, 0, 0)])

    def _run_commands(self) -> None:
        commands, self._waiting_commands = self._waiting_commands, []
        for line in commands:
            self._run_command(line)

    def _run_command(self, line: bytes) -> None:
        now = self._now_us()
        _log.debug("command %s", line.decode(errors="replace"))
        try:
            match list(json.loads(line).items()):
                case [("ring", ticks)]:
                    self._body.turn_ring(_parse_integer(ticks), now)
                case [("lose_steps", steps)]:
                    self._body.motor.lose_steps(_parse_integer(steps))
                case [("contacts", edges)]:
                    self._body.plan_contacts([_parse_edge(edge) for edge in edges], now)
                case [("vbus_mv", millivolts)]:
                    self._send_pins(self._body.set_supply_mv(_parse_integer(millivolts), now))
                case [("contact_mohm", milliohms)]:
                    self._send_pins(self._body.set_contact_mohm(_parse_integer(milliohms), now))
                case [("ambient_c", degrees)]:
                    self._body.housing.set_ambient(_parse_integer(degrees), now)
                case [("report", True)]:
                    readouts = [each for service in self._services for each in service.readouts]
                    print(json.dumps(self._body.report(now) | {"readouts": readouts}), flush=True)
                case [("wrong_crcs", frames)]:
                    for service in self._services:
                        service.spoil_crcs(_parse_integer(frames))
                case _:
                    raise _make_command_error(line)
        except (ValueError, TypeError, AttributeError):
            raise _make_command_error(line) from None


def _make_command_error(line: bytes) -> UsageError:
    return UsageError(f"unknown command: {line.decode(errors='replace').strip()}")


def _receive(side: socket.socket) -> bytes:
    """Return the bytes that have arrived; raise EOFError at the end of the stream."""
    try:
        data = side.recv(READ_SIZE)
    except BlockingIOError:  # a wake-up without data
        return b""
    if not data:
        raise EOFError
    return data


def _send(side: socket.socket, data: bytes | memoryview) -> int:
    """Send as much as the socket takes and return the number of bytes."""
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
    if delay_us < 0 or pin not in MOVABLE or level not in {0, 1}:
        raise ValueError(value)
    return delay_us, pin, level
