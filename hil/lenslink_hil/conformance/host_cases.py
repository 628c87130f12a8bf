"""Every case for hosts, in SPEC.md's order."""

from __future__ import annotations

from . import (
    host_cases_auth,
    host_cases_camera,
    host_cases_frames,
    host_cases_link,
    host_cases_moments,
    host_cases_packing,
    host_cases_preview,
    host_cases_receiving,
    host_cases_scope,
    host_cases_sessions,
    host_cases_settings,
    host_cases_time,
)
from .cases import Case
from .module_peer import Script

ALL: list[Case[type[Script]]] = [
    *host_cases_link.CASES.all,
    *host_cases_receiving.CASES.all,
    *host_cases_sessions.CASES.all,
    *host_cases_camera.CASES.all,
    *host_cases_frames.CASES.all,
    *host_cases_packing.CASES.all,
    *host_cases_settings.CASES.all,
    *host_cases_time.CASES.all,
    *host_cases_preview.CASES.all,
    *host_cases_auth.CASES.all,
    *host_cases_moments.CASES.all,
    *host_cases_scope.CASES.all,
]
