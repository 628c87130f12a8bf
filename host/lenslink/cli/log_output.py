"""The log of driver and module on stderr, as much of it as ``-v`` asks for.

:func:`show_logs` is active during the whole command. It attaches one handler to the loggers of
LensLink's packages. Each line names its logger, so that a bug report shows which part spoke::

    [lenslink.session] DEBUG: ...

The lines of the module's own log come from the logger ``lenslink.module``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lenslink_protocol.trace import TRACE

_PACKAGES = ("lenslink", "lenslink_isp", "lenslink_protocol", "lenslink_hil")
_MODULE = "lenslink.module"
# What is shown without -v, and with one, two and three of them.
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG, TRACE)


class _LineHandler(logging.Handler):
    """Prints each log record as one line."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        super().__init__()
        self._print_line = print_line

    def emit(self, record: logging.LogRecord) -> None:
        self._print_line(f"[{record.name}] {record.levelname}: {record.getMessage()}")


@contextmanager
def show_logs(print_line: Callable[[str], None]) -> Iterator[None]:
    """Print the log records of LensLink's packages with *print_line*.

    At first, warnings and errors of the driver are printed, and errors of the module.
    :func:`set_verbosity` changes how much is printed. At the end the loggers are as before.
    """
    logging.addLevelName(TRACE, "TRACE")
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    levels = [logger.level for logger in loggers]
    handler = _LineHandler(print_line)
    for logger in loggers:
        logger.addHandler(handler)
    set_verbosity(0, False)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        logging.getLogger(_MODULE).setLevel(logging.NOTSET)


def set_verbosity(verbose: int, is_quiet: bool) -> None:
    """Set the levels of LensLink's loggers from the number of ``-v`` and from ``-q``."""
    level = logging.ERROR if is_quiet else _LEVELS[min(verbose, len(_LEVELS) - 1)]
    for name in _PACKAGES:
        logging.getLogger(name).setLevel(level)
    # A module warns of what is usual while it is attached: a supply that rises, contacts that
    # bounce. Only -v shows that.
    is_shown = verbose > 0 and not is_quiet
    logging.getLogger(_MODULE).setLevel(logging.NOTSET if is_shown else logging.ERROR)
