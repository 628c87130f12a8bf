"""Frames for the user, made from frames that the receive path has put together.

:class:`lenslink.Device` gives each finished assembly to :meth:`FrameBuilder.build_frame`.
"""

from __future__ import annotations

from lenslink_protocol.ids import Cfa

from .errors import ProtocolError
from .frame import Frame, FrameMemory, FrameMetadata, FrameStatus, find_active_area
from .module_description import ModuleDescription
from .receive.assembly import Assembly
from .session import Session


class FrameBuilder:
    """Builds frames and counts them."""

    def __init__(self) -> None:
        self.complete_count = 0
        """Frames of which every byte arrived."""
        self.incomplete_count = 0
        """Frames with missing bytes."""

    def build_frame(
        self, assembly: Assembly, session: Session, description: ModuleDescription
    ) -> Frame:
        """Count a finished frame, zero its missing bytes, and return it as the user gets it.

        Releasing the frame returns its memory to the pool of *session*.
        """
        start = assembly.frame_start
        if start is None:
            raise ProtocolError("the module sent a frame without its FrameStart")
        is_complete = assembly.is_intact
        missing = assembly.missing_ranges
        if is_complete:
            self.complete_count += 1
        else:
            self.incomplete_count += 1
        mode = description.modes.get(start.mode)
        pool, buffer = session.pool, assembly.buffer
        energy_uj = 0 if assembly.frame_end is None else assembly.frame_end.energy_uj
        reported = FrameMetadata.from_start(
            assembly.stream, assembly.number, start, session.find_time(assembly), energy_uj
        )
        return Frame(
            packed=assembly.view_rows(),
            layout=assembly.geometry.layout,
            bits=start.bits,
            cfa=Cfa(start.cfa).name,
            active_area=find_active_area(mode, start),
            orientation=start.orientation,
            color=description.color,
            identity=description.identity,
            status=FrameStatus.COMPLETE if is_complete else FrameStatus.INCOMPLETE,
            received_fraction=assembly.received_ranges.count / assembly.received_ranges.size,
            missing_ranges=missing,
            optics=description.manifest.optics,
            whole_size=(mode.width, mode.height) if mode else None,
            nonce=session.link.nonce,
            **reported._asdict(),
            _memory=FrameMemory(lambda: pool.release(buffer)),
        )
