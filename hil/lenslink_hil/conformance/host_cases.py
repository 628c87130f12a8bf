"""Every case for hosts, in SPEC.md's order."""

from __future__ import annotations

from . import (
    host_cases_authentication,
    host_cases_calibration,
    host_cases_capture,
    host_cases_clock,
    host_cases_closing,
    host_cases_credits,
    host_cases_growth,
    host_cases_lanes,
    host_cases_liveness,
    host_cases_manifest,
    host_cases_messages,
    host_cases_opening,
    host_cases_packets,
    host_cases_packing,
    host_cases_requests,
    host_cases_resend,
    host_cases_settings,
)
from .cases import Case
from .module_peer import Script

ALL: list[Case[type[Script]]] = [
    *host_cases_packets.CASES.all,
    *host_cases_messages.CASES.all,
    *host_cases_growth.CASES.all,
    *host_cases_opening.CASES.all,
    *host_cases_closing.CASES.all,
    *host_cases_liveness.CASES.all,
    *host_cases_clock.CASES.all,
    *host_cases_requests.CASES.all,
    *host_cases_settings.CASES.all,
    *host_cases_credits.CASES.all,
    *host_cases_capture.CASES.all,
    *host_cases_resend.CASES.all,
    *host_cases_lanes.CASES.all,
    *host_cases_packing.CASES.all,
    *host_cases_manifest.CASES.all,
    *host_cases_calibration.CASES.all,
    *host_cases_authentication.CASES.all,
]
