"""The command ``lenslink denoise``: take the noise out of a RAW file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lenslink.cli.options import CommonOptions, OutputFile, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json
from lenslink.cli.values import format_bytes
from lenslink_isp.opencv import require_opencv

from .number_pair import NumberPair


class NoiseProfile(NumberPair):
    """``0.004,0.0016``: S and O of DNG's NoiseProfile."""

    name = "s,o"
    wanted = "S and O, such as 0.004,0.0016"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OutputFile(),
    required=True,
    help="DNG to write.",
)
@click.option(
    "--strength",
    type=float,
    default=1.0,
    show_default=True,
    help="How much of the noise is taken away, from 0 (none) to 1.",
)
@click.option(
    "--noise",
    type=NoiseProfile(),
    help="The noise: light x from 0 to 1 has the variance S * x + O.  "
    "[default: the file's NoiseProfile, else measured in the picture]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def denoise(
    common: CommonOptions,
    file: Path,
    *,
    output: Path,
    strength: float,
    noise: tuple[float, float] | None,
    force: bool,
    as_json: bool,
) -> None:
    """Take the noise out of a RAW file, and write a DNG.

    FILE is a DNG, of LensLink or of any camera, or another RAW file that LibRaw can read. A small
    network does the work. It needs to know how strong the noise is, which a DNG says in its
    NoiseProfile. Without one, the noise is measured where the picture is smooth.

    \b
    Examples:
      lenslink denoise night.dng -o calm.dng
      lenslink denoise night.dng -o calm.dng --strength 0.7
      lenslink develop calm.dng
    """
    require_opencv()
    from lenslink.raw_files.raw_mosaic import read_raw_mosaic
    from lenslink_isp.denoise.network import load_network
    from lenslink_isp.denoise.noise_estimate import estimate_profile
    from lenslink_isp.denoise.raw_denoiser import CAPTION, DenoiseSettings, denoise_raw
    from lenslink_isp.linear_dng import check_dng, save_linear
    from lenslink_isp.raw_image import RawImage

    # Refuse what cannot work, before the work is done.
    settings = DenoiseSettings(strength, noise)
    check_dng(output, force)

    screen = Screen(common)
    with screen.show_progress() as progress:
        progress.show(f"reading {file} ...")
        origin = read_raw_mosaic(file)
        raw = RawImage.from_mosaic(origin)
        source = "option" if noise else "file"
        profile = noise or raw.noise_profile
        if profile is None:
            progress.show("measuring the noise ...")
            source, profile = "measured", estimate_profile(raw)
            settings = DenoiseSettings(strength, profile)
        progress.show("denoising ...")
        network = load_network()
        start = time.monotonic()
        calm = denoise_raw(raw, settings, network)
        seconds = time.monotonic() - start
        progress.show(f"writing {output} ...")
        size = save_linear(calm, CAPTION, origin, output, force=force)

    height, width = calm.mosaic.shape
    if as_json:
        emit_json(
            {
                "schema": "lenslink.denoise/1",
                "source": str(file),
                "width": width,
                "height": height,
                "strength": strength,
                "noise_profile": profile,
                "noise_source": source,
                "network": network.name,
                "seconds": seconds,
                "files": [{"path": str(output), "bytes": size}],
            }
        )
        return
    if source == "measured":
        screen.say(
            f"{file} has no NoiseProfile: S {profile[0]:.3g} and O {profile[1]:.3g} were measured"
        )
    screen.say(f"{width} x {height} pixels in {seconds:.2f} s, on {network.name}")
    screen.say(f"wrote {output} ({format_bytes(size)})")
