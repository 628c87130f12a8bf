"""The command ``lenslink focus``: find the focus for a point of the picture."""

from __future__ import annotations

from typing import Any

import click

from lenslink.cli.opening import open_device, url_argument
from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json
from lenslink.errors import DeviceError
from lenslink_isp.opencv import require_opencv

from .number_pair import NumberPair


class Point(NumberPair):
    """A point of the picture: two parts of its width and height, with a comma between them."""

    name = "point"
    wanted = "X,Y"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Return the point; fail for text, and outside the picture."""
        x, y = super().convert(value, param, ctx)
        if not (0 <= x <= 1 and 0 <= y <= 1):
            self.fail(f"{value} is not in the picture: X and Y are 0 to 1", param, ctx)
        return x, y


@click.command()
@url_argument
@click.option(
    "--at",
    metavar="X,Y",
    type=Point(),
    default=(0.5, 0.5),
    help="The point to focus on: 0,0 is the top left corner, 1,1 the bottom right one.  "
    "[default: the middle]",
)
@click.option("--nearest", is_flag=True, help="Try the nearer of two things. It is often missed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def focus(
    common: CommonOptions, url: str | None, *, at: tuple[float, float], nearest: bool, as_json: bool
) -> None:
    """Find the focus that makes a point of the picture sharp.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. The module
    needs a focus motor and a calibration of its blur. If nothing at the point can be sharp, because
    it is flat, dark or too near, the exit code is 10.

    \b
    Examples:
      lenslink focus 'sim:?scene=planes'
      lenslink focus 'sim:?scene=planes' --at 0.25,0.5 --json
    """
    require_opencv()
    from lenslink_isp.focus.auto_focus import FocusState
    from lenslink_isp.focus.tap import focus_at

    screen = Screen(common)
    with open_device(url, common, screen) as device, screen.show_progress() as progress:
        progress.show("focusing ...")
        found = focus_at(device, *at, prefer_nearest=nearest, timeout=common.timeout)
        address, serial = device.url, device.identity.serial
    if as_json:
        emit_json(
            {
                "schema": "lenslink.focus/1",
                "url": address,
                "serial": serial,
                "state": found.state.value,
                "focus_mdpt": found.focus_mdpt,
                "evaluations": found.evaluations,
                "blur_px": found.blur_px,
                "seconds": found.seconds,
            }
        )
    elif found.state is FocusState.REACHED:
        metres = f"{1000 / found.focus_mdpt:.2f} m" if found.focus_mdpt else "infinity"
        screen.say(
            f"reached: {found.focus_mdpt} milli-dioptres ({metres}), "
            f"{found.evaluations} frames, {found.seconds:.1f} s"
        )
    if found.state is not FocusState.REACHED:
        raise DeviceError("nothing at that point can be made sharp: it is flat, dark or too near")
