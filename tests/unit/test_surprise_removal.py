"""The plug is pulled at every byte of a session, in both directions; then the next host comes.

Sans-IO, on virtual time: hello, manifest, configure, two frames, a control, close.
"""

from __future__ import annotations

import pytest
from helpers.nightly_scale import choose
from helpers.virtual_sessions import FRAMES, FaultHarness, Outcome

from lensfw import sensor
from lenslink_hil.faults.fault_plan import Direction, Fault, FaultPlan, Kind
from lenslink_protocol.params import SILENCE_MS

STEP = choose(5, 1)
_NOTICE_S = SILENCE_MS / 1000 + 0.05


def assert_whole(outcome: Outcome) -> None:
    assert outcome.opened
    assert outcome.manifest
    assert outcome.configured
    assert outcome.accepted
    assert len(outcome.complete) == FRAMES
    assert all(outcome.complete.values())
    assert not outcome.wrong
    # An Event of the last session may have waited in the module while its cable was off.
    assert outcome.discards.keys() <= {"nonce"}
    # The half of a packet that the last host left behind, if it did.
    assert outcome.module_discards.keys() <= {"noise", "header_crc", "payload_crc", "stall"}


def lengths() -> dict[Direction, int]:
    """Bytes of a whole session."""
    bench = FaultHarness()
    assert_whole(bench.session(FaultPlan(), manifest=True))
    return {
        Direction.UP: bench.up.damage.position,
        Direction.DOWN: bench.down.damage.position,
    }


def notice(bench: FaultHarness) -> bool:
    """Whether the host finds out that nobody is there."""
    opened = bench.link.session is not None
    bench.drain(_NOTICE_S)
    return bench.link.is_silent(bench.clock.seconds) if opened else True


def assert_module_is_free(bench: FaultHarness) -> None:
    link = bench.module.link
    assert link.nonce is None
    assert link.take_packet() is None
    assert {tile.state for tile in bench.module.tiles._tiles} == {sensor.FREE}
    assert all(stream.mode is None for stream in bench.module.streams)


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("contacts", [True, False], ids=["contacts", "cable"])
def test_a_yank_at_every_byte(direction: Direction, contacts: bool, seed: int) -> None:
    """``contacts``: the module comes off; else only the cable behind it, and it is not told.

    CI tries one byte of five, LENSLINK_NIGHTLY=1 all.

    Each time the host must notice, each side must free all it held, and the next host must get
    all it asks for from the same module.
    """
    bench = FaultHarness()
    for at in range(seed % STEP, lengths()[direction], STEP):
        plan = FaultPlan((Fault(Kind.UNPLUG, direction, at),))
        outcome = bench.session(plan, manifest=True)
        assert bench.up.plug.is_pulled, at
        assert not outcome.wrong, at
        assert not outcome.discards, at
        assert notice(bench), at
        assert bench.abandon() == 0, at
        if contacts:
            bench.unseat()
            assert_module_is_free(bench)
            bench.seat()
        else:
            bench.module.step()
        assert_whole(bench.session(FaultPlan(), manifest=True))
        assert bench.abandon() == 0, at
        assert_module_is_free(bench)
