"""Copy bytes into a list of buffers: the one loop that feeds a receiver by copying.

A receiver says where its next bytes go (``buffers()``) and is told how many bytes arrived there
(``received()``). A transport normally reads straight into those buffers. :func:`feed` is for bytes
that already lie in memory: in tests, on virtual links, and behind a mispredicted tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Data = bytes | bytearray | memoryview


def scatter(data: Data, buffers: Sequence[memoryview]) -> int:
    """Copy the front of *data* into *buffers*, in order. Return the number of bytes copied.

    >>> head, body = bytearray(2), bytearray(4)
    >>> scatter(b"abcde", [memoryview(head), memoryview(body)])
    5
    >>> head, body
    (bytearray(b'ab'), bytearray(b'cde\\x00'))
    """
    taken = 0
    for buffer in buffers:
        piece = data[taken : taken + len(buffer)]
        buffer[: len(piece)] = piece
        taken += len(piece)
        if taken == len(data):
            break
    return taken


def feed(
    data: Data, buffers: Callable[[], Sequence[memoryview]], received: Callable[[int], object]
) -> None:
    """Copy all of *data* into a receiver.

    Args:
        data: The bytes that arrived.
        buffers: Returns where the next bytes go. The buffers must have room for one byte or more.
        received: Accounts for so many bytes at the front of the last *buffers*.
    """
    rest = memoryview(data)
    while rest:
        count = scatter(rest, buffers())
        received(count)
        rest = rest[count:]
