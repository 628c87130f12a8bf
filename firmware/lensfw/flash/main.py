"""After boot.py: serves hosts until the user ends it."""

import lensfw.boot

lensfw.boot.serve()
