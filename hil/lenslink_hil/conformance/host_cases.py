"""Every case for hosts, in SPEC.md's order."""

from __future__ import annotations

from . import host_cases_auth, host_cases_camera, host_cases_link, host_cases_packing
from .cases import Case
from .module_peer import Script

ALL: list[Case[type[Script]]] = [
    *host_cases_link.CASES.all,
    *host_cases_camera.CASES.all,
    *host_cases_packing.CASES.all,
    *host_cases_auth.CASES.all,
]
