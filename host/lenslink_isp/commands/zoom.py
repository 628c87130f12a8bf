"""The command ``lenslink zoom``: make a picture of twice the size of RAW files of one burst."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenslink.cli.options import CommonOptions, OutputFile, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json
from lenslink.cli.values import format_bytes
from lenslink.errors import UsageError
from lenslink_isp.opencv import require_opencv

if TYPE_CHECKING:
    from lenslink_isp.zoom.zoom_burst import Region

    _RoiType = click.ParamType[tuple[int, int, int, int]]
else:
    _RoiType = click.ParamType  # generic only in newer versions of click


class PixelRegion(_RoiType):
    """``x,y,w,h``: left, top, width and height in pixels of the sensor."""

    name = "x,y,w,h"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int, int]:
        """Return the four numbers; fail for anything else."""
        if isinstance(value, tuple):
            return value
        try:
            left, top, width, height = (int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(
                f"{value!r} is not left,top,width,height, such as 640,480,1280,960", param, ctx
            )
        return left, top, width, height


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OutputFile(),
    required=True,
    help="Picture to write: .jpg, .png or .tiff.",
)
@click.option(
    "--factor",
    type=float,
    help="Show the middle: 2 is half of the width and height, at the size of the files.  "
    "[default: 1, all at twice the size]",
)
@click.option(
    "--roi",
    type=PixelRegion(),
    help="Show this part, in pixels of the files, before they are turned upright.",
)
@click.option(
    "--exposure",
    metavar="EV",
    type=float,
    default=0.0,
    show_default=True,
    help="How much brighter the picture becomes.",
)
@click.option(
    "--sharpness",
    type=float,
    help="How much detail is emphasized, from 0 (none) to 4.  [default: 0.25]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def zoom(
    common: CommonOptions,
    files: tuple[Path, ...],
    *,
    output: Path,
    factor: float | None,
    roi: tuple[int, int, int, int] | None,
    exposure: float,
    sharpness: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make a picture of twice the size of RAW files that were taken by hand.

    FILES are 2 to 16 frames of one burst, eight for example, with the same exposure. The hand's
    shake lets them see detail that one file does not have. The first file says where everything is:
    what moves is shown as this file has it.

    \b
    Examples:
      lenslink zoom burst-*.dng -o near.jpg
      lenslink zoom burst-*.dng -o near.png --factor 2
      lenslink zoom burst-*.dng -o part.tiff --roi 640,480,1280,960
    """
    require_opencv()
    from lenslink_isp.develop.picture_files import check_picture, save_picture, turn_upright
    from lenslink_isp.develop.still import StillSettings
    from lenslink_isp.merge.scene_light import check_count
    from lenslink_isp.raw_image import open_raw
    from lenslink_isp.zoom.zoom_burst import SHARPNESS, zoom_burst

    # Refuse what cannot work, before the work is done.
    if factor is not None and roi is not None:
        raise UsageError("--factor and --roi contradict each other: give one of them")
    check_count(len(files))
    check_picture(output, force)
    amount = SHARPNESS if sharpness is None else sharpness
    settings = StillSettings(exposure_ev=exposure, sharpness=amount)

    screen = Screen(common)
    with screen.show_progress() as progress:
        frames = []
        for file in files:
            progress.show(f"reading {file} ...")
            frames.append(open_raw(file))
        region = _choose_region(frames[0].mosaic.shape, factor, roi)
        progress.show("zooming ...")
        start = time.monotonic()
        zoomed = zoom_burst(frames, region, settings)
        picture = turn_upright(zoomed.picture, frames[0].orientation)
        seconds = time.monotonic() - start
        progress.show(f"writing {output} ...")
        size = save_picture(picture, output, force)

    height, width = picture.shape[:2]
    if as_json:
        emit_json(
            {
                "schema": "lenslink.zoom/1",
                "sources": [
                    {"path": str(file), "share": share}
                    for file, share in zip(files, zoomed.shares, strict=True)
                ],
                "region": {
                    "left": region.left,
                    "top": region.top,
                    "width": region.width,
                    "height": region.height,
                },
                "width": width,
                "height": height,
                "seconds": seconds,
                "files": [{"path": str(output), "bytes": size}],
            }
        )
        return
    for file, share in zip(files, zoomed.shares, strict=True):
        screen.say(f"{file}{': the reference' if file is files[0] else f': {share:.0%} used'}")
    screen.say(f"{width} x {height} pixels in {seconds:.2f} s")
    screen.say(f"wrote {output} ({format_bytes(size)})")


def _choose_region(
    shape: tuple[int, ...], factor: float | None, roi: tuple[int, int, int, int] | None
) -> Region:
    """Return the part to show of frames of this shape, (H, W)."""
    from lenslink_isp.zoom.zoom_burst import Region

    if roi is None:
        return Region.find_center((shape[0], shape[1]), 1.0 if factor is None else factor)
    # A cell of the colour filter has 2 x 2 pixels.
    left, top, width, height = (each // 2 * 2 for each in roi)
    return Region(left, top, width, height)
