"""The machine and the commit that a figure belongs to."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from lenslink_protocol.crc import LIBRARY


def describe_machine() -> dict[str, object]:
    """Return processor, cores, memory, system, versions, commit, load and date."""
    return {
        "cpu": _read_cpu(),
        "cores": os.cpu_count() or 1,
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": _read_memory(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "lenslink": version("lenslink"),
        "commit": _read_commit(),
        "isal": version("isal") if LIBRARY == "isal" else f"absent, CRC by {LIBRARY}",
        "numpy": version("numpy"),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _read_cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _read_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _read_commit() -> str | None:
    """Return the commit of this checkout, marked if files differ from the commit."""
    here = Path(__file__).resolve().parent
    answers = []
    for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"]):
        try:
            done = subprocess.run(
                ["git", *arguments],  # noqa: S607 - the user's git
                cwd=here,
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        answers.append(done.stdout.strip())
    return f"{answers[0]}{'-changed' if answers[1] else ''}"
