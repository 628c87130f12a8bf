"""The facts of a run that every report states: versions and machine."""

from __future__ import annotations

import platform
from importlib.metadata import version


def list_run_facts() -> dict[str, str]:
    """Return what the run ran with, by name. Nothing of the environment is among it.

    >>> list(list_run_facts())
    ['lenslink', 'host', 'python']
    """
    return {
        "lenslink": version("lenslink"),
        "host": f"{platform.node()}: {platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
