"""Frames for the user, made from frames that the receive path has put together.

:class:`lenslink.Device` gives each finished assembly to :meth:`FrameBuilder.build_frame`.
"""

from __future__ import annotations

from lenslink_protocol.ids import Cfa, FrameFlag

from .errors import ProtocolError
from .frame import Frame, FrameMemory, FrameStatus
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
        start = assembly.start
        if start is None:
            raise ProtocolError("the module sent a frame without its FrameStart")
        is_complete = assembly.is_complete
        missing = assembly.missing_ranges
        if is_complete:
            self.complete_count += 1
        else:
            self.incomplete_count += 1
        mode = description.modes.get(start.mode)
        black = start.black_milli
        pool, buffer = session.pool, assembly.buffer
        # The readout of a row begins where its exposure ends.
        row_0 = session.clock.convert(start.timestamp_us - start.exposure_us / 2)
        return Frame(
            packed=assembly.view_rows(),
            layout=assembly.geometry.layout,
            bits=start.bits,
            cfa=Cfa(start.cfa).name,
            black=(black[0] / 1000, black[1] / 1000, black[2] / 1000, black[3] / 1000),
            white=start.white,
            active_area=mode.find_active_area(start.crop_x, start.crop_y, start.width, start.height)
            if mode
            else (0, 0, start.height, start.width),
            orientation=start.orientation,
            color=description.color,
            identity=description.identity,
            number=assembly.number,
            stream=assembly.stream,
            timestamp_us=start.timestamp_us,
            exposure_us=start.exposure_us,
            gain_milli=start.gain_milli,
            focus_mdpt=start.focus_mdpt,
            aperture_milli=start.aperture_milli,
            is_adjusted=bool(start.flags & FrameFlag.ADJUSTED),
            is_moving=bool(start.flags & FrameFlag.MOVING),
            interval_us=start.interval_us,
            row_time_ns=start.row_time_ns,
            energy_uj=0 if assembly.end is None else assembly.end.energy_uj,
            time=row_0.seconds,
            time_error_s=row_0.error_s,
            focus_ring=start.focus_ring,
            noise_profile=(start.noise_slope / 1e9, start.noise_offset / 1e9)
            if start.noise_slope
            else None,
            temperature_mc=start.temperature_mc,
            crop_x=start.crop_x,
            crop_y=start.crop_y,
            status=FrameStatus.COMPLETE if is_complete else FrameStatus.INCOMPLETE,
            received_fraction=assembly.received_ranges.count / assembly.received_ranges.size,
            missing_ranges=missing,
            optics=description.manifest.optics,
            whole_size=(mode.width, mode.height) if mode else None,
            nonce=session.link.nonce,
            _memory=FrameMemory(lambda: pool.release(buffer)),
        )
