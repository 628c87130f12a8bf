"""``python -m lenslink``: the command line."""

import sys

from lenslink_program import main

if __name__ == "__main__":
    sys.exit(main())
