"""Fuzzers, one for each parser: ``python -m tests.fuzz TARGET --seconds N``."""
