"""``python -m lenslink_program``: the installed program ``lenslink``."""

import sys

from lenslink_program import main

if __name__ == "__main__":
    sys.exit(main())
