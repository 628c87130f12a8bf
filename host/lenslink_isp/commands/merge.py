"""The command ``lenslink merge``: make one RAW file of several."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lenslink.cli.options import CommonOptions, OutputFile, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json
from lenslink.cli.values import format_bytes
from lenslink_isp.opencv import require_opencv


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OutputFile(),
    required=True,
    help="DNG to write.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def merge(
    common: CommonOptions, files: tuple[Path, ...], *, output: Path, force: bool, as_json: bool
) -> None:
    """Merge RAW files of one scene to one DNG.

    Files of different exposures become a picture of a wide range; 'lenslink develop' makes all of
    it visible. Files of one exposure become a picture with less noise. What moves is shown where
    the reference has it: the middle exposure of a bracket, or the first file of a burst.

    The files must say their exposure and their noise (NoiseProfile), as those of LensLink do.

    \b
    Examples:
      lenslink merge hdr-1.dng hdr-2.dng hdr-3.dng -o hdr.dng
      lenslink develop hdr.dng
    """
    require_opencv()
    from lenslink.raw_files.raw_mosaic import read_raw_mosaic
    from lenslink_isp.linear_dng import check_dng, save_linear
    from lenslink_isp.merge.merge_frames import merge_frames
    from lenslink_isp.merge.scene_light import check_count
    from lenslink_isp.raw_image import RawImage

    # Refuse what cannot work, before the work is done.
    check_count(len(files))
    check_dng(output, force)

    screen = Screen(common)
    with screen.show_progress() as progress:
        origins = []
        for file in files:
            progress.show(f"reading {file} ...")
            origins.append(read_raw_mosaic(file))
        progress.show("merging ...")
        start = time.monotonic()
        merged = merge_frames([RawImage.from_mosaic(each) for each in origins])
        seconds = time.monotonic() - start
        progress.show(f"writing {output} ...")
        origin = origins[merged.reference]
        size = save_linear(merged.raw, merged.caption, origin, output, force=force)

    height, width = merged.raw.mosaic.shape
    if as_json:
        emit_json(
            {
                "schema": "lenslink.merge/1",
                "sources": [
                    {"path": str(file), "share": share}
                    for file, share in zip(files, merged.shares, strict=True)
                ],
                "reference": str(files[merged.reference]),
                "width": width,
                "height": height,
                "baseline_exposure_ev": merged.raw.baseline_exposure,
                "noise_profile": merged.raw.noise_profile,
                "seconds": seconds,
                "files": [{"path": str(output), "bytes": size}],
            }
        )
        return
    for file, share in zip(files, merged.shares, strict=True):
        note = ": the reference" if file is files[merged.reference] else f": {share:.0%} used"
        screen.say(f"{file}{note}")
    screen.say(f"{width} x {height} pixels in {seconds:.2f} s")
    screen.say(f"wrote {output} ({format_bytes(size)})")
