"""What a session rejected, where every tile should have come once."""

from __future__ import annotations

from collections.abc import Iterable

from lenslink.stats import Stats
from lenslink_hil.kernel import bench
from lenslink_protocol.ids import Reject

# A host that is too slow asks again for what is on its way, and then gets it twice: one emulated
# CPU is such a host, now and then; for a module on a slow clock, any is too fast. No pixel is the
# worse for it.
TWICE = {Reject.LATE.value, Reject.COVERED.value, Reject.UNEXPECTED.value}


def rejected(stats: Stats, but: Iterable[str] = ()) -> dict[str, int]:
    """Counts by cause, *but* some; on one emulated CPU without those of tiles that came twice."""
    ignored = {*but, *(TWICE if bench.in_guest() else ())}
    return {cause: n for cause, n in stats.rejects.items() if n and cause not in ignored}
