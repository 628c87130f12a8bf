"""What the shell offers for a URL, a mode and a packing.

click calls these functions while the user presses Tab. So they open no device, and an error in
them means only that nothing is offered.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import click

from lenslink.errors import LensLinkError
from lenslink.transports import list_devices
from lenslink_protocol.packings import Packing

_GROUP = "lenslink.transports"
# The modes of the simulated module and of a RAW file. A real module may have others.
_MODES = ("preview", "still", "full", "binned")


def complete_url(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the URLs of the modules that were found, then each scheme with its colon."""
    try:
        found = [device.url for device in list_devices()]
    except LensLinkError:
        found = []
    offers = [*found, *sorted(f"{name}:" for name in entry_points(group=_GROUP).names)]
    return [offer for offer in dict.fromkeys(offers) if offer.startswith(incomplete)]


def complete_mode(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the readout modes that begin with *incomplete*."""
    return [mode for mode in _MODES if mode.startswith(incomplete)]


def complete_packing(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the packings that begin with *incomplete*."""
    return [packing.value for packing in Packing if packing.value.startswith(incomplete)]
