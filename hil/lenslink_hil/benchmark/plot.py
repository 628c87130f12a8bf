"""The results as a chart: PNG if matplotlib is installed, and text without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lenslink.errors import MissingExtra, UsageError
from lenslink.image_files.atomic_file import publish

_WIDTH = 40


def draw_chart(result: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each series: # for the driver, dots for what the bare transport adds."""
    series = result["series"]
    most = max((max(each["gb_per_cpu_s"], each["bare_gb_per_cpu_s"]) for each in series), default=1)
    yield "GB per CPU-second: # the driver, . the bare transport"
    for each in series:
        bar = round(_WIDTH * each["gb_per_cpu_s"] / most)
        bare = round(_WIDTH * each["bare_gb_per_cpu_s"] / most)
        drawn = "#" * bar + "." * max(0, bare - bar)
        figure = f"{each['gb_per_cpu_s']:6.2f} of {each['bare_gb_per_cpu_s']:5.2f}"
        yield f"{describe_series(each):30} {figure}  {drawn}"


def describe_series(each: dict[str, Any]) -> str:
    """Return a series in a few words."""
    modules = f" x {each['modules']}" if each["modules"] > 1 else ""
    size = f"{each['nominal_tile_bytes'] // 1024} KiB"
    return f"{each['transport']}, {size}, {each['megapixels']} MP{modules}"


def write_chart(result: dict[str, Any], path: Path, force: bool) -> None:
    """Write the chart to *path*, as ``.png`` or as ``.txt``.

    Raises:
        MissingExtra: A PNG is wanted, and matplotlib is not installed.
    """
    if path.suffix == ".txt":
        with publish(path, force) as file:
            file.write("".join(f"{line}\n" for line in draw_chart(result)).encode())
        return
    check_path(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for transport in dict.fromkeys(each["transport"] for each in result["series"]):
        rows = [
            each
            for each in result["series"]
            if (each["transport"], each["megapixels"], each["modules"]) == (transport, "12", 1)
        ]
        sizes = [each["nominal_tile_bytes"] / 1024 for each in rows]
        (line,) = axes.plot(sizes, [r["gb_per_cpu_s"] for r in rows], "o-", label=transport)
        axes.plot(
            sizes,
            [r["bare_gb_per_cpu_s"] for r in rows],
            "x:",
            color=line.get_color(),
            label=f"{transport}, bare",
        )
    axes.axhline(1.25, color="grey", linewidth=0.8)
    axes.annotate("10 Gbit/s", (4, 1.25), textcoords="offset points", xytext=(0, 3), color="grey")
    axes.set(
        xscale="log",
        xlabel="tile, KiB",
        ylabel="GB per CPU-second of the host",
        title=f"12-megapixel frames, {result['machine']['cpu']}",
        ylim=(0, None),
    )
    axes.legend()
    with publish(path, force) as file:
        figure.savefig(file, format="png", dpi=120)


def check_path(path: Path) -> None:
    """Raise UsageError or MissingExtra now if a chart cannot be written to *path* later."""
    if path.suffix == ".txt":
        return
    if path.suffix != ".png":
        raise UsageError(f"--plot writes .png or .txt, not '{path.name}'")
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingExtra("--plot FILE.png (FILE.txt does not)", "bench")
