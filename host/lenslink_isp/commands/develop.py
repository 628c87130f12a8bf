"""The command ``lenslink develop``: make a picture of a RAW file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lenslink.cli.options import CommonOptions, OutputFile, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json
from lenslink.cli.values import format_bytes
from lenslink_isp.opencv import require_opencv


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OutputFile(),
    help="Picture to write: .jpg, .png or .tiff.  [default: FILE with .jpg]",
)
@click.option(
    "--quality",
    type=click.Choice(["fast", "best"]),
    default="best",
    show_default=True,
    help="Quality of the demosaicing. Fast takes half of the time.",
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
    default=0.5,
    show_default=True,
    help="How much detail is emphasized, from 0 (none) to 4.",
)
@click.option("--filmic", is_flag=True, help="Fade highlights to white instead of clipping them.")
@click.option(
    "--tone",
    type=click.Choice(["auto", "global", "local"]),
    default="auto",
    show_default=True,
    help="Local brings bright and dark parts together. Auto takes it for merged brackets.",
)
@click.option("--denoise", is_flag=True, help="Take the noise out first, as 'lenslink denoise'.")
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def develop(
    common: CommonOptions,
    file: Path,
    *,
    output: Path | None,
    quality: str,
    exposure: float,
    sharpness: float,
    filmic: bool,
    tone: str,
    denoise: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Develop a RAW file to a picture in sRGB.

    FILE is a DNG, of LensLink or of any camera, or another RAW file that LibRaw can read. The
    picture is turned upright.

    \b
    Examples:
      lenslink develop photo.dng
      lenslink develop photo.dng -o photo.png --exposure 1 --filmic
      lenslink develop night.dng --denoise
    """
    require_opencv()
    from lenslink_isp.denoise.raw_denoiser import denoise_raw
    from lenslink_isp.develop.picture_files import check_picture, save_picture, turn_upright
    from lenslink_isp.develop.still import Quality, StillSettings, ToneMapping, develop_still
    from lenslink_isp.raw_image import open_raw

    # Refuse what cannot work, before the work is done.
    settings = StillSettings(
        Quality(quality), exposure, sharpness, is_filmic=filmic, tone=ToneMapping(tone)
    )
    target = file.with_suffix(".jpg") if output is None else output
    check_picture(target, force)

    screen = Screen(common)
    with screen.show_progress() as progress:
        progress.show(f"reading {file} ...")
        raw = open_raw(file)
        start = time.monotonic()
        if denoise:
            progress.show("denoising ...")
            raw = denoise_raw(raw)
        progress.show("developing ...")
        picture = turn_upright(develop_still(raw, settings), raw.orientation)
        seconds = time.monotonic() - start
        progress.show(f"writing {target} ...")
        size = save_picture(picture, target, force)

    height, width = picture.shape[:2]
    if as_json:
        emit_json(
            {
                "schema": "lenslink.develop/1",
                "source": str(file),
                "width": width,
                "height": height,
                "quality": quality,
                "denoised": denoise,
                "seconds": seconds,
                "files": [{"path": str(target), "bytes": size}],
            }
        )
    else:
        screen.say(f"{width} x {height} pixels in {seconds:.2f} s")
        screen.say(f"wrote {target} ({format_bytes(size)})")
