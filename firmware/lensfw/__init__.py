"""LensLink's firmware: the module's end of the link, for MicroPython.

The code is in the common subset of Python and MicroPython, so that CPython can import it and the
explorer can run its machines. All access to hardware is in ``ports`` and ``transports``.

A board starts in ``boot``, and its main loop is ``board``. The simulated module starts in ``main``.
Both run ``module`` (the camera), which owns ``link`` (the session with the host).
"""

VERSION = "0.1.0"
