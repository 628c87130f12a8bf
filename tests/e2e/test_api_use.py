"""Random sequences of API calls on ``sim:``; :mod:`helpers.api_sequences` says what must hold.

Most sequences run on virtual modules, in tests/property/test_any_api_use.py.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import nightly_scale
from helpers.api_sequences import Sequence
from helpers.interrupts import Interrupter

from lenslink_hil.plant.binning import bin2x2
from lenslink_hil.plant.patterns import make_pattern

pytestmark = pytest.mark.usefixtures("only_sim")

SEQUENCES = nightly_scale.choose(5, 300)
URL = "sim:?scene=prbs&width=256&height=192"


class SimSequence(Sequence):
    """A sequence on a simulated module of its own."""

    modes = ("full", "binned")
    timeouts = (0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)

    def __init__(self, interrupter: Interrupter, seed: int, counts: Counter[str]) -> None:
        self.interrupter = interrupter
        super().__init__(URL, seed, counts)

    def check_picture(self, frame: Any) -> None:
        full = make_pattern(
            "prbs", 256, 192, bits=12, cfa="RGGB", seed=0, frame_number=frame.number
        )
        expected = full if frame.width == 256 else bin2x2(full)
        assert np.array_equal(frame.pixels, expected)

    def interrupting(self) -> contextlib.AbstractContextManager[object]:
        return self.interrupter.armed(KeyboardInterrupt, self.chance.uniform(0, 0.02))

    def actions(self) -> list[Callable[[], None]]:
        # When another thread would come is not known here.
        return [each for each in super().actions() if each.__name__ != "thread"]


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_any_sequence_of_calls(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    with Interrupter().installed() as interrupter:
        for number in range(seed, seed + SEQUENCES):
            try:
                SimSequence(interrupter, number, counts).run()
            except BaseException as error:
                error.add_note(f"sequence {number}")
                raise
    nightly_scale.say(capsys, f"{SEQUENCES} sequences on {URL}, {dict(counts)}, seed {seed}")
