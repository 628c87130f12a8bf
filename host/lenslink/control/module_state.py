"""The state of a module as its owner tells it to other processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..errors import ProtocolError


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream that is configured.

    >>> preview = lenslink.StreamState(0, 1280, 960, 2560, 0x01100011, is_running=True)
    >>> preview.width, preview.is_running
    (1280, True)
    """

    mode: int
    """Id of a mode of the manifest."""
    width: int
    height: int
    stride: int
    pixel_format: int
    """PFNC code of the pixels on the link."""
    is_running: bool
    """The owner or a client waits for its frames."""


@dataclass(frozen=True, slots=True)
class ModuleState:
    """The state of a module, its link and its frame ring at one moment.

    Contacts, heat, supply, energy and focus ring are those of the module's last Events, and None
    before the first. :class:`lenslink.ModuleClient` has an example of a client.

    >>> import inspect
    >>> list(inspect.signature(lenslink.ModuleState).parameters)[:3]
    ['is_attached', 'url', 'serial']
    """

    is_attached: bool
    """A session with the module is open."""
    url: str
    serial: str | None
    nonce: int
    """The number of the session."""
    streams: Mapping[int, StreamState]
    """The streams that are configured, by number."""
    contacts: int | None
    """A :class:`lenslink_protocol.ids.ContactState`."""
    heat: int | None
    """A :class:`lenslink_protocol.ids.HeatState`."""
    supply_mv: int | None
    energy_uj: int | None
    """Energy that the module has taken since its start, in microjoules."""
    focus_ring: int | None
    """Position of the focus ring, in ticks since the module's start."""
    complete_frames: int
    incomplete_frames: int
    tile_bytes: int
    """Payload bytes of tiles whose CRC held."""
    lost_packets: int
    discarded_packets: int
    """Packets that arrived and were not used: damaged, late or repeated ones."""
    begun_frames: int
    """Frames that began in the frame ring, including dropped ones."""
    dropped_frames: int
    """Frames that no reader got because no slot was free."""
    clients: int
    """Processes that are connected to the control socket."""

    def to_json(self) -> dict[str, object]:
        """Return the state as an object of JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the state that :meth:`to_json` wrote; raise ProtocolError if it is another."""
        try:
            streams = {int(key): StreamState(**each) for key, each in data["streams"].items()}
            return cls(**{**data, "streams": streams})
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ProtocolError("the owner of the module is another version of LensLink") from None
