"""The marker ``requires``: a test runs only on a module that has what the test is about.

::

    @pytest.mark.requires("focus", "resend", transport="usb", board="pico", role="dark-box")

A feature is the name of a control (``focus``, ``aperture``, ``roi``), of a capability (``resend``,
``events``), of an optional entry of the manifest (``optics``, ``power``), or of a mode
(``mode:still``). A name that no module can have is an error of the test.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from lenslink import Device
    from lenslink_protocol.ids import ControlId

    from ..rig.rig_file import Board

CONDITIONS: Final = ("transport", "board", "role")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker."""
    config.addinivalue_line(
        "markers",
        "requires(*features, transport=, board=, role=): skip the test on a module without them",
    )


def check_needs(item: pytest.Item, device: Device, board: Board, transport: str) -> None:
    """Skip *item* if the module lacks a feature; fail it if no module can have the feature."""
    for marker in item.iter_markers("requires"):
        problem = explain_nonsense(marker.args, marker.kwargs)
        if problem:
            pytest.fail(problem, pytrace=False)
        conditions = {
            "transport": [transport],
            "board": [device.manifest.board],
            "role": list(board.roles),
        }
        for key, wanted in marker.kwargs.items():
            choices = [wanted] if isinstance(wanted, str) else list(wanted)
            if not set(choices) & set(conditions[key]):
                found = ", ".join(conditions[key]) or "none"
                pytest.skip(f"requires {key} {' or '.join(choices)}; this is {found}")
        missing = set(marker.args) - list_features(device)
        if missing:
            pytest.skip(f"requires {', '.join(sorted(missing))}: the module has none")


def explain_nonsense(features: Collection[object], conditions: Collection[str]) -> str:
    """Return what of a marker no module can have; "" if it makes sense."""
    from lenslink.url import suggest

    known = list_known_features()
    for feature in features:
        name = str(feature)
        if name not in known and not name.startswith("mode:"):
            return (
                f"requires({name!r}): no module can have that{suggest(name, known)} "
                f"(known: {', '.join(sorted(known))}, mode:NAME)"
            )
    for key in conditions:
        if key not in CONDITIONS:
            return f"requires({key}=): no such condition (known: {', '.join(CONDITIONS)})"
    return ""


def list_known_features() -> set[str]:
    """Return the features that this version knows, but for modes."""
    from lenslink_protocol.ids import Capability, ControlId

    controls = {_name_control(each) for each in ControlId}
    capabilities = {str(each.name).lower() for each in Capability}
    return controls | capabilities | _list_optional_entries()


def list_features(device: Device) -> set[str]:
    """Return the features of a module."""
    from lenslink_protocol.ids import Capability, ControlId

    manifest = device.manifest
    found = {_name_control(ControlId(each.control)) for each in manifest.controls}
    found |= {
        str(each.name).lower() for each in Capability if device.session_info.capabilities & each
    }
    found |= {name for name in _list_optional_entries() if getattr(manifest, name) is not None}
    return found | {f"mode:{mode.name}" for mode in manifest.modes}


def _name_control(control: ControlId) -> str:
    """Return the feature that a control belongs to: ``roi`` for both corners of a region."""
    return control.name.lower().removesuffix("_x").removesuffix("_y")


def _list_optional_entries() -> set[str]:
    """Return the manifest's fields that are None where a module lacks them."""
    from dataclasses import fields

    from lenslink_protocol.manifest import Manifest

    return {field.name for field in fields(Manifest) if field.default is None}
