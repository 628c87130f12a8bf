"""Figures as a picture: PNG where matplotlib is installed, and as text everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lenslink.errors import MissingExtra, UsageError
from lenslink.image_files.atomic_file import publish

_WIDTH = 40


def chart(result: dict[str, Any]) -> Iterator[str]:
    """A line for each series: the driver's bar of #, the bare transport's beyond it of dots."""
    series = result["series"]
    most = max((max(each["gb_per_cpu_s"], each["bare_gb_per_cpu_s"]) for each in series), default=1)
    yield "GB per CPU-second: # the driver, . the bare transport"
    for each in series:
        bar = round(_WIDTH * each["gb_per_cpu_s"] / most)
        bare = round(_WIDTH * each["bare_gb_per_cpu_s"] / most)
        drawn = "#" * bar + "." * max(0, bare - bar)
        figure = f"{each['gb_per_cpu_s']:6.2f} of {each['bare_gb_per_cpu_s']:5.2f}"
        yield f"{label(each):30} {figure}  {drawn}"


def label(each: dict[str, Any]) -> str:
    """A series in a few words."""
    modules = f" x {each['modules']}" if each["modules"] > 1 else ""
    size = f"{each['nominal_tile_bytes'] // 1024} KiB"
    return f"{each['transport']}, {size}, {each['megapixels']} MP{modules}"


def write(result: dict[str, Any], path: Path, force: bool) -> None:
    """Write the chart to *path*: a ``.png``, or text as ``.txt``.

    Raises :exc:`~lenslink.errors.MissingExtra` for a PNG without matplotlib.
    """
    if path.suffix == ".txt":
        with publish(path, force) as file:
            file.write("".join(f"{line}\n" for line in chart(result)).encode())
        return
    check(path)
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


def check(path: Path) -> None:
    """Whether a chart can be written there, before anything is measured."""
    if path.suffix == ".txt":
        return
    if path.suffix != ".png":
        raise UsageError(f"--plot writes .png or .txt, not '{path.name}'")
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingExtra("--plot FILE.png (FILE.txt does not)", "bench")
