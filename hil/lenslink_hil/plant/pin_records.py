"""The records of the pins socket: contacts, ADC, motor and focus ring.

A record has 8 bytes, little-endian, in both directions: kind u8, channel u8, zero u16, value i32.

====== ========= ================================== ==================================
kind   name      channel                            value
====== ========= ================================== ==================================
plant to firmware
1      CONTACT   0 power, 1 detect, 2 release,      level after the edge: 0 open, 1 closed
                 3 fault, 4 end stop of the motor
2      ADC       0 VBUS, 1 temperature, 3 leakage   counts, 12 bit
                 2 energy                           microjoules, modulo 2^24
3      RING      0 A, 1 B                           level after the edge
4      NEXT      1 answers ELAPSED, 0 unasked       microseconds to the next edge; -1: none
5      LEVELS    0                                  0; all levels have been sent
firmware to plant
16     STEP      0                                  motor steps, signed; positive is closer
17     LOAD      0                                  current drawn in mA
18     SAMPLE    as ADC                             0; answered by one ADC record
19     ELAPSED   0                                  microseconds since the last one
20     READ      0                                  0; answered by all levels, then LEVELS
21     SWITCH    0                                  the module's own power switch: 0 open, 1 closed
22     IRIS      0                                  f-number of the iris, 1/1000
====== ========= ================================== ==================================

ELAPSED comes from an emulated chip, which has a clock of its own. From the first ELAPSED on, that
clock is the plant's. The plant answers with the edges that are due, and then with NEXT. A command
for the plant has to know the time: the plant sends NEXT 0, and executes it at the next ELAPSED.

The plant sends edges only. READ comes from a chip that has just been powered, while the plant was
there before: the answer is a CONTACT or RING record for each pin, and then LEVELS.

Power is closed while the module has a supply that its converter can use. So it follows the dock's
load switch and not the contact alone. Fault is closed while a short is between the supply pins.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

RECORD = struct.Struct("<BBHi")


class Kind(IntEnum):
    """The kind of a record."""

    CONTACT = 1
    ADC = 2
    RING = 3
    NEXT = 4
    LEVELS = 5
    STEP = 16
    LOAD = 17
    SAMPLE = 18
    ELAPSED = 19
    READ = 20
    SWITCH = 21
    IRIS = 22


# Channels of CONTACT.
POWER_PINS = 0
DETECT_PIN = 1
RELEASE_BUTTON = 2
FAULT_INPUT = 3
END_STOP = 4
# Channels of ADC and SAMPLE.
VBUS = 0
TEMPERATURE = 1
ENERGY = 2
LEAKAGE = 3
# Channels of RING.
RING_A = 0
RING_B = 1


class Record(NamedTuple):
    """One record. ``kind`` is a plain number, because a peer may send any number."""

    kind: int
    channel: int
    value: int

    def pack(self) -> bytes:
        """Return the record's 8 bytes."""
        return RECORD.pack(self.kind, self.channel, 0, self.value)


class RecordReader:
    """Cuts a stream of bytes into records."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Record]:
        """Take received bytes and return the records that are complete."""
        data = self._rest + data
        whole = len(data) - len(data) % RECORD.size
        self._rest = data[whole:]
        return [
            Record(kind, channel, value)
            for kind, channel, _, value in RECORD.iter_unpack(data[:whole])
        ]
