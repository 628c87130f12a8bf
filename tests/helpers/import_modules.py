"""Imports modules on MicroPython: ``import_modules.py NAME...``.

Prints for each what it cost of the heap, together with those it imports first, and its file.
"""

import gc
import json
import sys


def main():
    sizes = []
    for name in sys.argv[1:]:
        gc.collect()
        before = gc.mem_alloc()
        __import__(name)
        gc.collect()
        sizes.append([name, gc.mem_alloc() - before, sys.modules[name].__file__])
    print(json.dumps(sizes))


main()
