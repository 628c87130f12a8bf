"""The command ``lenslink set``: change the settings of a stream that another process receives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lenslink.errors import UsageError
from lenslink.settings import PREVIEW, ROI, STILL, Settings

from .options import CommonOptions, common_options, pass_common
from .screen import Screen, emit_json
from .sink import RING
from .values import SETTING_KINDS, Pixels

if TYPE_CHECKING:
    _Value = click.ParamType[tuple[str, int]]
else:
    _Value = click.ParamType  # generic only in newer versions of click


_KINDS = {**SETTING_KINDS, "roi_x": ("roi_x", Pixels()), "roi_y": ("roi_y", Pixels())}


class _Assignment(_Value):
    """``exposure=10ms``, as a field of Settings and its value."""

    name = "setting=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        name, _, text = str(value).partition("=")
        if name not in _KINDS or not text:
            names = ", ".join(f"{each}=" for each in _KINDS)
            self.fail(f"{value!r} is no setting: it begins with one of {names}", param, ctx)
        field, kind = _KINDS[name]
        return field, kind.convert(text, param, ctx)


@click.command("set")
@click.argument("ring", metavar="ring:NAME")
@click.argument("values", nargs=-1, required=True, type=_Assignment(), metavar="SETTING=VALUE...")
@click.option(
    "--still", is_flag=True, help="Change the settings of stills, instead of the preview's."
)
@click.option("--roi", is_flag=True, help="Change those of the region of interest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def set_settings(
    common: CommonOptions,
    ring: str,
    values: tuple[tuple[str, int], ...],
    *,
    still: bool,
    roi: bool,
    as_json: bool,
) -> None:
    """Change the settings of a stream that another process receives.

    That process runs 'lenslink stream URL -o ring:NAME'. Settings are exposure=, gain=, focus= and
    aperture=, with the units of 'lenslink capture --help'. roi_x= and roi_y= move the region of
    interest, in pixels.

    \b
    Examples:
      lenslink stream sim: -o ring:cam & lenslink set ring:cam exposure=10ms gain=2
      lenslink set ring:cam focus=30cm --json
      lenslink stream sim: --roi 512,352,256,256 -o ring:cam & lenslink set ring:cam roi_x=600
    """
    if not ring.startswith(RING):
        raise UsageError(f"{ring}: a running stream is named ring:NAME")
    fields = [field for field, _ in values]
    for field in fields:
        if fields.count(field) > 1:
            raise UsageError(f"{field} is named twice")
    if still and roi:
        raise UsageError("--still and --roi do not go together")
    stream = STILL if still else ROI if roi or {"roi_x", "roi_y"} & set(fields) else PREVIEW
    assigned: dict[str, Any] = dict(values)
    settings = Settings(**assigned)
    # Imports numpy, which --help does not need.
    from lenslink import ModuleClient

    with ModuleClient(ring.removeprefix(RING), timeout=common.timeout) as client:
        first = client.set(stream=stream, settings=settings)
    if as_json:
        emit_json({"schema": "lenslink.set/1", "first_frame": first, **assigned})
    else:
        Screen(common).say(f"frame {first} is the first with these settings")
