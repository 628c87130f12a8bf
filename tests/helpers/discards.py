"""What a session rejected, where every tile should have come once."""

from __future__ import annotations

from collections.abc import Iterable

from lenslink.stats import Stats
from lenslink_hil.kernel import guest_boards
from lenslink_protocol.ids import DiscardReason

# A host that is too slow asks again for what is on its way, and then gets it twice: one emulated
# CPU is such a host, now and then; for a module on a slow clock, any is too fast. No pixel is the
# worse for it.
TWICE = {DiscardReason.LATE.value, DiscardReason.DUPLICATE.value, DiscardReason.UNEXPECTED.value}
# There the board stays plugged in from test to test, and a session may begin with what the last one
# left on its way.
BEFORE = DiscardReason.NONCE.value
# A serial port drops what has arrived when it is opened: perhaps the first half of such a packet.
HALF = DiscardReason.NOISE.value


def count_discards(stats: Stats, but: Iterable[str] = ()) -> dict[str, int]:
    """Counts by cause, *but* some; in a guest without what came twice, or is of before."""
    ignored = {*but, *((*TWICE, BEFORE, HALF) if guest_boards.is_in_guest() else ())}
    return {cause: n for cause, n in stats.discards.items() if n and cause not in ignored}
