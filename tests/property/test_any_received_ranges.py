"""Coverage against a set of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lenslink.receive.received_ranges import ReceivedRanges

SIZE = 60
RANGE = (
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))
    .map(sorted)
    .filter(lambda pair: pair[0] < pair[1])
)


def runs(missing: set[int], start: int, end: int) -> list[tuple[int, int]]:
    """The ranges that the bytes of [start, end) in *missing* make."""
    found: list[tuple[int, int]] = []
    for byte in range(start, end):
        if byte in missing:
            if found and found[-1][1] == byte:
                found[-1] = (found[-1][0], byte + 1)
            else:
                found.append((byte, byte + 1))
    return found


@given(st.lists(RANGE, max_size=20), RANGE)
def test_against_a_set_of_bytes(ranges, asked):
    received_ranges, missing = ReceivedRanges(SIZE), set(range(SIZE))
    for start, end in ranges:
        received_ranges.add(start, end)
        missing -= set(range(start, end))
        assert received_ranges.count == SIZE - len(missing)
        assert received_ranges.is_complete == (not missing)
        assert received_ranges.prefix == min(missing, default=SIZE)
        assert received_ranges.find_gaps(0, SIZE) == runs(missing, 0, SIZE)
    start, end = asked
    assert received_ranges.find_gaps(start, end) == runs(missing, start, end)


@given(st.permutations(range(12)))
def test_pieces_in_any_order_make_the_whole(order):
    received_ranges = ReceivedRanges(SIZE)
    for piece in order:
        assert not received_ranges.is_complete
        received_ranges.add(5 * piece, 5 * piece + 5)
    assert received_ranges.is_complete
    assert received_ranges.find_gaps(0, SIZE) == []
    # One range, whatever the order: a frame of many tiles does not get slower.
    assert len(received_ranges._starts) == 1
