"""Runs a suite's functions on MicroPython: ``micropython suite_runner.py suites.NAME``.

Prints a line of JSON for each: its name, and what went wrong or "".
"""

import io
import json
import sys


def main(name):
    suite = __import__(name)
    for part in name.split(".")[1:]:
        suite = getattr(suite, part)
    for test in sorted(found for found in dir(suite) if found.startswith("test_")):
        trace = io.StringIO()
        try:
            getattr(suite, test)()
        except Exception as error:
            sys.print_exception(error, trace)
        print(json.dumps([test, trace.getvalue()]))


main(sys.argv[1])
