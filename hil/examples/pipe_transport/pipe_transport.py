"""``pipe:COMMAND``: a module behind the standard input and output of a program.

This is an example of a transport of one's own, for Linux and macOS. Copy it, and replace the
program by what reaches your module. ``lenslink`` finds it by the entry point in pyproject.toml::

    pip install ./hil/examples/pipe_transport
    lenslink info 'pipe:my-module --stdio'
    lenslink conform module 'pipe:my-module --stdio'
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, NotFound, Timeout, UsageError
from lenslink.transports import DeviceInfo, Transport
from lenslink.url import Url

_END_S = 2.0


class PipeTransport:
    """Bytes to and from a program that the transport has started, and ends.

    Args:
        command: The program and its arguments.

    Raises:
        NotFound: The program cannot be started.
    """

    private = True
    """No other process can reach the module, so the driver needs no lock."""
    note: str | None = None

    def __init__(self, command: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)
        except OSError as error:
            raise NotFound(f"pipe: cannot start {command[0]}: {error.strerror}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin.fileno()
        self._output = self._process.stdout.fileno()
        # A write must never wait longer than its deadline.
        os.set_blocking(self._input, False)
        self._end_reason = ""

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        """Fill *buffers* with what is there; wait up to *seconds* for the first byte."""
        self._check_open()
        if not select.select([self._output], [], [], max(0.0, seconds))[0]:
            return 0
        count = os.readv(self._output, buffers)
        if not count:
            raise self._end("the program has ended")
        return count

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of *data* before *deadline*."""
        self._check_open()
        rest = memoryview(data)
        while rest:
            if not select.select([], [self._input], [], deadline.remaining())[1]:
                raise Timeout(f"the program took no bytes for {deadline.seconds:g} s")
            try:
                rest = rest[os.write(self._input, rest) :]
            except BrokenPipeError:
                raise self._end("the program has ended") from None

    def close(self) -> None:
        """End the program. Idempotent; never raises."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        self._end_reason = self._end_reason or "the connection was closed"
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # It has seen the end of its input.
            self._process.wait(_END_S)
        self._process.kill()
        self._process.wait()

    def _check_open(self) -> None:
        if self._end_reason:
            raise Disconnected(self._end_reason)

    def _end(self, reason: str) -> Disconnected:
        self._end_reason = reason
        return Disconnected(reason)


class PipeOpener:
    """Opens ``pipe:COMMAND``, a command line with the shell's quotes, and without a shell."""

    options: Mapping[str, str] = {}

    def open(self, url: Url, deadline: Deadline) -> Transport:
        """Start the program."""
        del deadline
        try:
            command = shlex.split(url.path)
        except ValueError as error:
            raise UsageError(f"pipe: {error}") from None
        if not command:
            raise UsageError("pipe: needs a command, as in 'pipe:my-module --stdio'")
        return PipeTransport(command)

    def devices(self) -> list[DeviceInfo]:
        """Return no modules: a pipe cannot be looked for."""
        return []


PIPE = PipeOpener()
