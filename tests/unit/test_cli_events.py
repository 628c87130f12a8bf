"""Test how ``lenslink events`` words an event."""

from __future__ import annotations

import pytest

from lenslink.cli.events_command import describe_event
from lenslink_protocol.ids import EventKind
from lenslink_protocol.messages import Event


@pytest.mark.parametrize(
    ("kind", "value", "counter", "words"),
    [
        (EventKind.RING, -12, 40, "ring      at -12 ticks, 40 ticks turned"),
        (EventKind.CONTACTS, 2, 17, "contacts  attached, 17 bounces"),
        (EventKind.CONTACTS, 2 + 4 * 256, 17, "contacts  attached, shorted before, 17 bounces"),
        (EventKind.CONTACTS, 2 + 3 * 256, 1, "contacts  attached, wet before, 1 bounces"),
        (EventKind.CONTACTS, 2 + 256, 1, "contacts  attached, half-seated before, 1 bounces"),
        (EventKind.HEAT, 3, 2, "heat      severe, 2 changes"),
        (EventKind.POWER, 4980, (1 << 32) + 5, "power     4980 mV, 4294.967 J"),
        (9, 1, 2, "code-9    1, 2"),
        (EventKind.HEAT, 11, 2, "heat      code-11, 2 changes"),
    ],
)
def test_an_event_as_words(kind, value, counter, words):
    event = Event(kind, value, 1, counter & 0xFFFFFFFF, counter >> 32)
    assert describe_event(event, counter) == words
