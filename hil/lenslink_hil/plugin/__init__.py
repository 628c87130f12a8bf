"""pytest plugin: tests on a module, on the bench or the test rig that ``--lens`` names.

pytest loads this package in every environment that has LensLink. So it imports LensLink only when a
test asks for a fixture. The parts are pytest plugins of their own::

    run_options       options, the seed, the header
    worker_plan       how many processes; SIGTERM
    held_module       the board and the connection that a process keeps (used by lens_fixtures)
    lens_fixtures     lens, lens_fresh, lens_begin, lens_url, lens_board, lens_power, lens_plant
    needed_features   the marker requires()
    hang_guard        ends a test that does not end
    session_evidence  records each session; keeps the recording of a test that failed
    rig_outcomes      passed, failed, rig error, skipped; quarantine; exit code 11
    report_notes      lens_report: figures and pictures of a test; figures that have dropped
    report_writer     report.json, and the history of the boards
    run_summary       the last lines: rig errors, recoveries, recordings, NOT RUN
"""

from __future__ import annotations

import pytest

from . import (
    hang_guard,
    lens_fixtures,
    needed_features,
    report_notes,
    report_writer,
    rig_outcomes,
    run_options,
    run_summary,
    session_evidence,
    worker_plan,
)

PARTS = (
    run_options,
    worker_plan,
    lens_fixtures,
    needed_features,
    hang_guard,
    session_evidence,
    rig_outcomes,
    report_notes,
    report_writer,
    run_summary,
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the parts. pytest then asks each of them for its options."""
    del parser
    for part in PARTS:
        if not pluginmanager.has_plugin(part.__name__):
            pluginmanager.register(part, part.__name__)
